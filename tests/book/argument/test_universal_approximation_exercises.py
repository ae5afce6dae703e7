"""The checks of chapter 2 accept right answers, of more than one kind, and say what is wrong with
wrong ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab.book.argument.universal_approximation import exercises as checks


def slopes(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y.diff() / z.diff()


def bends(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    s = slopes(z, y)
    return s.diff(prepend=s.new_zeros(1))


def bends_by_elimination(z: torch.Tensor, y: torch.Tensor) -> list[float]:
    c: list[float] = []
    for i in range(1, len(z)):
        so_far = float(y[0]) + sum(ck * float(z[i] - z[k]) for k, ck in enumerate(c))
        c.append((float(y[i]) - so_far) / float(z[i] - z[i - 1]))
    return c


def turns(y: torch.Tensor) -> int:
    return int((y.diff()[1:] * y.diff()[:-1] < 0).sum())


def line(z: torch.Tensor, j: int, v: float) -> tuple[Any, Any]:
    nearest = min(abs(z[i] - z[j]) for i in range(len(z)) if i != j)
    slope = (-1) ** j * 2 / nearest
    return slope, v - slope * z[j]


def steeper(z: torch.Tensor, j: int, v: float) -> tuple[Any, Any]:
    slope = (-1) ** j * 2 / z.diff().min()
    return slope, v - slope * z[j]


RIGHT: list[tuple[Any, Any]] = [
    (checks.check_bends, bends),
    (checks.check_bends, bends_by_elimination),
    (checks.check_room, lambda P, b, V: math.floor(P * b / math.log2(V))),
    (checks.check_turns, turns),
    (
        checks.check_turns,
        lambda y: sum((y[i] - y[i - 1]) * (y[i + 1] - y[i]) < 0 for i in range(1, len(y) - 1)),
    ),
    (checks.check_line, line),
    (checks.check_line, steeper),
]
WRONG: list[tuple[Any, Any, str]] = [
    (checks.check_bends, lambda z, y: None, "forget to return"),
    (checks.check_bends, lambda z, y: y, "one change of slope"),
    (checks.check_bends, slopes, "these are the slopes"),
    (checks.check_bends, lambda z, y: 2 * bends(z, y), "must add up"),
    (checks.check_room, lambda P, b, V: None, "forget to return"),
    (checks.check_room, lambda P, b, V: P * b / math.log2(V) + 0.01, "whole number"),
    (checks.check_room, lambda P, b, V: math.inf, "whole number"),
    (checks.check_room, lambda P, b, V: math.floor(P * b / math.log2(V)) + 1, "one too many"),
    (checks.check_room, lambda P, b, V: math.floor(P * b / math.log(V)), r"compare V\^N"),
    (checks.check_room, lambda P, b, V: P, r"compare V\^N"),
    (checks.check_turns, lambda y: None, "forget to return"),
    (checks.check_turns, lambda y: turns(y) + 0.5, "inner places"),
    (checks.check_turns, lambda y: len(y) - 1, "inner places"),
    (checks.check_turns, lambda y: len(y) - 2, "changes of sign"),
    (
        checks.check_turns,
        lambda y: int((y.diff()[1:] * y.diff()[:-1] <= 0).sum()),
        "zero does not turn",
    ),
    (checks.check_line, lambda z, j, v: line(z, j, v)[0], "the pair"),
    (checks.check_line, lambda z, j, v: (line(z, j, v)[0], v), "not 0.5"),
    (
        checks.check_line,
        lambda z, j, v: (-line(z, j, v)[0], v + line(z, j, v)[0] * z[j]),
        "should rise",
    ),
    (
        checks.check_line,
        lambda z, j, v: (0.01 * (-1) ** j, v - 0.01 * (-1) ** j * z[j]),
        "nearest neighbour",
    ),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer)
    assert capsys.readouterr().out == "ok\n"


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_wrong_answers_are_told_what_is_wrong(
    check: Callable[..., None], answer: Any, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)


@pytest.mark.parametrize("seed", range(5))
def test_checks_hold_for_other_seeds(seed: int) -> None:
    checks.check_bends(bends, seed)
    checks.check_turns(turns, seed)
    checks.check_line(line, seed)
