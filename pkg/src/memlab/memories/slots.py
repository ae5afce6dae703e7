"""Exact key–value slots: every pair is kept, and a query gets the value of the nearest key.

Nothing is lost at any length; the price is a row per pair and a scan of all keys per read. A state never
changes although rows are appended in place: `_Room` lets one state grow into spare rows, any other copies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memlab.memories.checks import check_rows, check_written

Three = tuple[Tensor, Tensor, Tensor]
SCORES_AT_ONCE = 2**22  # a scan holds so many scores: 16 MiB, whatever the number of keys and queries


def _check_range(name: str, numbers: Tensor, count: int) -> None:
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, count - 1)
    if low < 0 or high >= count:
        raise ValueError(f"expected {name} from 0 to {count - 1}, got numbers from {low} to {high}")


def _available_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device` without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: all the RAM there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**62


class _Room:
    """Rows with spare ones behind them. States see the first rows; one that sees all in use may append."""

    def __init__(self, like: Tensor, capacity: int) -> None:
        self.rows = like.new_empty((capacity, *like.shape[1:]))
        self.used = 0

    def extends(self, old: Tensor, total: int) -> bool:
        """Whether `old` ends where the spare rows begin, and `total` rows fit."""
        return self.used == len(old) and total <= len(self.rows)

    def append(self, new: Tensor) -> Tensor:
        start, self.used = self.used, self.used + len(new)
        self.rows[start:self.used] = new
        return self.rows[:self.used]


@dataclass(frozen=True, eq=False)
class KeyValueState:
    """Row i of `keys` leads to row `slot[i]` of `values`. May be built by hand (from mapped files, say)."""

    keys: Float[Tensor, "pat key"]
    values: Float[Tensor, "val value"]
    slot: Int[Tensor, " pat"]
    longest: float | None = None  # no key is longer than this; None: measure it now
    rooms: tuple[_Room, _Room, _Room] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.longest is None:
            object.__setattr__(self, "longest", _longest(self.keys))

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use (spare rows are not counted)."""
        return self.keys.nbytes + self.values.nbytes + self.slot.nbytes


def _longest(keys: Tensor) -> float:
    return float(torch.linalg.vector_norm(keys, dim=1).max()) if len(keys) else 0.0


