"""`python -m memlab gpu`: which units begin within a budget, what is recorded, what is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from memlab import __main__, results, runtime
from memlab.book import experiments, gpu, units
from memlab.results import Record


class World:
    """Experiments of the tests' own, and a clock that only their units move. `units[name]` gives
    each unit what it takes in seconds, or what it does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.units: dict[str, dict[str, float | Callable[[], object]]] = {}
        self.begun: list[str] = []
        self.free = 100.0

    def measure(self, name: str, unit: str) -> Iterator[Record]:
        self.begun.append(f"{name} {unit}")
        yield Record(name, "model", "task", "half", 0.5)
        does = self.units[name][unit]
        if callable(does):
            does()
        else:
            self.now += does
        yield Record(name, "model", "task", "whole", 1.0)

    def find(self, name: str) -> Any:
        module: Any = ModuleType(name)
        module.units = lambda profile, seed: [
            units.Unit(unit, lambda unit=unit: self.measure(name, unit))
            for unit in self.units[name]
        ]
        return module


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two experiments whose units take the 10 s that are expected."""
    made = World()
    made.units = {"one": dict.fromkeys("abcd", 10.0), "two": dict.fromkeys("ef", 10.0)}
    clock: Any = ModuleType("time")
    clock.monotonic = clock.perf_counter = lambda: made.now
    for module in (gpu, units, runtime):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(gpu, "FIRST", ())
    monkeypatch.setattr(gpu, "EXPECTED", {name: (gpu.Need("", 10),) for name in made.units})
    monkeypatch.setattr(gpu, "free_gigabytes", lambda: made.free)
    monkeypatch.setattr(experiments, "names", lambda: list(made.units))
    monkeypatch.setattr(experiments, "find", made.find)
    monkeypatch.setattr(runtime, "provenance", lambda **extra: {"commit": "abc", **extra})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    yield made
    torch.set_num_threads(before)


def run(folder: Path, minutes: float = 60, *more: str) -> int:
    """The command, on the CPU."""
    asked = ["gpu", "--device", "cpu", "--out", str(folder), "--minutes", str(minutes), *more]
    return __main__.main(asked)


def whole(folder: Path, name: str) -> list[str]:
    """The units that a record holds whole, by the reader of `--resume`."""
    return sorted(results.resume(gpu.record_of(folder, name)))


# ---- what begins when ----------------------------------------------------------------------------


def test_with_time_enough_all_is_measured_in_order_and_recorded(
    world: World, tmp_path: Path, capsys
) -> None:
    assert run(tmp_path) == 0
    assert world.begun == ["one a", "one b", "one c", "one d", "two e", "two f"]
    assert whole(tmp_path, "one") == ["a", "b", "c", "d"] and whole(tmp_path, "two") == ["e", "f"]
    assert len(results.load(tmp_path / "one-gpu.jsonl")) == 8
    assert {made["profile"] for made in results.provenances(tmp_path / "one-gpu.jsonl")} == {"gpu"}
    out, err = capsys.readouterr()
    assert out == "", "nothing is left"
    assert "one, a: about 10 s and 2 GB expected, 3600 s and 100.0 GB left\n" in err
    assert "one, a: took 10 s\n" in err and "over" not in err


def test_nothing_begins_that_would_end_too_late(world: World, tmp_path: Path, capsys) -> None:
    """The first experiment may take half of 65 s, the second half of what is left then, and what is
    left goes round again."""
    assert run(tmp_path, 65 / 60) == 0
    assert world.begun == ["one a", "one b", "one c", "two e", "one d", "two f"]
    world.now = 0.0
    world.begun.clear()
    capsys.readouterr()
    assert run(tmp_path / "short", 30.1 / 60) == 0
    assert world.begun == ["one a", "two e", "one b"] and world.now == 30
    assert capsys.readouterr().out == (
        "one: 2 of 4 units left, about 20 s expected\ntwo: 1 of 2 units left, about 10 s expected\n"
    )


def test_what_is_left_must_exceed_what_is_expected(world: World, tmp_path: Path) -> None:
    assert run(tmp_path, 10 / 60) == 0
    assert world.begun == []


def test_shorter_units_fill_the_time_that_a_longer_one_would_not_fit_in(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.units = {"one": {"100 steps": 100.0, "3 steps": 3.0}}
    monkeypatch.setattr(gpu, "EXPECTED", {"one": (gpu.Need(r"(\d+) steps", 0, 1),)})
    assert run(tmp_path, 1) == 0
    assert world.begun == ["one 3 steps"]


def test_what_units_took_corrects_what_is_expected_of_the_next(
    world: World, tmp_path: Path, capsys
) -> None:
    world.units = {"one": dict.fromkeys("abcd", 40.0)}
    assert run(tmp_path, 115 / 60) == 0
    # 57 s for the first turn; 75 s are left for the second unit, 35 s for a third one of 40 s.
    assert world.begun == ["one a", "one b"]
    world.begun.clear()
    capsys.readouterr()
    assert run(tmp_path, 1) == 0
    assert world.begun == ["one c"], "the record tells it as well: 40 s, not 10"
    assert "one, c: about 40 s" in capsys.readouterr().err


def test_the_next_run_goes_on_with_what_is_left(world: World, tmp_path: Path) -> None:
    assert run(tmp_path, 65 / 60, "two") == 0
    assert world.begun == ["two e", "two f"], "named: nothing else"
    assert run(tmp_path) == 0
    assert world.begun == ["two e", "two f", "one a", "one b", "one c", "one d"]
    assert run(tmp_path) == 0
    assert len(world.begun) == 6
    assert len(results.load(tmp_path / "two-gpu.jsonl")) == 4, "no record stands twice"


def test_named_experiments_come_in_the_order_of_their_names(world: World, tmp_path: Path) -> None:
    assert run(tmp_path, 60, "two", "one") == 0
    assert world.begun[0] == "two e" and world.begun[-1] == "one d"


def test_a_unit_that_outlasts_the_budget_ends_and_is_the_last(
    world: World, tmp_path: Path, capsys
) -> None:
    world.units["one"]["a"] = 500.0
    assert run(tmp_path, 1) == 0
    assert world.begun == ["one a"] and whole(tmp_path, "one") == ["a"]
    said = "one, a: took 500 s: the 1 minutes are over, nothing new begins\n"
    assert said in capsys.readouterr().err


def test_a_unit_without_room_is_left_out_by_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    needs = (gpu.Need("b", 10, gigabytes=24), gpu.Need("", 10))
    monkeypatch.setattr(gpu, "EXPECTED", {"one": needs})
    world.free = 16
    assert run(tmp_path, 60, "one") == 0
    out, err = capsys.readouterr()
    assert world.begun == ["one a", "one c", "one d"]
    assert err.count("one, b: left out: expected 24 GB free, got 16.0\n") == 1
    assert out == "one: 1 of 4 units left, about 10 s expected\n"


# ---- what goes wrong -----------------------------------------------------------------------------


def fail(problem: Exception) -> Callable[[], None]:
    """Something that raises it."""

    def raises() -> None:
        raise problem

    return raises


def test_an_experiment_that_fails_leaves_nothing_half_and_the_next_goes_on(
    world: World, tmp_path: Path, capsys
) -> None:
    world.units["one"]["b"] = fail(torch.OutOfMemoryError("CUDA out of memory.\nTried to …"))
    assert run(tmp_path) == 1
    # The next experiment has its turn first, and b is not tried again.
    assert world.begun == ["one a", "one b", "two e", "two f", "one c", "one d"]
    out, err = capsys.readouterr()
    assert err.count("one, b: failed: OutOfMemoryError: CUDA out of memory.\n") == 1
    assert "Tried" not in err and "Traceback" not in err
    assert out == "one: 1 of 4 units left, about 10 s expected\nfailed: one, b\n"
    assert whole(tmp_path, "one") == ["a", "c", "d"]
    assert len(results.load(tmp_path / "one-gpu.jsonl")) == 6, "nothing of b"
    assert "half" in (tmp_path / "one-gpu.jsonl.cut").read_text("utf-8")
    world.units["one"]["b"] = 10.0
    assert run(tmp_path) == 0
    assert whole(tmp_path, "one") == ["a", "b", "c", "d"]


def test_what_is_not_installed_is_left_out_and_is_no_failure(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    world.units["one"]["a"] = fail(ModuleNotFoundError("expected a language model: set MEMLAB_LLM"))
    assert run(tmp_path) == 0
    _, err = capsys.readouterr()
    line = "one: left out: ModuleNotFoundError: expected a language model: set MEMLAB_LLM\n"
    assert err.count(line) == 1
    assert world.begun == ["one a", "two e", "two f"]
    monkeypatch.setattr(experiments, "find", fail_for("one", ModuleNotFoundError("No x"), world))
    assert run(tmp_path / "new") == 0
    assert "one: left out: ModuleNotFoundError: No x\n" in capsys.readouterr().err
    assert not (tmp_path / "new" / "one-gpu.jsonl").exists()


def fail_for(name: str, problem: Exception, world: World) -> Callable[[str], Any]:
    """`experiments.find` that raises for one experiment."""

    def find(asked: str) -> Any:
        if asked == name:
            raise problem
        return world.find(asked)

    return find


def test_an_experiment_that_cannot_be_imported_fails_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(experiments, "find", fail_for("one", SyntaxError("bad"), world))
    assert run(tmp_path) == 1
    assert "one, its units: failed: SyntaxError: bad\n" in capsys.readouterr().err
    assert world.begun == ["two e", "two f"]


def test_a_record_of_something_else_is_not_continued(world: World, tmp_path: Path, capsys) -> None:
    path = tmp_path / "one-gpu.jsonl"
    results.append(path, (), {"experiment": "one", "profile": "full", "seed": 0})
    before = path.read_bytes()
    assert run(tmp_path) == 1
    assert "one, a: failed: ValueError: " in capsys.readouterr().err
    assert path.read_bytes() == before and world.begun == ["two e", "two f"]


def test_without_cuda_there_is_one_sentence(world: World, tmp_path: Path, capsys) -> None:
    assert __main__.main(["gpu", "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr() == (
        "",
        "memlab: expected a CUDA device, got none; `python -m memlab gpu --list` shows the plan\n",
    )
    assert world.begun == [] and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["three"], "unknown experiment 'three': expected one of one, two"),
        (["--minutes", "0"], "expected minutes above 0, got 0"),
        (["--minutes", "nan"], "expected minutes above 0, got nan"),
        (["--threads", "0"], "expected a number of threads from 1 to 1024, got '0'"),
        (["--out", ""], "expected in --out a folder that can be written to, got ''"),
    ],
)
def test_bad_requests(
    world: World, tmp_path: Path, asked: list[str], sentence: str, capsys
) -> None:
    assert __main__.main(["gpu", "--device", "cpu", "--out", str(tmp_path), *asked]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"memlab: {sentence}") and err.count("\n") == 1 and world.begun == []


TINY = """
import sys, time
from types import ModuleType
from memlab import __main__, results
from memlab.book import experiments, gpu, units

