"""Records on disk: nothing that was measured is lost, whatever happened to the file; intervals
against an oracle."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture
def in_units(file: Path) -> Path:
    """The same records as two sessions of a unit each."""
    file.unlink()
    for name, first in (("a", 0), ("b", 3)):
        results.append(file, some(3, first), {"commit": name, "note": "Schrödinger"})
        results.close_unit(file, name)
    return file


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


@pytest.mark.parametrize("line", [b"oops", b"[1, 2]", b"3", b"null", b"\xff\xfe", b"[" * 9999])
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_is_no_record_is_named(file: Path, line: bytes, last: bool) -> None:
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], line, *lines[2 + 9 * last :], b""]))
    with pytest.raises(
        ValueError,
        match=r"line 3 is not a JSON object; expected one JSON object a line, got .*; the 2 lines"
        r" before it are whole$",
    ):
        results.load(file)
    before = file.read_bytes()
    assert results.repair(file) is None and file.read_bytes() == before


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b"   ", b"\n\n  \n", b"\t\r\n\r\n"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n\n", b"\r\n \r\n"])
def test_blank_lines_are_passed_over(in_units: Path, ending: bytes, tail: bytes) -> None:
    file = in_units
    wanted = results.load(file)
    sessions = results.provenances(file)
    file.write_bytes(file.read_bytes().replace(b"\n", ending) + tail)
    pd.testing.assert_frame_equal(results.load(file), wanted)
    assert results.provenances(file) == sessions
    assert results.repair(file) is None and results.resume(file) == {"a", "b"}
    assert not file.with_name(file.name + ".cut").exists()
    results.append(file, some(1, 6))
    assert list(results.load(file)["index"]) == [0, 1, 2, 3, 4, 5, 6]


def test_an_error_behind_blank_lines_names_the_line_as_an_editor_does(file: Path) -> None:
    file.write_bytes(b"\n\r\n" + file.read_bytes() + b"\noops")
    with pytest.raises(ValueError, match=r"line 12 is cut off; .*memlab\.results\.repair sets"):
        results.load(file)
    assert results.repair(file) == file.with_name(file.name + ".cut")
    assert len(results.load(file)) == 6


WHOLE = (
    '{"experiment": "e", "model": "m", "task": "t", "metric": "k", "value": 1.0, "seed": 0,'
    ' "index": 0, "meta": {"n": 1}}'
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1.0", "NaN", "expected a finite number as value, got nan"),
        ("1.0", "Infinity", "expected a finite number as value, got inf"),
        ("1.0", "-1e999", "expected a finite number as value, got -inf"),
        ("1.0", "null", "expected a finite number as value, got None"),
        ("1.0", '"1.0"', "expected a finite number as value, got '1.0'"),
        ("1.0", "[1.0]", r"expected a finite number as value, got \[1.0\]"),
        ('"value": 1.0, ', "", "expected the fields experiment, .*, got experiment, model, task,"),
        ('{"n": 1}', "null", "expected an object as meta, got None"),
        ('{"n": 1}', "[1]", r"expected an object as meta, got \[1\]"),
        ('{"n": 1}', '{"n": 1, "n": 2}', "expected each key once, got 'n' twice"),
        ('{"n": 1}', '{"value": 2}', "expected coordinates in meta, got the field value"),
        ('"index": 0', '"seed": 1', "expected each key once, got 'seed' twice"),
        ('"index": 0', '"index": 0.5', "expected an integer as index, got 0.5"),
        ('"seed": 0', '"seed": null', "expected an integer as seed, got None"),
        ('"m"', "null", "expected a text as model, got None"),
        (WHOLE, '{"provenance": null}', "expected an object as provenance, got None"),
        (WHOLE, '{"finished": [1]}', r"expected an object as finished, got \[1\]"),
        (WHOLE, '{"unit": 3}', "expected a text as unit, got 3"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_line(
    file: Path, old: str, new: str, said: str
) -> None:
    assert old in WHOLE
    with open(file, "a", encoding="utf-8", newline="\n") as out:
        out.write(f"{WHOLE}\n{WHOLE.replace(old, new)}\n")
    with pytest.raises(ValueError, match=rf"deep/needles\.jsonl: line 10 is no record; {said}"):
        results.load(file)
    if old == WHOLE:
        with pytest.raises(ValueError, match="line 10 is no record"):
            results.provenances(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": math.nan}, "expected a finite number as value, got nan"),
        ({"value": np.float32("inf")}, "expected a finite number as value, got inf"),
        ({"value": None}, "expected a finite number as value, got None"),
        ({"value": torch.ones(2)}, r"expected a number, a text or a list of them, got tensor"),
        ({"meta": None}, "expected an object as meta, got None"),
        ({"meta": {"index": 3}}, "expected coordinates in meta, got the field index"),
        ({"meta": {"poems": {1, 2}}}, "expected a number, a text or a list of them, got {1, 2}"),
    ],
)
def test_a_record_that_could_not_be_read_back_is_not_written(
    file: Path, change: dict, said: str
) -> None:
    before = file.read_bytes()
    (record,) = some(1)
    for name, value in change.items():  # past the type checks of the tests
        object.__setattr__(record, name, value)
    with pytest.raises(ValueError, match=f"^{said}"):
        results.append(file, [record])
    assert file.read_bytes() == before


def test_every_recorded_run_can_be_read(root: Path) -> None:
    paths = sorted((root / "book" / "results").glob("*.jsonl"))
    assert len(paths) >= 17
    for path in paths:
        assert results.provenances(path), path.name
        if path.stat().st_size < 200_000:  # the chapters load the others when they are executed
            assert len(results.load(path)) >= 40, path.name


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


# ---- what resume must not count twice ------------------------------------------------------------


def parts(path: Path, *units: tuple[str, bool]) -> bytes:
    """The lines of a session that measured these units of two records each, whole or not."""
    results.append(path, (), {"experiment": "tiny"})
    for name, whole in units:
        results.append(path, some(2))
        if whole:
            results.close_unit(path, name)
    lines = path.read_bytes()
    path.unlink()
    return lines


JOINED = {
    "a part that was killed": (
        [(("a", True), ("b", False)), (("b", True), ("c", True))],
        "expected whole units to go on with, got records of none from line 5 to line 6",
    ),
    "parts that overlap": (
        [(("b", True),), (("a", True), ("b", True))],
        "expected each unit once, got 'b' again in line 11",
    ),
}


@pytest.mark.parametrize(("sessions", "message"), JOINED.values(), ids=JOINED)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, sessions: list[tuple[tuple[str, bool], ...]], message: str
) -> None:
    file = tmp_path / "all.jsonl"
    file.write_bytes(b"".join(parts(tmp_path / "part", *units) for units in sessions))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        results.resume(file)
    assert file.read_bytes() == before


def test_a_file_of_a_time_before_there_were_units_is_not_measured_anew(file: Path) -> None:
    results.finish(file, records=6)
    with pytest.raises(ValueError, match="got records of none from line 2 to line 4"):
        results.resume(file)


def test_parts_that_fit_together_are_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    sessions = [(("a", True), ("b", True)), (("c", True), ("d", False))]
    file.write_bytes(b"".join(parts(tmp_path / "part", *units) for units in sessions))
    assert results.resume(file) == {"a", "b", "c"} and len(results.load(file)) == 6


# ---- lines behind one that was cut ---------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 5])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: results.finish(path, records=3),
        lambda path: results.close_unit(path, "c"),
        lambda path: results.append(path, some(1)),
    ],
    ids=["finish", "close_unit", "append"],
)
def test_no_line_becomes_part_of_one_that_was_cut(
    file: Path, write: Callable[[Path], object], lost: int
) -> None:
    file.write_bytes(file.read_bytes()[:-lost])
    with contextlib.ExitStack() as stack:
        if lost > 1:
            stack.enter_context(pytest.warns(UserWarning, match="ended in the middle of a line"))
        write(file)
    assert len(results.load(file)) >= 5


def test_a_session_is_closed_after_a_disk_that_was_full(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with results.Writer(file) as writer:
        with monkeypatch.context() as patch:
            real = os.write

            def full(handle: int, data: Any) -> int:
                if len(data) > 7:
                    return real(handle, data[:7])
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(results.os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                writer.append(some(1))
        with pytest.warns(UserWarning, match="ended in the middle of a line"):
            writer.finish(records=6)
    assert len(results.load(file)) == 6 and results.provenances(file)[-1]["records"] == 6


# ---- one writer ----------------------------------------------------------------------------------


WRITES: dict[str, Callable[[Path], object]] = {
    "Writer": lambda path: results.Writer(path),
    "append": lambda path: results.append(path, some(1)),
    "append nothing": lambda path: results.append(path, ()),
    "finish": lambda path: results.finish(path, records=1),
    "close_unit": lambda path: results.close_unit(path, "c"),
    "resume": lambda path: results.resume(path),
    "repair": lambda path: results.repair(path),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_file_has_one_writer_at_a_time(write: Callable[[Path], object], in_units: Path) -> None:
    file = in_units
    results.append(file, some(1))  # of a unit that is not closed: resume would set it aside
    by_link, by_name = file.with_name("link"), file.with_name("name")
    os.link(file, by_link)
    by_name.symlink_to(file)
    with results.Writer(file) as writer:
        before = file.read_bytes()
        for path in (file, by_link, by_name):
            with pytest.raises(
                ValueError,
                match=rf"^expected no other writer of .*{path.name}, got one that has not closed",
            ):
                write(path)
        assert file.read_bytes() == before
        assert len(results.load(file)) == 7, "readers need no lock"
        writer.append(some(1, 1))
    assert len(results.load(file)) == 8
    write(file)
    assert sorted(path.name for path in file.parent.iterdir() if path.suffix != ".cut") == [
        "link",
        "name",
        "needles.jsonl",
    ], "no lock lies beside the file"


def test_other_processes_are_refused_and_so_are_forks_of_the_writer(
    file: Path, told_in_a_fork: Callable[[Callable[[], object]], str]
) -> None:
    with results.Writer(file) as writer:
        before = file.read_bytes()
        said = told_in_a_fork(lambda: results.append(file, some(1)))
        assert said.startswith("ValueError: expected no other writer of")
        said = told_in_a_fork(lambda: writer.append(some(1)))
        assert said.startswith("ValueError: expected the process that opened")
        assert told_in_a_fork(writer.close) == "done"
        assert told_in_a_fork(lambda: results.Writer(file)).startswith("ValueError")
        assert file.read_bytes() == before
        writer.append(some(1))
    assert told_in_a_fork(lambda: results.append(file, some(1))) == "done"


def test_a_writer_writes_to_the_file_that_it_opened_or_not_at_all(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    writer = results.Writer(file.name)
    monkeypatch.chdir(file.parent.parent)
    assert writer.append(some(1, 6)) == 1
    moved = file.rename(file.with_name("moved"))
    with pytest.raises(ValueError, match=r"^expected .*needles\.jsonl as it was .*, got nothing"):
        writer.append(some(1))
    file.write_text("another\n", "utf-8")
    for write in (
        lambda: writer.append(some(1)),
        lambda: writer.finish(records=1),
        lambda: writer.close_unit("a"),
        lambda: writer.resume(),
    ):
        with pytest.raises(ValueError, match="got another at that path"):
            write()
    writer.close()
    with pytest.raises(ValueError, match="got one that was closed"):
        writer.append(some(1))
    with pytest.raises(ValueError, match="got one that was closed"), writer:
        pass
    assert file.read_text("utf-8") == "another\n" and len(results.load(moved)) == 7


# ---- streams -------------------------------------------------------------------------------------


def test_a_pipe_takes_the_records_and_nothing_is_read_back(
    tmp_path: Path, no_waiting: None
) -> None:
    into, out = os.pipe()
    path = f"/dev/fd/{out}"  # what >(cat > file) is for the program
    with results.Writer(path) as writer, results.Writer(path):
        assert writer.append(some(2), {"commit": "abc"}) == 2
        writer.finish(records=2)
        with pytest.raises(ValueError, match=r"^expected a file to go on with, got /dev/fd/\d+"):
            writer.resume(profile="quick")
    assert results.append(path, some(1, 2)) == 1 and results.repair(path) is None
    os.close(out)
    with open(into, "rb") as pipe:
        (tmp_path / "r.jsonl").write_bytes(pipe.read())
    assert list(results.load(tmp_path / "r.jsonl")["index"]) == [0, 1, 2]
    assert results.provenances(tmp_path / "r.jsonl") == [{"commit": "abc", "records": 2}]


def test_a_named_pipe_needs_a_reader_and_nobody_waits_for_one(
    tmp_path: Path, no_waiting: None
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="^expected somebody who reads from the pipe .*pipe, got"):
        results.append(pipe, some(1))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert results.append(pipe, some(1)) == 1
    assert json.loads(os.read(reader, 10_000))["experiment"] == "needles"
    os.close(reader)


def test_what_goes_to_a_file_by_way_of_stdout_is_not_written_over(
    tmp_path: Path, told_in_a_fork: Callable[[Callable[[], object]], str]
) -> None:
    """As in `run … --out /dev/stdout > all.txt`, where the table follows the records."""

    def program() -> None:
        os.dup2(os.open(tmp_path / "all.txt", os.O_WRONLY | os.O_CREAT, 0o666), 1)
        os.write(1, b"before\n")
        results.append("/dev/stdout", some(2), {"commit": "abc"})
        os.write(1, b"table\n")

    assert told_in_a_fork(program) == "done"
    first, made, *rows, last = (tmp_path / "all.txt").read_text("utf-8").splitlines()
    assert (first, last) == ("before", "table") and "provenance" in json.loads(made)
    assert [json.loads(row)["index"] for row in rows] == [0, 1]


def test_what_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    assert results.append("/dev/null", some(2)) == 2
    with pytest.raises(
        ValueError, match="^expected a file or a pipe to write to, got .* directory"
    ):
        results.append(tmp_path, some(1))
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "socket"))
        with pytest.raises(ValueError, match="got .*socket, which is neither$"):
            results.append(tmp_path / "socket", some(1))


# ---- kills ---------------------------------------------------------------------------------------

KILLED = textwrap.dedent('''
    """Fork a run again and again; it kills itself at its n-th write, or is killed at random."""
    import os, random, signal, sys, time
    from pathlib import Path
    import pandas as pd
    from memlab import results
    from memlab.results import Record, Writer
    assert "torch" not in sys.modules

    UNITS = [f"seed {number}" for number in range(6)]

    def measured(unit):
        for index in range(6):
            meta = {"note": "é" * index}
            yield Record("kill", unit, "task", "square", float(index**2), 0, index, meta)

    def run(path, told=lambda: None):
        """What `experiments.measure` does with --resume."""
        with Writer(path) as writer:
            done = writer.resume(experiment="kill")
            writer.append((), {"experiment": "kill"})
            for unit in UNITS:
                if unit not in done:
                    writer.append(measured(unit))
                    writer.close_unit(unit)
                    told()
            writer.finish(records=36)

    def in_pieces(die_at):
        """The system takes five bytes at a time; SIGKILL before the write of that number."""
        real, count = os.write, [0]
        def write(handle, data):
            count[0] += 1
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(handle, data[:5])
        os.write = write

    def killed(path, die_at=None, delay=None):
        """Units that the run said were closed, and whether it was killed."""
        into, out = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(into)
            in_pieces(die_at)
            run(path, lambda: os.write(out, b"."))
            os._exit(0)
        os.close(out)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        with open(into, "rb") as pipe:
            return len(pipe.read()), os.WIFSIGNALED(status)

    def verify(path, before, closed):
        """The file loads, or names its last line as cut; all is there that was closed."""
        if not path.exists():
            assert closed == before == 0
            return 0, False
        cut = False
        try:
            results.load(path)
        except ValueError as problem:
            cut = True
            last = len(path.read_bytes().splitlines())
            assert f"line {last} is cut off" in str(problem), problem
        results.repair(path)
        found = results.load(path)
        if len(found):  # what was measured of the unit that was interrupted is kept, too
            pd.testing.assert_frame_equal(found, wanted[: len(found)])
        lines = [line for line in path.read_bytes().splitlines() if b\'"unit"\' in line]
        assert before + closed <= len(lines) <= before + closed + 1, (path, before, closed)
        assert len(found) >= 6 * len(lines)
        return len(lines), cut

    root, drawn = Path(sys.argv[1]), random.Random(0)
    run(root / "straight.jsonl")
    wanted = results.load(root / "straight.jsonl")
    start = time.perf_counter()
    killed(root / "timed.jsonl")
    whole = time.perf_counter() - start
    kills = cuts = 0
    for number in range(100):
        path, units = root / f"{number}.jsonl", 0
        said, died = killed(path, delay=drawn.random() * whole)
        units, cut = verify(path, units, said)
        kills, cuts = kills + died, cuts + cut
        left = 5 + 150 * (6 - units)  # writes that are still to come, at least
        said, died = killed(path, die_at=drawn.randrange(1, left))
        units, cut = verify(path, units, said)
        kills, cuts = kills + died, cuts + cut
        run(path)
        pd.testing.assert_frame_equal(results.load(path), wanted)
        rest = {path.name, path.name + ".cut"}
        assert {each.name for each in root.glob(f"{number}.*")} <= rest
    print(kills, cuts)
''')


def test_a_kill_at_any_moment_loses_nothing_that_was_closed(root: Path, tmp_path: Path) -> None:
    """100 runs, each killed at a random time and again, resumed, at a random write: each file loads
    or names its cut line, and ends with the records of a run that nobody interrupted."""
    program = tmp_path / "killed.py"
    program.write_text(KILLED, "utf-8")
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "pkg" / "src")},
    )
    assert done.returncode == 0, done.stderr
    kills, cuts = map(int, done.stdout.split())
    assert kills >= 100 and cuts >= 50


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
