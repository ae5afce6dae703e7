"""Rows as they are kept: float32, float16 or int8 with a scale each, in tensors with spare room
behind them.

An int8 row is scale · code, code a whole number from −127 to 127 and scale = max|row| / 127 in
float32: each number is off by at most scale / 2. What the row *is* from then on is that product,
and all that ranks rows uses it exactly: 24 by 8 bits fit in float64.
"""

from __future__ import annotations

import math
import os
import threading
import time
from functools import lru_cache

import torch
from jaxtyping import Float, Float32, Int8, Shaped
from torch import Tensor

from memlab import runtime
from memlab.memories.checks import as_count, as_device, as_rows

Stored = Float[Tensor, "_ _"] | Int8[Tensor, "_ _"]
Scale = Float32[Tensor, "_ _"]  # one column beside int8 rows, none beside the others
FLOAT32_SQUARES = (2.0**-60, 2.0**60)  # lengths whose squares float32 holds
NUMBERS_AT_ONCE = 2**20  # of rows, widened at a time to be measured
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8)


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless rows can be kept in `dtype`."""
    if dtype not in DTYPES:
        raise ValueError(f"expected rows in one of {', '.join(map(str, DTYPES))}, got {dtype}")


def row_bytes(width: int, dtype: torch.dtype) -> int:
    """Bytes of one row of `width` numbers, its scale included."""
    return width * dtype.itemsize + (4 if dtype == torch.int8 else 0)


def empty(
    width: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> tuple[Stored, Scale]:
    """No rows of `width` numbers, and their scales."""
    check_dtype(dtype)
    as_count("a width", width)
    device = as_device(device)
    rows = torch.empty(0, width, dtype=dtype, device=device)
    scales = 1 if dtype == torch.int8 else 0
    return rows, torch.empty(0, scales, dtype=torch.float32, device=device)


def pack(
    name: str,
    rows: Shaped[Tensor, "_ _"],
    like: Stored,
) -> tuple[Stored, Scale]:
    """`rows` in the dtype and on the device of `like`, and their scales. ValueError for a wrong
    width, or for numbers that are not finite in that dtype or vanish in it."""
    dtype = torch.float32 if like.dtype == torch.int8 else like.dtype
    rows = as_rows(name, rows, like.shape[1], dtype=dtype, device=like.device)
    if like.dtype != torch.int8:
        return rows, torch.empty(len(rows), 0, dtype=torch.float32, device=rows.device)
    largest = rows.new_zeros(len(rows), 1)
    if rows.shape[1]:
        largest = rows.abs().amax(1, keepdim=True)
    # A scale of so few digits would not be that of its row.
    lost = int(((largest > 0) & (largest < torch.finfo(dtype).tiny)).sum())
    if lost:
        raise ValueError(f"{name} must not vanish in torch.int8, got {lost} rows that do")
    scale = largest / 127
    exact = torch.where(scale > 0, rows / scale, 0)
    codes = exact.round().clamp(-127, 127).to(torch.int8)
    return codes, scale


def unpack(
    rows: Stored,
    scale: Scale,
    dtype: torch.dtype,
) -> Float[Tensor, "_ _"]:
    """The numbers that the rows stand for; exact for dtype=float64."""
    wide = rows.to(dtype)
    return wide * scale.to(dtype) if scale.shape[1] else wide


def longest(rows: Stored, scale: Scale) -> float:
    """The greatest length of a row, 0 without rows; a million numbers at a time. ValueError for
    rows without a finite length."""
    some = max(NUMBERS_AT_ONCE // max(rows.shape[1], 1), 1)
    greatest = 0.0
    for part, part_scale in zip(rows.split(some), scale.split(some), strict=True):
        if len(part):
            greatest = max(greatest, _longest(part.detach(), part_scale))
    return greatest


def _longest(rows: Stored, scale: Scale) -> float:
    length = 0.0
    for dtype in (torch.promote_types(rows.dtype, torch.float32), torch.float64):
        length = float(torch.linalg.vector_norm(unpack(rows, scale, dtype), dim=1).max())
        if FLOAT32_SQUARES[0] < length < FLOAT32_SQUARES[1]:
            return length
    if not math.isfinite(length):
        raise ValueError(f"expected rows of finite length, got a length of {length}")
    return length


def available_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device` without swapping, as of the last tenth of a
    second."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _available_memory(int(time.monotonic() * 10))


@lru_cache(maxsize=1)  # asking the system takes longer than writing a few rows
def _available_memory(tenth: int) -> int:
    return runtime.available_memory()


def check_fit(
    rows: int,
    need: int,
    limit: int,
) -> None:
    """Raise ValueError if `rows` rows of `need` bytes in all do not fit into `limit` bytes."""
    if need > limit:
        raise ValueError(
            f"{rows:,} rows need {need:,} bytes, but {limit:,} bytes are available: "
            f"at most {rows * limit // need:,} rows would fit"
        )


class Room:
    """Rows with spare ones behind them. States see the first rows; one that sees all in use may
    append, in the process that made the room."""

    process = 0  # none: that of a room which an earlier version pickled

    def __init__(self, like: Tensor, capacity: int) -> None:
        self.rows = like.new_empty((capacity, *like.shape[1:]))
        self.used = 0
        self.process = os.getpid()
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Room], tuple[Tensor, int]]:
        """Copied or sent without rows: they may be the same memory as this room's, and of what is
        in use each would keep its own account."""
        return Room, (self.rows[:0].clone(), 0)

    def claim(self, old: Tensor, total: int) -> bool:
        """Whether `old` ends where the spare rows begin, and `total` rows fit: the spare ones up to
        there are then the caller's alone."""
        if self.process != os.getpid():  # a fork, and the rows may be in memory that both share
            return False
        with self.lock:
            ours = self.used == len(old) and total <= len(self.rows)
            if ours:
                self.used = total
        return ours

    def give_back(self, old: Tensor, total: int) -> None:
        """Undo a claim whose rows nobody has seen."""
        with self.lock:
            if self.used == total:  # a claim of no rows at all leaves them to others
                self.used = len(old)

    def fill(self, start: int, new: Tensor) -> Tensor:
        """All rows up to the end of `new`, which is put where the claimed ones begin."""
        end = start + len(new)
        self.rows[start:end] = new
        return self.rows[:end]


