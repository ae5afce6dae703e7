"""Sums G(x) = Σ_j α_j σ(w_j·x + b_j) that approximate a function, and four functions to try them
on.

Three ways to such a sum: write it down (`constructed`), draw its inside and solve for its outer
weights (`draw`, `solve`), or train all of it (`train`). The first is `memorising.memorise` on a
grid: to approximate a continuous function is to store it at enough points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memlab import training
from memlab.book.argument.universal_approximation.finite_sum import FiniteSum
from memlab.book.argument.universal_approximation.memorising import memorise
from memlab.models.blocks import Activation
from memlab.runtime import generator

TURN = 2 * math.pi
# Functions on the unit cube, a point a row. The place 1/3 never falls on a grid of 2^k intervals,
# and lies at one third or two thirds of the interval it falls into, so that rates can be read off
# without wobble.
TARGETS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "smooth": lambda X: torch.sin(TURN * X[:, 0]),
    "kinked": lambda X: (X[:, 0] - 1 / 3).abs(),
    "broken": lambda X: (X[:, 0] > 1 / 3).to(X.dtype),
    "2-D": lambda X: torch.cos(TURN * X).prod(1),
}
# cos u cos v = (cos(u + v) + cos(u − v)) / 2: the target in two dimensions is a sum of two ridges.
RIDGES = tuple(
    (lambda t: torch.cos(TURN * t) / 2, torch.tensor(a, dtype=torch.float64))
    for a in ((1.0, 1.0), (1.0, -1.0))
)


def grid(count: int, dim: int = 1, ends: bool = False) -> Float[Tensor, "point {dim}"]:
    """`count` midpoints to a side of the unit cube, or `count` points that begin and end in its
    corners; one a row."""
    side = torch.arange(count, dtype=torch.float64)
    side = side / (count - 1) if ends else (side + 0.5) / count
    return torch.cartesian_prod(*[side] * dim).view(-1, dim)


def ridges(profiles: Sequence[tuple[Callable[[Tensor], Tensor], Tensor]], width: int) -> FiniteSum:
    """Σ_k g_k(a_k·x) on the unit cube, each profile g_k interpolated by its share of `width` ReLUs
    (and a constant).

    This is how the theorem in many dimensions follows from the one on a line.
    """
    parts = []
    for g, a in profiles:
        low, high = float(a.clamp(max=0).sum()), float(a.clamp(min=0).sum())
        t = torch.linspace(low, high, width // len(profiles) + 1, dtype=a.dtype)
        parts.append(memorise(t[:, None] * a / a.square().sum(), g(t), a))
    return FiniteSum(
        alpha=torch.cat([p.alpha for p in parts], 1),
        W=torch.cat([p.W for p in parts]),
        b=torch.cat([p.b for p in parts]),
        sigma=torch.relu,
    )


def constructed(target: str, width: int) -> FiniteSum:
    """What the proof writes down for one of TARGETS: the interpolant with `width` ReLUs, in 2-D
    that of its ridges."""
    if target == "2-D":
        return ridges(RIDGES, width)
    knots = torch.linspace(0, 1, width + 1, dtype=torch.float64)[:, None]
    return memorise(knots, TARGETS[target](knots), torch.ones(1, dtype=torch.float64))


def errors(G: FiniteSum, target: str) -> dict[str, float]:
    """Largest ("sup") and root mean square ("rms") error of G for one of TARGETS, on a fine grid
    that nobody fitted.

    The largest error is also looked for beside 1/3, as near as 1e-12: a steep unit can climb the
    jump of "broken" between two places of any grid.
    """
    X = grid(101, 2) if target == "2-D" else grid(6000)
    beside = 10.0 ** -torch.arange(4, 13, dtype=X.dtype)
    near = torch.cat([1 / 3 - beside, 1 / 3 + beside])[:, None].expand(-1, X.shape[1])
    far, close = ((G(Z)[:, 0] - TARGETS[target](Z)).abs() for Z in (X, near))
    return {
        "sup": float(torch.maximum(far.max(), close.max())),
        "rms": float(far.square().mean().sqrt()),
    }


def rate(widths: Sequence[float | int], found: Sequence[float | int]) -> float:
    """The slope r of error = C · width^r, by least squares in the logarithms."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (widths, found))
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def cosines(width: int) -> FiniteSum:
    """cos(πkx) for k below `width`, a cosine series as a sum of units; its outer weights are still
    to be found."""
    k = torch.arange(width, dtype=torch.float64)
    return FiniteSum(
        alpha=torch.zeros_like(k)[None],
        W=math.pi * k[:, None],
        b=torch.zeros_like(k),
        sigma=torch.cos,
    )


