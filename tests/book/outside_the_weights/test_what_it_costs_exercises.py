"""The checks of chapter 12: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from memlab.book.outside_the_weights.what_it_costs import exercises as checks


def size(fixed: float, each: float, linear: float, pair: float) -> float:
    b = each - linear
    return (b + math.sqrt(b * b + 4 * pair * fixed)) / (2 * pair)


def worth(build: float, ask: float, other_build: float, other_ask: float) -> float:
    return math.inf if ask >= other_ask else max(0.0, (build - other_build) / (other_ask - ask))


def test_right_answers_pass(capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_bytes(lambda k, v, size, tokens: (size * (k + v) + 8 * (size == 1) + 8) / tokens)
    checks.check_crossing(size)
    checks.check_scan(
        lambda rows, width, m, bandwidth, peak: max(
            4 * rows * width / bandwidth, 2 * rows * width * m / peak
        )
    )
    checks.check_worth(worth)
    assert capsys.readouterr().out == "ok\n" * 4


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_bytes, lambda *_: None, "returned nothing"),
    (checks.check_bytes, lambda *_: "9", "expected one number"),
    (checks.check_bytes, lambda k, v, size, tokens: size * (k + v) / tokens, "8 bytes that lead"),
    (
        checks.check_bytes,
        lambda k, v, size, tokens: (size * (k + v) + 8) / tokens,
        "a scale of 4 bytes",
    ),
    (
        checks.check_crossing,
        lambda f, e, x, p: (e - x - math.sqrt((e - x) ** 2 + 4 * p * f)) / (2 * p),
        "other root",
    ),
    (checks.check_crossing, lambda f, e, x, p: f / p, "expected about"),
    (
        checks.check_scan,
        lambda r, w, m, b, p: m * max(4 * r * w / b, 2 * r * w / p),
        "share one pass",
    ),
    (checks.check_scan, lambda r, w, m, b, p: 4 * r * w / b, "expected"),
    (checks.check_worth, lambda b, a, ob, oa: b / oa, "expected"),
    (checks.check_worth, lambda b, a, ob, oa: max(0.0, (b - ob) / (oa - a)), "never"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
