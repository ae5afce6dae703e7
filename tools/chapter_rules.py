"""The shape of a chapter, as rules: order of sections, what each holds, and the budgets of code,
prose and bytes.

    python tools/chapter_rules.py [FILES]     one line for every rule that a chapter breaks
                                              (default: all chapters)

The rules stand in CONTRIBUTING.md in words. A rule looks at a `Chapter` and yields sentences;
`broken` runs them all.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nbformat import NotebookNode

import notebooks
from chapter import ROOT, Chapter, read

SECTIONS = (
    "You will be able to",
    "Set-up",
    "By hand",
    "The equation",
    "The experiment",
    "Claims of this chapter",
    "Check yourself",
    "Exercises",
    "What this does not show",
    "Further reading",
)
FREE_BETWEEN = (
    "The equation",
    "Claims of this chapter",
)  # sections of one's own may stand between these two
COST_CARD = "| profile | time | memory | needs |"
VERDICTS = ("supported", "refuted", "qualified", "not testable here")
HIDING = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
FOLDING = "figure-code"  # the page folds the code of a cell that draws under its figure
MEDIAN_LINES, P90_LINES, MAX_LINES = 8, 25, 40
CODE_WIDTH, SOLUTION_WIDTH = (
    88,
    80,
)  # what the page shows without scrolling at 1280 pixels; a solution is indented
HIDDEN_SHARE, NOTEBOOK_BYTES, WORDS, ALT_LENGTH = 0.10, 400_000, 4_500, 20
REASON_WORDS = 3


Rule = Callable[[Chapter], Iterator[str]]


def broken(chapter: Chapter) -> list[str]:
    """Every rule that the chapter breaks, one sentence each."""
    return [sentence for rule in RULES for sentence in rule(chapter)]


def _bullets(markdown: str) -> int:
    return len(re.findall(r"^[-*] ", markdown, re.M))


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _outside(count: int, low: int, high: int, what: str) -> Iterator[str]:
    if not low <= count <= high:
        yield f"expected {low} to {high} {what}, got {count}"


def opening(chapter: Chapter) -> Iterator[str]:
    """H1 with a question, a short answer in one paragraph, the cost card."""
    blocks = [
        block for block in re.split(r"\n\s*\n", chapter.sections[0].prose.strip()) if block.strip()
    ]
    blocks = [block for block in blocks if not re.fullmatch(r"\(.*\)=", block.strip())]
    if not blocks or not re.fullmatch(r"(\(.*\)=\n)?# .+\?", blocks[0].strip()):
        yield (
            f"expected a title that is a question (# …?), got {blocks[0][:60]!r}"
            if blocks
            else "no title"
        )
    if len(blocks) < 2 or not blocks[1].startswith("**Short answer.** "):
        yield "expected a paragraph that starts with **Short answer.** below the title"
    elif "**" in blocks[1].removeprefix("**Short answer.** "):
        yield "expected no more bold text in the short answer"
    card = blocks[2].strip().splitlines() if len(blocks) > 2 else []
    if not card or " ".join(card[0].split()) != COST_CARD:
        yield (
            "expected the cost card right below the short answer, a table with the header"
            f" {COST_CARD}"
        )
    elif not any(re.match(r"\| *`?quick`? *\|[^|]*\d", row) for row in card[2:]):
        yield "expected a row `quick` with a measured time in the cost card"
    if re.search(r"^# ", "\n".join(section.prose for section in chapter.sections[1:]), re.M):
        yield "expected one H1"


def order(chapter: Chapter) -> Iterator[str]:
    """The sections of the template, each once, in order; sections of one's own only where they are
    welcome."""
    titles = [section.title for section in chapter.sections[1:]]
    known = [title for title in titles if title in SECTIONS]
    for title in SECTIONS:
        if known.count(title) != 1:
            yield f"expected one section '## {title}', got {known.count(title)}"
    if known != [title for title in SECTIONS if title in known] and len(set(known)) == len(known):
        yield f"expected the sections in the order of the template, got {', '.join(known)}"
    if all(title in titles for title in FREE_BETWEEN):
        first, last = (titles.index(title) for title in FREE_BETWEEN)
        for place, title in enumerate(titles):
            if title not in SECTIONS and not first < place < last:
                yield f"section '{title}' stands where only the template's own sections may stand"


def set_up(chapter: Chapter) -> Iterator[str]:
    """The bootstrap cell comes first, word for word and hidden; the imports follow."""
    code = chapter.section("Set-up").code
    if not chapter.code or chapter.code[0].source != chapter.bootstrap:
        yield (
            "expected the bootstrap cell, word for word, as the first code cell (CONTRIBUTING.md"
            " shows it)"
        )
    elif "hide-input" not in _tags(chapter.code[0]):
        yield "expected the tag hide-input on the bootstrap cell"
    if len(code) < 2 or "import" not in code[1].source:
        yield "expected a cell with the imports in '## Set-up', after the bootstrap cell"


def contents(chapter: Chapter) -> Iterator[str]:
    """What each section of the template must hold."""
    section = chapter.section
    yield from _outside(
        _bullets(section("You will be able to").prose), 3, 5, "bullets in '## You will be able to'"
    )
    if not section("By hand").code:
        yield "expected a code cell in '## By hand'"
    equation = section("The equation")
    if not re.search(r"\$\$|```\{math\}|\\begin\{", equation.prose):
        yield "expected a displayed equation in '## The equation'"
    if not any(re.search(r"\bassert", cell.source) for cell in equation.code):
        yield "expected a cell in '## The equation' that asserts agreement with the package"
    if not section("The experiment").code:
        yield "expected a code cell in '## The experiment'"
    yield from _outside(
        _bullets(section("What this does not show").prose),
        2,
        5,
        "bullets in '## What this does not show'",
    )
    if not re.search(r"\{cite:?[a-z]*\}`", section("Further reading").prose):
        yield "expected a citation in '## Further reading'"


def claims(chapter: Chapter) -> Iterator[str]:
    """A table: id, claim, source, verdict, cell; verdicts from the list."""
    rows = [
        [field.strip() for field in row.strip().strip("|").split("|")]
        for row in re.findall(
            r"^\|.*\|[ \t]*$", chapter.section("Claims of this chapter").prose, re.M
        )
    ]
    if len(rows) < 3 or len(rows[0]) != 5 or rows[0][0] != "id" or rows[0][3] != "verdict":
        yield (
            "expected a table with the columns id, claim, source, verdict, cell in '## Claims of"
            " this chapter'"
        )
        return
    for row in rows[2:]:
        if len(row) != 5 or not re.match(rf"[*`]*({'|'.join(VERDICTS)})\b", row[3]):
            yield (
                f"claim {row[0]}: expected five columns and a verdict that starts with"
                f" {', '.join(VERDICTS)}"
            )


def quiz(chapter: Chapter) -> Iterator[str]:
    """Three to five questions that work without a kernel, with a reason for every option. (That
    one option is right, of two or more, is seen when the quiz is written out.)"""
    section = chapter.section("Check yourself")
    asked = section.prose.count('<div class="quiz"')
    yield from _outside(asked, 3, 5, "questions (:::{quiz} …) in '## Check yourself'")
    for option in (option for question in chapter.quizzes for option in question.options):
        if len(_plain(option.reason).split()) < REASON_WORDS:
            yield (
                f"option {option.text[:50]!r}: expected a reason of at least {REASON_WORDS} words,"
                f" got {option.reason!r}"
            )
        if re.match(r"[*_]*(Yes|No|Right|Wrong)[*_]*[.,:;!]", option.reason):
            yield (
                f"option {option.text[:50]!r}: expected a reason without a verdict of its own (the"
                f" page says Right or No), got {option.reason[:30]!r}"
            )
    if section.code:
        yield "expected no code cell in '## Check yourself': it works without a kernel"


def exercises(chapter: Chapter) -> Iterator[str]:
    """Three to five, each with a level, minutes, a check and a collapsed solution."""
    section = chapter.section("Exercises")
    text = "\n".join(cell.source for cell in section.cells)
    parts = re.split(r"^### +", text, flags=re.M)[1:]
    yield from _outside(len(parts), 3, 5, "exercises (### …)")
    for part in parts:
        name = part.splitlines()[0].strip()
        for what, pattern in (
            ("a level", r"\blevel \d|\b(easy|medium|hard)\b"),
            ("minutes", r"\b\d+ min"),
            ("a check", r"\bcheck|\bexercises\b"),
            ("a collapsed solution", r"\{dropdown\} *Solution|<details"),
        ):
            if not re.search(pattern, part, re.I):
                yield f"exercise {name!r}: expected {what}"
    code = "\n".join(cell.source for cell in chapter.cells)
    if parts and not re.search(r"from memlab\.book\.\S+ import (\([^)]*|.*)\bexercises\b", code):
        yield "expected the exercises to use checks from the chapter's own memlab.book.….exercises"


def figures(chapter: Chapter) -> Iterator[str]:
    """Every figure has a text for those who do not see it; a computed one also a name and a
    caption."""
    for number, cell in enumerate(chapter.code, 1):
        shown = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        asked = cell.metadata.get("mystnb", {})
        if not shown and "figure" not in asked:
            continue
        if len(str(asked.get("image", {}).get("alt", ""))) < ALT_LENGTH:
            yield (
                f"code cell {number} draws: expected mystnb.image.alt of at least {ALT_LENGTH}"
                " characters"
            )
        if not {"name", "caption"} <= set(asked.get("figure", {})):
            yield f"code cell {number} draws: expected mystnb.figure with name and caption"
    for number, cell in enumerate(chapter.code, 1):
        for output in cell.get("outputs", []):
            yield from (
                f"code cell {number}: {problem}"
                for problem in _images_without_alt(
                    "".join(output.get("data", {}).get("text/html", ""))
                )
            )
    yield from _images_without_alt(
        "\n".join(c.source for c in chapter.cells if c.cell_type == "markdown")
    )


def folding(chapter: Chapter) -> Iterator[str]:
    """What the page folds under a figure only draws it: the code that measures stays in view."""
    for number, cell in enumerate(chapter.code, 1):
        folded, draws = FOLDING in _tags(cell), "figure" in cell.metadata.get("mystnb", {})
        if folded != draws:
            yield (
                f"code cell {number}: expected the tag {FOLDING} where mystnb.figure stands, and"
                " nowhere else"
            )
        if not folded:
            continue
        if more := _tags(cell) & HIDING:
            yield f"code cell {number}: expected {FOLDING} without {', '.join(sorted(more))}"
        outputs = cell.get("outputs", [])
        if any("image/png" not in output.get("data", {}) for output in outputs):
            yield f"code cell {number}: expected {FOLDING} on a cell that only draws, got a text"


def _images_without_alt(text: str) -> Iterator[str]:
    for tag in re.findall(r"<img\b[^>]*>", text):
        if not re.search(r"\balt=[\"'][^\"']+", tag):
            yield "expected alt text on every <img>"
    if re.search(r"!\[\s*\]\(", text):
        yield "expected alt text on every image (![what is seen](file))"
    for directive in re.findall(r"\{(?:figure|image)\}[^\n]*\n((?::[^\n]*\n)*)", text):
        if not re.search(r"^:alt: *\S", directive, re.M):
            yield "expected :alt: on every figure and image directive"


def code_budget(chapter: Chapter) -> Iterator[str]:
    """Short cells: median, p90, maximum, share of hidden cells, width."""
    counts = sorted(_lines(cell) for cell in chapter.code)
    if not counts:
        return
    median, p90 = counts[(len(counts) - 1) // 2], counts[max(0, -(-9 * len(counts) // 10) - 1)]
    for what, value, limit in (
        ("median", median, MEDIAN_LINES),
        ("90th percentile", p90, P90_LINES),
        ("longest", counts[-1], MAX_LINES),
    ):
        if value > limit:
            yield f"code cells: expected a {what} of at most {limit} lines, got {value}"
    hidden = sum(bool(_tags(cell) & HIDING) for cell in chapter.code)
    if hidden > max(1, HIDDEN_SHARE * len(counts)):
        yield (
            f"expected at most {HIDDEN_SHARE:.0%} hidden cells (or only the first), got {hidden} of"
            f" {len(counts)}"
        )
    yield from _too_wide(chapter)


def _too_wide(chapter: Chapter) -> Iterator[str]:
    """Lines that the page cuts off: of code (but not of the set-up), of what it prints, of
    solutions."""
    prose = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    found = [
        ("solution", SOLUTION_WIDTH, body)
        for body in re.findall(r"^```python\n(.*?)^```", prose, re.M | re.S)
    ]
    for number, cell in enumerate(chapter.code[1:], 2):
        printed = [
            output.text for output in cell.get("outputs", []) if output.output_type == "stream"
        ]
        found += [
            (f"code cell {number}", CODE_WIDTH, cell.source),
            *((f"what code cell {number} prints", CODE_WIDTH, text) for text in printed),
        ]
    for where, limit, text in found:
        widest = max(map(len, text.splitlines()), default=0)
        if widest > limit:
            yield f"{where}: expected lines of at most {limit} characters, got {widest}"


def _plain(markdown: str) -> str:
    """What a reader reads: no fences, no tags, no formulas, no link targets."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1[`~]*[ \t]*$", " ", markdown, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.S)
    return re.sub(
        r"\$[^$\n]+\$|<[^>]+>|\]\([^)]*\)|\{[a-z:]+\}|^:{3,}.*$|^:[\w-]+:.*$", " ", text, flags=re.M
    )


