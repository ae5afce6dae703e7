"""Where a pattern goes: weights over the rows of a reference memory that no write changes.

Larimar takes its addresses from such a fixed matrix wherever facts must be found again later: by
least squares, or by distance (Das et al., arXiv 2403.11901, appendix E, equations 7 and 8).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import as_matrix, as_rows, check_tensor, narrowed, working_dtype
from memlab.memories.linear import pseudo_inverse
from memlab.memories.states import plain


@plain
def linear_addresses(
    reference: Shaped[Tensor, "slot dim"], patterns: Shaped[Tensor, "pat dim"]
) -> Float[Tensor, "pat slot"]:
    """w = z M⁺: the shortest weights with which the reference rows come closest to the pattern.

    In float32, or float64 where the patterns are.
    """
    wide_reference, wide = _wide(reference, patterns)
    addresses = wide @ pseudo_inverse(wide_reference)
    return narrowed("addresses", addresses, working_dtype(patterns.dtype))


@plain
def gaussian_addresses(
    reference: Shaped[Tensor, "slot dim"],
    patterns: Shaped[Tensor, "pat dim"],
    alpha: float = 1e-3,
) -> Float[Tensor, "pat slot"]:
    """w_k ∝ exp(−‖z − M_k‖² / (2 alpha σ²)), adding up to 1, with σ the distance to the nearest
    row.

    σ makes the weights independent of scale: with the published alpha = 1e-3 a row 1 % farther away
    than the nearest gets 4 · 10⁻⁵ of its weight, so this is the nearest row. On a row exactly (σ =
    0) it is that row, or its copies.
    """
    wide_reference, wide = _wide(reference, patterns)
    if not 0 < alpha < float("inf"):
        raise ValueError(f"expected a finite alpha > 0, got {alpha}")
    exact = "donot_use_mm_for_euclid_dist"
    squares = torch.cdist(wide, wide_reference, compute_mode=exact) ** 2
    nearest = squares.amin(1, keepdim=True)
    on_a_row = torch.where(squares > 0, torch.inf, 1.0)
    ratio = torch.where(nearest > 0, squares / nearest, on_a_row)
    weights = torch.softmax((1 - ratio) / (2 * alpha), dim=1)
    return weights.to(working_dtype(patterns.dtype))


def _wide(reference: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, where the patterns are; ValueError for a reference without rows."""
    check_tensor("patterns", patterns)
    device = patterns.device
    wide_reference = as_matrix("reference", reference, dtype=torch.float64, device=device)
    wide = as_rows("patterns", patterns, wide_reference.shape[1], dtype=torch.float64)
    return wide_reference, wide