def draw(dim: int, width: int, sigma: Activation, scale: float = 1.0, seed: int = 0) -> FiniteSum:
    """Random units for the unit cube: w in a random direction with length `scale`, the place where
    w·x + b = 0 runs through a random point; the outer weights are random too, with variance 1 /
    width."""
    from_seed = generator(seed, "units", dim, width)
    W = torch.randn(width, dim, generator=from_seed, dtype=torch.float64)
    W = scale * W / W.norm(dim=1, keepdim=True)
    places = torch.rand(width, dim, generator=from_seed, dtype=torch.float64)
    alpha = torch.randn(1, width, generator=from_seed, dtype=torch.float64) / (scale * width**0.5)
    return FiniteSum(alpha=alpha, W=W, b=-(W * places).sum(1), sigma=sigma)


def solve(units: FiniteSum, X: Float[Tensor, "point dim"], y: Float[Tensor, " point"]) -> FiniteSum:
    """The same units with the outer weights that fit y best in least squares (of the smallest norm,
    if many do)."""
    features = units.sigma(X @ units.W.T + units.b)
    return replace(
        units,
        alpha=torch.linalg.lstsq(features, y[:, None], rcond=1e-12, driver="gelsd").solution.T,
    )


class _Sums(nn.Module):
    """Several sums of the same width, each with a target of its own, trained side by side."""

    def __init__(self, starts: Sequence[FiniteSum]) -> None:
        super().__init__()
        self.alpha, self.W, self.b = (
            nn.Parameter(torch.stack([getattr(start, name) for start in starts]))
            for name in ("alpha", "W", "b")
        )
        self.sigma = starts[0].sigma

    def forward(self, X: Tensor, Y: Tensor) -> Any:
        """Half the squared errors at X (point × dim) against Y (sum × point), added over the
        sums."""
        said = self.sigma(X @ self.W.mT + self.b[:, None]) @ self.alpha.mT
        return SimpleNamespace(loss=(said.squeeze(-1) - Y).square().mean(1).sum() / 2)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums this small are many times slower on two threads than on one, if the cores have other
    work as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    starts: Sequence[FiniteSum],
    X: Float[Tensor, "point dim"],
    Y: Float[Tensor, "sum point"],
    steps: int,
    lr: float = 1e-2,
) -> list[FiniteSum]:
    """All weights of each sum fitted to its row of Y by Adam, on all points at every step; the
    starts are kept."""
    sums = _Sums(starts)
    with _one_thread():
        training.fit(sums, lambda _step: {"X": X, "Y": Y}, training.Recipe(steps, lr=lr, clip=1e9))
    found = zip(sums.alpha.detach(), sums.W.detach(), sums.b.detach(), strict=True)
    return [FiniteSum(alpha, W, b, sums.sigma) for alpha, W, b in found]


def untrained(target: str, width: int, seed: int) -> dict[str, FiniteSum]:
    """Sums of `width` units for one of TARGETS: constructed, and by least squares on random ReLUs,
    and on a line also on cosines (dense as well) and on random squares (σ(z) = z², which the
    theorem excludes)."""
    dim, X = (2, grid(33, 2, ends=True)) if target == "2-D" else (1, grid(1001, ends=True))
    units = {"random": draw(dim, width, torch.relu, seed=seed)}
    if dim == 1:
        units |= {"cosines": cosines(width), "squares": draw(1, width, torch.square, seed=seed)}
    y = TARGETS[target](X)
    return {"constructed": constructed(target, width)} | {
        way: solve(units[way], X, y) for way in units
    }


def trained(
    targets: Sequence[str], starts: Sequence[FiniteSum], steps: int, lr: float = 1e-2
) -> list[FiniteSum]:
    """Each start trained on its target, all of one dimension: 257 points of the line, or 841 of the
    square."""
    X = grid(29, 2, ends=True) if starts[0].W.shape[1] == 2 else grid(257, ends=True)
    return train(starts, X, torch.stack([TARGETS[target](X) for target in targets]), steps, lr)


def contenders(
    widths: Sequence[int], trained_widths: Sequence[int], seed: int, steps: int
) -> Iterator[tuple[str, str, int, FiniteSum]]:
    """(target, method, width, sum) for every target, in every way; training begins with the units
    of "random"."""
    for target in TARGETS:
        for width in widths:
            yield from (
                (target, way, width, G) for way, G in untrained(target, width, seed).items()
            )
    for dim, targets in ((1, list(TARGETS)[:3]), (2, ["2-D"])):
        for width in trained_widths:
            found = trained(
                targets, [draw(dim, width, torch.relu, seed=seed)] * len(targets), steps
            )
            yield from (
                (target, "trained", width, G) for target, G in zip(targets, found, strict=True)
            )
