"""Chapter 7, is it there before you ask? One training run under all instruments, and crowds whose
weights are read.

The box is that of chapter 1. Crowds are tiny boxes, each of which learnt another half of 24 poems:
all from the same start, or each from its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from memlab.book.opening_the_box.before_you_ask import measure
from memlab.book.units import Unit
from memlab.models import stock
from memlab.results import Record, Verdict
from memlab.training import Recipe


class Size(NamedTuple):
    """How much a profile asks for: seeds, boxes in a crowd, steps of the box and of the crowds,
    poems for the box."""

    seeds: int
    boxes: int
    steps: int = 100
    crowd_steps: int = 80
    poems: int = 128


SIZES = {
    "quick": Size(3, 96),
    "full": Size(10, 192),
    "gpu": Size(20, 768),
}
EVERY = 4
CROWD_LOOKS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80)
CROWDS = {"same start": True, "own starts": False}
# Rows of the table: who observes, what that takes, whether the box is run, model, metric.
OBSERVERS = (
    ("asks once, no dice", "title", "yes", "box", "recited"),
    ("may ask 10,000 times", "title", "yes", "box", "10000 tries at 1.0"),
    ("the same, half the temperature", "title", "yes", "box", "10000 tries at 0.5"),
    ("asks for 1,024 random titles", "nothing", "yes", "box", "found blindly"),
    ("reads along: bits", "title, text", "yes", "box", "bits"),
    ("reads along: text or patchwork *", "text", "yes", "box", "loss: item"),
    ("reads along: true or swapped pair *", "title, text", "yes", "box", "loss: pair"),
    ("probes states: known title *", "some titles", "yes", "box", "known title"),
    ("probes states: word 1 *", "some poems", "yes", "box", "word 1"),
    ("probes states: words 3 to 16 *", "some poems", "yes", "box", "later words"),
    ("probes weights, one start *", "siblings", "no", "same start", "probe"),
    ("probes weights, many starts *", "siblings", "no", "own starts", "probe"),
    ("way from its start: text or patchwork *", "text, its start", "no", "box", "own start: item"),
    (
        "way from its start: true or swapped pair *",
        "title, text, its start",
        "no",
        "box",
        "own start: pair",
    ),
    ("way from a wrong start: text or patchwork *", "text", "no", "box", "other start: item"),
)


def _notes(
    model: str,
    task: str,
    found: Mapping[str, float],
    seed: int,
    index: int = 0,
    **meta: int,
) -> Iterator[Record]:
    for what, value in found.items():
        yield Record("before-you-ask", model, task, what, value, seed, index, meta)


def one_box(seed: int, size: Size) -> Iterator[Record]:
    """One box while it learns, under every instrument; then asked, diced with, and cut."""
    watch = measure.Watch(seed, size.poems)
    trace = {0: watch.look()}

    def report(step: int, _row: object) -> None:
        trace[step] = watch.look()

    recipe = Recipe(size.steps, lr=1e-2)
    stock.teach(watch.box, watch.poems, recipe, every=EVERY, report=report)
    for step, found in trace.items():
        yield from _notes("box", "trace", found, seed, step=step)
    asked = {
        "asking": watch.asking(),
        "dice": watch.dice(),
        "strangers": watch.strangers(),
    }
    for task, found in asked.items():
        yield from _notes("box", task, found, seed)
    for index, found in enumerate(watch.lesions()):
        yield from _notes("box", "lesion", found, seed, index)


def one_crowd(
    seed: int,
    kind: str,
    size: Size,
) -> Iterator[Record]:
    """One crowd while it learns, asked and read by its weights."""
    crowd = measure.crowd(seed, size.boxes, CROWDS[kind])
    slopes = crowd.slopes()
    trace: dict[int, measure.Found] = {}

    def report(step: int, weights: Tensor) -> None:
        trace[step] = measure.crowd_look(crowd, slopes, weights)

    crowd.learn(Recipe(size.crowd_steps, lr=2e-2), look_at=CROWD_LOOKS, report=report)
    for step, found in trace.items():
        yield from _notes(kind, "trace", found, seed, step=step)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """A box and two crowds a seed, each on its own."""
    size = SIZES[profile]
    for s in range(seed, seed + size.seeds):
        yield Unit(f"box, seed {s}", partial(one_box, s, size))
        for kind in CROWDS:
            yield Unit(f"crowd, {kind}, seed {s}", partial(one_crowd, s, kind, size))


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Who sees what while nothing can be recited, and at the end; means over seeds. With *: AUC,
    one half is chance."""
    means = measure.moments(data).groupby(level=["model", "metric"]).mean()
    rows = []
    for who, takes, runs, model, metric in OBSERVERS:
        silent, end = means.loc[(model, metric), ["silent", "end"]]
        # + 0.0: no minus in front of a zero
        rows.append((who, takes, runs, f"{silent + 0.0:.2f}", f"{end + 0.0:.2f}"))
    columns = ["observer", "takes", "runs it", "silent", "end"]
    return pd.DataFrame(rows, columns=columns).replace("nan", "–")


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S1, only a query can tell; S2, no definite state before it; S3, the poem is at no place."""
    return [_s1(data), _s2(data), _s3(data)]


def _least(data: pd.DataFrame, moment: str) -> pd.Series:
    """What each instrument brings at a moment, by model and metric: the lowest of all seeds."""
    return measure.moments(data).groupby(level=["model", "metric"]).min()[moment]


def _most(data: pd.DataFrame, moment: str) -> pd.Series:
    """The highest of all seeds."""
    return measure.moments(data).groupby(level=["model", "metric"]).max()[moment]


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _s1(data: pd.DataFrame) -> Verdict:
    """Only a query can tell: not so, if the loss tells, or weights that are never run."""
    low = _least(data, "silent")
    quiet = low["box"]
    read = min(quiet["loss: item"], quiet["loss: pair"]) >= 0.95
    unrun = min(quiet["own start: item"], low["same start", "probe"]) >= 0.8
    verdict = "supported"
    if unrun:
        verdict = "refuted"
    elif read:
        verdict = "qualified"
    return Verdict(
        "S1",
        verdict,
        "while nothing is recited, AUC >= "
        f"0.95 by the loss: {read}, >= 0.8 by weights that are never run: {unrun} {_runs(data)}",
    )


def _s2(data: pd.DataFrame) -> Verdict:
    """No definite state before the query: not so, if asking changes nothing and the chances of
    answers are known beforehand."""
    low = _least(data, "end")["box"]
    high = _most(data, "end")["box"]
    still = min(low["again"], low["backwards"], low["one at a time"], low["same weights"]) == 1
    fair = low["chi2 tail"] >= 1e-4 and high["chi2 tail, hotter"] <= 1e-6
    return Verdict(
        "S2",
        "refuted" if still and fair else "supported",
        f"asked again: same answers, same weights: {still};"
        f" drawn answers follow the p read beforehand: {fair} {_runs(data)}",
    )


def _s3(data: pd.DataFrame) -> Verdict:
    """The poem is at no place: it unrolls word by word, and no unit holds it alone."""
    low = _least(data, "end")["box"]
    high = _most(data, "end")["box"]
    cut = data[data.task == "lesion"].groupby("metric").value.min()
    unrolls = low["word 1"] >= 0.9 and high["later words"] <= 0.65
    spread = cut["sharers"] >= 5 and cut["recited"] >= 0.3
    return Verdict(
        "S3",
        "qualified" if unrolls and spread else "refuted",
        "after the title only word 1 can be read off:"
        f" {unrolls}; no hidden unit is needed, or serves fewer than 5 poems: {spread}"
        f" {_runs(data)}",
    )
