"""Checks for the exercises of section 10b."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora import text


def check_trigrams(encode: Callable[[Sequence[str]], Tensor]) -> None:
    """`encode(texts)`: a unit key of 256 numbers a text, from counts of its letter trigrams."""
    lines = text.generic_sentences(20, 5)
    keys = encode(lines)
    assert isinstance(keys, Tensor) and keys.shape == (20, 256), (
        f"expected 20 keys of 256 numbers, got {keys!r:.80}"
    )
    assert torch.allclose(keys.norm(dim=1), torch.ones(20), atol=1e-4), (
        "keys should have length one: normalise"
    )
    assert torch.allclose(encode(lines[::-1]), keys.flip(0), atol=1e-6), (
        "the same texts in another order got other keys: is the hash new for every call?"
    )
    first = encode(["The lantern of Ada is red."])[0]
    near = float(first @ encode(["The lantern of Adda is red."])[0])
    far = float(first @ encode(["Why did Tom go to Lisbon?"])[0])
    assert near > 0.8 > far, (
        f"one letter more: cosine {near:.2f}, another text: {far:.2f}; expected over 0.8 and "
        "under it: count trigrams of letters, not words"
    )
    print("ok")


def check_blend(blend: Callable[[Tensor, Tensor, float], Tensor], seed: int = 0) -> None:
    """`blend(meaning, words, weight)`: cosines plus `weight` times the words' scores, a question's
    best being 1."""
    rng = runtime.generator(seed, "exercise blend")
    meaning = torch.rand(5, 9, generator=rng)
    words = 20 * torch.rand(5, 9, generator=rng)
    want = meaning + 0.5 * words / words.max(1, keepdim=True).values
    got = blend(meaning, words, 0.5)
    assert isinstance(got, Tensor) and got.shape == (5, 9), (
        "expected a score for every question and row"
    )
    assert not torch.allclose(got, meaning + 0.5 * words), (
        "BM25 has no upper end: divide by the question's best first"
    )
    assert not torch.allclose(got, meaning + 0.5 * words / words.max()), (
        "each question has its own best: max over rows"
    )
    assert torch.allclose(got, want, atol=1e-5), (
        "expected meaning + weight · words / best of the question"
    )
    zero = blend(meaning, torch.zeros(5, 9), 0.5)
    assert not zero.isnan().any(), (
        "a question may share no word with any row: its best is 0, and 0 / 0 is not a number"
    )
    print("ok")


def check_false_answers(function: Callable[[Tensor, Tensor, float], float], seed: int = 0) -> None:
    """`function(told, other, recall)`: the share of `other` above the highest cut that `recall` of
    `told` pass."""
    rng = runtime.generator(seed, "exercise false answers")
    for gap in (0.0, 1.0, 3.0):
        told = torch.randn(50, generator=rng) + gap
        other = torch.randn(70, generator=rng)
        for recall in (0.5, 0.9, 1.0):
            got = function(told, other, recall)
            want = evaluation.detector(told, other, recall)["false answers"]
            assert got is not None, "the function returned nothing: does it end in `return`?"
            cut = told.sort().values[math.floor(recall * 50) - 1]
            wrong_way = float((other <= cut).double().mean())
            hint = ""
            if abs(got - wrong_way) < 1e-6:
                hint = " (that is the share that is stopped: high means told)"
            assert abs(float(got) - want) < 1e-6, (
                f"gap {gap}, recall {recall}: wanted {want:.3f}, got {got:.3f}{hint}"
            )
    print("ok")
