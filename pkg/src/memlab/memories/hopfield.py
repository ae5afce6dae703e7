"""Memories that settle: the binary Hopfield network and its dense descendant, which is attention.

Hopfield (1982) adds the patterns' outer products into one matrix and lets a cue run downhill in
energy. The dense form (Ramsauer et al., 2021, "Hopfield networks is all you need") keeps the
patterns, and one of its steps is softmax attention with the patterns as keys and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memlab.memories.checks import check_rows, check_written


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

    def empty(self, dim: int, *, dtype: torch.dtype = torch.float32) -> HopfieldState:
        """A state without patterns."""
        return HopfieldState(torch.zeros(dim, dim, dtype=dtype))

    def write(self, state: HopfieldState, patterns: Float[Tensor, "pat dim"]) -> HopfieldState:
        """The state with these patterns added; about 0.14 · dim random ones can be recalled."""
        return self._add(state, patterns, 1)

    def forget(self, state: HopfieldState, patterns: Float[Tensor, "pat dim"]) -> HopfieldState:
        """The state as if these patterns, which must have been written, had never been: exactly."""
        return self._add(state, patterns, -1)

    def _add(
        self,
        state: HopfieldState,
        patterns: Tensor,
        sign: int,
    ) -> HopfieldState:
        _check_binary("patterns", patterns, len(state.weights))
        count = state.count + sign * len(patterns)
        if count < 0:
            raise ValueError(
                f"expected at most {state.count} stored patterns to forget, got {len(patterns)}"
            )
        patterns = patterns.to(state.weights)
        products = (patterns.T @ patterns).fill_diagonal_(0)
        return HopfieldState(state.weights + sign * products, count)

    def read(
        self,
        state: HopfieldState,
        queries: Float[Tensor, "qry dim"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "qry dim"]:
        """Where each query settles, after at most `steps` sweeps. A unit without a preference keeps
        its sign.

        Units are visited from first to last, or in an order drawn from `generator` anew for each
        sweep.
        """
        check_written(state.count)
        _check_binary("queries", queries, len(state.weights))
        x = queries.to(state.weights).clone()
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

    def energy(self, state: HopfieldState, x: Float[Tensor, "qry dim"]) -> Float[Tensor, " qry"]:
        """−½ xᵀW x with W = Σ ξξᵀ / dim."""
        check_rows("x", x, len(state.weights))
        x = x.to(state.weights)
        return -((x @ state.weights) * x).sum(1) / (2 * x.shape[1])


def _check_binary(
    name: str,
    rows: Tensor,
    width: int,
) -> None:
    check_rows(name, rows, width)
    if not bool((rows.abs() == 1).all()):
        raise ValueError(
            f"{name} must hold -1 and 1 only, got {int((rows.abs() != 1).sum())} other numbers"
        )


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


@dataclass(frozen=True)
class DenseHopfield:
    """`steps` times x ← softmax(beta · x Xᵀ) X: one step is attention of scale `beta`.
    Differentiable."""

    beta: float = 8.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf or self.steps < 1:
            raise ValueError(
                f"expected finite beta > 0 and steps >= 1, got {self.beta} and {self.steps}"
            )

    def empty(self, dim: int, *, dtype: torch.dtype = torch.float32) -> DenseState:
        """A state without patterns."""
        return DenseState(torch.empty(0, dim, dtype=dtype))

    def write(self, state: DenseState, patterns: Float[Tensor, "pat dim"]) -> DenseState:
        """The state with these patterns behind what it held."""
        check_rows("patterns", patterns, state.patterns.shape[1])
        return DenseState(torch.cat([state.patterns, patterns.to(state.patterns)]))

    def read(
        self, state: DenseState, queries: Float[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry dim"]:
        """Where each query is after `steps` steps."""
        x = queries.to(state.patterns)
        for _ in range(self.steps):
            x = self.weights(state, x) @ state.patterns
        return x

    def weights(
        self, state: DenseState, queries: Float[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry pat"]:
        """softmax(beta · x Xᵀ): how much of each pattern one step takes; attention's weights."""
        check_written(len(state.patterns))
        check_rows("queries", queries, state.patterns.shape[1])
        return torch.softmax(self.beta * queries.to(state.patterns) @ state.patterns.T, dim=1)

    def energy(self, state: DenseState, x: Float[Tensor, "qry dim"]) -> Float[Tensor, " qry"]:
        """−lse(beta, Xx) + ½ xᵀx + log(pat)/beta + ½ max|pattern|²: never below 0; no step raises
        it."""
        check_written(len(state.patterns))
        check_rows("x", x, state.patterns.shape[1])
        x = x.to(state.patterns)
        longest = state.patterns.norm(dim=1).max()
        lse = torch.logsumexp(self.beta * x @ state.patterns.T, dim=1) / self.beta
        most = math.log(len(state.patterns)) / self.beta
        return -lse + 0.5 * (x * x).sum(1) + most + 0.5 * longest**2
