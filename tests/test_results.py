"""Records on disk: nothing that was measured is lost, whatever happened to the file; intervals
against an oracle."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from memlab import results
from memlab.results import Record, Verdict


def some(count: int, start: int = 0) -> list[Record]:
    return [
        Record(
            "needles",
            "memory",
            "passkey",
            "recall",
            float(i % 2),
            seed=0,
            index=i,
            meta={"tokens": 1000, "depth": 0.5},
        )
        for i in range(start, start + count)
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A record file of two sessions, three records each."""
    path = tmp_path / "deep" / "needles.jsonl"
    assert results.append(path, some(3), {"commit": "abc", "note": "Schrödinger"}) == 3
    assert results.append(path, some(3, 3), {"commit": "def"}) == 3
    return path


def test_records_come_back_as_they_went(file: Path) -> None:
    data = results.load(file)
    assert list(data["index"]) == [0, 1, 2, 3, 4, 5]
    assert set(data.columns) == {
        "experiment",
        "model",
        "task",
        "metric",
        "value",
        "seed",
        "index",
        "tokens",
        "depth",
    }
    assert results.frame(some(6)).equals(data[results.frame(some(6)).columns])
    assert [made["commit"] for made in results.provenances(file)] == ["abc", "def"]
    assert results.provenances(file)[0]["note"] == "Schrödinger"


def test_a_record_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Record("e", "m", "t", "k", 0.0).value = 2.0  # type: ignore[misc]


def test_numbers_of_numpy_and_torch_are_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    results.append(
        path,
        [
            dataclasses.replace(
                some(1)[0], value=np.float64(0.5), meta={"a": np.float32(0.5), "b": torch.tensor(2)}
            )
        ],
    )
    row = json.loads(path.read_text("utf-8"))
    assert row["value"] == 0.5 and row["meta"] == {"a": 0.5, "b": 2}


def test_a_session_that_ended_says_how_long_it_took(file: Path) -> None:
    results.finish(file, wall_seconds=1.5, records=3)
    first, second = results.provenances(file)
    assert "wall_seconds" not in first and second == {
        "commit": "def",
        "wall_seconds": 1.5,
        "records": 3,
    }
    assert len(results.load(file)) == 6


def test_cut_anywhere_nothing_whole_is_lost(tmp_path: Path) -> None:
    """Cut the file after every single byte: every whole record stays, the piece is kept aside,
    appending goes on."""
    file = tmp_path / "r.jsonl"
    results.append(file, [Record("é", "m", "t", "k", 1.0, meta={"a": 1})] * 2, {"commit": "abc"})
    whole = file.read_bytes()
    for length in range(1, len(whole)):
        file.write_bytes(whole[:length])
        aside = file.with_name(file.name + ".cut")
        aside.unlink(missing_ok=True)
        complete = whole[:length].count(b"\n")
        last = whole[:length].split(b"\n")[-1]
        kept_last = (
            length < len(whole) and whole[length : length + 1] == b"\n"
        )  # whole but for its line break
        if last and not kept_last:
            with pytest.raises(
                ValueError,
                match=rf"line {complete + 1} is cut off; expected one JSON object a line, "
                rf"got .*the {complete} lines before it are whole",
            ):
                results.load(file)
            with pytest.warns(
                UserWarning, match="ended in the middle of a line; the piece is kept in"
            ):
                results.append(file, some(1, 9))
            assert aside.read_bytes() == last + b"\n"
        else:
            results.append(file, some(1, 9))
            assert not aside.exists()
        lines = file.read_bytes().splitlines()
        assert lines[:-1] == whole[:length].splitlines()[: complete + kept_last]
        assert json.loads(lines[-1])["index"] == 9
        results.load(file)


def test_repair_sets_a_cut_line_aside_once(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])
    assert results.repair(file) == file.with_name(file.name + ".cut")
    assert results.repair(file) is None, "repaired once, there is nothing left to repair"
    assert list(results.load(file)["index"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("line", [b"oops", b"[1, 2]", b"3", b"\xff\xfe", b""])
def test_a_line_that_is_no_record_is_named(file: Path, line: bytes) -> None:
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], line, *lines[2:], b""]))
    with pytest.raises(
        ValueError, match=r"line 3 is not a JSON object; expected one JSON object a line, got"
    ):
        results.load(file)


def test_unknown_fields_are_named(file: Path) -> None:
    with open(file, "a", encoding="utf-8") as out:
        out.write('{"experiment": "e", "score": 1}\n')
    with pytest.raises(
        ValueError, match="line 9 is no record; expected the fields experiment, model, .*got exp"
    ):
        results.load(file)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no recorded results at .*needles\.jsonl; expected .*memlab run"
    ):
        results.load(tmp_path / "needles.jsonl")


