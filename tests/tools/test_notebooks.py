"""The notebooks: executed from their source, the same bytes every time, and no way to edit one
unnoticed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import notebooks
import sphinx_hide_sources

HEADER = notebooks.HEADER
CHAPTER = (
    HEADER
    + """
# Does it run?

Prose with $x^2$.

```{code-cell} ipython3
import os, sys
print(os.environ["MEMLAB_PROFILE"], os.environ["OMP_NUM_THREADS"], sys.prefix)
print("to stdout")
print("to stderr", file=sys.stderr)
object()
```

```{code-cell} ipython3
---
tags: [figure-code]
mystnb:
  figure: {name: fig-line, caption: A line}
  image: {alt: the line rises}
---
import matplotlib.pyplot as plt
_ = plt.plot([1, 2])
plt.show()
```

```{code-cell} ipython3
6 * 7
```

:::{quiz} How much is six times seven?
- [x] 42.
  : The cell above says so.
- 13.
  : That is six and seven.
:::
"""
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The tiny chapter's source and its notebook, executed once for all tests of this file."""
    folder = tmp_path_factory.mktemp("once")
    md = folder / "tiny.md"
    md.write_text(CHAPTER, "utf-8")
    assert notebooks.build(md) == "executed, written"
    return CHAPTER, md.with_suffix(".ipynb").read_text("utf-8")


@pytest.fixture
def chapter(executed: tuple[str, str], tmp_path: Path) -> Path:
    """A fresh copy of the executed chapter in a small checkout."""
    md = tmp_path / "book" / "part" / "tiny.md"
    md.parent.mkdir(parents=True)
    md.write_text(executed[0], "utf-8")
    md.with_suffix(".ipynb").write_text(executed[1], "utf-8")
    return md


def edit(md: Path, change) -> None:
    """Change the notebook as JSON and write it back as notebooks.py would."""
    path = md.with_suffix(".ipynb")
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8"
    )


def code(content: dict, number: int) -> dict:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"][number]


def test_executing_again_writes_the_same_bytes(chapter: Path, executed: tuple[str, str]) -> None:
    children = len(psutil.Process().children())
    assert notebooks.build(chapter, force=True) == "executed"
    assert chapter.with_suffix(".ipynb").read_text("utf-8") == executed[1]
    assert len(psutil.Process().children()) == children, "a kernel was left running"


def test_kernel_is_this_interpreter_in_the_quick_profile(
    chapter: Path, executed: tuple[str, str]
) -> None:
    assert f"quick {os.environ['OMP_NUM_THREADS']} {sys.prefix}\\n" in executed[1]


def test_a_kernel_registered_for_the_user_is_not_used(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(
        json.dumps({"argv": ["/nonexistent"], "display_name": "wrong", "language": "python"}),
        "utf-8",
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MEMLAB_PROFILE", "full")
    chapter.write_text(
        HEADER + "\n```{code-cell} ipython3\nimport os\nos.environ['MEMLAB_PROFILE']\n```\n",
        "utf-8",
    )
    assert notebooks.build(chapter) == "executed, written"
    assert "'quick'" in chapter.with_suffix(".ipynb").read_text("utf-8")


def test_nothing_random_is_left_in_the_notebook(executed: tuple[str, str]) -> None:
    assert "<object at 0x…>" in executed[1]
    assert not re.search(r"0x[0-9a-f]{8}", executed[1])
    content = json.loads(executed[1])
    assert [code(content, i)["execution_count"] for i in range(3)] == [1, 2, 3]
    assert "timestamp" not in executed[1] and "iopub" not in executed[1]


def test_a_quiz_stands_in_the_notebook_as_details(executed: tuple[str, str]) -> None:
    last = json.loads(executed[1])["cells"][-1]["source"]
    assert "<summary>42.</summary>\n" in last and "**Right.** The cell above says so.\n" in last
    assert ":::{quiz}" not in executed[1]


def test_a_quiz_that_is_not_well_formed_stops_the_build(chapter: Path) -> None:
    chapter.write_text(CHAPTER.replace("[x] ", ""), "utf-8")
    with pytest.raises(notebooks.ChapterError, match=r"tiny\.md: quiz 'How much .* got 0"):
        notebooks.build(chapter)


def test_prose_captions_tags_and_quizzes_change_without_executing(chapter: Path) -> None:
    text = CHAPTER.replace("Prose with", "Words with").replace("A line", "One line")
    chapter.write_text(
        text.replace("tags: [figure-code]", "tags: [x]").replace("13.", "14."), "utf-8"
    )
    assert notebooks.problems(chapter)
    assert notebooks.build(chapter) == "kept outputs, written"
    assert notebooks.problems(chapter) == []
    assert notebooks.build(chapter) == "kept outputs"


def test_changed_code_is_executed(chapter: Path) -> None:
    chapter.write_text(CHAPTER.replace("to stdout", "elsewhere"), "utf-8")
    assert notebooks.build(chapter) == "executed, written"
    text = chapter.with_suffix(".ipynb").read_text("utf-8")
    assert "elsewhere\\n" in text and "to stdout\\n" not in text


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("Prose with", "Words with", "cell 1 differs from the source in its source"),
        ('print("to stdout")', "print(1)", "cell 2 differs from the source in its source"),
        ("A line", "One line", "cell 3 differs from the source in its metadata"),
        ("Prose with $x^2$.", "Prose.\n\n+++\n\nMore.", "differs from the source in its"),
        ("tags: [figure-code]", "tags: [x]", "cell 3 differs from the source in its metadata"),
        ("- 13.", "- 14.", "cell 5 differs from the source in its source"),
        ("```{code-cell} ipython3\n6", "```python\n6", "differs from the source in its"),
    ],
)
def test_check_sees_an_edited_source(
    chapter: Path, before: str, after: str, complaint: str
) -> None:
    assert before in CHAPTER
    chapter.write_text(CHAPTER.replace(before, after), "utf-8")
    (problem,) = notebooks.problems(chapter)
    assert complaint in problem and "make notebooks" in problem


