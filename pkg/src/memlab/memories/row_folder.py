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
itself still holds of them is beyond this module).

POSIX systems, one writer: the folder is locked from `create` or `open` to `close`. All is written
relative to the folder that was opened, whatever came to be the working folder since or was put at
its path; a closed writer, a copy of one and a forked process are refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from memlab import locks
from memlab.memories import rows as storage
from memlab.memories.checks import as_count
from memlab.memories.key_value import KeyValue, KeyValueState, kept, packed
from memlab.memories.row_files import BLOCK, NAMES, Manifest, load, manifest

WIDEST = 2**31 - 1  # numbers in a row


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bytes(part: Tensor) -> Any:
    """The numbers of a tensor as a buffer, little-endian, in C order."""
    return part.contiguous().view(torch.uint8).numpy().data if part.numel() else b""


class RowFolder(locks.OneWriter):
    """The one writer of a folder of rows; `read` needs none. Use it in a `with` block, which frees
    the folder."""

    def __init__(
        self,
        folder: str | Path,
        new: Manifest | None,
        *,
        check: bool = True,
    ) -> None:
        if sys.byteorder != "little":
            raise ValueError(f"expected a little-endian machine, got a {sys.byteorder}-endian one")
        if os.name != "posix":  # where the rest of memlab runs
            raise ValueError(f"expected a POSIX system, which can lock folders, got {os.name!r}")
        self.folder = Path(folder).absolute()
        super().__init__(self.folder, os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY))
        try:
            if new is None:
                self.manifest, _ = load(self.folder, check=check)
            elif (self.folder / "manifest.json").exists():
                raise ValueError(f"expected a new folder, got {folder}, which holds rows already")
            else:
                self._begin(new)
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
        already, before anything is made for a wrong width or dtype."""
        key_dim = as_count("key_dim", key_dim, 0, WIDEST)
        value_dim = as_count("value_dim", value_dim, 0, WIDEST)
        for one in (dtype, key_dtype):
            storage.check_dtype(one)
        Path(folder).mkdir(parents=True, exist_ok=True)
        key_name = str(key_dtype).removeprefix("torch.")
        value_name = str(dtype).removeprefix("torch.")
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
        _, state = load(Path(folder), check=check)
        return state

    @property
    def state(self) -> KeyValueState:
        """What the folder holds now, mapped. ValueError if it was closed, or is no longer there."""
        self.check()
        _, state = load(self.folder, check=False)
        self.check()  # nor was it replaced while it was read
        return state

    @torch.no_grad()
    def write(
        self,
        keys: Shaped[Tensor, "new key"],
        values: Shaped[Tensor, "val value"],
        slots: Int[Tensor, " new"] | None = None,
    ) -> None:
        """Append what `KeyValue.write` would, durably: after it returns, a kill or a power cut
        takes nothing back.

        Needs RAM for these rows alone, and six fsyncs: write thousands of rows at a time.
        ValueError before anything is written if the disk is full, or the folder is no longer this
        writer's.
        """
        with self._unchanged() as m:
            self._write(m, keys, values, slots)

    def _write(
        self,
        m: Manifest,
        keys: Tensor,
        values: Tensor,
        slots: Tensor | None,
    ) -> None:
        empty = KeyValue().empty(
            m.key_width,
            m.value_width,
            dtype=getattr(torch, m.value_dtype),
            key_dtype=getattr(torch, m.key_dtype),
        )
        (new_keys, new_values, slot, *scales), longest = packed(empty, keys, values, slots)
        parts = (new_keys, new_values, slot + m.values, *scales)
        self._check_disk(len(keys), sum(part.nbytes for part in parts))
        crc = self._append(m, ([part] for part in parts))
        larger = replace(
            m,
            keys=m.keys + len(new_keys),
            values=m.values + len(new_values),
            longest=max(self._longest(m), longest),
            crc=crc,
        )
        self._commit(larger)

    def _longest(self, m: Manifest) -> float:
        """The length that no key of the folder exceeds."""
        known = m.known_longest()
        return (self.state.longest or 0.0) if known is None else known

    def forget(self, rows: Int[Tensor, " row"]) -> None:
        """Make the folder what `KeyValue.forget` would: a copy of all that stays, then the old
        files are deleted.

        States that were read before still see the old rows while they live. Needs disk space for
        the copy, and RAM for about 20 bytes a row. ValueError for a row that is not there, for a
        damaged file, or if the folder is no longer this writer's.
        """
        with self._unchanged() as m:
            self._forget(m, rows)

    def _forget(self, m: Manifest, rows: Tensor) -> None:
        # What is copied gets a CRC-32 of its own: nothing damaged may.
        _, state = load(self.folder, check=True)
        self.check()
        kept_keys, kept_values, slot = kept(state, rows)
        which_keys = kept_keys.nonzero()[:, 0]
        which_values = kept_values.nonzero()[:, 0]
        left = len(which_keys) / max(len(state), 1)
        self._check_disk(len(which_keys), round(left * sum(m.sizes())))
        keys, values, _, key_scale, value_scale = state.parts
        parts = (
            _picked(keys, which_keys),
            _picked(values, which_values),
            [slot],
            _picked(key_scale, which_keys),
            _picked(value_scale, which_values),
        )
        empty = replace(
            m,
            keys=0,
            values=0,
            generation=m.generation + 1,
            crc=(0,) * len(parts),
        )
        crc = self._append(empty, parts)
        new = replace(empty, keys=len(which_keys), values=len(which_values), crc=crc)
        self._commit(new)
        self._remove_leftovers()

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[Manifest]:
        """A block in which this thread alone writes, to the folder as it was left; ValueError if
        somebody else changed it, lock or no lock."""
        with self.turn():
            if manifest(self.folder).text() != self.manifest.text():
                raise ValueError(
                    f"expected {self.folder} as its writer left it, got the manifest of another:"
                    " open it anew"
                )
            yield self.manifest

    def _begin(self, new: Manifest) -> None:
        for name, *_ in new.layout():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.handle)  # of a `create` that was killed
        self._append(new, ((),) * len(NAMES))
        self._commit(new)
        _sync(self.folder.parent)

    def _file(self, name: str) -> IO[bytes]:
        """A file of the folder that was opened, whatever lies at its path now; made if it is not
        there."""

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_CREAT, 0o666, dir_fd=self.handle)

        return open(name, "r+b", opener=opener)

    def _append(self, behind: Manifest, parts: Iterable[Iterable[Tensor]]) -> tuple[int, ...]:
        """Write the blocks of each part behind the bytes that count, durably; the CRC-32 of all
        bytes then."""
        sums = []
        for (name, *_), size, crc, blocks in zip(
            behind.layout(), behind.sizes(), behind.crc, parts, strict=True
        ):
            with self._file(name) as file:
                length = file.seek(0, os.SEEK_END)
                if length < size:
                    raise ValueError(
                        f"{self.folder / name} is damaged: expected at least {size:,} bytes, got"
                        f" {length:,}"
                    )
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

    def _commit(self, new: Manifest) -> None:
        """Put the new manifest in the place of the old one: before this moment the folder is the
        old one."""
        self.check()  # what is committed to a folder that was moved away, nobody would find
        with self._file("manifest.part") as file:
            file.truncate(0)
            file.write(new.text().encode())
            file.flush()
            os.fsync(file.fileno())
        here = self.handle
        os.replace("manifest.part", "manifest.json", src_dir_fd=here, dst_dir_fd=here)
        self.manifest = new
        os.fsync(here)

    def _check_disk(self, rows: int, need: int) -> None:
        storage.check_fit(rows, need, shutil.disk_usage(self.handle).free)

    def _remove_leftovers(self) -> None:
        """Delete the row files of other numbers: what `forget` left when it was killed, or has just
        replaced."""
        mine = {name for name, *_ in self.manifest.layout()}
        for name in os.listdir(self.handle):
            part, _, rest = name.rpartition("-")
            if name not in mine and part in NAMES and rest.endswith(".bin"):
                os.unlink(name, dir_fd=self.handle)

    def close(self) -> None:
        """Let others write; a second time it does nothing. Nothing is lost without it: every write
        is complete when it returns."""
        super().close()

    def __enter__(self) -> RowFolder:
        self.check()
        return self


def _picked(part: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """These rows of a part, some at a time."""
    some = max(BLOCK // max(part[:1].nbytes, 1), 1)
    for index in rows.split(some):
        yield part[index]
