"""The experiments on a large GPU, within some minutes: their units in order of worth, each begun
only if what is left exceeds what it is expected to take, recorded as by `memlab run --resume`.

No experiment takes more than half of what is left while others wait; what they leave goes round
again, in the same order. Whenever such a run ends, the next one goes on with what is not done.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from memlab import results, runtime
from memlab.book import experiments
from memlab.book.units import Unit, say

PROFILE = "gpu"
FOLDER = "book/results"
SHARE = 0.5  # of what is left, for one experiment while others wait
# What only a GPU can do comes first; all others follow in the order of the book.
FIRST = (
    "reciting-pretrained",
    "how-much-fits",
    "memory-decoder",
    "reciting",
    "needles",
    "what-it-costs",
)


@dataclass(frozen=True)
class Need:
    """What units whose names begin as `pattern` says are expected to need: `seconds`, and `each`
    times the product of the numbers that the pattern picks from the name; gigabytes of memory."""

    pattern: str
    seconds: int | float
    each: int | float = 0
    gigabytes: int | float = 2


# By steps, floating point operations and sizes of tensors, for one large GPU. None of it was
# measured: what units took corrects the seconds of those that follow (`Plan.seconds`).
UNKNOWN = Need("", 120, gigabytes=4)
EXPECTED: dict[str, tuple[Need, ...]] = {
    "reciting-pretrained": (
        Need(r"(\d+) poems of 16 words, (\d+) epochs", 30, 0.006, 5),
        Need(r"(\d+) poems of 64 words, (\d+) epochs", 30, 0.024, 6),
        Need(r"verse, (\d+) epochs", 500, 6.5, 16),
    ),
    "how-much-fits": (
        Need("64000 poems", 400, gigabytes=12),
        Need("14600 poems", 400, gigabytes=20),
        Need(r"(\d+) poems of 64 words, width 128, 4 blocks", 10, 0.04, 12),
        Need("", 100, gigabytes=4),
    ),
    "memory-decoder": (Need("", 1200, gigabytes=6),),
    "reciting": (
        Need(r"\w+ of width 768", 400, gigabytes=12),
        Need(r"\w+ of width", 90, gigabytes=6),
        Need(r"\S+ in \w+, ", 150, gigabytes=8),
        Need("", 10),
    ),
    "needles": (Need("", 2400, gigabytes=4),),
    "what-it-costs-pretrained": (Need("", 30, gigabytes=8),),
    "what-it-costs": (
        Need(r"whole, 10485760 tokens", 300, gigabytes=4),
        Need(r"rows of", 60, gigabytes=20),
        Need("", 40, gigabytes=16),
    ),
    "poem-in-the-box": (Need("", 30),),
    "universal-approximation": (Need("", 240),),
    "dynamic-sum": (Need("", 15),),
    "where-is-the-memory": (Need("tuning", 60), Need("", 400, gigabytes=4)),
    "before-you-ask": (Need("", 30),),
    "before-you-ask-pretrained": (Need("", 180, gigabytes=12),),
    "by-heart": (Need("", 15, gigabytes=3),),
    "the-right-question": (Need("", 40),),
    "the-right-question-pretrained": (Need("", 60, gigabytes=6),),
    "associative-memories": (Need("crowd", 60), Need("", 10)),
    "bridge": (Need(r"span \d+, training", 240, gigabytes=12), Need("", 40)),
    "one-matrix": (Need("", 1500, gigabytes=6),),
    "understanding": (Need("", 900, gigabytes=4),),
    "editing": (Need("", 600, gigabytes=4),),
    "needles-reader": (Need("no rows", 30), Need("1,048,576", 150), Need("", 60)),
    "harder-needles": (Need("", 1200, gigabytes=4),),
    "causal-training": (Need("", 60, gigabytes=4),),
}


def need_of(name: str, unit: str) -> Need:
    """What a unit of an experiment is expected to need, numbers of its name put in."""
    for need in EXPECTED.get(name, ()):
        if found := re.match(need.pattern, unit):
            factor = math.prod(map(int, found.groups()))
            seconds = need.seconds + need.each * factor
            return Need(need.pattern, seconds, gigabytes=need.gigabytes)
    return UNKNOWN


def order(names: Sequence[str] = ()) -> list[str]:
    """The experiments there are, by worth; or `names` as they stand. ValueError for an unknown
    one."""
    there = experiments.names()
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"unknown experiment {unknown[0]!r}: expected one of {', '.join(there)}")
    # A stable sort: what does not come first stays in the order of the book.
    return list(names) or sorted(there, key=lambda name: (*FIRST, name).index(name))


def record_of(folder: str | Path, name: str) -> Path:
    """The file of an experiment's records."""
    return Path(folder) / f"{name}-{PROFILE}.jsonl"


