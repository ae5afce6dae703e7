"""Memories that settle: the binary Hopfield network and its dense descendant, which is attention.

Hopfield (1982) adds the patterns' outer products into one matrix and lets a cue run downhill in
energy. The dense form (Ramsauer et al., 2021, "Hopfield networks is all you need") keeps the
patterns, and one of its steps is softmax attention with the patterns as keys and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import (
    as_count,
    as_like,
    as_rows,
    check_finite,
    check_floating,
    check_forgettable,
    check_written,
    working_dtype,
)
from memlab.memories.states import plain

# Sums of signs must be whole numbers still.
EXACT = (torch.float64, torch.float32)


@dataclass(frozen=True, eq=False)
class HopfieldState:
    """Hebb's sum Σ ξξᵀ without its diagonal: whole numbers, so exact. `count` patterns are in
    it."""

    weights: Float[Tensor, "dim dim"]
    count: int = 0


@dataclass(frozen=True)
class Hopfield:
    """Binary patterns of ±1. Asynchronous sweeps never raise the energy; synchronous ones may
    cycle."""

    steps: int = 50
    asynchronous: bool = True

    def __post_init__(self) -> None:
        as_count("steps", self.steps, 1)

    @plain
    def empty(self, dim: int, *, dtype: torch.dtype = torch.float32) -> HopfieldState:
        """A state without patterns. ValueError for a dtype without room for their exact sums."""
        as_count("dim", dim, 1)
        if dtype not in EXACT:
            raise ValueError(f"expected sums in torch.float32 or torch.float64, got {dtype}")
        return HopfieldState(torch.zeros(dim, dim, dtype=dtype))

    def write(self, state: HopfieldState, patterns: Shaped[Tensor, "pat dim"]) -> HopfieldState:
        """The state with these patterns added; about 0.14 · dim random ones can be recalled."""
        return self._add(state, patterns, 1)

    def forget(self, state: HopfieldState, patterns: Shaped[Tensor, "pat dim"]) -> HopfieldState:
        """The state as if these patterns, which must have been written, had never been: exactly."""
        check_forgettable("patterns", patterns, state.count)
        return self._add(state, patterns, -1)

    @plain
    @torch.no_grad()
    def _add(
        self,
        state: HopfieldState,
        patterns: Tensor,
        sign: int,
    ) -> HopfieldState:
        patterns = _as_signs("patterns", patterns, state)
        products = (patterns.T @ patterns).fill_diagonal_(0)
        count = state.count + sign * len(patterns)
        return HopfieldState(state.weights + sign * products, count)

    @plain
    @torch.no_grad()
    def read(
        self,
        state: HopfieldState,
        queries: Shaped[Tensor, "qry dim"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "qry dim"]:
        """Where each query settles, after at most `steps` sweeps. A unit without a preference keeps
        its sign.

        Units are visited from first to last, or in an order drawn from `generator` anew for each
        sweep.
        """
        check_written(state.count)
        x = _as_signs("queries", queries, state).clone()
        for _ in range(self.steps):
            before = x.clone()
            if self.asynchronous:
                for unit in _order(x.shape[1], generator):
                    x[:, unit] = _signs(x @ state.weights[unit], x[:, unit])
            else:
                x = _signs(x @ state.weights, x)
            if torch.equal(x, before):
                break
        return x

    @plain
    def energy(self, state: HopfieldState, x: Shaped[Tensor, "qry dim"]) -> Float[Tensor, " qry"]:
        """−½ xᵀW x with W = Σ ξξᵀ / dim."""
        x = as_like("x", x, state.weights)
        energy = -((x @ state.weights) * x).sum(1) / (2 * x.shape[1])
        check_finite("energies", energy)
        return energy


def _as_signs(
    name: str,
    rows: Tensor,
    state: HopfieldState,
) -> Tensor:
    """Rows of ±1 like the state's sums; judged before they are rounded to its dtype."""
    rows = as_rows(name, rows, len(state.weights), device=state.weights.device)
    others = int((rows.abs() != 1).sum())
    if others:
        raise ValueError(f"{name} must hold -1 and 1 only, got {others} other numbers")
    return rows.to(state.weights.dtype)


def _order(units: int, generator: torch.Generator | None) -> list[int]:
    if generator is None:
        return list(range(units))
    return torch.randperm(units, generator=generator).tolist()


def _signs(field: Tensor, previous: Tensor) -> Tensor:
    return torch.where(field == 0, previous, field.sign())


@dataclass(frozen=True, eq=False)
class DenseState:
    """The stored patterns themselves."""

    patterns: Float[Tensor, "pat dim"]

    @property
    def wide(self) -> Float[Tensor, "pat dim"]:
        """The patterns in what they are reckoned with: float32, or float64 where they are."""
        return self.patterns.to(working_dtype(self.patterns.dtype))


@dataclass(frozen=True)
class DenseHopfield:
    """`steps` times x ← softmax(beta · x Xᵀ) X: one step is attention of scale `beta`.
    Differentiable."""

    beta: float = 8.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(f"expected a finite beta > 0, got {self.beta}")
        as_count("steps", self.steps, 1)

    @plain
    def empty(self, dim: int, *, dtype: torch.dtype = torch.float32) -> DenseState:
        """A state without patterns."""
        as_count("dim", dim, 1)
        check_floating("patterns", dtype)
        return DenseState(torch.empty(0, dim, dtype=dtype))

    @plain
    def write(self, state: DenseState, patterns: Shaped[Tensor, "pat dim"]) -> DenseState:
        """The state with these patterns behind what it held."""
        return DenseState(
            torch.cat([state.patterns, as_like("patterns", patterns, state.patterns)])
        )

    @plain
    def read(
        self, state: DenseState, queries: Shaped[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry dim"]:
        """Where each query is after `steps` steps, in the state's dtype."""
        patterns = state.wide
        x = queries
        for _ in range(self.steps):
            x = self.weights(state, x) @ patterns
        return x.to(state.patterns.dtype)

    @plain
    def weights(
        self, state: DenseState, queries: Shaped[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry pat"]:
        """softmax(beta · x Xᵀ): how much of each pattern one step takes; attention's weights. In
        float32, or float64 where the patterns are."""
        check_written(len(state.patterns))
        patterns = state.wide
        queries = as_like("queries", queries, patterns)
        scores = self.beta * queries @ patterns.T
        check_finite("beta times the scores", scores)
        return torch.softmax(scores, dim=1)

    @plain
    def energy(self, state: DenseState, x: Shaped[Tensor, "qry dim"]) -> Float[Tensor, " qry"]:
        """−lse(beta, Xx) + ½ xᵀx + log(pat)/beta + ½ max|pattern|²: never below 0; no step raises
        it. The terms nearly cancel, so they are added up in float64."""
        check_written(len(state.patterns))
        dtype = state.wide.dtype
        patterns = state.patterns.double()
        x = as_like("x", x, patterns)
        longest = patterns.norm(dim=1).max()
        lse = torch.logsumexp(self.beta * x @ patterns.T, dim=1) / self.beta
        most = math.log(len(patterns)) / self.beta
        energy = -lse + 0.5 * (x * x).sum(1) + most + 0.5 * longest**2
        energy = energy.clamp(min=0).to(dtype)  # below 0 is rounding
        check_finite("energies", energy)
        return energy
