"""The checks of section 10c: right answers pass, likely mistakes get a sentence that helps."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from memlab.book.outside_the_weights.editing import exercises as checks


def replace(
    K: Tensor, V: Tensor, q: Tensor, k: Tensor, v: Tensor, best: bool = True
) -> tuple[Tensor, Tensor]:
    scores = K @ q
    keep = torch.arange(len(K)) != (scores.argmax() if best else scores.argmin())
    return torch.vstack([K[keep], k]), torch.vstack([V[keep], v])


def in_place(K: Tensor, V: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    row = int((K @ q).argmax())
    K[row], V[row] = k, v
    return K, V


def guard(said: str, subject: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", said, re.I) is not None


@pytest.mark.parametrize(
    "answer",
    [
        lambda said, subject: re.search(rf"\b{re.escape(subject)}\b", said, re.I),
        lambda said, subject: re.findall(rf"\b{re.escape(subject)}\b", said, re.I),
        lambda said, subject: numpy.bool_(guard(said, subject)),
        lambda said, subject: torch.tensor(guard(said, subject)),
    ],
)
def test_a_match_is_as_good_as_true(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_guard(answer)
    assert capsys.readouterr().out == "ok\n"


def test_rows_may_be_arrays_and_a_dictionary_any_mapping(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks.check_replace(lambda *rows: [part.numpy() for part in replace(*rows)])
    checks.check_in_force(lambda edits: MappingProxyType(OrderedDict(edits)))
    assert capsys.readouterr().out == "ok\n" * 2


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_replace(replace, seed)
    checks.check_in_force(dict)
    checks.check_guard(guard)
    assert capsys.readouterr().out == "ok\n" * 3


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_replace, lambda K, V, q, k, v: None, "expected two results"),
    (checks.check_replace, in_place, "changed in place"),
    (
        checks.check_replace,
        lambda K, V, q, k, v: (torch.vstack([K, k]), torch.vstack([V, v])),
        "one row less",
    ),
    (checks.check_replace, lambda *a: replace(*a, best=False), "largest K q"),
    (
        checks.check_replace,
        lambda K, V, q, k, v: replace(K, V, q, k.div_(k.norm()), v),
        "the new row at the end",
    ),
    (
        checks.check_replace,
        lambda K, V, q, k, v: (replace(K, V, q, k, v)[0], torch.vstack([V[:-1], v])),
        "both",
    ),
    (
        checks.check_replace,
        lambda K, V, q, k, v: (replace(K, V, q, k, v)[0], None),
        "seven rows again",
    ),
    (checks.check_in_force, lambda edits: edits, "expected a dictionary"),
    (checks.check_in_force, lambda edits: dict(edits[:1]), "a later edit"),
    (checks.check_in_force, lambda edits: {} if edits else None, "a later edit"),
    (checks.check_guard, lambda said, subject: None, "is about her"),
    (checks.check_in_force, lambda edits: dict(edits[::-1]), "a later edit"),
    (checks.check_guard, lambda said, subject: subject in said, "a longer name"),
    (checks.check_guard, lambda said, subject: subject.split()[0] in said, "half a name"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_likely_mistakes_are_named(check: Callable[..., None], answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(answer)
