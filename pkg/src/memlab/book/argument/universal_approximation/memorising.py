"""Networks that return a list: N points, N labels, nothing trained, every weight written down.

`memorise` needs one hidden unit an item; `memorise_deep`, with two layers, four times the square
root of their number. Meant for float64: both divide by the smallest gap between two projected
points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memlab.book.argument.universal_approximation.finite_sum import FiniteSum
from memlab.runtime import generator

# Numbers of one intermediate matrix at most: 10,000 units at 10,000 points are 0.8 GB.
BLOCK = 1 << 22


def listed(
    count: int,
    dim: int,
    labels: int,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Random points of the unit cube, labels 0 … `labels` − 1 that follow a direction (a rule), and
    the same labels shuffled: as many of each, and no rule left."""
    source = generator(seed, "list", count, dim)
    X = torch.rand(count, dim, generator=source, dtype=torch.float64)
    way = torch.randn(dim, generator=generator(seed, "rule", dim), dtype=torch.float64)
    rank = (X @ way).argsort().argsort()
    rule = (rank * labels // count).to(X.dtype)
    return X, rule, rule[torch.randperm(count, generator=source)]


def direction(
    X: Float[Tensor, "point dim"],
    seed: int = 0,
    tries: int = 16,
) -> Float[Tensor, " dim"]:
    """Of `tries` random unit vectors, the one along which the two closest points lie farthest
    apart.

    Distinct points stay distinct along almost every direction; ValueError if they do not along any
    that was tried.
    """
    ways = torch.randn(tries, X.shape[1], generator=generator(seed, "direction"), dtype=X.dtype)
    ways = ways / ways.norm(dim=1, keepdim=True)
    places = (X @ ways.T).sort(0).values
    gaps = places.diff(dim=0).amin(0)
    if gaps.max() <= 0:
        raise ValueError(
            f"expected {len(X)} distinct points, got two that agree along {tries} random directions"
        )
    return ways[gaps.argmax()]


def _along(
    X: Tensor,
    y: Tensor,
    a: Tensor,
) -> tuple[Tensor, Tensor]:
    """Projections in rising order, and the labels in the same order."""
    z, order = (X @ a).sort()
    if len(z) < 2:
        raise ValueError(f"expected two or more points, got {len(z)}")
    if z.diff().min() <= 0:
        raise ValueError(
            f"expected two or more points that differ along the direction, got {len(z)}, two of"
            " them equal"
        )
    return z, y[order]


def _bends(knots: Tensor, values: Tensor) -> Tensor:
    """Changes of slope at all knots but the last, of the piecewise linear function through the
    values."""
    widths = knots.diff().reshape(-1, *[1] * (values.ndim - 1))
    slopes = values.diff(dim=0) / widths
    flat = torch.zeros_like(values[:1])  # left of the first knot
    return slopes.diff(dim=0, prepend=flat)


def memorise(
    X: Float[Tensor, "point dim"],
    y: Float[Tensor, " point"],
    a: Float[Tensor, " dim"],
) -> FiniteSum:
    """The sum with G(x_i) = y_i at all N points: N − 1 ReLUs along a, and one unit with w = 0 for
    the constant.

    On a grid of a line it is the piecewise linear interpolant of a function: its sup error is at
    most max|f''| h² / 8.
    """
    z, y = _along(X, y, a)
    return FiniteSum(
        alpha=torch.cat([y[:1], _bends(z, y)])[None],
        W=torch.cat([0 * a[None], a.expand(len(z) - 1, -1)]),
        b=torch.cat([torch.ones_like(z[:1]), -z[:-1]]),
        sigma=torch.relu,
    )


@dataclass(frozen=True)
class TwoLayerMemory:
    """Two hidden ReLU layers, `units` in all, that return every stored label: see `memorise_deep`.

    Layer 1 has a kink at each of `knots`; `bends` are the weights between the layers, one column a
    pair of units.
    """

    a: Float[Tensor, " dim"]
    knots: Float[Tensor, " knot"]
    bends: Float[Tensor, "knot pair"]
    offset: Float[Tensor, " pair"]
    scale: float

    @property
    def units(self) -> int:
        """Hidden ReLUs of both layers."""
        return len(self.knots) + 2 * len(self.offset)

    @property
    def numbers(self) -> int:
        """Adjustable numbers: the direction, the knots, the weights and offsets of the pairs, the
        scale."""
        tensors = (self.a, self.knots, self.bends, self.offset)
        return sum(tensor.numel() for tensor in tensors) + 1

    def __call__(self, X: Float[Tensor, "point dim"]) -> Float[Tensor, " point"]:
        """The network's answers."""
        z = X @ self.a
        pre = torch.relu(z[:, None] - self.knots) @ self.bends + self.offset
        pairs = torch.relu(pre + 1) - torch.relu(pre - 1) - 1  # hard tanh
        return self.scale * (pairs.sum(1) - 1)

    def rounded(self, bits: int) -> TwoLayerMemory:
        """The same network with every number of it rounded to a mantissa of `bits` bits (float64
        has 53)."""
        return replace(
            self,
            a=rounded(self.a, bits),
            knots=rounded(self.knots, bits),
            bends=rounded(self.bends, bits),
            offset=rounded(self.offset, bits),
        )


def rounded(x: Tensor, bits: int) -> Tensor:
    """x with a mantissa of `bits` bits, whatever its exponent."""
    mantissa, exponent = torch.frexp(x)
    kept = (mantissa * 2.0**bits).round() / 2.0**bits
    return torch.ldexp(kept, exponent)


def memorise_deep(
    X: Float[Tensor, "point dim"],
    y: Float[Tensor, " point"],
    a: Float[Tensor, " dim"],
) -> TwoLayerMemory:
    """About 4√N units in two hidden layers that return y_i at x_i for all N points (the count of
    Yun et al. 2019).

    The sorted projections are cut into p groups of q, q even. Layer 1 has kinks at both ends of
    every group, so each pair of layer 2 can read any line on every group. Pair j gives v_j, the
    label, at member j of the group and is saturated at all others: rising for even j, falling for
    odd j, so that the saturated ones cancel to the constant 1.
    """
    z, y = _along(X, y, a)
    q = 2 * math.ceil(math.sqrt(len(z)) / 2)
    pad = -len(z) % q
    beyond = z[-1] + torch.arange(1, pad + 1, dtype=z.dtype)
    z = torch.cat([z, beyond]).view(-1, q)
    scale = 1.05 * float(y.abs().max()) or 1.0
    v = torch.cat([y, y.new_zeros(pad)]).view(-1, q) / scale
    sign = 1 - 2 * (torch.arange(q) % 2)
    slope = 2.0 / _nearest(z) * sign
    at_first = v + slope * (z[:, :1] - z)  # of every line, at the first knot of its group
    at_last = v + slope * (z[:, -1:] - z)
    values = torch.stack([at_first, at_last], 1).reshape(-1, q)
    knots = z[:, [0, -1]].reshape(-1)
    return TwoLayerMemory(a, knots[:-1], _bends(knots, values), values[0], scale)


def _nearest(z: Tensor) -> Tensor:
    """How far the nearest neighbour of every member is within its group; a row a group, rising."""
    far = z.new_full((len(z), 1), torch.inf)
    gaps = z.diff(dim=1)
    to_the_left = torch.cat([far, gaps], 1)
    to_the_right = torch.cat([gaps, far], 1)
    return torch.minimum(to_the_left, to_the_right)


def evaluate(
    G: Callable[[Tensor], Tensor],
    X: Float[Tensor, "point dim"],
    width: int,
) -> Float[Tensor, " point"]:
    """G at many points, some rows at a time, so that a matrix of points × `width` never has to
    exist."""
    parts = X.split(max(1, BLOCK // width))
    return torch.cat([G(rows).reshape(len(rows)) for rows in parts])


def recited(
    G: Callable[[Tensor], Tensor],
    X: Float[Tensor, "point dim"],
    y: Float[Tensor, " point"],
    width: int = 1,
    within: float = 0.5,
) -> float:
    """Share of the list that G returns: answers nearer than `within` to their label (half the step
    between labels)."""
    error = (evaluate(G, X, width) - y).abs()
    return float((error < within).double().mean())
