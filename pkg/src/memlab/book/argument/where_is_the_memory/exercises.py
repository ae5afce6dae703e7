"""Checks for chapter 4, are the dynamic weights the memory? Each takes the function that the reader
wrote."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from memlab import evaluation
from memlab.book.argument.where_is_the_memory import measure
from memlab.book.argument.where_is_the_memory.static_network import StaticNetwork
from memlab.book.checks import close, expect, form, number, on_copies, several, tensor
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.runtime import generator


def check_size(size: Callable[[int, int, int, int, int], int]) -> None:
    """Exercise 1: `size(V, A, T, S, H)` counts the numbers of a static network: V words, A authors,
    T title words a poem, S words a poem, H hidden units."""
    size = on_copies(size)
    for V, A, T, S, H in ((64, 16, 2, 8, 20), (5, 1, 0, 3, 2), (128, 16, 3, 16, 7)):
        got = number(size(V, A, T, S, H), nothing="size returned nothing: does it end in `return`?")
        inputs = A + T * V + S
        hints: dict[int | float, str] = {
            H * inputs + V * H: "b and c are missing, one number a unit and one a word",
            H * (A + V + S + 1 + V) + V: "every place in the title has its own V inputs",
            H * (inputs + 1 + V): "c is missing, one number a word",
        }
        wanted = stock.size(StaticNetwork(V, A, T, S, H))
        expect(got == wanted or got not in hints, hints.get(got, ""))
        expect(
            got == wanted,
            f"V={V}, A={A}, T={T}, S={S}, H={H}: expected {wanted:,} numbers, got {got:,}",
        )
    print("ok")


def check_uniform(uniform: Callable[[int], Tensor]) -> None:
    """Exercise 2: `uniform(n)` is causal attention without a preference: token i looks at tokens 0
    … i alike."""
    uniform = on_copies(uniform)
    for n in (1, 2, 5):
        made = uniform(n)
        P = tensor(made, (n, n), f"expected a matrix of shape {(n, n)}, got {form(made)}")
        wanted = torch.zeros(n, n)
        for i in range(n):
            wanted[i, : i + 1] = 1 / (i + 1)
        alike = torch.full((n, n), 1 / n)
        expect(n == 1 or not close(P, alike), "a token looks at words to come")
        expect(
            n == 1 or not close(P, wanted.T), "transposed: row i belongs to the token that looks"
        )
        sums = P.sum(1)
        expect(close(sums, 1.0), f"n={n}: rows must sum to 1, got {sums.tolist()}")
        expect(close(P, wanted), f"n={n}: expected {wanted.tolist()}, got {P.tolist()}")
    print("ok")


def _bits(joint: Tensor) -> float:
    """Mutual information, entry by entry."""
    rows = joint.sum(1)
    columns = joint.sum(0)
    bits = 0.0
    for i, row in enumerate(joint):
        for j, cell in enumerate(row):
            p = float(cell)
            if p > 0:
                bits += p * math.log2(p / float(rows[i] * columns[j]))
    return bits


def check_information(information: Callable[[Tensor], float], seed: int = 0) -> None:
    """Exercise 3: `information(joint)` is the mutual information in bits of a table of
    probabilities p(d, θ); then the data-processing inequality is tried on 200 random read-outs of
    θ."""
    information = on_copies(information)
    draw = generator(seed, "information")
    half = torch.eye(2, dtype=torch.float64) / 2
    first = number(
        information(half),
        nothing="information returned nothing: does it end in `return`?",
        nan="0 · log 0 counts as 0: leave the empty cells of the table out",
    )
    expect(not close(first, math.log(2)), "these are nats: take the logarithm to the base 2")
    independent = torch.full((2, 3), 1 / 6, dtype=torch.float64)
    drawn = torch.rand(4, 3, generator=draw, dtype=torch.float64)
    for joint in (half, independent, drawn):
        joint = joint / joint.sum()
        got = number(information(joint))
        wanted = _bits(joint)
        expect(
            close(got, wanted), f"expected {wanted:.4f} bits, got {got:.4f}, for {joint.tolist()}"
        )
    for _ in range(200):
        joint = torch.rand(3, 6, generator=draw, dtype=torch.float64)
        joint = joint / joint.sum()
        read_out = torch.randint(4, (6,), generator=draw)
        answers = torch.eye(4, dtype=torch.float64)[read_out]
        known = number(information(joint))
        expect(
            number(information(joint @ answers)) <= known + 1e-6,
            "an answer knows more than the weights",
        )
    print("ok: in 200 of 200 cases the answers know no more than the weights")


def check_places(
    places: Callable[[corpus.Poems], tuple[Tensor, Tensor, Tensor, Tensor]], seed: int = 0
) -> None:
    """Exercise 4: `places(poems)` gives W, b, O, c of a static network that recites, with one unit
    a word of a poem."""
    places = on_copies(places)
    poems = corpus.synthetic(24, 4, 32, seed=seed)
    units = poems.bodies.numel()
    net = StaticNetwork(32, poems.authors, poems.keys.shape[1] - 1, 4, units)
    made = several(places(poems), 4, "expected the four tensors W, b, O, c")
    for name, own, new in zip("WbOc", (net.W, net.b, net.O, net.c), made, strict=True):
        shape = tuple(own.shape)
        own.data.copy_(tensor(new, shape, f"{name}: expected shape {shape}, got {form(new)}"))
    right = evaluation.read(net, poems).right
    expect(
        right.all(),
        f"{int(right.sum())} of {units} words come right; a unit should be near 1 only where all of"
        " author, title words and place fit: is the threshold between all and all but one?",
    )
    found = measure.cut(net, poems, limit=units)
    expect(
        found["harmed"] <= 1 / len(poems) + 1e-6,
        "silencing a unit should harm one poem, its own, and no other",
    )
    print(f"ok: {len(poems)} poems, {units} units, and every word has a place of its own")
