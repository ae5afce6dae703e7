"""Chapter 8 on a pretrained language model: which questions it takes for the one it was taught. It
knows English before the lesson; the small boxes of this chapter know nothing but their lesson.

The model is the one that MEMLAB_LLM names, or SmolLM2-135M-Instruct where its package is installed
(requirements-llm.txt).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from memlab.book.opening_the_box.the_right_question import pretrained
from memlab.book.opening_the_box.the_right_question.pretrained import OWN, UNKNOWN, WHOSE, Plan
from memlab.book.units import Unit
from memlab.models import checkpoints
from memlab.results import Verdict, wilson

sources = checkpoints.sources  # which model is asked, for the record
# What decides the verdict is given to three seeds; the twin, which takes longest, to one.
PLANS: dict[str, dict[Plan, int]] = {
    "quick": {Plan("English", poems=4, epochs=2, rounds=1): 1},
    "full": {
        Plan("English"): 3,
        Plan("drawn"): 1,
        Plan("English", start="random"): 1,
    },
    "gpu": {
        Plan("English"): 10,
        Plan("drawn"): 10,
        Plan("English", start="random", rounds=10): 3,
    },
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One for each seed of what is taught; all of the first seed before the second."""
    plans = PLANS[profile]
    for turn in range(max(plans.values())):
        for plan in (plan for plan, seeds in plans.items() if turn < seeds):
            own = seed + turn
            yield Unit(f"{plan.name}, seed {own}", partial(pretrained.measured, plan, own))


# ---- what is printed -----------------------------------------------------------------------------

# The question that a small box of this chapter was asked (`experiment.table`), by ours.
SMALL = {
    OWN: "its own key",
    "a title word missing": "a title word missing",
    "last words left out": "a title word missing",
    "title words exchanged": "title words exchanged",
    "a title word replaced": "a title word replaced",
    "another author": "author replaced",
    "paraphrased, no word shared": "a title word's second form",
    UNKNOWN: "a made-up key",
}
MODELS = {
    ("English", "pretrained"): "English titles",
    ("English", "random"): "the same, random start",
    ("drawn", "pretrained"): "drawn titles",
}
ENGLISH = ("English", "pretrained")


