"""Checks for the exercises of chapter 10a: each compares with another way to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from memlab import runtime
from memlab.corpora import patterns
from memlab.memories import PseudoInverse


def check_read(function: Callable[[Tensor, Tensor, Tensor, float], Tensor], seed: int = 0) -> None:
    """`function(q, K, V, ridge)`: what the matrix solved from K and V returns for the queries q."""
    keys = patterns.rows(9, 6, seed, "check")
    queries = patterns.rows(4, 6, seed, "queries")
    values = torch.randn(9, 5, generator=runtime.generator(seed, "check"), dtype=torch.float64)
    for some in (3, 9):
        memory = PseudoInverse(0.1)
        state = memory.write(memory.empty(6, 5, dtype=torch.float64), keys[:some], values[:some])
        got = function(queries, keys[:some], values[:some], 0.1)
        assert got is not None, "the function returned nothing: does it end in `return`?"
        assert got.shape == (4, 5), (
            f"{some} pairs: expected a row a query, (4, 5), got {tuple(got.shape)}"
        )
        bare = queries @ torch.linalg.pinv(keys[:some]) @ values[:some]
        assert not torch.allclose(got, bare, atol=1e-6), "this is the read without ridge"
        assert torch.allclose(got, memory.read(state, queries), atol=1e-8), (
            f"{some} pairs: that is not q (KᵀK + λ)⁻¹ KᵀV; is λ added to the diagonal only?"
        )
    print("ok")


def check_slots(function: Callable[[int, int], int]) -> None:
    """`function(rows, width)`: how many whole slots of a key and a value fit into the floats of the
    matrix."""
    for rows, width in ((512, 1024), (4, 4), (100, 3), (7, 50)):
        expected = next(n for n in count() if (n + 1) * (rows + width) > rows * width)
        got = function(rows, width)
        assert got is not None, "the function returned nothing: does it end in `return`?"
        assert got != rows, f"rows={rows}, width={width}: a slot needs its key as well as its value"
        assert got == expected, (
            f"rows={rows}, width={width}: expected {expected} whole slots, got {got}"
        )
    print("ok")


def check_doubt(function: Callable[[Tensor, Tensor, Tensor], Tensor], seed: int = 0) -> None:
    """`function(K, V, M)`: a number a row: how far the read of a key is off its value, in lengths
    of the value."""
    keys = patterns.rows(5, 6, seed, "check")
    values = 3 * torch.randn(5, 4, generator=runtime.generator(seed, "doubt"), dtype=torch.float64)
    matrix = torch.linalg.pinv(keys[:3]) @ values[:3]
    got = function(keys, values, matrix)
    assert got is not None, "the function returned nothing: does it end in `return`?"
    assert got.shape == (5,), f"expected one number a row, (5,), got {tuple(got.shape)}"
    assert got[:3].abs().max() < 1e-6, "rows 0 to 2 are stored: their doubt is zero"
    off = torch.stack([row @ matrix - value for row, value in zip(keys, values, strict=True)])
    assert not torch.allclose(got, off.norm(dim=1)), "divide by the length of the value"
    expected = (off.square().sum(1) / values.square().sum(1)).sqrt()
    assert not torch.allclose(got, expected**2), "that is the square of it"
    assert torch.allclose(got, expected), (
        "that is not ‖k M − v‖ / ‖v‖; is it the value's length that you divide by?"
    )
    print("ok")


def check_whiten(function: Callable[[Tensor], tuple[Tensor, Tensor]], seed: int = 0) -> None:
    """`function(X)`: W and b such that X W + b has mean zero and the identity as covariance, and W
    is symmetric."""
    sample = patterns.rows(400, 8, seed, "whiten", spectrum=1.0) + 0.3
    got = function(sample)
    assert isinstance(got, tuple) and len(got) == 2, "expected two results: W and b"
    matrix, shift = got
    white = sample @ matrix + shift
    assert white.mean(0).abs().max() < 1e-6, "the mean is not zero: b is −mean W"
    covariance = white.T @ white / len(white)
    assert torch.allclose(
        covariance.diagonal(), torch.ones(8, dtype=covariance.dtype), atol=1e-4
    ), "directions do not have variance one: divide by the standard deviation, not by the variance"
    assert torch.allclose(covariance, torch.eye(8, dtype=covariance.dtype), atol=1e-4), (
        "components are still correlated: divide along the eigenvectors of the covariance"
    )
    assert torch.allclose(matrix, matrix.T, atol=1e-6), "right for PCA; for ZCA turn back: U D⁻½ Uᵀ"
    print("ok")
