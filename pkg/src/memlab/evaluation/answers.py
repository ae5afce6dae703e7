"""What did it remember? Scorers for answers as text.

An answerer is any function that takes questions and returns one answer each: a model, a search
engine, a person. It is scored here without a look inside; nothing in this module knows how a memory
is built.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

Answerer = Callable[[Sequence[str]], list[str]]
_EMPTY = set(
    "a an and are as at be but by for from i in is it its my of on or our so that the their then"
    " there this to was we were what which who will with you your".split()
)
NO_ANSWER = (
    "not in the text",
    "the text does not say",
    "i do not know",
    "none",
    "nothing",
    "unknown",
)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def exact(answer: str, target: str) -> bool:
    """Whether the answer is the target, letter by letter; only runs of white space count as one
    space."""
    return _plain(answer) == _plain(target)


def contains_number(answer: str, target: str) -> bool:
    """Whether the answer names the number as a whole: 1234567 is not in 99123456799, A1234567 or
    1234567.5.

    An answer that lists many numbers contains each of them. ValueError if the target is no number.
    """
    number = _plain(target)
    if not re.fullmatch(r"\d+(?:[.,]\d+)*", number):
        raise ValueError(f"expected digits as target, got {target!r}")
    before = r"(?<![0-9A-Za-z_])(?<![0-9][.,])"
    after = r"(?![0-9A-Za-z_]|[.,][0-9])"
    return re.search(before + re.escape(number) + after, _plain(answer)) is not None


def _words(text: str) -> list[str]:
    """Words in lower case, a Chinese character being a word; no punctuation."""
    return re.findall(
        r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’][^\W_\u3400-\u9fff]+)*",
        _plain(text).casefold(),
    )


def content_words(answer: str, target: str) -> float:
    """The share of the target's content words that occur in the answer, as whole words, in any
    order.

    Words such as "the" or "of" do not count unless the target has no others. ValueError for a
    target without words.
    """
    words = set(_words(target))
    wanted = words - _EMPTY or words
    if not wanted:
        raise ValueError(f"expected a target with at least one word, got {target!r}")
    return len(wanted & set(_words(answer))) / len(wanted)


def contains_value(answer: str, target: str) -> bool:
    """Whether the answer names the value as a whole, in any case of letters: "karo" is not in
    "karos" or "karo-2".

    Numbers are read as in `contains_number`. ValueError for an empty target.
    """
    wanted = _plain(target).casefold()
    if not wanted:
        raise ValueError(f"expected a value as target, got {target!r}")
    if re.fullmatch(r"\d+(?:[.,]\d+)*", wanted):
        return contains_number(answer, wanted)
    whole = rf"(?<![\w-]){re.escape(wanted)}(?![\w-])"
    return re.search(whole, _plain(answer).casefold()) is not None


def abstains(answer: str) -> bool:
    """Whether the answer says nothing, is a phrase of `NO_ANSWER`, or begins with one of several
    words."""
    said = " ".join(_words(answer))
    if not said or said in NO_ANSWER:
        return True
    phrases = (one for one in NO_ANSWER if " " in one)
    return any(said.startswith(phrase + " ") for phrase in phrases)


def value_recall(answer: str, targets: Sequence[str]) -> float:
    """The share of values that the answer names (RULER's score); 1 means all of them, which is the
    strict score.

    Without targets nothing is the right answer: 1 if the answer abstains, or else 0.
    """
    if not targets:
        return float(abstains(answer))
    return sum(contains_value(answer, target) for target in targets) / len(targets)


def char_accuracy(answer: str, target: str) -> float:
    """The share of characters that are right in their place; what is missing or too much counts as
    wrong."""
    said = _plain(answer)
    wanted = _plain(target)
    if not said and not wanted:
        return 1.0
    right = sum(x == y for x, y in zip(said, wanted, strict=False))
    return right / max(len(said), len(wanted))


def memory_ability(answers: Sequence[str], targets: Sequence[str]) -> float:
    """The share of targets that are answered exactly, from beginning to end: Eq. (4) of Wang and
    Li.

    ValueError if there are none, or not as many answers as targets.
    """
    if len(answers) != len(targets) or not targets:
        raise ValueError(
            f"expected one answer a target, got {len(answers)} answers to {len(targets)} targets"
        )
    return sum(map(exact, answers, targets)) / len(targets)