def _counted(data: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Poems asked for, and those of which something was found, summed over seeds: a row for every
    model and cue, as they stand in MODELS and the record."""
    rows = data[(data.task == "cue") & (data.metric == metric)]
    hits = rows.value * rows["count"]
    named = [MODELS[pair] for pair in zip(rows.titles, rows.start, strict=True)]
    made = rows.assign(hits=hits, asked=rows["count"], model=named)
    found: pd.DataFrame = made.groupby(["model", "cue"], sort=False)[["hits", "asked"]].sum()
    return found.round().astype(int)


def _shares(data: pd.DataFrame, metric: str) -> pd.Series:
    found = _counted(data, metric)
    shares: pd.Series = found.hits / found.asked
    return shares


def _interval(hits: int, asked: int) -> str:
    low, high = wilson(hits, asked)
    return f"{low:.2f}–{high:.2f}"


def table(data: pd.DataFrame) -> pd.DataFrame:
    """By model and cue: poems recited to the letter of those asked for, all seeds together, with
    the 95 % interval of that share; and which poem came, as shares: its own, the one that the
    title or the author is taught for where that is another, another one that was taught, none."""
    found = _counted(data, "recited")
    pairs = list(zip(found.hits, found.asked, strict=True))
    shown = pd.DataFrame(
        {
            "recited": [f"{hits} of {asked}" for hits, asked in pairs],
            "95 %": [_interval(hits, asked) for hits, asked in pairs],
        },
        index=found.index,
    )
    for who in WHOSE:
        came = _counted(data, who)
        shown[who] = (came.hits / came.asked).round(2)
    return shown.reset_index()


def read(data: pd.DataFrame) -> pd.DataFrame:
    """By model and cue, of the text that was hoped for, the true words before each given: share of
    tokens right and bits, means over seeds; and share of the texts that take fewer bits than under
    a title never taught: one half of them would, if the question told nothing. And `meant`: of how
    many questions the model knew before its lesson that this title means what the right poem's
    does, rather than what that of any other poem taught does."""
    rows = data[data.task == "cue"]
    named = [MODELS[pair] for pair in zip(rows.titles, rows.start, strict=True)]
    found = rows.assign(model=named).pivot_table("value", ["model", "cue"], "metric", sort=False)
    digits = {"tokens": 2, "bits": 1, "cheaper": 2, "meant": 2}
    return found[list(digits)].round(digits).rename_axis(None, axis=1).reset_index()


def lessons(data: pd.DataFrame) -> pd.DataFrame:
    """How many epochs each model was taught, what it recites by the titles that it was taught, and
    the seconds of teaching and asking."""
    keys = ["titles", "start", "seed"]
    own = data[(data.metric == "recited") & (data.cue == OWN)].set_index(keys)
    cost = data[data.task == "cost"].pivot_table("value", keys, "metric", sort=False)
    found = own[["epochs", "value"]].rename(columns={"value": "recited"}).join(cost.round(0))
    return found.reset_index()


more_tables = (read, lessons)


def law(data: pd.DataFrame, boxes: pd.DataFrame | None = None) -> pd.DataFrame:
    """Recall by cue, a column a model; of English titles also how many the pretrained model took
    for the right poem's before its lesson ("meant, before"); and, where the records of
    `the-right-question` are given, the recall of its boxes *strict* and *gaps* by the question that
    is nearest to it. "–" where it was not asked."""
    wide = _shares(data, "recited").unstack(0, sort=False)
    meant = _shares(data, "meant").unstack(0, sort=False).get(MODELS[ENGLISH])
    wide = wide[[name for name in MODELS.values() if name in wide]]
    if meant is not None:
        wide.insert(0, "meant, before", meant)
    if boxes is not None and len(boxes):
        asked = boxes[boxes.task == "cue"].groupby(["model", "cue"]).value.mean()
        for box in ("strict", "gaps"):
            recall = asked[box]
            near = wide.index.to_series().map(SMALL)
            wide[f"small box, {box}"] = near.map(recall)
    shown = wide.map(lambda share: "–" if pd.isna(share) else f"{share:.2f}")
    return shown.rename_axis(None, axis=1).reset_index()


# ---- verdicts ------------------------------------------------------------------------------------
# Fixed on 2026-11-30, before the recorded run.

# Titles that to us are the same. (The author is, too, but there is only one, who tells nothing.)
THE_SAME = (
    "in capitals",
    "letters exchanged",
    "last words left out",
    "in French",
    "paraphrased, words shared",
    "paraphrased, no word shared",
)
MEANING = "paraphrased, no word shared"


def _m1(data: pd.DataFrame) -> Verdict:
    """A similar input brings back the right output; what is similar, the claim leaves open. So it
    fails only if nothing but the question that was taught brings the poem, and it holds without
    reserve only if a title does that has the meaning, and no word of it."""
    rows = data[(data.task == "cue") & (data.metric == "recited")]
    rows = rows[(rows.titles == ENGLISH[0]) & (rows.start == ENGLISH[1])]
    if not {OWN, UNKNOWN, *THE_SAME} <= set(rows.cue):
        return Verdict.lacking("M1", "the questions that would decide it")
    own = rows[rows.cue == OWN].value.min()
    if own < 0.9:
        said = f"the lesson was not learnt: by their own titles {own:.2f} of the poems"
        return Verdict("M1", "not testable here", said)
    found = _counted(data, "recited").loc[MODELS[ENGLISH]]
    share = found.hits / found.asked
    by_meaning = share[MEANING]
    if by_meaning >= 0.5 and by_meaning - share[UNKNOWN] >= 0.3:
        verdict = "supported"
    else:
        verdict = "refuted" if share[list(THE_SAME)].max() <= 0.1 else "qualified"
    meant = int(_counted(data, "meant").hits[MODELS[ENGLISH], MEANING])
    return Verdict("M1", verdict, _said(found, meant, rows.seed.nunique()) + _beside(data))


def _said(
    found: pd.DataFrame,
    meant: int,
    seeds: int,
) -> str:
    """What the verdict rests on, in counts."""
    shown = (OWN, "letters exchanged", "paraphrased, words shared", MEANING, UNKNOWN)
    counts = [f"{cue} {found.hits[cue]} of {found.asked[cue]}" for cue in shown]
    interval = _interval(int(found.hits[MEANING]), int(found.asked[MEANING]))
    return (
        f"one pretrained model, {seeds} seeds, recited by {', '.join(counts)}; 95 % of the last but"
        f" one {interval}, of which before the lesson it knew the meaning of {meant}"
    )


def _beside(data: pd.DataFrame) -> str:
    """The twin that knows no English, where it was taught."""
    found = _counted(data, "recited")
    twin = MODELS["English", "random"]
    if twin not in found.index.get_level_values(0):
        return ""
    own, other = found.loc[(twin, OWN)], found.loc[(twin, MEANING)]
    return (
        f"; its twin from a random start, {own.hits} of {own.asked} by its own titles,"
        f" {other.hits} of {other.asked} by such paraphrases"
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """M1: a similar input, for one pretrained model of one size."""
    return [_m1(data)]
