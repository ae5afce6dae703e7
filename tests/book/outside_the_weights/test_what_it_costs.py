"""Chapter 12's experiment: tables and verdicts follow the data. The measuring is tested in
test_what_it_costs_clock_and_laws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from memlab import results
from memlab.book.outside_the_weights.what_it_costs import experiment, tables
from memlab.results import Record

LENGTHS = (1024, 4096, 16384, 65536, 2**20)
E, R, A, WRITE, BM25 = 3e-5, 3e-9, 0.04, 1e-7, 1e-6


def records(
    *,
    growth: float = 1.0,
    rest: float = 1.0,
    write: float = WRITE,
    pair: float = 1e-8,
    bm25: float = BM25,
    steps: float = 1000.0,
    lost: float = 0.0,
) -> Iterator[Record]:
    """Costs that follow laws, with changes that break one claim each."""

    def some(task: str, system: str, tokens: int, **found: float) -> Iterator[Record]:
        yield from experiment.records(task, system, found, 0, tokens=tokens)

    for n in LENGTHS:
        longer = growth if n == LENGTHS[-1] else 1.0
        yield from some("length", "model", n, build=E * n * longer, ask=0.0, check=0.0, answer=A)
        for system, size in (("float32", 140.0), ("int8", 36.0)):
            yield from some(
                "length", system, n, write=write * n, read=1e-4 + R * n, bytes=size * n * longer
            )
        yield from some("length", "bm25", n, build=bm25 * n, read=1e-4 + 1e-10 * n, bytes=6.0 * n)
    for n in (1024, 4096, 16384):
        yield from some(
            "length",
            "attention",
            n,
            build=5e-5 * n + pair * n * n,
            answer=0.08 + 1e-5 * n,
            bytes=4096.0 * n,
        )
    for n, peak in ((65536, 6e8), (2**20, 6e8 * rest + 36 * 2**20)):
        yield from some(
            "whole",
            "int8",
            n,
            **{
                "peak": peak,
                "bytes": 36.0 * n,
                "length": n,
                "cpu": E * n,
                "text": 1.0,
                "encode": E * n,
                "write": write * n,
                "read": 0.01,
                "answer": 0.1,
                "right": 2,
            },
        )
    yield from some("historic", "exact", 0, write=0.05, read=0.0002, error=5e-6)
    yield from some("historic", "steps", 0, write=0.05 * 6, read=0.0002 * steps, error=0.05)
    yield from some("limit", "encode", 0, seconds=0.4, limit=0.2, flops=1e10, moved=1e6)
    for dtype, right in (("float32", 1.0), ("int8", 1.0 - lost)):
        yield Record("what-it-costs", dtype, "passkey", "recall", right, 0, 0, {"tokens": 2**20})


def verdicts(**changes: float) -> dict[str, str]:
    return {v.claim: v.verdict for v in experiment.verdicts(results.frame(records(**changes)))}


SOUND = {
    "N2": "supported",
    "N40": "qualified",
    "N41": "supported",
    "N42": "supported",
    "N43": "supported",
    "N44": "supported",
    "N45": "supported",
}


def test_costs_that_follow_their_laws_support_the_claims() -> None:
    assert verdicts() == SOUND


def test_a_token_costs_the_same_at_every_length() -> None:
    assert verdicts(growth=1.5) == SOUND | {"N2": "qualified"}


def test_the_working_memory_is_judged() -> None:
    assert verdicts(rest=12.0) == SOUND | {"N40": "refuted"}


def test_the_encoder_dominates() -> None:
    assert verdicts(write=1e-5) == SOUND | {"N41": "qualified"}


def test_attention_is_the_dearer_one() -> None:
    assert verdicts(pair=1e-15)["N42"] == "qualified"
    data = results.frame(records())
    assert tables.times_as_dear(data, 2**20, 1) > 100 > tables.times_as_dear(data, 1024, 1) > 1
    assert tables.meetings(data)["extrapolated"].tolist() == [False, False, True, True]


def test_the_word_index_is_the_cheaper_one() -> None:
    assert verdicts(bm25=1e-4) == SOUND | {"N43": "qualified"}


def test_solving_beats_iterating() -> None:
    assert verdicts(steps=400.0) == SOUND | {"N44": "qualified"}


def test_small_rows_lose_nothing() -> None:
    assert verdicts(lost=0.02) == SOUND | {"N45": "qualified"}


def test_laws_and_what_follows_from_them() -> None:
    data = results.frame(records())
    read, ask = tables.memory_laws(data)
    assert read(1e6) == pytest.approx((E + WRITE) * 1e6, rel=1e-3) and ask(1e6) == pytest.approx(
        A + 1e-4 + R * 1e6
    )
    turn = tables.crossings(data)
    assert turn["pairs over tokens"] == pytest.approx(5000, rel=1e-3)
    assert turn["look-up over answer"] == pytest.approx(A / R, rel=1e-3)
    far = tables.billion(data).set_index("system")
    assert far["GB"].tolist() == pytest.approx([140, 36, 6, 4096])
    assert far["hours to read"].iloc[0] == pytest.approx(1e9 * E / 3600, abs=0.1)
    assert far["s a question"].iloc[0] == pytest.approx(1e9 * R, abs=0.1)


def test_tables_have_a_row_a_length_a_system_a_stage() -> None:
    data = results.frame(records())
    assert experiment.table(data)["tokens"].tolist() == list(LENGTHS)
    shown = tables.systems(data).set_index("system")
    assert shown.loc["BM25", "µs/token"] == pytest.approx(1.0, abs=0.05) and len(shown) == 4
    assert tables.limits(data)["share"].tolist() == [0.5]
    assert tables.whole(data)["peak GB"].tolist() == [0.6, 0.64]
    assert tables.one_question(data, "attention").index.tolist() == [1024, 4096, 16384]


def test_every_profile_has_units_with_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment.runtime, "cores", lambda: 2)
    for profile in ("quick", "full"):
        names = [unit.name for unit in experiment.units(profile, 0)]
        assert len(names) == len(set(names)) > 8
    assert "two processes" in names and "rows of 10485760 tokens" in names


def test_the_recorded_run_says_what_the_chapter_says(root: Path) -> None:
    path = root / "book" / "results" / "what-it-costs.jsonl"
    if not path.exists():
        pytest.skip(
            "not recorded yet: python -m memlab run what-it-costs --profile full --out " + path.name
        )
    data = results.load(path)
    assert {v.claim: v.verdict for v in experiment.verdicts(data)} == SOUND
    whole = data[data.task == "whole"].pivot_table("value", ["tokens", "model"], "metric")
    million, ten = whole.loc[2**20], whole.loc[10 * 2**20, "int8"]
    assert million.cpu.max() <= 120 and million.peak.max() <= 2e9 and (whole.right == 2).all()
    assert ten.cpu <= 11 * million.cpu["int8"] and ten.bytes / ten.length <= 64
    assert isinstance(tables.billion(data), pd.DataFrame)
