"""Flat records of measurements: one JSON object a line, written by appending, read into a
DataFrame.

A file starts with a provenance line and may hold several: every session that appends puts its own
before its records, and closes with a line that says how long it took. A process that is killed
leaves no such line, and at most one incomplete last line; `load` names that one, `append` sets it
aside. A file has one writer at a time, from the first line of a session to its last:

    with Writer("needles.jsonl") as writer:     # refused while another one writes
        writer.append(records, provenance)
        writer.finish(wall_seconds=12.5)
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

from memlab import locks

HEADERS = ("provenance", "finished", "unit")  # lines that are no records


@dataclass(frozen=True)
class Record:
    """One measurement. `index` numbers repeats within a cell of the grid; `meta` holds the grid's
    coordinates."""

    experiment: str
    model: str
    task: str
    metric: str
    value: float
    seed: int = 0
    index: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


_NEEDED = {"experiment", "model", "task", "metric", "value"}
# What the fields of records and of HEADERS are, and how that is said.
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("experiment", "model", "task", "metric", "unit"), str),
    **dict.fromkeys(("seed", "index"), int),
    **dict.fromkeys(("meta", "provenance", "finished"), dict),
    "value": (int, float),
}
_SAID = {
    str: "a text",
    int: "an integer",
    dict: "an object",
    (int, float): "a finite number",
}


@dataclass(frozen=True)
class Verdict:
    """What an experiment says about one claim of the ledger: supported, refuted, qualified or not
    testable here."""

    claim: str
    verdict: str
    evidence: str

    @classmethod
    def lacking(cls, claim: str, what: str) -> Verdict:
        """That a claim cannot be judged from a record without `what` decides it."""
        return cls(claim, "not testable here", f"the record lacks {what}")

    def __str__(self) -> str:
        return f"{self.claim} {self.verdict}  {self.evidence}"


def _rows(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Numbers, texts and objects of the lines of a file that are not blank. ValueError names the
    first line that is no JSON object."""
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.strip():
            continue
        cut = False
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or too deep
            row = None
            cut = not line.endswith(b"\n")
        if not isinstance(row, dict):
            raise ValueError(
                f"{path}: line {number} is {'cut off' if cut else 'not a JSON object'}; expected"
                f" one JSON object a line, got {line[:40]!r}; the {number - 1} lines before it are"
                f" whole{' (memlab.results.repair sets a tail aside)' * cut}"
            )
        yield number, line, row


def _is_header(row: Mapping[str, Any]) -> bool:
    return not row.keys().isdisjoint(HEADERS)


