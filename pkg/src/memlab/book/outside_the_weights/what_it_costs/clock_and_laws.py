"""What a thing costs and what it could cost: a clock, the machine's limits, laws through measured
costs, crossings.

Seconds are those of all cores that worked, so that waiting for a busy machine does not count; on a
GPU they are those of the wall clock, after everything asked for has been done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import nnls
from torch.utils.flop_counter import FlopCounterMode

from memlab import runtime

Task = Callable[[], object]
LEAST = 0.02  # seconds: what takes less is done several times


def seconds(
    task: Task,
    rounds: int = 3,
    device: torch.device | str = "cpu",
) -> float:
    """The least seconds of one call among `rounds`, each long enough for the clock. One call goes
    ahead, if it is short: what is done for the first time is dearer."""
    clock = _clock(torch.device(device))
    once = _span(task, 1, clock)
    if once > 1 and rounds == 1:
        return once
    repeat = max(1, math.ceil(LEAST / max(once, 1e-7)))
    return min(_span(task, repeat, clock) for _ in range(rounds))


def _span(
    task: Task,
    repeat: int,
    clock: Callable[[], float],
) -> float:
    start = clock()
    for _ in range(repeat):
        task()
    return (clock() - start) / repeat


def _clock(device: torch.device) -> Callable[[], float]:
    if device.type != "cuda":
        return time.process_time

    def after_all() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return after_all


@dataclass(frozen=True)
class Limits:
    """What this machine does where nothing but bytes, or nothing but arithmetic, is in the way."""

    bytes_per_second: float
    flops_per_second: float

    def seconds(self, flops: float | int, bytes_moved: float | int) -> float:
        """The roofline: no program takes less than its bytes over the bandwidth, or its arithmetic
        over the peak."""
        return max(flops / self.flops_per_second, bytes_moved / self.bytes_per_second)


def limits(
    device: torch.device | str = "cpu",
    *,
    megabytes: int = 256,
    side: int = 1024,
    rounds: int = 5,
) -> Limits:
    """Measured, not looked up: the better of summing and of copying `megabytes` of float32, and a
    square product."""
    numbers = torch.ones(megabytes << 18, device=device)
    target = torch.empty_like(numbers)
    read = numbers.nbytes / seconds(lambda: numbers.sum(), rounds, device)
    copied = 2 * numbers.nbytes / seconds(lambda: target.copy_(numbers), rounds, device)
    left = torch.rand(side, side, generator=runtime.generator(0, "limits")).to(device)
    product = 2 * side**3 / seconds(lambda: left @ left, rounds, device)
    return Limits(max(read, copied), product)


def flops(task: Task) -> int:
    """Multiplications and additions of the matrix products in one call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Law:
    """cost(n) = a + b n + c n², fitted to costs at measured sizes up to `longest`."""

    a: float
    b: float
    c: float
    longest: float | int

    def __call__(self, size: Any) -> Any:
        """The cost at a size, measured or not: whoever goes beyond `longest` extrapolates."""
        return self.a + self.b * size + self.c * size * size


def law(
    sizes: Sequence[float | int],
    costs: Sequence[float],
    *,
    terms: Sequence[int] = (0, 1),
) -> Law:
    """Least squares of relative errors with coefficients that are not negative (Lawson and Hanson
    1974, as scipy has it); `terms` are the powers that may occur,
    among 0, 1 and 2.

    ValueError unless there are at least as many sizes as terms, and all costs are above 0.
    """
    enough = len(sizes) == len(costs) >= len(terms)
    if not enough or not min(costs, default=0) > 0:
        raise ValueError(
            f"expected at least {len(terms)} sizes with a cost above 0 each, got {list(costs)} "
            f"at {list(sizes)}"
        )
    x = _float64(sizes)
    y = _float64(costs)
    unit = float(x.max())
    powers = torch.stack([(x / unit) ** power for power in terms], 1)
    design = powers / y[:, None]
    found, _ = nnls(design.numpy(), torch.ones_like(y).numpy())
    coefficients = [0.0, 0.0, 0.0]
    for power, value in zip(terms, found, strict=True):
        coefficients[power] = float(value) / unit**power
    a, b, c = coefficients
    return Law(a, b, c, unit)


def _float64(numbers: Sequence[float | int]) -> torch.Tensor:
    return torch.tensor(list(numbers), dtype=torch.float64)


def exponent(sizes: Sequence[float | int], costs: Sequence[float]) -> float:
    """p of cost ~ size^p: the slope of a line through the logarithms."""
    x = _float64(sizes).log()
    y = _float64(costs).log()
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def crossing(
    ours: Callable[[float], Any],
    other: Callable[[float], Any],
    low: float = 1.0,
    high: float = 1e12,
) -> float:
    """From which size on `ours` is the cheaper: the last sign change between `low` and `high`;
    `low` if it always is, infinity if it is not at `high`."""
    grid = [low * (high / low) ** (i / 400) for i in range(401)]
    dearer = [i for i, size in enumerate(grid) if ours(size) > other(size)]
    if not dearer:
        return low
    if dearer[-1] == 400:
        return math.inf
    below = grid[dearer[-1]]
    above = grid[dearer[-1] + 1]
    for _ in range(40):
        middle = math.sqrt(below * above)
        if ours(middle) > other(middle):
            below = middle
        else:
            above = middle
    return above
