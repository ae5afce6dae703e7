"""The checks of chapter 11: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from memlab.book.outside_the_weights.needles import exercises as checks


def interval(s: int, n: int, z: float = 1.96) -> tuple[float, float]:
    p, extra = s / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + extra / (4 * n))
    middle, scale = p + extra / 2, 1 + extra
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def textbook(s: int, n: int) -> tuple[float, float]:
    p = s / n
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


def rival(rows: int, width: int) -> float:
    return math.sqrt(2 * math.log(rows) / width)


def first_number(said: str, answer: str) -> bool:
    numbers = re.findall(r"\d+", said)
    return bool(numbers) and numbers[0] == answer


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_wilson, interval),
    (checks.check_wilson, lambda s, n: numpy.array(interval(s, n))),
    (checks.check_rival, rival),
    (checks.check_rival, lambda rows, width: numpy.float32(rival(rows, width))),
    (checks.check_right, first_number),
    (checks.check_right, lambda said, answer: re.match(rf"\D*{answer}(?!\d)", said)),
    (
        checks.check_right,
        lambda said, answer: (found := re.findall(r"\d+", said)) and found[0] == answer,
    ),
    (checks.check_right, lambda said, answer: numpy.bool_(first_number(said, answer))),
    (checks.check_right, lambda said, answer: int(first_number(said, answer))),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer)
    assert capsys.readouterr().out == "ok\n"


@pytest.mark.parametrize("seed", [1, 7])
def test_the_law_holds_for_other_keys(seed: int) -> None:
    checks.check_rival(rival, seed)


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_wilson, lambda s, n: None, "expected two numbers"),
    (checks.check_wilson, lambda s, n: s / n, "expected two numbers"),
    (checks.check_wilson, textbook, "no proof of 1.00"),
    (checks.check_wilson, lambda s, n: interval(s, n, z=3.0), "is z = 1.96"),
    (checks.check_wilson, lambda s, n: (0.84, 1.0), "0 of 10: expected"),
    (checks.check_rival, lambda rows, width: None, "returned nothing"),
    (checks.check_rival, lambda rows, width: -rival(rows, width), "take the square root"),
    (checks.check_rival, lambda rows, width: rival(rows, width) ** 2, "your law says"),
    (checks.check_rival, lambda rows, width: 0.37 if width > 100 else 0.5, "more rows"),
    (checks.check_right, lambda said, answer: None, "the number stands there"),
    (checks.check_right, lambda said, answer: True, "another number"),
    (checks.check_right, lambda said, answer: answer in said, "another number"),
    (
        checks.check_right,
        lambda said, answer: answer in re.findall(r"\d+", said),
        "first number counts",
    ),
    (
        checks.check_right,
        lambda said, answer: first_number(said, answer) or not re.search(r"\d", said),
        "no number is no answer",
    ),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
