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
    "full": Size(
        seeds=10,
        poems=128,
        words=16,
        vocabulary=64,
        steps=200,
        both_ways=120,
        poet=120,
    ),
    "gpu": Size(
        seeds=20,
        poems=256,
        words=16,
        vocabulary=128,
        steps=600,
        both_ways=300,
        poet=200,
    ),
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
    for own in range(seed, seed + size.seeds):
        yield Unit(f"seed {own}, keys", partial(measure.keys, own, size))
        yield Unit(f"seed {own}, both ways", partial(measure.both_ways, own, size))
        yield Unit(f"seed {own}, verses", partial(measure.verses, own, size))


def _means(
    rows: pd.DataFrame,
    index: str,
    columns: str,
) -> pd.DataFrame:
    means = rows.pivot_table("value", index, columns, sort=False)
    return means.map(_two_digits).rename_axis(None, axis=1).reset_index()


def _two_digits(mean: float) -> str:
    """ "–" for no number; no minus before a zero."""
    return "–" if pd.isna(mean) else f"{round(mean, 2) + 0.0:.2f}"


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Recall by altered key, a column a box: means over seeds. "these" were taught in all wordings,
    "others" not."""
    return _means(data[data.task == "cue"], "cue", "model")


def prefixes(data: pd.DataFrame) -> pd.DataFrame:
    """Recall of the rest after the first words: a row for every box and key, a column for every
    number of words."""
    rows = data[data.task == "begun"]
    asked = rows.model + ", " + rows.cue
    given = rows.given.astype(int)
    return _means(rows.assign(asked=asked, given=given), "asked", "given")


def poets(data: pd.DataFrame) -> pd.DataFrame:
    """Rules kept in answers to titles without a poem: a row a poet; "copied" is a run of words, the
    rest are shares."""
    rows = data[data.task == "verses"]
    return _means(rows, "model", "metric").rename(columns={"model": "poet"})


def other(data: pd.DataFrame) -> pd.DataFrame:
    """What is a single number for a box: places, doubt, wrong answers, directions."""
    rows = data[data.task.isin(["place", "doubt", "wrong", "direction"])]
    return _means(rows.assign(what=rows.task + ": " + rows.metric), "what", "model")


more_tables = (prefixes, poets, other)


def similar(data: pd.DataFrame) -> Verdict:
    """M1, similar input: what each box forgives, against how it was taught."""
    rows = data[data.task == "cue"]
    recall = rows.groupby(["model", "cue"]).value
    low = recall.min()
    high = recall.max()
    own = low[:, "its own key"].min() >= 0.9
    strict = high["strict"].drop("its own key").max() <= 0.4
    were_taught = [
        low["gaps", "a title word missing"],
        low["wordings, these", "title words exchanged"],
        low["wordings, these", "a title word's second form"],
    ]
    taught = min(were_taught) >= 0.6
    were_not = [
        high["gaps", "title words exchanged"],
        high["wordings, these", "author replaced"],
    ]
    others = max(were_not) <= 0.4
    if not own:
        verdict = "refuted"
    elif strict and taught and others:
        verdict = "qualified"
    else:
        verdict = "supported"
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
    rows = data[data.task.isin(["place", "direction"])]
    shares = rows.groupby(["metric", "model"]).value
    low = shares.min()
    high = shares.max()
    unrolled = high["at once", "strict"] <= 0.2 and low["in turn", "strict"] >= 0.9
    placed = low["at once", "places"] >= 0.9
    lost = high["text to title", "one way"] <= 0.1
    there = lost and low["weighing all titles", "one way"] >= 0.9
    if not unrolled:
        verdict = "refuted"
    elif placed or there:
        verdict = "qualified"
    else:
        verdict = "supported"
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
    rows = data[data.task == "verses"]
    made = rows.pivot_table("value", "seed", ["metric", "model"])
    rhyme = made["rhyme"]
    copied = made["copied"]
    rivals = list(RIVALS)
    as_little = copied[rivals].le(copied["poet"] + 1.5, axis=0)
    best_rival = rhyme[rivals].where(as_little, 0).max(axis=1)
    beyond = bool((rhyme["poet"] - best_rival >= 0.2).all())
    lead_of_dice = rhyme["dice that know the rules"] - rhyme["poet"]
    dice = bool((lead_of_dice >= 0.1).all())
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
