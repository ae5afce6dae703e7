"""What every memory asks of the numbers it is given, and the form in which it takes them.

Any real numbers will do, in any dtype and on any device that holds them. They are reckoned with in
float32 at least, and no memory cuts a result to the dtype of what it was asked with.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Squares of numbers beyond these, summed up, are no numbers in float64.
LEAST = 1e-150
GREATEST = 1e150


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """What numbers of `dtype` are reckoned and read in: float32, or float64 where they are that."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_floating(name: str, dtype: torch.dtype) -> None:
    """Raise ValueError unless a memory that sums up can keep what it holds in `dtype`."""
    if dtype not in FLOATING:
        raise ValueError(f"expected {name} in one of {_listed(FLOATING)}, got {dtype}")


def _listed(dtypes: tuple[torch.dtype, ...]) -> str:
    return ", ".join(map(str, dtypes))


def as_count(
    name: str,
    number: Any,
    least: int = 0,
    most: int | None = None,
) -> int:
    """`number` as an int; ValueError unless it is whole and from `least` to `most`."""
    try:
        count = operator.index(number)
    except TypeError:
        raise ValueError(f"expected {name} as a whole number, got {number!r}") from None
    if count < least or (most is not None and count > most):
        wanted = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"expected {name} {wanted}, got {count}")
    return count


def as_device(device: torch.device | str) -> torch.device:
    """`device`; ValueError unless this machine has it and can keep numbers there."""
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as problem:
        why = str(problem).partition("\n")[0]
        raise ValueError(f"expected a device of this machine, got {device}: {why}") from None
    if found.type == "meta":
        raise ValueError("expected a device that holds numbers, got meta")
    return found


def check_tensor(name: str, numbers: Any) -> None:
    """Raise ValueError unless `numbers` is a tensor of real numbers that lie somewhere."""
    if not isinstance(numbers, Tensor):
        raise ValueError(f"expected {name} as a tensor, got {type(numbers).__name__}")
    if numbers.is_nested or numbers.layout != torch.strided:
        raise ValueError(f"expected {name} as a dense tensor, got layout {numbers.layout}")
    if numbers.is_complex() or numbers.is_quantized:
        raise ValueError(f"expected {name} of real numbers, got {numbers.dtype}")
    if numbers.is_meta:
        raise ValueError(f"expected {name} on a device that holds numbers, got meta")


def check_finite(name: str, numbers: Tensor) -> None:
    """Raise ValueError unless all numbers are finite."""
    # A sum is finite only if every number is: one pass where all is well; counting takes several
    # times as long.
    if torch.isfinite(numbers.sum(dtype=torch.promote_types(numbers.dtype, torch.float32))):
        return
    bad = numbers.numel() - int(torch.isfinite(numbers).sum())
    if bad:
        raise ValueError(
            f"{name} must be finite in {numbers.dtype}, got {bad} numbers that are not"
        )


def check_rows(
    name: str,
    rows: Tensor,
    width: int | None = None,
) -> None:
    """Raise ValueError unless `rows` is a matrix of `width` columns and holds finite numbers
    only, in float64 of a magnitude that can be squared."""
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        wanted = "(rows, columns)" if width is None else f"(rows, {width})"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(rows.shape)}")
    check_finite(name, rows)
    if rows.dtype == torch.float64:
        _check_magnitude(name, rows, LEAST, GREATEST)


def _check_magnitude(
    name: str,
    rows: Tensor,
    least: float,
    most: float,
) -> None:
    """Raise ValueError if the largest number of a row is outside these bounds and not zero."""
    if not rows.numel():
        return
    largest = rows.detach().abs().amax(1)
    bad = int(((largest > most) | ((largest < least) & (largest > 0))).sum())
    if bad:
        raise ValueError(
            f"{name} must be rows of zeros or of a magnitude from {least:.3g} to {most:.3g}, "
            f"got {bad} that are not"
        )


def _check_whole(name: str, whole: Tensor, taken: Tensor) -> None:
    """Raise ValueError if a whole number is another one in the dtype that it was taken to."""
    if whole.dtype == torch.bool or not whole.numel():
        return
    lost = int((taken.double().to(torch.long) != whole.to(taken.device, torch.long)).sum())
    if lost:
        raise ValueError(
            f"{name} must be whole numbers that {taken.dtype} can hold, got {lost} that it rounds"
        )


