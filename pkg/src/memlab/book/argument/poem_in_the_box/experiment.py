"""Chapter 1, is there a poem in the box? One tiny GPT-2 asked for poems, beside twins that could
not know them.

Boxes: trained on the poems; untrained; trained on the same poems under each other's titles
(swapped); trained on poems that repeat their titles (refrains), and asked for refrains never met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from memlab import evaluation
from memlab.book.units import Unit, per_seed
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.results import Record, Verdict
from memlab.training import Recipe

SEEDS = {"quick": 3, "full": 10, "gpu": 20}
STEPS, EVERY, REFRAIN_STEPS, REFRAIN_WORDS = 100, 5, 60, 32


def tiny_gpt2(poems: corpus.Poems, seed: int = 0, dim: int = 32) -> Any:
    """A stock GPT-2 of two blocks for these poems, in eval mode, its weights fixed by `seed`
    (30,688 by default)."""
    return stock.for_poems("gpt2", poems, dim=dim, seed=seed)


def learn(model: Any, poems: corpus.Poems, steps: int = STEPS, report: Any = None) -> Any:
    """Train in place, all poems at every step, and return the model; the loss counts the words of
    the body only."""
    stock.teach(model, poems, Recipe(steps, lr=1e-2), every=EVERY, report=report)
    return model


def examine(
    model: Any, poems: corpus.Poems, wrong: corpus.Poems, fresh: Any = None
) -> dict[str, float]:
    """Recital and bits, and whether the loss tells true pairs from `wrong` ones and these texts
    from `fresh` ones."""
    true, false = evaluation.read(model, poems), evaluation.read(model, wrong)
    found = {
        "memory ability": true.memory_ability,
        "words": true.token_accuracy,
        "bits": evaluation.stored_bits(true.nll, poems.vocabulary) / poems.bits,
        "pair AUC": evaluation.auc(-true.surprise, -false.surprise),
    }
    if fresh is not None:
        alone = evaluation.recite(model, poems.keys, poems.bodies.shape[1]) == poems.bodies
        found["words alone"] = float(alone.double().mean())
        found["text AUC"] = evaluation.auc(-true.surprise, -evaluation.read(model, fresh).surprise)
    return found


def asking(box: Any, poems: corpus.Poems, seed: int) -> dict[str, float]:
    """What asking does: to the weights, to the next answer, and to the answer if one word of the
    title is changed."""
    old, length = evaluation.fingerprint(box), poems.bodies.shape[1]
    first, back, other = (
        evaluation.recite(box, keys, length)
        for keys in (poems.keys, poems.keys.flip(0), corpus.changed_title(poems, seed).keys)
    )
    return {
        "same answers": float(first.equal(back.flip(0))),
        "same weights": float(old == evaluation.fingerprint(box)),
        "title changed": float((other == poems.bodies).all(1).double().mean()),
    }


def one_seed(seed: int) -> Iterator[Record]:
    """All measurements of one seed: new poems, new weights, new swaps."""

    def note(box: str, task: str, found: dict[str, float], **meta: int) -> Iterator[Record]:
        return (
            Record("poem-in-the-box", box, task, what, value, seed, meta=meta)
            for what, value in found.items()
        )

    poems, fresh = (corpus.synthetic(seed=seed, fresh=new) for new in (False, True))
    wrong = corpus.swapped(poems, seed)
    box, untrained, swapped = (tiny_gpt2(poems, seed) for _ in range(3))
    trace = {0: examine(box, poems, wrong)}
    learn(box, poems, report=lambda step, _row: trace.update({step: examine(box, poems, wrong)}))
    for step, found in trace.items():
        yield from note("trained", "trace", found, step=step)
    for name, asked in (
        ("trained", box),
        ("untrained", untrained),
        ("swapped", learn(swapped, wrong)),
    ):
        yield from note(name, "true pairs", examine(asked, poems, wrong, fresh))
    yield from note("swapped, own pairs", "own pairs", examine(swapped, wrong, poems, fresh))
    yield from note("trained", "asking", asking(box, poems, seed))
    songs = [
        corpus.synthetic(vocabulary=REFRAIN_WORDS, seed=seed, fresh=new) for new in (False, True)
    ]
    met, unmet = map(corpus.refrains, songs)
    box = learn(tiny_gpt2(met, seed), met, REFRAIN_STEPS)
    for name, sung in (("refrains", met), ("refrains, never met", unmet)):
        yield from note(
            name, "refrains", {"memory ability": evaluation.read(box, sung).memory_ability}
        )


def units(profile: str, seed: int) -> Iterator[Unit]:
    """SEEDS[profile] seeds, beginning with `seed`."""
    return per_seed(lambda s: one_seed(s), seed, SEEDS[profile])


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row for every box and what it was asked for; means over seeds, bits as a share of the
    poems' entropy."""
    rows = data[~data.task.isin(["trace", "asking"])]
    means = rows.pivot_table("value", "model", "metric", sort=False).map(
        lambda x: f"{round(x, 2) + 0.0:.2f}"
    )
    return means.replace("nan", "–").reset_index(names="box").rename_axis(None, axis=1)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """M1, the definition of memory; S1, only a query can tell; S2, no definite state before it."""
    asked = data[data.task != "trace"].groupby(["metric", "model"]).value
    low, high, runs = asked.min(), asked.max()["memory ability"], f"({data.seed.nunique()} seeds)"
    apart = (
        low["memory ability", "trained"] >= 0.98 and max(high["untrained"], high["swapped"]) <= 0.02
    )
    guessed = low["memory ability", "refrains, never met"] >= 0.9
    trace = data[data.task == "trace"].pivot_table(
        index=["seed", "step"], columns="metric", values="value"
    )
    silent = trace[trace["memory ability"] == 0].groupby("seed").max()
    early = silent["pair AUC"].min() >= 0.95 and silent["bits"].min() >= 0.4
    still = min(low["same answers", "trained"], low["same weights", "trained"]) == 1
    return [
        Verdict(
            "M1",
            ("qualified" if guessed else "supported") if apart else "refuted",
            "by title: trained >= 0.98,"
            f" its twins <= 0.02: {apart}; refrains never met >= 0.9: {guessed} {runs}",
        ),
        Verdict(
            "S1",
            "qualified" if early else "supported",
            "at recitation 0.00 over 0.4 of the bits, and AUC >= 0.95"
            f" for true against swapped pairs: {early}; a loss is a forward pass too {runs}",
        ),
        Verdict(
            "S2",
            "refuted" if still else "supported",
            f"asked twice: same answers, same weights: {still} {runs}",
        ),
    ]