def set_count(content: dict) -> None:
    code(content, 1)["execution_count"] = None


def swap_counts(content: dict) -> None:
    code(content, 0)["execution_count"], code(content, 1)["execution_count"] = 2, 1


def add_field(content: dict) -> None:
    code(content, 0)["metadata"]["collapsed"] = True


def drop_cell(content: dict) -> None:
    content["cells"].pop()


def edit_number(content: dict) -> None:
    code(content, 0)["outputs"][0]["text"][-1] = "recall 1.000\n"


def drop_output(content: dict) -> None:
    code(content, 1)["outputs"] = []


def add_error(content: dict) -> None:
    code(content, 1)["outputs"] = [
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    ]


def other_kernel(content: dict) -> None:
    content["metadata"]["kernelspec"]["name"] = "julia"


def odd_output(content: dict) -> None:
    code(content, 0)["outputs"][0]["output_type"] = "guess"


def drop_id(content: dict) -> None:
    content["cells"][0]["id"] = "other"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (set_count, "not every cell was executed"),
        (swap_counts, "not every cell was executed"),
        (add_field, "differs from the source in its metadata"),
        (drop_cell, "cells, where the source has"),
        (edit_number, "not those that were executed"),
        (drop_output, "not those that were executed"),
        (add_error, "ended in an error"),
        (other_kernel, "notebook metadata differs"),
        (odd_output, "not a valid notebook"),
        (drop_id, "differs from the source in its id"),
    ],
)
def test_check_sees_an_edited_notebook(chapter: Path, change, complaint: str) -> None:
    assert notebooks.problems(chapter) == []
    edit(chapter, change)
    (problem,) = notebooks.problems(chapter)
    assert complaint in problem


def test_a_notebook_with_broken_seal_is_executed_again(
    chapter: Path, executed: tuple[str, str]
) -> None:
    edit(chapter, edit_number)
    assert notebooks.build(chapter) == "executed, written"
    assert chapter.with_suffix(".ipynb").read_text("utf-8") == executed[1]