def taken(path: Path) -> dict[str, float]:
    """Seconds of each unit that a file of records holds whole. The file is left as it is, be it cut
    off or written to by another process; one that is not there holds none."""
    found = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off: `experiments.measure` sets it aside
        if isinstance(row, dict) and "unit" in row:
            found[row["unit"]] = float(row.get("seconds", 0.0))
    return found


class Plan:
    """The units of one experiment: which are done, and what is to be expected of the others.

    Raises whatever its module raises when it is imported or asked for its units; a
    ModuleNotFoundError says that something optional is missing.
    """

    def __init__(self, name: str, folder: str | Path) -> None:
        self.name = name
        self.path = record_of(folder, name)
        self.units: list[Unit] = experiments.chosen(name, PROFILE, 0)
        names = {unit.name for unit in self.units}
        self.took = {unit: s for unit, s in taken(self.path).items() if unit in names}

    @property
    def left(self) -> list[str]:
        """Names of the units that are not done, in the order in which they are to be measured."""
        return [unit.name for unit in self.units if unit.name not in self.took]

    def seconds(self, unit: str) -> int | float:
        """What a unit is expected to take: what stands in EXPECTED, times what units of this
        experiment took over what they were expected to."""
        expected = sum(need_of(self.name, done).seconds for done in self.took)
        pace = sum(self.took.values()) / expected if self.took else 1.0
        return need_of(self.name, unit).seconds * pace

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Unit, seconds, gigabytes and state of each unit, as they are listed; of what is done the
        seconds that it took."""
        for unit in self.units:
            done = unit.name in self.took
            seconds = self.took[unit.name] if done else self.seconds(unit.name)
            need = need_of(self.name, unit.name)
            state = "done" if done else "to do"
            yield unit.name, f"{seconds:.0f}", f"{need.gigabytes:g}", state


def left_out(name: str, problem: Exception) -> str:
    """The line that says why an experiment is left out."""
    return f"{name}: left out: {first_line(problem)}"


def first_line(problem: BaseException) -> str:
    """Kind and first line of an exception."""
    said = str(problem).strip().partition("\n")[0]
    return f"{type(problem).__name__}: {said}" if said else type(problem).__name__


def listing(names: Sequence[str], folder: str | Path) -> Iterator[str]:
    """The lines of the plan: a line an experiment that says how much of it is done, then its units.
    Nothing is measured, no model is read."""
    for name in names:
        try:
            plan = Plan(name, folder)
        except Exception as problem:
            yield left_out(name, problem)
            continue
        yield summary(plan)
        for unit, seconds, gigabytes, state in plan.rows():
            yield f"  {seconds:>5} s  {gigabytes:>3} GB  {state:<5}  {unit}"


def summary(plan: Plan) -> str:
    """How many units of an experiment are left, and the seconds they are expected to take."""
    seconds = sum(map(plan.seconds, plan.left))
    return (
        f"{plan.name}: {len(plan.left)} of {len(plan.units)} units left, about {seconds:.0f} s"
        " expected"
    )


def check_device(device: str) -> None:
    """ValueError where a CUDA device is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "expected a CUDA device, got none; `python -m memlab gpu --list` shows the plan"
        )


