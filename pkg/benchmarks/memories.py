"""Linear memories against the historic iteration and torch.linalg.

    python pkg/benchmarks/memories.py            # about two minutes on one core

Larimar's memory, exact, against 15 steps of X ← 2X − XAX from X₀ = 5e-4 Aᵀ (Ben-Israel and Cohen),
iterated anew at every write and at every read, as its equations say. Ours keeps what it has
inverted; lines with "by both" take that difference out. M = K⁺V against torch.linalg.pinv (SVD) and
lstsq.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import measure
import torch
import torch.nn.functional as F
from torch import Tensor

from memlab import runtime
from memlab.memories import Larimar, LarimarState, PseudoInverse, PublishedLarimar, iterate_inverse

# 15 steps, every inverse made anew: what stands in the equations and in the code.
published = PublishedLarimar()


def historic_write(initial: Tensor, patterns: Tensor) -> Tensor:
    """M = (Z M₀⁺)⁺ Z; both inverses are iterated at every write."""
    return published.write(LarimarState(initial), patterns).memory


def historic_read(memory: Tensor, queries: Tensor) -> Tensor:
    """(z M⁺) M; M⁺ is iterated at every read."""
    return published.read(LarimarState(memory), queries)


def error(found: Tensor, wanted: Tensor) -> float:
    """Mean length of the error over the mean length of what was wanted."""
    return float((found - wanted).norm(dim=1).mean() / wanted.norm(dim=1).mean())


def unit_rows(count: int, width: int, name: str) -> Tensor:
    """Random rows of length one; `name` makes them others."""
    draw = runtime.generator(0, name, count)
    return F.normalize(torch.randn(count, width, generator=draw), dim=1)


def larimar(counts: Sequence[int], slots: int, width: int, rounds: int) -> dict[str, float]:
    """Ratios and errors of writing `counts` patterns into `slots` rows of `width`, M₀ the
    identity."""
    start = Larimar().start(torch.eye(slots, width))
    found: dict[str, float] = {}
    for count in counts:
        measure.heading(f"Larimar, {count} patterns in {slots} slots of {width}", other="15 steps")
        patterns = unit_rows(count, width, "patterns")
        found |= read_errors(start, patterns)
        found |= writes(start, patterns, rounds)
        found |= reads(start, patterns, rounds)
    return found


def read_errors(start: LarimarState, patterns: Tensor) -> dict[str, float]:
    """Relative errors of reading what was written, by the length of the patterns."""
    memory = Larimar()
    found = {}
    for scale in (1.0, 30.0):
        z = scale * patterns
        ours = error(memory.read(memory.write(start, z), z), z)
        theirs = error(historic_read(historic_write(start.memory, z), z), z)
        what = f"relative error of the read, patterns of length {scale:g}"
        print(f"{what:64} {ours:13.1e} {theirs:13.1e}")
        found[f"error {len(z)} {scale:g}"] = ours
    return found


def writes(start: LarimarState, patterns: Tensor, rounds: int) -> dict[str, float]:
    """Ratios of one write."""
    memory = Larimar()
    initial = start.memory
    kept = iterate_inverse(initial)
    count = len(patterns)
    found = {}
    found[f"write {count}"] = measure.compare(
        "write",
        lambda: memory.write(start, patterns),
        lambda: historic_write(initial, patterns),
        rounds=rounds,
    )
    found[f"write, inverse anew {count}"] = measure.compare(
        "write, M₀⁺ made anew by both",
        lambda: memory.write(memory.start(initial), patterns),
        lambda: historic_write(initial, patterns),
        rounds=rounds,
    )
    found[f"write, inverse kept {count}"] = measure.compare(
        "write, M₀⁺ kept by both",
        lambda: memory.write(start, patterns),
        lambda: iterate_inverse(patterns @ kept) @ patterns,
        rounds=rounds,
    )
    return found


def reads(start: LarimarState, patterns: Tensor, rounds: int) -> dict[str, float]:
    """Ratios of the first read after a write, and of every read after it."""
    memory = Larimar()
    state = memory.write(start, patterns)
    old = historic_write(start.memory, patterns)
    count = len(patterns)
    found = {}
    measure.compare(
        f"first read after a write, {count} queries",
        lambda: memory.read(replace(state), patterns),  # a copy that has not been read
        lambda: historic_read(old, patterns),
        rounds=rounds,
    )
    for number in sorted({1, min(16, count), count}):
        found[f"read {number} of {count}"] = measure.compare(
            f"every read after it, {number} queries",
            lambda q=patterns[:number]: memory.read(state, q),
            lambda q=patterns[:number]: historic_read(old, q),
            rounds=rounds,
            repeat=20,
        )
    one = patterns[:1]
    inverse = iterate_inverse(old)
    found[f"read, inverse kept {count}"] = measure.compare(
        "every read after it, 1 query, M⁺ kept by both",
        lambda: memory.read(state, one),
        lambda: one @ inverse @ old,
        rounds=rounds,
        repeat=20,
        other_repeat=20,
    )
    return found


def pseudo_inverse(counts: Sequence[int], key_width: int, value_width: int, rounds: int) -> None:
    """Write and solve M = K⁺V."""
    memory = PseudoInverse(1e-8)
    for count in counts:
        measure.heading(
            f"M = K⁺V, {count} keys of {key_width}, values of {value_width}: write and solve"
        )
        keys = unit_rows(count, key_width, "linear")
        values = torch.randn(count, value_width, generator=runtime.generator(0, "values", count))

        def ours(keys: Tensor = keys, values: Tensor = values) -> Tensor:
            return memory.solve(memory.write(memory.empty(key_width, value_width), keys, values))

        wide = (keys.double(), values.double())
        measure.compare(
            "torch.linalg.pinv, float32",
            ours,
            lambda k=keys, v=values: torch.linalg.pinv(k) @ v,
            rounds=rounds,
        )
        measure.compare(
            "torch.linalg.pinv, float64",
            ours,
            lambda w=wide: torch.linalg.pinv(w[0]) @ w[1],
            rounds=rounds,
        )
        measure.compare(
            "torch.linalg.lstsq (QR), float64",
            ours,
            lambda w=wide: torch.linalg.lstsq(*w, driver="gelsy").solution,
            rounds=rounds,
        )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; the ratios and errors by name."""
    args = measure.arguments(__doc__, argv)
    if args.tiny:
        found = larimar((4, 8), 8, 12, 1)
        pseudo_inverse((4, 20), 8, 12, 1)
    else:
        found = larimar((16, 256, 512), 512, 768, args.rounds)
        pseudo_inverse((16, 256, 512, 2048), 512, 768, args.rounds)
    return found


if __name__ == "__main__":
    main()
