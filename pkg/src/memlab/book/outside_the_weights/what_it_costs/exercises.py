"""Checks for the exercises of chapter 12."""

from __future__ import annotations

import math
from collections.abc import Callable

from memlab import runtime
from memlab.book.checks import close, expect, number, on_copies
from memlab.book.outside_the_weights.what_it_costs.clock_and_laws import Law, Limits, crossing
from memlab.memories import KeyValue


def check_bytes(bytes_a_token: Callable[..., float]) -> None:
    """`bytes_a_token(key, value, size, tokens)`: rows of key + value numbers of `size` bytes,
    `tokens` each."""
    import torch

    bytes_a_token = on_copies(bytes_a_token)
    kinds = {
        4: torch.float32,
        2: torch.float16,
        1: torch.int8,
    }
    for key, value, size, tokens in (
        (128, 768, 4, 25.0),
        (128, 1024, 1, 26.0),
        (384, 768, 2, 15.0),
    ):
        kind = kinds[size]
        want = KeyValue.bytes_per_row(key, value, kind, kind) / tokens
        got = number(bytes_a_token(key, value, size, tokens))
        less = size * (key + value) / tokens
        expect(
            not close(got, less),
            "the numbers are right; a row also holds the 8 bytes that lead to its value",
        )
        expect(
            size > 1 or not close(got, less + 8 / tokens),
            "int8: key and value have a scale of 4 bytes each",
        )
        expect(close(got, want), f"expected {want:.2f} bytes a token, got {got:.2f}")
    print("ok")


def check_crossing(size: Callable[..., float], seed: int = 0) -> None:
    """`size(fixed, each, other_each, other_pair)`: from where on fixed + each n < other_each n +
    other_pair n²."""
    size = on_copies(size)
    rng = runtime.python_random(seed, "exercise crossing")
    for _ in range(5):
        fixed = rng.uniform(1, 9)
        each = rng.uniform(2, 4)
        linear = rng.uniform(0.1, 1.9)
        pair = rng.uniform(1e-4, 1e-2)
        want = crossing(Law(fixed, each, 0.0, 1), Law(0.0, linear, pair, 1))
        got = number(size(fixed, each, linear, pair))
        expect(got > 0, "a length is positive: take the other root")
        expect(
            abs(got / want - 1) < 0.02,
            f"expected about {want:.0f} for {(fixed, each, linear, pair)}, got {got:.0f}",
        )
    print("ok")


def check_scan(seconds: Callable[..., float]) -> None:
    """`seconds(rows, width, questions, bandwidth, peak)`: the roofline of a scan of float32
    keys."""
    seconds = on_copies(seconds)
    machine = Limits(12e9, 60e9)
    for rows, width, questions in ((100_000, 128, 1), (100_000, 128, 64), (4_000_000, 384, 1)):
        flops = 2 * rows * width
        moved = 4 * rows * width
        want = machine.seconds(flops * questions, moved)
        got = number(
            seconds(rows, width, questions, machine.bytes_per_second, machine.flops_per_second)
        )
        alone = questions * machine.seconds(flops, moved)
        expect(
            not close(got, alone) or questions == 1, "all questions share one pass over the keys"
        )
        expect(
            close(got, want),
            f"{rows:,} rows, {questions} questions: expected {want * 1e3:.2f} ms, got"
            f" {got * 1e3:.2f}",
        )
    print("ok")


def check_worth(questions: Callable[..., float]) -> None:
    """`questions(build, ask, other_build, other_ask)`: from how many on the dearer-to-build system
    is the cheaper."""
    questions = on_copies(questions)
    for one, two in (
        ((30.0, 0.01), (1.0, 0.5)),
        ((100.0, 0.2), (10.0, 0.3)),
        ((5.0, 0.1), (5.0, 0.2)),
    ):
        build, ask = one
        other_build, other_ask = two
        want = max(0.0, (build - other_build) / (other_ask - ask))
        got = number(questions(*one, *two))
        expect(close(got, want), f"{one} against {two}: expected {want:g}, got {got:g}")
    expect(
        number(questions(30.0, 0.5, 1.0, 0.01)) == math.inf,
        "dearer to build and dearer to ask: never (math.inf)",
    )
    print("ok")
