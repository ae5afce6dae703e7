"""Every chapter keeps to the template and its budgets; and the checker finds each way of not doing
so."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pytest
from nbformat.v4 import new_output

import chapter
import chapter_rules
import notebooks
import repository

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = notebooks.chapters(root=ROOT)
GOOD = """\
---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Is it a chapter?

**Short answer.** Yes, a small one, with everything that a chapter needs.

| profile | time | memory | needs |
|---|---|---|---|
| quick | 3 s | 0.1 GB | one core |
| gpu | recorded | | a GPU |

## You will be able to

- write a matrix,
- read a matrix,
- doubt a matrix.

## Set-up

```{code-cell} ipython3
:tags: [hide-input]

BOOTSTRAP
```

```{code-cell} ipython3
import math
from memlab import runtime
```

## By hand

Two and two.

```{code-cell} ipython3
print(2 + 2)
```

## The equation

$$ x = 2 $$ (eq-two)

```{code-cell} ipython3
assert math.isclose(runtime.derive_seed(0), runtime.derive_seed(0))
```

## The experiment

:::{admonition} The paper says
:class: paper
It is two (Section 2).
:::

```{code-cell} ipython3
:tags: [nbval-ignore-output]

loss = 0.1
```

```{code-cell} ipython3
print(loss < 0.5)
```

```{code-cell} ipython3
---
mystnb:
  figure: {name: fig-tiny, caption: "n = 2, seed 0, quick."}
  image: {alt: The line falls from one to zero within two steps.}
tags: [figure-code]
---
draw()
```

## A section of our own

Words.

## Claims of this chapter

