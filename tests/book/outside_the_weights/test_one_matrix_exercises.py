"""The checks of chapter 10a: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from memlab.book.outside_the_weights.one_matrix import exercises as checks


def read(q: Tensor, K: Tensor, V: Tensor, ridge: float) -> Tensor:
    return q @ torch.linalg.solve(K.T @ K + ridge * torch.eye(K.shape[1], dtype=K.dtype), K.T @ V)


def doubt(K: Tensor, V: Tensor, M: Tensor) -> Tensor:
    return (K @ M - V).norm(dim=1) / V.norm(dim=1)


def whiten(X: Tensor, power: float = -0.5, back: bool = True) -> tuple[Tensor, Tensor]:
    centre = X.mean(0)
    strength, U = torch.linalg.eigh((X - centre).T @ (X - centre) / len(X))
    W = (U * strength**power) @ (U.T if back else torch.eye(len(U), dtype=U.dtype))
    return W, -centre @ W


def whiten_in_place(X: Tensor) -> tuple[Tensor, Tensor]:
    mean = X.mean(0)
    X -= mean
    W, _ = whiten(X)
    return W, -mean @ W


def doubt_in_place(K: Tensor, V: Tensor, M: Tensor) -> Tensor:
    length = V.norm(dim=1)
    V -= K @ M
    return V.norm(dim=1) / length


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_read(read, seed)
    checks.check_slots(lambda rows, width: rows * width // (rows + width))
    checks.check_doubt(doubt, seed)
    checks.check_whiten(whiten, seed)
    checks.check_whiten(whiten_in_place, seed)
    checks.check_doubt(doubt_in_place, seed)
    assert capsys.readouterr().out == "ok\n" * 6


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_read, lambda q, K, V, r: read(q, K, V, 1e-12), "without ridge|that is not"),
    (checks.check_read, lambda q, K, V, r: read(q, K, V, 2 * r), "that is not"),
    (checks.check_read, lambda q, K, V, r: read(q, K, V, r).T, "a row a query"),
    (checks.check_read, lambda q, K, V, r: None, "returned nothing"),
    (checks.check_slots, lambda rows, width: rows, "its key as well"),
    (checks.check_slots, lambda rows, width: rows * width // (rows + width) + 1, "whole slots"),
    (checks.check_doubt, lambda K, V, M: (K @ M - V).norm(dim=1), "length of the value"),
    (checks.check_doubt, lambda K, V, M: doubt(K, V, M) ** 2, "the square of it"),
    (
        checks.check_doubt,
        lambda K, V, M: (K @ M - V).norm(dim=1) / (K @ M).norm(dim=1),
        "that is not",
    ),
    (checks.check_doubt, lambda K, V, M: doubt(K, V, M).mean(), "one number a row"),
    (checks.check_doubt, lambda K, V, M: doubt(K, V, M) + 0.1, "their doubt is zero"),
    (checks.check_whiten, lambda X: whiten(X, -1.0), "not by the variance"),
    (checks.check_whiten, lambda X: whiten(X, back=False), "turn back"),
    (checks.check_whiten, lambda X: (whiten(X)[0], 0), "the mean is not zero"),
    (
        checks.check_whiten,
        lambda X: (whiten_in_place(X)[0], torch.zeros(8)),
        "the mean is not zero",
    ),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_wrong_answers_get_a_hint(
    check: Callable[..., None], wrong: Callable[..., Any], hint: str
) -> None:
    with pytest.raises(AssertionError, match=hint):
        check(wrong)
