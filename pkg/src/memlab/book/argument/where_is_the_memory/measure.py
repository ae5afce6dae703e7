"""Bench of chapter 4: a static network, a GPT-2 of its size and that GPT-2's twins learn poems and
are judged alike; then a trained GPT-2 gets the attention of others, a trained model loses a hidden
unit, a copy starts from bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from memlab import evaluation
from memlab.book.argument.dynamic_sum import sums
from memlab.book.argument.where_is_the_memory import static_network
from memlab.corpora.poems import Poems
from memlab.models import blocks, interventions, stock
from memlab.training import Recipe

KINDS = ("gpt2", "static", "blindfolded", "uniform", "one for all", "never learnt")


def make(kind: str, poems: Poems, *, dim: int = 16, layers: int = 1, seed: int = 0) -> Any:
    """An untrained model for these poems: GPT-2, the static network that fits into its size, or a
    twin of GPT-2.

    Twins: blindfolded (sees the key alone), uniform (attention the same everywhere), one for all
    (attention learnt, the same for every input), never learnt (queries and keys stay random).
    ValueError for another kind.
    """
    gpt2 = stock.for_poems("gpt2", poems, dim=dim, layers=layers, seed=seed)
    tokens, key = poems.ids.shape[1], poems.keys.shape[1]
    makers: dict[str, Callable[[], Any]] = {
        "gpt2": lambda: gpt2,
        "static": lambda: static_network.static(poems, stock.size(gpt2), seed),
        "blindfolded": lambda: static_network.Blindfolded(gpt2, key),
        "uniform": lambda: interventions.SameForAll(gpt2, tokens, learnt=False),
        "one for all": lambda: interventions.SameForAll(gpt2, tokens, learnt=True),
        # stock weights have standard deviation 0.02; times this, scores are of order 1 and
        # attention moves
        "never learnt": lambda: interventions.never_learnt(gpt2, 50 / dim**0.5),
    }
    if kind not in makers:
        raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
    return makers[kind]()


def learn(
    kind: str,
    poems: Poems,
    recipe: Recipe,
    *,
    dim: int = 16,
    layers: int = 1,
    seed: int = 0,
    batch: int = 0,
) -> Any:
    """The same, trained on the poems."""
    model = make(kind, poems, dim=dim, layers=layers, seed=seed)
    stock.teach(model, poems, recipe, batch=min(batch, len(poems)), seed=seed)
    return model


def judge(model: Any, poems: Poems) -> dict[str, float]:
    """Recital, words, and bits: a share of the poems' entropy, and a parameter. `demand` is the
    entropy a parameter."""
    found, size = evaluation.read(model, poems, batch=len(poems)), stock.size(model)
    bits = evaluation.stored_bits(found.nll, poems.vocabulary)
    return {
        "memory ability": found.memory_ability,
        "words": found.token_accuracy,
        "bits": bits / poems.bits,
        "bits per parameter": bits / size,
        "parameters": float(size),
        "demand": poems.bits / size,
    }


def _share(said: Tensor, wanted: Tensor) -> float:
    return float((said == wanted).double().mean())


@torch.no_grad()
def replaced(model: Any, poems: Poems) -> Iterator[tuple[str, dict[str, float]]]:
    """A trained GPT-2 that reads every poem with its own attention put back, and with others.

    "donor's words" is the share of the words of the poem before, whose attention is what "another
    poem's" means.
    """
    own, donor = interventions.attention(model, poems.ids), torch.arange(len(poems)).roll(1)
    given = {
        "its own": own,
        "another poem's": interventions.taken(own, donor),
        "poem 0's": interventions.taken(own, torch.tensor([0])),
        "average": interventions.average(own),
        "uniform": interventions.uniform(own),
    }
    start = poems.keys.shape[1] - 1
    for name, weights in given.items():
        with interventions.attending(model, weights):
            said = model(poems.ids[:, :-1].to(model.device)).logits[:, start:].argmax(-1).cpu()
            yield name, {**judge(model, poems), "donor's words": _share(said, poems.bodies[donor])}


@torch.no_grad()
def transplanted(model: Any, poems: Poems, pairs: int = 16) -> dict[str, float]:
    """All input-dependent coefficients of one poem at the input of another: whose words come out?

    The coefficients are those of chapter 3's sum of a GPT-2 (`sums.stack_sum`), attention and
    scales of norms alike.
    """
    twin, start = blocks.double(model).cpu(), poems.keys.shape[1] - 1
    twin.set_attn_implementation("eager")  # type: ignore[operator]
    stacks = [blocks.calls(twin, row) for row in poems.ids[:pairs]]
    said = {"own": [], "words": []}  # type: dict[str, list[Tensor]]
    for here, there in zip(stacks, stacks[-1:] + stacks[:-1], strict=True):
        for name, stack in (("own", here), ("words", there)):
            state = twin.transformer.ln_f(sums.stack_sum(stack).evaluate(here[0].X))  # type: ignore[union-attr,operator]
            said[name].append(twin.lm_head(state).argmax(-1)[start:-1])  # type: ignore[operator]
    right = poems.bodies[:pairs]
    return {
        "own coefficients: words": _share(torch.stack(said["own"]), right),
        "words": _share(torch.stack(said["words"]), right),
        "donor's words": _share(torch.stack(said["words"]), right.roll(1, 0)),
    }


def restart(model: Any, poems: Poems) -> dict[str, float]:
    """Whether asking changes a byte of the weights, and whether a copy made from them computes
    everything anew."""
    seal, copy, answers = evaluation.fingerprint(model), interventions.restarted(model), []
    for asked in (model, copy):
        answers.append(
            [*interventions.attention(asked, poems.ids), evaluation.read(asked, poems).nll]
        )
    return {
        "same to the bit": float(all(map(torch.equal, *answers))),
        "weights unchanged": float(seal == evaluation.fingerprint(model)),
    }


def outlets(model: Any) -> list[tuple[Tensor, Any]]:
    """For every hidden unit of a static network or a GPT-2: the matrix it writes through, and its
    row or column."""
    if isinstance(model, static_network.StaticNetwork):
        return [(model.O, (slice(None), unit)) for unit in range(model.O.shape[1])]
    return [
        (block.mlp.c_proj.weight, unit)
        for block in model.transformer.h
        for unit in range(block.mlp.c_proj.weight.shape[0])
    ]


def cut(model: Any, poems: Poems, limit: int = 64) -> dict[str, float]:
    """Which of the poems that are recited lose a word when one hidden unit is silenced, for the
    first `limit` units.

    "harmed" is the share of poems that a unit harms, mean over units; "needed", the share of units
    that harm a poem, smallest over poems. A store with a place for every poem would have 1/units
    for both.
    """
    whole, found = evaluation.read(model, poems, batch=len(poems)).recited, []
    for weights, index in outlets(model)[:limit]:
        with interventions.without(weights, index):
            found.append(~evaluation.read(model, poems, batch=len(poems)).recited[whole])
    harmed = torch.stack(found).double() if whole.any() else torch.zeros(len(found), 1)
    return {
        "harmed": float(harmed.mean()),
        "needed": float(harmed.mean(0).min()),
        "units": float(len(found)),
    }
