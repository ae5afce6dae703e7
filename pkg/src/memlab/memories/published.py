"""Larimar's memory as published: a learned matrix for the addresses, noise, and an iteration for
every inverse.

Das et al. (arXiv 2403.11901) after Pham et al. ("Generative pseudo-inverse memory", 2022). What
matters for use is in `linear.Larimar`, which solves the same equations exactly; this form is kept
to be measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memlab.memories.checks import check_rows, check_written
from memlab.memories.linear import LarimarState

START = 5e-4  # X₀ = START · Aᵀ in the published code


def iterate_inverse(
    matrix: Float[Tensor, "row column"],
    steps: int = 15,
    start: float | None = START,
) -> Float[Tensor, "column row"]:
    """X after `steps` times X ← 2X − X A X from X = start · Aᵀ (Ben-Israel and Cohen; Newton and
    Schulz).

    Where start · s² < 2 for every singular value s of A, X goes to A⁺; otherwise it grows without
    bound, to infinite or undefined numbers. Float32 in, float32 out, like the published code.
    `start=None` takes 1 / s_max².
    """
    check_rows("matrix", matrix)
    if start is None:
        start = 1 / float(torch.linalg.matrix_norm(matrix.double(), 2)) ** 2
    inverse = start * matrix.T
    for _ in range(steps):
        inverse = 2 * inverse - inverse @ matrix @ inverse
    return inverse


def iteration_residual(
    singular: Float[Tensor, " rank"],
    steps: int = 15,
    start: float = START,
) -> Float[Tensor, " rank"]:
    """|1 − start · s²|^(2^steps): what is still missing of each singular direction, as a share
    (1 is all of it)."""
    return (1 - start * singular.double() ** 2).abs() ** 2.0**steps


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

    def start(self, initial: Float[Tensor, "slot dim"]) -> LarimarState:
        """The state before any write: the learned matrix M₀; identity-like at the start of
        training."""
        check_rows("initial", initial)
        return LarimarState(initial)

    def write(
        self,
        state: LarimarState,
        patterns: Float[Tensor, "pat dim"],
        generator: torch.Generator | None = None,
    ) -> LarimarState:
        """M = W₀⁺ Z with W₀ = Z M₀⁺, Z the patterns plus noise; the state's matrix is M₀."""
        check_rows("patterns", patterns, state.memory.shape[1])
        check_written(len(patterns))
        noisy = patterns + _draw(patterns, self.noise, generator)
        addresses = noisy @ self._inverse(state.memory)
        return LarimarState(self._inverse(addresses, checked=False) @ noisy)

    def read(
        self,
        state: LarimarState,
        queries: Float[Tensor, "qry dim"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "qry dim"]:
        """(z M⁺ + noise) M. The inverse is made anew at every read; where it grew without bound,
        NaN is read."""
        check_rows("queries", queries, state.memory.shape[1])
        weights = queries @ self._inverse(state.memory, checked=False)
        return (weights + _draw(weights, self.spread, generator)) @ state.memory

    def _inverse(self, matrix: Tensor, checked: bool = True) -> Tensor:
        if not checked and not bool(torch.isfinite(matrix).all()):
            return torch.full_like(matrix.T, torch.nan)
        return iterate_inverse(matrix, self.steps, self.start_scale)


def _draw(
    like: Tensor,
    scale: float,
    generator: torch.Generator | None,
) -> Tensor:
    if scale == 0:
        return torch.zeros_like(like)
    if generator is None:
        raise ValueError(f"expected a generator for noise of {scale}, got None")
    return scale * torch.randn(like.shape, generator=generator, dtype=like.dtype)
