"""English verse where Debian's package `fortunes` is installed, and collections of the hub by name.

What is installed or fetched is read, never shipped: the book prints numbers about these poems and
not the poems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from memlab.corpora import poems
from memlab.corpora.poems import FORTUNES, Poem, printable

# What hub data sets call the parts of a poem; compared in lower case.
COLUMNS = {
    "author": ("author", "poet", "writer"),
    "title": ("title", "name"),
    "text": ("content", "poem", "text", "paragraphs", "body"),
    "dynasty": ("dynasty",),
}
_SIGNED = re.compile(r"\n[ \t]*--[ \t]*(?P<who>(?:[^\n]+)(?:\n[ \t]+[^\n]+)*)\s*\Z")
_AUTHOR_TITLE = re.compile(
    r"(?!To |From )(?P<author>[A-Z][^\"\[(]*?)[\s,]*\"(?P<title>[^\"]+?),?\""
)


def english(name: str = "songs-poems", folder: str | Path = FORTUNES) -> list[Poem]:
    """Poems and songs of the package fortunes that are signed with author and title, in the file's
    order.

    Left out: what lacks either, is shorter than two lines, is not `printable`, or is set in columns
    (tabs inside a line) or overstruck. Line breaks and indentation stay, a tab being eight columns.
    FileNotFoundError where the package is not installed; ValueError where a file of that name is
    not UTF-8 or holds no such poem. Some titles are those of a book or a record.
    """
    path = Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(
            f"expected the verse of the Debian or Ubuntu package fortunes at {path}: install it "
            "with `apt install fortunes`"
        )
    entries = re.split(r"^%[ \t]*$", poems.utf8(path).replace("\r", ""), flags=re.M)
    found = [poem for poem in map(_signed, entries) if poem]
    if not found:
        raise ValueError(
            f'{path}: expected verse signed with author and title, as in -- A. Poet, "Ode", got '
            f"{len(entries)} entries without"
        )
    return found


def _signed(entry: str) -> Poem | None:
    """The poem of an entry; None where it is not signed with author and title, or not plain lines
    of verse."""
    signature = _SIGNED.search(entry)
    parts = _AUTHOR_TITLE.match(" ".join(signature["who"].split())) if signature else None
    if not signature or not parts:
        return None
    lines = [line.rstrip() for line in entry[: signature.start()].strip("\n").split("\n")]
    if len([line for line in lines if line]) < 2 or any(
        "\t" in line.strip() or "\b" in line for line in lines
    ):
        return None
    poem = Poem(
        parts["author"].strip(),
        parts["title"].strip(),
        "\n".join(line.expandtabs() for line in lines),
    )
    return poem if all(map(printable, (poem.author, poem.title, poem.text))) else None


def hub(
    name: str,
    *,
    split: str = "train",
    limit: int = 0,
    columns: Mapping[str, str] | None = None,
) -> list[Poem]:
    """Poems of a hub data set asked for by name, as in "hub:owner/name": the first `limit` of a
    split (0: all).

    Columns are found by their usual names (COLUMNS); `columns` says which is which where they have
    others, as in {"text": "verses"}. Lists of lines are joined, numbers are written out; rows whose
    author, title or text is missing, anything else than these or not `printable` are passed over.
    This alone of the module uses the network.
    ModuleNotFoundError without the package datasets; ValueError for a name without "hub:" and an
    owner, or columns that cannot be found.
    """
    if not re.fullmatch(r"hub:[\w.-]+/[\w.-]+", name):
        raise ValueError(f"expected a data set as hub:owner/name, got {name!r}")
    try:
        from datasets import load_dataset
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"expected the package datasets to read {name}: install it with `pip install datasets`"
        ) from None
    return from_rows(
        load_dataset(name.removeprefix("hub:"), split=split, streaming=bool(limit)),
        limit=limit,
        columns=columns,
        source=name,
    )


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    limit: int = 0,
    columns: Mapping[str, str] | None = None,
    source: str = "rows",
) -> list[Poem]:
    """Poems of any rows with named columns, a data set or a list of dicts; see `hub`."""
    found: list[Poem] = []
    which: dict[str, str] = {}
    for row in rows:
        which = which or _columns(row, dict(columns or {}), source)
        parts = {part: _text(row.get(column)) for part, column in which.items()}
        texts = {part: text for part, text in parts.items() if text is not None}
        needed = [text for part, text in texts.items() if text or part != "dynasty"]
        if len(texts) == len(parts) and all(map(printable, needed)):
            found.append(Poem(**texts))
        if limit and len(found) == limit:
            break
    return found


def _columns(
    row: Mapping[str, Any],
    asked: dict[str, str],
    source: str,
) -> dict[str, str]:
    lower = {str(column).lower(): str(column) for column in row}
    which = {}
    for part, names in COLUMNS.items():
        present = [name for name in names if name in lower]
        if present:
            which[part] = lower[present[0]]
    which |= asked
    missing = [part for part in ("author", "title", "text") if which.get(part) not in row]
    if missing:
        raise ValueError(
            f"{source}: expected columns for author, title and text, found none for"
            f" {', '.join(missing)} among {', '.join(map(str, row))}"
        )
    return which


def _text(value: Any) -> str | None:
    """A text, a number or a list of lines as text, "" where nothing is; None for anything else."""
    import pandas as pd

    if hasattr(value, "tolist"):  # an array of lines, or a number of a table
        value = value.tolist()
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    lines = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(line, str) for line in lines):
        return None
    return "\n".join(lines).strip()


def collection(name: str, limit: int = 0) -> list[Poem]:
    """Poems by the name of their source: "tang300", "song100", "songs-poems", "hub:owner/name" or a
    .jsonl file.

    At most the first `limit` (0: all). FileNotFoundError where it is not installed, ValueError for
    another name.
    """
    if name.startswith("hub:"):
        return hub(name, limit=limit)
    readers: dict[str, Callable[[str], list[Poem]]] = {
        "tang300": poems.fortunes,
        "song100": poems.fortunes,
        "songs-poems": english,
    }
    reader = poems.jsonl if name.endswith(".jsonl") else readers.get(name)
    if reader is None:
        raise ValueError(
            f"unknown collection {name!r}: expected {', '.join(readers)}, hub:owner/name or a"
            " .jsonl file"
        )
    return list(islice(reader(name), limit or None))
