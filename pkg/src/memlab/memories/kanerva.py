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
from jaxtyping import Float
from torch import Tensor

from memlab.memories.checks import check_rows
from memlab.memories.recursive import update


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

    def start(
        self, mean: Float[Tensor, "slot dim"], covariance: Float[Tensor, "slot slot"] | None = None
    ) -> KanervaState:
        """The prior: its mean, learned or zero, and the covariance of a column (default: the
        identity)."""
        check_rows("mean", mean)
        slots = len(mean)
        wide = torch.eye(slots, dtype=torch.float64) if covariance is None else covariance.double()
        check_rows("covariance", wide, slots)
        positive = len(wide) == slots and not torch.linalg.cholesky_ex(wide).info
        if not positive or not torch.allclose(wide, wide.T):
            raise ValueError(
                f"expected a positive definite covariance of {slots} slots, got one that is not"
            )
        return KanervaState(mean.double(), wide.to(mean.device))

    def write(
        self,
        state: KanervaState,
        addresses: Float[Tensor, "pat slot"],
        patterns: Float[Tensor, "pat dim"],
    ) -> KanervaState:
        """The posterior after these rows: the same in one write or in many, in any order."""
        mean, covariance = update(state.mean, state.covariance, addresses, patterns, self.noise)
        return KanervaState(mean, covariance, state.count + len(addresses))

    def forget(
        self,
        state: KanervaState,
        addresses: Float[Tensor, "pat slot"],
        patterns: Float[Tensor, "pat dim"],
    ) -> KanervaState:
        """The posterior as if these rows, which must have been written, had never been seen."""
        if len(addresses) > state.count:
            raise ValueError(
                f"expected at most {state.count} stored rows to forget, got {len(addresses)}"
            )
        mean, covariance = update(
            state.mean, state.covariance, addresses, patterns, self.noise, sign=-1
        )
        return KanervaState(mean, covariance, state.count - len(addresses))

    def read(
        self, state: KanervaState, addresses: Float[Tensor, "qry slot"]
    ) -> Float[Tensor, "qry dim"]:
        """The expected pattern at each address, w · mean, in the addresses' dtype."""
        check_rows("addresses", addresses, len(state.mean))
        return (addresses.double() @ state.mean).to(addresses.dtype)

    def variance(
        self, state: KanervaState, addresses: Float[Tensor, "qry slot"]
    ) -> Float[Tensor, " qry"]:
        """w U wᵀ: how uncertain each component of w M still is, the noise not counted.

        From the prior U = I and with little noise it is the squared distance of w from the span of
        all addresses written: Larimar's residual is the hard form of this.
        """
        check_rows("addresses", addresses, len(state.mean))
        wide = addresses.double()
        return ((wide @ state.covariance) * wide).sum(1).to(addresses.dtype)
