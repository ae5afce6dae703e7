"""The format of a folder of rows: one plain file a part, and a manifest that says how much of each
counts.

`keys-0.bin`, `values-0.bin`, `slot-0.bin`, `key_scale-0.bin` and `value_scale-0.bin` hold the rows
one behind another, little-endian, in C order. `manifest.json` names widths, dtypes and numbers of
rows, from which the bytes follow that count of each file, and the CRC-32 of those bytes; what lies
behind them is what a killed write left, and is nobody's.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memlab.memories import rows as storage
from memlab.memories.key_value import KeyValueState, state_of

NAMES = ("keys", "values", "slot", "key_scale", "value_scale")  # the order of KeyValueState.parts
FORMAT = "memlab rows 1"
BLOCK = 2**20  # bytes read or copied at a time


@dataclass(frozen=True)
class Manifest:
    """What a folder holds: numbers of rows, widths, dtypes, and of each file how many bytes count
    and their CRC-32."""

    key_width: int
    value_width: int
    key_dtype: str
    value_dtype: str
    keys: int = 0
    values: int = 0
    longest: float = 0.0
    generation: int = 0  # the number in the files' names
    crc: tuple[int, ...] = (0, 0, 0, 0, 0)  # in the order of NAMES
    format: str = FORMAT

    def layout(self) -> Iterator[tuple[str, int, int, torch.dtype]]:
        """File name, rows, width and dtype of each part."""
        key_dtype = getattr(torch, self.key_dtype)
        value_dtype = getattr(torch, self.value_dtype)
        shapes = (
            (self.keys, self.key_width, key_dtype),
            (self.values, self.value_width, value_dtype),
            (self.keys, 1, torch.long),
            (self.keys, int(key_dtype == torch.int8), torch.float32),
            (self.values, int(value_dtype == torch.int8), torch.float32),
        )
        for name, (rows, width, dtype) in zip(NAMES, shapes, strict=True):
            yield f"{name}-{self.generation}.bin", rows, width, dtype

    def sizes(self) -> list[int]:
        """Bytes that count of each file."""
        return [rows * width * dtype.itemsize for _, rows, width, dtype in self.layout()]

    def known_longest(self) -> float | None:
        """The length that no key exceeds; None where the one that is written is too small to be
        trusted, since it may have been measured in float32, which has no squares of such
        numbers."""
        return self.longest if self.longest > storage.FLOAT32_SQUARES[0] else None

    def text(self) -> str:
        """JSON, with a CRC-32 of itself as the last line but one."""
        body = json.dumps(asdict(self), indent=1)
        return f'{body[:-2]},\n "manifest_crc": {zlib.crc32(body.encode())}\n}}\n'


def manifest(folder: Path) -> Manifest:
    """The manifest of a folder; ValueError if there is none, or it is damaged or not ours."""
    path = folder / "manifest.json"
    try:
        data = path.read_bytes()  # once: a writer may put another one in its place at any time
    except FileNotFoundError:
        raise ValueError(f"expected the manifest of a folder of rows, got no file {path}") from None
    try:
        fields: dict[str, Any] = json.loads(data)
        del fields["manifest_crc"]
        found = Manifest(**{**fields, "crc": tuple(fields["crc"])})
        if found.format == FORMAT and found.text().encode() == data:
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{path} is damaged: expected the text that memlab wrote ({FORMAT}), got another"
    )


def _check_file(
    path: Path,
    size: int,
    crc: int,
    every_byte: bool,
) -> None:
    """ValueError naming the file if it has fewer bytes than count, or if those that count are
    others than written."""
    length = path.stat().st_size
    if length < size:
        raise ValueError(f"{path} is damaged: expected at least {size:,} bytes, got {length:,}")
    if not every_byte:
        return
    found = _crc(path, size)
    if found != crc:
        raise ValueError(
            f"{path} is damaged: expected CRC-32 {crc:08x} of its first {size:,} bytes, got"
            f" {found:08x}"
        )


def _crc(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file."""
    found = 0
    left = size
    with open(path, "rb") as file:
        while left and (block := file.read(min(BLOCK, left))):
            found = zlib.crc32(block, found)
            left -= len(block)
    return found


def _map(
    path: Path,
    rows: int,
    width: int,
    dtype: torch.dtype,
) -> Tensor:
    """The first rows of a file, read from disk when they are used; what is written to them never
    reaches the file."""
    if not rows * width:
        return torch.empty(rows, width, dtype=dtype)
    flat = torch.from_file(str(path), shared=False, size=rows * width, dtype=dtype)
    return flat.view(rows, width)


def load(folder: Path, *, check: bool = True) -> tuple[Manifest, KeyValueState]:
    """The manifest of a folder and its rows, mapped; with `check` all bytes that count are read
    once.

    ValueError names the file that is damaged or missing.
    """
    while True:
        found = manifest(folder)
        try:
            for (name, *_), size, crc in zip(found.layout(), found.sizes(), found.crc, strict=True):
                _check_file(folder / name, size, crc, check)
            keys, values, slot, *scales = (
                _map(folder / name, rows, width, dtype)
                for name, rows, width, dtype in found.layout()
            )
        # Torch raises a RuntimeError for a file that is gone.
        except (FileNotFoundError, RuntimeError) as problem:
            if manifest(folder).generation == found.generation:
                raise ValueError(
                    f"{folder} is damaged: expected all files of its manifest, got {problem}"
                ) from None
            continue  # a writer has just put others in their place
        parts = (keys, values, slot[:, 0], *scales)
        state = state_of(parts, found.known_longest())  # type: ignore[arg-type]
        return found, state
