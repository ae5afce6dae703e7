"""The checks of chapter 9: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from memlab.book.outside_the_weights.associative_memories import exercises as checks


def forget(
    M: Tensor, P: Tensor, w: Tensor, z: Tensor, sign: int = -1, keep: int = 1
) -> tuple[Tensor, Tensor]:
    gain = P @ w / (1 + sign * w @ P @ w)
    return M + keep * sign * torch.outer(gain, z - w @ M), P - sign * torch.outer(gain, w @ P)


def largest_load(t: float, c: float) -> float:
    room = t**2 - (1 - c) ** 2
    return max(0.0, room / (room + 1 - c**2)) if room > 0 else 0.0


def window(alpha: float, steps: int, tolerance: float) -> tuple[float, float]:
    r = tolerance ** (1 / 2**steps)
    return sqrt((1 - r) / alpha), sqrt((1 + r) / alpha)


def powers(q: Tensor, X: Tensor, n: int, itself: bool = False) -> Tensor:
    own = X * q[:, None, :]
    field = ((own.sum(2, keepdim=True) - (0 if itself else own)) ** n * X).sum(1)
    return torch.where(field == 0, q, field.sign())


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_forget(forget, seed)
    checks.check_load(largest_load, seed)
    checks.check_window(window)
    checks.check_powers(powers, seed)
    assert capsys.readouterr().out == "ok\n" * 4


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_forget, lambda M, P, w, z: None, "expected two results"),
    (
        checks.check_forget,
        lambda M, P, w, z: forget(M, P, w, z, sign=1),
        "writes the row once more",
    ),
    (
        checks.check_forget,
        lambda M, P, w, z: (M, P + torch.outer(P @ w, w @ P)),
        "look at the denominator",
    ),
    (
        checks.check_forget,
        lambda M, P, w, z: forget(M, P, w, z, keep=-1),
        "P is right and M is not",
    ),
    (checks.check_load, lambda t, c: None, "returned nothing"),
    (checks.check_load, lambda t, c: 2.0, "between 0 and 1"),
    (checks.check_load, lambda t, c: t**2 / (t**2 + 1 - c**2), "already short"),
    (checks.check_load, lambda t, c: largest_load(t, c) or 0.1, "expected 0"),
    (checks.check_window, lambda a, S, t: None, "expected two numbers"),
    (
        checks.check_window,
        lambda a, S, t: (sqrt((1 - t) / a), sqrt((1 + t) / a)),
        "is missing, not",
    ),
    (checks.check_window, lambda a, S, t: window(a, 1, t), "is missing, not"),
    (checks.check_window, lambda a, S, t: window(a, S, t)[::-1], "smallest singular value first"),
    (checks.check_powers, lambda q, X, n: None, "expected signs"),
    (checks.check_powers, lambda q, X, n: ((q @ X.T) ** n @ X).sign(), "own term"),
    (checks.check_powers, lambda q, X, n: powers(q, X, 1), "signs differ"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
