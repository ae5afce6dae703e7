"""Marked numbers are compared within their tolerance, all else to the letter; seen on texts, and in
real runs of nbval."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbval_tolerance as tolerance

COMMITTED = "recall ≈ 0.93 ±0.05 of 128\nchance 0.01\n"
AGREE = [
    (COMMITTED, COMMITTED.replace("0.93", "0.98")),
    (COMMITTED, COMMITTED.replace("0.93", "0.88")),
    ("≈ 0.01 ±0.02", "≈ -0.01 ±0.02"),
    ("≈ 9 ±2 of 20", "≈ 11 ±2 of 20"),
    ("≈  9.5 ±2.0", "≈ 10.5 ±2.0"),  # right-aligned: the blanks belong to the number
    ("≈ 14,336 ±100 bits", "≈ 14,400 ±100 bits"),
    ("≈ 1.2e-05 ±1e-06", "≈ 1.3e-05 ±1e-06"),
    ("seeds ≈ 0.55 to 0.61 ±0.03", "seeds ≈ 0.53 to 0.64 ±0.03"),
    ("hits ≈ 3, 4, 3 ±2", "hits ≈ 5, 2, 3 ±2"),
    ("a ≈ 1 ±1, b ≈ 0.50 ±0.02.", "a ≈ 2 ±1, b ≈ 0.52 ±0.02."),
    ("at recitation 0.00 ≈\n   0.58 ±0.03", "at recitation 0.00 ≈\n   0.57 ±0.03"),
    ("<td>≈ 0.50 ±0.1</td>", "<td>≈ 0.55 ±0.1</td>"),
]
DIFFER = [
    (COMMITTED, COMMITTED.replace("0.93", "0.99")),
    (COMMITTED, COMMITTED.replace("0.93", "0.87")),
    (COMMITTED, COMMITTED.replace("±0.05", "±0.06")),
    (COMMITTED, COMMITTED.replace("±0.05", "±0.050")),
    (COMMITTED, COMMITTED.replace(" ±0.05", "")),
    (COMMITTED, COMMITTED.replace("≈ ", "")),
    (COMMITTED, COMMITTED.replace("0.93", "nan")),
    (COMMITTED, COMMITTED.replace("0.93", "inf")),
    (COMMITTED, COMMITTED.replace("0.93 ", "")),
    (COMMITTED, COMMITTED.replace("chance 0.01", "chance 0.02")),
    (COMMITTED, COMMITTED.replace("of 128", "of 127")),
    (COMMITTED, COMMITTED.replace("recall", "recalls")),
    (COMMITTED, COMMITTED + COMMITTED),
    ("≈ 0.5 to 0.6 ±0.1", "≈ 0.5 … 0.6 ±0.1"),
    ("≈ 0.5, 0.6 ±0.1", "≈ 0.5, 0.6, 0.6 ±0.1"),
    ("≈ 0.5, 0.6 ±0.1", "≈ 0.5, 0.8 ±0.1"),
    ("≈ 1 ±1, ≈ 5 ±1", "≈ 1 ±1, ≈ 7 ±1"),
]


@pytest.mark.parametrize(("committed", "measured"), AGREE)
def test_numbers_within_the_tolerance_agree(committed: str, measured: str) -> None:
    assert tolerance.settled(committed, measured) == committed


@pytest.mark.parametrize(("committed", "measured"), DIFFER)
def test_anything_else_differs(committed: str, measured: str) -> None:
    assert tolerance.settled(committed, measured) != committed


def test_the_report_shows_only_what_differs() -> None:
    committed, measured = "a ≈ 0.50 ±0.05\nb ≈ 0.50 ±0.05\n", "a ≈ 0.52 ±0.05\nb ≈ 0.60 ±0.05\n"
    assert tolerance.settled(committed, measured) == "a ≈ 0.50 ±0.05\nb ≈ 0.60 ±0.05\n"


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 100))
def test_the_border_belongs_to_the_tolerance(old: int, new: int, allowed: int) -> None:
    """Exact to the last digit: 0.93 and 0.98 differ by 0.05, which floating point denies."""
    printed, measured = (f"x ≈ {value / 100:.2f} ±{allowed / 100:.2f}" for value in (old, new))
    agree = tolerance.settled(printed, measured) == printed
    assert agree == (abs(old - new) <= allowed)


@given(st.text())
def test_without_marks_texts_are_compared_to_the_letter(text: str) -> None:
    assert tolerance.numbers(text) == [] or "≈" in text
    assert tolerance.settled("text", text) == text


def test_what_is_read() -> None:
    found = tolerance.numbers("bits ≈ -1,250.5 to 3e2 ±0.5 and ≈ 7 ±2")
    assert [(n.value, n.tolerance) for n in found] == [
        (Decimal("-1250.5"), Decimal("0.5")),
        (Decimal("3e2"), Decimal("0.5")),
        (Decimal(7), Decimal(2)),
    ]


@pytest.mark.parametrize("text", ["≈ nan ±0.1", "≈ 0.5", "≈ 0.5 ± 0.1", "≈ inf ±1", "≈ 0.5-0.6 ±1"])
def test_a_mark_that_cannot_be_read_is_named(text: str) -> None:
    assert tolerance.unreadable(f"a ≈ 1 ±1\n{text}\n") == [text]
    assert tolerance.unreadable("a ≈ 1 ±1, 2 ±3\n") == []


# Real runs: cells that print the second text where the first one was committed.
PRINTED = {
    "same": (COMMITTED, COMMITTED),
    "inside": (COMMITTED, COMMITTED.replace("0.93", "0.89")),
    "outside": (COMMITTED, COMMITTED.replace("0.93", "0.87")),
    "other tolerance": (COMMITTED, COMMITTED.replace("±0.05", "±0.06")),
    "no tolerance": (COMMITTED, COMMITTED.replace(" ±0.05", "")),
    "no number": (COMMITTED, COMMITTED.replace("≈ 0.93 ±0.05 ", "")),
    "NaN": (COMMITTED, COMMITTED.replace("0.93", "nan")),
    "NaN twice": ("≈ nan ±0.05\n", "≈ nan ±0.05\n"),
    "number without a mark": (COMMITTED, COMMITTED.replace("0.01", "0.02")),
    "reworded": (COMMITTED, COMMITTED.replace("recall", "recalled")),
}
SHOWN = {"table inside": ("1.5", "1.7"), "table outside": ("1.5", "1.8")}
ACCEPTED = {"same", "inside", "table inside"}


def frame(value: str) -> pd.DataFrame:
    """A table with one marked number."""
    return pd.DataFrame({"bits": [f"≈ {value} ±0.2"]})


def cells() -> Iterator[nbformat.NotebookNode]:
    """A cell for every case, with the committed output."""
    for committed, measured in PRINTED.values():
        text = nbformat.v4.new_output("stream", name="stdout", text=committed)
        source = f"print({measured!r}, end='')"
        yield nbformat.v4.new_code_cell(source, execution_count=1, outputs=[text])
    for committed, measured in SHOWN.values():
        data = {"text/plain": repr(frame(committed)), "text/html": frame(committed)._repr_html_()}
        result = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
        source = f"import pandas\npandas.DataFrame({{'bits': ['≈ {measured} ±0.2']}})"
        yield nbformat.v4.new_code_cell(source, execution_count=1, outputs=[result])


def pytest_run(
    folder: Path, conftest: str, *options: str
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """pytest with nbval on the cases, and those that it accepted."""
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    (folder / "conftest.py").write_text(conftest, "utf-8")
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells()]), folder / "page.ipynb")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--color=no"]
    command += ["--nbval", "--nbval-current-env", *options, "page.ipynb"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tolerance.__file__).parent)}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
    names = [*PRINTED, *SHOWN]
    passed = re.findall(r"^PASSED page.ipynb::Cell (\d+)$", done.stdout, re.M)
    return done, {names[int(number)] for number in passed}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "1", "--dist", "loadfile")])
def test_nbval_accepts_numbers_within_the_tolerance_and_refuses_all_else(
    tmp_path: Path, root: Path, workers: tuple[str, ...]
) -> None:
    done, accepted = pytest_run(tmp_path, (root / "conftest.py").read_text("utf-8"), *workers)
    assert accepted == ACCEPTED, done.stdout
    refused = len(PRINTED) + len(SHOWN) - len(ACCEPTED)
    assert f"{refused} failed, {len(ACCEPTED)} passed" in done.stdout
    assert done.stdout.count("expected a number with its tolerance") >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        "del plugin.IPyNbCell.compare_outputs",
        "plugin.IPyNbCell.compare_outputs = lambda self, test, ref: True",
        "del plugin.IPyNbCell",
    ],
)
def test_an_nbval_that_is_built_otherwise_is_refused(tmp_path: Path, other: str) -> None:
    change = f"from nbval import plugin\n{other}\npytest_plugins = ['nbval_tolerance']\n"
    done, accepted = pytest_run(tmp_path, change)
    assert done.returncode != 0 and not accepted
    assert "nbval_tolerance.py" in done.stderr, done.stderr


def test_the_conftest_at_the_top_loads_it(request: pytest.FixtureRequest) -> None:
    """Both `make test` and the command that the README spells out find it there."""
    assert request.config.pluginmanager.hasplugin("nbval_tolerance")
