"""Write book/references.bib: exactly the entries that the book cites, from a larger bibliography
and from itself.

    python tools/bibliography.py MASTER.bib

Entries keep the master's order and text, without its field `verification`, without notes on how
something was checked, and without comments. What was added to the book's own file by hand, and is
not in the master, stays at its end while it is cited. Exit status 1, and nothing written, if a
cited key is in neither.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pybtex.database.input.bibtex import LowLevelParser
from pybtex.exceptions import PybtexError

BOOK = Path(__file__).resolve().parents[1] / "book"
TARGET = BOOK / "references.bib"
ROLE = re.compile(r"\{cite(?::[a-z:]+)?\}`([^`]+)`")
NOT_CITED = ("string", "comment", "preamble")
APPROXIMATE = re.compile(r"\bapproximate\b")


def cited_keys(book: Path = BOOK) -> set[str]:
    """Every key in a citation role of a page below `book`."""
    keys: set[str] = set()
    for page in sorted(book.rglob("*.md")):
        for names in ROLE.findall(page.read_text("utf-8")):
            keys.update(name.strip() for name in names.split(","))
    return keys


def entries(text: str) -> dict[str, str]:
    """Key → entry of a .bib file, a field a line, without private fields.

    ValueError if pybtex cannot read the file; its message names the line.
    """
    try:
        read = list(LowLevelParser(text))
    except PybtexError as problem:
        raise ValueError(f"expected a .bib file, got {problem}") from None
    # The values of a @string already stand in the fields that use them.
    return {
        body[0]: _entry(kind, *body) for kind, body in read if kind not in ("string", "comment")
    }


def _entry(kind: str, key: str, fields: list[tuple[str, list[str]]]) -> str:
    kept = [(name, "".join(parts)) for name, parts in fields]
    lines = [f"  {name} = {{{value}}}" for name, value in kept if not _private(name, value)]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _private(name: str, value: str) -> bool:
    return name == "verification" or (name == "note" and bool(APPROXIMATE.search(value)))


def main(argv: list[str]) -> int:
    """Write the file; 0 on success, 1 if a cited key is unknown, 2 if not called with one file."""
    if len(argv) != 1:
        print("bibliography: expected one argument, the master .bib file", file=sys.stderr)
        return 2
    keys, master = cited_keys(), entries(Path(argv[0]).read_text("utf-8"))
    own = entries(TARGET.read_text("utf-8")) if TARGET.exists() else {}
    master |= {key: entry for key, entry in own.items() if key not in master}
    if missing := sorted(keys - master.keys()):
        print(f"bibliography: cited but not in {argv[0]}: {', '.join(missing)}", file=sys.stderr)
        return 1
    cited = [entry for key, entry in master.items() if key in keys]
    TARGET.write_text("\n\n".join(cited) + "\n", "utf-8")
    print(f"{len(keys)} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
