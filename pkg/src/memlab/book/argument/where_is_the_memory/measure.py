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


def make(
    kind: str,
    poems: Poems,
    *,
    dim: int = 16,
    layers: int = 1,
    seed: int = 0,
) -> Any:
    """An untrained model for these poems: GPT-2, the static network that fits into its size, or a
    twin of GPT-2.

    Twins: blindfolded (sees the key alone), uniform (attention the same everywhere), one for all
    (attention learnt, the same for every input), never learnt (queries and keys stay random).
    ValueError for another kind.
    """
    gpt2 = stock.for_poems("gpt2", poems, dim=dim, layers=layers, seed=seed)
    tokens = poems.ids.shape[1]
    key = poems.keys.shape[1]
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
    found = evaluation.read(model, poems, batch=len(poems))
    size = stock.size(model)
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
    own = interventions.attention(model, poems.ids)
    donor = torch.arange(len(poems)).roll(1)
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
            logits = model(poems.ids[:, :-1].to(model.device)).logits
            said = logits[:, start:].argmax(-1).cpu()
            found = judge(model, poems)
            found["donor's words"] = _share(said, poems.bodies[donor])
            yield name, found


@torch.no_grad()
def transplanted(
    model: Any,
    poems: Poems,
    pairs: int = 16,
) -> dict[str, float]:
    """All input-dependent coefficients of one poem at the input of another: whose words come out?

    The coefficients are those of chapter 3's sum of a GPT-2 (`sums.stack_sum`), attention and
    scales of norms alike.
    """
    twin: Any = blocks.double(model).cpu()
    twin.set_attn_implementation("eager")
    start = poems.keys.shape[1] - 1

    def words(stack: list[blocks.Call], X: Tensor) -> Tensor:
        state = twin.transformer.ln_f(sums.stack_sum(stack).evaluate(X))
        return twin.lm_head(state).argmax(-1)[start:-1]

    stacks = [blocks.calls(twin, row) for row in poems.ids[:pairs]]
    donors = stacks[-1:] + stacks[:-1]
    own = torch.stack([words(here, here[0].X) for here in stacks])
    foreign = torch.stack(
        [words(there, here[0].X) for here, there in zip(stacks, donors, strict=True)]
    )
    right = poems.bodies[:pairs]
    return {
        "own coefficients: words": _share(own, right),
        "words": _share(foreign, right),
        "donor's words": _share(foreign, right.roll(1, 0)),
    }


def restart(model: Any, poems: Poems) -> dict[str, float]:
    """Whether asking changes a byte of the weights, and whether a copy made from them computes
    everything anew."""
    seal = evaluation.fingerprint(model)
    copy = interventions.restarted(model)
    answers = []
    for asked in (model, copy):
        attention = interventions.attention(asked, poems.ids)
        answers.append([*attention, evaluation.read(asked, poems).nll])
    same = all(map(torch.equal, *answers))
    unchanged = seal == evaluation.fingerprint(model)
    return {"same to the bit": float(same), "weights unchanged": float(unchanged)}


def outlets(model: Any) -> list[tuple[Tensor, Any]]:
    """For every hidden unit of a static network or a GPT-2: the matrix it writes through, and its
    row or column."""
    if isinstance(model, static_network.StaticNetwork):
        return [(model.O, (slice(None), unit)) for unit in range(model.O.shape[1])]
    found: list[tuple[Tensor, Any]] = []
    for block in model.transformer.h:
        weight = block.mlp.c_proj.weight
        found += [(weight, unit) for unit in range(weight.shape[0])]
    return found


def cut(
    model: Any,
    poems: Poems,
    limit: int = 64,
) -> dict[str, float]:
    """Which of the poems that are recited lose a word when one hidden unit is silenced, for the
    first `limit` units.

    "harmed" is the share of poems that a unit harms, mean over units; "needed", the share of units
    that harm a poem, smallest over poems. A store with a place for every poem would have 1/units
    for both.
    """
    whole = evaluation.read(model, poems, batch=len(poems)).recited
    found = []
    for weights, index in outlets(model)[:limit]:
        with interventions.without(weights, index):
            left = evaluation.read(model, poems, batch=len(poems)).recited
        found.append(~left[whole])
    harmed = torch.stack(found).double() if whole.any() else torch.zeros(len(found), 1)
    return {
        "harmed": float(harmed.mean()),
        "needed": float(harmed.mean(0).min()),
        "units": float(len(found)),
    }
