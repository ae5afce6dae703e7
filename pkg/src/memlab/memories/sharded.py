"""Exact key–value slots shared out over the processes of a `torch.distributed` group.

Each process keeps some of the pairs and knows which number each of its keys has in the whole
memory. A query is scanned by all at once; their best keys are merged by the same float64 scores and
the same rule for ties as in one process, so the rows found are the same, bit for bit. Every method
but `empty` and `share` is a collective call: all processes make it, with the same queries or rows,
and all get the whole answer. What fails in one process fails in all of them, as `PeerFailed` in the
others: nobody waits for a part that never comes, or takes a later call for it. Over gloo, or over
NCCL with a GPU for each process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from memlab import runtime
from memlab.memories import rows as storage
from memlab.memories.checks import as_count, as_indices, check_finite, check_written
from memlab.memories.key_value import KeyValue, KeyValueState, kept
from memlab.memories.scan import scan_dtype
from memlab.memories.states import plain

Own = tuple[KeyValueState, Tensor, storage.Rooms | None]  # of a state, what one process keeps


@dataclass(frozen=True, eq=False)
class ShardedState:
    """`own`, what this process keeps; `row`, the number of each of its keys among all `total`,
    ascending."""

    own: KeyValueState
    row: Int[Tensor, " pat"]
    total: int = 0
    nbytes: int = 0  # of all processes together, without the row numbers
    rooms: storage.Rooms | None = None

    def __len__(self) -> int:
        return self.total


@dataclass(frozen=True)
class Sharded:
    """`KeyValue` over all processes of `group` (None: all there are): the same methods, the same
    answers."""

    memory: KeyValue = KeyValue()
    group: dist.ProcessGroup | None = None

    @property
    def rank(self) -> int:
        """The number of this process in the group."""
        return dist.get_rank(self.group)

    def empty(
        self,
        key_dim: int,
        value_dim: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype = torch.float32,
        key_dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> ShardedState:
        """A state without rows, with room for `capacity` pairs in this process."""
        own = self.memory.empty(
            key_dim,
            value_dim,
            capacity=capacity,
            dtype=dtype,
            key_dtype=key_dtype,
            device=device,
        )
        return ShardedState(own, own.slot)

    def check_capacity(
        self,
        rows: int,
        key_dim: int,
        value_dim: int,
        dtype: torch.dtype = torch.float32,
        limit_bytes: int | None = None,
        key_dtype: torch.dtype = torch.float32,
    ) -> int:
        """Bytes that this process's share of `rows` pairs needs; ValueError as for `KeyValue`."""
        return self.memory.check_capacity(
            len(self.share(rows)), key_dim, value_dim, dtype, limit_bytes, key_dtype
        )

    def share(self, count: int) -> range:
        """Which of `count` new rows this process keeps: every n-th of them, n processes taking
        turns."""
        return range(self.rank, count, dist.get_world_size(self.group))

    @plain
    @torch.no_grad()
    def write(
        self,
        state: ShardedState,
        keys: Shaped[Tensor, "new key"],
        values: Shaped[Tensor, "val value"],
        slots: Shaped[Tensor, " new"] | None = None,
        rows: Shaped[Tensor, " new"] | None = None,
    ) -> ShardedState:
        """The state with this process's share of new pairs: by default what `share` names, one key
        a value.

        With several keys a value, a process brings a value with all its keys, `slots` as in
        `KeyValue.write` and in `rows` the place of each of its keys in the whole write, ascending.
        ValueError if they cannot be that.
        """
        new = int(self._sum(torch.tensor([len(keys)])))
        mine = torch.tensor(self.share(new), dtype=torch.long) if rows is None else rows

        def write_own() -> Own:
            numbers = as_indices("rows", mine, new, state.row.device)
            if len(numbers) != len(keys) or not bool((numbers.diff() > 0).all()):
                raise ValueError(
                    f"expected {len(keys)} ascending rows for {len(keys)} keys of this process, "
                    f"got {len(numbers)}: by default each process writes what `share` names"
                )
            own = self.memory.write(state.own, keys, values, slots)
            new_row = numbers + state.total
            (row,), rooms = storage.append((state.row,), state.rooms, (new_row,))
            return own, row, rooms

        return self._state(write_own, state.total + new)

    @plain
    def forget(self, state: ShardedState, rows: Shaped[Tensor, "*rows"]) -> ShardedState:
        """The state as if what the keys `rows` lead to had never been written; the other keys move
        up."""
        rows = as_indices("rows", rows, state.total, state.row.device)
        at, mine = self._find(state, rows)
        stays, _, _ = kept(state.own, at[mine])
        gone = torch.zeros(state.total, dtype=torch.uint8, device=state.row.device)
        gone[state.row[~stays]] = 1
        left = self._sum(gone) == 0
        moved = left.cumsum(0) - 1  # old row → new row

        def forget_own() -> Own:
            return self.memory.forget(state.own, at[mine]), moved[state.row[stays]], None

        return self._state(forget_own, int(left.sum()))

    @plain
    def first(self, state: ShardedState, count: int) -> ShardedState:
        """The state as it was when it held `count` keys, if they were written in their order;
        shares their rows."""
        count = as_count("count", count, 0, state.total)
        here = int(torch.searchsorted(state.row, count))

        def first_own() -> Own:
            return self.memory.first(state.own, here), state.row[:here], None

        return self._state(first_own, count)

    @plain
    @torch.no_grad()
    def keys_only(self, state: ShardedState, more: Shaped[Tensor, "new key"]) -> ShardedState:
        """The keys of `state` and behind them `more`, the same in all processes, for `address`
        alone."""
        mine = more if self.rank == 0 else more[:0]
        new_row = torch.arange(len(mine), device=state.row.device) + state.total
        row = torch.cat([state.row, new_row])

        def keys_of_own() -> Own:
            return self.memory.keys_only(state.own, mine), row, None

        return self._state(keys_of_own, state.total + len(more))

    @plain
    @torch.no_grad()
    def address(
        self, state: ShardedState, queries: Shaped[Tensor, "qry key"]
    ) -> tuple[Float[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
        """Scores and rows of the `top_k` best keys in all processes: bit for bit those of
        `KeyValue.address`."""
        check_written(state.total)
        top_k = self.memory.top_k
        if top_k > state.total:
            raise ValueError(f"expected top_k <= {state.total} stored rows, got top_k={top_k}")
        device = state.row.device
        shape = (len(queries), top_k)
        # What this process has no key for comes behind every row that there is.
        score = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        row = torch.full(shape, state.total, device=device)
        here = min(top_k, len(state.own))
        failure: Exception | None = None
        try:
            queries = self.memory.as_queries(state.own, queries)
            if here:
                score[:, :here], found = KeyValue(here).exact(state.own, queries)
                row[:, :here] = state.row[found]
        except Exception as problem:
            failure = problem
            row.fill_(-1)  # the others wait for an answer: a row that there is not
        scores = self._gather(score)
        rows = self._gather(row)
        self._agree(failure, int((rows < 0).any(0).sum()) // max(top_k, 1))
        # Stable sorts: by score, and of equal ones the lowest row first.
        by_row = rows.argsort(dim=1)
        by_score = scores.gather(1, by_row).argsort(dim=1, descending=True, stable=True)
        best = by_row.gather(1, by_score)[:, :top_k]
        score = scores.gather(1, best).to(scan_dtype(state.own.keys))
        check_finite("scores", score)
        return score, rows.gather(1, best)

    @plain
    def take(
        self, state: ShardedState, rows: Shaped[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows value"]:
        """The stored values that the keys `rows` lead to, unweighted, from whoever keeps them.
        ValueError for a row that is not there."""
        rows = as_indices("rows", rows, state.total, state.row.device)
        at, mine = self._find(state, rows)
        found = self.memory.take(state.own, at[mine])
        values = found.new_zeros((*rows.shape, found.shape[1]))
        values[mine] = found
        # Of each number one process has the bits, all others zeros.
        return self._sum(values.view(torch.uint8)).view(values.dtype)

    @plain
    def read(
        self, state: ShardedState, queries: Shaped[Tensor, "qry key"]
    ) -> Float[Tensor, "qry value"]:
        """The value of the best key, bit for bit, or the softmax(beta · score) mean of the `top_k`
        values."""
        scores, rows = self.address(state, queries)
        return self.memory.mix(scores, self.take(state, rows))

    def _state(self, make_own: Callable[[], Own], total: int) -> ShardedState:
        """The state of which each process makes what it keeps."""
        made: list[Own] = []
        failure: Exception | None = None
        try:
            made.append(make_own())
        except Exception as problem:
            failure = problem
        nbytes = made[0][0].nbytes if made else 0
        counts = self._sum(torch.tensor([nbytes, failure is not None]))
        self._agree(failure, int(counts[1]))
        own, row, rooms = made[0]
        return ShardedState(own, row, total, int(counts[0]), rooms)

    def _agree(self, failure: Exception | None, failed: int) -> None:
        """Raise what failed in this process, or PeerFailed if something did in others, `failed` of
        them."""
        if failure is not None:
            raise failure
        if failed:
            raise runtime.PeerFailed(
                f"expected all {dist.get_world_size(self.group)} processes to do their part of this"
                f" call, got an error in {failed} of them, which say what it was"
            )

    def _find(self, state: ShardedState, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Where each of `rows` is among the keys of this process, and whether it is."""
        rows = rows.to(state.row.device).contiguous()
        at = torch.searchsorted(state.row, rows)
        known = torch.cat([state.row, state.row.new_full((1,), -1)])
        return at, known[at] == rows

    def _there(self, part: Tensor) -> Tensor:
        """A copy where the group's messages must lie."""
        device = "cuda" if dist.get_backend(self.group) == "nccl" else "cpu"
        return part.to(device, copy=True).contiguous()

    def _sum(self, part: Tensor) -> Tensor:
        total = self._there(part)
        dist.all_reduce(total, group=self.group)
        return total.to(part.device)

    def _gather(self, part: Tensor) -> Tensor:
        """The columns of all processes side by side."""
        own = self._there(part)
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, own, group=self.group)
        return torch.cat(parts, 1).to(part.device)