| id | claim | source | verdict | cell |
|---|---|---|---|---|
| T1 | it is two | the paper, §2 | supported | [The experiment](#the-experiment) |

## Check yourself

QUIZ

## Exercises

```{code-cell} ipython3
from memlab.book.argument.tiny import exercises as checks
```

EXERCISES

## What this does not show

- That it is three.
- That it is four.

## Further reading

{cite:t}`hopfield1982` began.
"""
QUESTION = """\
:::{quiz} What is two and two?
- Three.
  : Count again, with both of your hands.
- [x] Four.
  : Two and two are four.
:::"""
EXERCISE = """\
### Add

*Level 1, 10 minutes.* Write `add`; `checks.add(add)` says whether it is right.

:::{dropdown} Solution
`a + b`
:::"""
CODE = "```{code-cell} ipython3\n%s\n```\n"
BY_HAND = "print(2 + 2)"


def source(text: str = GOOD) -> str:
    where = repository.setting(ROOT)
    return (
        text.replace("BOOTSTRAP", chapter.BOOTSTRAP.format(url=where.url, branch=where.branch))
        .replace("QUIZ", "\n\n".join([QUESTION] * 3))
        .replace("EXERCISES", "\n\n".join([EXERCISE] * 3))
    )


def check(folder: Path, text: str) -> list[str]:
    """What the checker says of a chapter with this source."""
    md = folder / "tiny.md"
    md.write_text(text, "utf-8")
    return chapter_rules.broken(chapter_rules.read(md, ROOT))


@pytest.mark.parametrize("md", CHAPTERS, ids=[md.stem for md in CHAPTERS])
def test_chapter_keeps_to_the_template(md: Path) -> None:
    assert chapter_rules.broken(chapter_rules.read(md, ROOT)) == []


@pytest.mark.parametrize("md", CHAPTERS, ids=[md.stem for md in CHAPTERS])
def test_chapter_is_in_the_contents(md: Path) -> None:
    assert md.relative_to(ROOT).with_suffix("").as_posix() in (ROOT / "_toc.yml").read_text("utf-8")


def test_the_good_chapter_is_good(tmp_path: Path) -> None:
    assert check(tmp_path, source()) == []


def drop_section(title: str) -> tuple[str, str]:
    return rf"^## {title}\n", "### Not that\n"


BROKEN = [
    # the opening
    (r"chapter\?", "chapter", "expected a title that is a question"),
    (r"\*\*Short answer\.\*\* Yes", "Yes", "starts with \\*\\*Short answer"),
    (r"a small one", "a **small** one", "no more bold text in the short answer"),
    (r"\| profile \| time", "| profile | speed", "expected the cost card"),
    (r"\| quick \| 3 s", "| quick | short", "a row `quick` with a measured time"),
    (r"## By hand", "# By hand", "expected one H1"),
    # the sections
    *(
        (*drop_section(title), f"expected one section '## {title}', got 0")
        for title in chapter_rules.SECTIONS
    ),
    (
        r"^## Further reading",
        "## By hand\n\nAgain.\n\n## Further reading",
        "expected one section '## By hand', got 2",
    ),
    (r"^## Claims", "## Extra\n\n## Claims", None),
    (r"^## Check yourself", "## Extra\n\n## Check yourself", "section 'Extra' stands where only"),
    (r"^## By hand", "## Extra\n\n## By hand", "section 'Extra' stands where only"),
    # what they hold
    (r"- read a matrix,\n", "", "expected 3 to 5 bullets in '## You will be able to', got 2"),
    (
        r"- write",
        "- w\n- w\n- w\n- write",
        "expected 3 to 5 bullets in '## You will be able to', got 6",
    ),
    (r"\$\$ x = 2 \$\$ \(eq-two\)", "x is 2", "expected a displayed equation"),
    (r"^assert ", "print", "asserts agreement with the package"),
    (r"- That it is four\.\n", "", "bullets in '## What this does not show', got 1"),
    (r"\{cite:t\}`hopfield1982`", "Hopfield", "expected a citation"),
    (re.escape(CODE % BY_HAND), "", "expected a code cell in '## By hand'"),
    # set-up
    (r"leaves torch alone", "leaves it alone", "expected the bootstrap cell, word for word"),
    (r"@main#", "@develop#", "expected the bootstrap cell, word for word"),
    (r":tags: \[hide-input\]\n\n", "", "expected the tag hide-input"),
    (r"import math\nfrom memlab import runtime", "print(1)", "expected a cell with the imports"),
    # claims
    (r"\| id \| claim", "| name | claim", "a table with the columns id, claim"),
    (r"\| supported \|", "| proven |", "claim T1: expected five columns and a verdict"),
    (r"\| supported \|", "| *not testable here* |", None),
    (r"\| supported \|", "| supported, for two |", None),
    (r"\| T1 .*\n", "", "a table with the columns id, claim"),
    # quiz
    (r":::\{quiz\}[\s\S]*?:::\n\n", "", "expected 3 to 5 questions .*, got 2"),
    (r"^(?=:::\{quiz\})", (QUESTION + "\n\n") * 3, "expected 3 to 5 questions .*, got 6"),
    (r"Two and two are four\.", "Indeed.", "'Four.': expected a reason of at least 3 words"),
    (r"Count again", "No: count again", "'Three.': expected a reason without a verdict of its own"),
    (r"Count again", "None of us: count again", None),
    (
        r"^## Exercises",
        CODE.replace("%s", "1") + "\n## Exercises",
        "expected no code cell in '## Check yourself'",
    ),
    # exercises
    (r"### Add\n[\s\S]*?:::\n\n", "", "expected 3 to 5 exercises .*, got 2"),
    (r"Level 1, ", "", "exercise 'Add': expected a level"),
    (r"Level 1, ", "Hard, ", None),
    (r"10 minutes", "quick", "exercise 'Add': expected minutes"),
    (r"`checks.add\(add\)` says whether it is right", "Look", "exercise 'Add': expected a check"),
    (
        r":::\{dropdown\} Solution\n`a \+ b`\n:::",
        "a + b",
        "exercise 'Add': expected a collapsed solution",
    ),
    (r"memlab\.book\.argument\.tiny", "elsewhere", "the chapter's own memlab.book"),
    # figures
    (
        r"alt: The line falls.*\}",
        "alt: A line}",
        "code cell 7 draws: expected mystnb.image.alt of at least 20",
    ),
    (r"  image: .*\n", "", "code cell 7 draws: expected mystnb.image.alt"),
    (r"name: fig-tiny, ", "", "code cell 7 draws: expected mystnb.figure with name and caption"),
    (
        r"^tags: \[figure-code\]\n",
        "",
        "code cell 7: expected the tag figure-code where mystnb.figure",
    ),
    (
        re.escape(BY_HAND),
        ":tags: [figure-code]\n\n2",
        "code cell 3: expected the tag figure-code where",
    ),
    (r"\[figure-code\]", "[figure-code, hide-input]", "expected figure-code without hide-input"),
    (r"^Two and two", "![](x.png)\n\nTwo and two", "expected alt text on every image"),
    (r"^Two and two", '<img src="x.png">\n\nTwo and two', "expected alt text on every <img>"),
    (r"^Two and two", '<img src="x.png" alt="two">\n\nTwo and two', None),
    (
        r"^Two and two",
        "```{image} x.png\n:width: 3\n```\n\nTwo and two",
        "expected :alt: on every figure and image",
    ),
    (r"^Two and two", "```{image} x.png\n:alt: two dots\n```\n\nTwo and two", None),
    # budgets
    (
        re.escape(BY_HAND),
        "\n".join(["x = 1"] * 41),
        "code cells: expected a longest of at most 40 lines, got 41",
    ),
    (
        re.escape(CODE % BY_HAND),
        (CODE % "\n".join(["x = 1"] * 26)) * 2,
        "90th percentile of at most 25 lines, got 26",
    ),
    (
        re.escape(CODE % BY_HAND),
        (CODE % "\n".join(["x = 1"] * 9)) * 9,
        "a median of at most 8 lines, got 9",
    ),
    (re.escape(BY_HAND), ":tags: [hide-cell]\n\nprint(2 + 2)", "expected at most 10% hidden cells"),
    (
        re.escape(BY_HAND),
        "x = '" + "a" * 120 + "'",
        "code cell 3: expected lines of at most 88 characters",
    ),
    (
        r"^`a \+ b`",
        "```python\nx = '" + "a" * 80 + "'\n```",
        "solution: expected lines of at most 80 characters",
    ),
    (r"^Words\.", "word " * 4_600, "expected at most 4500 words"),
    (r"^Words\.", "```\n" + "word " * 4_600 + "\n```\n", None),
    # outputs
    (r"nbval-ignore-output", "nbval-skip", "code cell 5: expected no nbval-skip"),
    (r"print\(loss < 0.5\)", "loss = loss / 2", "a strict cell after nbval-ignore-output"),
    (re.escape(BY_HAND), "2 + 2;", "code cell 3 ends in a semicolon"),
    # imports
    (
        re.escape(BY_HAND),
        "from memlab.results import _lines",
        "public names of memlab, got memlab.results._lines",
    ),
    (re.escape(BY_HAND), "from memlab._secret import x", "expected public names of memlab"),
    (
        re.escape(BY_HAND),
        "print(runtime._commit())",
        "expected public names of memlab, got memlab.runtime._commit",
    ),
    (re.escape(BY_HAND), "import memlab.results as r\nr._lines(0)", "got memlab.results._lines"),
    (re.escape(BY_HAND), "from book.argument import x", "a chapter may not import book"),
    (re.escape(BY_HAND), "!pip install x", "expected plain Python"),
    # unfinished
    (r"3 s", "@@3@@", "cell 1: @@3@@ is left to fill in"),
    (r"^Words\.", "TODO: words", "TODO is left to fill in"),
    # voices
    (r":class: paper\n", "", "expected ':class: paper' in every frame"),
]


@pytest.mark.parametrize(
    ("pattern", "replacement", "complaint"),
    BROKEN,
    ids=[f"{i}-{(c or 'fine')[:40]}" for i, (_, _, c) in enumerate(BROKEN)],
)
def test_the_checker_finds(
    tmp_path: Path, pattern: str, replacement: str, complaint: str | None
) -> None:
    text, count = re.subn(pattern, lambda _: replacement, source(), count=1, flags=re.M)
    assert count == 1, "the pattern of this case is not in the good chapter"
    found = check(tmp_path, text)
    if complaint is None:
        assert found == []
    else:
        assert any(re.search(complaint, sentence) for sentence in found), found


def test_the_checker_finds_sections_out_of_order(tmp_path: Path) -> None:
    text = source().replace("## By hand", "## X").replace("## The equation", "## By hand")
    text = text.replace("## X", "## The equation")
    assert any("in the order of the template" in sentence for sentence in check(tmp_path, text))


def test_a_heading_inside_a_fence_is_no_section(tmp_path: Path) -> None:
    assert check(tmp_path, source().replace("Words.", "```\n## Not a section\n```")) == []


def test_a_quiz_that_is_not_well_formed_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        notebooks.ChapterError, match=r"tiny\.md: quiz 'What is two .* right option"
    ):
        check(tmp_path, source().replace("[x] ", "", 1))


def test_folded_code_draws_and_prints_nothing(tmp_path: Path) -> None:
    drawn = {"output_type": "display_data", "data": {"image/png": "eA==", "text/plain": "<Figure>"}}
    printed = {"output_type": "stream", "name": "stdout", "text": "recall 0.9"}
    assert with_output(tmp_path, drawn, cell=6) == []
    assert with_output(tmp_path, printed, cell=6) == [
        "code cell 7: expected figure-code on a cell that only draws, got a text"
    ]


def with_output(folder: Path, output: dict, size: int = 0, cell: int = 1) -> list[str]:
    """What the checker says when the second code cell (or that of index `cell`) gave `output`."""
    md = folder / "tiny.md"
    md.write_text(source(), "utf-8")
    notebook = notebooks.from_md(md)
    notebooks.code_cells(notebook)[cell].outputs = [new_output(**output)]
    md.with_suffix(".ipynb").write_text(notebooks.render(notebook) + " " * size, "utf-8")
    return chapter_rules.broken(chapter_rules.read(md, ROOT))


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ({"output_type": "stream", "name": "stdout", "text": "fine"}, None),
        (
            {"output_type": "stream", "name": "stderr", "text": "Warning: x"},
            "code cell 2 writes to stderr: 'Warning: x'",
        ),
        (
            {"output_type": "stream", "name": "stdout", "text": f"saved to {ROOT}/x"},
            "cell 2: the output names a folder",
        ),
        (
            {"output_type": "stream", "name": "stdout", "text": "short\n" + "x" * 89},
            "what code cell 2 prints: expected lines of at most 88 characters, got 89",
        ),
        (
            {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
            "code cell 2 shows an error",
        ),
        (
            {"output_type": "display_data", "data": {"image/png": base64.b64encode(b"x").decode()}},
            "code cell 2 draws: expected mystnb.image.alt",
        ),
        (
            {"output_type": "display_data", "data": {"text/html": "<img src='data:x'>"}},
            "code cell 2: expected alt text on every <img>",
        ),
        (
            {
                "output_type": "display_data",
                "data": {"text/html": "<img alt='a line' src='data:x'>"},
            },
            None,
        ),
    ],
)
def test_the_checker_looks_at_outputs(tmp_path: Path, output: dict, complaint: str | None) -> None:
    found = with_output(tmp_path, output)
    assert found == [] if complaint is None else any(complaint in sentence for sentence in found), (
        found
    )


def test_the_checker_weighs_the_notebook(tmp_path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 400_000}
    assert any(
        "expected a notebook of at most 400 KB, got 4" in sentence
        for sentence in with_output(tmp_path, output)
    )


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    md = tmp_path / "tiny.md"
    md.write_text(source(), "utf-8")
    assert chapter_rules.main([str(md)]) == 0
    md.write_text(source().replace("chapter?", "chapter"), "utf-8")
    assert chapter_rules.main([str(md)]) == 1
    assert "expected a title that is a question" in capsys.readouterr().out
    shutil.rmtree(tmp_path)
    assert chapter_rules.main([str(md)]) == 2
