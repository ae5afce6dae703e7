"""The Kanerva machine's memory: not a matrix but a Gaussian over matrices, sharpened by every row
that is written.

Wu et al., "The Kanerva machine: a generative distributed memory" (arXiv 1804.01756). M has `slot`
rows; its columns are independent and share one covariance U. A row is written as an observation z =
w M + noise, so the memory after any number of rows is the posterior of Bayesian ridge regression,
and it knows how little it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import (
    as_like,
    as_matrix,
    check_forgettable,
    narrowed,
    working_dtype,
)
from memlab.memories.recursive import read_mean, update
from memlab.memories.states import plain

GREATEST_NOISE = 1e100  # its square is a number


@dataclass(frozen=True, eq=False)
class KanervaState:
    """Every column of M is Gaussian around that of `mean`, with the same `covariance`; both in
    float64."""

    mean: Float[Tensor, "slot dim"]
    covariance: Float[Tensor, "slot slot"]
    count: int = 0


@dataclass(frozen=True)
class Kanerva:
    """Bayesian linear memory with observation noise of standard deviation `noise`; the prior is the
    caller's."""

    noise: float = 0.1

    def __post_init__(self) -> None:
        if not 1e-6 <= self.noise < float("inf"):
            raise ValueError(f"expected a finite noise >= 1e-6, got {self.noise}")
        if self.noise > GREATEST_NOISE:
            raise ValueError(f"expected a noise of at most {GREATEST_NOISE:g}, got {self.noise}")

    @plain
    def start(
        self,
        mean: Shaped[Tensor, "slot dim"],
        covariance: Shaped[Tensor, "slot slot"] | None = None,
    ) -> KanervaState:
        """The prior: its mean, learned or zero, and the covariance of a column (default: the
        identity)."""
        mean = as_matrix("mean", mean, dtype=torch.float64)
        slots = len(mean)
        if covariance is None:
            covariance = torch.eye(slots)
        wide = as_matrix("covariance", covariance, slots, dtype=torch.float64, device=mean.device)
        positive = len(wide) == slots and not torch.linalg.cholesky_ex(wide).info
        if not positive or not torch.allclose(wide, wide.T):
            raise ValueError(
                f"expected a positive definite covariance of {slots} slots, got one that is not"
            )
        return KanervaState(mean, wide)

    @plain
    def write(
        self,
        state: KanervaState,
        addresses: Shaped[Tensor, "pat slot"],
        patterns: Shaped[Tensor, "pat dim"],
    ) -> KanervaState:
        """The posterior after these rows: the same in one write or in many, in any order."""
        mean, covariance = update(state.mean, state.covariance, addresses, patterns, self.noise)
        return KanervaState(mean, covariance, state.count + len(addresses))

    @plain
    def forget(
        self,
        state: KanervaState,
        addresses: Shaped[Tensor, "pat slot"],
        patterns: Shaped[Tensor, "pat dim"],
    ) -> KanervaState:
        """The posterior as if these rows, which must have been written, had never been seen."""
        check_forgettable("rows", addresses, state.count)
        mean, covariance = update(
            state.mean, state.covariance, addresses, patterns, self.noise, sign=-1
        )
        return KanervaState(mean, covariance, state.count - len(addresses))

    @plain
    def read(
        self, state: KanervaState, addresses: Shaped[Tensor, "qry slot"]
    ) -> Float[Tensor, "qry dim"]:
        """The expected pattern at each address, w · mean, in float32, or float64 where the
        addresses are."""
        return read_mean(state.mean, addresses)

    @plain
    def variance(
        self, state: KanervaState, addresses: Shaped[Tensor, "qry slot"]
    ) -> Float[Tensor, " qry"]:
        """w U wᵀ: how uncertain each component of w M still is, the noise not counted.

        From the prior U = I and with little noise it is the squared distance of w from the span of
        all addresses written: Larimar's residual is the hard form of this.
        """
        wide = as_like("addresses", addresses, state.covariance)
        variances = ((wide @ state.covariance) * wide).sum(1)
        return narrowed("variances", variances, working_dtype(addresses.dtype))