def as_rows(
    name: str,
    rows: Tensor,
    width: int | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    copy: bool = False,
) -> Tensor:
    """`rows` in `dtype` (None: their working dtype) on `device` (None: theirs), with `copy` in a
    tensor of their own.

    ValueError unless it is a matrix of `width` columns with finite numbers that `dtype` can hold.
    """
    check_tensor(name, rows)
    dtype = dtype or working_dtype(rows.dtype)
    taken = rows.to(device or rows.device, dtype, copy=copy)
    check_rows(name, taken, width)
    if not rows.is_floating_point():
        _check_whole(name, rows, taken)
    held = torch.finfo(dtype)
    if rows.dtype in FLOATING and torch.finfo(rows.dtype).tiny < held.tiny:
        _check_magnitude(name, rows, held.tiny, held.max)
    return taken


def as_like(
    name: str,
    rows: Tensor,
    like: Tensor,
) -> Tensor:
    """`rows` in the dtype, on the device and of the width of `like`; ValueError: see `as_rows`."""
    return as_rows(name, rows, like.shape[1], dtype=like.dtype, device=like.device)


def as_pairs(
    keys: Tensor,
    values: Tensor,
    like_keys: Tensor,
    like_values: Tensor,
    names: tuple[str, str] = ("keys", "values"),
) -> tuple[Tensor, Tensor]:
    """Keys and values in the dtypes and on the devices of those beside which they are written.

    ValueError unless there is one value per key, both of the widths of what is there.
    """
    keys = as_like(names[0], keys, like_keys)
    values = as_like(names[1], values, like_values)
    if len(keys) != len(values):
        raise ValueError(f"expected one value per key, {len(keys)}, got {len(values)}")
    return keys, values


def as_matrix(
    name: str,
    rows: Tensor,
    width: int | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """A copy of `rows`, as in `as_rows`; ValueError if there are none, or none of their columns."""
    rows = as_rows(name, rows, width, dtype=dtype, device=device, copy=True)
    if not rows.numel():
        raise ValueError(
            f"{name} must have at least one row and one column, got {tuple(rows.shape)}"
        )
    return rows


def narrowed(
    name: str,
    wide: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """`wide`, which was reckoned in float64, in `dtype`; ValueError if that cannot hold it: too
    large, or all of it so small that digits are lost."""
    narrow = wide.to(dtype)
    check_finite(name, narrow)
    largest = float(wide.detach().abs().max()) if wide.numel() else 0.0
    if 0 < largest < torch.finfo(dtype).tiny:
        raise ValueError(f"{name} must not vanish in {dtype}, got numbers up to {largest:.3g}")
    return narrow


def as_indices(
    name: str,
    numbers: Tensor,
    count: int,
    device: torch.device,
) -> Tensor:
    """`numbers` as int64 on `device`; ValueError unless all are whole and from 0 to `count` - 1.

    Without numbers there is nothing to be wrong about: an empty tensor may have any dtype.
    """
    check_tensor(name, numbers)
    if numbers.numel() and (numbers.is_floating_point() or numbers.dtype == torch.bool):
        raise ValueError(f"expected {name} as whole numbers, got {numbers.dtype}")
    indices = numbers.to(device, torch.long)
    if indices.numel():
        low = int(indices.min())
        high = int(indices.max())
        if low < 0 or high >= count:
            raise ValueError(
                f"expected {name} from 0 to {count - 1}, got numbers from {low} to {high}"
            )
    return indices


def check_written(count: int) -> None:
    """Raise ValueError if nothing was written yet."""
    if count < 1:
        raise ValueError(
            f"cannot read an empty memory: expected at least 1 stored item, got {count}"
        )


def check_forgettable(
    name: str,
    rows: Tensor,
    count: int,
) -> None:
    """Raise ValueError if more rows are to be forgotten than the `count` that are stored."""
    check_tensor(name, rows)
    if rows.ndim and len(rows) > count:
        raise ValueError(f"expected at most {count} stored {name} to forget, got {len(rows)}")
