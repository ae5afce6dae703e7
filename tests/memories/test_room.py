"""Rows with room behind them: who may append in place, whatever becomes of the state meanwhile."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from memlab.memories import KeyValue, Sharded, rows

MEMORIES = {"KeyValue": KeyValue(), "Sharded": Sharded()}
every_memory = pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Iterator[None]:
    """A group of this process alone, for `Sharded`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def block(number: float, count: int = 1) -> tuple[Tensor, Tensor]:
    """So many keys of 4 and values of 3, all of them that number."""
    return torch.full((count, 4), number), torch.full((count, 3), number)


def filled(memory: Any, capacity: int = 64) -> Any:
    return memory.write(memory.empty(4, 3, capacity=capacity), *block(0.0, 4))


def own(state: Any) -> Any:
    """What this process keeps of a state."""
    return getattr(state, "own", state)


def places(state: Any) -> list[rows.Room]:
    """All rooms of a state, that of the row numbers of a `ShardedState` too."""
    return [*(own(state).rooms or ()), *(state.rooms or ())]


@every_memory
def test_what_a_fork_writes_stays_there(
    memory: Any, told_in_a_fork: Callable[[Callable[[], object]], str]
) -> None:
    state = filled(memory)
    for room in places(state):
        room.rows.share_memory_()  # as a state is that was sent through a queue
    mine = memory.write(state, *block(111.0))
    child = KeyValue()  # `Sharded` cannot be used in a fork of its group: what it keeps can

    def write() -> None:
        for before in (own(state), own(mine)):
            assert child.write(before, *block(222.0)).values[-1].tolist() == [222.0] * 3

    spare = own(mine).rooms[1].rows[5].tolist()
    assert told_in_a_fork(write) == "done"
    assert own(mine).values[-1].tolist() == [111.0] * 3
    assert own(mine).rooms[1].rows[5].tolist() == spare
    more = memory.write(mine, *block(5.0))
    assert own(more).values.data_ptr() == own(mine).values.data_ptr(), "still in its own room"


@every_memory
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_holds_the_same_and_grows_alone(memory: Any, copied: Callable[[Any], Any]) -> None:
    state = filled(memory)
    other = copied(state)
    assert len(other) == 4 and torch.equal(own(other).values, own(state).values)
    first = memory.write(state, *block(1.0))
    second = memory.write(other, *block(2.0))
    third = memory.write(second, *block(3.0))
    assert own(first).values[4:, 0].tolist() == [1.0]
    assert own(third).values[4:, 0].tolist() == [2.0, 3.0]
    assert len(copied(memory.empty(4, 3, capacity=9))) == 0


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda room: pickle.loads(pickle.dumps(room))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_a_room_has_no_rows_to_spare(copied: Callable[[Any], Any]) -> None:
    """It may lie on the same memory, as after a queue, and neither would know of the other."""
    state = filled(KeyValue())
    copies = tuple(copied(room) for room in state.rooms)
    assert [len(room.rows) for room in copies] == [0] * 5
    new = (*block(2.0), torch.tensor([4]), torch.empty(1, 0), torch.empty(1, 0))
    parts, _ = rows.append(state.parts, copies, new)
    mine = KeyValue().write(state, *block(1.0))
    assert parts[1][-1].tolist() == [2.0] * 3 and mine.values[-1].tolist() == [1.0] * 3


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_grow_the_same_state(quick_switches: None) -> None:
    memory, threads = KeyValue(), 8
    barrier = Barrier(threads)

    def grow(number: int) -> Any:
        barrier.wait()
        return memory.write(state, *block(float(number), 20))

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(60):
            state = filled(memory, 200)
            for number, grown in enumerate(pool.map(grow, range(1, threads + 1)), 1):
                assert bool((grown.keys[4:] == number).all())
                assert bool((grown.values[4:] == number).all())


def test_rows_are_spare_again_if_there_is_no_memory_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a state whose values are full and whose keys are not, a write that fails takes nothing."""
    memory = KeyValue()
    state = filled(memory)
    before = memory.write(state, *block(1.0))
    small = rows.Room(state.values, 0)
    rooms = (before.rooms[0], small, *before.rooms[2:])
    new = (*block(2.0), torch.tensor([5]), torch.empty(1, 0), torch.empty(1, 0))
    with monkeypatch.context() as patch:
        patch.setattr(rows, "available_bytes", lambda device: 1)
        with pytest.raises(ValueError, match="bytes are available"):
            rows.append(before.parts, rooms, new)
    assert [room.used for room in before.rooms] == [5] * 5
    again = memory.write(before, *block(3.0))
    assert again.keys.data_ptr() == before.keys.data_ptr()
