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
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.runtime import generator


def check_size(size: Callable[[int, int, int, int, int], int]) -> None:
    """Exercise 1: `size(V, A, T, S, H)` counts the numbers of a static network: V words, A authors,
    T title words a poem, S words a poem, H hidden units."""
    for V, A, T, S, H in ((64, 16, 2, 8, 20), (5, 1, 0, 3, 2), (128, 16, 3, 16, 7)):
        got = size(V, A, T, S, H)
        inputs = A + T * V + S
        assert got is not None, "size returned nothing: does it end in `return`?"
        hints = {
            H * inputs + V * H: "b and c are missing, one number a unit and one a word",
            H * (A + V + S + 1 + V) + V: "every place in the title has its own V inputs",
            H * (inputs + 1 + V): "c is missing, one number a word",
        }
        wanted = stock.size(StaticNetwork(V, A, T, S, H))
        assert got == wanted or got not in hints, hints.get(got, "")
        assert got == wanted, (
            f"V={V}, A={A}, T={T}, S={S}, H={H}: expected {wanted:,} numbers, got {got:,}"
        )
    print("ok")


def check_uniform(uniform: Callable[[int], Tensor]) -> None:
    """Exercise 2: `uniform(n)` is causal attention without a preference: token i looks at tokens 0
    … i alike."""
    for n in (1, 2, 5):
        P = uniform(n)
        shape = tuple(P.shape) if isinstance(P, Tensor) else P
        assert isinstance(P, Tensor) and shape == (n, n), (
            f"expected a matrix of shape {(n, n)}, got {shape!r}"
        )
        wanted = torch.zeros(n, n)
        for i in range(n):
            wanted[i, : i + 1] = 1 / (i + 1)
        assert n == 1 or not torch.allclose(P.float(), torch.full((n, n), 1 / n)), (
            "a token looks at words to come"
        )
        assert n == 1 or not torch.allclose(P.float(), wanted.T), (
            "transposed: row i belongs to the token that looks"
        )
        assert torch.allclose(P.float().sum(1), torch.ones(n)), (
            f"n={n}: rows must sum to 1, got {P.sum(1).tolist()}"
        )
        assert torch.allclose(P.float(), wanted), (
            f"n={n}: expected {wanted.tolist()}, got {P.tolist()}"
        )
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
    draw = generator(seed, "information")
    half = torch.eye(2, dtype=torch.float64) / 2
    first = information(half)
    assert first is not None, "information returned nothing: does it end in `return`?"
    assert not math.isnan(float(first)), (
        "0 · log 0 counts as 0: leave the empty cells of the table out"
    )
    assert abs(float(first) - math.log(2)) > 1e-6, (
        "these are nats: take the logarithm to the base 2"
    )
    independent = torch.full((2, 3), 1 / 6, dtype=torch.float64)
    drawn = torch.rand(4, 3, generator=draw, dtype=torch.float64)
    for joint in (half, independent, drawn):
        joint = joint / joint.sum()
        got = float(information(joint))
        wanted = _bits(joint)
        assert abs(got - wanted) < 1e-6, (
            f"expected {wanted:.4f} bits, got {got:.4f}, for {joint.tolist()}"
        )
    for _ in range(200):
        joint = torch.rand(3, 6, generator=draw, dtype=torch.float64)
        joint = joint / joint.sum()
        read_out = torch.randint(4, (6,), generator=draw)
        answers = torch.eye(4, dtype=torch.float64)[read_out]
        assert information(joint @ answers) <= information(joint) + 1e-9, (
            "an answer knows more than the weights"
        )
    print("ok: in 200 of 200 cases the answers know no more than the weights")


def check_places(
    places: Callable[[corpus.Poems], tuple[Tensor, Tensor, Tensor, Tensor]], seed: int = 0
) -> None:
    """Exercise 4: `places(poems)` gives W, b, O, c of a static network that recites, with one unit
    a word of a poem."""
    poems = corpus.synthetic(24, 4, 32, seed=seed)
    units = poems.bodies.numel()
    net = StaticNetwork(32, poems.authors, poems.keys.shape[1] - 1, 4, units)
    made = places(poems)
    assert isinstance(made, tuple) and len(made) == 4, "expected the four tensors W, b, O, c"
    for name, own, new in zip("WbOc", (net.W, net.b, net.O, net.c), made, strict=True):
        assert new.shape == own.shape, (
            f"{name}: expected shape {tuple(own.shape)}, got {tuple(new.shape)}"
        )
        own.data.copy_(new)
    right = evaluation.read(net, poems).right
    assert right.all(), (
        f"{int(right.sum())} of {units} words come right; a unit should be near 1 only where all of"
        " author, title words and place fit: is the threshold between all and all but one?"
    )
    found = measure.cut(net, poems, limit=units)
    assert found["harmed"] <= 1 / len(poems) + 1e-6, (
        "silencing a unit should harm one poem, its own, and no other"
    )
    print(f"ok: {len(poems)} poems, {units} units, and every word has a place of its own")
