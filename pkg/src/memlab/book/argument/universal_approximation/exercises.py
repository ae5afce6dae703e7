"""Checks for chapter 2, what does universal approximation promise? Each takes the function that the
reader wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from memlab.runtime import python_random


def _lists(seed: int, *scope: str) -> list[tuple[list[int], list[int]]]:
    """Places that rise, in uneven steps, and labels."""
    draw = python_random(seed, *scope)
    made = []
    for size in (2, 3, 7, 20):
        places = sorted(draw.sample(range(100), size))
        labels = [draw.randint(-5, 5) for _ in range(size)]
        made.append((places, labels))
    return made


def _plain(
    made: Any,
    what: str,
    length: int,
) -> list[float]:
    """A sequence or a tensor as a list of numbers; AssertionError if it is neither, or not as long
    as it should be."""
    assert made is not None, f"expected {what}, got nothing; did you forget to return?"
    values = made.tolist() if isinstance(made, torch.Tensor) else list(made)
    assert len(values) == length, f"expected {what}: {length} numbers, got {len(values)}"
    return values


def check_bends(bends: Callable[[Any, Any], Sequence[float]], seed: int = 0) -> None:
    """Exercise 1: `bends(z, y)` gives c with y_1 + Σ c_i relu(z − z_i) = y at all N places; N − 1
    numbers."""
    for places, labels in _lists(seed, "bends"):
        z = torch.tensor(places, dtype=torch.float64)
        y = torch.tensor(labels, dtype=torch.float64)
        c = _plain(bends(z, y), "one change of slope for each place but the last", len(z) - 1)
        if _are_slopes(c, places, labels):
            hint = (
                "these are the slopes; every unit stays on to the right of its kink, so give the"
                " changes"
            )
        else:
            hint = "the kinks to the left of a place must add up to the slope there"
        for at, label in zip(places, labels, strict=True):
            ramps = [ci * max(at - zi, 0.0) for ci, zi in zip(c, places, strict=False)]
            said = labels[0] + sum(ramps)
            assert abs(said - label) < 1e-9, (
                f"at z = {at} the sum gives {said:.3g}, the label is {label}; {hint}"
            )
    print("ok")


def _are_slopes(
    c: Sequence[float],
    places: Sequence[int],
    labels: Sequence[int],
) -> bool:
    for i, given in enumerate(c):
        slope = (labels[i + 1] - labels[i]) / (places[i + 1] - places[i])
        if abs(given - slope) >= 1e-9:
            return False
    return True


def check_room(room: Callable[[int, int, int], int]) -> None:
    """Exercise 2: `room(P, b, V)` is the largest N for which P weights of b bits could return every
    list."""
    cases = (
        (4, 2, 2),
        (100, 32, 128),
        (7, 3, 5),
        (30_688, 32, 128),
        (1, 1, 3),
        (10, 8, 10),
    )
    for P, b, V in cases:
        said = room(P, b, V)
        assert said is not None, "expected a number, got nothing; did you forget to return?"
        N = _longest(P * b, V)
        assert said == int(said), (
            f"P = {P}, b = {b}, V = {V}: expected a whole number of labels, got {said}"
        )
        assert said != N + 1, (
            f"P = {P}, b = {b}, V = {V}: one too many; {V}^{N + 1} lists are more than the "
            f"2^{P * b} networks"
        )
        assert said == N, (
            f"P = {P}, b = {b}, V = {V}: expected {N}, got {said}; compare V^N with 2^(P b)"
        )
    print("ok")


def _longest(bits: int, V: int) -> int:
    """The largest N with V^N ≤ 2^bits; in whole numbers, so nothing is rounded."""
    networks = 2**bits
    N = max(1, bits // V.bit_length() - 1)  # a guess
    lists = V**N
    while lists > networks:
        lists //= V
        N -= 1
    while lists * V <= networks:
        lists *= V
        N += 1
    return N


def check_turns(turns: Callable[[Any], int], seed: int = 0) -> None:
    """Exercise 3: `turns(y)` counts the places where a list on a line changes from rising to
    falling or back."""
    drawn = [labels for _, labels in _lists(seed, "turns")]
    zigzag = [i % 2 for i in range(11)]
    for labels in (zigzag, [0, 1, 2, 3], [2, 0, -1, -5, -4], *drawn):
        steps = [b - a for a, b in zip(labels, labels[1:], strict=False)]
        want = sum(1 for a, b in zip(steps, steps[1:], strict=False) if a * b < 0)
        said = turns(torch.tensor(labels, dtype=torch.float64))
        assert said is not None, "expected a number, got nothing; did you forget to return?"
        if labels is zigzag:
            hint = "a zigzag of 11 labels turns at each of its 9 inner places"
        elif 0 in steps:
            hint = "a step of zero does not turn"
        else:
            hint = "count changes of sign between one step and the next"
        assert int(said) == want, f"{labels}: expected {want}, got {int(said)}; {hint}"
    print("ok")


def check_line(line: Callable[[Any, int, float], tuple[float, float]], seed: int = 0) -> None:
    """Exercise 4: `line(z, j, v)` gives slope and offset of pair j: v at member j, saturated at all
    others."""
    for places, _ in _lists(seed, "line")[1:]:
        for j, v in ((0, 0.5), (1, -0.9), (len(places) - 1, 0.0)):
            made = line(torch.tensor(places, dtype=torch.float64), j, v)
            assert isinstance(made, tuple) and len(made) == 2, (
                f"expected the pair slope, offset, got {made!r}"
            )
            slope, offset = (float(number) for number in made)
            at = [slope * z + offset for z in places]
            assert abs(at[j] - v) < 1e-9, f"member {j}: the line gives {at[j]:.3g} there, not {v}"
            assert (slope > 0) == (j % 2 == 0), (
                f"member {j}: the line should {'fall' if j % 2 else 'rise'}"
            )
            others = [i for i in range(len(places)) if i != j]
            loose = [i for i in others if abs(at[i]) < 1 - 1e-9]
            assert not loose, (
                f"member {j}: the line is {at[loose[0]]:.3g} at member {loose[0]}, so that one is"
                " not saturated; the nearest neighbour decides how steep it must be"
            )
    print("ok")
