"""The checks of chapter 7: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab.book.opening_the_box.before_you_ask import exercises as checks


def tries(p_z: float, p: float) -> float:
    if p_z in (0, 1):
        return math.inf if p_z == 0 else 1
    return max(1, math.ceil(math.log(1 - p) / math.log(1 - p_z)))


def sampler(z: torch.Tensor, heat: float, k: int) -> torch.Tensor:
    border = z.topk(k).values[:, -1:]
    return (z / heat).masked_fill(z < border, -math.inf).softmax(-1)


def patchwork(bodies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = [torch.randperm(len(bodies), generator=generator) for _ in bodies.T]
    return torch.stack([words[o] for words, o in zip(bodies.T, order, strict=True)], 1)


def ridge(X: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    return X.T @ torch.linalg.solve(X @ X.T + penalty * torch.eye(len(X), dtype=X.dtype), y)


def primal(X: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    return torch.linalg.solve(X.T @ X + penalty * torch.eye(X.shape[1], dtype=X.dtype), X.T @ y)


def chi_square(counts: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    expected = p * counts.sum()
    return ((counts - expected) ** 2 / expected).sum()


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_tries, tries),
    (checks.check_sampler, sampler),
    (checks.check_patchwork, patchwork),
    (checks.check_ridge, ridge),
    (checks.check_ridge, primal),
    (checks.check_chi_square, chi_square),
    (checks.check_chi_square, lambda c, p: float(chi_square(c, p))),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer, seed)
    assert capsys.readouterr().out.startswith("ok")


def rolled(bodies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return bodies[torch.randperm(len(bodies), generator=generator)]


def fixed(bodies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.stack([words.roll(place + 1) for place, words in enumerate(bodies.T)], 1)


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_tries, lambda p_z, p: None, "returned nothing"),
    (
        checks.check_tries,
        lambda p_z, p: math.log(1 - p) / math.log1p(-min(p_z, 0.999)),
        "whole number",
    ),
    (checks.check_tries, lambda p_z, p: math.inf, "whole number"),
    (checks.check_tries, lambda p_z, p: 0 if p_z == 1 else tries(p_z, p), "0 tries"),
    (checks.check_tries, lambda p_z, p: tries(p_z, p) + 1, "expected 3 tries"),
    (checks.check_tries, lambda p_z, p: 9 if p_z == 0 else tries(p_z, p), "never comes"),
    (checks.check_sampler, lambda z, heat, k: None, "returned nothing"),
    (checks.check_sampler, lambda z, heat, k: (z / heat).softmax(-1)[:1], "expected the shape"),
    (checks.check_sampler, lambda z, heat, k: (z / heat).softmax(-1), "expected 3 words"),
    (checks.check_sampler, lambda z, heat, k: sampler(z, 1 / heat, k), "divide the logits"),
    (
        checks.check_sampler,
        lambda z, heat, k: z.softmax(-1).where(z >= z.topk(k).values[:, -1:], torch.zeros(())),
        "do not add up|off by",
    ),
    (checks.check_sampler, lambda z, heat, k: sampler(z, 1.0, k), "off by"),
    (checks.check_patchwork, lambda bodies, g: None, "returned nothing|None"),
    (checks.check_patchwork, lambda bodies, g: bodies, "still in their own poem|whole texts"),
    (checks.check_patchwork, rolled, "whole texts have moved"),
    (checks.check_patchwork, fixed, "another patchwork at every call"),
    (
        checks.check_patchwork,
        lambda bodies, g: patchwork(bodies.T, g).T,
        "the words that stood there",
    ),
    (checks.check_ridge, lambda X, y, penalty: None, "returned nothing"),
    (
        checks.check_ridge,
        lambda X, y, penalty: torch.linalg.lstsq(X, y).solution,
        "without the penalty",
    ),
    (checks.check_ridge, lambda X, y, penalty: ridge(X, y, penalty**2), "not at the minimum"),
    (checks.check_ridge, lambda X, y, penalty: X, "expected the shape"),
    (checks.check_chi_square, lambda c, p: None, "returned nothing"),
    (checks.check_chi_square, lambda c, p: ((c / c.sum() - p) ** 2 / p).sum(), "these are shares"),
    (
        checks.check_chi_square,
        lambda c, p: ((c - p * c.sum()) ** 2 / c).sum(),
        "divide by what was expected",
    ),
    (checks.check_chi_square, lambda c, p: 2 * chi_square(c, p), "expected"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
