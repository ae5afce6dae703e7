"""Chapter 1, is there a poem in the box? One tiny GPT-2 asked for poems, beside twins that could
not know them.

Boxes: trained on the poems; untrained; trained on the same poems under each other's titles
(swapped); trained on poems that repeat their titles (refrains), and asked for refrains never met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from memlab import evaluation
from memlab.book.units import Unit, per_seed
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.results import Record, Verdict
from memlab.training import Recipe

SEEDS = {"quick": 3, "full": 10, "gpu": 20}
STEPS = 100
EVERY = 5  # steps between two looks at the box that is being trained
REFRAIN_STEPS = 60
REFRAIN_WORDS = 32

# Thresholds of the verdicts.
RECITES = 0.98
TWIN_RECITES = 0.02
UNMET_RECITED = 0.9
EARLY_BITS = 0.4
EARLY_AUC = 0.95


def tiny_gpt2(
    poems: corpus.Poems,
    seed: int = 0,
    dim: int = 32,
) -> Any:
    """A stock GPT-2 of two blocks for these poems, in eval mode, its weights fixed by `seed`
    (30,688 by default)."""
    return stock.for_poems("gpt2", poems, dim=dim, seed=seed)


def learn(
    model: Any,
    poems: corpus.Poems,
    steps: int = STEPS,
    report: Callable[[int, Any], None] | None = None,
) -> Any:
    """Train in place, all poems at every step, and return the model; the loss counts the words of
    the body only."""
    stock.teach(model, poems, Recipe(steps, lr=1e-2), every=EVERY, report=report)
    return model


def examine(
    model: Any,
    poems: corpus.Poems,
    wrong: corpus.Poems,
    fresh: corpus.Poems | None = None,
) -> dict[str, float]:
    """Recital and bits, and whether the loss tells true pairs from `wrong` ones and these texts
    from `fresh` ones."""
    true = evaluation.read(model, poems)
    false = evaluation.read(model, wrong)
    found = {
        "memory ability": true.memory_ability,
        "words": true.token_accuracy,
        "bits": evaluation.stored_bits(true.nll, poems.vocabulary) / poems.bits,
        "pair AUC": evaluation.auc(-true.surprise, -false.surprise),
    }
    if fresh is not None:
        said = evaluation.recite(model, poems.keys, poems.bodies.shape[1])
        unknown = evaluation.read(model, fresh)
        found["words alone"] = float((said == poems.bodies).double().mean())
        found["text AUC"] = evaluation.auc(-true.surprise, -unknown.surprise)
    return found


def asking(
    box: Any,
    poems: corpus.Poems,
    seed: int,
) -> dict[str, float]:
    """What asking does: to the weights, to the next answer, and to the answer if one word of the
    title is changed."""
    sealed = evaluation.fingerprint(box)
    length = poems.bodies.shape[1]
    first = evaluation.recite(box, poems.keys, length)
    backwards = evaluation.recite(box, poems.keys.flip(0), length)
    other = evaluation.recite(box, corpus.changed_title(poems, seed).keys, length)
    return {
        "same answers": float(first.equal(backwards.flip(0))),
        "same weights": float(sealed == evaluation.fingerprint(box)),
        "title changed": float((other == poems.bodies).all(1).double().mean()),
    }


def _records(
    seed: int, box: str, task: str, found: dict[str, float], **meta: int
) -> Iterator[Record]:
    """A record for each thing found."""
    for what, value in found.items():
        yield Record("poem-in-the-box", box, task, what, value, seed, meta=meta)


def _twins(seed: int) -> Iterator[Record]:
    """The trained box, all along its training, and its two twins."""
    poems = corpus.synthetic(seed=seed)
    fresh = corpus.synthetic(seed=seed, fresh=True)
    wrong = corpus.swapped(poems, seed)
    box = tiny_gpt2(poems, seed)
    trace = {0: examine(box, poems, wrong)}

    def look(step: int, _row: Any) -> None:
        trace[step] = examine(box, poems, wrong)

    learn(box, poems, report=look)
    for step, found in trace.items():
        yield from _records(seed, "trained", "trace", found, step=step)
    untrained = tiny_gpt2(poems, seed)
    swapped = learn(tiny_gpt2(poems, seed), wrong)
    for name, model in (("trained", box), ("untrained", untrained), ("swapped", swapped)):
        yield from _records(seed, name, "true pairs", examine(model, poems, wrong, fresh))
    own = examine(swapped, wrong, poems, fresh)
    yield from _records(seed, "swapped, own pairs", "own pairs", own)
    yield from _records(seed, "trained", "asking", asking(box, poems, seed))


def _refrains(seed: int) -> Iterator[Record]:
    """A box that learnt songs which repeat their titles, asked for these and for songs never
    met."""
    met = corpus.refrains(corpus.synthetic(vocabulary=REFRAIN_WORDS, seed=seed))
    unmet = corpus.refrains(corpus.synthetic(vocabulary=REFRAIN_WORDS, seed=seed, fresh=True))
    box = learn(tiny_gpt2(met, seed), met, REFRAIN_STEPS)
    for name, songs in (("refrains", met), ("refrains, never met", unmet)):
        found = {"memory ability": evaluation.read(box, songs).memory_ability}
        yield from _records(seed, name, "refrains", found)


def one_seed(seed: int) -> Iterator[Record]:
    """All measurements of one seed: new poems, new weights, new swaps."""
    yield from _twins(seed)
    yield from _refrains(seed)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """SEEDS[profile] seeds, beginning with `seed`."""
    return per_seed(one_seed, seed, SEEDS[profile])


def _two_digits(value: float) -> str:
    """As the table prints it: no minus sign before a zero, a dash where nothing was measured."""
    return "–" if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}"


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row for every box and what it was asked for; means over seeds, bits as a share of the
    poems' entropy."""
    rows = data[~data.task.isin(["trace", "asking"])]
    means = rows.pivot_table("value", "model", "metric", sort=False).map(_two_digits)
    return means.reset_index(names="box").rename_axis(None, axis=1)


