"""Chapter 7 on a pretrained language model: fine-tuned on poems, under all instruments, before it
recites the first.

The model is the one that MEMLAB_LLM names, or SmolLM2-135M-Instruct where its package is installed
(requirements-llm.txt).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from memlab.book.opening_the_box.before_you_ask import pretrained
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.book.opening_the_box.reciting import pretrained as lessons
from memlab.book.units import Unit
from memlab.models import checkpoints
from memlab.results import Record, Verdict
from memlab.training import Progress

NAME = "before-you-ask-pretrained"
sources = checkpoints.sources  # which model is asked, for the record


class Size(NamedTuple):
    """Seeds; poems; passes through them; steps from look to look; every how many looks the way of
    the weights is taken, which needs as long as all the rest."""

    seeds: int
    poems: int
    epochs: int
    every: int
    ways: int


SIZES = {
    "quick": Size(1, 4, 4, 1, 2),
    "full": Size(3, 32, 20, 4, 2),
    "gpu": Size(5, 128, 20, 8, 1),
}
# Rows of the table: who observes, what that takes, whether the pupil itself is run, metric.
OBSERVERS = (
    ("asks once, no dice", "title", "yes", "recited"),
    ("may ask 10,000 times", "title", "yes", "10000 tries at 1.0"),
    ("reads along: tokens right", "title, text", "yes", "tokens"),
    ("reads along: taught or not *", "title, text", "yes", "loss: member"),
    ("the same, found at 1 % false", "title, text", "yes", "loss: member, at 1 %"),
    (
        "the same, with the start read too",
        "title, text, start",
        "yes",
        "loss, less the start's: member, at 1 %",
    ),
    ("reads along: text or patchwork *", "text", "yes", "loss: item"),
    (
        "the same, with the start read too *",
        "text, start",
        "yes",
        "loss, less the start's: item",
    ),
    ("reads along: true or swapped pair *", "title, text", "yes", "loss: pair"),
    ("probes states: known title *", "some titles", "yes", "known title"),
    ("probes states: word 1 *", "some poems", "yes", "word 1"),
    ("probes states: words 3 to 16 *", "some poems", "yes", "later words"),
    ("way from the start: text or patchwork *", "text, start", "no", "way: item"),
    ("way from the start: true or swapped pair *", "title, text, start", "no", "way: pair"),
    ("way, texts nobody was taught *", "text, start", "no", "way: item, nobody's"),
)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One for each seed."""
    size = SIZES[profile]
    for own in range(seed, seed + size.seeds):
        yield Unit(f"seed {own}", partial(one_lesson, own, size))


def _notes(
    task: str,
    found: Mapping[str, float],
    seed: int,
    index: int = 0,
    **meta: Any,
) -> Iterator[Record]:
    for metric, value in found.items():
        yield Record(NAME, "llm", task, metric, value, seed, index, meta)


def one_lesson(seed: int, size: Size) -> Iterator[Record]:
    """A copy of the model that `installed_llm` names, while it is taught, under every instrument;
    then asked, diced with, and given back its blocks one by one."""
    model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
    watch = pretrained.Watch(model, tokenizer, seed, size.poems)
    facts: dict[str, Any] = {
        "poems": size.poems,
        "poem_bits": watch.poems.bits_per_poem,
        "epochs": size.epochs,
    }
    for step, found in _taught(watch, size).items():
        yield from _notes("trace", found, seed, step=step, **facts)
    yield from _notes("asking", watch.asking(), seed, **facts)
    yield from _notes("dice", watch.dice(), seed, **facts)
    say = partial(print, f"{NAME}:", file=sys.stderr)
    for block, found in enumerate(watch.resets(say)):
        yield from _notes("reset", found, seed, block, **facts)


def _taught(watch: pretrained.Watch, size: Size) -> dict[int, pretrained.Found]:
    """What every look sees, by step: before the lesson, and every few steps of it."""
    lesson = lessons.Lesson(size.poems, size.epochs)
    plan = lessons.recipe(lesson, size.poems)
    trace = {0: watch.look()}

    def look(step: int, _row: object) -> None:
        turn = step // size.every
        trace[step] = watch.look(descent=turn % size.ways == 0)
        seen = trace[step]
        print(f"{NAME}: step {step}, recited {seen['recited']:.2f}", file=sys.stderr)

    with Progress(f"{NAME}, seed {watch.seed}", plan.steps) as progress:
        poems_as_text.teach(
            watch.pupil,
            watch.tokenizer,
            watch.taught,
            plan,
            batch=lesson.batch,
            seed=watch.seed,
            every=size.every,
            report=look,
            watch=progress.watch,
        )
    return trace


# ---- what is printed -----------------------------------------------------------------------------


