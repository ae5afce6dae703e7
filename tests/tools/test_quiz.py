"""Quizzes: what is written in a chapter, what the page gets, and every way of not writing one."""

from __future__ import annotations

import itertools

import pytest

import quiz

GOOD = r"""Before.

:::{quiz} How much is $2 \cdot 2$ in *any* ring?
- Three, as `3` says.
  : Count again.
- [x] $2 + 2$, or
  four.
  : As $2 + 2 = 4$:

    $$ 2 \cdot 2 = 4. $$

    - That is all.
:::

After.
"""
PAGE = r"""Before.

<div class="quiz" role="group" aria-labelledby="quiz-1">
<p id="quiz-1"><strong>How much is <span class="math">$2 \cdot 2$</span> in <em>any</em> ring?</strong></p>
<details class="wrong">
<summary>Three, as <code>3</code> says.</summary>

**No.** Count again.

</details>
<details class="right">
<summary><span class="math">$2 + 2$</span>, or four.</summary>

**Right.** As $2 + 2 = 4$:

$$ 2 \cdot 2 = 4. $$

- That is all.

</details>
</div>

After.
"""  # noqa: E501


def test_a_quiz_becomes_a_group_of_details() -> None:
    assert quiz.expand(GOOD, itertools.count(1)) == PAGE


def test_a_quiz_is_read() -> None:
    (question,) = quiz.questions(GOOD)
    assert question.text == r"How much is $2 \cdot 2$ in *any* ring?"
    assert [option.right for option in question.options] == [False, True]
    assert question.options[1].text == "$2 + 2$, or four."


def test_every_quiz_of_a_page_has_an_id_of_its_own() -> None:
    numbers = itertools.count(1)
    first, second = quiz.expand(GOOD * 2, numbers), quiz.expand(GOOD, numbers)
    assert 'id="quiz-1"' in first and 'id="quiz-2"' in first and 'id="quiz-3"' in second


def test_text_without_a_quiz_stays_as_it_is() -> None:
    text = ":::{note}\n- [x] done\n  : no\n:::\n"
    assert quiz.expand(text, itertools.count(1)) == text and quiz.questions(text) == []


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (r" How much is $2 \cdot 2$ in *any* ring?", "", "expected a question after :::{quiz}"),
        ("- Three, as `3` says.\n  : Count again.\n", "", "expected at least two options, got 1"),
        ("  : Count again.\n", "", "expected an option and below it its reason"),
        ("[x] ", "", r"expected exactly one right option \(- \[x\] …\), got 0"),
        ("- Three", "- [x] Three", r"expected exactly one right option \(- \[x\] …\), got 2"),
        (":::\n\nAfter", "After", "expected a line ::: after every"),
        ("$2 + 2$, or", "$2 < 3$, or", r"expected \\lt, \\gt or \\amp in \$2 < 3\$"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, complaint: str) -> None:
    assert GOOD.count(before) == 1
    with pytest.raises(ValueError, match=complaint):
        quiz.expand(GOOD.replace(before, after), itertools.count(1))
