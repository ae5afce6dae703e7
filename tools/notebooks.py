"""Chapters: `book/**/X.md` (MyST, what people review) becomes `X.ipynb` (executed, normalised,
committed).

    python tools/notebooks.py build [FILES] [--force]   execute what changed; keep the outputs of
                                                        code that did not
    python tools/notebooks.py check [FILES]             no kernel: fail unless every notebook is its
                                                        source, executed
    python tools/notebooks.py list                      the notebooks in reading order

A chapter is an .md file whose header names a kernel; other pages stay .md. Executing an unchanged
chapter again writes the same bytes. Outputs carry a seal, so that a number edited by hand is found
without a kernel.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

import quiz

ROOT = Path(__file__).resolve().parents[1]
KEPT_METADATA = ("tags", "mystnb")
SEAL = "memlab"
CELL_SECONDS = 900

# What the source of a chapter begins with.
HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""

# What a kernel must find in its environment so that it prints the same on every machine (the
# Makefile exports the same values). The first group may be overridden from outside, the second may
# not.
DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MEMLAB_CACHE": str(ROOT / ".cache"),
}
FIXED = {"MEMLAB_PROFILE": "quick", "IPYTHONDIR": str(ROOT / ".cache" / "ipython")}


class ChapterError(Exception):
    """A chapter that cannot be built; the message says which, where and why."""


def is_chapter(md: Path) -> bool:
    """Whether a page is executed: its YAML header has a `kernelspec`."""
    header = re.match(r"---\n(.*?)\n---\n", md.read_text("utf-8"), re.DOTALL)
    return bool(header and re.search(r"^kernelspec:", header[1], re.MULTILINE))


def chapters(files: Sequence[str | Path] = (), root: Path = ROOT) -> list[Path]:
    """The chapters among `files` (either twin may be named), or all of `root`/book in the order of
    _toc.yml."""
    if files:
        named = [Path(file).with_suffix(".md") for file in files]
        for md in named:
            if not md.is_file():
                raise ChapterError(f"{md}: no such file; expected the .md or .ipynb of a chapter")
            if not is_chapter(md):
                raise ChapterError(f"{md}: not a chapter; expected a header with a kernelspec")
        return named
    order = {name: place for place, name in enumerate(_toc(root / "_toc.yml"))}

    def place(md: Path) -> tuple[int, str]:
        name = md.relative_to(root).with_suffix("").as_posix()
        return order.get(name, len(order)), name

    return sorted(filter(is_chapter, _files(root, ".md")), key=place)


def _files(root: Path, suffix: str) -> list[Path]:
    found = (root / "book").rglob(f"*{suffix}")
    return sorted(
        file
        for file in found
        if not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def _toc(path: Path) -> Iterator[str]:
    """The pages that a table of contents names, in its order."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield str(value).removesuffix(".md")
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    yield from walk(yaml.safe_load(path.read_text("utf-8")) if path.exists() else None)


