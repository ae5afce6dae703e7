"""Two things timed in turn, in one process and on the same input: what all benchmarks here print.

A ratio is the median over rounds of other / ours, each round timing both, one right after the
other, in CPU seconds of one thread: waiting for a busy machine does not count, and what still slows
one slows the other. Above 1 memlab is the faster.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import torch

from memlab import runtime

Task = Callable[[], object]


def arguments(doc: str, argv: Sequence[str] | None, **more: int) -> argparse.Namespace:
    """Parse the options that every script has, set the number of threads, and print what is
    measured on what.

    `more` are whole numbers with their defaults: tokens=65536 becomes --tokens.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="sizes that show nothing but that it runs"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="how often both are timed (default 7)"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    args = parser.parse_args(argv)
    runtime.use_threads(args.threads)
    args.rounds = 1 if args.tiny else args.rounds
    print(
        f"{processor()}, {args.threads} of {runtime.cores()} cores,"
        f" {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {date.today()},"
        f" median of {args.rounds} rounds"
    )
    return args


def agree(what: str, ours: torch.Tensor, other: torch.Tensor) -> None:
    """End here, with a sentence, unless both found the same: a ratio of two different answers says
    nothing. No assert, which `python -O` leaves out."""
    if not torch.equal(ours, other):
        raise SystemExit(f"{what}: expected what memlab finds, got another result")


def processor() -> str:
    """The processor's name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(task: Task, repeat: int = 1) -> float:
    """CPU seconds of one call: the mean of `repeat`."""
    start = time.process_time()
    for _ in range(repeat):
        task()
    return (time.process_time() - start) / repeat


def heading(title: str, ours: str = "memlab", other: str = "other") -> None:
    """The line above some comparisons."""
    print(f"\n{title:64} {ours:>13} {other:>13}   {'ratio':>10}")


def compare(
    what: str, ours: Task, other: Task, *, rounds: int, repeat: int = 1, other_repeat: int = 1
) -> float:
    """Print and return how many times as long the other takes; the repeats even out what is too
    quick for the clock.

    They take turns in going first: who comes second finds the caches as the first has left them.
    """
    ours()
    other()
    mine = []
    theirs = []
    for turn in range(rounds):
        if turn % 2 == 0:
            mine.append(seconds(ours, repeat))
            theirs.append(seconds(other, other_repeat))
        else:
            theirs.append(seconds(other, other_repeat))
            mine.append(seconds(ours, repeat))
    ratio = statistics.median(b / max(a, 1e-9) for a, b in zip(mine, theirs, strict=True))
    own = statistics.median(mine) * 1e3
    others = statistics.median(theirs) * 1e3
    print(f"{what:64} {own:10.3f} ms {others:10.3f} ms   {ratio:9.2f}x")
    return ratio


def growth(what: str, sizes: Sequence[int], costs: Sequence[float], unit: str = "s") -> float:
    """Print and return the exponent p of cost ~ size^p: the slope of a line through the
    logarithms."""
    xs = [math.log(size) for size in sizes]
    ys = [math.log(max(cost, 1e-9)) for cost in costs]
    exponent = statistics.linear_regression(xs, ys).slope
    ends = f"{costs[0]:.3g} {unit} at {sizes[0]:,}, {costs[-1]:.3g} {unit} at {sizes[-1]:,}"
    print(f"{what:64} {exponent:6.2f}   {ends}")
    return exponent
