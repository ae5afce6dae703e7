"""Checks of chapter 9's exercises: each draws its own examples and compares with another way to the
same number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from memlab import runtime
from memlab.book.checks import close, expect, form, number, on_copies, several, tensor
from memlab.corpora import patterns
from memlab.memories import Hopfield, Recursive, laws


def check_forget(
    function: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], seed: int = 0
) -> None:
    """`function(M, P, w, z)`: memory and C⁻¹ after the row w with the value z was forgotten."""
    function = on_copies(function)
    addresses = patterns.rows(9, 12, seed, "check")
    values = patterns.rows(9, 5, seed, "values")
    memory = Recursive(0.1)
    before = memory.write(memory.empty(12, 5), addresses, values)
    got = function(before.memory, before.inverse, addresses[0], values[0])
    new = several(got, 2, "expected two results: the new M and the new P")
    left = memory.write(memory.empty(12, 5), addresses[1:], values[1:])
    twice = memory.write(before, addresses[:1], values[:1])
    M = tensor(new[0], (12, 5), "expected M with the shape it had")
    P = tensor(new[1], (12, 12), f"expected P with the shape it had, (12, 12), got {form(new[1])}")
    expect(not close(P, twice.inverse), "this writes the row once more: forgetting has α = −1")
    expect(close(P, left.inverse), "P is not (C − wᵀw)⁻¹: look at the denominator 1 − w P wᵀ")
    expect(
        close(M, left.memory),
        "P is right and M is not: the correction is gain times (z − w M), with the minus of α",
    )
    print("ok")


def check_load(function: Callable[[float, float], float], seed: int = 0) -> None:
    """`function(t, c)`: the largest load at which cues of cosine c are read with an error of at
    most t, no ridge."""
    function = on_copies(function)
    draw = runtime.generator(seed, "check", "load")
    drawn = 0.9 + 0.09 * torch.rand(3, generator=draw)
    for c in (0.9, 0.95, 0.99, *drawn.tolist()):
        for t in (0.2, 0.5):
            got = number(function(t, c))
            expect(0 < got < 1, f"t={t}, c={c:.2f}: expected a load between 0 and 1, got {got}")
            short = t**2 / (t**2 + 1 - c**2)
            wrong = laws.read_error(float(got), c, 1e-9)
            hint = "; the read of c v is already short by (1 − c)" if close(got, short) else ""
            expect(
                abs(wrong - t) < 1e-3,
                f"t={t}, c={c:.2f}: at load {got:.3f} the error is {wrong:.3f}{hint}",
            )
    expect(
        number(function(0.05, 0.9)) == 0,
        "t=0.05, c=0.9: (1 − c) alone is too much, so no load will do: expected 0",
    )
    print("ok")


def check_window(function: Callable[[float, int, float], tuple[float, float]]) -> None:
    """`function(α, S, tolerance)`: smallest and largest singular value of which at most `tolerance`
    is missing."""
    function = on_copies(function)
    for alpha, steps, tolerance in ((5e-4, 15, 1e-6), (5e-4, 7, 1e-3), (0.01, 4, 0.1)):
        two = "expected two numbers: the smallest and the largest singular value"
        got = [number(one) for one in several(function(alpha, steps, tolerance), 2, two)]
        for name, s in zip(("smallest", "largest"), got, strict=True):
            share = abs(1 - alpha * s**2) ** (2**steps)
            hint = ""
            if share > 1e3 * tolerance:
                hint = "; each step squares what is missing, so the power is 2^S"
            # The power makes up to a hundredth of what single precision rounds off.
            expect(
                math.isclose(share, tolerance, rel_tol=2e-2),
                f"α={alpha}, S={steps}: at the {name}, {s:.4g}, {share:.2g} is missing, not"
                f" {tolerance:g}{hint}",
            )
        expect(got[0] < got[1], "expected the smallest singular value first")
    print("ok")


def check_powers(function: Callable[[Tensor, Tensor, int], Tensor], seed: int = 0) -> None:
    """`function(q, X, n)`: one step of rows of signs q with weights (x · q)^n, no unit listening to
    itself."""
    function = on_copies(function)
    X = patterns.signs(6, 11, seed)
    q = patterns.signs(4, 11, seed + 1)
    for n in (1, 2, 3):
        got = tensor(function(q, X, n), q.shape, "expected signs in the shape of q")
        wanted = q.double()
        for row, unit in torch.cartesian_prod(torch.arange(4), torch.arange(11)).tolist():
            rest = X @ q[row] - X[:, unit] * q[row, unit]
            field = float((rest**n * X[:, unit]).sum())
            if field != 0:
                wanted[row, unit] = math.copysign(1, field)
        with_own_term = ((q @ X.T) ** n @ X).sign().double()
        expect(
            not torch.equal(got, with_own_term) or torch.equal(got, wanted),
            f"n={n}: a unit's own term must be left out of the inner product",
        )
        expect(
            torch.equal(got, wanted),
            f"n={n}: {int((got != wanted).sum())} of {q.numel()} signs differ",
        )
    memory = Hopfield(steps=1, asynchronous=False)
    state = memory.write(memory.empty(11), X)
    got = tensor(function(q, X, 1), q.shape, "expected signs in the shape of q")
    expect(
        torch.equal(got, memory.read(state, q).double()), "n=1: a Hopfield network reads otherwise"
    )
    print("ok")
