"""Chapter 9, how does a matrix remember? Every memory of the genealogy beside its law, on random
patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from memlab.book.outside_the_weights.associative_memories import measure
from memlab.book.units import Unit, grid
from memlab.results import Record, Verdict

# Seeds, width of a key (Larimar has half as many slots), patterns under a softmax, units of a
# Hopfield network.
SIZES = {
    "quick": (3, 256, 2**16, (128, 512)),
    "full": (5, 512, 2**19, (128, 512, 2048)),
    "gpu": (5, 1024, 2**19, (128, 512, 2048)),
}
LOADS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 4.0)
SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 1.0)
DIMS = (8, 12, 16, 20, 24, 28, 32, 48, 64)
NOISE = (0.0, 1.0, 2.0)
STEPS = (3, 7, 10, 12, 15, 18, 20, 22, 25, 28, 30, None)  # None: solved, recorded as "best"
SCALES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# a task: a function of `measure` and its settings
Design = tuple[Callable[..., dict[str, float]], list[dict[str, Any]]]
ROWS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("Hopfield, P = 0.1 N: overlap", "settle", "overlap", {"load": 0.1}),
    ("Hopfield, P = N/(2 ln N): perfect patterns", "perfect", "exact", {"times": 1.0}),
    ("softmax, β = d/2, d = 24: patterns", "crowd", "capacity", {"sharpness": "d/2", "dim": 24}),
    ("softmax, β = √d, d = 64: patterns", "crowd", "capacity", {"sharpness": "√d", "dim": 64}),
    ("linear, exact cues, E = 2K: error", "read", "error", {"load": 2.0, "cosine": 1.0}),
    (
        "linear, cues of 0.95, E = K/2: error",
        "read",
        "error",
        {"load": 0.5, "cosine": 0.95, "ridge": 1e-6},
    ),
    (
        "linear, cues of 0.95, E = K, best ridge: error",
        "read",
        "error",
        {"load": 1.0, "ridge": "best"},
    ),
    ("Kanerva, E = K/2: error", "believed", "actual", {"load": 0.5, "scale": 1.0}),
    ("Larimar, cues of 0.7, E = C/2: cosine", "projection", "cosine", {"share": 0.5}),
    (
        "residual, cues of 0.7, E = 0.9K: AUC",
        "novelty",
        "residual",
        {"load": 0.9, "cosine": 0.7, "spectrum": 0},
    ),
]


def designs(profile: str) -> dict[str, Design]:
    """What is measured, and where, by task."""
    _, width, most, units = SIZES[profile]
    return {
        **_networks(units, most),
        **_least_squares(width),
        **_larimar(width // 2, width),
    }


def _networks(units: Sequence[int], most: int) -> dict[str, Design]:
    """Hopfield's network and the softmax that came of it."""
    settle = grid(units=units, load=[0.05, 0.10, 0.12, 0.14, 0.16, 0.20, 0.25])
    perfect = grid(units=[128, 512, 2048], times=[0.5, 0.75, 1.0, 1.25, 1.5, 2.0])
    crowd = grid(dim=DIMS, sharpness=measure.SHARPNESS, most=[most])
    return {
        "settle": (measure.settle, settle),
        "perfect": (measure.perfect, perfect),
        "crowd": (measure.crowd, crowd),
    }


def _least_squares(width: int) -> dict[str, Design]:
    """Linear reads, and the residual that tells what was never written."""
    everywhere = grid(
        load=LOADS,
        width=[width],
        cosine=[1.0, 0.95],
        ridge=[1e-6, None],
    )
    # exact cues have no best ridge but none
    read = [at for at in everywhere if at["cosine"] < 1 or at["ridge"]]
    bent = grid(
        load=[0.5],
        width=[128],
        cosine=[0.95],
        ridge=[1e-8],
        keys=[1.0],
        noise=NOISE,
        whiten=[False, True],
    )
    asked = grid(
        load=SHARES,
        dim=[width],
        cosine=[0.7, 0.95],
        spectrum=[0.0, 1.0],
    )
    powers = [10.0**p for p in range(-6, 3)]
    ridge = grid(
        load=[1.0],
        width=[width],
        cosine=[0.9],
        ridge=powers,
    )
    return {
        "read": (measure.linear, read),
        "spectrum": (measure.linear, bent),
        "novelty": (measure.never_written, asked),
        "ridge": (measure.linear, ridge),
    }


def _larimar(slots: int, width: int) -> dict[str, Design]:
    """Kanerva's memory, Larimar's, and forgetting."""
    believed = grid(load=LOADS, slots=[slots], scale=[1.0, 3.0])
    projection = grid(share=[0.02, 0.1, 0.25, 0.5, 0.75, 0.95], dim=[width], cosine=[0.7])
    steps = grid(load=[0.25, 0.9, 1.0], slots=[slots], steps=STEPS)
    scale = grid(
        load=[0.5],
        slots=[slots],
        steps=[15, None],
        scale=SCALES,
    )
    return {
        "believed": (measure.believed, believed),
        "projection": (measure.projection, projection),
        "steps": (measure.one_shot, steps),
        "scale": (measure.one_shot, scale),
        "forgetting": (measure.forgetting, grid(load=SHARES, slots=[slots])),
    }


