"""Chapter 4, are the dynamic weights the memory? A network without any beside a GPT-2 of its size;
a GPT-2 whose attention is replaced after training; twins whose attention does not move, or is never
trained, while they learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from memlab.book.argument.where_is_the_memory import measure
from memlab.book.units import Unit
from memlab.corpora import poems as corpus
from memlab.models import interventions
from memlab.results import Record, Verdict
from memlab.training import Recipe

NAME = "where-is-the-memory"
Rates = tuple[float, float]  # of AdamW; of Muon on the matrices, or 0 to leave them to AdamW


@dataclass(frozen=True)
class Setting:
    """Sizes of a profile. `best` are the best rates of a grid, on other poems (gpu: those of full);
    `twins`, the loads at which the twins of GPT-2 learn. At the second load trained models are
    operated on."""

    seeds: int
    loads: tuple[int, ...]
    steps: int
    best: dict[str, Rates]
    twins: dict[str, tuple[int, ...]]
    grid: bool = False
    words: tuple[int, int] = (8, 64)  # a poem, and the vocabulary
    shape: tuple[int, int] = (16, 1)  # width and blocks of GPT-2
    batch: int = 0


SETTINGS = {
    "quick": Setting(
        3,
        (64, 128, 256),
        200,
        {"gpt2": (0.1, 0.1), "static": (0.03, 0.7)},
        {"uniform": (128, 256), "blindfolded": (256,), "never learnt": (256,)},
    ),
    "full": Setting(
        5,
        (64, 128, 192, 256, 512),
        1000,
        {"gpt2": (0.1, 0.1), "static": (0.03, 0.3)},
        dict.fromkeys(measure.KINDS[2:], (128, 256)),
        True,
    ),
    "gpu": Setting(
        5,
        (512, 1024, 2048, 4096),
        4000,
        {"gpt2": (0.1, 0.1), "static": (0.03, 0.3)},
        dict.fromkeys(measure.KINDS[2:], (1024, 2048)),
        True,
        (16, 256),
        (64, 2),
        1024,
    ),
}
GRID = {
    "gpt2": ((0.01, 0.03, 0.1, 0.3), (0.0, 0.05, 0.1, 0.2)),
    "static": ((0.03, 0.1, 0.3), (0.0, 0.1, 0.3, 1.0)),
}
OTHER = 1000  # added to the seed of the poems and weights on which rates are chosen


def learn(
    kind: str, poems: corpus.Poems, seed: int, at: Setting, rates: Rates | None = None
) -> Any:
    """A trained model; twins of GPT-2 learn with the rates of GPT-2, which were not chosen for
    them."""
    lr, muon = rates or at.best.get(kind, at.best["gpt2"])
    recipe, (dim, layers) = Recipe(at.steps, lr=lr, muon=muon, muon_bfloat16=False), at.shape
    return measure.learn(kind, poems, recipe, dim=dim, layers=layers, seed=seed, batch=at.batch)


def measured(
    kind: str, model: Any, poems: corpus.Poems, operate: bool
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Model, task and numbers of a trained model: what it learnt, how its attention moves; then
    what is done to it."""
    yield kind, "learnt", measure.judge(model, poems)
    if kind in ("gpt2", "never learnt"):
        own = interventions.attention(model, poems.ids)
        yield kind, "movement", {"of attention": interventions.movement(own)}
    if operate and kind in ("gpt2", "static"):
        yield kind, "cut", measure.cut(model, poems)
    if operate and kind == "gpt2":
        yield from ((name, "attention", found) for name, found in measure.replaced(model, poems))
        yield "all coefficients", "attention", measure.transplanted(model, poems)
        yield kind, "restart", measure.restart(model, poems)


def at_load(seed: int, count: int, at: Setting) -> Iterator[Record]:
    """All models of one seed and load."""
    poems, kinds = corpus.synthetic(count, *at.words, seed=seed), ("gpt2", "static", *at.twins)
    for kind in (kind for kind in kinds if count in at.twins.get(kind, at.loads)):
        for name, task, found in measured(
            kind, learn(kind, poems, seed, at), poems, count == at.loads[1]
        ):
            yield from (
                Record(NAME, name, task, metric, value, seed, meta={"poems": count})
                for metric, value in found.items()
            )


def tuning(seed: int, kind: str, lr: float, muon: float, at: Setting) -> Iterator[Record]:
    """One cell of the grid of rates: bits per parameter at the last load but one, on poems that
    nothing else uses."""
    poems = corpus.synthetic(at.loads[-2], *at.words, seed=seed + OTHER)
    found = measure.judge(learn(kind, poems, seed + OTHER, at, (lr, muon)), poems)[
        "bits per parameter"
    ]
    yield Record(
        NAME, kind, "tuning", "bits per parameter", found, seed, meta={"lr": lr, "muon": muon}
    )


def units(profile: str, seed: int) -> Iterator[Unit]:
    """Where the profile has one, a unit for each cell of the grid; then one a seed and load."""
    at = SETTINGS[profile]
    for kind, (lr, muon) in (
        (name, pair) for name in GRID if at.grid for pair in product(*GRID[name])
    ):
        yield Unit(f"tuning {kind} {lr:g} {muon:g}", partial(tuning, seed, kind, lr, muon, at))
    for own, count in product(range(seed, seed + at.seeds), at.loads):
        yield Unit(f"seed {own}, {count} poems", partial(at_load, own, count, at))


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a model and load: means over seeds."""
    wide = (
        data[data.task == "learnt"]
        .pivot_table("value", ["model", "poems"], "metric", sort=False)
        .reset_index()
    )
    digits = {
        "parameters": "{:,.0f}",
        **dict.fromkeys(("demand", "bits per parameter", "memory ability"), "{:.2f}"),
    }
    return wide[["model", "poems"]].join(
        pd.DataFrame({name: wide[name].map(digits[name].format) for name in digits})
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S4, dynamic weights as the source of memory; S3, generated when asked and stored nowhere."""
    learnt = data[data.task == "learnt"].pivot_table("value", ["metric", "poems", "seed"], "model")
    bits, recited = learnt.loc["bits per parameter"], learnt.loc["memory ability"]
    second, value = (
        recited.loc[sorted(data.poems.dropna().unique())[1]].min(),
        data.set_index(["task", "metric"]).value,
    )
    fixed = second["static"] >= 0.9 and (bits["static"] / bits["gpt2"]).min() >= 0.75
    still, given = (
        second["uniform"] >= 0.9,
        data[data.metric == "memory ability"].groupby(["task", "model"]).value,
    )
    ended = (
        given.min()["attention", "its own"] >= 0.9
        and given.max()["attention"].drop("its own").max() <= 0.1
    )
    none = value["attention", "donor's words"].max() <= 0.1  # chance is 1/64
    spread = value["cut", "harmed"].min() >= 0.3 and value["cut", "needed"].min() >= 0.1
    back, runs = value["restart"].min() == 1, f"({learnt.index.unique('seed').size} seeds)"
    return [
        Verdict(
            "S4",
            "refuted" if fixed and still else "qualified" if fixed or still else "supported",
            f"fixed weights recite, at 3/4 of GPT-2's bits a parameter or more: {fixed}; GPT-2"
            f" under uniform attention from the start recites: {still}; replaced later, attention"
            f" ends recital: {ended}, and brings no words of its donor: {none} {runs}",
        ),
        Verdict(
            "S3",
            "qualified" if back and spread else "not testable here",
            f"no unit is the place of a poem: {spread}; but a copy from the bytes of the weights"
            f" answers the same, to the bit: {back} {runs}",
        ),
    ]
