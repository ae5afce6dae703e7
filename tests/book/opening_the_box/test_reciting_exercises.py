"""The checks of chapter 5: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy
import pandas as pd
import pytest

from memlab.book.opening_the_box.reciting import exercises as checks


def labels(question: list[int], answer: list[int], length: int) -> list[int]:
    return ([-100] * len(question) + answer + [-100] * length)[:length]


def labels_in_place(question: list[int], answer: list[int], length: int) -> list[int]:
    question[:] = [-100] * len(question)
    question += answer
    question += [-100] * (length - len(question))
    return question


def spearman(a: list[float], b: list[float]) -> float:
    return float(pd.Series(a).rank().corr(pd.Series(b).rank()))


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_same, lambda said, text: said.split() == text.split()),
    (
        checks.check_same,
        lambda said, text: re.fullmatch(
            r"\s*" + r"\s+".join(map(re.escape, text.split())) + r"\s*", said
        ),
    ),
    (checks.check_labels, labels),
    (checks.check_labels, labels_in_place),
    (checks.check_words_for, lambda bits, size: math.ceil(bits / math.log2(size) - 1e-9)),
    (checks.check_rank_correlation, spearman),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer, seed)
    assert capsys.readouterr().out.startswith("ok")


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_same, lambda said, text: said == text, "in one line should count"),
    (checks.check_same, lambda said, text: said.split(" ") == text.split(" "), "should count"),
    (
        checks.check_same,
        lambda said, text: "".join(said.split()) == "".join(text.split()),
        "without any space",
    ),
    (
        checks.check_same,
        lambda said, text: said.lower().split() == text.lower().split(),
        "a capital letter",
    ),
    (
        checks.check_same,
        lambda said, text: text.split() == said.split()[: len(text.split())],
        "one word more",
    ),
    (checks.check_same, lambda said, text: None, "returned nothing"),
    (checks.check_labels, lambda q, a, n: (q + a + [-100] * n)[:n], "the question is given"),
    (checks.check_labels, lambda q, a, n: [-100] * len(q) + a, "labels, got"),
    (
        checks.check_labels,
        lambda q, a, n: [-100] * (len(q) - 1) + a + [0] * (n - len(q) - len(a) + 1),
        "question is",
    ),
    (
        checks.check_labels,
        lambda q, a, n: ([-100] * (len(q) + 1) + a + [-100] * n)[:n],
        "shifts them by one",
    ),
    (
        checks.check_labels,
        lambda q, a, n: [-100] * len(q) + a + [0] * (n - len(q) - len(a)),
        "fills the row up",
    ),
    (checks.check_labels, lambda q, a, n: None, "returned nothing"),
    (checks.check_words_for, lambda bits, size: bits / math.log2(size), "whole number"),
    (checks.check_words_for, lambda bits, size: int(bits / math.log2(size)), "take 5 words, got 4"),
    (checks.check_words_for, lambda bits, size: math.ceil(bits / math.log(size)), "take 12 words"),
    (checks.check_words_for, lambda bits, size: None, "returned nothing"),
    (checks.check_rank_correlation, lambda a, b: numpy.corrcoef(a, b)[0, 1], "rising curve"),
    (checks.check_rank_correlation, lambda a, b: -spearman(a, b), "rising curve"),
    (
        checks.check_rank_correlation,
        lambda a, b: numpy.corrcoef(
            numpy.argsort(numpy.argsort(a)), numpy.argsort(numpy.argsort(b))
        )[0, 1],
        "equal values",
    ),
    (checks.check_rank_correlation, lambda a, b: None, "returned nothing"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