def length(chapter: Chapter) -> Iterator[str]:
    """A page that can be read in one sitting and a notebook that can be reviewed."""
    prose = "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    words = len(re.findall(r"\w[\w'’.,-]*", _plain(prose)))
    if words > WORDS:
        yield f"expected at most {WORDS} words, got {words}"
    if chapter.size > NOTEBOOK_BYTES:
        yield (
            f"expected a notebook of at most {NOTEBOOK_BYTES // 1000} KB, got"
            f" {chapter.size / 1000:.0f} KB"
        )


def strictness(chapter: Chapter) -> Iterator[str]:
    """Outputs that nbval can compare: nothing skipped; what is ignored is followed by a cell that
    is not."""
    for number, cell in enumerate(chapter.code, 1):
        if "nbval-skip" in _tags(cell):
            yield (
                f"code cell {number}: expected no nbval-skip; use nbval-ignore-output and a strict"
                " cell after it"
            )
        if "nbval-ignore-output" in _tags(cell):
            rest = [c for c in chapter.code[number:] if "nbval-ignore-output" not in _tags(c)]
            if not any(re.search(r"\b(print|assert\w*|show\w*)\b", c.source) for c in rest):
                yield (
                    f"code cell {number}: expected a strict cell after nbval-ignore-output that"
                    " prints the verdict"
                )
        if cell.source.rstrip().endswith(";"):
            yield (
                f"code cell {number} ends in a semicolon, which does not silence it under test:"
                " assign to _ instead"
            )
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"code cell {number} shows an error"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"code cell {number} writes to stderr: {output.text.strip()[:60]!r}"


def finished(chapter: Chapter) -> Iterator[str]:
    """Nothing is left to fill in."""
    for number, cell in enumerate(chapter.cells, 1):
        for left in re.findall(r"@@\w*@@|\bTODO\b|\bFIXME\b|\bTBD\b", cell.source):
            yield f"cell {number}: {left} is left to fill in"


def portability(chapter: Chapter) -> Iterator[str]:
    """No output names a folder of the machine that made it."""
    folders = {str(ROOT), str(Path.home()), sys.prefix, tempfile.gettempdir() + os.sep}
    for number, cell in enumerate(chapter.code, 1):
        shown = str(
            [
                output.get("text", "")
                or {
                    kind: value
                    for kind, value in output.get("data", {}).items()
                    if kind.startswith("text/")
                }
                for output in cell.get("outputs", [])
            ]
        )
        if named := sorted(folder for folder in folders if len(folder) > 1 and folder in shown):
            yield f"code cell {number}: the output names a folder of this machine ({named[0]})"


def imports(chapter: Chapter) -> Iterator[str]:
    """A chapter imports public names of memlab, no other chapter, and does not install anything
    itself."""
    ours: dict[str, str] = {}
    for number, cell in enumerate(chapter.code, 1):
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            yield f"code cell {number}: expected plain Python, got something that does not parse"
            continue
        for name in _used(tree, ours):
            if name.split(".")[0] == "memlab" and any(
                part.startswith("_") for part in name.split(".")
            ):
                yield f"code cell {number}: expected public names of memlab, got {name}"
            if name.split(".")[0] in ("book", "tests", "tools"):
                yield f"code cell {number}: a chapter may not import {name}"


def _used(tree: ast.AST, ours: dict[str, str]) -> Iterator[str]:
    """Full names of what a cell imports, and of attributes that it reaches through imports (kept in
    `ours`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = (
                    f"{node.module}.{alias.name}"
                    if isinstance(node, ast.ImportFrom)
                    else alias.name
                )
                ours[alias.asname or alias.name.split(".")[0]] = name
                yield name
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ours
        ):
            yield f"{ours[node.value.id]}.{node.attr}"


def voices(chapter: Chapter) -> Iterator[str]:
    """What a paper claims stands in its own frame."""
    for title, body in re.findall(
        r"^:{3,}\{admonition\} *(.*)\n((?::[^\n]*\n)*)",
        "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown"),
        re.M,
    ):
        if title.strip() == "The paper says" and ":class: paper" not in body:
            yield "expected ':class: paper' in every frame 'The paper says'"


RULES: tuple[Rule, ...] = (
    opening,
    order,
    set_up,
    contents,
    claims,
    quiz,
    exercises,
    figures,
    folding,
    code_budget,
    length,
    strictness,
    finished,
    portability,
    imports,
    voices,
)


def main(argv: Sequence[str]) -> int:
    """Print what the chapters break; 0 if nothing."""
    try:
        found = {md: broken(read(md)) for md in notebooks.chapters(argv)}
    except notebooks.ChapterError as problem:
        print(problem, file=sys.stderr)
        return 2
    for md, sentences in found.items():
        for sentence in sentences:
            print(f"{os.path.relpath(md)}: {sentence}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
