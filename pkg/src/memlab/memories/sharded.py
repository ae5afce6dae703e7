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

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

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

T = TypeVar("T")
Own = tuple[KeyValueState, Tensor, storage.Rooms | None]  # of a state, what one process keeps
# What processes may find each other in; by number, in their messages.
CALLS = ("check_capacity", "write", "forget", "first", "keys_only", "address", "take", "made")


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

        def check_own() -> tuple[int, tuple[int, ...]]:
            count = len(self.share(rows))
            need = self.memory.check_capacity(
                count, key_dim, value_dim, dtype, limit_bytes, key_dtype
            )
            return need, ()

        return self._together("check_capacity", check_own)[0]

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
        ValueError if they cannot be that, or if those of all processes are not each place once.
        """

        def count_own() -> tuple[None, tuple[int, ...]]:
            return None, (state.total, len(keys), rows is not None)

        _, (totals, counts, dealt) = self._together("write", count_own)
        _check_alike("a state of as many keys", totals)
        new = sum(counts)
        numbers = partial(self._own_numbers, len(keys), rows, new, state.row.device)
        if any(dealt):
            self._check_dealt(numbers, new)

        def write_own() -> tuple[Own, int]:
            new_row = numbers() + state.total
            own = self.memory.write(state.own, keys, values, slots)
            (row,), rooms = storage.append((state.row,), state.rooms, (new_row,))
            return (own, row, rooms), state.total + new

        return self._state("made", write_own)

    @plain
    def forget(self, state: ShardedState, rows: Shaped[Tensor, "*rows"]) -> ShardedState:
        """The state as if what the keys `rows` lead to had never been written; the other keys move
        up."""

        def find_own() -> tuple[tuple[Tensor, Tensor], tuple[int, ...]]:
            asked = as_indices("rows", rows, state.total, state.row.device)
            at, mine = self._find(state, asked)
            found = at[mine]
            return (found, kept(state.own, found)[0]), (state.total, _digest(asked))

        (found, stays), (totals, asked) = self._together("forget", find_own)
        _check_alike("a state of as many keys", totals)
        _check_alike("the same rows", asked, "others")
        gone = torch.zeros(state.total, dtype=torch.uint8, device=state.row.device)
        gone[state.row[~stays]] = 1
        left = self._sum(gone) == 0
        moved = left.cumsum(0) - 1  # old row → new row

        def forget_own() -> tuple[Own, int]:
            own = self.memory.forget(state.own, found)
            return (own, moved[state.row[stays]], None), int(left.sum())

        return self._state("made", forget_own)

    @plain
    def first(self, state: ShardedState, count: int) -> ShardedState:
        """The state as it was when it held `count` keys, if they were written in their order;
        shares their rows."""

        def first_own() -> tuple[Own, int]:
            total = as_count("count", count, 0, state.total)
            here = int(torch.searchsorted(state.row, total))
            return (self.memory.first(state.own, here), state.row[:here], None), total

        return self._state("first", first_own)

    @plain
    @torch.no_grad()
    def keys_only(self, state: ShardedState, more: Shaped[Tensor, "new key"]) -> ShardedState:
        """The keys of `state` and behind them `more`, the same in all processes, for `address`
        alone."""

        def keys_of_own() -> tuple[Own, int]:
            own = self.memory.keys_only(state.own, more if self.rank == 0 else more[:0])
            new_row = torch.arange(len(own) - len(state.own), device=state.row.device)
            row = torch.cat([state.row, new_row + state.total])
            return (own, row, None), state.total + len(more)

        return self._state("keys_only", keys_of_own)

    @plain
    @torch.no_grad()
    def address(
        self, state: ShardedState, queries: Shaped[Tensor, "qry key"]
    ) -> tuple[Float[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
        """Scores and rows of the `top_k` best keys in all processes: bit for bit those of
        `KeyValue.address`."""
        top_k = self.memory.top_k

        def scan_own() -> tuple[Tensor, tuple[int, ...]]:
            check_written(state.total)
            if top_k > state.total:
                raise ValueError(f"expected top_k <= {state.total} stored rows, got top_k={top_k}")
            own = self._best_own(state, queries)
            return own, (state.total, top_k, len(own))

        own, (totals, counts, asked) = self._together("address", scan_own)
        _check_alike("a state of as many keys", totals)
        _check_alike("the same top_k", counts)
        _check_alike("as many queries", asked)
        found = self._gather(own).unflatten(1, (-1, 2, top_k))
        scores = found[:, :, 0].flatten(1).contiguous().view(torch.float64)
        rows = found[:, :, 1].flatten(1)
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

        def take_own() -> tuple[Tensor, tuple[int, ...]]:
            asked = as_indices("rows", rows, state.total, state.row.device)
            at, mine = self._find(state, asked)
            found = self.memory.take(state.own, at[mine])
            values = found.new_zeros((*asked.shape, found.shape[1]))
            values[mine] = found
            return values, (state.total, _digest(asked))

        values, (totals, asked) = self._together("take", take_own)
        _check_alike("a state of as many keys", totals)
        _check_alike("the same rows", asked, "others")
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

    def _own_numbers(
        self, keys: int, rows: Tensor | None, new: int, device: torch.device
    ) -> Tensor:
        """Of `new` keys in all, which this process writes. ValueError unless they are as many as
        its `keys`, ascending."""
        mine = torch.tensor(self.share(new), dtype=torch.long) if rows is None else rows
        numbers = as_indices("rows", mine, new, device)
        if numbers.shape != (keys,) or not bool((numbers.diff() > 0).all()):
            raise ValueError(
                f"expected {keys} ascending rows for {keys} keys of this process, "
                f"got {numbers.numel()}: by default each process writes what `share` names"
            )
        return numbers

    def _check_dealt(self, numbers: Callable[[], Tensor], new: int) -> None:
        """Raise ValueError, in all processes, unless their `numbers` are those below `new`, each
        once."""
        mine, _ = self._together("write", lambda: (numbers(), ()))
        marks = torch.zeros(new, dtype=torch.long, device=mine.device)
        marks[mine] = 1
        taken = self._sum(marks)
        wrong = (taken != 1).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"expected each of {new} rows in one process, got row {row} in {int(taken[row])}"
            )

    def _best_own(self, state: ShardedState, queries: Tensor) -> Tensor:
        """Of each query the bits of its best scores in this process, and behind them the rows."""
        asked = self.memory.as_queries(state.own, queries)
        top_k = self.memory.top_k
        device = state.row.device
        shape = (len(asked), top_k)
        # What this process has no key for comes behind every row that there is.
        score = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        row = torch.full(shape, state.total, device=device)
        here = min(top_k, len(state.own))
        if here:
            score[:, :here], found = KeyValue(here).exact(state.own, asked)
            row[:, :here] = state.row[found]
        return torch.cat([score.view(torch.long), row], 1)

    def _state(self, call: str, make_own: Callable[[], tuple[Own, int]]) -> ShardedState:
        """The state of which each process makes what it keeps, and says how many keys there are in
        all."""

        def say_own() -> tuple[tuple[Own, int], tuple[int, ...]]:
            made, total = make_own()
            return (made, total), (total, made[0].nbytes)

        ((own, row, rooms), total), (totals, nbytes) = self._together(call, say_own)
        _check_alike("a state of as many keys", totals)
        return ShardedState(own, row, total, sum(nbytes), rooms)

    def _together(
        self, call: str, part: Callable[[], tuple[T, tuple[int, ...]]]
    ) -> tuple[T, list[tuple[int, ...]]]:
        """What `part` makes in this process, and for each number that it says with it those of all
        processes.

        All that one process alone may fail in belongs into a part: what fails in it is raised here,
        and PeerFailed in the other processes. ValueError in all of them if they are in different
        calls.
        """
        made: list[T] = []
        numbers: tuple[int, ...] = ()
        failure: Exception | None = None
        try:
            own, numbers = part()
            made.append(own)
        except Exception as problem:
            failure = problem
        message = [CALLS.index(call), failure is not None, *numbers]
        said = self._gather(torch.tensor([message + [0] * (5 - len(message))]).T).tolist()
        if failure is not None:
            raise failure
        calls, failures, *answers = said
        if len(set(calls)) > 1:
            names = ", ".join(CALLS[number] for number in calls)
            raise ValueError(f"expected all processes in the same call, got {names}")
        if any(failures):
            raise runtime.PeerFailed(
                f"expected all {len(calls)} processes to do their part of this call, got an error"
                f" in {sum(failures)} of them, which say what it was"
            )
        return made[0], [tuple(answer) for answer in answers[: len(numbers)]]

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


def _digest(rows: Tensor) -> int:
    """A number that other rows, or another shape of them, do not have."""
    return zlib.crc32(rows.cpu().numpy().tobytes(), zlib.crc32(repr(rows.shape).encode()))


def _check_alike(what: str, numbers: tuple[int, ...], got: str = "") -> None:
    """Raise ValueError, in all processes alike, if one of them said another number."""
    if len(set(numbers)) > 1:
        got = got or ", ".join(map(str, numbers))
        raise ValueError(f"expected {what} in all processes, got {got}")
