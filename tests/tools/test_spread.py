"""How far marked numbers move: collected from runs, held against the tolerance on the page,
recorded."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest
import torch

import notebooks
import spread
from memlab import results

NATIVE = spread.Setting("native", 1)
DEFAULT = spread.Setting("default", 2)


def notebook(*texts: str, tags: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    """A notebook whose cells printed these texts."""
    cells = []
    for count, text in enumerate(texts, 1):
        printed = nbformat.v4.new_output("stream", name="stdout", text=text)
        cell = nbformat.v4.new_code_cell(outputs=[printed], execution_count=count)
        cell.metadata = nbformat.NotebookNode(tags=list(tags))
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


PAGE = notebook("title 7\nbits, all seeds ≈ 0.55 to 0.61 ±0.03\n", "≈ 3 ±1 of 128\n")
OTHER = notebook("title 7\nbits, all seeds ≈ 0.56 to 0.60 ±0.03\n", "≈ 4 ±1 of 128\n")


def test_numbers_are_found_with_their_cell_and_words() -> None:
    found = spread.compare(PAGE, {NATIVE: PAGE, DEFAULT: OTHER})
    assert [(n.cell, n.index, n.value) for n in found] == [
        (1, 0, Decimal("0.55")),
        (1, 1, Decimal("0.61")),
        (2, 0, Decimal(3)),
    ]
    assert found[0].label == "bits, all seeds"
    assert found[1].values == {NATIVE: Decimal("0.61"), DEFAULT: Decimal("0.60")}
    assert not any(number.problem() for number in found)


def test_a_cell_that_nbval_ignores_is_not_read() -> None:
    assert spread.marked(notebook("≈ 3 ±1\n", tags=("nbval-ignore-output",))) == []


def test_other_words_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"code cell 1, default, 2 threads: expected '≈# ±1', got"):
        spread.compare(notebook("≈ 3 ±1"), {DEFAULT: notebook("≈ 3 ±2")})


@pytest.mark.parametrize(
    ("page", "values", "problem"),
    [
        ("≈ 0.50 ±0.03", ("0.50", "0.51"), ""),
        ("≈ 0.50 ±0.04", ("0.50", "0.51"), "too wide"),
        ("≈ 0.50 ±0.01", ("0.50", "0.50"), ""),
        ("≈ 0.50 ±0.02", ("0.50", "0.50"), "too wide"),
        ("≈ 0.50 ±0.005", ("0.50", "0.50"), ""),
        ("≈ 0.50 ±0.004", ("0.50", "0.50"), "too narrow"),
        ("≈ 0.50 ±0.01", ("0.50", "0.52"), "left it"),
        ("≈ 0.50 ±0.02", ("0.48", "0.52"), ""),
        ("≈ 128 ±1", ("128", "128"), ""),
        ("≈ 128 ±2", ("128", "128"), "too wide"),
        ("≈ 128 ±2", ("128", "127"), ""),
    ],
)
def test_a_tolerance_is_measured_by_the_spread(
    page: str, values: tuple[str, str], problem: str
) -> None:
    (number,) = spread.marked(notebook(page))
    number.values = dict(zip((NATIVE, DEFAULT), map(Decimal, values), strict=True))
    assert number.problem() == problem


@pytest.mark.parametrize(
    ("native", "capabilities"),
    [
        ("AVX512", ["default", "avx2", "native"]),
        ("AVX2", ["default", "native"]),
    ],
)
def test_no_instruction_set_is_run_twice(native: str, capabilities: list[str]) -> None:
    settings = list(spread.settings(native))
    assert [one.capability for one in settings if one.threads == 1] == capabilities
    assert len(settings) == 2 * len(capabilities)


def test_the_environment_of_a_setting_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    before = dict(os.environ)
    with spread.environment(DEFAULT):
        assert os.environ["ATEN_CPU_CAPABILITY"] == "default"
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MEMLAB_THREADS"] == "2"
    with spread.environment(NATIVE):
        assert "ATEN_CPU_CAPABILITY" not in os.environ
    assert dict(os.environ) == before


CHAPTER = (
    notebooks.HEADER
    + """
```{code-cell} ipython3
import os
threads = int(os.environ["MEMLAB_THREADS"]) if "MEMLAB_THREADS" in os.environ else 1
print(f"recall ≈ {0.90 + threads / 100:.2f} ±0.02, chance 0.01")
```
"""
)


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chapter whose number moves with the number of threads, its runs without a kernel."""

    def execute(notebook: nbformat.NotebookNode, md: Path) -> None:
        threads = int(os.environ.get("MEMLAB_THREADS", 1))
        text = f"recall ≈ {0.90 + threads / 100:.2f} ±0.02, chance 0.01\n"
        (cell,) = notebooks.code_cells(notebook)
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]

    monkeypatch.setattr(notebooks, "execute", execute)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    md = tmp_path / "moving.md"
    md.write_text(CHAPTER, "utf-8")
    notebooks.build(md)
    return md


def test_what_is_printed_and_recorded(chapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = chapter.with_name("spread.jsonl")
    assert spread.main([str(chapter), "--out", str(out)]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert line.split() == "1 recall 0.91 0.91 0.92 0.02 0.03".split()
    data = results.load(out)
    assert len(data) == len(spread.CAPABILITIES) * len(spread.THREADS)
    assert set(data.capability) == set(spread.CAPABILITIES) and set(data.native) == {"AVX512"}
    assert data[data.threads == 2].value.unique().tolist() == [0.92]
    assert set(data.metric) == {"recall"} and set(data.task) == {"cell 1"}
    (made,) = results.provenances(out)
    assert made["experiment"] == "spread" and made["instructions"] == "AVX512"


def test_a_tolerance_that_is_too_wide_is_said(
    chapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chapter.with_suffix(".ipynb")
    path.write_text(path.read_text("utf-8").replace("≈ 0.91", "≈ 0.95"), "utf-8")
    assert spread.main([str(chapter)]) == 1
    assert "left it" in capsys.readouterr().out


def test_a_chapter_that_was_not_executed_is_refused(
    chapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter.write_text(CHAPTER.replace("recall", "share"), "utf-8")
    assert spread.main([str(chapter)]) == 2
    assert "run `make notebooks`" in capsys.readouterr().err
