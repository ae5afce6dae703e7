"""Pieces of an experiment that can be measured on their own, and how far their measuring is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from memlab.results import Record

if TYPE_CHECKING:
    from tqdm import tqdm

WHOLE = "all"  # the one unit of an experiment that knows no pieces


@dataclass(frozen=True)
class Unit:
    """A piece of an experiment that depends on no other: what a killed run loses at most. Names are
    unique."""

    name: str
    measure: Callable[[], Iterable[Record]]


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """All combinations of the coordinates' values, as keyword arguments; the last one changes
    fastest."""
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


def per_seed(
    measure: Callable[[int], Iterable[Record]],
    first: int,
    count: int,
) -> Iterator[Unit]:
    """One unit a seed: `measure(seed)` for `count` seeds, beginning with `first`."""
    return (Unit(f"seed {seed}", partial(measure, seed)) for seed in range(first, first + count))


def say(line: str) -> None:
    """Print a line to stderr, where there is one."""
    if sys.stderr is not None:
        print(line, file=sys.stderr)


def _duration(seconds: float) -> str:
    """Seconds in words: "41 s", "12 min", "3.5 h"."""
    if round(seconds) < 100:
        return f"{seconds:.0f} s"
    if round(seconds / 60) < 100:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Progress:
    """Says on stderr how many units of an experiment are done and how long the others may take: a
    bar on a terminal, elsewhere a line a unit. Use it in a `with` block.

    The units that `done` names were measured by an earlier session. Of an experiment that knows no
    pieces there is nothing to say.
    """

    def __init__(
        self,
        name: str,
        units: Collection[Unit],
        done: Collection[str] = (),
    ) -> None:
        self._name = name
        self._total = len(units)
        self._done = self._before = sum(unit.name in done for unit in units)
        self._silent = all(unit.name == WHOLE for unit in units)
        self._bar: tqdm | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        if self._before:
            self._say("done before")
        watched = getattr(sys.stderr, "isatty", bool)()
        if watched and not self._silent and self._done < self._total:
            self._open_bar()
        return self

    def _open_bar(self) -> None:
        from tqdm import tqdm  # here: in a notebook the second one looks for widgets
        from tqdm.contrib import DummyTqdmFile

        bar = tqdm(
            desc=self._name,
            total=self._total,
            initial=self._before,
            unit="unit",
            file=sys.stderr,
            dynamic_ncols=True,
            miniters=0,
        )
        self._bar = self._stack.enter_context(bar)
        # What a unit itself prints goes above the bar.
        self._stack.enter_context(contextlib.redirect_stderr(DummyTqdmFile(sys.stderr)))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _say(self, what: str) -> None:
        say(f"{self._name}: {self._done} of {self._total}, {what}")

    def begin(self, unit: str) -> None:
        """This unit is being measured from now on."""
        self._unit = unit
        self._records = 0
        if self._bar is not None:
            self._bar.set_postfix_str(unit)
        elif not self._silent and self._done == self._before:
            self._say(f"{unit} begins")

    def record(self) -> None:
        """The unit has one more record."""
        self._records += 1
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._unit}, records: {self._records}", refresh=False)
            self._bar.update(0)

    def end(self) -> None:
        """The unit is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif not self._silent:
            gone = time.monotonic() - self._start
            left = gone / (self._done - self._before) * (self._total - self._done)
            about = f", about {_duration(left)} left" if self._done < self._total else ""
            self._say(f"{self._unit} done, {_duration(gone)} gone{about}")