def measure(name):
    for index in range(2):
        yield results.Record("tiny", name, "task", "square", float(index), index=index)
        if name == "b":
            print("in b", flush=True)
            time.sleep(60)

module = ModuleType("tiny")
module.units = lambda profile, seed: [
    units.Unit(name, lambda name=name: measure(name)) for name in "abc"
]
experiments.find = lambda name: module
experiments.names = lambda: ["tiny"]
__main__.main(["gpu", "--device", "cpu", "--out", sys.argv[1], "--minutes", "60"])
"""


def test_whoever_kills_it_loses_the_running_unit(world: World, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(gpu.__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", TINY, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in b\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    path = gpu.record_of(tmp_path, "tiny")
    assert list(gpu.taken(path)) == ["a"], "half of b is there, and does not count"
    assert list(results.load(path)["model"]) == ["a", "a", "b"]
    world.units = {"tiny": dict.fromkeys("abc", 1.0)}
    assert run(tmp_path) == 0
    assert world.begun == ["tiny b", "tiny c"] and len(results.load(path)) == 6


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_gpu_takes_the_python_that_is_named_and_sets_nothing_up() -> None:
    root = Path(__file__).parents[2]
    asked = ["make", "-n", "gpu", "PYTHON=/opt/python", "MINUTES=3", "EXPERIMENTS=needles reciting"]
    # Nothing of a `make test` around this: it would name the folder, and pass its flags on.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(asked, cwd=root, env=alone, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f'PYTHONPATH="{root}/pkg/src" /opt/python -m memlab gpu --minutes 3 needles reciting\n'
    )


# ---- the plan ------------------------------------------------------------------------------------


def test_the_list_says_what_is_done_and_runs_nothing(world: World, tmp_path: Path, capsys) -> None:
    asked = ["gpu", "--list", "--out", str(tmp_path), "one"]
    assert __main__.main(asked) == 0, "without a GPU"
    assert world.begun == [] and list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.splitlines() == [
        "one: 4 of 4 units left, about 40 s expected",
        *(f"     10 s    2 GB  to do  {unit}" for unit in "abcd"),
    ]
    world.units["one"]["b"] = fail(ValueError("no"))
    world.units["one"]["a"] = 25.0
    run(tmp_path, 60, "one")
    path = tmp_path / "one-gpu.jsonl"
    with path.open("ab") as file:
        file.write(b'{"unit": "c", "seco')  # being written by another process
    before = path.read_bytes()
    capsys.readouterr()
    assert __main__.main(asked) == 0
    assert path.read_bytes() == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "     25 s    2 GB  done   a" and lines[2].endswith("to do  b")


def test_the_list_names_what_cannot_be_asked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(experiments, "find", fail_for("one", ModuleNotFoundError("No x"), world))
    assert __main__.main(["gpu", "--list", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "one: left out: ModuleNotFoundError: No x" and lines[1].startswith("two: ")


def test_the_books_own_plan_is_listed_without_any_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in gpu.order():
        with contextlib.suppress(ModuleNotFoundError):  # of an optional package
            experiments.find(name)

    def model(*_: Any, **__: Any) -> None:
        raise AssertionError("a model is made")

    monkeypatch.setattr(torch.nn.Module, "__init__", model)
    lines = list(gpu.listing(gpu.order(), tmp_path))
    heads = [line for line in lines if not line.startswith("  ")]
    assert [head.partition(":")[0] for head in heads] == gpu.order()
    assert not [head for head in heads if "left out" in head and "ModuleNotFound" not in head]


def test_what_comes_first_is_in_the_book_and_the_rest_follows_its_order() -> None:
    names, order = experiments.names(), gpu.order()
    assert order[: len(gpu.FIRST)] == list(gpu.FIRST) and sorted(order) == sorted(names)
    rest = order[len(gpu.FIRST) :]
    assert rest == [name for name in names if name in rest]


def test_each_expectation_is_of_some_unit() -> None:
    """A unit that is renamed would fall back on what is expected of the unknown, and so would an
    experiment that nobody entered."""
    assert sorted(gpu.EXPECTED) == sorted(experiments.names())
    for name, needs in gpu.EXPECTED.items():
        there = [unit.name for unit in experiments.chosen(name, gpu.PROFILE, 0)]
        used = {gpu.need_of(name, unit).pattern for unit in there}
        assert used == {need.pattern for need in needs}, name
        assert gpu.UNKNOWN not in [gpu.need_of(name, unit) for unit in there], name


def test_numbers_in_a_name_tell_how_long_it_takes() -> None:
    few = gpu.need_of("reciting-pretrained", "256 poems of 16 words, 5 epochs, seed 0")
    many = gpu.need_of("reciting-pretrained", "1024 poems of 16 words, 50 epochs, seed 2")
    assert many.seconds - 30 == pytest.approx(40 * (few.seconds - 30)) and few.seconds > 30
    assert gpu.need_of("reciting-pretrained", "something new") == gpu.UNKNOWN
    assert gpu.need_of("something new", "all") == gpu.UNKNOWN
