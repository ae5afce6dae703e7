"""A memory over two processes: what one process answers, bit for bit. Each test is one job of two
gloo processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from memlab import runtime
from memlab.memories import KeyValue, KeyValueState, Sharded, ShardedState

WORLD = 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=runtime.generator(seed, "sharded", *shape))


def both(
    keys: Tensor, values: Tensor, dtype: torch.dtype, sizes: list[int]
) -> tuple[KeyValueState, ShardedState]:
    """The same writes, one after the other, into one process and into two."""
    alone, sharded = KeyValue(), Sharded()
    size = keys.shape[1], values.shape[1]
    one = alone.empty(*size, dtype=dtype, key_dtype=dtype)
    two = sharded.empty(*size, dtype=dtype, key_dtype=dtype)
    for some_keys, some_values in zip(keys.split(sizes), values.split(sizes), strict=True):
        one = alone.write(one, some_keys, some_values)
        mine = list(sharded.share(len(some_keys)))
        two = sharded.write(two, some_keys[mine], some_values[mine])
    return one, two


def same_answers(one: KeyValueState, two: ShardedState, asked: Tensor, *top_ks: int) -> None:
    assert len(two) == len(one) and two.nbytes == one.nbytes
    for top_k in top_ks:
        alone, sharded = KeyValue(top_k), Sharded(KeyValue(top_k))
        for found, wanted in zip(
            sharded.address(two, asked), alone.address(one, asked), strict=True
        ):
            assert found.dtype == wanted.dtype and torch.equal(found, wanted)
        assert torch.equal(sharded.read(two, asked), alone.read(one, asked))
        rows = alone.address(one, asked)[1]
        found, wanted = sharded.take(two, rows), alone.take(one, rows)
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        bits = found.contiguous().view(torch.uint8), wanted.contiguous().view(torch.uint8)
        assert torch.equal(*bits), "the sign of a zero too"


def random_rows(rank: int) -> None:
    for dtype in (torch.float32, torch.float16, torch.int8):
        for sizes in ([1], [2, 0, 3], [40, 1, 1, 58]):  # one row: a process has none
            keys, values = normal(sum(sizes), 6), normal(sum(sizes), 5).round()
            one, two = both(keys, -values, dtype, sizes)
            assert abs(len(two.own) - len(one) / WORLD) <= 1.5
            same_answers(one, two, normal(7, 6, seed=1), 1, min(2, len(one)), len(one))


def ties(rank: int) -> None:
    """Keys on a coarse grid, and keys that differ in their last bits: float64 and the row
    decide."""
    keys = normal(300, 2).round()
    same_answers(
        *both(keys, normal(300, 3), torch.float32, [100, 200]),
        normal(20, 2, seed=1).round(),
        1,
        7,
        100,
    )
    keys = (
        F.normalize(normal(1, 64), dim=1).double() * (1 + 3e-7 * normal(300, 64).double())
    ).float()
    asked = F.normalize(keys[:20] + 0.3 * normal(20, 64), dim=1)
    one, two = both(keys, normal(300, 3), torch.float32, [300])
    same_answers(one, two, asked, 1, 5)
    scores = KeyValue(5).address(one, asked)[0]
    assert bool((scores[:, 1:] == scores[:, :-1]).any()), (
        "expected scores that only float64 tells apart"
    )


def shared_values_and_forgetting(rank: int) -> None:
    """Values with one key to three, dealt out by value; then some are forgotten, and more is
    written."""
    slots = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4])
    keys, values = normal(9, 4), normal(5, 3)
    mine = slots % WORLD == rank
    alone, sharded = KeyValue(), Sharded()
    one = alone.write(alone.empty(4, 3), keys, values, slots)
    rows = mine.nonzero()[:, 0]
    two = sharded.write(
        sharded.empty(4, 3), keys[mine], values[rank::WORLD], slots[mine] // WORLD, rows
    )
    same_answers(one, two, keys, 1, 4)
    for gone in ([], [1, 6], [0]):
        one, two = (
            alone.forget(one, torch.tensor(gone).long()),
            sharded.forget(two, torch.tensor(gone).long()),
        )
        same_answers(one, two, keys, 1, 3)
    one, two = (
        alone.write(one, -keys, keys[:, 1:]),
        sharded.write(two, -keys[rank::WORLD], keys[rank::WORLD, 1:]),
    )
    same_answers(one, two, keys, 1, 8)
    same_answers(
        alone.forget(one, torch.arange(12)), sharded.forget(two, torch.arange(12)), keys, 1
    )


def parts_of_a_state(rank: int) -> None:
    keys, values = normal(31, 4), normal(31, 3)
    one, two = both(keys, values, torch.int8, [10, 21])
    for count in (1, 2, 10, 17, 31):
        first = KeyValue().first(one, count), Sharded().first(two, count)
        same_answers(*first, keys, 1)
        beside = KeyValue().keys_only(first[0], keys[:3]), Sharded().keys_only(first[1], keys[:3])
        found = Sharded(KeyValue(2)).address(beside[1], keys)
        assert all(map(torch.equal, found, KeyValue(2).address(beside[0], keys)))


def mistakes(rank: int) -> None:
    """All processes make them alike, so all say so and none waits."""
    sharded = Sharded()
    state = sharded.write(sharded.empty(4, 3), normal(2, 4), normal(2, 3))
    for what, said in (
        (lambda: sharded.address(sharded.empty(4, 3), normal(1, 4)), "cannot read an empty memory"),
        (
            lambda: Sharded(KeyValue(5)).address(state, normal(1, 4)),
            "expected top_k <= 4 stored rows, got top_k=5",
        ),
        (
            lambda: sharded.forget(state, torch.tensor([4])),
            "expected rows from 0 to 3, got numbers from 4 to 4",
        ),
        (
            lambda: sharded.write(state, normal(1 + 2 * rank, 4), normal(1 + 2 * rank, 3)),
            "ascending rows for",
        ),
        (
            lambda: sharded.write(state, normal(2, 4), normal(2, 3), None, torch.tensor([1, 0])),
            "ascending rows",
        ),
        (lambda: sharded.check_capacity(10, 4, 3, limit_bytes=1), "5 rows need 180 bytes"),
    ):
        with pytest.raises(ValueError, match=said):
            what()


def one_fails(rank: int) -> None:
    """What one process alone gets wrong, it says itself; the other says so, and both go on."""
    alone, sharded = KeyValue(), Sharded()
    keys, values = normal(4, 4), normal(4, 3)
    one = alone.write(alone.empty(4, 3), keys, values)
    two = sharded.write(sharded.empty(4, 3), keys[rank::WORLD], values[rank::WORLD])
    nan = keys[:2] * (float("nan") if rank else 1.0)
    wide = normal(2, 4 + rank)
    row = torch.tensor([1, 0] if rank else [0, 2])
    for what in (
        lambda: sharded.write(two, wide, values[:2]),
        lambda: sharded.write(two, nan, values[:2]),
        lambda: sharded.write(two, keys[:2], values[:2], None, row),
        lambda: sharded.keys_only(two, wide),
        lambda: sharded.address(two, nan),
        lambda: sharded.read(two, nan),
        lambda: Sharded(KeyValue(3)).address(two, nan),
    ):
        with pytest.raises(ValueError if rank else runtime.PeerFailed) as problem:
            what()
        assert rank or str(problem.value) == (
            "expected all 2 processes to do their part of this call, got an error in 1 of them,"
            " which say what it was"
        )
    same_answers(one, two, keys, 1, 4)
    one = alone.write(one, -keys, values)
    two = sharded.write(two, -keys[rank::WORLD], values[rank::WORLD])
    same_answers(one, two, keys, 1, 8)


def rows_that_do_not_fit(rank: int) -> None:
    """Each process alone brings right rows, but together they are not every place once."""
    alone, sharded = KeyValue(), Sharded()
    keys, values = torch.eye(4), torch.arange(1.0, 5)[:, None]
    empty, mine = sharded.empty(4, 1), slice(rank, None, WORLD)
    for rows, said in (
        ([[0, 1], [0, 1]], "each of 4 rows in one process, got row 0 in 2"),
        ([[0, 1], [1, 3]], "each of 4 rows in one process, got row 1 in 2"),
        ([None, [0, 1]], "each of 4 rows in one process, got row 0 in 2"),
    ):
        own = rows[rank]
        given = None if own is None else torch.tensor(own)
        with pytest.raises(ValueError, match=said):
            sharded.write(empty, keys[mine], values[mine], None, given)
    one = alone.write(alone.empty(4, 1), keys, values)
    for rows in ([[0, 2], [1, 3]], [None, [1, 3]], [[0, 1], [2, 3]]):
        own = rows[rank]
        given = None if own is None else torch.tensor(own)
        some = mine if own is None else own
        same_answers(one, sharded.write(empty, keys[some], values[some], None, given), keys, 1, 4)


def one_is_asked_wrongly(rank: int) -> None:
    """Also what is wrong before a process has anything to send; no later call is taken for it."""
    alone, sharded = KeyValue(), Sharded()
    keys, values = normal(6, 4), normal(6, 3)
    one = alone.write(alone.empty(4, 3), keys, values)
    two = sharded.write(sharded.empty(4, 3), keys[rank::WORLD], values[rank::WORLD])
    row = torch.tensor([99 if rank else 0])
    none: Any = None if rank else keys[:2]
    point: Any = torch.tensor(1.0) if rank else keys[:2]
    state: Any = None if rank else two
    listed: Any = [0] if rank else row
    own = torch.tensor([99, 1] if rank else [0, 2])
    for what in (
        lambda: sharded.write(two, none, values[:2]),
        lambda: sharded.write(two, point, values[:2]),
        lambda: sharded.write(state, keys[:2], values[:2]),
        lambda: sharded.write(two, keys[:2], values[:2], None, own),
        lambda: sharded.forget(two, row),
        lambda: sharded.forget(two, listed),
        lambda: sharded.first(two, 99 if rank else 1),
        lambda: sharded.first(two, 1.5 if rank else 1),  # type: ignore[arg-type]
        lambda: sharded.keys_only(two, none),
        lambda: sharded.address(two, none),
        lambda: sharded.read(two, none),
        lambda: sharded.read(state, keys[:2]),
        lambda: sharded.take(two, row),
        lambda: sharded.take(state, row),
        lambda: sharded.check_capacity(10, 4, 3, limit_bytes=1 if rank else 10**6),
    ):
        wrong = (ValueError, TypeError, AttributeError) if rank else runtime.PeerFailed
        with pytest.raises(wrong):
            what()
        assert len(sharded.first(two, 3)) == 3
    same_answers(one, two, keys, 1, 6)


def different_calls(rank: int) -> None:
    """What no process alone can see is wrong is said in all of them."""
    sharded = Sharded()
    keys, values = normal(6, 4), normal(6, 3)
    two = sharded.write(sharded.empty(4, 3), keys[:3], values[:3])
    less = sharded.first(two, 4)
    mixed = less if rank else two
    for what, said in (
        (lambda: sharded.address(two, keys[: 2 + rank]), "as many queries in all .* got 2, 3"),
        (lambda: Sharded(KeyValue(1 + rank)).address(two, keys), "the same top_k .* got 1, 2"),
        (lambda: sharded.forget(two, torch.tensor([rank])), "the same rows in all processes"),
        (lambda: sharded.take(two, torch.tensor([rank])), "the same rows in all processes"),
        (lambda: sharded.take(two, torch.zeros(1 + rank).long()), "the same rows in all"),
        (lambda: sharded.first(two, 1 + rank), "a state of as many keys .* got 1, 2"),
        (lambda: sharded.keys_only(two, keys[: 1 + rank]), "a state of as many keys .* got 7, 8"),
        (lambda: sharded.read(mixed, keys), "a state of as many keys in all .* got 6, 4"),
        (lambda: sharded.write(mixed, keys[:1], values[:1]), "a state of as many keys"),
        (
            lambda: sharded.read(two, keys) if rank else sharded.first(two, 1),
            "expected all processes in the same call, got first, address",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            what()
        assert len(sharded.first(two, 3)) == 3


JOBS: tuple[Callable[[int], None], ...] = (
    random_rows,
    ties,
    shared_values_and_forgetting,
    parts_of_a_state,
    mistakes,
    one_fails,
    rows_that_do_not_fit,
    one_is_asked_wrongly,
    different_calls,
)


def run_jobs(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    for job in JOBS:
        job(rank)
        Path(folder, f"{job.__name__}-{rank}").touch()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], str]:
    """All jobs in the same two processes: starting them is what costs. Those that passed in both,
    and what failed."""
    folder, problem = tmp_path_factory.mktemp("sharded"), ""
    try:
        mp.spawn(run_jobs, (str(folder),), nprocs=WORLD)
    except Exception as failed:
        problem = str(failed)
    ended = {path.name for path in folder.iterdir()}
    return {
        job.__name__ for job in JOBS if {f"{job.__name__}-{rank}" for rank in range(WORLD)} <= ended
    }, problem


@pytest.mark.parametrize("job", [job.__name__ for job in JOBS])
def test_two_processes_answer_as_one(job: str, done: tuple[set[str], str]) -> None:
    assert job in done[0], done[1]
