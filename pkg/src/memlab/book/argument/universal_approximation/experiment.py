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

SEEDS, STEPS = {"quick": 3, "full": 10, "gpu": 10}, {"quick": 1000, "full": 10_000, "gpu": 10_000}
WIDTHS, TRAINED, STARTS = (8, 16, 32, 64, 128, 256), (8, 32, 128), 20
POINTS, BITS, LABELS, DIM = (16, 100, 1000, 10_000), (16, 24, 32, 40, 48), 64, 16
LISTS, SHARES = (
    (128, 256),
    (0.125, 0.25, 0.5, 0.75, 0.875, 1.0, 1.125, 1.25),
)  # of a list, and of units to an item
FAMILIES = {"ReLU": (torch.relu, 1.0), "cosine": (torch.cos, 8.0), "square": (torch.square, 1.0)}


def _note(
    seed: int, task: str, model: str, found: Mapping[str, Any], index: int = 0, **meta: Any
) -> Iterator[Record]:
    return (
        Record("universal-approximation", model, task, metric, float(value), seed, index, meta)
        for metric, value in found.items()
    )


def approximations(seed: int, steps: int) -> Iterator[Record]:
    """Errors of all targets, methods and widths. Two more trainings: of the kinked target, which
    two units equal, from many starts; and of the smooth one, from the construction."""
    for target, method, width, G in approximation.contenders(WIDTHS, TRAINED, seed, steps):
        yield from _note(
            seed, "width", method, approximation.errors(G, target), target=target, width=width
        )
    for width in (2, 8):
        starts = [
            approximation.draw(1, width, torch.relu, seed=STARTS * seed + index)
            for index in range(STARTS)
        ]
        for index, G in enumerate(approximation.trained(["kinked"] * STARTS, starts, steps)):
            yield from _note(
                seed,
                "starts",
                "trained",
                approximation.errors(G, "kinked"),
                index,
                target="kinked",
                width=width,
            )
    (G,) = approximation.trained(
        ["smooth"], [approximation.constructed("smooth", 128)], steps, lr=1e-3
    )
    yield from _note(
        seed,
        "starts",
        "from construction",
        approximation.errors(G, "smooth"),
        target="smooth",
        width=128,
    )


def memories(seed: int) -> Iterator[Record]:
    """Largest error, units and adjustable numbers of the exact memories, and what is left of them
    when rounded."""
    for N in POINTS:
        X, *lists = memorising.listed(N, DIM, LABELS, seed)
        a = memorising.direction(X, seed)
        for labels, y in zip(("rule", "shuffled"), lists, strict=True):
            one, two = memorising.memorise(X, y, a), memorising.memorise_deep(X, y, a)
            for layers, G, units, numbers in (
                (1, one, N - 1, 2 * N + DIM - 1),
                (2, two, two.units, two.numbers),
            ):
                found = {
                    "error": (memorising.evaluate(G, X, N) - y).abs().max(),
                    "units": units,
                    "numbers": numbers,
                }
                yield from _note(seed, "memory", f"{layers} hidden", found, points=N, labels=labels)
        for bits in BITS:
            found = {"recited": memorising.recited(two.rounded(bits), X, y, N)}
            yield from _note(seed, "rounded", "2 hidden", found, points=N, bits=bits)


def recitals(seed: int) -> Iterator[Record]:
    """Share of a shuffled list that random units return; and what construction and training make of
    a rule."""
    for N in LISTS:
        X, _, y = memorising.listed(N, DIM, LABELS, seed)
        for family, (sigma, scale) in FAMILIES.items():
            for share in SHARES:
                G = approximation.solve(
                    approximation.draw(DIM, int(share * N), sigma, scale, seed), X, y
                )
                found = {"recited": memorising.recited(G, X, y)}
                yield from _note(seed, "recital", family, found, points=N, share=share)
    X, *lists = memorising.listed(1024, DIM, 2, seed)
    for labels, y in zip(("rule", "shuffled"), lists, strict=True):
        (old, new), (seen, fresh) = X.chunk(2), y.chunk(2)
        sums = {
            "constructed": memorising.memorise(old, seen, memorising.direction(old, seed)),
            "trained": approximation.train(
                [approximation.draw(DIM, 128, torch.relu, seed=seed)], old, seen[None], steps=500
            )[0],
        }
        for model, G in sums.items():
            found = {
                "seen": memorising.recited(G, old, seen),
                "fresh": memorising.recited(G, new, fresh),
            }
            yield from _note(seed, "rule", model, found, labels=labels)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """SEEDS[profile] seeds, beginning with `seed`."""
    return per_seed(
        lambda s: chain(approximations(s, STEPS[profile]), memories(s), recitals(s)),
        seed,
        SEEDS[profile],
    )


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Sup error at 128 units and, from 32 units on (trained: from 8 on), its rate in the width;
    medians over seeds."""
    sup = data[
        (data.task == "width")
        & (data.metric == "sup")
        & ((data.width >= 32) | (data.model == "trained"))
    ]
    curves = sup.pivot_table("value", ["model", "target"], "width", aggfunc="median").T
    rates = curves.apply(
        lambda curve: approximation.rate(curve.dropna().index.tolist(), curve.dropna().tolist())
    )
    cells = (
        curves.loc[128].map("{:.1e}".format) + (rates.round(1) + 0.0).map(", n^{:.1f}".format)
    ).unstack()
    return (
        cells[list(approximation.TARGETS)]
        .fillna("–")
        .reset_index(names="method")
        .rename_axis(None, axis=1)
    )


def memory_table(data: pd.DataFrame) -> pd.DataFrame:
    """The exact memories: units, adjustable numbers and the largest error over lists and seeds."""
    worst = (
        data[data.task == "memory"]
        .pivot_table("value", ["points", "model"], "metric", aggfunc="max")
        .reset_index()
    )
    whole = worst.astype({"points": int, "units": int, "numbers": int}).assign(
        error=worst.error.map("{:.0e}".format)
    )
    return whole[["points", "model", "units", "numbers", "error"]].rename_axis(None, axis=1)


more_tables = (memory_table,)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """U2, what the theorem promises; U3, that it explains that models memorise."""
    sup = (
        data[(data.task == "width") & (data.metric == "sup")]
        .groupby(["model", "target", "width"])
        .value
    )
    low, high, runs = sup.min(), sup.max(), f"({data.seed.nunique()} seeds)"
    falls = all(
        high["constructed", f, 256] <= low["constructed", f, 32] / 6
        for f in ("smooth", "kinked", "2-D")
    )
    stays = low.xs("broken", level="target").min() >= 0.45
    floor = min(low["squares", f, 256] for f in ("smooth", "kinked")) >= 0.1
    returned = data[data.task == "recital"].groupby(["model", "points", "share"]).value
    fails = max(returned.max()[family, 128, 0.5] for family in ("ReLU", "cosine")) <= 0.15
    works = returned.min()["square", 128, 1.25] == 1
    return [
        Verdict(
            "U2",
            "supported" if falls and stays and floor else "refuted",
            "constructed, 32 to 256 ReLUs: the sup error of continuous targets falls over 6 times:"
            f" {falls}; at a jump it is >= 0.45 for every method: {stays}; with squares it stays >="
            f" 0.1: {floor} {runs}",
        ),
        Verdict(
            "U3",
            "refuted" if fails and works else "qualified" if fails or works else "supported",
            f"of 128 labels, 64 units of dense families return <= 0.15: {fails}; 160 squares, never"
            f" dense, return all: {works} {runs}",
        ),
    ]
