"""Exact key–value slots: every pair is kept, and a query gets the value of the nearest key.

Nothing is lost at any length; the price is a row per pair and a scan of all keys per read. Rows are
kept in float32, or smaller in float16 or int8 (rows.py); what the smaller ones stand for is then
scanned just as exactly. A state never changes although rows are appended in place: `rows.Room` lets
one state grow into spare rows, any other copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float32, Int, Num, Shaped
from torch import Tensor

from memlab.memories import rows as storage
from memlab.memories.checks import as_count, as_indices, as_rows, check_finite, check_written
from memlab.memories.scan import nearest, scan_dtype
from memlab.memories.states import plain

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class KeyValueState:
    """Row i of `keys` leads to row `slot[i]` of `values`. int8 rows have a scale each, others none.

    May be built by hand, and is then of the tensors given, not of copies; `row_folder.py` builds
    it over files.
    """

    keys: Num[Tensor, "pat key"]
    values: Num[Tensor, "val value"]
    slot: Int[Tensor, " pat"]
    longest: float | None = None  # no key is longer than this; None: measure it now
    rooms: storage.Rooms | None = field(default=None, repr=False)
    key_scale: Float32[Tensor, "pat _"] | None = None  # None: no int8 rows
    value_scale: Float32[Tensor, "val _"] | None = None

    def __post_init__(self) -> None:
        for name, stored in (("key_scale", self.keys), ("value_scale", self.values)):
            storage.check_dtype(stored.dtype)
            if getattr(self, name) is not None:
                continue
            if stored.dtype == torch.int8:
                raise ValueError(f"expected a {name} beside int8 rows, got none")
            object.__setattr__(self, name, torch.empty(len(stored), 0, device=stored.device))
        if self.longest is None:
            object.__setattr__(self, "longest", storage.longest(self.keys, self.parts[3]))
        elif not 0 <= self.longest < math.inf:
            raise ValueError(f"expected a finite length >= 0 of the keys, got {self.longest}")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def parts(self) -> Parts:
        """Keys, values, slots, the scales of the keys and those of the values."""
        assert self.key_scale is not None and self.value_scale is not None
        return self.keys, self.values, self.slot, self.key_scale, self.value_scale

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use (spare rows are not counted)."""
        return sum(part.nbytes for part in self.parts)


def state_of(
    parts: Parts,
    longest: float | None,
    rooms: storage.Rooms | None = None,
) -> KeyValueState:
    """The state that consists of these parts."""
    keys, values, slot, key_scale, value_scale = parts
    return KeyValueState(keys, values, slot, longest, rooms, key_scale, value_scale)


def packed(
    state: KeyValueState,
    keys: Tensor,
    values: Tensor,
    slots: Tensor | None,
) -> tuple[Parts, float]:
    """What a write appends to each part of `state`, and the length that no key exceeds then.
    ValueError: see `write`."""
    keys, key_scale = storage.pack("keys", keys, state.keys)
    values, value_scale = storage.pack("values", values, state.values)
    if slots is None:
        slots = torch.arange(len(values))
    slots = as_indices("slots", slots, len(values), state.slot.device)
    if slots.shape != keys.shape[:1]:
        raise ValueError(
            f"expected one value or one slot per key, {len(keys)}, got {slots.numel()}"
        )
    longest = max(state.longest or 0.0, storage.longest(keys, key_scale))
    slot = slots + len(state.values)
    return (keys, values, slot, key_scale, value_scale), longest