def test_a_killed_run_keeps_what_it_had_measured(tmp_path: Path) -> None:
    path = tmp_path / "killed.jsonl"
    program = f"""
import os, signal
from memlab.results import Record, append
def run():
    for i in range(9):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Record("e", "m", "t", "k", 1.0, index=i)
append({str(path)!r}, run(), {{"commit": "abc"}})
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert list(results.load(path)["index"]) == [0, 1, 2, 3, 4]


def test_an_experiment_that_fails_keeps_what_it_had_measured(tmp_path: Path) -> None:
    def run():
        yield from some(2)
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError):
        results.append(tmp_path / "r.jsonl", run())
    assert len(results.load(tmp_path / "r.jsonl")) == 2


def test_frame_of_nothing_and_of_mixed_coordinates() -> None:
    assert results.frame([]).empty
    data = results.frame(
        [Record("e", "m", "t", "k", 1.0, meta={"depth": 0.1}), Record("e", "m", "t", "k", 0.0)]
    )
    assert math.isnan(data["depth"][1]) and list(data["value"]) == [1.0, 0.0]


def wilson_by_search(successes: float, trials: int, level: float) -> tuple[float, float]:
    """The interval from its definition: the p at which (p̂ − p)² = z² p (1 − p) / n, found
    numerically."""
    z, share = norm.ppf((1 + level) / 2), successes / trials

    def excess(p: float) -> float:
        return (share - p) ** 2 - z**2 * p * (1 - p) / trials

    # At p̂ = 0 and p̂ = 1 the point itself is a root; the other one is the bound.
    low = 0.0 if successes == 0 else brentq(excess, 0.0, share - 1e-9, xtol=1e-14)
    high = 1.0 if successes == trials else brentq(excess, share + 1e-9, 1.0, xtol=1e-14)
    return low, high


@given(
    st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_wilson_is_what_its_definition_says(cell: tuple[int, int], level: float) -> None:
    low, high = results.wilson(*cell, level)
    assert (low, high) == pytest.approx(wilson_by_search(*cell, level), abs=1e-9)
    assert 0 <= low <= cell[0] / cell[1] <= high + 1e-12 <= 1 + 1e-12
    assert high > low


def test_wilson_at_the_ends() -> None:
    z2 = norm.ppf(0.975) ** 2
    assert results.wilson(0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    assert results.wilson(10, 10) == pytest.approx((10 / (10 + z2), 1.0))


@pytest.mark.parametrize(
    ("successes", "trials", "level"),
    [
        (1, 0, 0.95),
        (-1, 3, 0.95),
        (4, 3, 0.95),
        (math.nan, 3, 0.95),
        (1, 3, 0.0),
        (1, 3, 1.0),
        (1, 3, 95.0),
    ],
)
def test_wilson_refuses(successes: float, trials: int, level: float) -> None:
    with pytest.raises(ValueError, match="^expected .* got "):
        results.wilson(successes, trials, level)


def test_summary_has_one_row_a_group_in_order_of_appearance() -> None:
    data = pd.DataFrame(
        {"model": ["b", "a", "b", "a"], "tokens": [1, 1, 1, 1], "value": [1, 0, 1, 1]}
    )
    table = results.summarise(data, ["model", "tokens"])
    assert (
        list(table["model"]) == ["b", "a"]
        and list(table["n"]) == [2, 2]
        and list(table["mean"]) == [1.0, 0.5]
    )
    assert tuple(table.loc[1, ["low", "high"]]) == pytest.approx(results.wilson(1, 2))
    assert results.summarise(data, "model").equals(results.summarise(data, ["model"]))


def test_summary_keeps_groups_with_a_missing_coordinate_and_no_rows() -> None:
    data = pd.DataFrame({"depth": [0.5, math.nan, math.nan], "value": [1, 1, 0]})
    assert list(results.summarise(data, ["depth"])["n"]) == [1, 2]
    empty = results.summarise(data[:0], ["depth"])
    assert empty.empty and list(empty.columns) == ["depth", "mean", "low", "high", "n"]


@pytest.mark.parametrize("values", [[0.5, 2.0], [-0.1, 0.0], [math.nan, 1.0]])
def test_summary_refuses_what_is_no_proportion(values: list[float]) -> None:
    with pytest.raises(ValueError, match="^expected values in 0…1, got "):
        results.summarise(pd.DataFrame({"model": ["a", "a"], "value": values}), ["model"])


def test_summary_names_a_missing_column() -> None:
    with pytest.raises(ValueError, match="^expected columns depth, value, got none named depth$"):
        results.summarise(pd.DataFrame({"value": [1.0]}), ["depth"])


def test_verdict_is_one_line() -> None:
    assert str(Verdict("S1", "refuted", "AUC 1.000 at recitation 0.000 (3 seeds)")) == (
        "S1 refuted  AUC 1.000 at recitation 0.000 (3 seeds)"
    )
