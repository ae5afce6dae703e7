"""The checks of chapter 6: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab.book.opening_the_box.how_much_fits import exercises as checks


def weights(V: int, d: int, L: int) -> int:
    return V * d + L * (4 * d * d + 3 * d * round(8 * d / 3) + 2 * d) + d


def fair(lengths: Any, words: int, steps: int) -> list[tuple[int, int, int]]:
    return [(words // length, words // length, steps) for length in lengths]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_enumerated(lambda p, poem, V: len(poem) * math.log2(V) + math.log2(p(poem)), seed)
    checks.check_forecast(lambda a: a.cumprod(0), seed)
    checks.check_forecast(lambda a: a.cumprod_(0), seed)
    checks.check_weights(weights)
    checks.check_fair(fair)
    assert capsys.readouterr().out == "ok\n" * 5


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_enumerated, lambda p, poem, V: None, "returned nothing"),
    (checks.check_enumerated, lambda p, poem, V: "6", "expected one number"),
    (
        checks.check_enumerated,
        lambda p, poem, V: -len(poem) * math.log2(V) - math.log2(p(poem)),
        "sign is wrong",
    ),
    (
        checks.check_enumerated,
        lambda p, poem, V: len(poem) * math.log(V) + math.log(p(poem)),
        "these are nats",
    ),
    (checks.check_enumerated, lambda p, poem, V: math.log2(V) + math.log2(p(poem)), "expected"),
    (checks.check_weights, lambda V, d, L: weights(V, d, L) + V * d, "count it once"),
    (checks.check_weights, lambda V, d, L: weights(V, d, L) - d, "two norms a block"),
    (checks.check_weights, lambda V, d, L: V * d, "expected"),
    (checks.check_weights, lambda V, d, L: weights(V, d, L) + 0.5, "expected"),
    (checks.check_forecast, lambda a: a.mean() ** torch.arange(1, 7), "places differ"),
    (checks.check_forecast, lambda a: a.prod(), "one share for each place"),
    (checks.check_forecast, lambda a: a, "expected"),
    (
        checks.check_fair,
        lambda lengths, words, steps: fair(lengths, words, steps)[:2],
        "expected 3 settings",
    ),
    (checks.check_fair, lambda lengths, words, steps: [(16, 16, steps)] * 3, "are not 256 words"),
    (
        checks.check_fair,
        lambda lengths, words, steps: [(words // n, 4, steps) for n in lengths],
        "is met",
    ),
    (
        checks.check_fair,
        lambda lengths, words, steps: [(words // n, 99, steps) for n in lengths],
        "a batch of 1 to",
    ),
    (checks.check_fair, lambda lengths, words, steps: None, "expected 3 settings"),
    (checks.check_fair, lambda lengths, words, steps: [16, 16, 16], "poems, batch, steps"),
    (checks.check_fair, lambda lengths, words, steps: [(0, 0, steps)] * 3, "are not 256 words"),
    (
        checks.check_fair,
        lambda lengths, words, steps: [(words // n, 1, steps * n) for n in lengths],
        "steps at every",
    ),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