def from_md(md: Path) -> NotebookNode:
    """The notebook that a source describes: quizzes written out, no outputs, cell ids that depend
    on the text alone. ChapterError if a quiz is not well formed."""
    notebook = jupytext.read(md, fmt="md:myst")
    seen: dict[str, int] = {}
    numbers = itertools.count(1)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            try:
                cell.source = quiz.expand(cell.source, numbers)
            except ValueError as problem:
                raise ChapterError(f"{md}: {problem}") from None
        cell.metadata = NotebookNode(
            {key: value for key, value in cell.metadata.items() if key in KEPT_METADATA}
        )
        repeat = seen[cell.source] = seen.get(cell.source, -1) + 1
        cell.id = hashlib.sha256(f"{md.stem}|{repeat}|{cell.source}".encode()).hexdigest()[:8]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that a kernel executes."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(notebook: NotebookNode, md: Path) -> None:
    """Run all cells in a fresh kernel of this very interpreter, in the chapter's folder; outputs
    land in place."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    client = NotebookClient(
        notebook,
        kernel_manager_class=_own_kernel(),
        extra_arguments=["--log-level=ERROR"],
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(md.parent)}},
    )
    try:
        client.execute(env=environment())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as problem:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(problem))
        raise ChapterError(f"{md}: {_first_failure(notebook)}\n{plain}") from None


def environment() -> dict[str, str]:
    """The environment of every kernel: ours, with the settings that make outputs repeatable."""
    merged = {**DEFAULTS, **os.environ, **FIXED}
    Path(merged["IPYTHONDIR"]).mkdir(
        parents=True, exist_ok=True
    )  # IPython makes the last folder only
    merged.pop("MPLBACKEND", None)  # the kernel's own draws into the page
    return merged


def _own_kernel() -> type:
    """Starts the running Python as the kernel, so that none that is registered for the user can
    step in."""
    import ipykernel.kernelspec as own
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(resource_dir=own.RESOURCES, **own.get_kernel_dict())

    return OwnKernel


def _first_failure(notebook: NotebookNode) -> str:
    for number, cell in enumerate(code_cells(notebook), 1):
        if any(output.output_type == "error" for output in cell.outputs):
            return f"code cell {number} failed"
    return "execution stopped"


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs from run to run: timestamps and object addresses."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/") and isinstance(value, str):
                    output.data[kind] = _without_addresses(value)
            if output.output_type == "stream":
                output.text = _without_addresses(output.text)
    notebook.metadata["language_info"] = NotebookNode(name="python")
    return notebook


def _without_addresses(text: str) -> str:
    return re.sub(r"\b0x[0-9a-f]{8,}\b", "0x…", text)


def seal(notebook: NotebookNode) -> str:
    """A digest of all outputs: what a later hand edit would change."""
    outputs = [[cell.execution_count, cell.outputs] for cell in code_cells(notebook)]
    everything = json.dumps(outputs, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(everything.encode()).hexdigest()[:16]


def sealed(notebook: NotebookNode) -> bool:
    """Whether the outputs are those that were sealed when they were made."""
    return notebook.metadata.get(SEAL, {}).get("outputs") == seal(notebook)


def render(notebook: NotebookNode) -> str:
    """The one way in which a notebook is written: sorted keys, one space of indent, a final line
    break."""
    plain = json.loads(nbformat.writes(notebook))
    return json.dumps(plain, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def read(path: Path) -> NotebookNode:
    """A notebook from its file; ChapterError if it is not one."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as problem:  # nbformat raises half a dozen unrelated types here
        raise ChapterError(
            f"{path}: not a valid notebook ({str(problem).splitlines()[0]})"
        ) from None
    return notebook


def same_code(new: NotebookNode, old: NotebookNode) -> bool:
    """Whether the outputs of `old` are still those of `new`: same code in the same order, same
    permission to fail."""

    def what(notebook: NotebookNode) -> list[tuple[str, bool]]:
        return [
            (c.source, "raises-exception" in c.metadata.get("tags", []))
            for c in code_cells(notebook)
        ]

    return what(new) == what(old)


def keep_outputs(new: NotebookNode, old: NotebookNode) -> None:
    """Give `new` the outputs of `old`, cell by cell."""
    for fresh, kept in zip(code_cells(new), code_cells(old), strict=True):
        fresh.outputs, fresh.execution_count = kept.outputs, kept.execution_count


def executed(notebook: NotebookNode) -> bool:
    """Whether all code cells ran, once, from top to bottom."""
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    return counts == list(range(1, len(counts) + 1))


def build(md: Path, force: bool = False) -> str:
    """Bring the notebook of a chapter up to date and return what was done: "kept", "executed" or
    with "written"."""
    notebook, path = from_md(md), md.with_suffix(".ipynb")
    try:
        old = read(path) if path.exists() else None
    except ChapterError:
        old = None  # a broken file is no reason not to make a whole one
    if old is not None and not force and same_code(notebook, old) and executed(old) and sealed(old):
        keep_outputs(notebook, old)
        done = "kept outputs"
    else:
        execute(notebook, md)
        notebook = normalise(notebook)
        done = "executed"
    notebook.metadata[SEAL] = NotebookNode(outputs=seal(notebook))
    text = render(notebook)
    if path.exists() and path.read_text("utf-8") == text:
        return done
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, "utf-8", newline="\n")
    partial.replace(path)
    return f"{done}, written"


