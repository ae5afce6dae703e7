"""What pages and documents name in `code` is there: a path, a file, a name of the package. Prose
is not executed, so a move leaves it behind; CHANGELOG and LOG are history and may name the past."""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE_FOLDERS = ("pkg", "tests", "tools", "book")
HISTORY = ("CHANGELOG.md", "LOG.md")
NOT_INSTALLED = {"faiss"}  # a rival that only the benchmarks compare with
FENCE = re.compile(r"^( *)(`{3,})(.*?)^\1\2", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PLACEHOLDER = re.compile(r"[A-Z]{3,}|[{}<>*…]")


def documents() -> list[str]:
    """Every document of this checkout that speaks of the present, by its path."""
    found = [*ROOT.glob("*.md"), *(f for d in CODE_FOLDERS for f in (ROOT / d).rglob("*.md"))]
    names = (file.relative_to(ROOT).as_posix() for file in found)
    return sorted(name for name in names if name not in HISTORY and "node_modules" not in name)


@cache
def sources() -> dict[str, str]:
    """Path and text of every Python file but this one, which names what is not there."""
    found = (file for folder in CODE_FOLDERS for file in (ROOT / folder).rglob("*.py"))
    files = [file for file in found if file != Path(__file__)]
    return {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}


@cache
def modules() -> dict[str, str]:
    """What stands in the modules and packages of each name, `needles` for instance."""
    found: dict[str, str] = defaultdict(str)
    for name, text in sources().items():
        *folders, file = name.removesuffix(".py").split("/")
        found[file] += text
        for folder in folders:
            found[folder] += f"{file}\n{text}"
    return found


@cache
def words() -> set[str]:
    """Every word of every Python file, and the names of the files."""
    return set(re.findall(r"\w+", "\n".join(sources().values()))) | set(modules())


def dead(text: str, folder: Path = ROOT) -> Iterator[str]:
    """The code spans of `text` that name what is not there."""
    blocks = "\n".join(match[3] for match in FENCE.finditer(text))
    here = set(re.findall(r"\w+", blocks))
    for span in SPAN.findall(FENCE.sub("", text)):
        if not PLACEHOLDER.search(span) and not _is_there(span, here, folder):
            yield span


def _is_there(span: str, here: set[str], folder: Path) -> bool:
    first = span.split()[0]
    if re.match(rf"({'|'.join(CODE_FOLDERS)})/[\w./-]+$", first):
        return (ROOT / first).exists() or (folder / first).exists()
    if re.fullmatch(r"\w+\.py", first):
        return any(f"/{name}".endswith(f"/{first}") for name in sources())
    if dotted := re.match(r"([a-z_]\w+)\.([a-z_]\w+)\b(?!\()", span, re.I):
        owner, name = dotted.groups()
        if owner in modules():
            return bool(re.search(rf"\b{name}\b", modules()[owner]))
        known = owner in here or owner in NOT_INSTALLED
        return known or (ROOT / span).exists() or bool(importlib.util.find_spec(owner))
    if re.fullmatch(r"[a-z]+(_[a-z]+)+", span):
        return span in words() | here
    return True


@pytest.mark.parametrize("name", documents())
def test_what_a_document_names_is_there(name: str) -> None:
    file = ROOT / name
    assert list(dead(file.read_text("utf-8"), file.parent)) == []


@pytest.mark.parametrize(
    "gone",
    [
        "`tests/test_gone.py`",
        "`gone_module.py`",
        "`needles.a_name_that_left`",
        "`rivals_of_old.StaticNetwork`",
        "`no_such_bench`",
    ],
)
def test_a_name_that_left_is_found(gone: str) -> None:
    assert list(dead(f"Look at {gone} and at `tests/conftest.py`.")) == [gone.strip("`")]


def test_what_a_page_defines_itself_is_there() -> None:
    text = "```{code-cell} ipython3\nbox_of_mine = 1\n```\n`box_of_mine` and `box_of_mine.shape`"
    assert list(dead(text)) == []