def kept(state: KeyValueState, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which keys stay if what `rows` lead to is forgotten, which values stay, and the slots of the
    keys that do."""
    rows = as_indices("rows", rows, len(state), state.slot.device)
    kept_values = torch.ones(len(state.values), dtype=torch.bool, device=state.slot.device)
    kept_values[state.slot[rows]] = False
    kept_keys = kept_values[state.slot]
    moved = kept_values.cumsum(0) - 1  # old value row → new value row
    return kept_keys, kept_values, moved[state.slot[kept_keys]]


@dataclass(frozen=True)
class KeyValue:
    """Exact key–value slots: a query is answered by the `top_k` keys of the largest inner product.

    With keys of length one these are the nearest. `beta` weighs several values: softmax(beta ·
    score).
    """

    top_k: int = 1
    beta: float = 32.0

    def __post_init__(self) -> None:
        as_count("top_k", self.top_k, 1)
        if not 0 < self.beta < math.inf:
            raise ValueError(f"expected a finite beta > 0, got beta={self.beta}")

    @staticmethod
    def bytes_per_row(
        key_dim: int,
        value_dim: int,
        dtype: torch.dtype = torch.float32,
        key_dtype: torch.dtype = torch.float32,
    ) -> int:
        """Bytes of one key, its value in `dtype`, their scales and the slot number."""
        return storage.row_bytes(key_dim, key_dtype) + storage.row_bytes(value_dim, dtype) + 8

    @classmethod
    def check_capacity(
        cls,
        rows: int,
        key_dim: int,
        value_dim: int,
        dtype: torch.dtype = torch.float32,
        limit_bytes: int | None = None,
        key_dtype: torch.dtype = torch.float32,
    ) -> int:
        """Bytes that `rows` pairs need; ValueError if over `limit_bytes` (default: the available
        RAM)."""
        need = as_count("rows", rows) * cls.bytes_per_row(key_dim, value_dim, dtype, key_dtype)
        if limit_bytes is None:
            limit_bytes = storage.available_bytes(torch.device("cpu"))
        storage.check_fit(rows, need, limit_bytes)
        return need

    @plain
    def empty(
        self,
        key_dim: int,
        value_dim: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype = torch.float32,
        key_dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> KeyValueState:
        """A state without rows, with room for `capacity` pairs if known; values are kept in
        `dtype`."""
        keys, key_scale = storage.empty(key_dim, key_dtype, device)
        values, value_scale = storage.empty(value_dim, dtype, device)
        slot = torch.empty(0, dtype=torch.long, device=device)
        limit = storage.available_bytes(keys.device)
        self.check_capacity(capacity, key_dim, value_dim, dtype, limit, key_dtype)
        parts = (keys, values, slot, key_scale, value_scale)
        rooms = tuple(storage.Room(part, capacity) for part in parts)
        return state_of(parts, 0.0, rooms)

    def share(self, count: int) -> range:
        """Which of `count` new rows this process keeps: all of them (`Sharded` keeps some)."""
        return range(count)

    @plain
    @torch.no_grad()
    def write(
        self,
        state: KeyValueState,
        keys: Shaped[Tensor, "new key"],
        values: Shaped[Tensor, "val value"],
        slots: Shaped[Tensor, " new"] | None = None,
    ) -> KeyValueState:
        """The state with `keys` and `values` behind what it held, in its dtypes.

        `slots[i]` is the row of `values`, as given in this call, that keys[i] leads to (default:
        row i): the keys of several sentences may share one segment. Many small writes make the same
        state as one and cost O(rows) in all: rows are copied only when the room is used up, and
        room for half as many more is made then (give `empty` a capacity to avoid copies).
        ValueError before allocating if RAM does not suffice.
        """
        new, longest = packed(state, keys, values, slots)
        parts, rooms = storage.append(state.parts, state.rooms, new)
        return state_of(parts, longest, rooms)  # type: ignore[arg-type]

    @plain
    def forget(self, state: KeyValueState, rows: Shaped[Tensor, "*rows"]) -> KeyValueState:
        """The state as if what the keys `rows` lead to had never been written: the values and all
        their keys.

        The other rows keep their order and move up, in fresh tensors. ValueError for a row that is
        not there.
        """
        kept_keys, kept_values, slot = kept(state, rows)
        keys, values, _, key_scale, value_scale = state.parts
        parts = (
            keys[kept_keys],
            values[kept_values],
            slot,
            key_scale[kept_keys],
            value_scale[kept_values],
        )
        return state_of(parts, state.longest)

    @plain
    def first(self, state: KeyValueState, count: int) -> KeyValueState:
        """The state as it was when it held `count` keys; shares their rows. ValueError unless it
        once did."""
        count = as_count("count", count, 0, len(state))
        keys, values, slot, key_scale, value_scale = state.parts
        slot = slot[:count]
        end = int(slot.max()) + 1 if len(slot) else 0
        parts = (keys[:count], values[:end], slot, key_scale[:count], value_scale[:end])
        return state_of(parts, state.longest)

    @plain
    @torch.no_grad()
    def keys_only(self, state: KeyValueState, more: Shaped[Tensor, "new key"]) -> KeyValueState:
        """The keys of `state` and behind them `more`, for `address` alone: no values, none are
        copied."""
        new, new_scale = storage.pack("keys", more, state.keys)
        keys = torch.cat([state.keys, new])
        scale = torch.cat([state.parts[3], new_scale])
        longest = max(state.longest or 0.0, storage.longest(new, new_scale))
        nothing = torch.empty(len(keys), 0, device=keys.device)
        slot = torch.arange(len(keys), device=keys.device)
        return KeyValueState(keys, nothing, slot, longest, None, scale)

    @plain
    @torch.no_grad()
    def address(
        self, state: KeyValueState, queries: Shaped[Tensor, "qry key"]
    ) -> tuple[Float[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
        """Scores and rows of the `top_k` best keys of each query, best first; of equal scores the
        lowest row.

        Rows are ranked by inner products in float64 with the rows as stored: that depends neither
        on the other queries nor on threads or the instruction set. Scores come back in float32, or
        float64 where the keys are; ValueError for scores that are too large for that. Needs about
        100 MiB beside the state.
        """
        score, row = self.exact(state, queries)
        score = score.to(scan_dtype(state.keys))
        check_finite("scores", score)
        return score, row

    @plain
    @torch.no_grad()
    def exact(
        self, state: KeyValueState, queries: Shaped[Tensor, "qry key"]
    ) -> tuple[Tensor, Tensor]:
        """`address` with the float64 scores that decided."""
        check_written(len(state))
        if self.top_k > len(state):
            raise ValueError(f"expected top_k <= {len(state)} stored rows, got top_k={self.top_k}")
        queries = self.as_queries(state, queries)
        return nearest(queries, state.keys, state.parts[3], self.top_k, state.longest or 0.0)

    @staticmethod
    def as_queries(state: KeyValueState, queries: Tensor) -> Tensor:
        """The queries as the keys are scanned with them. ValueError: see `checks.as_rows`."""
        keys = state.keys
        dtype = scan_dtype(keys)
        return as_rows("queries", queries, keys.shape[1], dtype=dtype, device=keys.device)

    @plain
    def take(
        self, state: KeyValueState, rows: Shaped[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows value"]:
        """The stored values that the keys `rows` (as `address` returns them) lead to, unweighted;
        int8 as float32. ValueError for a row that is not there."""
        rows = as_indices("rows", rows, len(state), state.slot.device)
        slots = state.slot[rows.flatten()]  # one number alone would get a view of the state
        found = state.values[slots]
        if state.values.dtype == torch.int8:
            found = found * state.parts[4][slots]
        return found.reshape(*rows.shape, state.values.shape[1])

    @plain
    def read(
        self, state: KeyValueState, queries: Shaped[Tensor, "qry key"]
    ) -> Float[Tensor, "qry value"]:
        """The value of the best key, bit for bit, or the softmax(beta · score) mean of the `top_k`
        values."""
        scores, rows = self.address(state, queries)
        return self.mix(scores, self.take(state, rows))

    @plain
    def mix(
        self, scores: Float[Tensor, "qry top_k"], found: Float[Tensor, "qry top_k value"]
    ) -> Float[Tensor, "qry value"]:
        """One value a query: the only one, or the mean of `top_k` weighted by softmax(beta ·
        score)."""
        found = found.to(torch.promote_types(found.dtype, scores.dtype))
        if self.top_k == 1:
            return found[:, 0]
        sharp = self.beta * scores
        if not torch.isfinite(sharp).all():
            sharp = self.beta * (scores - scores.amax(1, keepdim=True))
        weights = torch.softmax(sharp, 1).to(found)
        return torch.einsum("qk,qkv->qv", weights, found)
