"""English texts that many people copied, read where a system has them, and texts that no model of
2024 can have read.

Nothing is shipped: licences lie on every Debian system, the state papers of the United States in
its package miscfiles, the King James Bible in bible-kjv, verse in fortunes.
"""

from __future__ import annotations

import ast
import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from memlab import runtime
from memlab.book.opening_the_box.reciting import pretrained as lessons
from memlab.corpora import poems as corpus
from memlab.corpora import text, verse

LICENCES = Path("/usr/share/common-licenses")
STATE = Path("/usr/share/state")
OWN = ("memlab.memories", "memlab.decoder")
EXPLAINED = (ast.Module, ast.ClassDef, ast.FunctionDef)
# Chosen before anything was read: chapters that are often quoted, and books of prose that seldom
# are, with their numbers of chapters.
QUOTED = (
    "Gen 1",
    "Exo 20",
    "Psalm 23",
    "Eccl 3",
    "Isa 53",
    "Matt 5",
    "Luke 2",
    "John 1",
    "1Cor 13",
)
PROSE = {"Num": 36, "Josh": 24, "1Sam": 31, "2Kings": 25, "1Chron": 29, "2Chron": 36, "Ezra": 10}
DRAWN_CHAPTERS = 9


def _one_blank(words: str) -> str:
    return " ".join(words.split())


def licence(name: str) -> str:
    """A licence as its file has it, line breaks and all, which is how it is copied."""
    return _file(LICENCES / name).decode("utf-8")


def state_paper(name: str) -> str:
    """A state paper of the United States, its lines joined."""
    return _one_blank(gzip.decompress(_file(STATE / f"us-{name}.gz")).decode("latin-1"))


def _file(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"expected a file {path}")
    return path.read_bytes()


def chapters(names: tuple[str, ...]) -> str:
    """Chapters of the King James Bible, without the numbers of verses."""
    program = shutil.which("bible")
    if program is None:
        raise FileNotFoundError("expected the program `bible` of the package bible-kjv")
    found = []
    for name in names:
        said = subprocess.run(
            [program, "-f", "-l9999", f"{name.replace(' ', '')}:1-200"],
            capture_output=True,
            text=True,
            check=True,
            encoding="latin-1",
        )
        found.append(re.sub(r"^\w+?\d+:\d+ ", "", said.stdout, flags=re.M))
    return _one_blank(" ".join(found))


def drawn_chapters(seed: int = 0) -> tuple[str, ...]:
    """Chapters drawn from books of prose, in the order of the draw."""
    every = [f"{book} {number + 1}" for book, last in PROSE.items() for number in range(last)]
    draw = runtime.python_random(seed, "by heart", "chapters")
    return tuple(draw.sample(every, DRAWN_CHAPTERS))


def rhymes() -> str:
    """English verse, poem after poem."""
    return "\n\n".join(poem.text for poem in verse.collection(lessons.VERSE))


def documentation() -> str:
    """Sentences of the documentation of installed Python packages."""
    return " ".join(text.documentation("test")[:400])


def own_words() -> str:
    """What this book's package says of its memories and decoders, written in 2026: the docstrings
    of both, in the order of the files."""
    return "\n\n".join(said for folder in OWN for said in _docstrings(resources.files(folder)))


def _docstrings(folder: Traversable) -> Iterator[str]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                said = ast.get_docstring(node) if isinstance(node, EXPLAINED) else None
                if said:
                    yield said


def drawn_words() -> str:
    """Short English words in an order that was drawn."""
    drawn = corpus.synthetic(64, 32, seed=0)
    return " ".join(drawn.poem(i, 0).text for i in range(len(drawn)))


# Name → how it is read; FileNotFoundError where a system does not have it.
TEXTS: dict[str, Callable[[], str]] = {
    **{f"licence {name}": partial(licence, name) for name in ("GPL-3", "Apache-2.0", "MPL-2.0")},
    **{f"licence {name}": partial(licence, name) for name in ("GFDL-1.3", "Artistic")},
    "Declaration of Independence": partial(state_paper, "declaration"),
    "Constitution": partial(state_paper, "constitution"),
    "Bible, often quoted": partial(chapters, QUOTED),
    "Bible, chapters drawn": lambda: chapters(drawn_chapters()),
    "verse": rhymes,
    "documentation": documentation,
    "this book's own words": own_words,
    "drawn words": drawn_words,
}
UNKNOWN = ("this book's own words", "drawn words")


def read(name: str) -> str | None:
    """The text of that name; None, and a line to stderr, where this system does not have it."""
    try:
        return TEXTS[name]()
    except FileNotFoundError as missing:
        print(f"by-heart: {name} left out: {missing}", file=sys.stderr)
        return None


def shuffled(words: str, seed: int = 0) -> str:
    """The same words, each with the white space behind it, in an order that was drawn."""
    parts = re.findall(r"\S+\s*", words)
    runtime.python_random(seed, "by heart", "shuffled").shuffle(parts)
    return "".join(parts)
