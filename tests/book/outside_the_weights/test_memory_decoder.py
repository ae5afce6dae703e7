"""Chapter 10's experiment: verdicts follow the data; the examination runs on a model nobody has
trained."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from memlab import results
from memlab.book.outside_the_weights.memory_decoder import experiment
from memlab.decoder import new_decoder
from memlab.results import Record

GOOD = {
    "edit, new answer": 1.0,
    "edit, old answer": 0.0,
    "written out": 0.95,
    "score, stored": 0.9,
    "score, forgotten": 0.5,
    "fit, stored": 0.9,
    "fit, forgotten": 0.5,
}
VALUES = ("words", "5 digits", "12 digits")


def records(**changes: float) -> Iterator[Record]:
    """Ten outcomes of each metric, those of `GOOD` but for `changes`."""
    for metric, share in {**GOOD, **changes}.items():
        for index in range(10):
            value = (
                share + index / 100
                if metric.startswith(("score", "fit"))
                else float(index < 10 * share)
            )
            yield Record("memory-decoder", "memory", "sentences", metric, value, 0, index)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"),
        ({"edit, new answer": 0.5}, "qualified"),
        ({"edit, old answer": 0.5}, "qualified"),
        ({"written out": 0.5}, "qualified"),
    ],
)
def test_verdicts_follow_the_data(changes: dict[str, float], verdict: str) -> None:
    found, _ = experiment.verdicts(results.frame(records(**changes)))
    assert (found.claim, found.verdict) == ("N3", verdict)


def test_the_score_tells_stored_from_forgotten_only_in_part() -> None:
    for name, place in (("score", 0), ("fit", 1)):
        _, overlapping = experiment.verdicts(results.frame(records(**{f"{name}, forgotten": 0.89})))
        _, apart = experiment.verdicts(results.frame(records()))
        assert (apart.claim, apart.verdict) == ("N6", "qualified") and apart.evidence.count(
            "1.000"
        ) == 2
        found = re.findall(r"0\.\d{3}|1\.000", overlapping.evidence)
        assert 0.5 < float(found[place]) < 0.7 and found[1 - place] == "1.000"


def test_the_table_has_a_row_a_metric() -> None:
    table = experiment.table(results.frame(records()))
    assert table["metric"].tolist() == list(GOOD) and (table["n"] == 10).all()


def test_an_untrained_model_can_be_examined_and_fails(untouched_global_random_state: None) -> None:
    found = dict(experiment.exam(new_decoder(seed=0).eval(), stored=60, count=8))
    named = {f"{kind} of {name}" for name in VALUES for kind in ("value", "both values")}
    assert set(found) == {*GOOD, "address", *named} and len(found["address"]) == 8
    assert len(found["value of words"]) == 2 and sum(found["both values of 12 digits"]) == 0
    assert sum(found["edit, new answer"]) == 0
