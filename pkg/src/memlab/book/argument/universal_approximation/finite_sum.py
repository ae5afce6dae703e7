"""Sums G(x) = Σ_j α_j σ(w_j·x + b_j) with fixed coefficients: the form that universal approximation
is about."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from memlab.models.blocks import Activation


@dataclass(frozen=True)
class FiniteSum:
    """G(x) = Σ_j α_j σ(w_j·x + b_j) with fixed coefficients (Cybenko 1989, with a vector-valued
    α_j)."""

    alpha: Float[Tensor, "out unit"]
    W: Float[Tensor, "unit in"]
    b: Float[Tensor, " unit"]
    sigma: Activation

    def __call__(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """G at one point or at a batch of points."""
        return self.sigma(x @ self.W.T + self.b) @ self.alpha.T
