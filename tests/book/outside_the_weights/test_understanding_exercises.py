"""The checks of section 10b: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from memlab.book.outside_the_weights.understanding import exercises as checks


def trigrams(texts: Sequence[str], size: int = 3, unit: bool = True) -> Tensor:
    rows = torch.zeros(len(texts), 256)
    for row, one in zip(rows, texts, strict=True):
        line = f" {one.lower()} "
        for i in range(len(line) - size + 1):
            row[zlib.crc32(line[i : i + size].encode()) % 256] += 1
    return torch.nn.functional.normalize(rows, dim=1) if unit else rows


def blend(meaning: Tensor, words: Tensor, weight: float) -> Tensor:
    return meaning + weight * words / words.amax(1, keepdim=True).clamp(min=1e-9)


def blend_in_place(meaning: Tensor, words: Tensor, weight: float) -> Tensor:
    words /= words.amax(1, keepdim=True).clamp(min=1e-9)
    return meaning + weight * words


def false_answers(told: Tensor, other: Tensor, recall: float) -> float:
    cut = told.sort(descending=True).values[math.ceil(recall * len(told) - 1e-9) - 1]
    return float((other >= cut).double().mean())


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_trigrams(trigrams)
    checks.check_blend(blend, seed)
    checks.check_blend(blend_in_place, seed)
    checks.check_false_answers(false_answers, seed)
    assert capsys.readouterr().out == "ok\n" * 4


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_trigrams, lambda texts: None, "expected 20 keys"),
    (checks.check_trigrams, lambda texts: trigrams(texts, unit=False), "normalise"),
    (checks.check_trigrams, lambda texts: torch.eye(20, 256), "in another order"),
    (checks.check_trigrams, lambda texts: trigrams(texts, size=9), "not words"),
    (checks.check_blend, lambda m, w, x: m[0], "expected a score"),
    (checks.check_blend, lambda m, w, x: m + x * w, "no upper end"),
    (checks.check_blend, lambda m, w, x: m + x * w / w.max(), "its own best"),
    (checks.check_blend, lambda m, w, x: m + x * w / w.amax(1, keepdim=True), "not a number"),
    (checks.check_false_answers, lambda t, o, r: None, "returned nothing"),
    (checks.check_false_answers, lambda t, o, r: 0.3, "wanted"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
