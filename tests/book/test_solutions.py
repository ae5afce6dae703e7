"""The solutions that the chapters fold away pass the chapters' own checks; the stubs that readers
start from do not."""

from __future__ import annotations

import math
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import chapter_rules  # noqa: E402
import notebooks  # noqa: E402

CHECK = re.compile(r"^# (\w+\.check_\w+\(.*\))$", re.M)


def exercises(md: Path) -> list[tuple[str, str, str, str]]:
    """Title, stub, solution and check of every exercise of a chapter whose stub ends in a check to
    be switched on."""
    cells, found, title, stub = chapter_rules.read(md).section("Exercises").cells, [], "", ""
    for cell in cells:
        if cell.cell_type == "code":
            stub = cell.source
            continue
        solution = re.search(r"^```python\n(.*?)^```", cell.source, re.M | re.S)
        checked = CHECK.findall(stub)
        if solution and checked:
            found.append((title, CHECK.sub("", stub), solution[1], "\n".join(checked)))
            stub = ""
        for heading in re.findall(r"^### (.*)$", cell.source, re.M):
            title = heading
    return found


CHAPTERS = notebooks.chapters([])
CASES = [(md, *case) for md in CHAPTERS for case in exercises(md)]
IDS = [f"{md.stem}: {case[0]}" for md, *case in CASES]


@cache
def defined(md: Path) -> dict[str, Any]:
    """What the section Set-up defines, but for the cell that installs the package; the exercises'
    imports."""
    chapter, names = chapter_rules.read(md), {}  # type: chapter_rules.Chapter, dict[str, Any]
    for cell in chapter.section("Set-up").cells:
        if cell.cell_type == "code" and "find_spec" not in cell.source:
            exec(cell.source, names)
    for cell in chapter.section("Exercises").cells:
        if cell.cell_type == "code":
            exec("\n".join(re.findall(r"^(?:from|import) .*$", cell.source, re.M)), names)
    return names


def test_every_chapter_has_exercises_that_are_checked_here() -> None:
    counted = {md: sum(case[0] == md for case in CASES) for md in CHAPTERS}
    assert min(counted.values()) >= 2, {md.stem: n for md, n in counted.items()}


@pytest.mark.parametrize(("md", "title", "stub", "solution", "check"), CASES, ids=IDS)
def test_the_solution_passes_its_check_and_the_stub_does_not(
    md: Path, title: str, stub: str, solution: str, check: str
) -> None:
    names = dict(defined(md))
    exec(stub, names)
    with pytest.raises(Exception):  # noqa: B017  (an AssertionError, or whatever comes of nothing at all)
        exec(check, names)
    exec(solution, names)
    exec(check, names)


def single(number: float) -> Any:
    return numpy.float32(number) if isinstance(number, float) else numpy.int32(number)


def fraction(number: float) -> Any:
    return Fraction(number) if math.isfinite(number) else number


# How a kind of answer says True or False, a number, a tensor, a sequence.
KINDS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "of NumPy": (numpy.bool_, lambda x: numpy.array(x)[()], lambda x: x.numpy(), numpy.array),
    "in single precision": (int, single, lambda x: x.numpy().astype("float32"), tuple),
    "of torch": (
        torch.tensor,
        torch.tensor,
        lambda x: x.requires_grad_(x.is_floating_point()),
        list,
    ),
    "as fractions": (lambda x: ["found"] * x, fraction, lambda x: tuple(x.tolist()), list),
    "as decimals": (lambda x: "found" * x, Decimal, lambda x: list(x), tuple),
}


def told(answer: Any, kind: str) -> Any:
    """The same answer, of another type."""
    of_bool, of_number, of_tensor, of_sequence = KINDS[kind]
    if isinstance(answer, torch.Tensor) and answer.ndim:
        return of_tensor(answer.detach().clone())
    answer = answer.item() if isinstance(answer, torch.Tensor | numpy.generic) else answer
    if isinstance(answer, bool):
        return of_bool(answer)
    if isinstance(answer, int | float):
        return of_number(answer)
    if isinstance(answer, Mapping):
        return OrderedDict(answer)
    if isinstance(answer, list | tuple):
        plain = all(isinstance(one, int | float | str) for one in answer)
        return of_sequence(answer) if plain else [told(one, kind) for one in answer]
    return answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("md", "title", "stub", "solution", "check"), CASES, ids=IDS)
def test_the_solution_passes_whatever_type_its_answers_have(
    md: Path, title: str, stub: str, solution: str, check: str, kind: str
) -> None:
    names = dict(defined(md))
    exec(solution, names)
    for call in re.finditer(r"check_\w+\((\w+)", check):
        solve = names[call[1]]

        def other(*arguments: Any, solve: Any = solve) -> Any:
            return told(solve(*arguments), kind)

        names[call[1]] = wraps(solve)(other)
    exec(check, names)


def destroyed(given: Any) -> bool:
    """Leaves nothing of an argument; whether there was anything that could be changed in place."""
    if isinstance(given, torch.Tensor):
        given.zero_()
        return True
    if is_dataclass(given):
        return any([destroyed(getattr(given, field.name)) for field in fields(given)])
    if isinstance(given, list):
        given.clear()
        return True
    return False


# These hand over numbers, texts and functions. The last two demand that nothing be changed.
NOTHING_TO_DESTROY = set(
    """check_passes check_swap check_room check_size check_uniform check_tries check_enumerated
    check_weights check_fair check_same check_words_for check_load check_window check_guard
    check_row_bytes check_wilson check_rival check_right check_slots check_bytes check_crossing
    check_scan check_worth check_dropout check_replace""".split()
)
DESTROYING = [
    (one, case)
    for one, case in zip(IDS, CASES, strict=True)
    if not NOTHING_TO_DESTROY.intersection(re.findall(r"check_\w+", case[-1]))
]


@pytest.mark.parametrize("when", ["after", "before"])
@pytest.mark.parametrize(
    ("md", "title", "stub", "solution", "check"),
    [case for _, case in DESTROYING],
    ids=[one for one, _ in DESTROYING],
)
def test_a_check_judges_by_what_it_drew_and_not_by_what_is_left_of_it(
    md: Path, title: str, stub: str, solution: str, check: str, when: str
) -> None:
    names = dict(defined(md))
    exec(solution, names)
    found = []
    for call in re.finditer(r"check_\w+\((\w+)", check):
        solve = names[call[1]]

        def destroying(*arguments: Any, solve: Any = solve) -> Any:
            answer = deepcopy(solve(*arguments)) if when == "after" else None
            found.append(any([destroyed(one) for one in arguments]))
            return answer if when == "after" else solve(*arguments)

        names[call[1]] = wraps(solve)(destroying)
    if when == "after":
        exec(check, names)
    else:
        with pytest.raises(Exception):  # noqa: B017  (as for the stub)
            exec(check, names)
    assert any(found), "nothing was destroyed: expected this check among those left out"
