"""The checks of chapter 8: right answers pass for every seed, likely mistakes get a sentence that
helps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from memlab.book.opening_the_box.the_right_question import asking
from memlab.book.opening_the_box.the_right_question import exercises as checks


def dropout(keys: torch.Tensor, blank: int, p: float, draw: torch.Generator) -> torch.Tensor:
    return keys.masked_fill(torch.rand(keys.shape, generator=draw) < p, blank)


def in_place(keys: torch.Tensor, blank: int, p: float, draw: torch.Generator) -> torch.Tensor:
    return keys.masked_fill_(torch.rand(keys.shape, generator=draw) < p, blank)


def chain(
    bodies: torch.Tensor, length: int, draw: torch.Generator, distinct: bool = False
) -> list[int]:
    after = defaultdict[int, list[int]](list)
    for poem in bodies.tolist():
        for a, b in zip(poem, poem[1:], strict=False):
            after[a].append(b)
    said = [int(bodies[torch.randint(len(bodies), (), generator=draw), 0])]
    while len(said) < length:
        choice = sorted(set(after[said[-1]])) if distinct else after[said[-1]]
        said.append(choice[int(torch.randint(len(choice), (), generator=draw))])
    return said


def threshold(known: torch.Tensor, unknown: torch.Tensor) -> float:
    scores = torch.cat([known, unknown])
    errors = [(known < x).double().mean() + (unknown >= x).double().mean() for x in scores]
    return float(scores[torch.stack(errors).argmin()])


def by_count(known: torch.Tensor, unknown: torch.Tensor) -> float:
    scores = torch.cat([known, unknown])
    return float(
        scores[torch.stack([(known < x).sum() + (unknown >= x).sum() for x in scores]).argmin()]
    )


def grade(said: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    share = (said == true).double().mean(1)
    return 3 - (share >= 0.25).long() - (share >= 0.75).long() - (share == 1).long()


RIGHT: list[tuple[Callable[..., None], Any]] = [
    (checks.check_ceiling, lambda q: len(q.unique(dim=0)) / len(q)),
    (checks.check_ceiling, lambda q: len(Counter(map(tuple, q.tolist()))) / len(q)),
    (checks.check_dropout, dropout),
    (checks.check_grade, grade),
    (checks.check_grade, asking.grade),
    (checks.check_threshold, threshold),
    (checks.check_threshold, asking.threshold),
    (checks.check_chain, chain),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_right_answers_pass(
    check: Callable[..., None], answer: Any, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer, seed)
    assert capsys.readouterr().out == "ok\n"


WRONG: list[tuple[Callable[..., None], Any, str]] = [
    (checks.check_ceiling, lambda q: None, "returned nothing"),
    (checks.check_ceiling, lambda q: q.unique(dim=0), "expected one number"),
    (
        checks.check_ceiling,
        lambda q: sum(n == 1 for n in Counter(map(tuple, q.tolist())).values()) / len(q),
        "belong to one poem",
    ),
    (checks.check_ceiling, lambda q: 1.0, "expected"),
    (
        checks.check_ceiling,
        lambda q: max(len(q.unique(dim=0)), 12) / len(q),
        "8 poems with the same question",
    ),
    (checks.check_dropout, lambda k, b, p, g: None, "returned nothing"),
    (checks.check_dropout, lambda k, b, p, g: k[0], "of shape"),
    (checks.check_dropout, in_place, "themselves were changed"),
    (
        checks.check_dropout,
        lambda k, b, p, g: torch.where(dropout(k, b, p, g) == b, b, k + 1),
        "must stay as it is",
    ),
    (checks.check_dropout, lambda k, b, p, g: dropout(k, b, 1 - p, g), "places are blank"),
    (
        checks.check_dropout,
        lambda k, b, p, g: k.masked_fill(torch.rand(len(k), 1, generator=g) < p, b),
        "lost together",
    ),
    (
        checks.check_dropout,
        lambda k, b, p, g: dropout(k, b, p, torch.Generator().manual_seed(0)),
        "other gaps",
    ),
    (checks.check_dropout, lambda k, b, p, g: dropout(k, b, 0.3, g), "nothing is lost"),
    (checks.check_grade, lambda s, t: None, "expected a tensor"),
    (checks.check_grade, lambda s, t: (s != t).long(), "one grade a poem"),
    (checks.check_grade, lambda s, t: 3 - grade(s, t), "0 of 12 words right: expected grade 3"),
    (checks.check_grade, lambda s, t: grade(s, t).clamp(min=1), "12 of 12 words right"),
    (checks.check_threshold, lambda k, u: None, "returned nothing"),
    (checks.check_threshold, lambda k, u: float(k.min()), "you refuse 0.00 of the known"),
    (checks.check_threshold, lambda k, u: float("nan"), "expected a number, got nan"),
    (checks.check_threshold, lambda k, u: 0.0, "you refuse 1.00 of the known"),
    (checks.check_chain, lambda b, n, g: None, "returned nothing"),
    (checks.check_chain, lambda b, n, g: chain(b, n + 1, g), "expected 6 words"),
    (checks.check_chain, lambda b, n, g: [99] * n, "no poem begins"),
    (checks.check_chain, lambda b, n, g: [int(b[0, 0])] * n, "never follows"),
    (checks.check_chain, lambda b, n, g: b[0].tolist(), "another poem at every call"),
    (checks.check_chain, lambda b, n, g: chain(b, n, g, distinct=True), "must be drawn often"),
]


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(check: Callable[..., None], answer: Any, hint: str) -> None:
    with pytest.raises(AssertionError, match=hint):
        check(answer)


def test_counting_answers_instead_of_shares_is_noticed() -> None:
    with pytest.raises(AssertionError, match="Count shares"):
        for seed in range(5):
            checks.check_threshold(by_count, seed)
