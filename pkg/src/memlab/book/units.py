"""Pieces of an experiment that can be measured on their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from memlab.results import Record


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
