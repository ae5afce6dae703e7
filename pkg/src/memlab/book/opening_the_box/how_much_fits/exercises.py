"""Checks for chapter 6, how much fits? Every check draws its own examples and compares with
counting by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from memlab import runtime
from memlab.book.checks import close, expect, number, on_copies, sequence, several, tensor
from memlab.models import stock


def check_enumerated(
    function: Callable[[Callable[[tuple[int, ...]], float], tuple[int, ...], int], float],
    seed: int = 0,
) -> None:
    """`function(p, poem, V)`: bits spared for `poem` by a model p of whole poems, by looking at all
    V^S of them."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "enumerated")
    for vocabulary, words in ((2, 3), (3, 2), (4, 1)):
        odds = torch.rand(vocabulary**words, generator=draw, dtype=torch.float64) + 0.1
        everything = list(product(range(vocabulary), repeat=words))
        chances = (odds / odds.sum()).tolist()
        p = dict(zip(everything, chances, strict=True))
        poem = everything[int(torch.randint(len(everything), (), generator=draw))]
        got = number(function(p.__getitem__, poem, vocabulary))
        wanted = math.log2(len(everything)) + math.log2(p[poem])
        expect(
            not close(got, -wanted) or close(wanted, -wanted),
            "the sign is wrong: a likely poem spares bits",
        )
        nats = math.log(len(everything)) + math.log(p[poem])
        expect(
            not close(got, nats) or close(wanted, nats),
            "these are nats: take logarithms to the base 2",
        )
        expect(
            close(got, wanted),
            f"V={vocabulary}, S={words}: expected {wanted:.4f} bits, got {got:.4f}",
        )
    print("ok")


def check_weights(function: Callable[[int, int, int], int]) -> None:
    """`function(V, d, L)`: weights of a Llama of width d and L blocks over V tokens, embedding
    tied, SwiGLU 8d/3."""
    function = on_copies(function)
    for tokens, dim, layers in ((144, 8, 1), (144, 12, 2), (40, 4, 3), (48, 16, 1)):
        box = stock.build("llama", tokens, 8, dim=dim, layers=layers, heads=1)
        wanted = stock.size(box)
        got = number(function(tokens, dim, layers))
        hint = ""
        if got == wanted + tokens * dim:
            hint = "; the output uses the embedding again, count it once"
        elif abs(got - wanted) <= (2 * layers + 1) * dim:
            hint = (
                "; two norms a block and one at the end hold a number for each of the d components"
            )
        expect(
            got == wanted, f"V={tokens}, d={dim}, L={layers}: expected {wanted}, got {got}{hint}"
        )
    print("ok")


def check_forecast(function: Callable[[Tensor], Tensor], seed: int = 0) -> None:
    """`function(a)`, a[s] the share of words right at place s: shares of poems with the first 1, 2,
    … S words right."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "forecast")
    a = 0.3 + 0.7 * torch.rand(6, generator=draw, dtype=torch.float64)
    got = tensor(function(a), a.shape, "expected a tensor with one share for each place")
    expect(
        not close(got, a.mean() ** torch.arange(1, 7)), "places differ: multiply a[0] · a[1] · …"
    )
    wanted = [math.prod(a[: k + 1].tolist()) for k in range(6)]
    expect(
        close(got, torch.tensor(wanted, dtype=torch.float64)),
        f"expected {[round(x, 3) for x in wanted]}, got {[round(float(x), 3) for x in got]}",
    )
    print("ok")


def check_fair(
    function: Callable[[Sequence[int], int, int], Sequence[tuple[int, int, int]]],
) -> None:
    """`function(lengths, words, steps)`: (poems, batch, steps) a length, with words, epochs and
    steps all held."""
    function = on_copies(function)
    for lengths, words, steps in (((4, 16, 64), 256, 200), ((2, 3, 6), 12, 50)):
        made = function(lengths, words, steps)
        plan = sequence(made, f"expected {len(lengths)} settings, got {type(made).__name__}")
        expect(len(plan) == len(lengths), f"expected {len(lengths)} settings, got {len(plan)}")
        epochs = []
        for setting, length in zip(plan, lengths, strict=True):
            three = several(setting, 3, f"expected (poems, batch, steps), got {setting!r}")
            poems, batch, did = (number(one) for one in three)
            expect(
                poems * length == words, f"{poems} poems of {length} words are not {words} words"
            )
            expect(did == steps, f"expected {steps} steps at every length, got {did}")
            expect(0 < batch <= poems, f"expected a batch of 1 to {poems} poems, got {batch}")
            epochs.append(did * batch / poems)
        expect(
            max(epochs) - min(epochs) < 1e-9,
            f"a poem is met {', '.join(f'{e:g}' for e in epochs)} times",
        )
    print("ok")
