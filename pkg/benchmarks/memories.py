"""How `memlab.memories` compares with the obvious alternatives, as ratios of two things run in turn.

    python pkg/benchmarks/memories.py            # about a minute on one core

Each ratio is the median over rounds in which both are timed, one right after the other, in CPU seconds of one thread:
waiting for a busy machine does not count, and what still slows one slows the other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from memlab import runtime
from memlab.memories import KeyValue, Larimar, PseudoInverse
from memlab.memories.slots import KeyValueState

ROUNDS = 7


def seconds(task: Callable[[], object], repeat: int = 1) -> float:
    start = time.process_time()
    for _ in range(repeat):
        task()
    return (time.process_time() - start) / repeat


def compare(what: str, ours: Callable[[], object], other: Callable[[], object], *, repeat: int = 1) -> None:
    """Print how many times as long the other takes; `repeat` evens out what is too quick for the clock."""
    ours(), other()
    rounds = [(seconds(ours, repeat), seconds(other)) for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(other / ours for ours, other in rounds)
    print(f"{what:64} {mine * 1e3:10.3f} ms {theirs * 1e3:10.3f} ms   {ratio:10.2f} x")


def historic_inverse(matrix: Tensor, steps: int = 15, alpha: float = 5e-4) -> Tensor:
    """X₀ = αAᵀ, X ← 2X − XAX (Ben-Israel and Cohen), as in Larimar: converges if σ_max² < 2/α, 15 steps."""
    inverse = alpha * matrix.T
    for _ in range(steps):
        inverse = 2 * inverse - inverse @ matrix @ inverse
    return inverse


def historic_write(initial: Tensor, patterns: Tensor) -> Tensor:
    """M = (Z M₀⁺)⁺ Z; both inverses are iterated at every write."""
    return historic_inverse(patterns @ historic_inverse(initial)) @ patterns


def historic_read(memory: Tensor, queries: Tensor) -> Tensor:
    """(z M⁺) M; M⁺ is iterated at every read."""
    return queries @ historic_inverse(memory) @ memory


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm(dim=1).mean() / wanted.norm(dim=1).mean())


def slots() -> None:
    """Exact read of 100,000 rows against a plain scan and torch.topk."""
    print("\nexact key–value read, 100,000 rows" + " " * 33 + "memlab         other   other / memlab")
    for width in (128, 384):
        keys = F.normalize(torch.randn(100_000, width, generator=runtime.generator(0, "keys", width)), dim=1)
        state = KeyValueState(keys, torch.zeros(1, 1), torch.zeros(len(keys), dtype=torch.long))
        for count in (1, 16, 256):
            noise = torch.randn(count, width, generator=runtime.generator(0, "noise", width))
            queries = F.normalize(keys[:count] + 0.05 * noise, dim=1)
            name = f"width {width}, {count} queries"

            def scan(queries: Tensor = queries, keys: Tensor = keys) -> Tensor:
                return (queries @ keys.T).argmax(1)

            def topk(queries: Tensor = queries, keys: Tensor = keys) -> Tensor:
                return (queries @ keys.T).topk(4).indices

            assert torch.equal(KeyValue().address(state, queries)[1][:, 0], scan())
            compare(f"{name}, best: matmul + argmax", lambda q=queries, s=state: KeyValue().address(s, q), scan)
            compare(f"{name}, best 4: matmul + topk", lambda q=queries, s=state: KeyValue(4).address(s, q), topk)


def larimar() -> None:
    """Larimar's write and read, exact against 15 steps of the iteration, K = 512 and C = 768."""
    print("\nLarimar, 512 slots of 768, M₀ = identity" + " " * 27 + "memlab         other   other / memlab")
    initial, memory = torch.eye(512, 768), Larimar()
    start = memory.start(initial)
    for count in (16, 256, 512):
        patterns = F.normalize(torch.randn(count, 768, generator=runtime.generator(0, "patterns", count)), dim=1)
        state, old = memory.write(start, patterns), historic_write(initial, patterns)
        for scale in (1.0, 30.0):
            scaled = memory.write(start, scale * patterns), historic_write(initial, scale * patterns)
            print(f"{count} patterns of length {scale:g}: relative error "
                  f"{error(memory.read(scaled[0], patterns), patterns):.1e}, "
                  f"15 steps {error(historic_read(scaled[1], patterns), patterns):.1e}")
        compare(f"write {count}", lambda z=patterns: memory.write(start, z),
                lambda z=patterns: historic_write(initial, z))
        compare(f"first read {count} of {count}", lambda s=state, z=patterns: memory.read(replace(s), z),
                lambda m=old, z=patterns: historic_read(m, z))
        for queries in (patterns[:1], patterns):
            compare(f"next read {len(queries)} of {count}", lambda s=state, q=queries: memory.read(s, q),
                    lambda m=old, q=queries: historic_read(m, q), repeat=20)


def pseudo_inverse() -> None:
    """Write and first read of M = K⁺V against torch.linalg.pinv (SVD), key width 512 and value width 768."""
    print("\nM = K⁺V, keys of 512, values of 768" + " " * 32 + "memlab         other   other / memlab")
    memory = PseudoInverse(1e-8)
    for count in (16, 256, 512, 2048):
        keys = F.normalize(torch.randn(count, 512, generator=runtime.generator(0, "linear", count)), dim=1)
        values = torch.randn(count, 768, generator=runtime.generator(0, "values", count))

        def ours(keys: Tensor = keys, values: Tensor = values) -> Tensor:
            return memory.solve(memory.write(memory.empty(512, 768), keys, values))

        compare(f"write and solve {count}: torch.linalg.pinv, float32", ours,
                lambda k=keys, v=values: torch.linalg.pinv(k) @ v)
        compare(f"write and solve {count}: torch.linalg.pinv, float64", ours,
                lambda k=keys, v=values: torch.linalg.pinv(k.double()) @ v.double())


if __name__ == "__main__":
    runtime.use_threads(1)
    print(f"torch {torch.__version__}, one thread, median of {ROUNDS} rounds; above 1 x memlab is faster")
    slots()
    larimar()
    pseudo_inverse()
