"""Checks for chapter 5, how well do language models recite? Every check draws its own examples from
a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from memlab import runtime
from memlab.book.checks import NOTHING, close, expect, number, numbers, on_copies, truth
from memlab.corpora import poems as corpus


def check_same(function: Callable[[str, str], bool], seed: int = 0) -> None:
    """`function(said, text)`: is it the poem, runs of white space being one space, and none at the
    ends?"""
    function = on_copies(function)
    drawn = corpus.synthetic(4, seed=runtime.derive_seed(seed, "check", "same"))
    text = drawn.poem(0).text
    other = drawn.poem(1).text
    one_line = text.replace("\n", " ")
    cases = [
        (text, True, "the text itself"),
        (one_line, True, "the text in one line"),
        ("  " + text.replace("\n", " \n\n\t") + "\n", True, "the text with more white space"),
        (other, False, "another poem"),
        (text.rsplit(None, 1)[0], False, "the text without its last word"),
        (text + " moon", False, "the text and one word more"),
        (text.capitalize(), False, "a capital letter"),
        ("".join(text.split()), False, "the words without any space between them"),
        ("", False, "no answer"),
    ]
    for said, wanted, what in cases:
        got = function(said, text)
        # None is what `re.fullmatch` says for no.
        expect(got is not None or not wanted, NOTHING)
        should = "should" if wanted else "should not"
        expect(truth(got) == wanted, f"{what} {should} count as the poem, got {got!r} for {said!r}")
    print("ok")


def check_labels(function: Callable[[list[int], list[int], int], list[int]], seed: int = 0) -> None:
    """`function(question, answer, length)`: labels of a row filled up to `length`; −100 wherever
    nothing is learnt."""
    function = on_copies(function)
    draw = runtime.python_random(seed, "check", "labels")
    for _ in range(20):
        question = [draw.randrange(50) for _ in range(draw.randint(1, 6))]
        answer = [draw.randrange(50) for _ in range(draw.randint(1, 6))]
        length = len(question) + len(answer) + draw.randint(0, 4)
        made = function(question, answer, length)
        expect(made is not None, NOTHING)
        got = numbers(made, f"expected {length} labels, got {made!r:.80}")
        expect(len(got) == length, f"expected {length} labels, got {len(got)}")
        expect(
            got[: len(question)] == [-100] * len(question),
            f"the question is given and not learnt: expected -100 in the first {len(question)}"
            f" places, got {got}",
        )
        end = len(question) + len(answer)
        expect(
            got[len(question) : end] == answer,
            f"the labels of the answer are its own ids {answer}; the model itself shifts them by"
            f" one; got {got}",
        )
        expect(
            got[end:] == [-100] * (length - end),
            f"what fills the row up is not learnt: expected -100, got {got}",
        )
    print("ok")


def check_words_for(function: Callable[[float, int], int], seed: int = 0) -> None:
    """`function(bits, V)`: how many words, drawn evenly from V, a poem needs to have at least that
    many bits."""
    function = on_copies(function)
    draw = runtime.python_random(seed, "check", "words")
    cases = [(48.0, 16, 12), (48.0, 256, 6), (48.0, 4096, 4), (49.0, 4096, 5), (1.0, 2, 1)]
    for _ in range(10):
        bits = float(draw.randint(2, 90))
        size = draw.randint(3, 400)
        words = 1
        while words * math.log2(size) < bits - 1e-9:
            words += 1
        cases.append((bits, size, words))
    for bits, size, wanted in cases:
        got = number(function(bits, size))
        expect(got % 1 == 0, f"a poem has a whole number of words, got {got}")
        each = f"{bits:.0f} bits of {math.log2(size):.2f} bits a word"
        expect(got == wanted, f"V = {size}: {each} take {wanted} words, got {got}")
    print("ok")


def _ranks(values: Sequence[float]) -> list[float]:
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        ranks.append(below + (equal + 1) / 2)
    return ranks


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    ranks_a = _ranks(a)
    ranks_b = _ranks(b)
    mean_a = sum(ranks_a) / len(ranks_a)
    mean_b = sum(ranks_b) / len(ranks_b)
    da = [rank - mean_a for rank in ranks_a]
    db = [rank - mean_b for rank in ranks_b]
    over = sum(x * y for x, y in zip(da, db, strict=True))
    return over / math.sqrt(sum(x**2 for x in da) * sum(y**2 for y in db))


def check_rank_correlation(
    function: Callable[[Sequence[float], Sequence[float]], float], seed: int = 0
) -> None:
    """`function(a, b)`: Spearman's correlation, that of the ranks, equal values sharing the mean of
    their ranks."""
    function = on_copies(function)
    draw = runtime.python_random(seed, "check", "ranks")
    up = [draw.random() for _ in range(8)]
    cases = [
        (up, [x**3 + 2 for x in up], "any rising curve gives 1"),
        (up, [-x for x in up], "the reverse gives -1"),
    ]
    for _ in range(5):
        a = [float(draw.randint(0, 4)) for _ in range(9)]
        b = [float(draw.randint(0, 4)) for _ in range(9)]
        cases.append(([0.0, *a, 4.0], [0.0, *b, 4.0], "equal values share the mean of their ranks"))
    for a, b, hint in cases:
        wanted = _spearman(a, b)
        got = number(function(a, b))
        expect(close(got, wanted), f"expected {wanted:.4f}, got {got:.4f} for {a} and {b}: {hint}")
    print("ok")
