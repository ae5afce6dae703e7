"""Marks are taken off where nothing can move, and read as the plug-in that compares them reads
them."""

from __future__ import annotations

import re

import pytest

import nbval_tolerance
from memlab.book import marks


def test_the_plug_in_reads_the_same_marks() -> None:
    assert re.compile(marks.MARK) == nbval_tolerance.MARK


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("recall ≈ 0.93 ±0.05 of 128", "recall 0.93 of 128"),
        ("seeds ≈ 0.55 to 0.61 ±0.03, 3 ±1", "seeds 0.55 to 0.61, 3 ±1"),
        ("a ≈ -1 ±1, b ≈ 1,024 ±1", "a -1, b 1,024"),
        ("≈ nan ±1", "≈ nan ±1"),
        ("nothing is marked", "nothing is marked"),
    ],
)
def test_exact(text: str, exact: str) -> None:
    assert marks.exact(text) == exact
