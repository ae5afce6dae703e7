"""Chapter 2, what does universal approximation promise? Error against width, exact memories, and
what decides recital.

Targets approximated in several ways; lists returned by constructions of one and two hidden layers,
by least squares in families that are dense and in one that is not, and by training, with labels
that follow a rule and with shuffled ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import pandas as pd
import torch

from memlab.book.argument.universal_approximation import approximation, memorising
from memlab.book.units import Unit, per_seed
from memlab.results import Record, Verdict

SEEDS = {"quick": 3, "full": 10, "gpu": 10}
STEPS = {"quick": 1000, "full": 10_000, "gpu": 10_000}  # of a training
WIDTHS = (8, 16, 32, 64, 128, 256)  # of sums that are written down or solved for
TRAINED = (8, 32, 128)  # widths of sums that are trained
STARTS = 20
LABELS = 64
DIM = 16  # of the points of a list
POINTS = (16, 100, 1000, 10_000)  # of a list that is returned exactly
BITS = (16, 24, 32, 40, 48)  # of a rounded mantissa
LISTS = (128, 256)  # points of a list that random units return
SHARES = (0.125, 0.25, 0.5, 0.75, 0.875, 1.0, 1.125, 1.25)  # units to an item
# (σ, length of w)
FAMILIES = {
    "ReLU": (torch.relu, 1.0),
    "cosine": (torch.cos, 8.0),
    "square": (torch.square, 1.0),
}


def _note(
    seed: int,
    task: str,
    model: str,
    found: Mapping[str, Any],
    index: int = 0,
    **meta: Any,
) -> Iterator[Record]:
    return (
        Record(
            "universal-approximation",
            model,
            task,
            metric,
            float(value),
            seed,
            index,
            meta,
        )
        for metric, value in found.items()
    )


def approximations(seed: int, steps: int) -> Iterator[Record]:
    """Errors of all targets, methods and widths. Two more trainings: of the kinked target, which
    two units equal, from many starts; and of the smooth one, from the construction."""
    for target, method, width, G in approximation.contenders(WIDTHS, TRAINED, seed, steps):
        found = approximation.errors(G, target)
        yield from _note(seed, "width", method, found, target=target, width=width)
    for width in (2, 8):
        seeds = range(STARTS * seed, STARTS * (seed + 1))
        starts = [approximation.draw(1, width, torch.relu, seed=own) for own in seeds]
        made = approximation.trained(["kinked"] * STARTS, starts, steps)
        for index, G in enumerate(made):
            found = approximation.errors(G, "kinked")
            yield from _note(seed, "starts", "trained", found, index, target="kinked", width=width)
    start = approximation.constructed("smooth", 128)
    (G,) = approximation.trained(["smooth"], [start], steps, lr=1e-3)
    found = approximation.errors(G, "smooth")
    yield from _note(seed, "starts", "from construction", found, target="smooth", width=128)


def memories(seed: int) -> Iterator[Record]:
    """Largest error, units and adjustable numbers of the exact memories, and what is left of them
    when rounded."""
    for N in POINTS:
        X, *lists = memorising.listed(N, DIM, LABELS, seed)
        a = memorising.direction(X, seed)
        for labels, y in zip(("rule", "shuffled"), lists, strict=True):
            one = memorising.memorise(X, y, a)
            found = {
                "error": (memorising.evaluate(one, X, N) - y).abs().max(),
                "units": N - 1,
                "numbers": 2 * N + DIM - 1,
            }
            yield from _note(seed, "memory", "1 hidden", found, points=N, labels=labels)
            two = memorising.memorise_deep(X, y, a)
            found = {
                "error": (memorising.evaluate(two, X, N) - y).abs().max(),
                "units": two.units,
                "numbers": two.numbers,
            }
            yield from _note(seed, "memory", "2 hidden", found, points=N, labels=labels)
        for bits in BITS:  # of the shuffled list
            found = {"recited": memorising.recited(two.rounded(bits), X, y, N)}
            yield from _note(seed, "rounded", "2 hidden", found, points=N, bits=bits)


def recitals(seed: int) -> Iterator[Record]:
    """Share of a shuffled list that random units return; and what construction and training make of
    a rule."""
    for N in LISTS:
        X, _, y = memorising.listed(N, DIM, LABELS, seed)
        for family, (sigma, scale) in FAMILIES.items():
            for share in SHARES:
                drawn = approximation.draw(DIM, int(share * N), sigma, scale, seed)
                G = approximation.solve(drawn, X, y)
                found = {"recited": memorising.recited(G, X, y)}
                yield from _note(seed, "recital", family, found, points=N, share=share)
    X, *lists = memorising.listed(1024, DIM, 2, seed)
    for labels, y in zip(("rule", "shuffled"), lists, strict=True):
        old, new = X.chunk(2)
        seen, fresh = y.chunk(2)
        constructed = memorising.memorise(old, seen, memorising.direction(old, seed))
        start = approximation.draw(DIM, 128, torch.relu, seed=seed)
        (trained,) = approximation.train([start], old, seen[None], steps=500)
        for model, G in (("constructed", constructed), ("trained", trained)):
            found = {
                "seen": memorising.recited(G, old, seen),
                "fresh": memorising.recited(G, new, fresh),
            }
            yield from _note(seed, "rule", model, found, labels=labels)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """SEEDS[profile] seeds, beginning with `seed`."""
    steps = STEPS[profile]

    def one_seed(own: int) -> Iterator[Record]:
        return chain(approximations(own, steps), memories(own), recitals(own))

    return per_seed(one_seed, seed, SEEDS[profile])


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Sup error at 128 units and, from 32 units on (trained: from 8 on), its rate in the width;
    medians over seeds."""
    sup = _sup(data)
    late = sup[(sup.width >= 32) | (sup.model == "trained")]
    curves = late.pivot_table("value", ["model", "target"], "width", aggfunc="median").T
    rates = curves.apply(_rate).round(1) + 0.0  # no minus before a zero
    at_128 = curves.loc[128].map("{:.1e}".format)
    cells = (at_128 + rates.map(", n^{:.1f}".format)).unstack()
    ordered = cells[list(approximation.TARGETS)].fillna("–")
    return ordered.reset_index(names="method").rename_axis(None, axis=1)


