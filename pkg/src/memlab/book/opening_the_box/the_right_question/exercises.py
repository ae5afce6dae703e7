"""Checks for chapter 8, what is the right question? Every check draws its own examples from a
seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memlab import runtime


def _number(got: object) -> float:
    assert got is not None, "the function returned nothing: does it end in `return`?"
    assert isinstance(got, float | int) or (isinstance(got, Tensor) and got.numel() == 1), (
        f"expected one number, got {type(got).__name__}"
    )
    return float(got)


def check_ceiling(function: Callable[[Tensor], float], seed: int = 0) -> None:
    """`function(questions)`, rows of ids: the largest share of different poems that one answer a
    question can get."""
    draw = runtime.generator(seed, "check", "ceiling")
    questions = torch.randint(6, (40, 2), generator=draw)
    got = _number(function(questions))
    rows = questions.tolist()
    wanted = len(set(map(tuple, rows))) / 40
    alone = sum(rows.count(row) == 1 for row in rows) / 40
    assert abs(got - alone) > 1e-9 or alone == wanted, (
        "these are the questions that belong to one poem; of those that share a question one can"
        " still be right"
    )
    assert abs(got - wanted) < 1e-6, (
        f"40 questions of 2 words out of 6: expected {wanted:.4f}, got {got:.4f}"
    )
    all_the_same = torch.zeros(8, 3, dtype=torch.long)
    assert abs(_number(function(all_the_same)) - 1 / 8) < 1e-6, (
        "8 poems with the same question: one of them can be right"
    )
    print("ok")


def check_dropout(
    function: Callable[[Tensor, int, float, torch.Generator], Tensor], seed: int = 0
) -> None:
    """`function(keys, blank, p, generator)`: the keys, each place blank with probability p, others
    at every call."""
    draw = runtime.generator(seed, "check", "dropout")
    keys = torch.randint(50, (400, 3), generator=draw)
    before = keys.clone()
    got = function(keys, 99, 0.3, draw)
    assert got is not None, "the function returned nothing: does it end in `return`?"
    assert isinstance(got, Tensor) and got.shape == keys.shape, (
        f"expected a tensor of shape {tuple(keys.shape)}"
    )
    assert keys.equal(before), (
        "the keys themselves were changed: the next step would begin with gaps; work on a copy"
    )
    lost = got == 99
    assert got[~lost].equal(keys[~lost]), "a place that is not blank must stay as it is"
    share = float(lost.double().mean())
    assert abs(share - 0.3) < 0.06, f"p = 0.3: {share:.2f} of 1200 places are blank"
    rows = lost.double().mean(1)
    assert ((rows > 0) & (rows < 1)).any(), (
        "whole keys are lost together: draw for every place on its own"
    )
    assert not function(keys, 99, 0.3, draw).equal(got), (
        "expected other gaps at the next call: use the generator"
    )
    assert function(keys, 99, 0.0, draw).equal(keys), "with p = 0 nothing is lost"
    print("ok")


def check_grade(function: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> None:
    """`function(said, true)`, poems × words: 0 all words right, 1 at least 3/4, 2 at least 1/4, 3
    fewer."""
    draw = runtime.generator(seed, "check", "grade")
    true = torch.randint(9, (13, 12), generator=draw)
    hits = torch.arange(13)
    order = torch.rand(13, 12, generator=draw).argsort(1).argsort(1)
    wrong = order >= hits[:, None]
    said = torch.where(wrong, (true + 1) % 9, true)
    got = function(said, true)
    assert isinstance(got, Tensor), f"expected a tensor of 13 grades, got {type(got).__name__}"
    assert got.shape == (13,), f"expected one grade a poem, 13 in all, got shape {tuple(got.shape)}"
    for right, grade in zip(hits.tolist(), got.tolist(), strict=True):
        wanted = 3 - (right >= 3) - (right >= 9) - (right == 12)
        assert grade == wanted, f"{right} of 12 words right: expected grade {wanted}, got {grade}"
    print("ok")


def _errors(
    limit: float,
    known: Tensor,
    unknown: Tensor,
) -> float:
    return float((known < limit).double().mean() + (unknown >= limit).double().mean())


def check_threshold(function: Callable[[Tensor, Tensor], float], seed: int = 0) -> None:
    """`function(known, unknown)`: the confidence below which to say "I do not know", both sides
    counted alike."""
    draw = runtime.generator(seed, "check", "threshold")
    known = -0.9 * torch.rand(40, 2, generator=draw, dtype=torch.float64).prod(1)
    unknown = -0.1 - torch.rand(160, generator=draw, dtype=torch.float64)
    limit = _number(function(known, unknown))
    limits = [*known.tolist(), *unknown.tolist(), 1.0]
    least = min(_errors(x, known, unknown) for x in limits)
    got = _errors(limit, known, unknown)
    refused = float((known < limit).double().mean())
    answered = float((unknown >= limit).double().mean())
    assert got <= least + 1e-9, (
        f"at {limit:.3f} you refuse {refused:.2f} of the known and answer {answered:.2f} of "
        f"the unknown, {got:.3f} together; {least:.3f} can be had. Count shares and not "
        "answers: there are more unknown keys"
    )
    print("ok")


def check_chain(
    function: Callable[[Tensor, int, torch.Generator], Sequence[int]], seed: int = 0
) -> None:
    """`function(bodies, length, generator)`: a poem of `length` words, every step as some poem took
    it, as often."""
    draw = runtime.generator(seed, "check", "chain")
    bodies = torch.randint(5, (40, 6), generator=draw)
    often = torch.rand(40, 3, generator=draw) < 0.8
    # Even and odd places share no word, so half of all pairs never occur.
    bodies[:, 1::2] = torch.where(often, 5, bodies[:, 1::2] + 5)
    pairs: set[tuple[int, int]] = set()
    for poem in bodies.tolist():
        pairs.update(zip(poem, poem[1:], strict=False))
    seen: list[tuple[int, ...]] = []
    for _ in range(300):
        said = function(bodies, 6, draw)
        assert said is not None, "the function returned nothing: does it end in `return`?"
        words = tuple(int(word) for word in said)
        assert len(words) == 6, f"expected 6 words, got {len(words)}"
        assert words[0] in bodies[:, 0].tolist(), f"no poem begins with word {words[0]}"
        for pair in zip(words, words[1:], strict=False):
            assert pair in pairs, f"word {pair[1]} never follows word {pair[0]} in these poems"
        seen.append(words)
    assert len(set(seen)) > 100, (
        "expected another poem at every call: draw every step from the generator"
    )
    share = float((torch.tensor(seen)[:, 1::2] == 5).double().mean())
    assert share > 0.65, (
        f"word 5 comes next in over 80 of 100 places of the poems, in {100 * share:.0f} of yours: "
        "what follows often must be drawn often"
    )
    print("ok")