def _make_room(state: KeyValueState, new: Three) -> tuple[_Room, _Room, _Room]:
    """The state's rooms where `new` fits behind its rows, larger copies where it does not."""
    old = (state.keys, state.values, state.slot)
    rooms = list(state.rooms or (_Room(part, 0) for part in old))
    totals = [len(before) + len(more) for before, more in zip(old, new, strict=True)]
    full = [i for i in range(3) if not rooms[i].extends(old[i], totals[i])]
    need = sum(totals[i] * old[i].element_size() * old[i].shape[1:].numel() for i in full)
    if full:
        _check_fit(totals[0], need, _available_bytes(old[0].device))
    for i in full:
        rooms[i] = _Room(old[i], max(totals[i], len(old[i]) * 3 // 2))
        rooms[i].append(old[i])
    return rooms[0], rooms[1], rooms[2]


def _check_fit(rows: int, need: int, limit: int) -> None:
    if need > limit:
        raise ValueError(f"{rows:,} rows need {need:,} bytes, but {limit:,} bytes are available: "
                         f"at most {rows * limit // need:,} rows would fit")


@dataclass(frozen=True)
class KeyValue:
    """Exact key–value slots: a query is answered by the `top_k` keys of the largest inner product.

    With keys of length one these are the nearest. `beta` weighs several values: softmax(beta · score).
    """

    top_k: int = 1
    beta: float = 32.0

    def __post_init__(self) -> None:
        if self.top_k < 1 or not self.beta > 0:
            raise ValueError(f"expected top_k >= 1 and beta > 0, got top_k={self.top_k} and beta={self.beta}")

    @staticmethod
    def bytes_per_row(key_dim: int, value_dim: int, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of one float32 key, its value in `dtype` and its slot number."""
        return 4 * key_dim + dtype.itemsize * value_dim + 8

    @classmethod
    def check_capacity(cls, rows: int, key_dim: int, value_dim: int, dtype: torch.dtype = torch.float32,
                       limit_bytes: int | None = None) -> int:
        """Bytes that `rows` pairs need; ValueError if over `limit_bytes` (default: the available RAM)."""
        need = rows * cls.bytes_per_row(key_dim, value_dim, dtype)
        _check_fit(rows, need, _available_bytes(torch.device("cpu")) if limit_bytes is None else limit_bytes)
        return need

    def empty(self, key_dim: int, value_dim: int, *, capacity: int = 0, dtype: torch.dtype = torch.float32,
              device: torch.device | str = "cpu") -> KeyValueState:
        """A state without rows, with room for `capacity` pairs if known; keys are float32, values `dtype`."""
        keys = torch.empty(0, key_dim, dtype=torch.float32, device=device)
        values = torch.empty(0, value_dim, dtype=dtype, device=device)
        slot = torch.empty(0, dtype=torch.long, device=device)
        self.check_capacity(capacity, key_dim, value_dim, dtype, _available_bytes(keys.device))
        rooms = (_Room(keys, capacity), _Room(values, capacity), _Room(slot, capacity))
        return KeyValueState(keys, values, slot, 0.0, rooms)

    @torch.no_grad()
    def write(self, state: KeyValueState, keys: Float[Tensor, "new key"], values: Float[Tensor, "val value"],
              slots: Int[Tensor, " new"] | None = None) -> KeyValueState:
        """The state with `keys` and `values` behind what it held, cast to its dtypes.

        `slots[i]` is the row of `values`, as given in this call, that keys[i] leads to (default: row i): the
        keys of several sentences may share one segment. Many small writes make the same state as one and cost
        O(rows) in all: rows are copied only when the room is used up, and room for half as many more is made
        then (give `empty` a capacity to avoid copies). ValueError before allocating if RAM does not suffice.
        """
        keys, values = keys.to(state.keys), values.to(state.values)
        check_rows("keys", keys, state.keys.shape[1])
        check_rows("values", values, state.values.shape[1])
        if slots is None:
            slots = torch.arange(len(values))
        if slots.shape != keys.shape[:1]:
            raise ValueError(f"expected one value or one slot per key, {len(keys)}, got {len(slots)}")
        _check_range("slots", slots, len(values))
        longest = max(state.longest or 0.0, _longest(keys))
        slots = slots.to(state.slot) + len(state.values)
        rooms = _make_room(state, (keys, values, slots))
        keys, values, slots = rooms[0].append(keys), rooms[1].append(values), rooms[2].append(slots)
        return KeyValueState(keys, values, slots, longest, rooms)

    def forget(self, state: KeyValueState, rows: Int[Tensor, " row"]) -> KeyValueState:
        """The state as if what the keys `rows` lead to had never been written: the values and all their keys.

        The other rows keep their order and move up, in fresh tensors. ValueError for a row that is not there.
        """
        _check_range("rows", rows, len(state.keys))
        kept_values = torch.ones(len(state.values), dtype=torch.bool, device=state.slot.device)
        kept_values[state.slot[rows]] = False
        kept_keys = kept_values[state.slot]
        moved = kept_values.cumsum(0) - 1  # old value row → new value row
        slot = moved[state.slot[kept_keys]]
        return KeyValueState(state.keys[kept_keys], state.values[kept_values], slot, state.longest)

    @torch.no_grad()
    def address(self, state: KeyValueState, queries: Float[Tensor, "qry key"]
                ) -> tuple[Float[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
        """Scores and rows of the `top_k` best keys of each query, best first; of equal scores the lowest row.

        Rows are ranked by inner products in float64: that depends neither on the other queries nor on threads
        or the instruction set. Scores come back in the keys' dtype. Needs about 100 MiB beside the state.
        """
        check_written(len(state.keys))
        if self.top_k > len(state.keys):
            raise ValueError(f"expected top_k <= {len(state.keys)} stored rows, got top_k={self.top_k}")
        queries = queries.to(state.keys)
        check_rows("queries", queries, state.keys.shape[1])
        longest = state.longest or 0.0
        with torch.autocast(queries.device.type, enabled=False):  # its bfloat16 would propose wrong rows
            parts = [_nearest(block, state.keys, self.top_k, longest) for block in queries.split(256)]
        return torch.cat([scores for scores, _ in parts]), torch.cat([rows for _, rows in parts])

    def take(self, state: KeyValueState, rows: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows value"]:
        """The stored values that the keys `rows` (as `address` returns them) lead to, unweighted."""
        return state.values[state.slot[rows]]

    def read(self, state: KeyValueState, queries: Float[Tensor, "qry key"]) -> Float[Tensor, "qry value"]:
        """The value of the best key, bit for bit, or the softmax(beta · score) mean of the `top_k` values."""
        scores, rows = self.address(state, queries)
        found = self.take(state, rows).to(torch.promote_types(state.values.dtype, queries.dtype))
        if self.top_k == 1:
            return found[:, 0]
        return torch.einsum("qk,qkv->qv", torch.softmax(self.beta * scores, 1).to(found), found)


def _nearest(queries: Tensor, keys: Tensor, top_k: int, longest: float) -> tuple[Tensor, Tensor]:
    """Scores and rows of the best keys: a scan in the keys' precision proposes, float64 decides.

    A matrix product rounds differently with the number of rows, threads and instruction set, by at most
    width · eps · |query| · |key|. Whoever comes within twice that of the k-th best so far is computed again.
    """
    unit = torch.finfo(keys.dtype).eps * longest * torch.linalg.vector_norm(queries, dim=1)
    slack = 2 * (keys.shape[1] + 1) * unit
    floor = torch.full_like(slack, -torch.inf)  # the k-th best score so far
    each = torch.arange(len(queries), device=keys.device)
    who, row, score = each[:0], each[:0], slack[:0].double()
    step = max(SCORES_AT_ONCE // max(len(queries), 1), top_k)
    for start in range(0, len(keys), step):
        rough = queries @ keys[start:start + step].T
        if rough.shape[1] >= top_k:
            best = rough.amax(1) if top_k == 1 else rough.topk(top_k).values[:, -1]
            floor = torch.maximum(floor, best)
        new_who, new_row = (rough >= (floor - slack)[:, None]).nonzero(as_tuple=True)
        new_row = new_row + start
        new_score = _inner_products(queries, keys, new_who, new_row)
        who, row, score = torch.cat([who, new_who]), torch.cat([row, new_row]), torch.cat([score, new_score])
        # Both sorts are stable: equal scores stay in row order.
        order = score.argsort(descending=True, stable=True)
        order = order[who[order].argsort(stable=True)]
        first = torch.searchsorted(who[order], each)  # where each query's list begins
        order = order[(first[:, None] + torch.arange(top_k, device=keys.device)).flatten()]
        who, row, score = who[order], row[order], score[order]
        floor = score.view(-1, top_k)[:, -1].to(keys.dtype)
    return score.view(-1, top_k).to(keys.dtype), row.view(-1, top_k)


def _inner_products(queries: Tensor, keys: Tensor, who: Tensor, row: Tensor) -> Tensor:
    """<queries[who[i]], keys[row[i]]> for each i in float64, a few MiB at a time."""
    some = max(2**20 // keys.shape[1], 1)
    pairs = zip(who.split(some), row.split(some), strict=True)
    return torch.cat([(queries[w].double() * keys[r].double()).sum(1) for w, r in pairs])