def free_gigabytes() -> float:
    """Memory that can still be taken on the GPU, or where there is none, in RAM. From here on
    `peak` counts."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        free, _ = torch.cuda.mem_get_info()
    else:
        free = runtime.available_memory()
    return free / 1e9


def peak() -> str:
    """What the last unit took of the GPU's memory at most, for the line that says that it is
    done."""
    if not torch.cuda.is_available():
        return ""
    return f" and {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"


@dataclass
class Session:
    """One run within a budget: what it may still do, and what went wrong. It begins when it is
    made. ValueError for a budget that is not above 0."""

    folder: str | Path
    minutes: int | float
    plans: dict[str, Plan] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)  # experiments that lack something
    dropped: set[tuple[str, str]] = field(default_factory=set)  # units that failed, or lack room
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"expected minutes above 0, got {self.minutes:g}")
        self.end = time.monotonic() + 60 * self.minutes

    def run(self, names: Sequence[str]) -> None:
        """Measure what fits, by turns: see the module."""
        for name in names:
            with self._watched(name, "its units"):
                self.plans[name] = Plan(name, self.folder)
        for share in (SHARE, 1.0):
            for plan in self.plans.values():
                self._turn(plan, time.monotonic() + share * self._seconds_left())

    def _seconds_left(self) -> float:
        return max(0.0, self.end - time.monotonic())

    @contextlib.contextmanager
    def _watched(self, name: str, what: str) -> Iterator[None]:
        """A block whose errors are said in one line and do not end the run."""
        try:
            yield
        except ModuleNotFoundError as problem:
            self.over.add(name)
            say(left_out(name, problem))
        except Exception as problem:
            self.dropped.add((name, what))
            self.failed.append(f"{name}, {what}")
            say(f"{name}, {what}: failed: {first_line(problem)}")

    def _turn(self, plan: Plan, until: float) -> None:
        """Measure the units of an experiment that can be expected to be done at a time, up to one
        that fails: the next turn goes on behind it."""
        failed = len(self.failed)
        for unit in plan.left:
            if plan.name in self.over or len(self.failed) > failed:
                return
            late = time.monotonic() + plan.seconds(unit) >= until
            if not late and (plan.name, unit) not in self.dropped:
                with self._watched(plan.name, unit):
                    self._consider(plan, unit)

    def _consider(self, plan: Plan, unit: str) -> None:
        """Measure a unit if there is room for it."""
        need = need_of(plan.name, unit).gigabytes
        free = free_gigabytes()
        if need > free:
            self.dropped.add((plan.name, unit))
            say(f"{plan.name}, {unit}: left out: expected {need:g} GB free, got {free:.1f}")
            return
        expected = plan.seconds(unit)
        say(
            f"{plan.name}, {unit}: about {expected:.0f} s and {need:g} GB expected,"
            f" {self._seconds_left():.0f} s and {free:.1f} GB left"
        )
        start = time.monotonic()
        self._measure(plan, unit)
        plan.took[unit] = time.monotonic() - start
        over = f": the {self.minutes:g} minutes are over, nothing new begins"
        say(
            f"{plan.name}, {unit}: took {plan.took[unit]:.0f} s{peak()}"
            f"{'' if self._seconds_left() else over}"
        )

    def _measure(self, plan: Plan, unit: str) -> None:
        """The unit's records, appended; nothing of it stays in the file if it fails."""
        try:
            experiments.measure(plan.name, PROFILE, only=[unit], out=plan.path, resume=True)
        except Exception:
            with contextlib.suppress(ValueError, OSError):  # then it is that file that failed
                results.resume(plan.path, experiment=plan.name, profile=PROFILE)
            raise

    def summary(self) -> Iterator[str]:
        """What is left, a line an experiment, and what failed."""
        for plan in self.plans.values():
            if plan.left:
                yield summary(plan)
        if self.failed:
            yield f"failed: {'; '.join(self.failed)}"
