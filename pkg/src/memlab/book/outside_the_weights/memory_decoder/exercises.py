"""Checks for the exercises of chapter 10."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from memlab import runtime
from memlab.book.checks import close, expect, form, number, numbers, on_copies, tensor


def _case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = runtime.generator(seed, "exercise memory-decoder")
    keys = functional.normalize(torch.randn(9, 5, generator=rng), dim=1)
    queries = functional.normalize(torch.randn(4, 5, generator=rng), dim=1)
    return keys, torch.randn(9, 3, generator=rng), queries


def check_nearest(nearest: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> None:
    """`nearest(queries, keys)` gives the row of the largest inner product for each query."""
    nearest = on_copies(nearest)
    keys, _, queries = _case(seed)
    made = nearest(queries, keys)
    four = f"expected 4 row numbers, got {getattr(made, 'shape', made)}"
    got = numbers(made, four)
    expect(len(got) == 4, four)
    for i, query in enumerate(queries):
        scores = [float(query @ key) for key in keys]
        best = scores.index(max(scores))
        worst = scores.index(min(scores))
        expect(
            got[i] != worst or worst == best,
            f"query {i}: that is the farthest key; argmax, not argmin?",
        )
        expect(
            got[i] == best,
            f"query {i}: expected row {best}, got {got[i]:g}; did you compare all rows?",
        )
    print("ok")


def check_soft_read(
    soft_read: Callable[[Tensor, Tensor, Tensor, float], Tensor], seed: int = 0
) -> None:
    """`soft_read(queries, keys, values, beta)` gives softmax(beta · q·k)-weighted values, (query,
    value)."""
    soft_read = on_copies(soft_read)
    keys, values, queries = _case(seed)
    got = _answers(soft_read(queries, keys, values, 0.0))
    mean = torch.stack([values.mean(0)] * 4)
    expect(
        close(got, mean, atol=1e-5),
        "at beta = 0 every row counts the same: expected the mean value",
    )
    sharp = _answers(soft_read(queries, keys, values, 1e4))
    for i, query in enumerate(queries):
        scores = [float(query @ key) for key in keys]
        best = scores.index(max(scores))
        expect(
            close(sharp[i], values[best], atol=1e-4),
            f"query {i}: at beta = 10,000 expected the value of the nearest key; is beta inside the"
            " softmax?",
        )
    soft = _answers(soft_read(queries, keys, values, 2.0))
    for i, query in enumerate(queries):
        total = torch.zeros(())
        slow = torch.zeros(3)
        for key, value in zip(keys, values, strict=True):
            weight = torch.exp(2.0 * (query @ key))
            total += weight
            slow += weight * value
        expect(
            close(soft[i], slow / total, atol=1e-4),
            f"query {i}: at beta = 2 the weights are wrong; do they sum to one over the keys?",
        )
    print("ok")


def _answers(got: object) -> Tensor:
    return tensor(got, (4, 3), f"expected shape (4, 3), got {form(got)}")


def check_row_bytes(row_bytes: Callable[[int, int, int], int]) -> None:
    """`row_bytes(key, latent, bytes_per_number)`: bytes of one stored pair, without its slot
    number."""
    row_bytes = on_copies(row_bytes)
    for key, latent, size in ((128, 1024, 4), (128, 1024, 1), (1, 1, 2)):
        expected = 0
        for _ in (*range(key), *range(latent)):
            expected += size
        got = number(row_bytes(key, latent, size))
        expect(got != latent * size, "the key takes room too")
        expect(
            got == expected, f"row_bytes({key}, {latent}, {size}): expected {expected}, got {got}"
        )
    print("ok")
