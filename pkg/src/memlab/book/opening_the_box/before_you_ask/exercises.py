"""Checks for chapter 7, is it there before you ask? Every check draws its own examples from a
seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memlab import runtime
from memlab.book.checks import NOTHING, close, expect, form, number, on_copies, tensor
from memlab.book.opening_the_box.before_you_ask import instruments


def _tensor(got: object, shape: tuple[int, ...]) -> Tensor:
    expect(got is not None, NOTHING)
    return tensor(
        got,
        shape,
        f"expected the shape {shape}, got {form(got)}",
        no_tensor=f"expected a tensor of shape {shape}, got {type(got).__name__}",
    )


def check_tries(function: Callable[[float, float], float], seed: int = 0) -> None:
    """`function(p_z, p)`: the smallest whole n with 1 − (1 − p_z)^n ≥ p; infinity for p_z = 0."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "tries")
    drawn = torch.rand(20, 2, generator=draw).mul(0.9).add(0.01)
    for p_z, p in [(0.25, 0.5), (0.5, 0.5), (1.0, 0.9), *drawn.tolist()]:
        wanted = 1
        while 1 - (1 - p_z) ** wanted < p:
            wanted += 1
        got = number(function(p_z, p))
        case = f"p_z={p_z:.3f}, p={p:.3f}"
        expect(got != wanted - 1 or got >= 1, f"{case}: no poem comes in 0 tries")
        expect(got % 1 == 0, f"{case}: expected a whole number, rounded up, got {got:.3f}")
        expect(got == wanted, f"{case}: expected {wanted} tries, got {got:g}")
    expect(
        number(function(0.0, 0.5)) == math.inf,
        "p_z = 0: such a poem never comes; expected math.inf",
    )
    print("ok")


def check_sampler(function: Callable[[Tensor, float, int], Tensor], seed: int = 0) -> None:
    """`function(z, τ, k)`, logits of words × vocabulary: the probabilities with which a sampler
    draws each word."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "sampler")
    z = torch.randn(5, 12, generator=draw, dtype=torch.float64) * 2
    for heat, k in ((1.0, 12), (0.5, 12), (1.0, 3), (2.0, 3), (1.0, 1)):
        wanted = instruments.sampler(z, heat, k).exp()
        where = f"τ={heat}, k={k}"
        got = _tensor(function(z, heat, k), (5, 12))
        expect(close(got.sum(-1), 1.0), f"{where}: the probabilities of a word do not add up to 1")
        left = (got > 0).sum(-1)
        expect(
            (left == k).all(),
            f"{where}: expected {k} words that can be drawn, got {left.tolist()}",
        )
        wrong_way = (z * heat).masked_fill(wanted == 0, -math.inf).softmax(-1)
        expect(
            heat == 1 or not close(got, wrong_way),
            f"{where}: divide the logits by τ, do not multiply",
        )
        expect(close(got, wanted), f"{where}: off by up to {(got - wanted).abs().max():.3f}")
    print("ok")


def check_patchwork(function: Callable[[Tensor, torch.Generator], Tensor], seed: int = 0) -> None:
    """`function(bodies, generator)`: every place keeps its words, and no two words of a text stay
    together."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "patchwork")
    # all words differ: word // 6 is the poem it comes from
    bodies = torch.arange(30 * 6).reshape(30, 6)
    got = _tensor(function(bodies, draw), (30, 6))
    for place in range(6):
        expect(
            sorted(got[:, place].tolist()) == bodies[:, place].tolist(),
            f"place {place}: expected the words that stood there, each once",
        )
    sources = got // 6
    together = (sources[:, :, None] == sources[:, None]).float().mean()
    expect(together < 0.9, "whole texts have moved: every place needs a permutation of its own")
    stayed = (sources == torch.arange(30)[:, None]).float().mean()
    expect(stayed < 0.2, f"{stayed:.0%} of the words are still in their own poem")
    again = _tensor(function(bodies, draw), (30, 6))
    expect(
        not torch.equal(again, got),
        "expected another patchwork at every call: draw it from the generator",
    )
    print("ok")


def check_ridge(function: Callable[[Tensor, Tensor, float], Tensor], seed: int = 0) -> None:
    """`function(X, y, λ)`: the w that minimises |y − X w|² + λ |w|², examples × features, more
    features or fewer."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "ridge")
    for rows, columns in ((30, 4), (6, 40)):
        X = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
        y = torch.randn(rows, generator=draw, dtype=torch.float64)
        for penalty in (0.1, 10.0):
            got = _tensor(function(X, y, penalty), (columns,))
            slope = X.T @ (X @ got - y) + penalty * got
            plain = X.T @ (X @ got - y)
            # Single precision leaves a gradient of about 1e-5.
            expect(
                plain.abs().max() > 1e-4,
                f"{rows} × {columns}: this is least squares without the penalty",
            )
            expect(
                slope.abs().max() < 1e-4,
                f"{rows} × {columns}, λ={penalty}: not at the minimum; the gradient "
                f"Xᵀ(Xw − y) + λw is up to {slope.abs().max():.3g}",
            )
    print("ok")


def check_chi_square(function: Callable[[Tensor, Tensor], Any], seed: int = 0) -> None:
    """`function(counts, p)`: Σ (O − E)² / E, with E the counts that p leads one to expect."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "chi square")
    p = torch.rand(6, generator=draw, dtype=torch.float64) + 0.2
    p = p / p.sum()
    counts = torch.multinomial(p, 300, replacement=True, generator=draw).bincount(minlength=6)
    expected = [300 * x for x in p.tolist()]
    wanted = sum((o - e) ** 2 / e for o, e in zip(counts.tolist(), expected, strict=True))
    got = number(function(counts, p))
    shares = sum((o / 300 - x) ** 2 / x for o, x in zip(counts.tolist(), p.tolist(), strict=True))
    expect(
        not close(got, shares),
        "these are shares; χ² compares counts, so that more draws weigh more",
    )
    by_seen = sum((o - e) ** 2 / o for o, e in zip(counts.tolist(), expected, strict=True))
    expect(not close(got, by_seen), "divide by what was expected, not by what was seen")
    expect(close(got, wanted), f"expected {wanted:.4f}, got {got:.4f}")
    exact = number(function(torch.tensor([10, 30, 60]), torch.tensor([0.1, 0.3, 0.6])))
    expect(abs(exact) < 1e-4, f"counts just as expected: χ² is 0, got {exact:.4f}")
    print("ok")