def _complaint(line: bytes, row: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a line: "expected …, got …"; None if nothing is."""
    names = Record.__dataclass_fields__
    if not _is_header(row) and not _NEEDED <= row.keys() <= names.keys():
        return f"expected the fields {', '.join(names)}, got {', '.join(row)}"
    for name, value in row.items():
        kind = _KINDS.get(name, object)
        if not isinstance(value, kind):
            return f"expected {_SAID[kind]} as {name}, got {value!r}"
    if not abs(row.get("value", 0)) <= sys.float_info.max:  # nor is NaN
        return f"expected a finite number as value, got {row['value']!r}"
    meta = row.get("meta", {})
    if not meta.keys().isdisjoint(names):
        return f"expected coordinates in meta, got the field {min(meta.keys() & names)}"
    # Every key has its colon: where no more of them stand, no key stands twice.
    return _twice(line) if line.count(b":") > len(row) + len(meta) else None


def _twice(line: bytes) -> str | None:
    """What is wrong with a line whose object, or one within it, names a key twice: JSON readers
    drop one of the two without a word."""
    found: list[str] = []

    def see(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        found.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    json.loads(line, object_pairs_hook=see)
    return f"expected each key once, got {found[0]!r} twice" if found else None


def _check(path: Path, number: int, line: bytes, row: Mapping[str, Any]) -> None:
    """ValueError naming the line if it is neither a record nor one of HEADERS."""
    if complaint := _complaint(line, row):
        raise ValueError(f"{path}: line {number} is no record; {complaint}")


def _records(path: Path) -> Iterator[Record]:
    for number, line, row in _rows(path):
        _check(path, number, line, row)
        if row.keys().isdisjoint(HEADERS):
            yield Record(**{**row, "value": float(row["value"])})  # JSON may write 1 for 1.0


def _plain(value: Any) -> Any:
    """The plain number that a number of numpy or torch is."""
    try:
        return value.item()
    except (AttributeError, RuntimeError, ValueError):
        raise ValueError(f"expected a number, a text or a list of them, got {value!r}") from None


def _json(row: Mapping[str, Any]) -> str:
    """One line of JSON; numbers of numpy and torch become plain ones."""
    return json.dumps(row, ensure_ascii=False, default=_plain) + "\n"


def _line(record: Record) -> str:
    """The line of a record; ValueError if `load` would not take it."""
    line = _json(asdict(record))
    if complaint := _complaint(line.encode(), json.loads(line)):
        raise ValueError(f"{complaint} in {record}")
    return line


def _open_stream(path: Path) -> int:
    """A handle that writes to what is no file: a pipe, a terminal, /dev/null.

    ValueError if nobody reads from the pipe (to open it would wait for a reader), or if it is a
    folder or a disk.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        kind = "a directory" if stat.S_ISDIR(mode) else "neither"
        raise ValueError(f"expected a file or a pipe to write to, got {path}, which is {kind}")
    at_once = getattr(os, "O_NONBLOCK", 0)  # not on Windows
    try:
        handle = os.open(path, os.O_WRONLY | at_once | getattr(os, "O_NOCTTY", 0))
    except OSError as problem:
        if problem.errno != errno.ENXIO:
            raise
        raise ValueError(
            f"expected somebody who reads from the pipe {path}, got nobody: start the reader first"
        ) from None
    if at_once:
        os.set_blocking(handle, True)  # a reader that is slow is waited for
    return handle


def _open_out(path: Path) -> tuple[int, bool]:
    """A handle that appends to what lies at a path, made with its folder if nothing does, and
    whether it is a stream, which cannot be read back."""
    if path.exists():
        there = path.stat()
        for standard in (1, 2):  # its own output by another name: both go on where the other ends
            with contextlib.suppress(OSError):
                if os.path.samestat(there, os.fstat(standard)):
                    return os.dup(standard), True
        if not stat.S_ISREG(there.st_mode):
            return _open_stream(path), True
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666), False