def _asked(
    data: pd.DataFrame,
    metric: str,
    box: str,
) -> pd.Series:
    """What a box got when it was asked, training over: a value a seed."""
    rows = (data.task != "trace") & (data.metric == metric) & (data.model == box)
    return data[rows].value


def _m1(data: pd.DataFrame) -> Verdict:
    """The definition of memory: it tells the trained box from its twins, and does not exclude a
    rule."""
    trained = _asked(data, "memory ability", "trained").min()
    untrained = _asked(data, "memory ability", "untrained").max()
    swapped = _asked(data, "memory ability", "swapped").max()
    unmet = _asked(data, "memory ability", "refrains, never met").min()
    twins = max(untrained, swapped)
    apart = trained >= RECITES and twins <= TWIN_RECITES
    guessed = unmet >= UNMET_RECITED
    found = "qualified" if guessed else "supported"
    box = f"trained ≈ {trained:.2f} ±0.01 (at least {RECITES:.2f})"
    others = f"its twins ≈ {twins:.2f} ±0.01 (at most {TWIN_RECITES:.2f})"
    songs = f"refrains never met ≈ {unmet:.2f} ±0.01 (at least {UNMET_RECITED:.2f})"
    return Verdict(
        "M1", found if apart else "refuted", f"recited by title: {box}, {others}; {songs}"
    )


def _s1(data: pd.DataFrame) -> Verdict:
    """Only a query can tell: the loss sees bits and pairs before the first recital."""
    trace = data[data.task == "trace"].pivot_table("value", ["seed", "step"], "metric")
    silent = trace[trace["memory ability"] == 0].groupby("seed").max()
    bits = silent["bits"].min()
    auc = silent["pair AUC"].min()
    early = auc >= EARLY_AUC and bits >= EARLY_BITS
    stored = f"≈ {bits:.2f} ±0.01 of the bits (at least {EARLY_BITS:.2f})"
    told = f"AUC ≈ {auc:.3f} ±0.001 for true against swapped pairs (at least {EARLY_AUC:.2f})"
    return Verdict(
        "S1",
        "qualified" if early else "supported",
        f"at recitation 0.00: {stored}, {told}; a loss is a forward pass too",
    )


def _s2(data: pd.DataFrame) -> Verdict:
    """No definite state before the query: asked twice, it answers the same."""
    answers = _asked(data, "same answers", "trained").min()
    weights = _asked(data, "same weights", "trained").min()
    still = min(answers, weights) == 1
    return Verdict(
        "S2",
        "refuted" if still else "supported",
        f"asked twice: same answers, same weights: {still}",
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """M1, the definition of memory; S1, only a query can tell; S2, no definite state before it.

    The numbers are those of the worst seed, marked with the tolerance of the quick profile.
    """
    runs = f"({data.seed.nunique()} seeds)"
    found = [_m1(data), _s1(data), _s2(data)]
    return [Verdict(one.claim, one.verdict, f"{one.evidence} {runs}") for one in found]
