"""Checks for chapter 2, what does universal approximation promise? Each takes the function that the
reader wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from memlab.book.checks import close, expect, form, number, numbers, on_copies, several
from memlab.runtime import python_random

NOTHING = "expected a number, got nothing; did you forget to return?"


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
    made: object,
    what: str,
    length: int,
) -> list[int | float]:
    """A sequence or a tensor as a list of numbers; AssertionError if it is neither, or not as long
    as it should be."""
    expect(made is not None, f"expected {what}, got nothing; did you forget to return?")
    values = numbers(made, f"expected {what}: {length} numbers, got {form(made)}")
    expect(len(values) == length, f"expected {what}: {length} numbers, got {len(values)}")
    return values


def check_bends(bends: Callable[[Any, Any], Sequence[float]], seed: int = 0) -> None:
    """Exercise 1: `bends(z, y)` gives c with y_1 + Σ c_i relu(z − z_i) = y at all N places; N − 1
    numbers."""
    bends = on_copies(bends)
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
            # The ramps are up to 100 long: what single precision rounds off adds up.
            expect(
                close(said, label, atol=1e-3),
                f"at z = {at} the sum gives {said:.3g}, the label is {label}; {hint}",
            )
    print("ok")


def _are_slopes(
    c: Sequence[int | float],
    places: Sequence[int],
    labels: Sequence[int],
) -> bool:
    for i, given in enumerate(c):
        slope = (labels[i + 1] - labels[i]) / (places[i + 1] - places[i])
        if not close(given, slope):
            return False
    return True


def check_room(room: Callable[[int, int, int], int]) -> None:
    """Exercise 2: `room(P, b, V)` is the largest N for which P weights of b bits could return every
    list."""
    room = on_copies(room)
    cases = (
        (4, 2, 2),
        (100, 32, 128),
        (7, 3, 5),
        (30_688, 32, 128),
        (1, 1, 3),
        (10, 8, 10),
    )
    for P, b, V in cases:
        said = number(room(P, b, V), nothing=NOTHING)
        N = _longest(P * b, V)
        case = f"P = {P}, b = {b}, V = {V}"
        expect(said % 1 == 0, f"{case}: expected a whole number of labels, got {said}")
        expect(
            said != N + 1,
            f"{case}: one too many; {V}^{N + 1} lists are more than the 2^{P * b} networks",
        )
        expect(said == N, f"{case}: expected {N}, got {said}; compare V^N with 2^(P b)")
    print("ok")


def _longest(bits: int, V: int) -> int:
    """The largest N with V^N ≤ 2^bits; in whole numbers, so nothing is rounded."""
    networks = 2**bits
    N = max(1, int(bits / math.log2(V)))  # a guess
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
    turns = on_copies(turns)
    drawn = [labels for _, labels in _lists(seed, "turns")]
    zigzag = [i % 2 for i in range(11)]
    for labels in (zigzag, [0, 1, 2, 3], [2, 0, -1, -5, -4], *drawn):
        steps = [b - a for a, b in zip(labels, labels[1:], strict=False)]
        want = sum(1 for a, b in zip(steps, steps[1:], strict=False) if a * b < 0)
        said = number(turns(torch.tensor(labels, dtype=torch.float64)), nothing=NOTHING)
        if labels is zigzag:
            hint = "a zigzag of 11 labels turns at each of its 9 inner places"
        elif 0 in steps:
            hint = "a step of zero does not turn"
        else:
            hint = "count changes of sign between one step and the next"
        expect(said == want, f"{labels}: expected {want}, got {said:g}; {hint}")
    print("ok")


def check_line(line: Callable[[Any, int, float], tuple[float, float]], seed: int = 0) -> None:
    """Exercise 4: `line(z, j, v)` gives slope and offset of pair j: v at member j, saturated at all
    others."""
    line = on_copies(line)
    for places, _ in _lists(seed, "line")[1:]:
        for j, v in ((0, 0.5), (1, -0.9), (len(places) - 1, 0.0)):
            made = line(torch.tensor(places, dtype=torch.float64), j, v)
            pair = several(made, 2, f"expected the pair slope, offset, got {made!r}")
            slope, offset = (number(one) for one in pair)
            _expect_line(slope, offset, places, j, v)
    print("ok")


def _expect_line(
    slope: int | float,
    offset: int | float,
    places: Sequence[int],
    j: int,
    v: float,
) -> None:
    at = [slope * z + offset for z in places]
    expect(close(at[j], v, atol=1e-4), f"member {j}: the line gives {at[j]:.3g} there, not {v}")
    expect(
        (slope > 0) == (j % 2 == 0), f"member {j}: the line should {'fall' if j % 2 else 'rise'}"
    )
    for i, value in enumerate(at):
        expect(
            i == j or abs(value) > 1 - 1e-4,
            f"member {j}: the line is {value:.3g} at member {i}, so that one is"
            " not saturated; the nearest neighbour decides how steep it must be",
        )
