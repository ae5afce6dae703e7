"""What did it remember? Scorers for answers as text.

An answerer is any function that takes questions and returns one answer each: a model, a search
engine, a person. It is scored here without a look inside; nothing in this module knows how a memory
is built. Numbers, values and words are compared in any script as `words.readable` spells them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import regex

from memlab.evaluation import words
from memlab.evaluation.abstention import abstains

Answerer = Callable[[Sequence[str]], list[str]]
_EMPTY = set(
    "a an and are as at be but by for from i in is it its my of on or our so that the their then"
    " there this to was we were what which who will with you your".split()
)
_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def exact(answer: str, target: str) -> bool:
    """Whether the answer is the target, letter by letter; only runs of white space count as one
    space."""
    return _plain(answer) == _plain(target)


def contains_number(answer: str, target: str) -> bool:
    """Whether the answer names the number as a whole: 1234567 is not in 99123456799, A1234567 or
    1234567.5.

    An answer that lists many numbers contains each of them, with or without blanks. Digits are
    those of any script, and 1,234,567 is the number 1234567 and not a list, see
    `words.plain_numbers`; 123,456,789 may be either, and contains 456 as well as 123456789.
    ValueError if the target is no number.
    """
    number = words.readable(target)
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"expected digits as target, got {target!r}")
    readings = (answer, words.listed_threes(answer))
    return any(words.holds_number(words.readable(reading), number) for reading in readings)


def content_words(answer: str, target: str) -> float:
    """The share of the target's content words that occur in the answer, as whole words, in any
    order; Anna's names Anna.

    Words such as "the" or "of" do not count unless the target has no others, symbols such as emoji
    not unless it has no words. ValueError for a target without either.
    """
    text = words.readable(target).casefold()
    said = words.readable(answer).casefold()
    pieces = words.words if words.words(text) else words.symbols
    named = set(pieces(text))
    wanted = named - _EMPTY or named
    if not wanted:
        raise ValueError(f"expected a target with at least one word, got {target!r}")
    found = set(pieces(said))
    found |= set().union(*map(words.parts, found))
    inside = {word for word in wanted - found if words.glued(word) and words.holds(said, word)}
    return len(wanted & (found | inside)) / len(wanted)


def contains_value(answer: str, target: str) -> bool:
    """Whether the answer names the value as a whole, in any case of letters: "karo" is not in
    "karos" or "karo-2", but in "_karo_", and 北京 is in 我住在北京。

    Numbers are read as in `contains_number`. ValueError for an empty target.
    """
    wanted = words.readable(target).casefold()
    if not wanted:
        raise ValueError(f"expected a value as target, got {target!r}")
    if _NUMBER.fullmatch(wanted):
        return contains_number(answer, wanted)
    said = words.readable(answer).casefold()
    return words.holds(said, wanted) or words.holds(words.without_markdown(said), wanted)


def value_recall(answer: str, targets: Sequence[str]) -> float:
    """The share of values that the answer names (RULER's score); 1 means all of them, which is the
    strict score.

    Without targets nothing is the right answer: 1 if the answer `abstains`, or else 0. A hedged
    answer counts as what it names: "I do not know, maybe 12345" scores 1 if 12345 is the target,
    and 0 if there is none.
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
