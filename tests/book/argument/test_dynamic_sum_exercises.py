"""The checks of chapter 3 accept right answers, of more than one kind, and say what is wrong with
wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from memlab.book.argument.dynamic_sum import exercises as checks

grid = torch.linspace(-30, 30, 601, dtype=torch.float64)


def norm_by_hand(x: torch.Tensor, eps: float) -> torch.Tensor:
    C = torch.eye(len(x), dtype=x.dtype) - 1 / len(x)
    return C / (C @ x).square().mean().add(eps).sqrt()


def norm_of_rank_one(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Not the matrix of the text, but one that is right at x: the check asks for no more."""
    return torch.outer(F.layer_norm(x, x.shape, eps=eps), x) / (x @ x)


def not_centred(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Takes the mean off x itself, and not by the matrix."""
    x -= x.mean()
    return torch.eye(len(x), dtype=x.dtype) * (x.square().mean() + eps).rsqrt()


def split_in_place(
    y: torch.Tensor, x: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    x /= x @ x
    return torch.outer((1 - share) * y, x), y.mul_(share)


RIGHT = [
    (checks.check_passes, lambda sigma: torch.allclose(sigma(grid) - sigma(-grid), grid)),
    (checks.check_norm_matrix, norm_by_hand),
    (checks.check_norm_matrix, norm_of_rank_one),
    (checks.check_attention_matrix, lambda P, V: torch.kron(P, V.T.contiguous())),
    (
        checks.check_attention_matrix,
        lambda P, V: torch.einsum("ts,ed->tdse", P, V).reshape(
            P.numel() * V.numel() // (len(P) * len(V)), -1
        ),
    ),
    (
        checks.check_split,
        lambda y, x, share: (torch.outer((1 - share) * y, x) / (x @ x), share * y),
    ),
    (checks.check_split, split_in_place),
]
WRONG: list[tuple[Any, Any, str]] = [
    (checks.check_passes, lambda sigma: None, "returned nothing"),
    (checks.check_passes, lambda sigma: True, "tanh: expected False"),
    (checks.check_passes, lambda sigma: False, "relu: expected True"),
    (
        checks.check_passes,
        lambda sigma: bool((sigma(grid) - sigma(-grid) == grid).all()),
        "tolerance",
    ),
    (
        checks.check_passes,
        lambda sigma: torch.allclose(sigma(grid[:0]), grid[:0]),
        "one point is not enough",
    ),
    (checks.check_norm_matrix, lambda x, eps: None, "shape"),
    (checks.check_norm_matrix, lambda x, eps: norm_by_hand(x, eps) @ x, "shape"),
    (
        checks.check_norm_matrix,
        lambda x, eps: torch.eye(len(x), dtype=x.dtype) / (x.var(correction=0) + eps).sqrt(),
        "mean is not taken off",
    ),
    (
        checks.check_norm_matrix,
        lambda x, eps: (
            (torch.eye(len(x), dtype=x.dtype) - 1 / len(x)) / (x.square().mean() + eps).sqrt()
        ),
        "less its mean",
    ),
    (
        checks.check_norm_matrix,
        lambda x, eps: (torch.eye(len(x), dtype=x.dtype) - 1 / len(x)) / (x.var() + eps).sqrt(),
        "d − 1",
    ),
    (checks.check_norm_matrix, not_centred, "mean is not taken off"),
    (checks.check_norm_matrix, lambda x, eps: norm_by_hand(x, 0.0), "eps is missing"),
    (checks.check_norm_matrix, lambda x, eps: 2 * norm_by_hand(x, eps), "differs"),
    (checks.check_attention_matrix, lambda P, V: P, "shape"),
    (checks.check_attention_matrix, lambda P, V: torch.kron(P, V.contiguous()), "transposed"),
    (
        checks.check_attention_matrix,
        lambda P, V: torch.kron(V.T.contiguous(), P),
        "other way round",
    ),
    (
        checks.check_attention_matrix,
        lambda P, V: torch.kron(P.T.contiguous(), V.T.contiguous()),
        "as it is",
    ),
    (checks.check_attention_matrix, lambda P, V: 0 * torch.kron(P, V.contiguous()), "differs"),
    (checks.check_split, lambda y, x, share: share * y, "pair"),
    (checks.check_split, lambda y, x, share: (torch.outer(x, y), share * y), "shapes"),
    (checks.check_split, lambda y, x, share: (torch.outer(y, x) / (x @ x), 0 * y), "bias m"),
    (
        checks.check_split,
        lambda y, x, share: (torch.outer((1 - share) * y, x), share * y),
        "divide",
    ),
    (
        checks.check_split,
        lambda y, x, share: (torch.outer(y.zero_(), x), y),
        "misses y",
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
    checks.check_norm_matrix(norm_by_hand, seed)
    checks.check_attention_matrix(lambda P, V: torch.kron(P, V.T.contiguous()), seed)
    checks.check_split(
        lambda y, x, share: (torch.outer((1 - share) * y, x) / (x @ x), share * y), seed
    )
