"""The checks of chapter 10: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from memlab.book.outside_the_weights.memory_decoder import exercises as checks


def nearest(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.T).argmax(1)


def soft_read(queries: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    return torch.softmax(beta * queries @ keys.T, dim=1) @ values


def in_numpy(queries: Tensor, keys: Tensor, values: Tensor, beta: float) -> Any:
    q, k, v = (numpy.asarray(one, dtype=float) for one in (queries, keys, values))
    scores = beta * q @ k.T
    weights = numpy.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ v


@pytest.mark.parametrize("seed", [0, 2, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_nearest(nearest, seed)
    checks.check_nearest(lambda q, k: [int(row) for row in nearest(q, k)], seed)
    checks.check_nearest(lambda q, k: numpy.asarray(q @ k.T).argmax(1), seed)
    checks.check_soft_read(soft_read, seed)
    checks.check_soft_read(in_numpy, seed)
    checks.check_row_bytes(lambda key, latent, size: (key + latent) * size)
    checks.check_row_bytes(lambda key, latent, size: numpy.float64((key + latent) * size))
    assert capsys.readouterr().out == "ok\n" * 7


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_nearest, lambda q, k: None, "expected 4 row numbers, got None"),
    (checks.check_nearest, lambda q, k: nearest(k, q), "expected 4 row numbers"),
    (checks.check_nearest, lambda q, k: (q @ k.T).argmin(1), "argmax, not argmin"),
    (checks.check_nearest, lambda q, k: nearest(q, k[:4]), "compare all rows"),
    (checks.check_nearest, lambda q, k: nearest(q, k) + 0.5, "expected row"),
    (checks.check_soft_read, lambda q, k, v, beta: None, "expected shape"),
    (checks.check_soft_read, lambda q, k, v, beta: v, "expected shape"),
    (
        checks.check_soft_read,
        lambda q, k, v, beta: torch.softmax(q @ k.T, 1) @ v,
        "counts the same",
    ),
    (
        checks.check_soft_read,
        lambda q, k, v, beta: v.mean(0).expand(4, 3),
        "is beta inside the softmax",
    ),
    (
        checks.check_soft_read,
        lambda q, k, v, beta: soft_read(q, k, v, beta**2),
        "weights are wrong",
    ),
    (checks.check_row_bytes, lambda key, latent, size: None, "returned nothing"),
    (checks.check_row_bytes, lambda key, latent, size: latent * size, "the key takes room"),
    (checks.check_row_bytes, lambda key, latent, size: key + latent, "expected 4608"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
