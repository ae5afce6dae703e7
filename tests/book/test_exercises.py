"""The checks of all chapters: they hold without `assert`, and what is no answer at all gets a
sentence."""

from __future__ import annotations

import ast
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "pkg" / "src"
FILES = sorted(SOURCE.glob("memlab/book/*/*/exercises.py"))
MISTAKES = sorted(Path(__file__).parent.glob("*/test_*_exercises.py"))
# Runs the mistakes that the chapters' own tests list; says which are not refused with their
# sentence. One check is left out: it imports transformers, which takes longer than all the rest.
PROGRAM = """
import contextlib, io, re, runpy, sys

tried = 0
for file in sys.argv[1:]:
    for check, answer, sentence in runpy.run_path(file)["WRONG"]:
        if check.__name__ == "check_weights":
            continue
        tried += 1
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                check(answer)
            said = "accepted"
        except AssertionError as refused:
            said = str(refused)
        if not re.search(sentence, said):
            print(f"{file}: {check.__name__}: expected {sentence!r}, got {said!r}", file=sys.stderr)
print(__debug__, tried)
"""


def checks() -> Iterator[Callable[..., None]]:
    """Every check of every chapter."""
    for file in FILES:
        name = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
        module = importlib.import_module(name)
        yield from (getattr(module, one) for one in dir(module) if one.startswith("check_"))


CHECKS = list(checks())
NO_ANSWERS: list[Any] = [
    None,
    math.nan,
    numpy.float32("nan"),
    torch.full((4, 4), math.nan),
    [math.nan] * 6,
    ...,
    "an answer",
    b"an answer",
    1j,
    10**400,
    -math.inf,
    numpy.zeros((2, 3, 4)),
    torch.zeros(0),
    [],
    [[1], [1, 2]],
    (None, None),
    (None, None, None, None),
    [(None, None, None)] * 3,
    {"Ada": math.nan},
    {1, 2},
    object(),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_is_no_answer_gets_a_sentence(check: Callable[..., None]) -> None:
    for answer in NO_ANSWERS:
        with pytest.raises(AssertionError, match=r"\w \w"):
            check(lambda *_, answer=answer: answer)


def test_every_chapter_has_its_mistakes_listed() -> None:
    chapters = {file.parent.name for file in FILES}
    assert len(chapters) == len(FILES) == 15
    assert {file.name.removeprefix("test_").removesuffix("_exercises.py") for file in MISTAKES} == (
        chapters
    )


def test_no_check_rests_on_the_statement_that_python_leaves_out() -> None:
    for file in (*FILES, SOURCE / "memlab" / "book" / "checks.py"):
        found = [
            node.lineno
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Assert)
        ]
        assert not found, f"{file.relative_to(ROOT)}: expected no `assert`, got lines {found}"


def test_mistakes_are_refused_without_asserts_too() -> None:
    paths = os.pathsep.join([str(SOURCE), str(ROOT / "tools")])
    done = subprocess.run(
        [sys.executable, "-O", "-c", PROGRAM, *map(str, MISTAKES)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    debug, tried = done.stdout.split()
    assert debug == "False" and int(tried) >= 200
