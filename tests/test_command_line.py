"""`python -m memlab`: what it prints where, its exit status, and one sentence for every request
that makes no sense."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import pandas as pd
import pytest
import torch

from memlab import __main__, results
from memlab.book import experiments, units
from memlab.results import Record, Verdict
from memlab.training import Log, Progress


def tiny_run(profile: str, seed: int) -> Iterator[Record]:
    """Three measurements that depend on the arguments alone."""
    for index in range(3):
        yield Record(
            "tiny",
            "model",
            "task",
            "recall",
            float((index + seed) % 2),
            seed,
            index,
            {"profile": profile},
        )


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An experiment of the tests' own, found under the name "tiny"."""
    module: Any = ModuleType("tiny")
    module.run, module.table = tiny_run, lambda data: data[["index", "value"]]
    module.verdicts = lambda data: [Verdict("T1", "supported", f"n = {len(data)}")]
    real = experiments.find
    monkeypatch.setattr(experiments, "find", lambda name: module if name == "tiny" else real(name))
    monkeypatch.delenv("MEMLAB_PROFILE", raising=False)
    before = torch.get_num_threads()
    yield module
    torch.set_num_threads(before)


def test_table_and_verdicts_go_to_stdout_the_rest_to_stderr(tiny: ModuleType, capsys) -> None:
    assert __main__.main(["run", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "T1 supported  n = 3"
    assert out.splitlines()[0].split() == ["index", "value"] and len(out.splitlines()) == 5
    assert "tiny: 0 s, profile quick, seed 0" in err


def test_records_are_appended_with_their_provenance(tiny: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "new" / "tiny.jsonl"
    assert (
        __main__.main(["run", "tiny", "--profile", "full", "--seed", "1", "--out", str(path)]) == 0
    )
    assert __main__.main(["run", "tiny", "--out", str(path)]) == 0
    data = results.load(path)
    assert (
        list(data["seed"]) == [1, 1, 1, 0, 0, 0]
        and list(data["profile"]) == ["full"] * 3 + ["quick"] * 3
    )
    first, second = results.provenances(path)
    assert (first["profile"], first["seed"]) == ("full", 1) and (
        second["profile"],
        second["seed"],
    ) == ("quick", 0)
    assert first["records"] == 3 and first["wall_seconds"] >= 0 and first["peak_megabytes"] > 0


def test_a_run_that_fails_halfway_keeps_its_records(
    tiny: ModuleType, tmp_path: Path, capsys
) -> None:
    def run(profile: str, seed: int) -> Iterator[Record]:
        yield from list(tiny_run(profile, seed))[:2]
        raise ValueError("expected a longer haystack, got 3 tokens")

    tiny.run, path = run, tmp_path / "tiny.jsonl"
    assert __main__.main(["run", "tiny", "--out", str(path)]) == 2
    assert capsys.readouterr().err == "memlab: expected a longer haystack, got 3 tokens\n"
    assert len(results.load(path)) == 2
    assert "wall_seconds" not in results.provenances(path)[0], (
        "a session that did not end does not say that it did"
    )


def test_a_run_is_not_recorded_twice_in_one_file(tiny: ModuleType, tmp_path: Path, capsys) -> None:
    path = tmp_path / "tiny.jsonl"
    __main__.main(["run", "tiny", "--out", str(path)])
    before = path.read_bytes()
    assert __main__.main(["run", "tiny", "--out", str(path)]) == 2
    assert (
        "already holds tiny of profile quick and seed 0: expected --resume"
        in capsys.readouterr().err
    )
    assert path.read_bytes() == before


def test_appending_to_a_file_that_was_cut_keeps_both(tiny: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    __main__.main(["run", "tiny", "--out", str(path)])
    cut = path.read_bytes()[:-30]
    path.write_bytes(cut)
    with pytest.warns(UserWarning, match="the piece is kept in"):
        assert __main__.main(["run", "tiny", "--seed", "1", "--out", str(path)]) == 0
    assert len(results.load(path)) == 6
    assert path.with_name("tiny.jsonl.cut").read_bytes() == cut.rsplit(b"\n", 1)[1] + b"\n"


def test_bad_requests_are_one_sentence_and_status_2(
    tiny: ModuleType, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = {
        (
            "run",
            "tiny",
            "--profile",
            "fast",
        ): "unknown profile 'fast': expected one of quick, full, gpu",
        ("run", "nothing"): "unknown experiment 'nothing': expected one of ",
        ("run", "tiny", "--threads", "0"): "expected a number of threads from 1 to 1024, got '0'",
        ("run", "tiny", "--out", str(tmp_path)): "directory",
    }
    for request, sentence in requests.items():
        assert __main__.main(request) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("memlab: ") and err.count("\n") == 1 and sentence in err
    monkeypatch.setenv("MEMLAB_PROFILE", "slow")
    assert __main__.main(["run", "tiny"]) == 2
    assert "unknown profile 'slow'" in capsys.readouterr().err


# ---- what is printed, and what takes it ----------------------------------------------------------

LETTERS = "β √d ᵀ ⁺ ö ≥ ± … 記憶 🙂"


@pytest.fixture
def foreign(tiny: ModuleType) -> ModuleType:
    """The experiment "tiny" with a table in letters that few encodings have."""
    tiny.table = lambda data: pd.DataFrame({LETTERS: [1]})
    tiny.verdicts = lambda data: [Verdict("T1", "supported", LETTERS)]
    return tiny


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    "encoding", ["ascii", "cp1252", "cp437", "cp932", "gbk", "koi8-r", "utf-8", "utf-16", "big5"]
)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_was_measured_is_printed_in_any_encoding(
    encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, errors))
    assert __main__.main(["run", "tiny"]) == 0
    wanted = f"T1 supported  {LETTERS}".encode(encoding, "backslashreplace").decode(encoding)
    assert raw.getvalue().decode(encoding).splitlines()[-1] == wanted


@pytest.mark.usefixtures("foreign")
def test_what_was_measured_is_printed_to_a_stream_of_another_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", codecs.getwriter("latin-1")(raw))
    assert __main__.main(["run", "tiny"]) == 0
    wanted = f"T1 supported  {LETTERS}".encode("ascii", "backslashreplace").decode("ascii")
    assert raw.getvalue().decode("ascii").splitlines()[-1] == wanted


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "gbk", "utf-8"])
@pytest.mark.parametrize("command", [[], ["run"], ["train"]])
def test_help_is_printed_in_any_encoding(
    encoding: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    with pytest.raises(SystemExit) as end:
        __main__.main([*command, "--help"])
    said = raw.getvalue().decode(encoding)
    assert end.value.code == 0 and said.startswith("usage: python -m memlab")
    name = "Schrödinger".encode(encoding, "backslashreplace").decode(encoding)
    assert command or name in said


@contextlib.contextmanager
def unread(buffering: int) -> Iterator[TextIO]:
    """A pipe whose reader has gone. At its end it is flushed and closed, as Python does."""
    read, write = os.pipe()
    os.close(read)
    raw = io.FileIO(write, "w")
    under: Any = raw if buffering == 0 else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(
        under, "utf-8", line_buffering=buffering == 1, write_through=buffering == 0
    )
    yield stream
    stream.flush()
    stream.close()


@pytest.mark.parametrize("buffering", [0, 1, 4096])
@pytest.mark.parametrize("command", [["list"], ["run", "tiny"], ["--help"], ["run", "--help"]])
def test_who_closes_the_pipe_has_read_enough(
    buffering: int,
    command: list[str],
    tiny: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with unread(buffering) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert __main__.main(command) == 1
    assert "ipe" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_named(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    path = tmp_path / "tiny.jsonl"
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert __main__.main(["run", "tiny", "--out", str(path)]) == 1
    assert capsys.readouterr().err.endswith(
        "memlab: cannot print to standard output: No space left on device\n"
    )
    assert len(results.load(path)) == 3 and "wall_seconds" in results.provenances(path)[0]


@pytest.mark.parametrize("buffering", [0, 1, 4096])
def test_a_run_does_not_depend_on_who_reads_its_progress(
    buffering: int, parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    path = tmp_path / "tiny.jsonl"
    with unread(buffering) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert __main__.main(["run", "tiny", "--out", str(path)]) == 0
        assert __main__.main(["run", "nothing"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "T1 supported  n = 9"
    assert len(results.load(path)) == 9


def test_streams_that_were_closed_before_the_start(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        assert __main__.main(["run", "tiny"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 11 and out[-1] == "T1 supported  n = 9", "the table, and no progress"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert __main__.main(["run", "tiny"]) == 0
    assert capsys.readouterr().out == ""


def test_a_pipe_of_a_program_of_its_own(root: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "pkg" / "src"),
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        [sys.executable, "-m", "memlab", "list"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_interrupt_is_one_line(tiny: ModuleType, tmp_path: Path, capsys) -> None:
    def run(profile: str, seed: int) -> Iterator[Record]:
        yield from list(tiny_run(profile, seed))[:2]
        raise KeyboardInterrupt

    tiny.run, path = run, tmp_path / "tiny.jsonl"
    assert __main__.main(["run", "tiny", "--out", str(path)]) == 130
    assert capsys.readouterr().err.endswith("memlab: interrupted\n")
    assert len(results.load(path)) == 2


# ---- train ---------------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sequence[Any]]]:
    """What was asked for, instead of training it: two rows of a log."""
    asked: list[Sequence[Any]] = []

    def make(*arguments: Any) -> Log:
        asked.append(arguments)
        log = Log(seconds=10.0)
        for step in (50, 80):
            log.add(step, step / 8, torch.tensor(1 / step))
        return log

    monkeypatch.setattr(__main__, "_trainer", lambda model: make)
    monkeypatch.delenv("MEMLAB_PROFILE", raising=False)
    before = torch.get_num_threads()
    yield asked
    torch.set_num_threads(before)


def test_a_training_ends_with_where_everything_lies(
    trainings: list[Sequence[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert __main__.main(["train", "causal", "--folder", "new/causal", "--seed", "3"]) == 0
    assert trainings == [("quick", 3, "new/causal")]
    told = ["causal: 80 steps in 10 s", f"config and weights: {tmp_path / 'new' / 'causal'}"]
    assert capsys.readouterr().out.splitlines() == told
    again = ["train", "causal", "--folder", "new/causal", "--out", "new/loss.jsonl"]
    assert __main__.main(again) == 0
    told.append(f"loss by step: {tmp_path / 'new' / 'loss.jsonl'}")
    assert capsys.readouterr().out.splitlines() == told
    data = results.load("new/loss.jsonl")
    assert list(data["index"]) == [50, 80] and data["value"].round(6).tolist() == [0.02, 0.0125]
    assert results.provenances("new/loss.jsonl")[0]["wall_seconds"] == 10.0


@pytest.mark.parametrize(
    ("folder", "out", "sentence"),
    [
        ("file", None, "expected in --folder a folder that can be written to, got "),
        ("file/below", None, "expected in --folder a folder that can be written to, got "),
        ("", None, "expected in --folder a folder that can be written to, got ''"),
        ("x" * 300, None, "expected in --folder a folder that can be written to, got "),
        ("new", "", "directory"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_training(
    folder: str, out: str | None, sentence: str, trainings: list[Any], tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("kept")
    request = ["train", "causal", "--folder", str(tmp_path / folder) if folder else ""]
    request += [] if out is None else ["--out", str(tmp_path / out)]
    assert __main__.main(request) == 2
    err = capsys.readouterr().err
    assert err.startswith("memlab: ") and err.count("\n") == 1 and sentence in err
    assert trainings == [] and (tmp_path / "file").read_text() == "kept"


def test_an_empty_name_of_the_log_is_none(trainings: list[Any], tmp_path: Path, capsys) -> None:
    """As a script gives it whose variable is not set."""
    assert __main__.main(["train", "causal", "--folder", str(tmp_path), "--out", ""]) == 2
    assert "which is a directory" in capsys.readouterr().err and trainings == []


ODD = os.fsdecode(b"caf\xe9")  # a name in Latin-1, which no UTF-8 text can hold


def test_names_that_are_no_text_lose_no_training(
    trainings: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ["train", "causal", "--folder", str(tmp_path / ODD), "--out", str(tmp_path / "log")]
    monkeypatch.setattr(sys, "argv", ["memlab", *request])
    assert __main__.main(request) == 0
    assert len(results.load(tmp_path / "log")) == 2
    assert "caf\\xe9" in results.provenances(tmp_path / "log")[0]["command"]


def test_a_run_may_be_kept_under_a_name_that_is_no_text(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ["run", "tiny", "--out", str(tmp_path / ODD)]
    monkeypatch.setattr(sys, "argv", ["memlab", *request])
    assert __main__.main(request) == 0
    assert len(results.load(tmp_path / ODD)) == 3


def test_where_a_training_was_killed_its_file_says_who_made_it(
    trainings: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(model: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_trainer", killed)
    request = ["train", "causal", "--folder", str(tmp_path), "--out", str(tmp_path / "log")]
    assert __main__.main(request) == 130
    assert results.provenances(tmp_path / "log")[0]["profile"] == "quick"


class Bare:
    """A stream that can write, and nothing else."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_needs_a_stream_that_writes_and_no_more(
    tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Bare()
    monkeypatch.setattr(sys, "stderr", stream)
    assert __main__.main(["run", "tiny"]) == 0
    assert "tiny: 0 s" in stream.text
    with Progress("causal", 2) as progress:
        progress.watch(lambda step: {})(0)
    assert "causal: 1 of 2 steps" in stream.text


def test_global_random_state_is_left_alone(
    tiny: ModuleType, untouched_global_random_state: None
) -> None:
    assert __main__.main(["run", "tiny"]) == 0


def test_every_experiment_has_what_the_command_line_calls() -> None:
    assert experiments.names()
    for name in experiments.names():
        module = experiments.find(name)
        assert callable(getattr(module, "units", None) or module.run), name
        assert callable(module.table) and callable(module.verdicts), name
        assert name == name.lower() and "_" not in name


def test_run_returns_the_records_as_a_table(tiny: ModuleType) -> None:
    data = experiments.run("tiny", "quick", 0)
    assert isinstance(data, pd.DataFrame) and list(data["value"]) == [0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="unknown profile"):
        experiments.run("tiny", "fast")


def test_as_a_program(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root / "pkg" / "src")}

    def memlab(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "memlab", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )

    listed = memlab("list")
    assert listed.returncode == 0 and listed.stdout.split() == experiments.names()
    wrong = memlab("run", "nothing")
    assert (
        wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "Traceback" not in wrong.stderr
    )
    assert memlab().returncode == 2


# A run of three units; whoever asks for a kill dies inside the second one, after its first record.
INTERRUPTED = """
import os, signal, sys, types
from memlab import __main__
from memlab.book import experiments
from memlab.book.units import Unit
from memlab.results import Record

def measure(name, kill):
    for index in range(4):
        if kill and name == "b" and index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Record("tiny", name, "task", "square", float(index ** 2), 0, index)

def units(profile, seed):
    return [Unit(name, lambda name=name: measure(name, sys.argv[1] == "kill")) for name in "abc"]

module = types.ModuleType("tiny")
module.units, module.verdicts = units, lambda data: []
module.table = lambda data: data[["model", "index", "value"]]
experiments.find = lambda name: module
sys.exit(__main__.main(["run", "tiny", *sys.argv[2:]]))
"""


def interrupted(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program above in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_records(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight.jsonl", tmp_path / "killed.jsonl"
    assert interrupted("live", "--out", str(straight)).returncode == 0
    assert interrupted("kill", "--out", str(killed)).returncode == -9
    assert list(results.load(killed).model) == ["a"] * 4 + ["b"], (
        "the piece measured before the kill is kept"
    )
    resumed = interrupted("live", "--out", str(killed), "--resume")
    assert resumed.returncode == 0 and "tiny: a" not in resumed.stderr, (
        "a whole unit is not measured again"
    )
    pd.testing.assert_frame_equal(results.load(killed), results.load(straight))
    assert resumed.stdout == interrupted("live").stdout
    assert len(results.provenances(killed)) == 2
    assert len(killed.with_name("killed.jsonl.cut").read_text("utf-8").splitlines()) == 1, (
        "nothing is lost"
    )


@pytest.fixture
def parts(tiny: ModuleType) -> ModuleType:
    """The experiment "tiny" in three units."""

    def measure(name: str) -> list[Record]:
        return [
            Record("tiny", name, "task", "square", float(index**2), 0, index) for index in range(3)
        ]

    tiny.units = lambda profile, seed: [
        units.Unit(name, lambda name=name: measure(name)) for name in "abc"
    ]
    return tiny


def test_a_run_can_be_made_in_parts_side_by_side(parts: ModuleType, tmp_path: Path, capsys) -> None:
    straight, one, two = (tmp_path / name for name in ("straight.jsonl", "one.jsonl", "two.jsonl"))
    assert __main__.main(["run", "tiny", "--out", str(straight)]) == 0
    whole = capsys.readouterr().out
    assert __main__.main(["run", "tiny", "--out", str(one), "--only", "a", "--only", "b"]) == 0
    assert __main__.main(["run", "tiny", "--out", str(two), "--only", "c"]) == 0
    assert capsys.readouterr().out == "" and set(results.load(two).model) == {"c"}
    one.write_bytes(one.read_bytes() + two.read_bytes())
    assert __main__.main(["run", "tiny", "--out", str(one), "--resume"]) == 0
    out, err = capsys.readouterr()
    assert out == whole and not any(f"tiny: {name}\n" in err for name in "abc"), (
        "nothing is left to measure"
    )
    pd.testing.assert_frame_equal(results.load(one), results.load(straight))


def test_a_part_that_there_is_not_is_named(parts: ModuleType, tmp_path: Path, capsys) -> None:
    assert __main__.main(["run", "tiny", "--out", str(tmp_path / "x.jsonl"), "--only", "d"]) == 2
    assert "unknown unit 'd' of tiny: expected a, b, c" in capsys.readouterr().err
    assert not (tmp_path / "x.jsonl").exists()
    assert __main__.main(["run", "tiny", "--only", "a"]) == 2
    assert "expected --out FILE together with --only" in capsys.readouterr().err


def test_a_run_of_other_arguments_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    interrupted("kill", "--out", str(path))
    before = path.read_bytes()
    wrong = interrupted("live", "--out", str(path), "--resume", "--profile", "full")
    assert (
        wrong.returncode == 2
        and "got profile 'quick'" in wrong.stderr
        and path.read_bytes() == before
    )
    assert "expected --out FILE" in interrupted("live", "--resume").stderr


def test_a_recorded_run_says_who_made_it_and_a_missing_one_how_to_make_it(
    tmp_path: Path, capsys
) -> None:
    assert experiments.recorded("tiny", tmp_path).empty
    assert "no recorded run here" in capsys.readouterr().out
    interrupted("live", "--out", str(tmp_path / "tiny.jsonl"), "--profile", "full")
    assert len(experiments.recorded("tiny", tmp_path)) == 12
    assert capsys.readouterr().out.startswith("recorded 20") and not list(tmp_path.glob("*.cut"))


def test_a_recorded_run_that_was_killed_does_not_say_that_it_took_no_time(
    tmp_path: Path, capsys
) -> None:
    interrupted("kill", "--out", str(tmp_path / "tiny.jsonl"))
    experiments.recorded("tiny", tmp_path)
    assert ": profile quick, not finished, " in capsys.readouterr().out
