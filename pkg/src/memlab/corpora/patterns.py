"""Random patterns for associative memories, pure in (their arguments, seed).

Keys and patterns have length one unless they are signs; cues lie at a given cosine from what they
stand for.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memlab import runtime


def rows(
    count: int, dim: int, seed: int, *scope: str, spectrum: float = 0.0
) -> Float[Tensor, "row dim"]:
    """Random rows of length one in float64; component i shrinks as i^−spectrum (0: all directions
    alike)."""
    draw = runtime.generator(seed, "rows", *scope, count, dim)
    even = torch.randn(count, dim, generator=draw, dtype=torch.float64)
    return functional.normalize(even / torch.arange(1, dim + 1) ** spectrum, dim=1)


def cues(
    keys: Float[Tensor, "row dim"], cosine: float, seed: int, *scope: str, spectrum: float = 0.0
) -> Float[Tensor, "row dim"]:
    """Unit vectors c k + √(1 − c²) n, with n orthogonal to k and of the given spectrum
    otherwise."""
    noise = rows(len(keys), keys.shape[1], seed, "cue", *scope, spectrum=spectrum)
    along = (noise * keys).sum(1, keepdim=True)
    noise = functional.normalize(noise - along * keys, dim=1)
    return cosine * keys + math.sqrt(1 - cosine**2) * noise


def signs(
    count: int,
    units: int,
    seed: int,
) -> Float[Tensor, "row unit"]:
    """Random rows of −1 and 1, float32."""
    draw = runtime.generator(seed, "signs", count, units)
    bits = torch.randint(2, (count, units), generator=draw)
    return bits.float() * 2 - 1
