"""A pytest plug-in: measured numbers in the output of a chapter are compared within a tolerance.

A cell marks such a number, or several, with the tolerance on the page:

    recall ≈ 0.93 ±0.05          bits, three seeds ≈ 0.55 to 0.61 ±0.03          hits ≈ 3, 4, 3 ±2

Everything else is compared to the letter, by nbval: the text around, the tolerance, how many
numbers there are. A marked number may differ from the committed one by its tolerance. `≈` in an
output always starts a mark; one that cannot be read (NaN, no tolerance) fails, even if the
committed output has it too. The file conftest.py at the top of the repository loads the plug-in.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import nbval.plugin
import pytest
from nbformat import NotebookNode

UNSIGNED = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
SEPARATOR = r"(?:\s+to\s|\s+…\s|,\s|\s)"
MARK = re.compile(rf"≈(\s*-?{UNSIGNED}(?:{SEPARATOR}\s*-?{UNSIGNED})*)\s*±({UNSIGNED})")
NUMBER = re.compile(rf" *-?{UNSIGNED}")  # with the blanks that align it in a column
STRICT: Any = getattr(nbval.plugin.IPyNbCell, "compare_outputs", None)  # nbval's own


@dataclass(frozen=True)
class Number:
    """A marked number: its value and tolerance as printed, and where it stands in the text."""

    value: Decimal
    tolerance: Decimal
    start: int
    end: int


def _decimal(text: str) -> Decimal:
    return Decimal(text.strip().replace(",", ""))


def numbers(text: str) -> list[Number]:
    """All marked numbers of an output, in order."""
    return [
        Number(_decimal(found[0]), _decimal(mark[2]), *found.span())
        for mark in MARK.finditer(text)
        for found in NUMBER.finditer(text, *mark.span(1))
    ]


def template(text: str) -> str:
    """The output without its marked numbers: what must be the same to the letter."""
    pieces = []
    end = 0
    for number in numbers(text):
        pieces.append(text[end : number.start])
        end = number.end
    return "#".join([*pieces, text[end:]])


def unreadable(text: str) -> list[str]:
    """What follows each `≈` that starts no mark; empty if all can be read."""
    return re.findall(r"≈.{0,30}", MARK.sub("", text))


def settled(committed: str, measured: str) -> str:
    """The measured text, with the committed number wherever the two agree within the tolerance.

    It equals `committed` if and only if the two outputs agree; if not, it shows what differs.
    """
    if template(committed) != template(measured):
        return measured
    pieces = []
    end = 0
    for old, new in zip(numbers(committed), numbers(measured), strict=True):
        agree = abs(old.value - new.value) <= old.tolerance
        pieces.append(committed[end : old.start])
        pieces.append(committed[old.start : old.end] if agree else measured[new.start : new.end])
        end = old.end
    return "".join([*pieces, committed[end:]])


def texts(output: NotebookNode) -> dict[str, str]:
    """The texts of one output: a stream under its name, a result under the kinds text/…"""
    if output.output_type == "stream":
        return {output.name: output.text}
    data = output.get("data", {})
    return {kind: text for kind, text in data.items() if kind.startswith("text/")}


def settle(
    measured: Sequence[NotebookNode], committed: Sequence[NotebookNode]
) -> list[NotebookNode]:
    """A copy of the measured outputs of a cell, each settled with the committed one in its
    place."""
    outputs = copy.deepcopy(list(measured))
    for output, reference in zip(outputs, committed, strict=False):
        known = texts(reference)
        for kind, text in texts(output).items():
            if kind not in known:
                continue
            if output.output_type == "stream":
                output.text = settled(known[kind], text)
            else:
                output.data[kind] = settled(known[kind], text)
    return outputs


def _unreadable_marks(outputs: Sequence[NotebookNode]) -> Iterator[str]:
    for output in outputs:
        for text in texts(output).values():
            yield from unreadable(text)


def compare_outputs(
    self: nbval.plugin.IPyNbCell,
    test: Sequence[NotebookNode],
    ref: Sequence[NotebookNode],
    skip_compare: Any = None,
) -> bool:
    """Whether the outputs `test` of a cell agree with the committed ones, `ref`: nbval compares;
    before that, numbers that agree become equal."""
    if wrong := [*_unreadable_marks(test), *_unreadable_marks(ref)]:
        self.comparison_traceback = [
            f"expected a number with its tolerance, such as ≈ 0.93 ±0.05, got {found!r}"
            for found in wrong
        ]
        return False
    return STRICT(self, settle(test, ref), ref, skip_compare)


def pytest_configure(config: pytest.Config) -> None:
    """Put our comparison before nbval's; UsageError if this nbval compares in another way."""
    arguments = [*inspect.signature(STRICT).parameters] if STRICT else []
    if arguments != ["self", "test", "ref", "skip_compare"]:
        raise pytest.UsageError(
            "expected nbval with IPyNbCell.compare_outputs(self, test, ref, skip_compare), got one"
            f" with arguments {arguments}: adapt tools/nbval_tolerance.py"
        )
    nbval.plugin.IPyNbCell.compare_outputs = compare_outputs


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nbval as it was: a test may run pytest in its own process."""
    nbval.plugin.IPyNbCell.compare_outputs = STRICT
