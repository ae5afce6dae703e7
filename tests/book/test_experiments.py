"""Measuring an experiment: one run a file for its whole length, and how far it is."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memlab import __main__, results, runtime
from memlab.book import experiments, units
from memlab.models import checkpoints
from memlab.results import Record, Verdict

ROOT = Path(__file__).parents[2]


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """The experiment "tiny" of three units; while it is measured, it does what is put into this
    list, at the beginning and at the end of every unit."""
    todo: list[Callable[[], object]] = []

    def measure(name: str) -> Iterator[Record]:
        for index in range(3):
            if index != 1:
                for work in todo:
                    work()
            yield Record("tiny", name, "task", "square", float(index**2), 0, index)

    module: Any = ModuleType("tiny")
    module.units = lambda profile, seed: [
        units.Unit(name, lambda name=name: measure(name)) for name in "abc"
    ]
    module.table = lambda data: data[["model", "value"]]
    module.verdicts = lambda data: [Verdict("T1", "supported", f"n = {len(data)}")]
    monkeypatch.setattr(experiments, "find", lambda name: module)
    monkeypatch.setattr(runtime, "provenance", lambda **extra: {"commit": "abc", **extra})
    return todo


@pytest.fixture
def clock(during: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit takes 41 seconds."""
    now = itertools.count(0.0, 41.0)
    time = ModuleType("time")
    time.monotonic = lambda: next(now)  # type: ignore[attr-defined]
    monkeypatch.setattr(units, "time", time, raising=False)


# ---- one run a file ------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_second_run_is_refused_for_the_whole_length_of_the_first(
    resume: list[str], during: list[Callable[[], object]], tmp_path: Path, capsys
) -> None:
    path, said = tmp_path / "tiny.jsonl", []

    def second() -> None:
        before = path.read_bytes()
        assert __main__.main(["run", "tiny", "--seed", "1", "--out", str(path), *resume]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
        with pytest.raises(ValueError, match="expected no other writer of"):
            results.append(path, ())
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]

    during.append(second)
    data = experiments.measure("tiny", "quick", out=path)
    assert len(said) == 6
    assert set(said) == {
        f"memlab: expected no other writer of {path}, got one that has not closed it"
    }
    assert len(data) == len(results.load(path)) == 9
    assert len(results.provenances(path)) == 1
    during.clear()
    assert __main__.main(["run", "tiny", "--seed", "1", "--out", str(path)]) == 0


def test_a_run_that_failed_lets_the_next_one_write(
    during: list[Callable[[], object]], tmp_path: Path
) -> None:
    path = tmp_path / "tiny.jsonl"

    def fail() -> None:
        raise KeyboardInterrupt

    during.append(fail)
    with pytest.raises(KeyboardInterrupt):
        experiments.measure("tiny", "quick", out=path)
    during.clear()
    assert len(experiments.measure("tiny", "quick", out=path, resume=True)) == 9


