"""Checks for chapter 3, is a Transformer such a sum? Each takes the function that the reader
wrote."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from memlab.book.checks import close, expect, form, on_copies, several, tensor, truth
from memlab.runtime import generator

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, tuple[Activation, bool]] = {
    "relu": (F.relu, True),
    "gelu": (F.gelu, True),
    "silu": (F.silu, True),
    "softplus": (F.softplus, True),
    "tanh": (torch.tanh, False),
    "sigmoid": (torch.sigmoid, False),
    "leaky_relu": (F.leaky_relu, False),
    "relu squared": (lambda z: F.relu(z).square(), False),
}


def check_passes(passes: Callable[[Activation], bool]) -> None:
    """Exercise 1: `passes(sigma)` says whether σ(z) − σ(−z) = z: a skip connection is then two
    units each."""
    passes = on_copies(passes)
    for name, (sigma, holds) in ACTIVATIONS.items():
        made = passes(sigma)
        expect(made is not None, "passes(sigma) returned nothing; expected True or False")
        said = truth(made)
        if holds:
            hint = "compare with a tolerance: floating point is not exact"
        else:
            hint = "try negative and large z too; one point is not enough"
        expect(said == holds, f"{name}: expected {holds}, got {said}; {hint}")
    print("ok")


def check_norm_matrix(norm_matrix: Callable[[Tensor, float], Tensor], seed: int = 0) -> None:
    """Exercise 2: `norm_matrix(x, eps)` is the matrix N with LayerNorm(x) = N x (one token, no
    weight, no bias)."""
    norm_matrix = on_copies(norm_matrix)
    for dim, scale, eps in ((3, 1.0, 1e-5), (8, 0.01, 1e-3), (5, 10.0, 1e-5)):
        draw = generator(seed, "norm", dim)
        x = scale * torch.randn(dim, generator=draw, dtype=torch.float64) + 2 * scale
        got = _square(norm_matrix(x, eps), dim) @ x
        want = F.layer_norm(x, (dim,), eps=eps)
        for hint, wrong in _wrong_norms(x, eps).items():
            expect(not close(got, wrong) or close(wrong, want), hint)
        gap = float((got - want).abs().max())
        expect(close(got, want), f"N x differs from LayerNorm by {gap:.2g}")
    print("ok")


def _square(made: object, size: int) -> Tensor:
    shape = (size, size)
    return tensor(made, shape, f"expected a matrix of shape {shape}, got {form(made)}")


def _wrong_norms(x: Tensor, eps: float) -> dict[str, Tensor]:
    """What likely mistakes make of x: hint → N x."""
    dim = len(x)
    C = torch.eye(dim, dtype=x.dtype) - 1 / dim
    variance = (C @ x).square().mean()
    return {
        "the mean is not taken off: N needs the factor C = I − 11ᵀ/d": (
            x * (variance + eps).rsqrt()
        ),
        "the scale uses x itself, LayerNorm uses x less its mean": (
            C @ x * (x.square().mean() + eps).rsqrt()
        ),
        "the variance divides by d − 1; LayerNorm divides by d": C @ x * (x.var() + eps).rsqrt(),
        "eps is missing: it stands under the root, beside the variance": C @ x * variance.rsqrt(),
    }


def check_attention_matrix(
    attention_matrix: Callable[[Tensor, Tensor], Tensor], seed: int = 0
) -> None:
    """Exercise 3: `attention_matrix(P, V)` is the matrix A with vec(P X V) = A vec(X), row by
    row."""
    attention_matrix = on_copies(attention_matrix)
    draw = generator(seed, "attention")
    for tokens, dim in ((3, 2), (2, 4)):
        P = torch.randn(tokens, tokens, generator=draw, dtype=torch.float64).softmax(-1)
        V = torch.randn(dim, dim, generator=draw, dtype=torch.float64)
        X = torch.randn(tokens, dim, generator=draw, dtype=torch.float64)
        A = _square(attention_matrix(P, V), tokens * dim)
        transposed = V.T.contiguous()
        swapped = torch.kron(transposed, P)
        P_transposed = torch.kron(P.T.contiguous(), transposed)
        known = {
            "V stands on the right of X, so it enters transposed": torch.kron(P, V),
            "the factors are the other way round: the token is the outer index": swapped,
            "P stands on the left of X, so it enters as it is": P_transposed,
        }
        for hint, wrong in known.items():
            expect(not close(A, wrong), hint)
        want = (P @ X @ V).reshape(-1)
        expect(close(A @ X.reshape(-1), want), "A vec(X) differs from vec(P X V)")
    print("ok")


def check_split(
    split: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]], seed: int = 0
) -> None:
    """Exercise 4: `split(y, x, share)` gives M and m with M x + m = y and m = share · y, for any
    share from 0 to 1."""
    split = on_copies(split)
    draw = generator(seed, "split")
    for share in (0.0, 0.25, 1.0):
        y = torch.randn(4, generator=draw, dtype=torch.float64)
        x = torch.randn(6, generator=draw, dtype=torch.float64)
        made = several(split(y, x, share), 2, "expected the pair M, m")
        shapes = f"expected shapes (4, 6) and (4,), got {form(made[0])} and {form(made[1])}"
        M = tensor(made[0], (4, 6), shapes)
        m = tensor(made[1], (4,), shapes)
        expect(close(m, share * y), f"share {share}: the bias m is not {share} · y")
        got = M @ x + m
        gap = float((got - y).abs().max())
        expect(
            close(got, y), f"share {share}: M x + m misses y by {gap:.2g}; did you divide by xᵀx?"
        )
    print("ok")
