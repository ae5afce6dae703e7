"""Chapter 10a's experiment: what it prints follows the data; its pieces can be killed and gone on
with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memlab import __main__, results
from memlab.book.outside_the_weights.one_matrix import experiment, measure, tables, training
from memlab.book.units import Unit
from memlab.results import Record

GOOD = {
    "insist": {64: 1.0, 256: 0.95, 512: 0.9, 1024: 0.1},
    "once": {64: 1.0, 256: 0.9, 512: 0.8, 1024: 0.1},
    "slots": {64: 1.0, 256: 1.0, 512: 1.0},
    "few": {512: 0.6, 1024: 0.3},
}


def records(
    off: float = 0.0,
    old: float | None = None,
    sure: float = 0.8,
    wrong: float = 0.0,
    **changes: Any,
) -> Iterator[Record]:
    """Twenty questions a cell, half of them with short cues; reads that are `off` the law. Of a
    hundred answers all but five are right and the share `sure` is confirmed; of those the share
    `wrong` is wrong."""
    for task, loads in {**GOOD, **changes}.items():
        for load, share in loads.items():
            meta = {"load": load, "n": 10, **({"floats": "matrix"} if task == "few" else {})}
            for tokens in (3, 8):
                yield Record(
                    "one-matrix",
                    "whitened",
                    "slots" if task == "few" else task,
                    "exact",
                    share,
                    0,
                    meta={**meta, "tokens": tokens},
                )
    for load in (64, 256):
        for metric, value in (("law", 0.2), ("error", 0.2 + off)):
            yield Record(
                "one-matrix",
                "whitened",
                "read",
                metric,
                value,
                0,
                meta={"load": load, "ridge": 0.01},
            )
        for metric, value in (
            ("sure", sure),
            ("sure and right", sure * (1 - wrong)),
            ("right", 0.95),
        ):
            yield Record(
                "one-matrix", "whitened", "doubt", metric, value, 0, meta={"load": load, "n": 100}
            )
    if old is not None:
        for load in (64, 256, 512):
            meta = {"load": load, "n": 20, "tokens": 8}
            yield Record("one-matrix", "through the memory", "insist", "exact", old, 0, meta=meta)


@pytest.mark.parametrize(
    ("changes", "claim", "verdict"),
    [
        ({}, "N4", "qualified"),
        ({"insist": {64: 1.0, 256: 0.5, 512: 0.3, 1024: 0.1}}, "N4", "refuted"),
        ({}, "N20", "supported"),
        ({"off": 0.2}, "N20", "refuted"),
        ({}, "N21", "qualified"),
        ({"few": {512: 0.95, 1024: 0.3}}, "N21", "refuted"),
        ({"few": {512: 0.6, 1024: 0.05}}, "N21", "supported"),
        ({}, "N23", "supported"),
        ({"sure": 0.5}, "N23", "qualified"),
        ({"wrong": 0.1}, "N23", "refuted"),
        ({"old": 0.95}, "N22", "supported"),
        ({"old": 0.3}, "N22", "refuted"),
    ],
)
def test_verdicts_follow_the_data(changes: dict[str, Any], verdict: str, claim: str) -> None:
    found = {v.claim: v for v in experiment.verdicts(results.frame(records(**changes)))}
    assert found[claim].verdict == verdict and ("N22" in found) == ("old" in changes)


def test_the_table_has_a_row_a_memory_and_a_column_a_load() -> None:
    table = experiment.table(results.frame(records())).set_index("memory")
    assert list(table.columns) == [64, 256, 512, 1024]
    assert table.loc["+ read until confirmed"].tolist() == [1.0, 0.95, 0.9, 0.1]
    assert table.loc["slots, floats of M"].isna().tolist() == [True, True, False, False]


def test_confirmed_answers_are_counted() -> None:
    counts = tables.confirmed(results.frame(records(wrong=0.25)))
    assert counts.loc[256].to_dict() == {
        "sure": 80,
        "sure and right": 60,
        "right": 95,
        "answers": 100,
    }


def test_recall_weighs_classes_of_cues_by_their_questions() -> None:
    meta = {"load": 64, "tokens": 3}
    rows = [
        Record("one-matrix", "whitened", "once", "exact", value, 0, meta={**meta, "n": n})
        for value, n in ((0.0, 1), (1.0, 9))
    ]
    found = measure.recall(results.frame(rows))
    assert found["mean"].tolist() == [0.9] and found["n"].tolist() == [10]
    assert measure.recall(results.frame(rows), by=("model", "load"), model=None).model.tolist() == [
        "whitened"
    ]
    assert found.low.item() == pytest.approx(results.wilson(9, 10)[0])


def test_the_units_are_seeds_and_the_historic_address() -> None:
    assert [u.name for u in experiment.units("quick", 0)] == ["shipped"]
    assert [u.name for u in experiment.units("full", 4)] == [
        "seed 4",
        "seed 5",
        "seed 6",
        "seed 4, through the memory",
    ]
    assert set(training.PLANS) == {"quick", "full", "gpu"} and set(tables.RUNGS) > set(
        training.RUNGS
    )


def test_a_killed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []

    def of(seed: int) -> Iterator[Record]:
        rows = list(records())
        yield from rows[:3]
        if seed == 1 and len(done) == 1:
            done.append(seed)
            raise KeyboardInterrupt
        done.append(seed)
        yield from rows[3:]

    monkeypatch.setattr(
        experiment,
        "units",
        lambda profile, seed: iter([Unit(f"seed {s}", partial(of, s)) for s in (0, 1)]),
    )
    out = str(tmp_path / "one.jsonl")
    stopped = __main__.main(["run", "one-matrix", "--profile", "full", "--out", out])
    assert stopped == 130, "expected the exit status of a run that was interrupted"
    assert __main__.main(["run", "one-matrix", "--profile", "full", "--out", out, "--resume"]) == 0
    assert done == [0, 1, 1] and len(results.load(out)) == 2 * len(list(records()))
    assert "N4 qualified" in capsys.readouterr().out


def test_the_recorded_run_says_what_the_chapter_says(root: Path) -> None:
    data = results.load(root / "book" / "results" / "one-matrix.jsonl")
    found = measure.recall(data, model="head").set_index("load")["mean"]
    assert {"untrained keys", "trained keys"} <= set(experiment.table(data)["memory"])
    assert found[64] > found[256] > found[512]
