"""Chapter 8, what is the right question? Boxes that learnt the same poems under different keys,
asked in many ways.

What is measured stands in `measure.py`; here are the sizes, the tables and what follows
for the claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from memlab.book.opening_the_box.the_right_question import measure
from memlab.book.opening_the_box.the_right_question.measure import Size
from memlab.book.units import Unit
from memlab.results import Verdict

SIZES = {
    "quick": Size(3),
    "full": Size(10, 128, 16, 64, 200, 120, 120),
    "gpu": Size(20, 256, 16, 128, 600, 300, 200),
}
RIVALS = (
    "untrained",
    "taught without rhymes",
    "chain of order 1",
    "chain of order 2",
    "collage of lines",
)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """Three pieces for every seed: the four boxes, both ways, the poets."""
    size = SIZES[profile]
    for s in range(seed, seed + size.seeds):
        for part in (measure.keys, measure.both_ways, measure.verses):
            yield Unit(f"seed {s}, {part.__name__.replace('_', ' ')}", partial(part, s, size))


def _means(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    means = rows.pivot_table("value", index, columns, sort=False)
    text = means.map(lambda x: "–" if pd.isna(x) else f"{round(x, 2) + 0.0:.2f}")
    return text.rename_axis(None, axis=1).reset_index()


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Recall by altered key, a column a box: means over seeds. "these" were taught in all wordings,
    "others" not."""
    return _means(data[data.task == "cue"], "cue", "model")


def prefixes(data: pd.DataFrame) -> pd.DataFrame:
    """Recall of the rest after the first words: a row for every box and key, a column for every
    number of words."""
    rows = data[data.task == "begun"]
    return _means(
        rows.assign(asked=rows.model + ", " + rows.cue, given=rows.given.astype(int)),
        "asked",
        "given",
    )


def poets(data: pd.DataFrame) -> pd.DataFrame:
    """Rules kept in answers to titles without a poem: a row a poet; "copied" is a run of words, the
    rest are shares."""
    return _means(data[data.task == "verses"], "model", "metric").rename(columns={"model": "poet"})


def other(data: pd.DataFrame) -> pd.DataFrame:
    """What is a single number for a box: places, doubt, wrong answers, directions."""
    rows = data[data.task.isin(["place", "doubt", "wrong", "direction"])]
    return _means(rows.assign(what=rows.task + ": " + rows.metric), "what", "model")


more_tables = (prefixes, poets, other)


def similar(data: pd.DataFrame) -> Verdict:
    """M1, similar input: what each box forgives, against how it was taught."""
    found = data[data.task == "cue"].groupby(["model", "cue"]).value
    low, high = found.min(), found.max()
    own = low[:, "its own key"].min() >= 0.9
    strict = high["strict"].drop("its own key").max() <= 0.4
    taught = (
        min(
            low["gaps", "a title word missing"],
            low["wordings, these", "title words exchanged"],
            low["wordings, these", "a title word's second form"],
        )
        >= 0.6
    )
    others = (
        max(high["gaps", "title words exchanged"], high["wordings, these", "author replaced"])
        <= 0.4
    )
    verdict = "refuted" if not own else "qualified" if strict and taught and others else "supported"
    return Verdict(
        "M1",
        verdict,
        f"own key >= 0.9: {own}; altered keys, if only that was taught, <= 0.4: {strict};"
        f" alterations that were taught >= 0.6: {taught}, two that were not <= 0.4: {others}"
        f" {_runs(data)}",
    )


def generated(data: pd.DataFrame) -> Verdict:
    """S3, generated and not stored at a place: words out of turn, and the same weights asked the
    other way."""
    found = data[data.task.isin(["place", "direction"])].groupby(["metric", "model"]).value
    low, high = found.min(), found.max()
    unrolled = high["at once", "strict"] <= 0.2 and low["in turn", "strict"] >= 0.9
    placed = low["at once", "places"] >= 0.9
    there = high["text to title", "one way"] <= 0.1 and low["weighing all titles", "one way"] >= 0.9
    verdict = "refuted" if not unrolled else "qualified" if placed or there else "supported"
    return Verdict(
        "S3",
        verdict,
        f"a word at once <= 0.2, in its turn >= 0.9: {unrolled}; at once >= 0.9 if that was taught:"
        f" {placed}; title asked of the text <= 0.1, found by weighing all titles >= 0.9: {there}"
        f" {_runs(data)}",
    )


def creative(data: pd.DataFrame) -> Verdict:
    """C1, wrong recitations as creativity: the rhyme of answers, beside poets that copy no longer
    runs, and dice."""
    made = data[data.task == "verses"].pivot_table("value", "seed", ["metric", "model"])
    rhyme, copied = made["rhyme"], made["copied"]
    fair = (
        rhyme[list(RIVALS)]
        .where(copied[list(RIVALS)].le(copied["poet"] + 1.5, axis=0), 0)
        .max(axis=1)
    )
    beyond = bool((rhyme["poet"] - fair >= 0.2).all())
    dice = bool((rhyme["dice that know the rules"] - rhyme["poet"] >= 0.1).all())
    return Verdict(
        "C1",
        "qualified" if beyond else "refuted",
        "answers to new titles rhyme by 0.2 more than those of poets that copy as little:"
        f" {beyond}; dice that know the rule, by 0.1 more: {dice} {_runs(data)}",
    )


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """M1, similar input; S3, generated and not stored at a place; C1, wrong recitations as
    creativity."""
    return [similar(data), generated(data), creative(data)]
