"""Checks for the exercises of chapter 10a: each compares with another way to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from memlab import runtime
from memlab.book.checks import NOTHING, close, expect, form, number, on_copies, several, tensor
from memlab.corpora import patterns
from memlab.memories import PseudoInverse


def check_read(function: Callable[[Tensor, Tensor, Tensor, float], Tensor], seed: int = 0) -> None:
    """`function(q, K, V, ridge)`: what the matrix solved from K and V returns for the queries q."""
    function = on_copies(function)
    keys = patterns.rows(9, 6, seed, "check")
    queries = patterns.rows(4, 6, seed, "queries")
    values = torch.randn(9, 5, generator=runtime.generator(seed, "check"), dtype=torch.float64)
    for some in (3, 9):
        memory = PseudoInverse(0.1)
        state = memory.write(memory.empty(6, 5, dtype=torch.float64), keys[:some], values[:some])
        made = function(queries, keys[:some], values[:some], 0.1)
        expect(made is not None, NOTHING)
        got = tensor(
            made, (4, 5), f"{some} pairs: expected a row a query, (4, 5), got {form(made)}"
        )
        bare = queries @ torch.linalg.pinv(keys[:some]) @ values[:some]
        expect(not close(got, bare), "this is the read without ridge")
        expect(
            close(got, memory.read(state, queries)),
            f"{some} pairs: that is not q (KᵀK + λ)⁻¹ KᵀV; is λ added to the diagonal only?",
        )
    print("ok")


def check_slots(function: Callable[[int, int], int]) -> None:
    """`function(rows, width)`: how many whole slots of a key and a value fit into the floats of the
    matrix."""
    function = on_copies(function)
    for rows, width in ((512, 1024), (4, 4), (100, 3), (7, 50)):
        expected = next(n for n in count() if (n + 1) * (rows + width) > rows * width)
        got = number(function(rows, width))
        case = f"rows={rows}, width={width}"
        expect(got != rows, f"{case}: a slot needs its key as well as its value")
        expect(got == expected, f"{case}: expected {expected} whole slots, got {got}")
    print("ok")


def check_doubt(function: Callable[[Tensor, Tensor, Tensor], Tensor], seed: int = 0) -> None:
    """`function(K, V, M)`: a number a row: how far the read of a key is off its value, in lengths
    of the value."""
    function = on_copies(function)
    keys = patterns.rows(5, 6, seed, "check")
    values = 3 * torch.randn(5, 4, generator=runtime.generator(seed, "doubt"), dtype=torch.float64)
    matrix = torch.linalg.pinv(keys[:3]) @ values[:3]
    made = function(keys, values, matrix)
    expect(made is not None, NOTHING)
    got = tensor(made, (5,), f"expected one number a row, (5,), got {form(made)}")
    expect(got[:3].abs().max() < 1e-6, "rows 0 to 2 are stored: their doubt is zero")
    off = torch.stack([row @ matrix - value for row, value in zip(keys, values, strict=True)])
    expect(not close(got, off.norm(dim=1)), "divide by the length of the value")
    expected = (off.square().sum(1) / values.square().sum(1)).sqrt()
    expect(not close(got, expected**2), "that is the square of it")
    expect(
        close(got, expected),
        "that is not ‖k M − v‖ / ‖v‖; is it the value's length that you divide by?",
    )
    print("ok")


def check_whiten(function: Callable[[Tensor], tuple[Tensor, Tensor]], seed: int = 0) -> None:
    """`function(X)`: W and b such that X W + b has mean zero and the identity as covariance, and W
    is symmetric."""
    function = on_copies(function)
    sample = patterns.rows(400, 8, seed, "whiten", spectrum=1.0) + 0.3
    W, b = several(function(sample), 2, "expected two results: W and b")
    matrix = tensor(W, (8, 8), f"expected W of shape (8, 8), got {form(W)}")
    eight = f"expected b with one number a column, (8,), got {form(b)}"
    shift = tensor(b, None, eight)
    expect(shift.numel() in (1, 8), eight)
    white = sample @ matrix + shift.flatten()
    expect(white.mean(0).abs().max() < 1e-5, "the mean is not zero: b is −mean W")
    covariance = white.T @ white / len(white)
    expect(
        close(covariance.diagonal(), 1.0, atol=1e-4),
        "directions do not have variance one: divide by the standard deviation, not by the"
        " variance",
    )
    expect(
        close(covariance, torch.eye(8), atol=1e-4),
        "components are still correlated: divide along the eigenvectors of the covariance",
    )
    expect(close(matrix, matrix.T), "right for PCA; for ZCA turn back: U D⁻½ Uᵀ")
    print("ok")
