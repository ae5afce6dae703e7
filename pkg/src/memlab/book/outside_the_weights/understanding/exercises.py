"""Checks for the exercises of section 10b."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memlab import evaluation, runtime
from memlab.book.checks import close, expect, number, on_copies, tensor
from memlab.corpora import text


def check_trigrams(encode: Callable[[Sequence[str]], Tensor]) -> None:
    """`encode(texts)`: a unit key of 256 numbers a text, from counts of its letter trigrams."""
    encode = on_copies(encode)
    lines = text.generic_sentences(20, 5)
    keys = _keys(encode(lines), 20)
    expect(close(keys.norm(dim=1), 1.0, atol=1e-4), "keys should have length one: normalise")
    expect(
        close(_keys(encode(lines[::-1]), 20), keys.flip(0)),
        "the same texts in another order got other keys: is the hash new for every call?",
    )
    first, misspelt, other = (
        _keys(encode([line]), 1)[0]
        for line in (
            "The lantern of Ada is red.",
            "The lantern of Adda is red.",
            "Why did Tom go to Lisbon?",
        )
    )
    near = float(first @ misspelt)
    far = float(first @ other)
    expect(
        near > 0.8 > far,
        f"one letter more: cosine {near:.2f}, another text: {far:.2f}; expected over 0.8 and "
        "under it: count trigrams of letters, not words",
    )
    print("ok")


def _keys(got: object, count: int) -> Tensor:
    return tensor(got, (count, 256), f"expected {count} keys of 256 numbers, got {got!r:.80}")


def check_blend(blend: Callable[[Tensor, Tensor, float], Tensor], seed: int = 0) -> None:
    """`blend(meaning, words, weight)`: cosines plus `weight` times the words' scores, a question's
    best being 1."""
    blend = on_copies(blend)
    rng = runtime.generator(seed, "exercise blend")
    meaning = torch.rand(5, 9, generator=rng)
    words = 20 * torch.rand(5, 9, generator=rng)
    want = meaning + 0.5 * words / words.max(1, keepdim=True).values
    every = "expected a score for every question and row"
    got = tensor(blend(meaning, words, 0.5), (5, 9), every)
    expect(
        not close(got, meaning + 0.5 * words),
        "BM25 has no upper end: divide by the question's best first",
    )
    expect(
        not close(got, meaning + 0.5 * words / words.max()),
        "each question has its own best: max over rows",
    )
    expect(close(got, want, atol=1e-5), "expected meaning + weight · words / best of the question")
    tensor(
        blend(meaning, torch.zeros(5, 9), 0.5),
        (5, 9),
        every,
        nan="a question may share no word with any row: its best is 0, and 0 / 0 is not a number",
    )
    print("ok")


def check_false_answers(function: Callable[[Tensor, Tensor, float], float], seed: int = 0) -> None:
    """`function(told, other, recall)`: the share of `other` above the highest cut that `recall` of
    `told` pass."""
    function = on_copies(function)
    rng = runtime.generator(seed, "exercise false answers")
    for gap in (0.0, 1.0, 3.0):
        told = torch.randn(50, generator=rng) + gap
        other = torch.randn(70, generator=rng)
        for recall in (0.5, 0.9, 1.0):
            got = number(function(told, other, recall))
            want = evaluation.detector(told, other, recall)["false answers"]
            cut = told.sort().values[math.floor(recall * 50) - 1]
            wrong_way = float((other <= cut).double().mean())
            hint = ""
            if close(got, wrong_way):
                hint = " (that is the share that is stopped: high means told)"
            expect(
                close(got, want),
                f"gap {gap}, recall {recall}: wanted {want:.3f}, got {got:.3f}{hint}",
            )
    print("ok")
