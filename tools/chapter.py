"""A chapter, read from its source and its notebook: sections, prose, code cells with their
outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

import notebooks
import quiz
import repository

ROOT = Path(__file__).resolve().parents[1]
BOOTSTRAP = """\
# Set-up: does nothing where the book's package is already installed (Colab: installs it, leaves torch alone).
import importlib.util, os, subprocess, sys
if importlib.util.find_spec("memlab") is None:
    url = os.environ.get("MEMLAB_URL", "git+{url}@{branch}#subdirectory=pkg")
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "--no-deps", url])
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "jaxtyping", "einops", "bm25s"])
    importlib.invalidate_caches()
import memlab  # says what is needed if torch or transformers is too old"""  # noqa: E501


@dataclass(frozen=True)
class Section:
    """What stands below one H2: its cells, the prose of its markdown cells, and its code cells."""

    title: str
    cells: tuple[NotebookNode, ...]

    @property
    def prose(self) -> str:
        """All markdown of the section."""
        return "\n\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")

    @property
    def code(self) -> list[NotebookNode]:
        """All code cells of the section."""
        return [cell for cell in self.cells if cell.cell_type == "code"]


@dataclass(frozen=True)
class Chapter:
    """A chapter's cells (with outputs where its notebook has them), the sections they fall into,
    and its quizzes as they stand in the source."""

    cells: tuple[NotebookNode, ...]
    size: int
    bootstrap: str
    quizzes: tuple[quiz.Question, ...]

    @property
    def code(self) -> list[NotebookNode]:
        """All code cells."""
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def sections(self) -> list[Section]:
        """The opening (title "") and every H2 section, in order."""
        found: list[tuple[str, list[NotebookNode]]] = [("", [])]
        for cell in self.cells:
            if cell.cell_type == "code":
                found[-1][1].append(cell)
                continue
            for piece in _split_at_headings(cell.source):
                if heading := re.match(r"## +(.+?) *$", piece, re.M):
                    found.append((heading[1], []))
                found[-1][1].append(NotebookNode(cell_type="markdown", source=piece))
        return [Section(title, tuple(cells)) for title, cells in found]

    def section(self, title: str) -> Section:
        """The section of that title, empty if there is none (another rule reports that)."""
        return next(
            (section for section in self.sections if section.title == title), Section(title, ())
        )


def read(md: Path, root: Path = ROOT) -> Chapter:
    """A chapter from its source, and from its notebook where that agrees with the source."""
    where, notebook, path = (
        repository.setting(root),
        notebooks.from_md(md),
        md.with_suffix(".ipynb"),
    )
    size = 0
    if path.exists():
        size, old = path.stat().st_size, notebooks.read(path)
        if notebooks.same_code(notebook, old):
            notebooks.keep_outputs(notebook, old)
    return Chapter(
        tuple(notebook.cells),
        size,
        BOOTSTRAP.format(url=where.url, branch=where.branch),
        tuple(quiz.questions(md.read_text("utf-8"))),
    )


def _split_at_headings(markdown: str) -> list[str]:
    """Markdown in pieces that start at an H2; headings inside fenced blocks do not count."""
    pieces: list[list[str]] = [[]]
    fence = ""
    for line in markdown.split("\n"):
        if mark := re.match(r" *(`{3,}|:{3,}|~{3,})", line):
            fence = "" if fence and line.strip() == fence else fence or mark[1]
        if line.startswith("## ") and not fence:
            pieces.append([])
        pieces[-1].append(line)
    return ["\n".join(piece) for piece in pieces if any(line.strip() for line in piece)]
