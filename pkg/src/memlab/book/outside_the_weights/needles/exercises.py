"""Checks for the exercises of chapter 11."""

from __future__ import annotations

import math
from collections.abc import Callable

from memlab import runtime
from memlab.book.checks import expect, number, on_copies, several, truth
from memlab.results import wilson


def check_wilson(interval: Callable[[int, int], tuple[float, float]]) -> None:
    """`interval(successes, trials)` is the 95 % Wilson interval."""
    interval = on_copies(interval)
    low, high = _ends(interval(20, 20))
    expect(high <= 1 and low < 1, "20 of 20 is no proof of 1.00: the interval must reach below it")
    expect(low > 0.8, f"expected a lower end near 0.84 for 20 of 20, got {low:.2f}; is z = 1.96?")
    for successes, trials in ((0, 10), (7, 10), (50, 50), (3, 200)):
        want = wilson(successes, trials)
        got = _ends(interval(successes, trials))
        expect(
            all(math.isclose(a, b, abs_tol=2e-3) for a, b in zip(want, got, strict=True)),
            f"{successes} of {trials}: expected {want[0]:.3f} to {want[1]:.3f}, got {got[0]:.3f} to"
            f" {got[1]:.3f}",
        )
    print("ok")


def _ends(got: object) -> list[int | float]:
    two = several(got, 2, f"expected two numbers, the lower and the upper end, got {got!r:.80}")
    return [number(one) for one in two]


def check_rival(rival: Callable[[int, int], float], seed: int = 0) -> None:
    """`rival(rows, width)` estimates the best score of a random unit query among `rows` random unit
    keys."""
    import torch
    from torch.nn import functional

    rival = on_copies(rival)
    rng = runtime.generator(seed, "exercise needles")
    for rows, width in ((1000, 128), (10_000, 64)):
        keys = functional.normalize(torch.randn(rows, width, generator=rng), dim=1)
        queries = functional.normalize(torch.randn(50, width, generator=rng), dim=1)
        best = (queries @ keys.T).max(1).values
        seen = float(best.mean())
        said = number(rival(rows, width))
        expect(
            said > 0,
            "scores of random unit vectors are positive at their best: take the square root",
        )
        expect(
            abs(said - seen) < 0.1,
            f"rows={rows}, width={width}: measured {seen:.2f}, your law says {said:.2f}",
        )
    many, few = (number(rival(rows, 128)) for rows in (10**6, 10**3))
    expect(many > few, "more rows must make the best rival better")
    print("ok")


def check_right(right: Callable[[str, str], bool]) -> None:
    """`right(said, answer)`: the first number in what was said is the answer, as a whole."""
    right = on_copies(right)
    cases = (
        ("The pass key is 12345.", "12345", True, "the number stands there"),
        ("99123456 is the key", "12345", False, "a longer number with it inside is another number"),
        ("54321, not 12345", "12345", False, "the first number counts"),
        ("no number at all", "12345", False, "no number is no answer"),
    )
    for said, answer, want, why in cases:
        expect(
            truth(right(said, answer)) == want,
            f"right({said!r}, {answer!r}) should be {want}: {why}",
        )
    print("ok")
