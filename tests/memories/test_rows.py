"""Compact rows: what float16 and int8 keep, what they cost, and that reading them is exact for what
they keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memlab import runtime
from memlab.memories import KeyValue, KeyValueState, rows, scan

DTYPES = (torch.float32, torch.float16, torch.int8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=runtime.generator(seed, "rows", *shape))


def written(
    keys: Tensor, values: Tensor, dtype: torch.dtype, slots: Tensor | None = None
) -> KeyValueState:
    memory = KeyValue()
    empty = memory.empty(keys.shape[1], values.shape[1], dtype=dtype, key_dtype=dtype)
    return memory.write(empty, keys, values, slots)


def stands_for(codes: Tensor, scale: Tensor) -> np.ndarray:
    """What stored rows are, by numpy in float64."""
    wide = codes.numpy().astype(np.float64)
    return wide * scale.numpy().astype(np.float64) if scale.shape[1] else wide


@given(
    count=st.integers(0, 30),
    width=st.integers(0, 9),
    exponent=st.integers(-30, 30),
    seed=st.integers(0, 99),
)
def test_an_int8_row_is_off_by_half_a_step_at_most(
    count: int, width: int, exponent: int, seed: int
) -> None:
    numbers = normal(count, width, seed=seed) * 2.0**exponent
    codes, scale = rows.pack("keys", numbers, torch.empty(0, width, dtype=torch.int8))
    assert codes.dtype == torch.int8 and scale.shape == (count, 1)
    found = stands_for(codes, scale)
    off = np.abs(found - numbers.numpy().astype(np.float64))
    assert (off <= scale.numpy().astype(np.float64) * (0.5 + 1e-4)).all()
    assert np.array_equal(found, rows.unpack(codes, scale, torch.float64).numpy())
    assert count == 0 or width == 0 or int(codes.abs().max()) == 127


def test_rows_that_need_care() -> None:
    like = torch.empty(0, 3, dtype=torch.int8)
    tiny = torch.finfo(torch.float32).smallest_normal
    numbers = torch.tensor(
        [[0.0, 0.0, 0.0], [tiny, -tiny / 4, 0.0], [3e38, -3e38, 1e38], [-1.0, 0.5, 0.25]]
    )
    codes, scale = rows.pack("keys", numbers, like)
    assert codes[[0, 2, 3]].tolist() == [[0, 0, 0], [127, -127, 42], [-127, 64, 32]]
    assert torch.isfinite(rows.unpack(codes, scale, torch.float32)).all()
    with pytest.raises(ValueError, match="keys must be finite in torch.float32, got 1"):
        rows.pack("keys", torch.tensor([[float("nan"), 0.0, 0.0]]), like)
    with pytest.raises(ValueError, match="values must be finite in torch.float16, got 1"):
        rows.pack("values", torch.tensor([[1e6, 0.0, 0.0]]), like.half())
    with pytest.raises(
        ValueError, match=r"expected rows in one of torch.float64, .*, got torch.int16"
    ):
        KeyValue().empty(3, 3, dtype=torch.int16)
    with pytest.raises(ValueError, match="expected a key_scale beside int8 rows, got none"):
        KeyValueState(torch.zeros(2, 3, dtype=torch.int8), torch.zeros(2, 1), torch.arange(2))


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    count=st.integers(1, 60),
    width=st.integers(1, 6),
    queries=st.integers(1, 9),
    top_k=st.integers(1, 7),
    at_once=st.integers(1, 600),
    numbers=st.integers(1, 400),
    group=st.integers(1, 9),
    grid=st.booleans(),
    seed=st.integers(0, 999),
)
def test_address_is_brute_force_over_what_is_stored(
    dtype: torch.dtype,
    count: int,
    width: int,
    queries: int,
    top_k: int,
    at_once: int,
    numbers: int,
    group: int,
    grid: bool,
    seed: int,
) -> None:
    """By numpy in float64, whatever the blocks; on a coarse grid keys collide, and ties go to the
    lowest row."""
    keys, asked = normal(count, width, seed=seed), normal(queries, width, seed=seed + 1)
    if grid:
        keys, asked = keys.round(), asked.round()
    state, top_k = written(keys, keys, dtype), min(top_k, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "SCORES_AT_ONCE", at_once)
        patch.setattr(scan, "NUMBERS_AT_ONCE", numbers)
        patch.setattr(scan, "GROUP", group)
        patch.setattr(scan, "GROUPED_FROM", at_once // 2)
        scores, found = KeyValue(top_k).address(state, asked)
    stored = torch.from_numpy(stands_for(state.keys, state.parts[3]))
    exact = torch.stack([(stored * query.double()).sum(1) for query in asked])
    wanted = np.argsort(-exact.numpy(), axis=1, kind="stable")[:, :top_k]
    assert np.array_equal(found.numpy(), wanted)
    assert torch.equal(scores, exact.gather(1, torch.from_numpy(wanted)).float())


@pytest.mark.parametrize("queries", [1, 2, 8, 9])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 64, 79])
def test_a_product_in_blocks_is_the_product(
    count: int, queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of up to 16 rows, with and without rows left over; from nine queries on, at once."""
    keys, asked = normal(count, 5), normal(queries, 5, seed=1)
    monkeypatch.setattr(scan, "NUMBERS_AT_ONCE", 16 * 5)
    found = scan._products(asked, keys)
    assert found.shape == (queries, count) and torch.allclose(found, asked @ keys.T, atol=1e-6)


