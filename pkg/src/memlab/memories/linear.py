"""Linear memories: all pairs in one matrix of fixed size, by exact least squares.

`PseudoInverse` solves min ‖K M − V‖² + ridge ‖M‖², M = K⁺V for ridge → 0, and reads q M. `Larimar`
(Das et al., arXiv 2403.11901) has no keys: it writes M = W₀⁺Z with addresses W₀ = Z M₀⁺ and reads
(z M⁺) M. Both are solved by Cholesky factors in float64; the original's fixed number of
Newton–Schulz steps is neither needed nor exact (published.py has it). `novelty` is the share of a
query that lies outside all that was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memlab.memories.checks import (
    as_count,
    as_device,
    as_like,
    as_matrix,
    as_pairs,
    as_rows,
    check_finite,
    check_floating,
    check_forgettable,
    check_written,
    narrowed,
    working_dtype,
)
from memlab.memories.states import computed_once, has_gradient, plain

# A Cholesky pivot so much smaller than the largest is rounding: the rows depend on each other.
SMALLEST_PIVOT = 1e-7
# A direction in which all rows together are so short, as a share of the longest direction, is
# rounding as well.
SMALLEST_SHARE = 1e-6


@dataclass(frozen=True, eq=False)
class LinearState:
    """`count` pairs: the pairs themselves while they are at most `key`, two sums of products after
    that."""

    keys: Float[Tensor, "row key"]
    values: Float[Tensor, "row value"]
    gram: Float[Tensor, "key key"] | None = None  # KᵀK in float64, None while the pairs are kept
    cross: Float[Tensor, "key value"] | None = None  # KᵀV in float64
    count: int = 0
    # ridge → M, by the first read; of this state alone, not of one that is made from it
    solved: dict[float, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of what a further write needs; reading alone needs M, key · value numbers."""
        parts = (self.keys, self.values, self.gram, self.cross)
        return sum(part.nbytes for part in parts if part is not None)

    @computed_once
    def basis(self) -> Float[Tensor, "rank key"]:
        """Orthonormal rows in float64 that span the keys written; computed once per state."""
        if self.gram is None:
            return _span(self.keys)
        strength, directions = torch.linalg.eigh(self.gram)
        return directions.T[strength > SMALLEST_SHARE**2 * strength[-1]]