def test_check_sees_other_formatting_and_missing_and_cut_files(chapter: Path) -> None:
    path = chapter.with_suffix(".ipynb")
    whole = path.read_text("utf-8")
    path.write_text(json.dumps(json.loads(whole)), "utf-8")
    assert "not written by tools/notebooks.py" in notebooks.problems(chapter)[0]
    path.write_text(whole[: len(whole) // 2], "utf-8")
    assert "not a valid notebook" in notebooks.problems(chapter)[0]
    path.unlink()
    assert "missing" in notebooks.problems(chapter)[0]


def test_a_failing_cell_names_itself_and_leaves_the_old_notebook(
    chapter: Path, executed: tuple[str, str]
) -> None:
    chapter.write_text(CHAPTER + "\n```{code-cell} ipython3\n1 / 0\n```\n", "utf-8")
    with pytest.raises(
        notebooks.ChapterError, match=r"tiny\.md: code cell 4 failed[\s\S]*ZeroDivisionError"
    ):
        notebooks.build(chapter)
    assert chapter.with_suffix(".ipynb").read_text("utf-8") == executed[1]
    assert [file.name for file in chapter.parent.iterdir()].count("tiny.ipynb.partial") == 0


def test_a_cell_may_fail_if_it_says_so(chapter: Path) -> None:
    cell = "\n```{code-cell} ipython3\n:tags: [raises-exception]\n\n1 / 0\n```\n"
    chapter.write_text(HEADER + "\n# Fails?\n" + cell, "utf-8")
    notebooks.build(chapter)
    assert notebooks.problems(chapter) == []


def test_only_pages_with_a_kernel_are_chapters_in_reading_order(chapter: Path) -> None:
    root = chapter.parents[2]
    (root / "book" / "prose.md").write_text(
        "# Words\n\nkernelspec: is mentioned here only\n", "utf-8"
    )
    first = root / "book" / "zoo.md"
    first.write_text(CHAPTER, "utf-8")
    toc = "root: book/index\nparts:\n- chapters:\n  - file: book/zoo\n  - file: book/part/tiny\n"
    (root / "_toc.yml").write_text(toc, "utf-8")
    assert notebooks.chapters(root=root) == [first, chapter]
    with pytest.raises(notebooks.ChapterError, match="not a chapter"):
        notebooks.chapters([root / "book" / "prose.md"])
    with pytest.raises(notebooks.ChapterError, match="no such file"):
        notebooks.chapters(["nothing.md"])


def test_command_line(chapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(chapter.parents[2])
    assert notebooks.main(["check", "--root", root]) == 0
    assert notebooks.main(["build", "--root", root]) == 0
    assert "kept outputs" in capsys.readouterr().out
    assert notebooks.main(["check", str(chapter.with_suffix(".ipynb"))]) == 0
    assert notebooks.main(["check", "nothing.md"]) == 2
    stray = chapter.with_name("stray.ipynb")
    stray.write_text(chapter.with_suffix(".ipynb").read_text("utf-8"), "utf-8")
    assert notebooks.main(["check", "--root", root]) == 1
    assert "no chapter of that name" in capsys.readouterr().err
    stray.unlink()
    edit(chapter, set_count)
    assert notebooks.main(["check", "--force", str(chapter)]) == 1


def test_site_hides_the_source_of_a_chapter_and_nothing_else(chapter: Path) -> None:
    (chapter.parent / "prose.md").write_text("# Words\n", "utf-8")
    assert sphinx_hide_sources.twins(chapter.parents[2]) == ["book/part/tiny.md"]


def test_nbval_accepts_the_notebook_and_sees_a_changed_output(chapter: Path, root: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        str(root / "tests" / "nbval_sanitize.cfg"),
        str(chapter.with_suffix(".ipynb")),
    ]
    environment = notebooks.environment()
    good = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert good.returncode == 0, good.stdout
    edit(chapter, edit_number)
    bad = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert bad.returncode == 1 and "recall 1.000" in bad.stdout


def test_makefile_and_builder_set_the_same_environment(root: Path) -> None:
    makefile = (root / "Makefile").read_text("utf-8")
    assert "tests/nbval_sanitize.cfg" in makefile
    exported = dict(re.findall(r"^export (\w+) [?:]= (.*)$", makefile, re.M))
    exported = {name: value.replace("$(CURDIR)", str(root)) for name, value in exported.items()}
    assert exported == {**notebooks.DEFAULTS, **notebooks.FIXED}


def test_requirements_and_constraints_are_exact_and_name_no_place(root: Path) -> None:
    pins: dict[str, str] = {}
    for name in ("requirements.txt", "constraints.txt"):
        for line in (root / name).read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), f"{name}: {line}"
                package, version = line.split("==")
                package = re.sub(r"[-_.]+", "-", package).lower()
                assert pins.setdefault(package, version) == version, f"{package} is pinned twice"
                assert package != "memlab"
    assert "torch==2.13.0" in (root / "requirements.txt").read_text("utf-8").splitlines()
