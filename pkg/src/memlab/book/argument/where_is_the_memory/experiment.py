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


TWINS = measure.KINDS[2:]
SETTINGS = {
    "quick": Setting(
        seeds=3,
        loads=(64, 128, 256),
        steps=200,
        best={"gpt2": (0.1, 0.1), "static": (0.03, 0.7)},
        twins={
            "uniform": (128, 256),
            "blindfolded": (256,),
            "never learnt": (256,),
        },
    ),
    "full": Setting(
        seeds=5,
        loads=(64, 128, 192, 256, 512),
        steps=1000,
        best={"gpt2": (0.1, 0.1), "static": (0.03, 0.3)},
        twins=dict.fromkeys(TWINS, (128, 256)),
        grid=True,
    ),
    "gpu": Setting(
        seeds=5,
        loads=(512, 1024, 2048, 4096),
        steps=4000,
        best={"gpt2": (0.1, 0.1), "static": (0.03, 0.3)},
        twins=dict.fromkeys(TWINS, (1024, 2048)),
        grid=True,
        words=(16, 256),
        shape=(64, 2),
        batch=1024,
    ),
}
# (rates of AdamW, rates of Muon)
GRID = {
    "gpt2": ((0.01, 0.03, 0.1, 0.3), (0.0, 0.05, 0.1, 0.2)),
    "static": ((0.03, 0.1, 0.3), (0.0, 0.1, 0.3, 1.0)),
}
OTHER = 1000  # added to the seed of the poems and weights on which rates are chosen


def learn(
    kind: str,
    poems: corpus.Poems,
    seed: int,
    at: Setting,
    rates: Rates | None = None,
) -> Any:
    """A trained model; twins of GPT-2 learn with the rates of GPT-2, which were not chosen for
    them."""
    lr, muon = rates or at.best.get(kind, at.best["gpt2"])
    recipe = Recipe(at.steps, lr=lr, muon=muon, muon_bfloat16=False)
    dim, layers = at.shape
    return measure.learn(
        kind,
        poems,
        recipe,
        dim=dim,
        layers=layers,
        seed=seed,
        batch=at.batch,
    )


def measured(
    kind: str,
    model: Any,
    poems: corpus.Poems,
    operate: bool,
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
        for name, found in measure.replaced(model, poems):
            yield name, "attention", found
        yield "all coefficients", "attention", measure.transplanted(model, poems)
        yield kind, "restart", measure.restart(model, poems)


def at_load(
    seed: int,
    count: int,
    at: Setting,
) -> Iterator[Record]:
    """All models of one seed and load."""
    poems = corpus.synthetic(count, *at.words, seed=seed)
    operate = count == at.loads[1]
    for kind in ("gpt2", "static", *at.twins):
        if count not in at.twins.get(kind, at.loads):
            continue
        model = learn(kind, poems, seed, at)
        for name, task, found in measured(kind, model, poems, operate):
            for metric, value in found.items():
                yield Record(NAME, name, task, metric, value, seed, meta={"poems": count})


def tuning(
    seed: int,
    kind: str,
    lr: float,
    muon: float,
    at: Setting,
) -> Iterator[Record]:
    """One cell of the grid of rates: bits per parameter at the last load but one, on poems that
    nothing else uses."""
    metric = "bits per parameter"
    poems = corpus.synthetic(at.loads[-2], *at.words, seed=seed + OTHER)
    model = learn(kind, poems, seed + OTHER, at, (lr, muon))
    value = measure.judge(model, poems)[metric]
    yield Record(NAME, kind, "tuning", metric, value, seed, meta={"lr": lr, "muon": muon})


def units(profile: str, seed: int) -> Iterator[Unit]:
    """Where the profile has one, a unit for each cell of the grid; then one a seed and load."""
    at = SETTINGS[profile]
    for kind, rates in GRID.items() if at.grid else ():
        for lr, muon in product(*rates):
            yield Unit(f"tuning {kind} {lr:g} {muon:g}", partial(tuning, seed, kind, lr, muon, at))
    for own, count in product(range(seed, seed + at.seeds), at.loads):
        yield Unit(f"seed {own}, {count} poems", partial(at_load, own, count, at))


# ---- what is printed -----------------------------------------------------------------------------


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a model and load: means over seeds."""
    rows = data[data.task == "learnt"]
    means = rows.pivot_table("value", ["model", "poems"], "metric", sort=False)
    wide = means.reset_index().rename_axis(columns=None)
    printed = wide[["model", "poems"]].copy()
    printed["parameters"] = wide["parameters"].map("{:,.0f}".format)
    for metric in ("demand", "bits per parameter", "memory ability"):
        printed[metric] = wide[metric].map("{:.2f}".format)
    return printed


def _learnt(data: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of the trained models: a row a load and seed, a column a model."""
    rows = data[(data.task == "learnt") & (data.metric == metric)]
    return rows.pivot_table("value", ["poems", "seed"], "model")


def _runs(data: pd.DataFrame) -> str:
    return f"({data[data.task == 'learnt'].seed.nunique()} seeds)"


def _s4(data: pd.DataFrame) -> Verdict:
    """Dynamic weights as the source of memory."""
    bits = _learnt(data, "bits per parameter")
    second_load = sorted(data.poems.dropna().unique())[1]
    recited = _learnt(data, "memory ability").loc[second_load].min()
    fixed = recited["static"] >= 0.9 and (bits["static"] / bits["gpt2"]).min() >= 0.75
    still = recited["uniform"] >= 0.9
    given = data[(data.task == "attention") & (data.metric == "memory ability")]
    by_attention = given.groupby("model").value
    foreign = by_attention.max().drop("its own")
    ended = by_attention.min()["its own"] >= 0.9 and foreign.max() <= 0.1
    brought = data[(data.task == "attention") & (data.metric == "donor's words")]
    none = brought.value.max() <= 0.1  # chance is 1/64
    if fixed and still:
        verdict = "refuted"
    elif fixed or still:
        verdict = "qualified"
    else:
        verdict = "supported"
    return Verdict(
        "S4",
        verdict,
        f"fixed weights recite, at 3/4 of GPT-2's bits a parameter or more: {fixed}; GPT-2"
        f" under uniform attention from the start recites: {still}; replaced later, attention"
        f" ends recital: {ended}, and brings no words of its donor: {none} {_runs(data)}",
    )


def _s3(data: pd.DataFrame) -> Verdict:
    """Generated when asked and stored nowhere."""
    value = data.set_index(["task", "metric"]).value
    spread = value["cut", "harmed"].min() >= 0.3 and value["cut", "needed"].min() >= 0.1
    back = value["restart"].min() == 1
    return Verdict(
        "S3",
        "qualified" if back and spread else "not testable here",
        f"no unit is the place of a poem: {spread}; but a copy from the bytes of the weights"
        f" answers the same, to the bit: {back} {_runs(data)}",
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S4, dynamic weights as the source of memory; S3, generated when asked and stored nowhere."""
    return [_s4(data), _s3(data)]