Rooms = tuple[Room, ...]


def append(
    old: tuple[Tensor, ...],
    rooms: Rooms | None,
    new: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], Rooms]:
    """Each of `old` with its `new` rows behind it, in its room where they fit, in a larger copy
    where they do not. Of threads that append to the same rows, one gets the room.

    ValueError before anything is allocated if there is no memory for the copies.
    """
    places = list(rooms or (Room(part, 0) for part in old))
    totals = [len(before) + len(more) for before, more in zip(old, new, strict=True)]
    full = [i for i in range(len(old)) if not places[i].claim(old[i], totals[i])]
    try:
        if full:
            need = sum(totals[i] * _bytes_of_a_row(old[i]) for i in full)
            check_fit(totals[0], need, available_bytes(old[0].device))
        for i in full:
            places[i] = _larger(old[i], totals[i])
    except BaseException:
        for i in set(range(len(old))) - set(full):
            places[i].give_back(old[i], totals[i])
        raise
    rows = tuple(
        place.fill(len(before), more) for place, before, more in zip(places, old, new, strict=True)
    )
    return rows, tuple(places)


def _larger(old: Tensor, total: int) -> Room:
    """A room of its own for `old` and what comes behind it, `total` rows in all."""
    room = Room(old, max(total, len(old) * 3 // 2))
    room.fill(0, old)
    room.used = total
    return room


def _bytes_of_a_row(rows: Tensor) -> int:
    return rows.element_size() * rows.shape[1:].numel()
