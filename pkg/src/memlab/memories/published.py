"""Larimar's memory as published: a learned matrix for the addresses, noise, and an iteration for
every inverse.

Das et al. (arXiv 2403.11901) after Pham et al. ("Generative pseudo-inverse memory", 2022). What
matters for use is in `linear.Larimar`, which solves the same equations exactly; this form is kept
to be measured beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import (
    as_count,
    as_like,
    as_matrix,
    as_rows,
    check_finite,
    check_rows,
    check_tensor,
    check_written,
    narrowed,
)
from memlab.memories.linear import LarimarState
from memlab.memories.states import plain

START = 5e-4  # X₀ = START · Aᵀ in the published code
# The square of a norm of 2 to this power is a number in float32, and so is its inverse.
EXPONENT = 60


@plain
def iterate_inverse(
    matrix: Shaped[Tensor, "row column"],
    steps: int = 15,
    start: float | None = START,
) -> Float[Tensor, "column row"]:
    """X after `steps` times X ← 2X − X A X from X = start · Aᵀ (Ben-Israel and Cohen; Newton and
    Schulz).

    Where start · s² < 2 for every singular value s of A, X goes to A⁺; otherwise it grows without
    bound, to infinite or undefined numbers. Float32 in, float32 out, like the published code.
    `start=None` takes 1 / s_max².
    """
    _check_iteration(steps, start)
    return _iterated(as_matrix("matrix", matrix), steps, start)


def _check_iteration(steps: int, start: float | None) -> None:
    as_count("steps", steps)
    if start is not None and not 0 < start < math.inf:
        raise ValueError(f"expected a finite start > 0 or None, got {start}")


def _iterated(
    matrix: Tensor,
    steps: int,
    start: float | None,
) -> Tensor:
    if start is None:
        return _iterated_from_norm(matrix, steps)
    inverse = start * matrix.T
    for _ in range(steps):
        inverse = 2 * inverse - inverse @ matrix @ inverse
    return inverse


def _iterated_from_norm(matrix: Tensor, steps: int) -> Tensor:
    """The iteration from 1 / s_max²; of a matrix of zeros, which is its own inverse, none."""
    norm = float(torch.linalg.matrix_norm(matrix.detach().double(), 2))
    if norm == 0:
        return matrix.T.clone()
    exponent = math.frexp(norm)[1]
    if abs(exponent) <= EXPONENT:
        return _iterated(matrix, steps, 1 / norm**2)
    # Exact: the scale is a power of two.
    scale = 2.0**-exponent
    inverse = _iterated_from_norm((scale * matrix.double()).to(matrix.dtype), steps)
    return narrowed("the inverse", scale * inverse.double(), matrix.dtype)


@plain
def iteration_residual(
    singular: Shaped[Tensor, " rank"],
    steps: int = 15,
    start: float = START,
) -> Float[Tensor, " rank"]:
    """|1 − start · s²|^(2^steps): what is still missing of each singular direction, as a share
    (1 is all of it)."""
    _check_iteration(steps, start)
    check_tensor("singular", singular)
    if singular.ndim != 1:
        raise ValueError(f"singular must have shape (rank,), got {tuple(singular.shape)}")
    wide = singular.double()
    check_finite("singular", wide)
    return (1 - start * wide**2).abs() ** 2.0**steps


@dataclass(frozen=True)
class PublishedLarimar:
    """One-shot write and read with `steps` of the iteration; `noise` on patterns and `spread` on
    read weights.

    Published values of `steps`: 15 in the settings, 7 and 3 as defaults of two classes; of `noise`:
    1e-6 to 1e-4. Editing runs without noise and spread, as do the defaults here.
    """

    steps: int = 15
    start_scale: float | None = START
    noise: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        _check_iteration(self.steps, self.start_scale)
        for name, scale in (("noise", self.noise), ("spread", self.spread)):
            if not 0 <= scale < math.inf:
                raise ValueError(f"expected a finite {name} >= 0, got {scale}")

    @plain
    def start(self, initial: Shaped[Tensor, "slot dim"]) -> LarimarState:
        """The state before any write: a copy of the learned matrix M₀; identity-like at the start
        of training."""
        return LarimarState(as_matrix("initial", initial))

    @plain
    def write(
        self,
        state: LarimarState,
        patterns: Shaped[Tensor, "pat dim"],
        generator: torch.Generator | None = None,
    ) -> LarimarState:
        """M = W₀⁺ Z with W₀ = Z M₀⁺, Z the patterns plus noise; the state's matrix is M₀.

        In float32, or float64 where the patterns are.
        """
        first = state.memory
        patterns = as_rows("patterns", patterns, first.shape[1], device=first.device)
        check_written(len(patterns))
        check_rows("the state's matrix", first)
        noisy = patterns + _draw(patterns, self.noise, generator)
        addresses = noisy @ self._inverse(first.to(patterns.dtype))
        return LarimarState(self._inverse(addresses) @ noisy)

    @plain
    def read(
        self,
        state: LarimarState,
        queries: Shaped[Tensor, "qry dim"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "qry dim"]:
        """(z M⁺ + noise) M, in the state's dtype. The inverse is made anew at every read; where it
        grew without bound, NaN is read."""
        queries = as_like("queries", queries, state.memory)
        weights = queries @ self._inverse(state.memory)
        return (weights + _draw(weights, self.spread, generator)) @ state.memory

    def _inverse(self, matrix: Tensor) -> Tensor:
        if not bool(torch.isfinite(matrix).all()):
            return torch.full_like(matrix.T, torch.nan)
        return _iterated(matrix, self.steps, self.start_scale)


def _draw(
    like: Tensor,
    scale: float,
    generator: torch.Generator | None,
) -> Tensor:
    if scale == 0:
        return torch.zeros_like(like)
    if generator is None:
        raise ValueError(f"expected a generator for noise of {scale}, got None")
    place = generator.device  # where it draws
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=place)
    return scale * drawn.to(like.device)
