"""Asking a model that learnt poems, and judging what comes back: how sure it is, how far off,
whether to believe it.

What counts as the same question is decided while it learns: `teach` shows each poem under keys that
may change at every step. Training shows words; asking reads the first choices, draws at a
temperature, or lets the model weigh every key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab import evaluation
from memlab.corpora import cues
from memlab.corpora.poems import Poems
from memlab.models import stock
from memlab.training import Batch, Log, Recipe, fit

Keys = Int[Tensor, "poem key"]
Bodies = Int[Tensor, "poem word"]
GRADES = ("right", "slightly off", "badly off", "lost")
# Shares of the words that are right in their place, from which on an answer is ...
SLIGHTLY = 0.75
BADLY = 0.25


def box(
    poems: Poems,
    *,
    family: str = "gpt2",
    dim: int = 32,
    seed: int = 0,
) -> Any:
    """A small stock model with tokens for these poems and their cues (`corpora.cues`), its weights
    fixed by `seed`."""
    positions = poems.ids.shape[1] + 1
    return stock.build(family, cues.tokens(poems), positions, dim=dim, seed=seed)


def teach(
    model: Any,
    poems: Poems,
    steps: int,
    keys: Callable[[], Keys] | None = None,
    bodies: Callable[[], Bodies] | None = None,
    *,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Log:
    """Train in place, all poems at every step, under the keys that `keys()` gives then (None:
    always their own).

    `bodies()` gives the words as they are shown then; what is to be said are always the true ones.
    """

    labels = _answers(poems.ids, poems.keys.shape[1]).to(model.device)

    def batches(_step: int) -> Batch:
        shown = poems.bodies if bodies is None else bodies()
        asked = poems.keys if keys is None else keys()
        ids = torch.cat([asked, shown], 1)
        return {"input_ids": ids.to(model.device), "labels": labels}

    return fit(model, batches, _recipe(steps), every=every, report=report)


def teach_backwards(
    model: Any,
    poems: Poems,
    both: Bool[Tensor, " poem"],
    steps: int,
) -> Log:
    """Train in place: every poem from its key, and the key from the poem too for those that are
    marked `both`."""
    marked = replace(poems, keys=poems.keys[both], bodies=poems.bodies[both])
    back = cues.backwards(marked)
    filled = torch.nn.functional.pad(poems.ids, (0, 1), value=cues.blank(poems))
    ids = torch.cat([filled, back.ids])
    words = _answers(filled, poems.keys.shape[1])
    keys = _answers(back.ids, back.keys.shape[1])
    labels = torch.cat([words, keys])
    labels[: len(poems), -1] = -100
    batch = {"input_ids": ids.to(model.device), "labels": labels.to(model.device)}
    return fit(model, lambda _step: batch, _recipe(steps))


def _recipe(steps: int) -> Recipe:
    return Recipe(steps, lr=1e-2, muon=0.05, muon_bfloat16=False)


def _answers(ids: Int[Tensor, "poem seq"], question: int) -> Int[Tensor, "poem seq"]:
    return ids.masked_fill(torch.arange(ids.shape[1]) < question, -100)


# ---- asking --------------------------------------------------------------------------------------


def recall(model: Any, cue: Poems) -> float:
    """The share of cues that bring back all that is asked for, word for word."""
    return evaluation.read(model, cue).memory_ability


class Answer(NamedTuple):
    """What a model says to each key, and how sure it is: the mean of ln p over its own words."""

    words: Int[Tensor, "poem word"]
    confidence: Float[Tensor, " poem"]


def answer(model: Any, cue: Poems) -> Answer:
    """The model's first choices, one after the other; of the cue only the keys and the length are
    used."""
    said = evaluation.recite(model, cue.keys, cue.bodies.shape[1])
    reading = evaluation.read(model, replace(cue, bodies=said))
    return Answer(said, -reading.nll.double().mean(1))


@torch.no_grad()
def draw_answer(
    model: Any,
    cue: Poems,
    temperature: float,
    draw: torch.Generator,
) -> Int[Tensor, "poem word"]:
    """An answer drawn word by word from softmax(logits / temperature); 0 takes the first choice."""
    if temperature < 0:
        raise ValueError(f"expected a temperature of at least 0, got {temperature}")
    if not temperature:
        return evaluation.recite(model, cue.keys, cue.bodies.shape[1])
    ids = cue.keys
    for _ in range(cue.bodies.shape[1]):
        logits = model(ids.to(model.device)).logits[:, -1].float().cpu()
        p = (logits / temperature).softmax(-1)
        ids = torch.cat([ids, torch.multinomial(p, 1, generator=draw)], 1)
    return ids[:, cue.keys.shape[1] :]


@torch.no_grad()
def whose(model: Any, poems: Poems) -> Int[Tensor, " poem"]:
    """Whose poem is this? For each body the number of the key under which it is least surprising to
    the model.

    The forward question asked of all keys in turn: N² readings for N poems.
    """
    losses = []
    for key in poems.keys:
        asked = replace(poems, keys=key.expand_as(poems.keys))
        losses.append(evaluation.read(model, asked).surprise)
    return torch.stack(losses).argmin(0)


# ---- judging -------------------------------------------------------------------------------------


def right_words(
    said: Int[Tensor, "poem word"], true: Int[Tensor, "poem word"]
) -> Float[Tensor, " poem"]:
    """The share of words that are right in their place, for each answer."""
    return (said == true).double().mean(1)


def grade(said: Int[Tensor, "poem word"], true: Int[Tensor, "poem word"]) -> Int[Tensor, " poem"]:
    """The place in GRADES of each answer: all words right; at least 3/4 of them; at least 1/4;
    fewer."""
    share = right_words(said, true)
    return 3 - (share >= BADLY).long() - (share >= SLIGHTLY).long() - (share == 1).long()


def grades(said: Int[Tensor, "poem word"], true: Int[Tensor, "poem word"]) -> dict[str, float]:
    """The share of answers of every grade."""
    count = torch.bincount(grade(said, true), minlength=len(GRADES))
    shares = count.double() / len(said)
    return dict(zip(GRADES, shares.tolist(), strict=True))


def closest(
    said: Int[Tensor, "poem word"], known: Int[Tensor, "other word"]
) -> Float[Tensor, " poem"]:
    """For each answer the largest share of words that it has in common, place by place, with one
    known poem."""
    same = said[:, None] == known[None]
    return same.double().mean(2).amax(1)


def threshold(known: Float[Tensor, " pos"], unknown: Float[Tensor, " neg"]) -> float:
    """The confidence below which to say "I do not know": fewest errors on the two sides, each side
    counted alike.

    Half-way between two neighbouring scores; of several as good the middle one. ValueError if a
    side is empty.
    """
    if not len(known) or not len(unknown):
        raise ValueError(f"expected scores on both sides, got {len(known)} and {len(unknown)}")
    scores = torch.cat([known, unknown]).double().sort().values
    between = (scores[1:] + scores[:-1]) / 2
    cuts = torch.cat([scores[:1] - 1, between, scores[-1:] + 1])
    refused = known[None].double() < cuts[:, None]
    answered = unknown[None].double() >= cuts[:, None]
    errors = refused.double().mean(1) + answered.double().mean(1)
    best = (errors <= errors.min() + 1e-12).nonzero().flatten()
    return float(cuts[best[len(best) // 2]])


def doubt(
    known: Answer,
    unknown: Answer,
    other: Answer,
    right: Bool[Tensor, " poem"],
) -> dict[str, float]:
    """How well confidence tells known keys from unknown ones, on every second row; the first ones
    set the threshold.

    "refused": known keys answered "I do not know"; "answered": unknown ones that are not. The same
    threshold is then put to `other` answers, of which some are `right`: wrong ones that are
    believed, right ones that are refused, where there are any.
    """
    limit = threshold(known.confidence[::2], unknown.confidence[::2])
    in_known = known.confidence[1::2]
    in_unknown = unknown.confidence[1::2]
    sure = other.confidence >= limit
    found = {
        "AUC": evaluation.auc(in_known, in_unknown),
        "refused": float((in_known < limit).double().mean()),
        "answered": float((in_unknown >= limit).double().mean()),
    }
    if right.any():
        found["right refused"] = float((~sure)[right].double().mean())
    if not right.all():
        found["wrong believed"] = float(sure[~right].double().mean())
    return found