class Writer(locks.OneWriter):
    """The one writer of a file of records until it is closed, or writes to a stream: a pipe, a
    terminal, /dev/stdout. Use it in a `with` block.

    ValueError if another one writes to the file.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path).absolute()
        handle, self.stream = _open_out(path)
        super().__init__(path, handle, shared=self.stream, insist=False)

    def __enter__(self) -> Writer:
        self.check()
        return self

    def append(
        self,
        records: Iterable[Record],
        provenance: Mapping[str, Any] | None = None,
    ) -> int:
        """Append records, after a provenance line if one is given, and return how many.

        Each line is written on its own, so a killed run keeps everything it had measured.
        ValueError for a record that `load` would not take.
        """
        self._begin_line()
        if provenance is not None:
            self._put(_json({"provenance": dict(provenance)}))
        count = 0
        for record in records:
            self._put(_line(record))
            count += 1
        return count

    def close_unit(self, name: str, **facts: Any) -> None:
        """Say that all records of a unit are in the file: what `resume` looks for."""
        self._begin_line()
        self._put(_json({"unit": name, **facts}))

    def finish(self, **facts: Any) -> None:
        """Close a session with what is known only at its end: wall seconds, memory, number of
        records."""
        self._begin_line()
        self._put(_json({"finished": facts}))

    def _begin_line(self) -> None:
        """Set a line aside that was cut off; what is written next would become a part of it."""
        if aside := self.repair():
            warnings.warn(
                f"{self.path} ended in the middle of a line; the piece is kept in {aside}",
                stacklevel=4,
            )

    def repair(self) -> Path | None:
        """Move an incomplete last line to `<path>.cut` and return that path; None if nothing had to
        be moved.

        A last line that is whole but lacks its line break gets one.
        """
        with self.turn():
            if self.stream or self._ends_whole():
                return None
            data = self.path.read_bytes()
            last = data.splitlines(keepends=True)[-1]
            try:
                json.loads(last.strip() or b"{}")
            except (ValueError, RecursionError):
                return self._set_aside(len(data) - len(last))
            self._put("\n")
        return None

    def resume(self, **asked: Any) -> set[str]:
        """Names of the units that the file of an interrupted run holds whole.

        What follows the last whole unit is moved to `<path>.cut`, so that the run can go on as if
        it had never begun the next one. ValueError if a session of the file was made with other
        values of `asked`, such as the profile, if a session before the last one was killed within a
        unit or two of them measured the same one (as in parts joined by hand), and for a stream.
        """
        if self.stream:
            raise ValueError(
                f"expected a file to go on with, got {self.path}, which cannot be read back"
            )
        with self.turn():
            self.repair()
            _check_sessions(self.path, asked)
            names, whole = _whole_units(self.path)
            self._set_aside(whole)
        return names

    def _ends_whole(self) -> bool:
        with open(self.path, "rb") as file:
            if not file.seek(0, os.SEEK_END):
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _put(self, line: str) -> None:
        with self.turn():
            left = memoryview(line.encode("utf-8"))
            while left:  # the system may take a part of it
                left = left[os.write(self.handle, left) :]

    def _set_aside(self, start: int) -> Path | None:
        """Move all from byte `start` on to `<path>.cut` (appending), then cut the file there; None
        if that is nothing."""
        tail = self.path.read_bytes()[start:]
        if not tail:
            return None
        aside = self.path.with_name(self.path.name + ".cut")
        with open(aside, "ab") as file:
            file.write(tail if tail.endswith(b"\n") else tail + b"\n")
        os.ftruncate(self.handle, start)
        return aside


def _check_sessions(path: Path, asked: Mapping[str, Any]) -> None:
    """ValueError unless all sessions of a file were made with these values."""
    for session in provenances(path):
        wrong = [
            f"{name} {session.get(name)!r}" for name in asked if session.get(name) != asked[name]
        ]
        if wrong:
            raise ValueError(
                f"{path}: expected a run with {asked} to go on with, got {', '.join(wrong)}"
            )


def _whole_units(path: Path) -> tuple[set[str], int]:
    """Names of the units of a file that are whole, and how many bytes belong to them: up to the end
    of the last line that is no record, and the blank lines behind it. ValueError for records that
    no unit claims, or that two do."""
    names: set[str] = set()
    whole = 0
    position = 0
    unclaimed = 0  # the first line of records that no unit claims yet
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        before, position = position, position + len(line)
        blank = not line.strip()
        row = {} if blank else json.loads(line)
        header = _is_header(row)
        if not blank and not header:
            unclaimed = unclaimed or number
        elif header and "unit" not in row and unclaimed:
            raise ValueError(
                f"{path}: expected whole units to go on with, got records of none from line"
                f" {unclaimed} to line {number - 1}"
            )
        elif "unit" in row:
            unclaimed = 0
            if row["unit"] in names:
                raise ValueError(
                    f"{path}: expected each unit once, got {row['unit']!r} again in line {number}"
                )
            names.add(row["unit"])
        if header or (blank and whole == before):
            whole = position
    return names, whole


def append(
    path: str | Path,
    records: Iterable[Record],
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """`Writer.append` to a file that is opened for this alone; creates it and its folder."""
    with Writer(path) as writer:
        return writer.append(records, provenance)


def finish(path: str | Path, **facts: Any) -> None:
    """`Writer.finish` in a file that is opened for this alone."""
    with Writer(path) as writer:
        writer.finish(**facts)


def close_unit(path: str | Path, name: str, **facts: Any) -> None:
    """`Writer.close_unit` in a file that is opened for this alone."""
    with Writer(path) as writer:
        writer.close_unit(name, **facts)


def repair(path: str | Path) -> Path | None:
    """`Writer.repair` of a file that is opened for this alone; None if there is none."""
    if not Path(path).exists():
        return None
    with Writer(path) as writer:
        return writer.repair()


def resume(path: str | Path, **asked: Any) -> set[str]:
    """`Writer.resume` of a file that is opened for this alone; no names if there is none."""
    if not Path(path).exists():
        return set()
    with Writer(path) as writer:
        return writer.resume(**asked)


def frame(records: Iterable[Record | Mapping[str, Any]]) -> pd.DataFrame:
    """Records as a DataFrame: one column a field, and one column a key of `meta`."""
    rows = []
    for record in records:
        row = asdict(record) if isinstance(record, Record) else dict(record)
        coordinates = row.pop("meta", {})
        rows.append({**coordinates, **row})
    return pd.DataFrame(rows)


def load(path: str | Path) -> pd.DataFrame:
    """All records of a file. Raises FileNotFoundError, or ValueError naming the first line that is
    not whole."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no recorded results at {path}; expected a .jsonl file written by "
            f"`python -m memlab run … --out {path.name}`"
        )
    return frame(_records(path))