def problems(md: Path) -> list[str]:
    """What is wrong with the notebook of a chapter, one sentence each; empty if it is its source,
    executed."""
    path = md.with_suffix(".ipynb")
    if not path.exists():
        return [f"{path}: missing; run `make notebooks`"]
    try:
        old = read(path)
    except ChapterError as problem:
        return [str(problem)]
    if difference := _difference(from_md(md), old):
        return [f"{path}: {difference}; run `make notebooks`"]
    if not executed(old):
        return [f"{path}: not every cell was executed, once and in order; run `make notebooks`"]
    for number, cell in enumerate(code_cells(old), 1):
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed and "raises-exception" not in cell.metadata.get("tags", []):
            return [f"{path}: code cell {number} ended in an error"]
    if not sealed(old):
        return [
            f"{path}: outputs are not those that were executed; run `tools/notebooks.py build"
            f" --force {md}`"
        ]
    if path.read_text("utf-8") != render(old):
        return [
            f"{path}: not written by tools/notebooks.py (key order, indent or stray fields); run"
            " `make notebooks`"
        ]
    return []


def _difference(new: NotebookNode, old: NotebookNode) -> str:
    """Where a notebook departs from its source, in words; empty if nowhere."""
    for number, (want, have) in enumerate(zip(new.cells, old.cells, strict=False), 1):
        for what in ("cell_type", "source", "metadata", "id"):
            if want.get(what) != have.get(what):
                return f"cell {number} differs from the source in its {what.replace('_', ' ')}"
    if len(new.cells) != len(old.cells):
        return f"{len(old.cells)} cells, where the source has {len(new.cells)}"
    wanted = {**new.metadata, SEAL: old.metadata.get(SEAL)}
    have = {SEAL: None, **old.metadata}
    return "" if wanted == have else "notebook metadata differs from what the source asks for"


def orphans(root: Path = ROOT) -> list[Path]:
    """Notebooks that no chapter stands behind."""
    return [
        path
        for path in _files(root, ".ipynb")
        if not path.with_suffix(".md").exists() or not is_chapter(path.with_suffix(".md"))
    ]


def _check(files: Sequence[str], root: Path) -> int:
    looked_at = chapters(files, root)
    found = [problem for md in looked_at for problem in problems(md)]
    if not files:
        found += [f"{path}: no chapter of that name stands beside it" for path in orphans(root)]
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"notebooks that agree with their sources: {len(looked_at)}")
    return 1 if found else 0


def _build(files: Sequence[str], root: Path, force: bool) -> int:
    status = 0
    for md in chapters(files, root):
        start = time.perf_counter()
        try:
            done = build(md, force)
        except ChapterError as problem:
            print(problem, file=sys.stderr)
            status = 1
        else:
            print(f"{md.stem}: {done} ({time.perf_counter() - start:.1f} s)", flush=True)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all is well, 1 if a chapter is not, 2 if the request makes no
    sense."""
    parser = argparse.ArgumentParser(
        prog="tools/notebooks.py", description="Make and check the notebooks of the chapters."
    )
    parser.add_argument("command", choices=("build", "check", "list"))
    parser.add_argument("files", nargs="*", help="chapters (.md or .ipynb); default: all of book/")
    parser.add_argument(
        "--force", action="store_true", help="build: execute even what did not change"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args(argv)
    try:
        if args.command == "build":
            return _build(args.files, args.root, args.force)
        if args.command == "check":
            return _check(args.files, args.root)
        for md in chapters(args.files, args.root):
            print(os.path.relpath(md.with_suffix(".ipynb")))
    except ChapterError as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
