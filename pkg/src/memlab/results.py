"""Flat records of measurements: one JSON object a line, written by appending, read into a
DataFrame.

A file starts with a provenance line and may hold several: every session that appends puts its own
before its records, and closes with a line that says how long it took. A process that is killed
leaves no such line, and at most one incomplete last line; `load` names that one, `append` sets it
aside.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

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


@dataclass(frozen=True)
class Verdict:
    """What an experiment says about one claim of the ledger: supported, refuted, qualified or not
    testable here."""

    claim: str
    verdict: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.claim} {self.verdict}  {self.evidence}"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
        except ValueError:  # not JSON, or not UTF-8
            row = None
        if not isinstance(row, dict):
            kind = "not a JSON object" if line.endswith(b"\n") else "cut off"
            raise ValueError(
                f"{path}: line {number} is {kind}; expected one JSON object a line, got"
                f" {line[:40]!r}; the {number - 1} lines before it are whole (memlab.results.repair"
                " sets a tail aside)"
            )
        yield row


def _records(path: Path) -> Iterator[Record]:
    for number, row in enumerate(_lines(path), 1):
        if any(header in row for header in HEADERS):
            continue
        try:
            yield Record(**row)
        except TypeError:
            raise ValueError(
                f"{path}: line {number} is no record; expected the fields "
                f"{', '.join(Record.__dataclass_fields__)}, got {', '.join(row)}"
            ) from None


def _set_aside(path: Path, start: int) -> Path | None:
    """Move all from byte `start` on to `<path>.cut` (appending), then cut the file there; None if
    that is nothing."""
    tail = path.read_bytes()[start:]
    if not tail:
        return None
    aside = path.with_name(path.name + ".cut")
    with open(aside, "ab") as file:
        file.write(tail if tail.endswith(b"\n") else tail + b"\n")
    with open(path, "r+b") as file:
        file.truncate(start)
    return aside


def repair(path: str | Path) -> Path | None:
    """Move an incomplete last line to `<path>.cut` and return that path; None if nothing had to be
    moved.

    A last line that is whole but lacks its line break gets one.
    """
    path = Path(path)
    data = path.read_bytes() if path.exists() else b""
    if not data or data.endswith(b"\n"):
        return None
    start = data.rfind(b"\n") + 1
    try:
        json.loads(data[start:])
    except ValueError:
        return _set_aside(path, start)
    with open(path, "ab") as file:
        file.write(b"\n")
    return None


def _json(row: Mapping[str, Any]) -> str:
    """One line of JSON; numbers of numpy and torch become plain ones."""
    return json.dumps(row, ensure_ascii=False, default=lambda number: number.item()) + "\n"


def append(
    path: str | Path,
    records: Iterable[Record],
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Append records, after a provenance line if one is given, and return how many; creates the
    file and its folder.

    Each line is flushed on its own, so a killed run keeps everything it had measured.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if aside := repair(path):
        warnings.warn(
            f"{path} ended in the middle of a line; the piece is kept in {aside}", stacklevel=2
        )
    count = 0
    with open(path, "a", encoding="utf-8", newline="\n") as file:
        if provenance is not None:
            file.write(_json({"provenance": dict(provenance)}))
            file.flush()
        for record in records:
            file.write(_json(asdict(record)))
            file.flush()
            count += 1
    return count


def finish(path: str | Path, **facts: Any) -> None:
    """Close a session of a file with what is known only at its end: wall seconds, memory, number of
    records."""
    with open(path, "a", encoding="utf-8", newline="\n") as file:
        file.write(_json({"finished": facts}))


def close_unit(path: str | Path, name: str, **facts: Any) -> None:
    """Say that all records of a unit are in the file: what `resume` looks for."""
    with open(path, "a", encoding="utf-8", newline="\n") as file:
        file.write(_json({"unit": name, **facts}))


def resume(path: str | Path, **asked: Any) -> set[str]:
    """Names of the units that a file of an interrupted run holds whole (none if there is no file).

    What follows the last whole unit is moved to `<path>.cut`, so that the run can go on as if it
    had never begun the next one. ValueError if a session of the file was made with other values of
    `asked`, such as the profile.
    """
    path = Path(path)
    if not path.exists():
        return set()
    repair(path)
    for session in provenances(path):
        wrong = [
            f"{name} {session.get(name)!r}" for name in asked if session.get(name) != asked[name]
        ]
        if wrong:
            raise ValueError(
                f"{path}: expected a run with {asked} to go on with, got {', '.join(wrong)}"
            )
    names = set()
    whole = 0  # bytes up to the end of the last line that is no record
    position = 0
    for line in path.read_bytes().splitlines(keepends=True):
        position += len(line)
        row = json.loads(line)
        if "unit" in row:
            names.add(row["unit"])
        if any(header in row for header in HEADERS):
            whole = position
    _set_aside(path, whole)
    return names


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
    for row in _lines(Path(path)):
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
