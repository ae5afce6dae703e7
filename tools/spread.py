"""How far the numbers that a chapter marks with `≈` move from machine to machine.

    python tools/spread.py CHAPTER [--out FILE]

executes the chapter with torch's instruction sets `default`, `avx2` and the machine's own
(`native`; where that is AVX2, `avx2` is the same and left out), each with one and with two
threads, and prints for every marked number: the range of its values, its tolerance on the page,
and what the tolerance may be at most. With `--out` all values are appended to FILE, after a line
of provenance. Exit status 1 if a number left its tolerance, or if a
tolerance is too wide or too narrow.

A tolerance is at most three times the spread, but one unit of the last printed digit is always
allowed: rounding alone can move a number by that. It is at least half such a unit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import torch
from nbformat import NotebookNode

import nbval_tolerance
import notebooks

CAPABILITIES = ("default", "avx2", "native")
THREADS = (1, 2)
WIDEST = 3  # tolerance over spread
LABEL_WIDTH = 44


@dataclass(frozen=True)
class Setting:
    """An instruction set of torch, and a number of threads."""

    capability: str
    threads: int

    def __str__(self) -> str:
        return f"{self.capability}, {self.threads} thread{'s' * (self.threads > 1)}"

    def environment(self) -> dict[str, str]:
        """What a kernel must find in its environment."""
        count = str(self.threads)
        found = {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MEMLAB_THREADS")}
        if self.capability != "native":
            found["ATEN_CPU_CAPABILITY"] = self.capability
        return found


@dataclass
class Marked:
    """A marked number of the page, and what the settings gave for it."""

    cell: int
    index: int
    label: str
    value: Decimal
    tolerance: Decimal
    values: dict[Setting, Decimal] = field(default_factory=dict)

    @property
    def low(self) -> Decimal:
        """The smallest value, the page's own included."""
        return min(self.value, *self.values.values())

    @property
    def high(self) -> Decimal:
        """The largest value, the page's own included."""
        return max(self.value, *self.values.values())

    @property
    def unit(self) -> Decimal:
        """One unit of the last digit that the page prints."""
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))

    @property
    def widest(self) -> Decimal:
        """What the tolerance may be at most."""
        return max(WIDEST * (self.high - self.low), self.unit)

    def problem(self) -> str:
        """What is wrong with the tolerance, in two words; empty if nothing is."""
        if any(abs(value - self.value) > self.tolerance for value in self.values.values()):
            return "left it"
        if self.tolerance > self.widest:
            return "too wide"
        return "too narrow" if self.tolerance < self.unit / 2 else ""


def settings(native: str) -> Iterator[Setting]:
    """What to run on a machine whose own instruction set is `native`, as torch names it."""
    for capability in CAPABILITIES:
        if capability != native.lower():
            yield from (Setting(capability, threads) for threads in THREADS)


def compared(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The texts that nbval compares: number of the code cell, text; of a table its plain form
    only."""
    for number, cell in enumerate(notebooks.code_cells(notebook), 1):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            for kind, text in nbval_tolerance.texts(output).items():
                if kind != "text/html":
                    yield number, text


def _label(text: str, start: int) -> str:
    """The words of the line before a number, the other numbers of the line left out."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    return " ".join(nbval_tolerance.MARK.sub("", line).replace("≈", "").split())


def marked(notebook: NotebookNode) -> list[Marked]:
    """All marked numbers of a notebook's outputs, in order."""
    found: list[Marked] = []
    for cell, text in compared(notebook):
        before = sum(number.cell == cell for number in found)
        for index, number in enumerate(nbval_tolerance.numbers(text), before):
            label = _label(text, number.start)
            found.append(Marked(cell, index, label, number.value, number.tolerance))
    return found


def templates(notebook: NotebookNode) -> list[tuple[int, str]]:
    """What a notebook prints without its marked numbers."""
    return [(cell, nbval_tolerance.template(text)) for cell, text in compared(notebook)]


@contextlib.contextmanager
def environment(setting: Setting) -> Iterator[None]:
    """What runs inside finds the setting's environment; afterwards all is as before."""
    before = dict(os.environ)
    os.environ.pop("ATEN_CPU_CAPABILITY", None)
    os.environ.update(setting.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(md: Path, setting: Setting) -> NotebookNode:
    """The chapter, executed under a setting; no file is written."""
    notebook = notebooks.from_md(md)
    with environment(setting):
        notebooks.execute(notebook, md)
    return notebooks.normalise(notebook)


def page(md: Path) -> NotebookNode:
    """The committed notebook of a chapter; ChapterError if its code is not that of the source."""
    notebook = notebooks.read(md.with_suffix(".ipynb"))
    if not notebooks.same_code(notebooks.from_md(md), notebook):
        raise notebooks.ChapterError(f"{md}: changed since it was executed; run `make notebooks`")
    return notebook


def compare(committed: NotebookNode, runs: Mapping[Setting, NotebookNode]) -> list[Marked]:
    """The marked numbers of the page with the values of all runs; ValueError if a run prints other
    words."""
    found = marked(committed)
    wanted = templates(committed)
    for setting, notebook in runs.items():
        for (cell, want), (_, have) in zip(wanted, templates(notebook), strict=True):
            if want != have:
                raise ValueError(f"code cell {cell}, {setting}: expected {want!r}, got {have!r}")
        for number, other in zip(found, marked(notebook), strict=True):
            number.values[setting] = other.value
    return found


def report(found: Sequence[Marked]) -> Iterator[str]:
    """A line a number: where, what, the page's value, its range, tolerance, the widest allowed."""
    yield f"cell  {'number':{LABEL_WIDTH}}  page   from   to     ±      at most"
    for number in found:
        columns = (number.value, number.low, number.high, number.tolerance, number.widest)
        shown = " ".join(f"{column!s:6}" for column in columns)
        label = number.label[-LABEL_WIDTH:]
        yield f"{number.cell:4}  {label:{LABEL_WIDTH}}  {shown} {number.problem()}".rstrip()


def record(path: Path, chapter: str, found: Sequence[Marked], native: str) -> None:
    """Append every value of every number to a file of results."""
    from memlab import results, runtime

    records = [
        results.Record(
            "spread",
            chapter,
            f"cell {number.cell}",
            number.label,
            float(value),
            index=number.index,
            meta={
                "capability": setting.capability,
                "threads": setting.threads,
                "native": native,
            },
        )
        for number in found
        for setting, value in number.values.items()
    ]
    made = runtime.provenance(experiment="spread", profile="quick", seed=0, threads="see meta")
    results.append(path, records, made)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if every tolerance holds, 1 if one does not, 2 if a run made no
    sense."""
    parser = argparse.ArgumentParser(prog="tools/spread.py", description=__doc__.splitlines()[0])
    parser.add_argument("chapter", help="its .md or .ipynb")
    parser.add_argument("--out", type=Path, help="append all values to this .jsonl file")
    args = parser.parse_args(argv)
    runs: dict[Setting, NotebookNode] = {}
    native = torch.backends.cpu.get_cpu_capability()
    try:
        md = notebooks.chapters([args.chapter])[0]
        committed = page(md)
        for setting in settings(native):
            start = time.perf_counter()
            runs[setting] = run(md, setting)
            seconds = time.perf_counter() - start
            print(f"{setting}: {seconds:.0f} s", file=sys.stderr, flush=True)
        found = compare(committed, runs)
    except (notebooks.ChapterError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    print("\n".join(report(found)))
    if args.out:
        record(args.out, md.stem, found, native)
    return int(any(number.problem() for number in found))


if __name__ == "__main__":
    sys.exit(main())
