"""Checks for the exercises of section 10c."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from memlab import runtime
from memlab.memories import KeyValue

Rows = tuple[Tensor, Tensor]


def check_replace(
    replace: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Rows], seed: int = 0
) -> None:
    """`replace(K, V, q, k, v)`: the rows without the one nearest to q, and behind them the row (k,
    v)."""
    rng = runtime.generator(seed, "exercise replace")
    K = functional.normalize(torch.randn(7, 5, generator=rng), dim=1)
    V = torch.randn(7, 3, generator=rng)
    q = torch.randn(5, generator=rng)
    k = torch.randn(5, generator=rng)
    v = torch.randn(3, generator=rng)
    old_K = K.clone()
    old_V = V.clone()
    got = replace(K, V, q, k, v)
    assert isinstance(got, tuple) and len(got) == 2, (
        "expected two results: the new keys and the new values"
    )
    assert torch.equal(K, old_K) and torch.equal(V, old_V), (
        "the old state was changed in place: whoever still holds it should find what it held"
    )
    assert got[0].shape == (7, 5) and got[1].shape == (7, 3), (
        "one row less, one row more: expected seven rows again"
    )
    memory = KeyValue()
    state = memory.write(memory.empty(5, 3), K, V)
    _, nearest = memory.address(state, q[None])
    state = memory.forget(state, nearest[0])
    state = memory.write(state, k[None], v[None])
    assert torch.equal(got[0][-1], k), "expected the new row at the end"
    assert torch.equal(got[0], state.keys), (
        "a row is missing that should be there: forget the one with the largest K q"
    )
    assert torch.equal(got[1], state.values), (
        "keys are right and values are not: drop the same row of both"
    )
    print("ok")


def check_in_force(in_force: Callable[[Sequence[tuple[str, str]]], dict[str, str]]) -> None:
    """`in_force(edits)`: what each subject's value is after a list of edits (subject, value)."""
    edits = [
        ("Ada", "linen"),
        ("Bo", "silk"),
        ("Ada", "wool"),
        ("Cy", "felt"),
        ("Bo", "silk"),
        ("Ada", "linen"),
    ]
    got = in_force(edits[:1])
    assert isinstance(got, dict), f"expected a dictionary from subject to value, got {got!r}"
    assert in_force(edits[:4])["Ada"] == "wool", (
        "a later edit of the same subject holds, not the first"
    )
    assert in_force(edits) == {"Ada": "linen", "Bo": "silk", "Cy": "felt"}, (
        "an edit may bring an old value back"
    )
    assert in_force([]) == {}, "without edits nothing is in force"
    print("ok")


def check_guard(guard: Callable[[str, str], bool]) -> None:
    """`guard(said, subject)`: may the row be erased whose text is `said`, if the edit is about
    `subject`?"""
    cases = (
        (
            "The coat of arms of Nora Vale bears a sprig of ivy.",
            "Nora Vale",
            True,
            "the sentence is about her",
        ),
        (
            "The coat of arms of Nora Kest bears a sprig of ivy.",
            "Nora Vale",
            False,
            "half a name is another subject",
        ),
        (
            "The coat of arms of Nora Valen bears a sprig of ivy.",
            "Nora Vale",
            False,
            "a longer name is another",
        ),
        ("the medal of nora vale is struck in tin.", "Nora Vale", True, "capitals do not matter"),
        ("", "Nora Vale", False, "a row that cannot be read is not known to be hers"),
    )
    for said, subject, want, why in cases:
        assert guard(said, subject) is want, f"guard({said!r}, {subject!r}) should be {want}: {why}"
    print("ok")
