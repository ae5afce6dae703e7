"""Checks for the exercises of section 10c."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from memlab import runtime
from memlab.book.checks import expect, on_copies, several, tensor, truth
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
    handed_K = K.clone()
    handed_V = V.clone()
    got = several(
        replace(handed_K, handed_V, q.clone(), k.clone(), v.clone()),
        2,
        "expected two results: the new keys and the new values",
    )
    expect(
        torch.equal(handed_K, K) and torch.equal(handed_V, V),
        "the old state was changed in place: whoever still holds it should find what it held",
    )
    seven = "one row less, one row more: expected seven rows again"
    keys = tensor(got[0], (7, 5), seven)
    values = tensor(got[1], (7, 3), seven)
    memory = KeyValue()
    state = memory.write(memory.empty(5, 3), K, V)
    _, nearest = memory.address(state, q[None])
    state = memory.forget(state, nearest[0])
    state = memory.write(state, k[None], v[None])
    expect(torch.equal(keys[-1], k.double()), "expected the new row at the end")
    expect(
        torch.equal(keys, state.keys.double()),
        "a row is missing that should be there: forget the one with the largest K q",
    )
    expect(
        torch.equal(values, state.values.double()),
        "keys are right and values are not: drop the same row of both",
    )
    print("ok")


def check_in_force(in_force: Callable[[Sequence[tuple[str, str]]], dict[str, str]]) -> None:
    """`in_force(edits)`: what each subject's value is after a list of edits (subject, value)."""
    in_force = on_copies(in_force)
    edits = [
        ("Ada", "linen"),
        ("Bo", "silk"),
        ("Ada", "wool"),
        ("Cy", "felt"),
        ("Bo", "silk"),
        ("Ada", "linen"),
    ]
    _dictionary(in_force(edits[:1]))
    expect(
        _dictionary(in_force(edits[:4])).get("Ada") == "wool",
        "a later edit of the same subject holds, not the first",
    )
    expect(
        _dictionary(in_force(edits)) == {"Ada": "linen", "Bo": "silk", "Cy": "felt"},
        "an edit may bring an old value back",
    )
    expect(_dictionary(in_force([])) == {}, "without edits nothing is in force")
    print("ok")


def _dictionary(got: object) -> dict[object, object]:
    if not isinstance(got, Mapping):
        raise AssertionError(f"expected a dictionary from subject to value, got {got!r}")
    return dict(got)


def check_guard(guard: Callable[[str, str], bool]) -> None:
    """`guard(said, subject)`: may the row be erased whose text is `said`, if the edit is about
    `subject`?"""
    guard = on_copies(guard)
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
        expect(
            truth(guard(said, subject)) == want,
            f"guard({said!r}, {subject!r}) should be {want}: {why}",
        )
    print("ok")
