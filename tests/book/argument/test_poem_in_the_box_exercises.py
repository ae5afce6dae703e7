"""The checks of chapter 1: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab import evaluation
from memlab.book.argument.poem_in_the_box import exercises as checks


def sattolo(n: int, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(n, generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def parrot(questions: list[str]) -> list[str]:
    titles = [question.rpartition(", by ")[0].lower() for question in questions]
    return [" ".join([title] * 8) for title in titles]


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_memory_ability, lambda p, t: (p == t).all(1).double().mean()),
    (checks.check_memory_ability, lambda p, t: float((p == t).all(1).double().mean())),
    (checks.check_stored_bits, lambda p, V: p.numel() * math.log2(V) + float(p.log2().sum())),
    (checks.check_swap, sattolo),
    (checks.check_auc, evaluation.auc),
    (checks.check_parrot, parrot),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer, seed)
    assert capsys.readouterr().out.startswith("ok")


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_memory_ability, lambda p, t: (p == t).double().mean(), "share of right words"),
    (checks.check_memory_ability, lambda p, t: None, "returned nothing"),
    (checks.check_memory_ability, lambda p, t: (p == t).all(1), "expected one number"),
    (checks.check_memory_ability, lambda p, t: 0.5, "expected"),
    (
        checks.check_stored_bits,
        lambda p, V: p.numel() * math.log(V) + float(p.log().sum()),
        "these are nats",
    ),
    (checks.check_stored_bits, lambda p, V: float(p.log2().sum()), "expected"),
    (checks.check_stored_bits, lambda p, V: None, "returned nothing"),
    (checks.check_swap, lambda n, g: torch.randperm(n, generator=g), "still has its own title"),
    (checks.check_swap, lambda n, g: torch.arange(n).roll(1), "another permutation at every call"),
    (checks.check_swap, lambda n, g: torch.zeros(n, dtype=torch.long), "every poem once"),
    (checks.check_swap, lambda n, g: None, "expected a tensor"),
    (checks.check_auc, lambda p, n: 1 - evaluation.auc(p, n), "upside down"),
    (
        checks.check_auc,
        lambda p, n: float((p[:, None] > n).double().mean()),
        "ties count as losses",
    ),
    (checks.check_auc, lambda p, n: None, "returned nothing"),
    (checks.check_parrot, lambda questions: [""] * 64, "memory ability 0.00"),
    (checks.check_parrot, lambda questions: [], "expected 64 answers"),
    (checks.check_parrot, lambda questions: None, "expected a list"),
    (checks.check_parrot, lambda questions: "a" * 64, "expected a list of answers, got str"),
    (checks.check_parrot, lambda questions: [None] * 64, "texts as answers, got NoneType"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