@dataclass(frozen=True)
class PseudoInverse:
    """Hetero-associative linear memory M = K⁺V. Keys of length one; a larger `ridge` stands more
    cue noise.

    Exact keys read without error up to `key` independent pairs; for random pairs beyond that the
    relative error is √(1 − key/count). ridge=0 is the true pseudo-inverse and asks for independent
    keys.
    """

    ridge: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.ridge < float("inf"):
            raise ValueError(f"ridge must be a finite number >= 0, got {self.ridge}")

    @plain
    def empty(
        self,
        key_dim: int,
        value_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> LinearState:
        """A state without pairs; what is read comes back in `dtype`."""
        as_count("key_dim", key_dim, 1)
        as_count("value_dim", value_dim)
        check_floating("pairs", dtype)
        device = as_device(device)
        return LinearState(
            torch.empty(0, key_dim, dtype=dtype, device=device),
            torch.empty(0, value_dim, dtype=dtype, device=device),
        )

    @plain
    def write(
        self,
        state: LinearState,
        keys: Shaped[Tensor, "pat key"],
        values: Shaped[Tensor, "pat value"],
    ) -> LinearState:
        """The state with these pairs too: the same, to float64 rounding, in one write or in
        many."""
        keys, values = as_pairs(keys, values, state.keys, state.values)
        count = state.count + len(keys)
        keys = torch.cat([state.keys, keys])
        values = torch.cat([state.values, values])
        if state.gram is None and count <= keys.shape[1]:
            return LinearState(keys, values, count=count)
        gram, cross = _products(keys, values)
        if state.gram is not None and state.cross is not None:
            gram = state.gram + gram
            cross = state.cross + cross
        # No views: they would keep all pairs in memory.
        return LinearState(keys[:0].clone(), values[:0].clone(), gram, cross, count)

    @plain
    def forget(
        self,
        state: LinearState,
        keys: Shaped[Tensor, "pat key"],
        values: Shaped[Tensor, "pat value"],
    ) -> LinearState:
        """The state as if these pairs, which must have been written, had never been.

        Once the pairs are merged into sums nobody can tell what was written: forgetting a pair that
        was not leaves its negative behind. ValueError where it shows: an unknown pair, or more
        pairs than are stored.
        """
        check_forgettable("pairs", keys, state.count)
        keys, values = as_pairs(keys, values, state.keys, state.values)
        count = state.count - len(keys)
        if state.gram is not None and state.cross is not None:
            gram, cross = _products(keys, values)
            gram = state.gram - gram
            cross = state.cross - cross
            return LinearState(state.keys, state.values, gram, cross, count)
        kept = torch.ones(state.count, dtype=torch.bool, device=state.keys.device)
        for key, value in zip(keys, values, strict=True):
            same_key = (state.keys == key).all(1)
            same_value = (state.values == value).all(1)
            same = kept & same_key & same_value
            if not same.any():
                raise ValueError("expected a pair that was written, got one that is not stored")
            kept[same.nonzero()[0]] = False
        return LinearState(state.keys[kept], state.values[kept], count=count)

    @plain
    def solve(self, state: LinearState) -> Float[Tensor, "key value"]:
        """A copy of M in the state's dtype; computed once per state. The smaller of both normal
        equations is solved."""
        return self._solved(state).clone()

    def _solved(self, state: LinearState) -> Tensor:
        check_written(state.count)
        if self.ridge in state.solved:
            return state.solved[self.ridge]
        if state.gram is None or state.cross is None:  # count ≤ key: M = Kᵀ (K Kᵀ + ridge)⁻¹ V
            wide = state.keys.double()
            matrix = wide.T @ self._divide(wide @ wide.T, state.values.double())
        else:  # M = (KᵀK + ridge)⁻¹ KᵀV
            matrix = self._divide(state.gram, state.cross)
        matrix = narrowed("the matrix", matrix, state.values.dtype)
        if not has_gradient(state):
            state.solved[self.ridge] = matrix
        return matrix

    def _divide(self, gram: Tensor, right: Tensor) -> Tensor:
        """(gram + ridge)⁻¹ right."""
        identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor = _cholesky(gram + self.ridge * identity)
        if factor is None:
            raise ValueError(
                f"expected linearly independent keys or a larger ridge, got ridge={self.ridge}"
            )
        return torch.cholesky_solve(right, factor)

    @plain
    def read(
        self, state: LinearState, queries: Shaped[Tensor, "qry key"]
    ) -> Float[Tensor, "qry value"]:
        """q M, in the state's dtype. A query unlike every key is not rejected: it returns a
        mixture."""
        queries = as_like("queries", queries, state.keys)
        read = queries @ self._solved(state)
        check_finite("what is read", read)
        return read

    @plain
    def novelty(
        self, state: LinearState, queries: Shaped[Tensor, "qry key"]
    ) -> Float[Tensor, " qry"]:
        """‖q − proj(q)‖ / ‖q‖ on the span of the keys written: 0 for a key that was, or for any
        mixture of such keys.

        A random query has √(1 − count/key); from `key` independent pairs on, every query has 0.
        """
        check_written(state.count)
        return _outside(queries, state.basis)


@dataclass(frozen=True, eq=False)
class LarimarState:
    """The memory matrix M = W₀⁺ Z. Z and W₀ are kept where no row of W₀ depends on others, as a
    short cut."""

    memory: Float[Tensor, "slot dim"]
    patterns: Float[Tensor, "pat dim"] | None = None
    addresses: Float[Tensor, "pat slot"] | None = None

    def __post_init__(self) -> None:
        check_floating("the memory", self.memory.dtype)

    @computed_once
    def inverse(self) -> Float[Tensor, "dim slot"]:
        """M⁺, which turns a query into an address; computed by the first read."""
        if self.patterns is None or self.addresses is None:
            inverse = pseudo_inverse(self.memory)
        else:
            # W₀⁺ has independent columns, so M⁺ = Z⁺ W₀ if Z has independent rows, as W₀ = Z M₀⁺
            # then implies.
            patterns, addresses = _even(self.patterns, self.addresses)
            inverse = pseudo_inverse(patterns) @ addresses
        return narrowed("the inverse", inverse, self.memory.dtype)

    @computed_once
    def basis(self) -> Float[Tensor, "rank dim"]:
        """Orthonormal rows in float64 that span what can be read; computed once per state."""
        return _span(self.memory if self.patterns is None else self.patterns)


@dataclass(frozen=True)
class Larimar:
    """Larimar's auto-associative memory, one-shot and without its noise terms.

    While the patterns are no more than the slots the read-out does not depend on M₀: it is the
    orthogonal projection of the query on the span of what was written. An unrelated query keeps
    about √(count/dim) of its length.
    """

    @plain
    def start(self, initial: Shaped[Tensor, "slot dim"]) -> LarimarState:
        """The state before any write, a copy of M₀: learned, random or the identity; it only makes
        the addresses."""
        return LarimarState(as_matrix("initial", initial))

    @plain
    def write(self, state: LarimarState, patterns: Shaped[Tensor, "pat dim"]) -> LarimarState:
        """M = W₀⁺ Z with W₀ = Z M₀⁺, where M₀ is the state's matrix: one write replaces what was
        there. In float32, or float64 where the patterns are."""
        like = state.memory
        # A copy, for the state keeps them.
        patterns = as_rows("patterns", patterns, like.shape[1], device=like.device, copy=True)
        check_written(len(patterns))
        wide = patterns.double()
        addresses = wide @ state.inverse.double()
        factor = None
        even, even_addresses = _even(wide, addresses)
        if len(patterns) <= len(state.memory):
            factor = _cholesky(even_addresses @ even_addresses.T)
        if factor is None:
            memory = narrowed("the memory", pseudo_inverse(addresses) @ wide, patterns.dtype)
            return LarimarState(memory)
        memory = even_addresses.T @ torch.cholesky_solve(even, factor)
        return LarimarState(narrowed("the memory", memory, patterns.dtype), patterns, addresses)

    @plain
    def address(
        self, state: LarimarState, queries: Shaped[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry slot"]:
        """The weights w = z M⁺ over the slots, in the state's dtype."""
        queries = as_like("queries", queries, state.memory)
        weights = queries @ state.inverse
        check_finite("addresses", weights)
        _check_not_vanished(weights, queries, state.inverse)
        return weights

    @plain
    def read(
        self, state: LarimarState, queries: Shaped[Tensor, "qry dim"]
    ) -> Float[Tensor, "qry dim"]:
        """w M: the query seen through the memory, in the state's dtype."""
        read = self.address(state, queries) @ state.memory
        check_finite("what is read", read)
        return read

    @plain
    def novelty(
        self, state: LarimarState, queries: Shaped[Tensor, "qry dim"]
    ) -> Float[Tensor, " qry"]:
        """‖z − proj(z)‖ / ‖z‖, the share of the query that the read-out loses: 0 for what was
        written."""
        return _outside(queries, state.basis)


def _check_not_vanished(
    weights: Tensor,
    queries: Tensor,
    inverse: Tensor,
) -> None:
    """Raise ValueError if a product is so small that its dtype has lost digits of it; a query that
    lies outside of all that was written has small weights as well, but not from small numbers."""
    info = torch.finfo(weights.dtype)
    least = info.tiny / info.eps
    if not weights.numel() or float(weights.detach().abs().amax(1).min()) >= least:
        return
    longest = queries.detach().abs().amax(1).double()
    largest = longest * float(inverse.detach().abs().max())
    lost = int(((largest < least) & (longest > 0)).sum())
    if lost:
        raise ValueError(f"addresses must not vanish in {weights.dtype}, got {lost} that do")


def _products(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """KᵀK and KᵀV in float64."""
    wide = keys.double()
    gram = wide.T @ wide
    cross = wide.T @ values.double()
    return gram, cross


def _cholesky(gram: Tensor) -> Tensor | None:
    """The lower factor, or None where a pivot is nothing but rounding."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal()
    good = not failed and bool(pivots.min() > SMALLEST_PIVOT * pivots.max())
    return factor if good else None


def _even(rows: Tensor, *beside: Tensor) -> list[Tensor]:
    """`rows`, and what stands beside each, in float64, over a power of two that makes the row about
    as long as the others: a short row is not rounding, and such a division loses no digit."""
    wide = rows.double()
    length = wide.detach().norm(dim=1, keepdim=True)
    mantissa = torch.frexp(length).mantissa
    # Exactly the power of two by which they differ.
    even = torch.where(length > 0, mantissa / length, 1.0)
    return [part.double() * even for part in (wide, *beside)]


def _span(rows: Tensor) -> Tensor:
    """Orthonormal rows with the span of `rows`: by QR, or by singular values where rows depend on
    each other."""
    if not len(rows):
        return rows.double()
    (wide,) = _even(rows)
    if len(wide) <= wide.shape[1]:
        basis, factor = torch.linalg.qr(wide.T)
        pivots = factor.diagonal().abs()  # how far each row is from the span of those before it
        if bool(pivots.min() > SMALLEST_SHARE * pivots.max()):
            return basis.T
    _, strength, directions = torch.linalg.svd(wide, full_matrices=False)
    return directions[strength > SMALLEST_SHARE * strength.max()]


def _outside(queries: Tensor, basis: Tensor) -> Tensor:
    """Share of each query's length outside the span of `basis`; 0 where it is rounding, or the
    query has no length. In float32, or float64 where the queries are."""
    wide = as_like("queries", queries, basis)
    projection = (wide @ basis.T) @ basis
    lost = (wide - projection).norm(dim=1)
    length = wide.norm(dim=1)
    share = torch.where(lost > SMALLEST_SHARE * length, lost / length, 0.0)
    return share.to(working_dtype(queries.dtype))


def pseudo_inverse(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "column row"]:
    """Moore–Penrose inverse in float64: by Cholesky on the shorter side, by eigenvalues if rows
    depend."""
    tall = matrix.shape[0] > matrix.shape[1]
    rows = matrix.double().T if tall else matrix.double()
    gram = rows @ rows.T
    factor = _cholesky(gram)
    if factor is None:
        inverse = rows.T @ torch.linalg.pinv(gram, hermitian=True, rtol=1e-12)
    else:
        inverse = torch.cholesky_solve(rows, factor).T
    return inverse.T if tall else inverse