def _sup(data: pd.DataFrame) -> pd.DataFrame:
    return data[(data.task == "width") & (data.metric == "sup")]


def _rate(curve: pd.Series) -> float:
    known = curve.dropna()
    return approximation.rate(known.index.tolist(), known.tolist())


def memory_table(data: pd.DataFrame) -> pd.DataFrame:
    """The exact memories: units, adjustable numbers and the largest error over lists and seeds."""
    rows = data[data.task == "memory"]
    worst = rows.pivot_table("value", ["points", "model"], "metric", aggfunc="max")
    flat = worst.reset_index()
    whole = flat.astype(dict.fromkeys(("points", "units", "numbers"), int))
    whole["error"] = flat.error.map("{:.0e}".format)
    return whole[["points", "model", "units", "numbers", "error"]].rename_axis(None, axis=1)


more_tables = (memory_table,)


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _u2(data: pd.DataFrame) -> Verdict:
    """What the theorem promises."""
    errors = _sup(data).groupby(["model", "target", "width"]).value
    low = errors.min()
    high = errors.max()
    falls = all(
        high["constructed", target, 256] <= low["constructed", target, 32] / 6
        for target in ("smooth", "kinked", "2-D")
    )
    stays = low.xs("broken", level="target").min() >= 0.45
    floor = min(low["squares", "smooth", 256], low["squares", "kinked", 256]) >= 0.1
    return Verdict(
        "U2",
        "supported" if falls and stays and floor else "refuted",
        "constructed, 32 to 256 ReLUs: the sup error of continuous targets falls over 6 times:"
        f" {falls}; at a jump it is >= 0.45 for every method: {stays}; with squares it stays >="
        f" 0.1: {floor} {_runs(data)}",
    )


def _u3(data: pd.DataFrame) -> Verdict:
    """That it explains that models memorise."""
    recitals = data[data.task == "recital"]
    returned = recitals.groupby(["model", "points", "share"]).value
    high = returned.max()
    fails = max(high["ReLU", 128, 0.5], high["cosine", 128, 0.5]) <= 0.15
    works = returned.min()["square", 128, 1.25] == 1
    if fails and works:
        verdict = "refuted"
    elif fails or works:
        verdict = "qualified"
    else:
        verdict = "supported"
    return Verdict(
        "U3",
        verdict,
        f"of 128 labels, 64 units of dense families return <= 0.15: {fails}; 160 squares, never"
        f" dense, return all: {works} {_runs(data)}",
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """U2, what the theorem promises; U3, that it explains that models memorise."""
    return [_u2(data), _u3(data)]
