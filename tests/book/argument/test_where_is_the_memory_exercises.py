"""The checks of chapter 4: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab.book.argument.where_is_the_memory import exercises as checks
from memlab.corpora.poems import Poems


def size(V: int, A: int, T: int, S: int, H: int) -> int:
    return H * (A + T * V + S + 1 + V) + V


def uniform(n: int) -> torch.Tensor:
    return torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]


def information(joint: torch.Tensor) -> float:
    independent, p = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True), joint > 0
    return float((joint[p] * (joint[p] / independent[p]).log2()).sum())


def places(poems: Poems, threshold: float = 0.5) -> tuple[torch.Tensor, ...]:
    N, S, V, A = *poems.bodies.shape, poems.vocabulary, poems.authors
    author, *title = poems.keys.T
    columns = [author - V, *(A + V * i + word for i, word in enumerate(title))]
    W = torch.zeros(N, S, A + V * len(title) + S)
    for column in columns:
        W[range(N), :, column] = 20.0
    W[:, range(S), A + V * len(title) + torch.arange(S)] = 20.0
    b = torch.full((N * S,), -20.0 * (len(columns) + 1 - threshold))
    return W.flatten(0, 1), b, torch.eye(V)[poems.bodies.flatten()].T, torch.zeros(V)


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_size, size),
    (checks.check_uniform, uniform),
    (checks.check_information, information),
    (checks.check_places, places),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer)
    if check in (checks.check_information, checks.check_places):
        check(answer, 7)
    assert capsys.readouterr().out.startswith("ok")


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_size, lambda V, A, T, S, H: None, "returned nothing"),
    (checks.check_size, lambda V, A, T, S, H: H * (A + T * V + S + V), "b and c are missing"),
    (checks.check_size, lambda V, A, T, S, H: H * (A + V + S + 1 + V) + V, "its own V inputs"),
    (checks.check_size, lambda V, A, T, S, H: H * (A + T * V + S + 1 + V), "c is missing"),
    (checks.check_size, lambda V, A, T, S, H: 1, "expected"),
    (checks.check_uniform, lambda n: None, "expected a matrix"),
    (checks.check_uniform, lambda n: torch.full((n, n), 1 / n), "words to come"),
    (checks.check_uniform, lambda n: uniform(n).T, "transposed"),
    (checks.check_uniform, lambda n: torch.ones(n, n).tril(), "rows must sum to 1"),
    (checks.check_uniform, lambda n: torch.eye(n), "expected"),
    (checks.check_information, lambda joint: None, "returned nothing"),
    (
        checks.check_information,
        lambda joint: information(joint) * 0.6931471805599453,
        "these are nats",
    ),
    (checks.check_information, lambda joint: float("nan"), "0 · log 0"),
    (checks.check_information, lambda joint: 1.0, "expected 0.0000 bits"),
    (checks.check_places, lambda poems: None, "four tensors"),
    (checks.check_places, lambda poems: places(poems)[::-1], "W: expected shape"),
    (checks.check_places, lambda poems: places(poems, threshold=2.5), "words come right"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
