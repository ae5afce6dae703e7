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


def _half_wave(t: Tensor) -> Tensor:
    """The profile of both ridges."""
    return torch.cos(TURN * t) / 2


# cos u cos v = (cos(u + v) + cos(u − v)) / 2: the target in two dimensions is a sum of two ridges.
RIDGES = (
    (_half_wave, torch.tensor([1.0, 1.0], dtype=torch.float64)),
    (_half_wave, torch.tensor([1.0, -1.0], dtype=torch.float64)),
)


def grid(
    count: int,
    dim: int = 1,
    ends: bool = False,
) -> Float[Tensor, "point {dim}"]:
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
        low = float(a.clamp(max=0).sum())  # a·x runs from low to high on the cube
        high = float(a.clamp(min=0).sum())
        t = torch.linspace(low, high, width // len(profiles) + 1, dtype=a.dtype)
        points = t[:, None] * a / a.square().sum()
        parts.append(memorise(points, g(t), a))
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
    places = torch.cat([1 / 3 - beside, 1 / 3 + beside])
    near = places[:, None].expand(-1, X.shape[1])
    f = TARGETS[target]
    everywhere = (G(X)[:, 0] - f(X)).abs()
    at_jump = (G(near)[:, 0] - f(near)).abs()
    return {
        "sup": float(torch.maximum(everywhere.max(), at_jump.max())),
        "rms": float(everywhere.square().mean().sqrt()),
    }


def rate(widths: Sequence[float | int], found: Sequence[float | int]) -> float:
    """The slope r of error = C · width^r, by least squares in the logarithms."""
    x = torch.tensor(widths, dtype=torch.float64).log()
    y = torch.tensor(found, dtype=torch.float64).log()
    dx = x - x.mean()
    dy = y - y.mean()
    return float((dx * dy).sum() / dx.square().sum())


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


def draw(
    dim: int,
    width: int,
    sigma: Activation,
    scale: float = 1.0,
    seed: int = 0,
) -> FiniteSum:
    """Random units for the unit cube: w in a random direction with length `scale`, the place where
    w·x + b = 0 runs through a random point; the outer weights are random too, with variance 1 /
    width."""
    from_seed = generator(seed, "units", dim, width)
    W = torch.randn(width, dim, generator=from_seed, dtype=torch.float64)
    W = scale * W / W.norm(dim=1, keepdim=True)
    places = torch.rand(width, dim, generator=from_seed, dtype=torch.float64)
    alpha = torch.randn(1, width, generator=from_seed, dtype=torch.float64) / (scale * width**0.5)
    return FiniteSum(
        alpha=alpha,
        W=W,
        b=-(W * places).sum(1),
        sigma=sigma,
    )


def solve(
    units: FiniteSum,
    X: Float[Tensor, "point dim"],
    y: Float[Tensor, " point"],
) -> FiniteSum:
    """The same units with the outer weights that fit y best in least squares (of the smallest norm,
    if many do)."""
    features = units.sigma(X @ units.W.T + units.b)
    fitted = torch.linalg.lstsq(features, y[:, None], rcond=1e-12, driver="gelsd")
    return replace(units, alpha=fitted.solution.T)


class _Sums(nn.Module):
    """Several sums of the same width, each with a target of its own, trained side by side."""

    def __init__(self, starts: Sequence[FiniteSum]) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.stack([start.alpha for start in starts]))
        self.W = nn.Parameter(torch.stack([start.W for start in starts]))
        self.b = nn.Parameter(torch.stack([start.b for start in starts]))
        self.sigma = starts[0].sigma

    def forward(self, X: Tensor, Y: Tensor) -> Any:
        """Half the squared errors at X (point × dim) against Y (sum × point), added over the
        sums."""
        said = self.sigma(X @ self.W.mT + self.b[:, None]) @ self.alpha.mT
        squared = (said.squeeze(-1) - Y).square()
        return SimpleNamespace(loss=squared.mean(1).sum() / 2)

    def found(self) -> list[FiniteSum]:
        """The sums as they are now."""
        alpha = self.alpha.detach()
        W = self.W.detach()
        b = self.b.detach()
        return [FiniteSum(alpha[k], W[k], b[k], self.sigma) for k in range(len(b))]


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
    batch = {"X": X, "Y": Y}
    recipe = training.Recipe(steps, lr=lr, clip=1e9)
    with _one_thread():
        training.fit(sums, lambda _step: batch, recipe)
    return sums.found()


def untrained(
    target: str,
    width: int,
    seed: int,
) -> dict[str, FiniteSum]:
    """Sums of `width` units for one of TARGETS: constructed, and by least squares on random ReLUs,
    and on a line also on cosines (dense as well) and on random squares (σ(z) = z², which the
    theorem excludes)."""
    X = grid(33, 2, ends=True) if target == "2-D" else grid(1001, ends=True)
    dim = X.shape[1]
    units = {"random": draw(dim, width, torch.relu, seed=seed)}
    if dim == 1:
        units["cosines"] = cosines(width)
        units["squares"] = draw(1, width, torch.square, seed=seed)
    y = TARGETS[target](X)
    found = {"constructed": constructed(target, width)}
    for way, inside in units.items():
        found[way] = solve(inside, X, y)
    return found


def trained(
    targets: Sequence[str],
    starts: Sequence[FiniteSum],
    steps: int,
    lr: float = 1e-2,
) -> list[FiniteSum]:
    """Each start trained on its target, all of one dimension: 257 points of the line, or 841 of the
    square."""
    dim = starts[0].W.shape[1]
    X = grid(29, 2, ends=True) if dim == 2 else grid(257, ends=True)
    Y = torch.stack([TARGETS[target](X) for target in targets])
    return train(starts, X, Y, steps, lr)


def contenders(
    widths: Sequence[int],
    trained_widths: Sequence[int],
    seed: int,
    steps: int,
) -> Iterator[tuple[str, str, int, FiniteSum]]:
    """(target, method, width, sum) for every target, in every way; training begins with the units
    of "random"."""
    for target in TARGETS:
        for width in widths:
            for way, G in untrained(target, width, seed).items():
                yield target, way, width, G
    on_a_line = ["smooth", "kinked", "broken"]
    for dim, targets in ((1, on_a_line), (2, ["2-D"])):
        for width in trained_widths:
            start = draw(dim, width, torch.relu, seed=seed)
            found = trained(targets, [start] * len(targets), steps)
            for target, G in zip(targets, found, strict=True):
                yield target, "trained", width, G
