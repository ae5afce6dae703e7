"""Chapter 11's experiment: what it prints follows the data. The measuring is tested in
test_needles_measure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from memlab import results
from memlab.book.outside_the_weights.needles import experiment
from memlab.results import Record

LENGTHS = (1024, 16384, 2**20)


def records(passkey: float = 1.0, linear: float = 0.0, growth: float = 1.0) -> Iterator[Record]:
    """Twenty trials of each cell; the share `passkey` of the longest pass keys is right."""

    def one(
        model: str, task: str, metric: str, value: float, tokens: int, index: int = 0
    ) -> Record:
        return Record(
            "needles", model, task, metric, value, 0, index, {"tokens": tokens, "depth": 0.5}
        )

    for tokens in LENGTHS:
        for task in ("passkey", "needle"):
            share = passkey if (task, tokens) == ("passkey", LENGTHS[-1]) else 1.0
            for index in range(20):
                yield one("memory", task, "recall", float(index < 20 * share), tokens, index)
                yield one("linear", task, "recall", float(index < 20 * linear), tokens, index)
        bytes_per_token = 140 * (growth if tokens == LENGTHS[-1] else 1.0)
        for metric, value in (
            ("write_seconds", 1.0),
            ("read_ms", 2.5),
            ("bytes_per_token", bytes_per_token),
        ):
            yield one("memory", "cost", metric, value, tokens)


def verdicts(**changes: float) -> dict[str, str]:
    """Verdict by claim for such data."""
    return {v.claim: v.verdict for v in experiment.verdicts(results.frame(records(**changes)))}


def test_a_run_without_a_miss_supports_the_claims() -> None:
    assert verdicts() == {"N1": "supported", "N2": "supported", "N4": "refuted"}


def test_one_weak_cell_qualifies_the_claim() -> None:
    assert verdicts(passkey=0.9)["N1"] == "qualified"
    assert "0.90" in str(experiment.verdicts(results.frame(records(passkey=0.9)))[0])


@pytest.mark.parametrize(("changes", "claim"), [({"growth": 2.0}, "N2"), ({"linear": 0.5}, "N4")])
def test_cost_and_linear_read_out_are_judged(changes: dict[str, float], claim: str) -> None:
    assert verdicts(**changes)[claim] == "qualified"


def test_the_table_has_a_row_a_length_and_the_readers_a_column_each() -> None:
    data = results.frame(records())
    table = experiment.table(data)
    assert table["tokens"].tolist() == list(LENGTHS) and table["passkey"].tolist() == [
        1.0,
        1.0,
        1.0,
    ]
    assert list(experiment.readers(data).columns) == ["tokens", "memory", "linear"]


def test_the_recorded_run_is_whole_and_says_what_the_chapter_says(root: Path) -> None:
    path = root / "book" / "results" / "needles.jsonl"
    data = results.load(path)
    found = {v.claim: v.verdict for v in experiment.verdicts(data)}
    assert found == {"N1": "supported", "N2": "supported", "N4": "refuted"}
    own = data[(data.model == "memory") & (data.metric == "recall")]
    assert own.tokens.max() == 10 * 2**20
    assert (own.groupby("tokens").value.agg(["sum", "size"]) == 200).all(axis=None), (
        "chapter 11 and the ledger say so"
    )
    assert all("wall_seconds" in session for session in results.provenances(path))
    assert isinstance(experiment.table(data), pd.DataFrame)
