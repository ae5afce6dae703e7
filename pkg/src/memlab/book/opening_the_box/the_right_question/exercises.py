"""Checks for chapter 8, what is the right question? Every check draws its own examples from a
seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memlab import runtime
from memlab.book.checks import NOTHING, close, expect, form, number, numbers, on_copies, tensor


def check_ceiling(function: Callable[[Tensor], float], seed: int = 0) -> None:
    """`function(questions)`, rows of ids: the largest share of different poems that one answer a
    question can get."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "ceiling")
    questions = torch.randint(6, (40, 2), generator=draw)
    got = number(function(questions))
    rows = questions.tolist()
    wanted = len(set(map(tuple, rows))) / 40
    alone = sum(rows.count(row) == 1 for row in rows) / 40
    expect(
        not close(got, alone) or alone == wanted,
        "these are the questions that belong to one poem; of those that share a question one can"
        " still be right",
    )
    expect(
        close(got, wanted),
        f"40 questions of 2 words out of 6: expected {wanted:.4f}, got {got:.4f}",
    )
    all_the_same = torch.zeros(8, 3, dtype=torch.long)
    expect(
        close(number(function(all_the_same)), 1 / 8),
        "8 poems with the same question: one of them can be right",
    )
    print("ok")


def check_dropout(
    function: Callable[[Tensor, int, float, torch.Generator], Tensor], seed: int = 0
) -> None:
    """`function(keys, blank, p, generator)`: the keys, each place blank with probability p, others
    at every call."""
    draw = runtime.generator(seed, "check", "dropout")
    keys = torch.randint(50, (400, 3), generator=draw)
    handed = keys.clone()
    got = _keys(function(handed, 99, 0.3, draw))
    expect(
        handed.equal(keys),
        "the keys themselves were changed: the next step would begin with gaps; work on a copy",
    )
    function = on_copies(function)
    lost = got == 99
    expect(got[~lost].equal(keys[~lost].double()), "a place that is not blank must stay as it is")
    share = float(lost.double().mean())
    expect(abs(share - 0.3) < 0.06, f"p = 0.3: {share:.2f} of 1200 places are blank")
    rows = lost.double().mean(1)
    expect(
        ((rows > 0) & (rows < 1)).any(),
        "whole keys are lost together: draw for every place on its own",
    )
    again = _keys(function(keys, 99, 0.3, draw))
    expect(not again.equal(got), "expected other gaps at the next call: use the generator")
    whole = _keys(function(keys, 99, 0.0, draw))
    expect(whole.equal(keys.double()), "with p = 0 nothing is lost")
    print("ok")


def _keys(got: object) -> Tensor:
    expect(got is not None, NOTHING)
    return tensor(got, (400, 3), f"expected a tensor of shape {(400, 3)}")


def check_grade(function: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> None:
    """`function(said, true)`, poems × words: 0 all words right, 1 at least 3/4, 2 at least 1/4, 3
    fewer."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "grade")
    true = torch.randint(9, (13, 12), generator=draw)
    hits = torch.arange(13)
    order = torch.rand(13, 12, generator=draw).argsort(1).argsort(1)
    wrong = order >= hits[:, None]
    said = torch.where(wrong, (true + 1) % 9, true)
    made = function(said, true)
    got = tensor(
        made,
        (13,),
        f"expected one grade a poem, 13 in all, got shape {form(made)}",
        no_tensor=f"expected a tensor of 13 grades, got {type(made).__name__}",
    )
    for right, grade in zip(hits.tolist(), got.tolist(), strict=True):
        wanted = 3 - (right >= 3) - (right >= 9) - (right == 12)
        expect(
            grade == wanted, f"{right} of 12 words right: expected grade {wanted}, got {grade:g}"
        )
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
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "threshold")
    known = -0.9 * torch.rand(40, 2, generator=draw, dtype=torch.float64).prod(1)
    unknown = -0.1 - torch.rand(160, generator=draw, dtype=torch.float64)
    limit = number(function(known, unknown))
    limits = [*known.tolist(), *unknown.tolist(), 1.0]
    least = min(_errors(x, known, unknown) for x in limits)
    # A limit that is one of the scores may have been rounded past it, to single precision.
    got = min(_errors(limit + step, known, unknown) for step in (-1e-6, 0.0, 1e-6))
    refused = float((known < limit).double().mean())
    answered = float((unknown >= limit).double().mean())
    expect(
        got <= least + 1e-9,
        f"at {limit:.3f} you refuse {refused:.2f} of the known and answer {answered:.2f} of "
        f"the unknown, {got:.3f} together; {least:.3f} can be had. Count shares and not "
        "answers: there are more unknown keys",
    )
    print("ok")


def check_chain(
    function: Callable[[Tensor, int, torch.Generator], Sequence[int]], seed: int = 0
) -> None:
    """`function(bodies, length, generator)`: a poem of `length` words, every step as some poem took
    it, as often."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "chain")
    bodies = torch.randint(5, (40, 6), generator=draw)
    often = torch.rand(40, 3, generator=draw) < 0.8
    # Even and odd places share no word, so half of all pairs never occur.
    bodies[:, 1::2] = torch.where(often, 5, bodies[:, 1::2] + 5)
    pairs: set[tuple[int, int]] = set()
    for poem in bodies.tolist():
        pairs.update(zip(poem, poem[1:], strict=False))
    seen: list[tuple[float, ...]] = []
    for _ in range(300):
        said = function(bodies, 6, draw)
        expect(said is not None, NOTHING)
        words = tuple(numbers(said, f"expected 6 words, got {said!r:.80}"))
        expect(len(words) == 6, f"expected 6 words, got {len(words)}")
        expect(words[0] in bodies[:, 0].tolist(), f"no poem begins with word {words[0]}")
        for a, b in zip(words, words[1:], strict=False):
            expect((a, b) in pairs, f"word {b} never follows word {a} in these poems")
        seen.append(words)
    expect(
        len(set(seen)) > 100,
        "expected another poem at every call: draw every step from the generator",
    )
    share = float((torch.tensor(seen)[:, 1::2] == 5).double().mean())
    expect(
        share > 0.65,
        f"word 5 comes next in over 80 of 100 places of the poems, in {100 * share:.0f} of yours: "
        "what follows often must be drawn often",
    )
    print("ok")