def test_a_run_writes_where_it_began_wherever_the_process_goes(
    during: list[Callable[[], object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    experiments.measure("tiny", "quick", out="tiny.jsonl", only=["a"])
    during.append(lambda: os.chdir(tmp_path / "there"))
    data = experiments.measure("tiny", "quick", out="tiny.jsonl", resume=True)
    assert len(data) == 9 == len(results.load(tmp_path / "here" / "tiny.jsonl"))
    assert list((tmp_path / "there").iterdir()) == []
    assert f"6 records appended to {tmp_path / 'here' / 'tiny.jsonl'}\n" in capsys.readouterr().err


def test_records_go_into_a_pipe(
    during: list[Callable[[], object]], no_waiting: None, tmp_path: Path, capsys
) -> None:
    """As in `run tiny --out >(cat > file)`; what read from the pipe, would wait for ever."""
    into, out = os.pipe()
    os.set_blocking(into, False)
    path = f"/dev/fd/{out}"
    assert __main__.main(["run", "tiny", "--out", path]) == 0
    (tmp_path / "tiny.jsonl").write_bytes(os.read(into, 100_000))
    assert len(results.load(tmp_path / "tiny.jsonl")) == 9
    assert "T1 supported  n = 9" in capsys.readouterr().out
    assert __main__.main(["run", "tiny", "--out", path, "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"memlab: expected a file to go on with, got {path}, which cannot be read back\n"
    )
    os.close(out)
    assert os.read(into, 10) == b"", "nothing was written by a run that was refused"
    os.close(into)


def test_an_empty_name_is_no_file(during: list[Callable[[], object]], capsys) -> None:
    assert __main__.main(["run", "tiny", "--out", ""]) == 2
    assert "expected a file or a pipe to write to" in capsys.readouterr().err


# ---- how far it is -------------------------------------------------------------------------------


def test_every_unit_says_how_far_the_run_is(clock: None, tmp_path: Path, capsys) -> None:
    path = tmp_path / "tiny.jsonl"
    experiments.measure("tiny", "quick", out=path)
    assert capsys.readouterr() == (
        "",
        "tiny: 0 of 3, a begins\n"
        "tiny: 1 of 3, a done, 41 s gone, about 82 s left\n"
        "tiny: 2 of 3, b done, 82 s gone, about 41 s left\n"
        "tiny: 3 of 3, c done, 2 min gone\n"
        f"tiny: 9 records appended to {path}\n",
    )


def test_a_resumed_run_counts_what_was_done_before(clock: None, tmp_path: Path, capsys) -> None:
    path = tmp_path / "tiny.jsonl"
    experiments.measure("tiny", "quick", out=path, only=["a"])
    capsys.readouterr()
    experiments.measure("tiny", "quick", out=path, resume=True)
    assert capsys.readouterr().err == (
        "tiny: 1 of 3, done before\n"
        "tiny: 1 of 3, b begins\n"
        "tiny: 2 of 3, b done, 41 s gone, about 41 s left\n"
        "tiny: 3 of 3, c done, 82 s gone\n"
        f"tiny: 6 records appended to {path}\n"
    )
    experiments.measure("tiny", "quick", out=path, resume=True)
    assert capsys.readouterr().err == (
        f"tiny: 3 of 3, done before\ntiny: 0 records appended to {path}\n"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (150, "2 min"),
        (5969, "99 min"),
        (5971, "1.7 h"),
        (86_400, "24.0 h"),
    ],
)
def test_a_time_is_said_in_the_unit_that_suits_it(
    seconds: float,
    said: str,
    during: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:
    now = iter([0.0, seconds])
    time = ModuleType("time")
    time.monotonic = lambda: next(now)  # type: ignore[attr-defined]
    monkeypatch.setattr(units, "time", time, raising=False)
    experiments.measure("tiny", "quick", only=["b"])
    assert capsys.readouterr().err.splitlines()[-1] == f"tiny: 1 of 1, b done, {said} gone"


class Terminal(io.StringIO):
    """What stderr is where somebody looks on."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_says_it(
    during: list[Callable[[], object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments.measure("tiny", "quick", out=tmp_path / "tiny.jsonl", only=["a"])
    during.append(lambda: print("said by the unit", file=sys.stderr))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    experiments.measure("tiny", "quick", out=tmp_path / "tiny.jsonl", resume=True)
    assert sys.stderr is terminal
    shown = terminal.getvalue().replace("\r", "\n").splitlines()
    bars = [line for line in shown if line.startswith("tiny: ") and "/3 [" in line]
    assert "1/3 [" in bars[0] and "3/3 [" in bars[-1] and any(", b" in line for line in bars)
    assert shown.count("said by the unit") == 4, "each on a line of its own"
    assert shown[-1] == f"tiny: 6 records appended to {tmp_path / 'tiny.jsonl'}"


def test_a_page_hears_nothing(during: list[Callable[[], object]], capsys) -> None:
    assert len(experiments.run("tiny", "quick")) == 9
    assert capsys.readouterr() == ("", "")


# "needles" does without one.
ASKING = [
    name
    for name in experiments.names()
    if name != "needles" and hasattr(experiments.find(name), "sources")
]


@pytest.mark.parametrize("name", ASKING)
def test_where_no_language_model_is_installed_one_sentence_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMLAB_LLM", raising=False)
    monkeypatch.setattr(checkpoints, "OPTIONAL", "no_such_package_of_anybody")
    with pytest.raises(ModuleNotFoundError, match="expected a language model: set MEMLAB_LLM"):
        experiments.measure(name, "quick", out=tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


def test_experiments_that_ask_a_language_model_are_known_by_their_sources() -> None:
    assert len(ASKING) >= 7 and "by-heart" in ASKING and "reciting" not in ASKING


def test_recorded_commands_can_be_given_anywhere() -> None:
    """No folder of the machine that measured stands in a record."""
    folder = ROOT / "book" / "results"
    for path in sorted(folder.glob("*.jsonl")):
        for made in results.provenances(path):
            words = str(made["command"]).replace("=", " ").split()
            assert not [word for word in words if word.startswith(("/", "~"))], path.name