def provenances(path: str | Path) -> list[dict[str, Any]]:
    """Who made the records of a file, one dict a session, oldest first; a session that ended says
    `wall_seconds`."""
    sessions: list[dict[str, Any]] = []
    path = Path(path)
    for number, line, row in _rows(path):
        if not row.keys().isdisjoint(HEADERS):
            _check(path, number, line, row)
        if "provenance" in row:
            sessions.append(row["provenance"])
        elif "finished" in row and sessions:
            sessions[-1].update(row["finished"])
    return sessions


def wilson(
    successes: int | float,
    trials: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Wilson score interval for a proportion (Wilson 1927): it stays inside 0…1 and does not
    collapse at 0 or 1.

    Raises ValueError unless 0 ≤ successes ≤ trials, trials ≥ 1 and 0 < level < 1.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"expected 0 <= successes <= trials and trials >= 1, got {successes} of {trials}"
        )
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / trials
    z2 = z * z / trials
    centre = p + z2 / 2
    half = z * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials))
    low = (centre - half) / (1 + z2)
    high = (centre + half) / (1 + z2)
    return max(0.0, low), min(1.0, high)


def summarise(
    data: pd.DataFrame,
    by: Sequence[str],
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean, Wilson bounds and count of the column `value` for every group of `by`, a missing
    coordinate included.

    Raises ValueError if a value lies outside 0…1 or a column is missing.
    """
    by = [by] if isinstance(by, str) else list(by)
    wanted = [*by, "value"]
    missing = [name for name in wanted if name not in data]
    if missing:
        raise ValueError(
            f"expected columns {', '.join(wanted)}, got none named {', '.join(missing)}"
        )
    if not data["value"].between(0, 1).all():
        raise ValueError(
            f"expected values in 0…1, got {data['value'].min()} to {data['value'].max()}, "
            f"{int(data['value'].isna().sum())} of them missing"
        )
    rows = []
    for key, group in data.groupby(by, sort=False, dropna=False):
        coordinates = dict(zip(by, key, strict=True))
        mean = group["value"].mean()
        low, high = wilson(float(group["value"].sum()), len(group), level)
        rows.append(
            {
                **coordinates,
                "mean": mean,
                "low": low,
                "high": high,
                "n": len(group),
            }
        )
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])
