"""One module per recorded experiment, named after its chapter.

Each module has `run(profile, seed)`, an iterator of records, or `units(profile, seed)`, an iterator of pieces that
can be measured on their own; `table(data)`, the DataFrame that is printed; and `verdicts(data)`, one line for every
claim it bears on. The command line, the chapters and the recorded results all call these three.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from memlab import results, runtime
from memlab.results import Record

PAGE_WIDTH = 88  # characters that a page shows in one line


@dataclass(frozen=True)
class Unit:
    """A piece of an experiment that depends on no other: what a killed run loses at most. Names are unique."""

    name: str
    measure: Callable[[], Iterable[Record]]


def names() -> list[str]:
    """The experiments there are, as the command line spells them."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(name: str) -> ModuleType:
    """The module of an experiment; ValueError with the list of names if there is none."""
    if name not in names():
        raise ValueError(f"unknown experiment {name!r}: expected one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """All combinations of the coordinates' values, as keyword arguments; the last one changes fastest."""
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


def per_seed(measure: Callable[[int], Iterable[Record]], first: int, count: int) -> Iterator[Unit]:
    """One unit a seed: `measure(seed)` for `count` seeds, beginning with `first`."""
    return (Unit(f"seed {seed}", partial(measure, seed)) for seed in range(first, first + count))


def units(module: ModuleType, profile: str, seed: int) -> Iterator[Unit]:
    """The pieces of an experiment; one that knows no pieces is a single one."""
    if hasattr(module, "units"):
        yield from module.units(profile, seed)
    else:
        yield Unit("all", lambda: module.run(profile, seed))


def run(name: str, profile: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Run an experiment and return its records as a DataFrame; nothing is printed, as a page wants it."""
    runtime.use_threads()
    records: list[Record] = []
    for unit in units(find(name), runtime.profile(profile), seed):
        records.extend(unit.measure())
    return results.frame(records)


def recorded(name: str, folder: str | Path = "../results") -> pd.DataFrame:
    """The records of `folder`/`name`.jsonl, after one printed line a session that says who made them.

    Where there is no such file (a notebook on its own, a run not made yet) it says so, and the frame is empty.
    """
    path = Path(folder) / f"{name}.jsonl"
    if not path.exists():
        command = f"  python -m memlab run {name} --profile full --out {path.name}"
        print("no recorded run here; to make one:")
        print(command if len(command) <= PAGE_WIDTH else command.replace(" --out", " \\\n    --out"))
        return pd.DataFrame()
    for made in results.provenances(path):
        minutes = made.get("wall_seconds", 0) / 60
        print(f"recorded {made['date'][:10]}: profile {made['profile']}, {minutes:.0f} min, {made['device']}, "
              f"{made['threads']} thread{'s' * (made['threads'] != 1)}, torch {made['torch']}")
    return results.load(path)
