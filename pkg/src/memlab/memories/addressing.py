"""Where a pattern goes: weights over the rows of a reference memory that no write changes.

Larimar takes its addresses from such a fixed matrix wherever facts must be found again later: by
least squares, or by distance (Das et al., arXiv 2403.11901, appendix E, equations 7 and 8).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memlab.memories.checks import check_rows, check_written
from memlab.memories.linear import pseudo_inverse


def linear_addresses(
    reference: Float[Tensor, "slot dim"], patterns: Float[Tensor, "pat dim"]
) -> Float[Tensor, "pat slot"]:
    """w = z M⁺: the shortest weights with which the reference rows come closest to the pattern."""
    _check(reference, patterns)
    return (patterns.double() @ pseudo_inverse(reference)).to(patterns.dtype)


def gaussian_addresses(
    reference: Float[Tensor, "slot dim"],
    patterns: Float[Tensor, "pat dim"],
    alpha: float = 1e-3,
) -> Float[Tensor, "pat slot"]:
    """w_k ∝ exp(−‖z − M_k‖² / (2 alpha σ²)), adding up to 1, with σ the distance to the nearest
    row.

    σ makes the weights independent of scale: with the published alpha = 1e-3 a row 1 % farther away
    than the nearest gets 4 · 10⁻⁵ of its weight, so this is the nearest row. On a row exactly (σ =
    0) it is that row, or its copies.
    """
    _check(reference, patterns)
    if not 0 < alpha < float("inf"):
        raise ValueError(f"expected a finite alpha > 0, got {alpha}")
    exact = "donot_use_mm_for_euclid_dist"
    squares = torch.cdist(patterns.double(), reference.double(), compute_mode=exact) ** 2
    nearest = squares.amin(1, keepdim=True)
    on_a_row = torch.where(squares > 0, torch.inf, 1.0)
    ratio = torch.where(nearest > 0, squares / nearest, on_a_row)
    return torch.softmax((1 - ratio) / (2 * alpha), dim=1).to(patterns.dtype)


def _check(reference: Tensor, patterns: Tensor) -> None:
    check_rows("reference", reference)
    check_written(len(reference))
    check_rows("patterns", patterns, reference.shape[1])
