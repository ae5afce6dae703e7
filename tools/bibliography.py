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

BOOK = Path(__file__).resolve().parents[1] / "book"
TARGET = BOOK / "references.bib"
ROLE = re.compile(r"\{cite(?::[a-z:]+)?\}`([^`]+)`")
PRIVATE = re.compile(r"\s*(verification = |note = \{[^}]*\bapproximate\b)")


def cited_keys(book: Path = BOOK) -> set[str]:
    """Every key in a citation role of a page below `book`."""
    keys: set[str] = set()
    for page in sorted(book.rglob("*.md")):
        for names in ROLE.findall(page.read_text("utf-8")):
            keys.update(name.strip() for name in names.split(","))
    return keys


def entries(text: str) -> dict[str, str]:
    """Key → whole entry of a .bib file. ValueError if an entry is not closed."""
    found = {}
    for start in re.finditer(r"^@\w+\{([^,\s]+),", text, re.MULTILINE):
        depth = 0
        for end in range(start.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0 and text[end] == "}":
                found[start[1]] = text[start.start() : end + 1]
                break
        else:
            raise ValueError(
                f"expected a closing brace for the entry {start[1]}, got the end of the file"
            )
    return found


def public(entry: str) -> str:
    """The entry without private fields; the last field loses its comma."""
    lines = [line for line in entry.splitlines() if not PRIVATE.match(line)]
    lines[-2] = lines[-2].rstrip(",")
    return "\n".join(lines)


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
    TARGET.write_text(
        "\n\n".join(public(entry) for key, entry in master.items() if key in keys) + "\n", "utf-8"
    )
    print(f"{len(keys)} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
