"""A chapter as Colab meets it: an empty folder, the .ipynb alone, torch installed and memlab
not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import notebooks

CHAPTER = "book/argument/dynamic-sum.ipynb"  # the fastest
OURS = (
    "memlab",
    "__editable__",
    "bm25s",
)  # what Colab does not have; bm25s comes from the second pip call
RUNNER = """
import sys, nbformat
sys.path.insert(0, {tools!r})
import notebooks
from pathlib import Path
notebook = nbformat.read("chapter.ipynb", 4)
for cell in notebooks.code_cells(notebook):
    cell.outputs, cell.execution_count = [], None
notebooks.execute(notebook, Path("chapter.md").resolve())
nbformat.write(notebook, "done.ipynb")
"""
PROBE = """
import json, memlab, torch, importlib.metadata as m
print(json.dumps({"memlab": memlab.__file__, "torch": torch.__file__, "version": torch.__version__,
                  "origin": m.distribution("memlab").read_text("direct_url.json")}))
"""


def committed(root: Path, path: str) -> bytes | None:
    """The content of a file in the last commit; None if there is no commit or it lacks the file."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=root, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def machine_without_memlab(folder: Path) -> Path:
    """A virtual environment that sees every installed package but ours; returns its Python."""
    venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    there = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    others = folder / "others"
    others.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if (
            not entry.name.startswith((*OURS, "pip", "setuptools", "__pycache__"))
            and entry.suffix != ".pth"
        ):
            (others / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    (there / "others.pth").write_text(f"{others}\n", "utf-8")
    return python


def installed(python: Path, environment: dict[str, str]) -> dict[str, str]:
    """Every distribution that a Python sees, with its version."""
    program = (
        "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in"
        " m.distributions()}))"
    )
    return json.loads(subprocess.check_output([python, "-c", program], env=environment, text=True))


@pytest.mark.slow
def test_a_chapter_runs_where_only_its_notebook_is(root: Path, tmp_path: Path) -> None:
    notebook = committed(root, CHAPTER)
    if notebook is None or committed(root, "pkg/pyproject.toml") is None:
        pytest.skip(f"expected a git checkout whose last commit has {CHAPTER} and pkg/, found none")
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True).strip()
    python = machine_without_memlab(tmp_path / "machine")
    folder = tmp_path / "content"
    folder.mkdir()
    (folder / "chapter.ipynb").write_bytes(notebook)
    environment = {
        name: value
        for name, value in notebooks.environment().items()
        if not name.startswith(("PYTHON", "MEMLAB"))
    }
    environment |= {
        "MEMLAB_URL": f"git+{root.as_uri()}@{commit}#subdirectory=pkg",
        "MEMLAB_CACHE": str(tmp_path / "cache"),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }

    before = installed(python, environment)
    assert "memlab" not in before and "torch" in before
    program = RUNNER.format(tools=str(root / "tools"))
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]

    found = json.loads(
        subprocess.check_output([python, "-c", PROBE], cwd=folder, env=environment, text=True)
    )
    assert Path(found["memlab"]).is_relative_to(tmp_path / "machine"), (
        "memlab must come from the bootstrap cell"
    )
    assert not Path(found["memlab"]).resolve().is_relative_to(root)
    assert json.loads(found["origin"])["vcs_info"]["vcs"] == "git"
    after = installed(python, environment)
    assert set(after) - set(before) <= {"memlab", "bm25s"}
    assert {name: after[name] for name in before} == before, (
        "the bootstrap cell must change nothing that was there"
    )
    assert found["version"] == before["torch"]
    ran = json.loads((folder / "done.ipynb").read_text("utf-8"))
    cells = [
        cell
        for cell in ran["cells"]
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    assert cells and all(cell["execution_count"] for cell in cells)
    assert sys.executable != str(python)
