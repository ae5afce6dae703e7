"""Quizzes: a short block in the source of a chapter becomes plain HTML that is answered by a click.

    :::{quiz} How much is two and two?
    - Three.
      : Count again, with both hands.
    - [x] Four.
      : As $2 + 2 = 4$ in **every** ring.
    :::

Question and options are one paragraph each, reasons may be several (indented by four); all may hold
Markdown and $math$. The page, Jupyter and Colab show the same: all options in the open, each the
summary of a <details>, so that a click, Enter or Space on it shows whether it is right, and why,
without any script. What tells right from wrong stands inside and is not shown, or read aloud,
before.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

BLOCK = re.compile(r"^(:{3,})\{quiz\}(.*)\n((?:.*\n)*?)\1[ \t]*$", re.M)
START = re.compile(r"^:{3,}\{quiz\}", re.M)
RIGHT, WRONG = "Right.", "No."


@dataclass(frozen=True)
class Option:
    """One option of a question, with the reason that a reader sees who chose it."""

    text: str
    reason: str
    right: bool


@dataclass(frozen=True)
class Question:
    """A question with two or more options, of which exactly one is right."""

    text: str
    options: tuple[Option, ...]


def questions(markdown: str) -> list[Question]:
    """The quizzes of a text, in order. ValueError says which is not well formed, and how."""
    blocks = list(BLOCK.finditer(markdown))
    if len(blocks) != len(START.findall(markdown)):
        raise ValueError("expected a line ::: after every :::{quiz}, got a quiz that does not end")
    return [_question(block[2], block[3]) for block in blocks]


def expand(markdown: str, numbers: Iterator[int]) -> str:
    """The text with every quiz written out as HTML; `numbers` makes their ids unique on a page."""
    written = iter([_html(question, next(numbers)) for question in questions(markdown)])
    return BLOCK.sub(lambda _: next(written), markdown)


def _question(title: str, body: str) -> Question:
    rest, *items = re.split(r"^- ", body, flags=re.M)
    text = " ".join(f"{title} {rest}".split())
    if not text:
        raise ValueError("expected a question after :::{quiz}, got none")
    try:
        options = tuple(_option(item) for item in items)
        if len(options) < 2:
            raise ValueError(f"expected at least two options, got {len(options)}")
        if (right := sum(option.right for option in options)) != 1:
            raise ValueError(f"expected exactly one right option (- [x] …), got {right}")
    except ValueError as problem:
        raise ValueError(f"quiz {text[:50]!r}: {problem}") from None
    return Question(text, options)


def _option(item: str) -> Option:
    text, _, reason = re.sub(r"\A\[x\] ", "", item).partition("\n  : ")
    text = " ".join(text.split())
    first, _, rest = reason.partition("\n")
    reason = f"{first}\n{textwrap.dedent(rest)}".strip()
    if not text or not reason:
        raise ValueError(f"expected an option and below it its reason (  : …), got {item[:50]!r}")
    return Option(text, reason, item.startswith("[x] "))


def _html(question: Question, number: int) -> str:
    """A group with the question as its name, and a <details> an option: HTML around Markdown."""
    lines = [
        f'<div class="quiz" role="group" aria-labelledby="quiz-{number}">',
        f'<p id="quiz-{number}"><strong>{_inline(question.text)}</strong></p>',
    ]
    for option in question.options:
        kind, verdict = ("right", RIGHT) if option.right else ("wrong", WRONG)
        lines += [
            f'<details class="{kind}">',
            f"<summary>{_inline(option.text)}</summary>",
            f"\n**{verdict}** {option.reason}\n",
            "</details>",
        ]
    return "\n".join([*lines, "</div>"])


def _inline(markdown: str) -> str:
    """One paragraph as HTML: between tags Markdown is not read everywhere, formulas are."""
    for formula in re.findall(r"\$[^$]+\$", markdown):
        if re.search(r"[<>&]", formula):
            raise ValueError(rf"expected \lt, \gt or \amp in {formula}, which stands inside HTML")
    return str(_PARAGRAPH.renderInline(markdown))


def _formula(_renderer: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    return f'<span class="math">${tokens[index].content}$</span>'


_PARAGRAPH = MarkdownIt("commonmark").use(dollarmath_plugin)
_PARAGRAPH.add_render_rule("math_inline", _formula)
