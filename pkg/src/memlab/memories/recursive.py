"""Recursive least squares: a linear memory that learns and forgets a row at a time, without solving
anew.

Larimar's sequential form (Das et al., arXiv 2403.11901, equations 4-6) keeps C = Σ α wᵀw and M,
with α = 1 for a row that is written and −1 for one that is forgotten:

    C ← C + α WᵀW,    M ← M + α C⁻¹ Wᵀ (Z − W M).

Here C⁻¹ is kept instead of C (Sherman and Morrison for one row, Woodbury for many), so a row costs
slot² numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import (
    as_count,
    as_pairs,
    as_rows,
    check_finite,
    check_forgettable,
    check_written,
    working_dtype,
)
from memlab.memories.states import plain

# So much of the noise may be rounding: float64's share of the spread along the longest address.
MOST_ROUNDING = 0.01


@dataclass(frozen=True, eq=False)
class RecursiveState:
    """M and C⁻¹ in float64 after `count` rows."""

    memory: Float[Tensor, "slot value"]
    inverse: Float[Tensor, "slot slot"]
    count: int = 0


@dataclass(frozen=True)
class Recursive:
    """Least squares on addresses and values, C₀ = ridge · I: after any order of writes M is the
    ridge solution.

    Addresses of about length one. Where rows are forgotten, rounding grows as 10⁻¹⁵ / ridge², so a
    ridge below 10⁻⁶ is refused; `PseudoInverse` keeps the sums instead and forgets without that
    loss, but solves at the next read.
    """

    ridge: float = 1e-4

    def __post_init__(self) -> None:
        if not 1e-6 <= self.ridge < float("inf"):
            raise ValueError(f"expected a finite ridge >= 1e-6, got {self.ridge}")

    @plain
    def empty(self, slots: int, value_dim: int) -> RecursiveState:
        """A state without rows: M = 0, C = ridge · I."""
        as_count("slots", slots, 1)
        as_count("value_dim", value_dim)
        memory = torch.zeros(slots, value_dim, dtype=torch.float64)
        identity = torch.eye(slots, dtype=torch.float64)
        return RecursiveState(memory, identity / self.ridge)

    @plain
    def write(
        self,
        state: RecursiveState,
        addresses: Shaped[Tensor, "pat slot"],
        values: Shaped[Tensor, "pat value"],
    ) -> RecursiveState:
        """The state with these rows too: the same, to rounding, in one write or in many, in any
        order."""
        memory, inverse = update(state.memory, state.inverse, addresses, values)
        return RecursiveState(memory, inverse, state.count + len(addresses))

    @plain
    def forget(
        self,
        state: RecursiveState,
        addresses: Shaped[Tensor, "pat slot"],
        values: Shaped[Tensor, "pat value"],
    ) -> RecursiveState:
        """The state as if these rows, which must have been written, had never been.

        Addresses and values must be those of the write: Larimar computes both again from the text,
        and the addresses from a fixed reference memory. ValueError where C would no longer be
        positive: not all was written.
        """
        check_forgettable("rows", addresses, state.count)
        memory, inverse = update(state.memory, state.inverse, addresses, values, sign=-1)
        return RecursiveState(memory, inverse, state.count - len(addresses))

    @plain
    def read(
        self, state: RecursiveState, addresses: Shaped[Tensor, "qry slot"]
    ) -> Float[Tensor, "qry value"]:
        """w M, in float32, or float64 where the addresses are."""
        check_written(state.count)
        return read_mean(state.memory, addresses)


def read_mean(
    mean: Float[Tensor, "slot value"], addresses: Shaped[Tensor, "qry slot"]
) -> Float[Tensor, "qry value"]:
    """w M, in float32, or float64 where the addresses are."""
    wide = as_rows("addresses", addresses, len(mean), dtype=mean.dtype, device=mean.device)
    read = (wide @ mean).to(working_dtype(addresses.dtype))
    check_finite("what is read", read)
    return read


def update(
    mean: Float[Tensor, "slot value"],
    covariance: Float[Tensor, "slot slot"],
    addresses: Shaped[Tensor, "pat slot"],
    values: Shaped[Tensor, "pat value"],
    noise: float = 1.0,
    sign: int = 1,
) -> tuple[Float[Tensor, "slot value"], Float[Tensor, "slot slot"]]:
    """Mean and covariance after seeing (sign=1) or taking back (sign=−1) values = addresses · M +
    noise.

    The gain is U Wᵀ (W U Wᵀ ± noise² I)⁻¹: a Kalman filter's step, and with noise 1 and U = C⁻¹
    that of recursive least squares. All rows go in at once; one by one they give the same.
    """
    weights, wide = as_pairs(addresses, values, covariance, mean, ("addresses", "values"))
    _check_length(weights, covariance, noise)
    spread = weights @ covariance  # pat × slot
    identity = torch.eye(len(weights), dtype=mean.dtype, device=mean.device)
    inner = sign * (spread @ weights.T) + noise**2 * identity
    factor, failed = torch.linalg.cholesky_ex(inner)
    if failed:
        raise ValueError(
            "expected rows that were written, got rows whose removal leaves no positive C"
        )
    gain = sign * torch.cholesky_solve(spread, factor).T
    moved_mean = mean + gain @ (wide - weights @ mean)
    moved = covariance - gain @ spread
    return moved_mean, (moved + moved.T) / 2


def _check_length(
    weights: Tensor,
    covariance: Tensor,
    noise: float,
) -> None:
    """Raise ValueError for addresses so long that the rounding of U is no smaller than the noise:
    what a second write at the same place then reads is no mean of both."""
    if not len(weights):
        return
    length = float(weights.detach().norm(dim=1).max())
    deviation = math.sqrt(float(covariance.detach().diagonal().max().clamp(min=0)))
    rounding = math.sqrt(torch.finfo(weights.dtype).eps) * length * deviation
    if rounding > math.sqrt(MOST_ROUNDING) * noise:
        longest = math.sqrt(MOST_ROUNDING) * noise * length / rounding
        raise ValueError(
            f"expected addresses of about length one, at most {longest:.3g}, got {length:.3g}"
        )