@pytest.mark.parametrize("precision", ["ieee", "tf32", "bf16"])
def test_a_coarser_product_proposes_more_and_decides_the_same(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch may multiply in TF32 or bfloat16 (GPUs, some CPUs), the margin of the proposals
    grows with it."""
    keys = F.normalize(normal(1, 64), dim=1) * (
        1 + 1e-3 * normal(400, 64)
    )  # alike to all but three digits
    queries = F.normalize(keys[:9] + 0.1 * normal(9, 64, seed=1), dim=1)
    state, before = written(keys, keys, torch.float32), torch.backends.mkldnn.matmul.fp32_precision
    wanted, exact = KeyValue(5).address(state, queries), scan._products
    coarse = {"ieee": torch.float32, "tf32": torch.float16, "bf16": torch.bfloat16}[
        precision
    ]  # float16: 10 bits too
    monkeypatch.setattr(
        scan,
        "_products",
        lambda queries, keys: exact(queries.to(coarse).float(), keys.to(coarse).float()),
    )
    try:
        torch.backends.mkldnn.matmul.fp32_precision = precision
        found = KeyValue(5).address(state, queries)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("dtype", DTYPES)
def test_compact_states_write_forget_and_share_like_float32(dtype: torch.dtype) -> None:
    keys, values, slots = normal(9, 5), normal(6, 4), torch.tensor([0, 0, 1, 2, 2, 3, 4, 5, 5])
    memory, state = KeyValue(), written(keys, values, dtype, slots)
    pieces = memory.empty(5, 4, dtype=dtype, key_dtype=dtype, capacity=3)
    for part in (slice(0, 2), slice(2, 5), slice(5, 9)):  # cuts between the slots
        some = slots[part]
        pieces = memory.write(
            pieces, keys[part], values[int(some[0]) : int(some[-1]) + 1], some - some[0]
        )
    gone = memory.forget(state, torch.tensor([1, 5]))
    left = torch.tensor([2, 3, 4, 6, 7, 8])
    twin = written(keys[left], values[[1, 2, 4, 5]], dtype, torch.tensor([0, 1, 1, 2, 3, 3]))
    first = written(keys[:5], values[:3], dtype, slots[:5])
    for found, wanted in ((pieces, state), (gone, twin), (memory.first(state, 5), first)):
        assert all(map(torch.equal, found.parts, wanted.parts)) and len(found) == len(wanted)
    beside = memory.keys_only(first, keys[5:])
    assert torch.equal(memory.address(beside, keys)[1], memory.address(state, keys)[1])
    assert state.nbytes == sum(part.nbytes for part in state.parts)
    assert memory.first(state, 0).nbytes == 0


def test_int8_takes_a_quarter_of_the_bytes_and_under_64_a_token() -> None:
    """The book's model: keys of 128, latents of 768, segments of 48 tokens at most and about 25 in
    real text."""
    sizes = {dtype: KeyValue.bytes_per_row(128, 768, dtype, dtype) for dtype in DTYPES}
    assert sizes == {torch.float32: 3592, torch.float16: 1800, torch.int8: 912}
    state = written(normal(7, 128), normal(7, 768), torch.int8)
    assert state.nbytes == 7 * 912
    assert 912 / 48 == 19.0 and 912 / 25 < 64 < 1800 / 25


@pytest.mark.parametrize("dtype", DTYPES)
def test_compact_rows_recall_what_float32_recalls(dtype: torch.dtype) -> None:
    """20,000 rows, cues at cosine 0.7 from their key: the same row in all but one of a thousand;
    values to 1 %."""
    keys = F.normalize(normal(20_000, 128), dim=1)
    values = F.layer_norm(normal(20_000, 16), (16,))
    noise = F.normalize(normal(1000, 128, seed=2), dim=1)
    cues = F.normalize(0.7 * keys[:1000] + 0.714 * noise, dim=1)
    memory, state = KeyValue(), written(keys, values, dtype)
    found = memory.address(state, cues)[1][:, 0]
    assert (found == torch.arange(1000)).double().mean() >= 0.999
    read = memory.take(state, torch.arange(1000))
    assert float((read.float() - values[:1000]).norm() / values[:1000].norm()) <= 0.01
    assert torch.equal(memory.read(state, cues), memory.take(state, found).float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.gpu
def test_on_a_gpu_it_finds_the_same_rows(dtype: torch.dtype) -> None:
    keys, values, cues = normal(5000, 64), normal(5000, 8), normal(30, 64, seed=3)
    memory, state = KeyValue(3), written(keys, values, dtype)
    empty = memory.empty(64, 8, dtype=dtype, key_dtype=dtype, device="cuda", capacity=100)
    there = memory.write(memory.write(empty, keys[:99], values[:99]), keys[99:], values[99:])
    assert torch.equal(memory.address(there, cues)[1].cpu(), memory.address(state, cues)[1])
    torch.testing.assert_close(memory.read(there, cues).cpu(), memory.read(state, cues))
    for row in (torch.tensor([7]), torch.tensor([7], device="cuda")):
        gone = memory.forget(there, row)
        assert len(gone) == 4999 and torch.equal(
            gone.keys.cpu(), memory.forget(state, torch.tensor([7])).keys
        )
    assert memory.take(there, torch.tensor([[1], [2]])).shape == (2, 1, 8)
