"""Checks for chapter 1, is there a poem in the box? Every check draws its own examples from a
seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memlab import evaluation, runtime
from memlab.book.checks import close, expect, number, numbers, on_copies, sequence
from memlab.corpora import poems as corpus


def _expect_close(
    got: object,
    wanted: float,
    where: str,
) -> None:
    value = number(got)
    expect(close(value, wanted), f"{where}: expected {wanted:.4f}, got {value:.4f}")


def check_memory_ability(function: Callable[[Tensor, Tensor], float], seed: int = 0) -> None:
    """`function(predicted, true)`, two tensors poems × words of ids: the share of poems that are
    right throughout."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "memory ability")
    true = torch.randint(9, (40, 3), generator=draw)
    right = torch.rand(true.shape, generator=draw) < 0.8
    predicted = torch.where(right, true, (true + 1) % 9)
    poems = zip(predicted.tolist(), true.tolist(), strict=True)
    wanted = sum(answer == poem for answer, poem in poems) / len(true)
    got = number(function(predicted, true))
    words = float((predicted == true).double().mean())
    expect(
        not close(got, words),
        "this is the share of right words; a poem counts only if all its words do",
    )
    _expect_close(got, wanted, "40 poems of 3 words")
    _expect_close(function(true, true), 1.0, "all poems right")
    print("ok")


def check_stored_bits(function: Callable[[Tensor, int], float], seed: int = 0) -> None:
    """`function(p, V)`, with the probabilities p (poems × words) of the true words: N · S · log2(V)
    + Σ log2(p)."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "bits")
    p = 0.05 + 0.9 * torch.rand(5, 4, generator=draw, dtype=torch.float64)
    words = p.flatten().tolist()
    wanted = sum(math.log2(8) + math.log2(x) for x in words)
    nats = sum(math.log(8) + math.log(x) for x in words)
    got = number(function(p, 8))
    expect(
        not close(got, nats), "these are nats: divide by ln 2, or take the logarithm to the base 2"
    )
    _expect_close(got, wanted, "5 poems of 4 words out of 8")
    certain = torch.ones(5, 4, dtype=torch.float64)
    _expect_close(function(certain / 8, 8), 0.0, "a box that knows nothing")
    _expect_close(function(certain, 8), 60.0, "a box that knows everything")
    print("ok")


def check_swap(function: Callable[[int, torch.Generator], Tensor], seed: int = 0) -> None:
    """`function(n, generator)`: a permutation of 0 … n−1 that leaves nothing in its place, another
    one at each call."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "swap")
    seen = set()
    for n in (2, 3, 5, 40) * 10:
        made = function(n, draw)
        order = numbers(made, f"expected a tensor of {n} numbers, got {type(made).__name__}")
        expect(sorted(order) == list(range(n)), f"n={n}: expected every poem once, got {order}")
        for poem, title in enumerate(order):
            expect(poem != title, f"n={n}: poem {poem} still has its own title")
        seen.add(tuple(order))
    expect(len(seen) > 10, "expected another permutation at every call: draw it from the generator")
    print("ok")


def check_auc(function: Callable[[Tensor, Tensor], float], seed: int = 0) -> None:
    """`function(positive, negative)`: how often a positive beats a negative; a tie is half a
    win."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "auc")
    high = torch.randint(3, 9, (7,), generator=draw).double()
    low = torch.randint(0, 6, (5,), generator=draw).double()
    pairs = [(a, b) for a in high.tolist() for b in low.tolist()]
    ties = sum(a == b for a, b in pairs)
    wanted = (sum(a > b for a, b in pairs) + 0.5 * ties) / len(pairs)
    without_ties = wanted - 0.5 * ties / len(pairs)
    got = number(function(high, low))
    upside_down = wanted != 0.5 and close(got, 1 - wanted)
    expect(not upside_down, "upside down: a positive should score higher")
    losses = ties > 0 and close(got, without_ties)
    expect(not losses, f"{ties} ties count as losses; they are half a win")
    _expect_close(got, wanted, "7 positives, 5 negatives")
    _expect_close(function(high, high), 0.5, "the same scores on both sides")
    print("ok")


def check_parrot(answerer: Callable[[Sequence[str]], list[str]], seed: int = 0) -> None:
    """`answerer(questions)` recites 64 refrains of 16 words that nobody has ever written before."""
    answerer = on_copies(answerer)
    unheard = corpus.synthetic(64, seed=runtime.derive_seed(seed, "parrot"))
    songs = corpus.refrains(unheard)
    poems = [songs.poem(i, per_line=0) for i in range(len(songs))]
    made = answerer([poem.cue for poem in poems])
    answers = sequence(made, f"expected a list of answers, got {type(made).__name__}")
    expect(len(answers) == 64, f"expected 64 answers, got {len(answers)}")
    others = [type(answer).__name__ for answer in answers if not isinstance(answer, str)]
    expect(not others, f"expected texts as answers, got {' and '.join(sorted(set(others)))}")
    share = evaluation.memory_ability(answers, [poem.text for poem in poems])
    first = poems[0]
    expect(
        share == 1,
        f"memory ability {share:.2f}; asked for {first.cue!r}, expected {first.text!r}, got"
        f" {answers[0]!r}",
    )
    print("ok: memory ability 1.00, of songs that did not exist until you were asked")