def measured(
    task: str,
    function: Callable[..., dict[str, float]],
    settings: Sequence[dict[str, Any]],
    seed: int,
) -> Iterator[Record]:
    """All settings of one task at one seed."""
    for at in settings:
        meta = {name: "best" if value is None else value for name, value in at.items()}
        for metric, value in function(seed=seed, **at).items():
            if math.isfinite(value):  # what grew without bound has no record but finite = 0
                yield Record("associative-memories", "memory", task, metric, value, seed, meta=meta)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit for each task and seed."""
    seeds, *_ = SIZES[profile]
    tasks = designs(profile)
    for start in range(seed, seed + seeds):
        for task, (function, settings) in tasks.items():
            run = partial(measured, task, function, settings, start)
            yield Unit(f"{task}, seed {start}", run)


def select(data: pd.DataFrame, task: str, metric: str, by: str, **at: Any) -> pd.DataFrame:
    """One metric of a task where the coordinates are as given: a row a seed, a column for each
    value of `by`."""
    rows = data[(data.task == task) & (data.metric == metric)]
    for name, value in at.items():
        rows = rows[rows[name] == value]
    return rows.pivot_table("value", "seed", by, dropna=False)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a law: what was measured, lowest to highest over seeds, beside what is expected
    (largest sizes only)."""
    rows = []
    for name, task, metric, at in ROWS:
        units = data[data.task == task].units.max()
        sized = data[(data.task != task) | data.units.isna() | (data.units == units)]
        found = select(sized, task, metric, "task", **at)[task]
        law = select(sized, task, "law", "task", **at)[task]
        rows.append((name, f"{found.min():.3g} – {found.max():.3g}", f"{law.mean():.3g}"))
    return pd.DataFrame(rows, columns=["memory", "measured", "law"])


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N8, N9, N10: what Larimar's paper says of its memory; N11, N12, N13: what we add."""
    return [judge(data) for judge in (_n8, _n9, _n10, _n11, _n12, _n13)]


def _grade(holds: Any, always: Any = True) -> str:
    if not holds:
        return "refuted"
    return "supported" if always else "qualified"


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _n8(data: pd.DataFrame) -> Verdict:
    """Up to as many patterns as slots are written and read without loss."""
    solved = select(data, "steps", "error", "load", steps="best").max()
    rough = select(data, "steps", "error", "load", steps=15).max()
    finite = select(data, "steps", "finite", "load", steps=30)
    below = solved.drop(1.0).max() < 1e-4
    at_k = solved[1.0] < 1e-4
    fast = rough.max() < 0.01
    ends = finite.min(axis=None) == 1
    return Verdict(
        "N8",
        _grade(below, at_k and fast and ends),
        f"solved, error below 1e-4 up to E = 0.9 K: {below}, at E = K: {at_k}; iterated, below"
        f" 0.01 after 15 steps: {fast}, finite at 30: {ends} {_runs(data)}",
    )


def _n9(data: pd.DataFrame) -> Verdict:
    """What was forgotten is as if never written."""
    drift = select(data, "forgetting", "difference", "load")
    length = select(data, "forgetting", "length", "load")
    same = drift.max(axis=None) < 1e-5
    loud = length[0.9].min() > 1
    return Verdict(
        "N9",
        _grade(same),
        f"forgotten is never written, to 1e-5: {same}; what is read there is longer than a"
        f" value at E = 0.9 K: {loud} {_runs(data)}",
    )


def _n10(data: pd.DataFrame) -> Verdict:
    """The number of rows is the bound of a linear memory."""
    exact = select(data, "read", "error", "load", cosine=1.0, ridge=1e-6)
    noisy = select(data, "read", "error", "load", cosine=0.95, ridge=1e-6)
    bound = exact[[0.5, 0.9]].max(axis=None) < 0.01 < 0.6 < exact[2.0].min()
    peak = noisy[1.0].min()
    return Verdict(
        "N10",
        _grade(bound, peak < 1),
        f"exact cues, nothing lost at 0.9 K, over 0.6 at 2 K: {bound}; cues of"
        f" 0.95, error above 1 at E = K: {peak > 1} {_runs(data)}",
    )


def _n11(data: pd.DataFrame) -> Verdict:
    """The law gives the error of a linear read."""
    reads = data[(data.task == "read") & (data.load != 1)]
    error = reads[reads.metric == "error"].value.array
    law = reads[reads.metric == "law"].value.array
    off = (abs(error - law) / (law + 0.01)).max()
    return Verdict(
        "N11",
        _grade(off < 0.1),
        f"error within 10 % of the law at every load but 1: {off < 0.1} {_runs(data)}",
    )


def _n12(data: pd.DataFrame) -> Verdict:
    """Larimar's first matrix does not matter."""
    moved = select(data, "projection", "other M0", "share").max(axis=None)
    return Verdict(
        "N12",
        _grade(moved < 1e-6),
        f"another first matrix moves no read-out by 1e-6: {moved < 1e-6} {_runs(data)}",
    )


def _n13(data: pd.DataFrame) -> Verdict:
    """The residual tells what was never written."""
    plain = select(data, "novelty", "residual", "load", cosine=0.95, spectrum=0)[0.9].min()
    bent = select(data, "novelty", "residual", "load", cosine=0.95, spectrum=1)[0.9].min()
    return Verdict(
        "N13",
        _grade(plain > 0.95, bent > 0.95),
        f"AUC above 0.95 at E = 0.9 K: {plain > 0.95}; with keys that"
        f" share directions: {bent > 0.95} {_runs(data)}",
    )
