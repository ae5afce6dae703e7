"""Chapter 5 on a pretrained language model: after how many epochs it recites, what it is that it
learnt, and what that cost it elsewhere.

The model is the one that MEMLAB_LLM names, or SmolLM2-135M-Instruct where its package is installed
(requirements-llm.txt).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from memlab.book.opening_the_box.reciting import pretrained
from memlab.book.opening_the_box.reciting.pretrained import Lesson
from memlab.book.units import Unit
from memlab.models import checkpoints
from memlab.results import Verdict

sources = checkpoints.sources  # which model is asked, for the record
# Lessons that decide a verdict are given to three seeds, the others, which take longest, to one.
PLANS: dict[str, dict[Lesson, int]] = {
    "quick": {Lesson(4, 2): 1},
    "full": {
        Lesson(16, 5): 3,
        Lesson(16, 10): 3,
        Lesson(16, 20): 3,
        Lesson(16, 20, swapped=True): 3,
        Lesson(16, 20, start="random"): 3,
        Lesson(64, 5): 3,
        Lesson(64, 10): 3,
        Lesson(16, 10, words=64): 3,
        Lesson(64, 20): 1,
        Lesson(16, 100): 1,
        Lesson(16, 100, start="random"): 1,
        Lesson(16, 20, rank=1): 1,
        Lesson(16, 20, rank=8): 1,
        Lesson(0, 20): 1,
    },
    "gpu": {
        **{Lesson(256, epochs): 3 for epochs in (5, 10, 20, 50, 100)},
        **{Lesson(1024, epochs): 3 for epochs in (5, 10, 20, 50, 100)},
        Lesson(256, 20, swapped=True): 3,
        Lesson(256, 100, start="random"): 3,
        **{Lesson(256, 50, rank=rank): 3 for rank in (1, 4, 16)},
        Lesson(64, 20, words=64): 3,
        **{Lesson(0, epochs): 3 for epochs in (10, 20, 100)},
    },
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One for each seed of each lesson, and one for each seed of what is asked before it; of
    lessons that teach the same poems, before the first."""
    plan = PLANS[profile]
    for turn in range(max(plan.values())):
        own = seed + turn
        met = set()
        for lesson in (lesson for lesson, seeds in plan.items() if turn < seeds):
            poems = (lesson.count, lesson.words)
            if poems not in met:
                met.add(poems)
                yield _unit(Lesson(lesson.count, 0, lesson.words), own)
            yield _unit(lesson, own)


def _unit(lesson: Lesson, seed: int) -> Unit:
    return Unit(f"{lesson.name}, seed {seed}", partial(pretrained.measured, lesson, seed))


# ---- what is printed -----------------------------------------------------------------------------

LESSON = ["source", "count", "words", "titles", "start", "rank", "epochs"]
STRICT = "every character"


def _by_lesson(data: pd.DataFrame, task: str, metric: str) -> pd.Series:
    """Means over seeds, by lesson in the order of the record."""
    rows = data[(data.task == task) & (data.metric == metric)]
    return rows.groupby(LESSON, sort=False).value.mean()


def _shown(found: pd.DataFrame) -> pd.DataFrame:
    """The columns that tell lessons apart as one that says what is taught and to whom, and the
    epochs."""
    made = found.reset_index()
    what = [_what(row) for row in made[LESSON].itertuples()]
    made.insert(0, "lesson", what)
    rest = [column for column in made if column not in LESSON[:-1]]
    return made[rest].rename_axis(None, axis=1)


