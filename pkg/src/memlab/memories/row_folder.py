"""Rows in a folder of plain files: written in a stream, safe against a kill at any moment, read
where they lie.

    with RowFolder.create("rows", 128, 1024, dtype=torch.int8, key_dtype=torch.int8) as folder:
        for keys, values in blocks:
            folder.write(keys, values)                  # on disk when it returns
    state = RowFolder.read("rows")     # a KeyValueState whose rows are the files, mapped
    latents = KeyValue().read(state, queries)

A write appends to the files, makes them durable, and then puts a new manifest in the place of the
old one, in one step: until then the bytes behind the old count are nobody's, and the next write
puts its own over them. Forgetting writes all that stays to files of the next number, and deletes
the old ones once the new manifest is there: the forgotten rows are in no file then (what the disk
itself still holds of them is beyond this module). POSIX systems, one writer.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memlab.memories import rows as storage
from memlab.memories.key_value import KeyValue, KeyValueState, kept, packed
from memlab.memories.row_files import BLOCK, NAMES, Manifest, load


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bytes(part: Tensor) -> Any:
    """The numbers of a tensor as a buffer, little-endian, in C order."""
    return part.contiguous().view(torch.uint8).numpy().data if part.numel() else b""


class RowFolder:
    """The one writer of a folder of rows; `read` needs none. Use it in a `with` block, which frees
    the folder."""

    def __init__(
        self, folder: str | Path, manifest: Manifest | None, *, check: bool = True
    ) -> None:
        if sys.byteorder != "little":
            raise ValueError(f"expected a little-endian machine, got a {sys.byteorder}-endian one")
        import fcntl  # not on Windows, where the rest of memlab runs

        self.folder = Path(folder)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ValueError(
                f"expected no other writer of {self.folder}, got one that has not closed it"
            ) from None
        try:
            if manifest is None:
                self.manifest = load(self.folder, check=check)[0]
            elif (self.folder / "manifest.json").exists():
                raise ValueError(f"expected a new folder, got {folder}, which holds rows already")
            else:
                self._begin(manifest)
            self._remove_leftovers()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        folder: str | Path,
        key_dim: int,
        value_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        key_dtype: torch.dtype = torch.float32,
    ) -> RowFolder:
        """A folder without rows, made with its parents, to write to. ValueError if it holds rows
        already."""
        for one in (dtype, key_dtype):
            storage.check_dtype(one)
        Path(folder).mkdir(parents=True, exist_ok=True)
        key_name, value_name = (str(one).removeprefix("torch.") for one in (key_dtype, dtype))
        return cls(folder, Manifest(key_dim, value_dim, key_name, value_name))

    @classmethod
    def open(cls, folder: str | Path, *, check: bool = True) -> RowFolder:
        """A folder with rows, to write on. ValueError names what is damaged (`check` reads all
        files for that)."""
        return cls(folder, None, check=check)

    @staticmethod
    def read(folder: str | Path, *, check: bool = True) -> KeyValueState:
        """The last complete state of a folder, mapped: RAM is needed for what is being scanned, and
        is given back.

        Later writes do not change it. ValueError names the file that is damaged: too short, or,
        with `check` (which reads all bytes once), another CRC-32 than was written.
        """
        return load(Path(folder), check=check)[1]

    @property
    def state(self) -> KeyValueState:
        """What the folder holds now, mapped."""
        return load(self.folder, check=False)[1]

    @torch.no_grad()
    def write(
        self,
        keys: Float[Tensor, "new key"],
        values: Float[Tensor, "val value"],
        slots: Int[Tensor, " new"] | None = None,
    ) -> None:
        """Append what `KeyValue.write` would, durably: after it returns, a kill or a power cut
        takes nothing back.

        Needs RAM for these rows alone, and six fsyncs: write thousands of rows at a time.
        ValueError before anything is written if the disk is full.
        """
        m = self.manifest
        empty = KeyValue().empty(
            m.key_width,
            m.value_width,
            dtype=getattr(torch, m.value_dtype),
            key_dtype=getattr(torch, m.key_dtype),
        )
        (new_keys, new_values, slot, *scales), longest = packed(empty, keys, values, slots)
        parts = new_keys, new_values, slot + m.values, *scales
        self._check_disk(len(keys), sum(part.nbytes for part in parts))
        larger = replace(
            m,
            keys=m.keys + len(new_keys),
            values=m.values + len(new_values),
            longest=max(m.longest, longest),
        )
        self._commit(replace(larger, crc=self._append(m, ([part] for part in parts))))

    def forget(self, rows: Int[Tensor, " row"]) -> None:
        """Make the folder what `KeyValue.forget` would: a copy of all that stays, then the old
        files are deleted.

        States that were read before still see the old rows while they live. Needs disk space for
        the copy, and RAM for about 20 bytes a row. ValueError for a row that is not there.
        """
        state, m = self.state, self.manifest
        kept_keys, kept_values, slot = kept(state, rows)
        stays = [mask.nonzero()[:, 0] for mask in (kept_keys, kept_values)]
        left = len(stays[0]) / max(len(state), 1)
        self._check_disk(len(stays[0]), round(left * sum(m.sizes())))
        masks = (stays[0], stays[1], None, stays[0], stays[1])
        new = replace(
            m, keys=len(stays[0]), values=len(stays[1]), generation=m.generation + 1, crc=(0,) * 5
        )

        def copied(part: Tensor, mask: Tensor | None) -> Iterable[Tensor]:
            some = max(BLOCK // max(part[:1].nbytes, 1), 1)
            return [slot] if mask is None else (part[index] for index in mask.split(some))

        start = replace(new, keys=0, values=0)
        crc = self._append(start, (copied(*pair) for pair in zip(state.parts, masks, strict=True)))
        self._commit(replace(new, crc=crc))
        self._remove_leftovers()

    def _begin(self, manifest: Manifest) -> None:
        for leftover in (self.folder / name for name, *_ in manifest.layout()):
            leftover.unlink(missing_ok=True)  # of a `create` that was killed
        self._append(manifest, ((),) * len(NAMES))
        self._commit(manifest)
        _sync(self.folder.absolute().parent)

    def _append(self, behind: Manifest, parts: Iterable[Iterable[Tensor]]) -> tuple[int, ...]:
        """Write the blocks of each part behind the bytes that count, durably; the CRC-32 of all
        bytes then."""
        sums = []
        for (name, *_), size, crc, blocks in zip(
            behind.layout(), behind.sizes(), behind.crc, parts, strict=True
        ):
            path = self.folder / name
            with open(path, "r+b" if path.exists() else "w+b") as file:
                file.truncate(size)
                file.seek(size)
                for block in blocks:
                    data = _bytes(block)
                    crc = zlib.crc32(data, crc)
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            sums.append(crc)
        return tuple(sums)

    def _commit(self, manifest: Manifest) -> None:
        """Put the new manifest in the place of the old one: before this moment the folder is the
        old one."""
        part = self.folder / "manifest.part"
        part.write_text(manifest.text(), "utf-8")
        _sync(part)
        os.replace(part, self.folder / "manifest.json")
        self.manifest = manifest
        _sync(self.folder)

    def _check_disk(self, rows: int, need: int) -> None:
        storage.check_fit(rows, need, shutil.disk_usage(self.folder).free)

    def _remove_leftovers(self) -> None:
        """Delete the row files of other numbers: what `forget` left when it was killed, or has just
        replaced."""
        mine = {name for name, *_ in self.manifest.layout()}
        for path in self.folder.glob("*-*.bin"):
            if path.name not in mine and path.name.rsplit("-", 1)[0] in NAMES:
                path.unlink()

    def close(self) -> None:
        """Let others write. Nothing is lost without it: every write is complete when it returns."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> RowFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
