"""Chapter 10's experiment: verdicts follow the data; the examination runs on a model nobody has trained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memlab import results
from memlab.decoder import new_decoder
from memlab.experiments import memory_decoder as experiment
from memlab.results import Record

GOOD = {"edit, new answer": 1.0, "edit, old answer": 0.0, "written out": 0.95, "score, stored": 0.9,
        "score, forgotten": 0.5}


def records(**changes: float) -> Iterator[Record]:
    """Ten outcomes of each metric, those of `GOOD` but for `changes`."""
    for metric, share in {**GOOD, **changes}.items():
        for index in range(10):
            value = share + index / 100 if metric.startswith("score") else float(index < 10 * share)
            yield Record("memory-decoder", "memory", "sentences", metric, value, 0, index)


@pytest.mark.parametrize(("changes", "verdict"), [
    ({}, "supported"), ({"edit, new answer": 0.5}, "qualified"), ({"edit, old answer": 0.5}, "qualified"),
    ({"written out": 0.5}, "qualified"),
])
def test_verdicts_follow_the_data(changes: dict[str, float], verdict: str) -> None:
    found, = experiment.verdicts(results.frame(records(**changes)))
    assert (found.claim, found.verdict) == ("N3", verdict)


def test_the_score_tells_stored_from_forgotten_only_in_part() -> None:
    overlapping, = experiment.verdicts(results.frame(records(**{"score, forgotten": 0.89})))
    apart, = experiment.verdicts(results.frame(records()))
    assert "AUC 1.000" in apart.evidence
    assert 0.5 < float(overlapping.evidence.rsplit(" ", 1)[1]) < 0.7


def test_the_table_has_a_row_a_metric() -> None:
    table = experiment.table(results.frame(records()))
    assert table["metric"].tolist() == list(GOOD) and (table["n"] == 10).all()


def test_an_untrained_model_can_be_examined_and_fails(untouched_global_random_state: None) -> None:
    found = dict(experiment.exam(new_decoder(seed=0).eval(), stored=60, count=8))
    assert set(found) == {*GOOD, "address"} and len(found["address"]) == 8
    assert sum(found["edit, new answer"]) == 0
