"""What every memory asks of the rows it is given."""

from __future__ import annotations

import torch
from torch import Tensor


def check_rows(
    name: str,
    rows: Tensor,
    width: int | None = None,
) -> None:
    """Raise ValueError unless `rows` is a matrix of `width` columns and holds finite numbers
    only."""
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        wanted = "(rows, columns)" if width is None else f"(rows, {width})"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(rows.shape)}")
    # A sum is finite only if every number is: one pass where all is well; counting takes several
    # times as long.
    if torch.isfinite(rows.sum(dtype=torch.promote_types(rows.dtype, torch.float32))):
        return
    bad = rows.numel() - int(torch.isfinite(rows).sum())
    if bad:
        raise ValueError(f"{name} must be finite in {rows.dtype}, got {bad} numbers that are not")


def check_pairs(
    keys: Tensor,
    values: Tensor,
    key_dim: int,
    value_dim: int,
) -> None:
    """Raise ValueError unless there is one value per key, both of the widths asked for."""
    check_rows("keys", keys, key_dim)
    check_rows("values", values, value_dim)
    if len(keys) != len(values):
        raise ValueError(f"expected one value per key, {len(keys)}, got {len(values)}")


def check_written(count: int) -> None:
    """Raise ValueError if nothing was written yet."""
    if count < 1:
        raise ValueError(
            f"cannot read an empty memory: expected at least 1 stored item, got {count}"
        )