def moments(data: pd.DataFrame) -> pd.DataFrame:
    """Every instrument at three moments, by metric and seed: "start" (before the lesson), "silent"
    (the last look at which nothing was recited; none if it recited from the first look on), "end".

    The way of the weights is not taken at every look: its "silent" is the last that was taken by
    then.
    """
    trace = data[data.task == "trace"].sort_values("step")
    quiet = trace[(trace.metric == "recited") & (trace.value == 0)]
    last = quiet.groupby("seed").step.max()
    upto = (trace.step > 0) & (trace.step <= trace.seed.map(last))
    parts = {"start": trace[trace.step == 0], "silent": trace[upto], "end": trace}
    columns = {name: rows.groupby(["metric", "seed"]).value.last() for name, rows in parts.items()}
    return pd.DataFrame(columns)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Who sees what before the lesson, while nothing can be recited, and at the end; means over
    seeds. With *: AUC, one half is chance."""
    means = moments(data).groupby(level="metric").mean()
    rows = []
    for who, takes, runs, metric in OBSERVERS:
        if metric in means.index:
            seen = [f"{value + 0.0:.2f}" for value in means.loc[metric]]
            rows.append((who, takes, runs, *seen))
    columns = ["observer", "takes", "runs it", "start", "silent", "end"]
    return pd.DataFrame(rows, columns=columns).replace("nan", "–")


def resets(data: pd.DataFrame) -> pd.DataFrame:
    """One block at a time as it came: poems still recited, bits lost a poem, poems that share the
    damage; means over seeds."""
    rows = data[data.task == "reset"]
    means = rows.pivot_table("value", "index", "metric")[["recited", "bits lost", "sharers"]]
    return means.round(2).rename_axis("block").rename_axis(None, axis=1).reset_index()


more_tables = (resets,)


# ---- verdicts ------------------------------------------------------------------------------------
# Fixed on 2026-11-30, before any recorded run. S1 has chapter 7's thresholds.


def _s1(data: pd.DataFrame) -> Verdict:
    """Only a query can tell: not so, if the loss tells, or weights that are never run."""
    silent = moments(data).silent.unstack("seed")
    wanted = ["loss: item", "loss: pair", "way: item"]
    if silent.reindex(wanted).isna().any(axis=None):
        return Verdict.lacking("S1", "a look before the first recital")
    low = silent.min(axis=1)
    read = min(low["loss: item"], low["loss: pair"]) >= 0.95
    verdict = "qualified" if read else "supported"
    if low["way: item"] >= 0.8:
        verdict = "refuted"
    said = (
        "a pretrained model, while nothing is recited, least of"
        f" {silent.shape[1]} seeds: AUC of the loss {low['loss: item']:.2f} for texts,"
        f" {low['loss: pair']:.2f} for pairs; of the way of the weights, never run,"
        f" {low['way: item']:.2f} for texts"
    )
    return Verdict("S1", verdict, said)


def _s2(data: pd.DataFrame) -> Verdict:
    """No definite state before the query: not so, if asking changes nothing and the chances of
    answers are known beforehand."""
    once = data[data.task.isin(["asking", "dice"])].groupby("metric").value
    low = once.min()
    asked = ["again", "backwards", "one at a time", "same weights"]
    needed = [*asked, "chi2 tail", "chi2 tail, hotter"]
    if low.reindex(needed).isna().any():
        return Verdict.lacking("S2", "asking again, or dice that leave something open")
    still = low[asked].min() == 1
    kept = low["chi2 tail"] >= 1e-4
    caught = once.max()["chi2 tail, hotter"] <= 1e-6
    verdict = "supported"
    if still and kept:
        verdict = "refuted" if caught else "not testable here"
    said = (
        f"a pretrained model asked again: same answers, same weights: {still}; drawn answers follow"
        f" the p read beforehand: {kept}; a sampler a fifth hotter would be caught: {caught}"
        f" ({data.seed.nunique()} seeds)"
    )
    return Verdict("S2", verdict, said)


def _s3(data: pd.DataFrame) -> Verdict:
    """At no place: not so, if one block alone is needed, or one serves a few poems. Stored it is,
    so there is no more than "qualified" to be had."""
    rows = data[data.task == "reset"]
    harm = rows.pivot_table("value", ["seed", "index"], "metric")
    if harm.empty or moments(data).end.xs("recited", level="metric").min() < 0.9:
        return Verdict.lacking("S3", "a model that recites, given back its blocks")
    # A block whose loss costs next to nothing shares out noise.
    felt = harm[harm["bits lost"] >= 1]
    worst = harm.recited.min()
    fewest = felt.sharers.min() if len(felt) else float("inf")
    poems = int(data.poems.max())
    needed = (harm.recited < 0.5).groupby("seed").sum()
    one_place = (needed == 1).any()
    verdict = "refuted" if one_place or fewest < poems / 4 else "qualified"
    said = (
        "what a pretrained model learnt, taken back in one block: at worst"
        f" {worst:.2f} of {poems} poems stay; at fewest {fewest:.1f} poems share the damage"
    )
    return Verdict("S3", verdict, said)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S1, only a query can tell; S2, no definite state before it; S3, at no place: each for one
    pretrained model."""
    return [_s1(data), _s2(data), _s3(data)]