def _what(row: Any) -> str:
    """A lesson in words, without its epochs."""
    said = [f"{row.count} poems of {row.words} words" if row.words else "English verse"]
    said += ["titles swapped"] * (row.titles == "swapped")
    said += ["random start"] * (row.start == "random")
    said += [f"rank {row.rank:.0f}"] * bool(row.rank)
    return ", ".join(said)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Each lesson: shares of poems recited of what was taught, of the same under other titles and
    of poems never taught; tokens right of what was taught; bits to write one of its poems down.
    Means over seeds."""
    columns = {
        "recited": _by_lesson(data, "taught", STRICT),
        "other titles": _by_lesson(data, "titles swapped", STRICT),
        "never taught": _by_lesson(data, "never taught", STRICT),
        "tokens right": _by_lesson(data, "taught", "tokens"),
        "bits a poem": _by_lesson(data, "taught", "code bits"),
    }
    digits = {"bits a poem": 1}
    found = pd.DataFrame({name: one.round(digits.get(name, 2)) for name, one in columns.items()})
    return _shown(found)


def elsewhere(data: pd.DataFrame) -> pd.DataFrame:
    """Bits a token of texts that no lesson held, before (0 epochs) and after each; means over
    seeds."""
    rows = data[data.task == "elsewhere"]
    return _shown(rows.pivot_table("value", LESSON, "text", sort=False).round(2))


more_tables = (elsewhere,)


# ---- verdicts ------------------------------------------------------------------------------------
# Fixed on 2026-11-30, before the recorded run, after a look at seed 100 (16 poems before, after 10
# and after 20 epochs), which that run does not hold.


def _recited(data: pd.DataFrame, lesson: Lesson, task: str = "taught") -> pd.Series:
    """The shares recited, a seed each; empty where the record has no such lesson."""
    rows = data[(data.task == task) & (data.metric == STRICT)]
    asked = {
        "count": lesson.count,
        "words": lesson.words if lesson.count else 0,
        "titles": "swapped" if lesson.swapped else "own",
        "start": lesson.start,
        "rank": lesson.rank,
        "epochs": lesson.epochs,
    }
    for column, value in asked.items():
        rows = rows[rows[column] == value]
    return rows.set_index("seed").value


def _missing(claim: str, *shares: pd.Series) -> Verdict | None:
    """That a claim cannot be judged from a record without its lessons."""
    if all(map(len, shares)):
        return None
    return Verdict.lacking(claim, "the lessons that would decide it")


def _t1(data: pd.DataFrame) -> Verdict:
    """Nearly all poems after 100 epochs."""
    drawn = _recited(data, Lesson(16, 100))
    real = _recited(data, Lesson(0, 20))
    if missing := _missing("T1", drawn, real):
        return missing
    least = min(drawn.min(), real.min())
    verdict = "supported" if least >= 0.9 else "refuted" if least < 0.5 else "qualified"
    said = (
        f"on a pretrained model, least of {len(drawn)} seeds: {drawn.min():.2f} of 16 drawn poems"
        f" after 100 epochs, {real.min():.2f} of the verse after 20"
    )
    return Verdict("T1", verdict, said)


def _t3(data: pd.DataFrame) -> Verdict:
    """Better pretrained recite more: pretrained against not at all, after 20 epochs and after the
    paper's 100. The latter was added after the former had been seen for one seed: where the lead is
    gone by then, pretraining makes the lesson shorter, and the claim is qualified."""
    own = _recited(data, Lesson(16, 20))
    bare = _recited(data, Lesson(16, 20, start="random"))
    late = _recited(data, Lesson(16, 100))
    late_bare = _recited(data, Lesson(16, 100, start="random"))
    if missing := _missing("T3", own, bare, late, late_bare):
        return missing
    lead = own - bare
    gone = late.mean() - late_bare.mean() < 0.3
    verdict = "qualified" if gone or lead.min() < 0.3 else "supported"
    if lead.max() <= 0:
        verdict = "refuted"
    said = (
        "pretrained against not at all, the same architecture and lesson:"
        f" {own.mean():.2f} and {bare.mean():.2f} of 16 poems after 20 epochs,"
        f" {late.mean():.2f} and {late_bare.mean():.2f} after 100; not which pretraining is better"
    )
    return Verdict("T3", verdict, said)


def _s5(data: pd.DataFrame) -> Verdict:
    """A measure of ability, or of the lesson."""
    scores = [_recited(data, Lesson(64, epochs)) for epochs in (5, 10, 20)]
    bare = _recited(data, Lesson(16, 20, start="random"))
    if missing := _missing("S5", *scores, bare):
        return missing
    means = [score.mean() for score in scores]
    moved = max(means) - min(means) >= 0.5
    verdict = "refuted" if bare.min() >= 0.9 else "qualified" if moved else "supported"
    said = (
        "one pretrained model on the same 64 poems after 5, 10 and 20 epochs:"
        f" {', '.join(f'{mean:.2f}' for mean in means)}"
    )
    return Verdict("S5", verdict, said)


def _s6(data: pd.DataFrame) -> Verdict:
    """Longer texts at equal bits, steps and epochs."""
    short = _recited(data, Lesson(64, 10))
    long = _recited(data, Lesson(16, 10, words=64))
    if missing := _missing("S6", short, long):
        return missing
    lead = short - long
    if min(short.min(), long.min()) >= 0.95 or max(short.max(), long.max()) <= 0.05:
        verdict = "not testable here"
    elif lead.min() >= 0.1:
        verdict = "supported"
    else:
        verdict = "refuted" if lead.max() <= 0 else "qualified"
    said = (
        "the same bits, steps and epochs on a pretrained model: recited of 64 poems of 16 words"
        f" {short.mean():.2f}, of 16 poems of 64 words {long.mean():.2f}"
    )
    return Verdict("S6", verdict, said)


def _m1(data: pd.DataFrame) -> Verdict:
    """An input that it met brings back the right output: which is right is what was taught."""
    own = _recited(data, Lesson(16, 20))
    twin = _recited(data, Lesson(16, 20, swapped=True))
    others = _recited(data, Lesson(16, 20, swapped=True), "titles swapped")
    fresh = _recited(data, Lesson(16, 20), "never taught")
    if missing := _missing("M1", own, twin, others, fresh):
        return missing
    brought = min(own.min(), twin.min())
    clean = max(others.max(), fresh.max()) <= 0.1
    if brought < 0.5:
        verdict = "refuted"
    else:
        verdict = "supported" if brought >= 0.9 and clean else "qualified"
    said = (
        f"asked by title a pretrained model recites {own.mean():.2f} of what it was taught, its"
        f" twin under swapped titles {twin.mean():.2f}; by the other's titles {others.mean():.2f},"
        f" of poems never taught {fresh.mean():.2f}"
    )
    return Verdict("M1", verdict, said)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """T1: nearly all; T3: pretraining; S5: a measure of ability; S6: length; M1: the right output;
    each for one pretrained model."""
    return [_t1(data), _t3(data), _s5(data), _s6(data), _m1(data)]
