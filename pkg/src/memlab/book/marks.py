"""Numbers that are marked with the tolerance of a run on another machine: `≈ 0.93 ±0.05`."""

from __future__ import annotations

import re

# The same as in tools/nbval_tolerance.py, which compares such numbers; a test holds them together.
UNSIGNED = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
SEPARATOR = r"(?:\s+to\s|\s+…\s|,\s|\s)"
MARK = rf"≈(\s*-?{UNSIGNED}(?:{SEPARATOR}\s*-?{UNSIGNED})*)\s*±({UNSIGNED})"


def exact(text: object) -> str:
    """The text with its marked numbers alone: a number that was recorded has no tolerance.

    >>> exact("recall ≈ 0.93 ±0.05 of 128")
    'recall 0.93 of 128'
    """
    return re.sub(MARK, lambda mark: mark[1].strip(), str(text))
