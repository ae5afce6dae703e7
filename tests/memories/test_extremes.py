"""Every memory at the ends of what numbers can be: magnitudes at which squares vanish or overflow,
sizes of zero, counts that are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from memlab import runtime
from memlab.memories import (
    DenseHopfield,
    Hopfield,
    Kanerva,
    KeyValue,
    KeyValueState,
    Larimar,
    LarimarState,
    PseudoInverse,
    PublishedLarimar,
    Recursive,
    gaussian_addresses,
    iterate_inverse,
    iteration_residual,
    linear_addresses,
)

LARGEST = torch.finfo(torch.float32).max


def normal(*shape: int, seed: int = 0) -> Tensor:
    draw = runtime.generator(seed, "extremes", *shape)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def near_equal(rows: int, width: int) -> Tensor:
    """Keys that only their last digits tell apart."""
    return F.normalize(normal(1, width), dim=1) * (1 + 3e-7 * normal(rows, width))


def best(keys: Tensor, queries: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """By float64, a query at a time; of equal ones the lowest row."""
    exact = torch.stack([(keys.double() * query.double()).sum(1) for query in queries])
    scores, rows = exact.sort(dim=1, descending=True, stable=True)
    return scores[:, :top_k], rows[:, :top_k]


# --- nearest keys ---------------------------------------------------------------------------------

KEY_SCALES = (1e-45, 1e-43, 1e-40, 1e-38, 1e-30, 1e-24, 1e-12, 1.0, 1e12, 1e24, 1e30, 1e37)
QUERY_SCALES = (1e-42, 1e-24, 1.0, 1e24, 1e37)


@pytest.mark.parametrize("key_scale", KEY_SCALES)
@pytest.mark.parametrize("query_scale", QUERY_SCALES)
def test_keys_of_any_magnitude_are_ranked_exactly(key_scale: float, query_scale: float) -> None:
    """Or refused, where a score is no number in float32."""
    keys = (key_scale * near_equal(300, 16)).float()
    queries = (query_scale * (near_equal(1, 16) + 0.1 * normal(20, 16, seed=1))).float()
    wanted_scores, wanted = best(keys, queries, 5)
    memory = KeyValue(5)
    state = memory.write(memory.empty(16, 1), keys, keys[:, :1])
    found = memory.exact(state, queries)
    assert torch.equal(found[1], wanted) and torch.equal(found[0], wanted_scores)
    if float(wanted_scores.abs().max()) > LARGEST:
        with pytest.raises(ValueError, match="scores must be finite in torch.float32"):
            memory.address(state, queries)
    else:
        assert torch.equal(memory.address(state, queries)[1], wanted)
        assert bool(torch.isfinite(memory.read(state, queries)).all())


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e-160, 1e-140, *KEY_SCALES, 1e140, 1e160])
def test_compact_keys_of_any_magnitude_are_ranked_exactly_or_refused(
    dtype: torch.dtype, scale: float
) -> None:
    """Refused: what is zero or infinite in that dtype, and what has no squares in float64."""
    keys = scale * (near_equal(1, 8) + 0.3 * normal(50, 8))
    queries = normal(9, 8, seed=1)
    memory = KeyValue(3)
    empty = memory.empty(8, 1, key_dtype=dtype)
    least = {torch.float16: 1e-4, torch.float64: 1e-150}.get(dtype, 1e-37)
    most = {torch.float16: 1e4, torch.float64: 1e150}.get(dtype, 1e38)
    if not least < scale < most:
        with pytest.raises(ValueError, match="keys must (be|not)"):
            memory.write(empty, keys, keys[:, :1].sign())
        return
    state = memory.write(empty, keys, keys[:, :1].sign())
    stored = state.keys.double() * (state.parts[3].double() if dtype == torch.int8 else 1)
    assert torch.allclose(stored / scale, keys / scale, rtol=0, atol=0.02)
    wanted = best(stored, queries if dtype == torch.float64 else queries.float(), 3)
    found = memory.exact(state, queries)
    assert torch.equal(found[1], wanted[1]) and torch.equal(found[0], wanted[0])


def test_a_block_of_queries_of_all_magnitudes_is_a_loop() -> None:
    keys = near_equal(200, 16).float()
    scales = torch.tensor([1e-44, 1e-30, 0.0, 1.0, 1e30], dtype=torch.float64)
    queries = (scales[:, None] * (near_equal(1, 16) + 0.1 * normal(5, 16, seed=1))).float()
    memory = KeyValue(3)
    state = memory.write(memory.empty(16, 1), keys, keys[:, :1])
    rows = memory.address(state, queries)[1]
    assert torch.equal(rows, best(keys, queries, 3)[1])
    assert rows[2].tolist() == [0, 1, 2]  # a query of zeros likes no key better
    alone = [memory.address(state, query[None])[1] for query in queries]
    assert torch.equal(rows, torch.cat(alone))


def test_one_long_key_does_not_hide_the_short_ones() -> None:
    keys = (1e-24 * near_equal(100, 8)).float()
    keys[50] = -1e20 * keys[50]
    memory = KeyValue(4)
    state = memory.write(memory.empty(8, 1), keys, torch.ones(100, 1))
    queries = near_equal(5, 8).float()
    assert torch.equal(memory.address(state, queries)[1], best(keys, queries, 4)[1])


def test_a_query_that_would_vanish_or_overflow_is_refused() -> None:
    memory = KeyValue()
    state = memory.write(memory.empty(4, 1), torch.eye(4), torch.ones(4, 1))
    for scale in (1e-60, 1e60):
        with pytest.raises(ValueError, match="queries must be"):
            memory.address(state, scale * normal(2, 4))


def test_large_scores_are_weighed_without_overflow() -> None:
    memory = KeyValue(3, beta=1e35)
    keys = torch.tensor([[1e5], [2e5], [2e5], [-1.0]])
    state = memory.write(memory.empty(1, 1), keys, torch.tensor([[1.0], [2.0], [4.0], [8.0]]))
    assert memory.read(state, torch.tensor([[1.0]])).tolist() == [[3.0]]


def test_keys_by_hand_that_are_no_numbers_are_refused() -> None:
    values, slot = torch.ones(2, 1), torch.arange(2)
    for bad in (math.nan, math.inf):
        keys = torch.tensor([[1.0, 0.0], [bad, 0.0]])
        with pytest.raises(ValueError, match="expected rows of finite length"):
            KeyValueState(keys, values, slot)
        with pytest.raises(ValueError, match="expected a finite length >= 0 of the keys, got"):
            KeyValueState(torch.eye(2), values, slot, bad)


# --- least squares --------------------------------------------------------------------------------

SCALES = (1e-42, 1e-36, 1e-24, 1e10, 1e24, 1e36)
PAIRS = [(one, other) for one in SCALES for other in SCALES]


def answered(call: Callable[[], Tensor]) -> Tensor | None:
    try:
        return call()
    except ValueError:
        return None


def close(found: Tensor, wanted: Tensor) -> bool:
    """To three digits of the largest, which the smallest numbers of float32 do not have."""
    error = (found.double() - wanted.double()).abs().max()
    return bool(error <= 1e-3 * wanted.abs().max() + 1e-44)


@pytest.mark.parametrize(("key_scale", "value_scale"), PAIRS)
def test_a_pseudo_inverse_scales_or_refuses(key_scale: float, value_scale: float) -> None:
    keys, values, queries = normal(4, 8), normal(4, 3, seed=1), normal(5, 8, seed=2)
    memory = PseudoInverse(0.0)

    def read(scale: float, size: float, dtype: torch.dtype) -> Tensor:
        empty = memory.empty(8, 3, dtype=dtype)
        state = memory.write(empty, (scale * keys).to(dtype), (size * values).to(dtype))
        return memory.read(state, (scale * queries).to(dtype))

    found = answered(lambda: read(key_scale, value_scale, torch.float32))
    wanted = value_scale * read(1.0, 1.0, torch.float64)
    if key_scale > 1e-40:  # below, the keys themselves have lost their digits
        assert found is None or close(found, wanted)
    moderate = 1e-35 < value_scale / key_scale < 1e35 and min(key_scale, value_scale) > 1e-30
    assert found is not None or not moderate


@pytest.mark.parametrize(("scale", "first_scale"), PAIRS)
def test_larimar_scales_or_refuses(scale: float, first_scale: float) -> None:
    patterns, queries, first = normal(3, 8), normal(5, 8, seed=1), normal(6, 8, seed=2)
    memory = Larimar()

    def state_of(size: float, start: float, dtype: torch.dtype) -> LarimarState:
        return memory.write(memory.start((start * first).to(dtype)), (size * patterns).to(dtype))

    exact = state_of(1.0, 1.0, torch.float64)
    asked = (scale * queries).float()
    for method, factor in ((memory.read, scale), (memory.novelty, 1.0)):

        def ask(method: Callable[[LarimarState, Tensor], Tensor] = method) -> Tensor:
            return method(state_of(scale, first_scale, torch.float32), asked)

        found = answered(ask)
        moderate = scale > 1e-30 and 1e-30 < scale / first_scale < 1e30
        assert found is not None or not (moderate and 1e-30 < first_scale < 1e30)
        if scale > 1e-40:  # below, the patterns themselves have lost their digits
            assert found is None or close(found, factor * method(exact, queries))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_addresses_scale_or_are_refused(one: float, other: float) -> None:
    reference, patterns = normal(4, 6), normal(3, 6, seed=1)
    found = answered(
        lambda: linear_addresses((one * reference).float(), (other * patterns).float())
    )
    assert found is not None or not 1e-35 < other / one < 1e35
    if min(one, other) > 1e-40:
        wanted = other / one * linear_addresses(reference, patterns)
        assert found is None or close(found, wanted)
        near = gaussian_addresses((one * reference).float(), (one * patterns).float(), 0.1)
        assert close(near, gaussian_addresses(reference, patterns, 0.1))


@pytest.mark.parametrize("scale", [1e-42, 1e-36, 1e-24, 1.0, 1e24, 1e37])
def test_the_iteration_from_the_norm_scales(scale: float) -> None:
    matrix = normal(3, 5)
    wanted = iterate_inverse(matrix, 20, None)
    found = answered(lambda: iterate_inverse((scale * matrix).float(), 20, None))
    assert (found is None) == (scale < 1e-40)  # 10⁴² is no number in float32
    assert found is None or close(found * scale, wanted)
    for dtype in (torch.float32, torch.float64):
        zeros = torch.zeros(3, 5, dtype=dtype)
        assert torch.equal(iterate_inverse(zeros, start=None), zeros.T)


@pytest.mark.parametrize("scale", [1e-42, 1e-24, 1e-10, 1e10, 1e24, 1e37])
def test_values_scale_in_the_memories_of_addresses(scale: float) -> None:
    addresses, values = F.normalize(normal(4, 6), dim=1), normal(4, 3, seed=1)
    least, bayes = Recursive(), Kanerva()
    for memory, empty in ((least, least.empty(6, 3)), (bayes, bayes.start(torch.zeros(6, 3)))):
        wanted = scale * memory.read(memory.write(empty, addresses, values), addresses)
        state = memory.write(empty, addresses.float(), (scale * values).float())
        assert close(memory.read(state, addresses.float()), wanted)


@pytest.mark.parametrize("length", [1e-24, 1e-3, 1.0, 100.0, 1e4, 1e8, 1e24])
def test_addresses_of_any_length_are_least_squares_or_refused(length: float) -> None:
    """In two writes at the same addresses, so that the mean of both is read."""
    addresses, values = length * F.normalize(normal(4, 6), dim=1), normal(8, 3, seed=1)
    memory = Recursive(1e-3)
    twice = torch.cat([addresses, addresses])
    precision = twice.T @ twice + 1e-3 * torch.eye(6, dtype=torch.float64)
    wanted = addresses @ torch.linalg.solve(precision, twice.T @ values)

    def read() -> Tensor:
        state = memory.write(memory.empty(6, 3), addresses, values[:4])
        return memory.read(memory.write(state, addresses, values[4:]), addresses)

    found = answered(read)
    assert (found is None) == (length > 1e5)
    assert found is None or close(found, wanted)
    bayes = Kanerva(1e-6)
    state = bayes.start(torch.zeros(6, 3))
    if length > 10:
        with pytest.raises(ValueError, match="expected addresses of about length one, at most"):
            bayes.write(state, addresses, values[:4])


@pytest.mark.parametrize("scale", [1e-42, 1e-24, 1e24, 1e37])
def test_settling_memories_read_or_refuse(scale: float) -> None:
    patterns, queries = normal(5, 6), normal(3, 6, seed=1)
    memory = DenseHopfield()
    state = memory.write(memory.empty(6), (scale * patterns).float())
    asked = (scale * queries).float()
    if scale > 1:
        for method in (memory.read, memory.weights, memory.energy):
            with pytest.raises(ValueError, match="must be finite in torch.float32"):
                method(state, asked)
        with pytest.raises(ValueError, match="energies must be finite"):
            binary = Hopfield()
            binary.energy(binary.write(binary.empty(6), patterns.sign()), asked)
    else:
        assert close(memory.read(state, asked), (scale * patterns).mean(0).expand(3, 6))


# --- arguments ------------------------------------------------------------------------------------


def filled() -> KeyValueState:
    memory = KeyValue()
    return memory.write(memory.empty(3, 2), torch.eye(3), normal(3, 2).float())


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "beta": (lambda: KeyValue(2, beta=math.inf), "expected a finite beta > 0, got beta=inf"),
    "beta NaN": (lambda: KeyValue(2, beta=math.nan), "expected a finite beta > 0"),
    "beta dense": (lambda: DenseHopfield(math.inf), "expected a finite beta > 0, got inf"),
    "top_k": (lambda: KeyValue(-1), "expected top_k >= 1, got -1"),
    "first": (lambda: KeyValue().first(filled(), -1), "expected count from 0 to 3, got -1"),
    "first more": (lambda: KeyValue().first(filled(), 4), "expected count from 0 to 3, got 4"),
    "rows": (lambda: KeyValue.check_capacity(-1, 3, 3), "expected rows >= 0, got -1"),
    "capacity": (lambda: KeyValue().empty(3, 3, capacity=-1), "expected rows >= 0, got -1"),
    "key width": (lambda: KeyValue().empty(-1, 3), "expected a width >= 0, got -1"),
    "value width": (lambda: KeyValue().empty(3, -1), "expected a width >= 0, got -1"),
    "device": (
        lambda: KeyValue().empty(3, 3, device="meta"),
        "expected a device that holds numbers, got meta",
    ),
    "no device": (
        lambda: PseudoInverse().empty(3, 3, device="cuda:99"),
        "expected a device of this machine, got cuda:99",
    ),
    "forget half": (
        lambda: KeyValue().forget(filled(), torch.tensor([0.5])),
        "expected rows as whole numbers, got torch.float32",
    ),
    "forget mask": (
        lambda: KeyValue().forget(filled(), torch.tensor([True, False, True])),
        "expected rows as whole numbers, got torch.bool",
    ),
    "take": (
        lambda: KeyValue().take(filled(), torch.tensor([-1])),
        "expected rows from 0 to 2, got numbers from -1 to -1",
    ),
    "take more": (
        lambda: KeyValue().take(filled(), torch.tensor(3)),
        "expected rows from 0 to 2, got numbers from 3 to 3",
    ),
    "linear width": (lambda: PseudoInverse().empty(0, 3), "expected key_dim >= 1, got 0"),
    "linear values": (lambda: PseudoInverse().empty(3, -1), "expected value_dim >= 0, got -1"),
    "slots": (lambda: Recursive().empty(0, 3), "expected slots >= 1, got 0"),
    "units": (lambda: Hopfield().empty(0), "expected dim >= 1, got 0"),
    "dim": (lambda: DenseHopfield().empty(-2), "expected dim >= 1, got -2"),
    "sweeps": (lambda: Hopfield(steps=-1), "expected steps >= 1, got -1"),
    "steps": (lambda: DenseHopfield(steps=0), "expected steps >= 1, got 0"),
    "iterations": (lambda: PublishedLarimar(steps=-1), "expected steps >= 0, got -1"),
    "noise": (lambda: PublishedLarimar(noise=-1.0), "expected a finite noise >= 0, got -1.0"),
    "spread": (lambda: PublishedLarimar(spread=math.nan), "expected a finite spread >= 0, got"),
    "start": (lambda: iterate_inverse(torch.eye(2), start=0.0), "expected a finite start > 0"),
    "residual": (
        lambda: iteration_residual(torch.ones(2), steps=-1),
        "expected steps >= 0, got -1",
    ),
    "no slots": (
        lambda: Larimar().start(torch.ones(0, 3)),
        r"initial must have at least one row and one column, got \(0, 3\)",
    ),
    "no columns": (
        lambda: Kanerva().start(torch.ones(3, 0)),
        r"mean must have at least one row and one column, got \(3, 0\)",
    ),
    "no matrix": (
        lambda: iterate_inverse(torch.ones(0, 0)),
        r"matrix must have at least one row and one column, got \(0, 0\)",
    ),
    "no reference": (
        lambda: linear_addresses(torch.ones(0, 3), torch.ones(2, 3)),
        r"reference must have at least one row and one column, got \(0, 3\)",
    ),
    "loud": (lambda: Kanerva(1e200), "expected a noise of at most 1e.100, got 1e.200"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_argument_is_one_sentence(mistake: str) -> None:
    call, said = MISTAKES[mistake]
    with pytest.raises(ValueError, match=said):
        call()


def test_half_a_key_is_no_number_of_keys() -> None:
    half: Any = 1.5
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        KeyValue(half)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        KeyValue().first(filled(), half)


def test_nothing_to_forget_is_nothing_forgotten() -> None:
    memory, state = KeyValue(), filled()
    for dtype in (torch.float32, torch.int64, torch.bool):
        left = memory.forget(state, torch.empty(0, dtype=dtype))
        assert torch.equal(left.keys, state.keys) and torch.equal(left.slot, state.slot)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_rows_may_be_any_whole_numbers(dtype: torch.dtype) -> None:
    """uint8 is no mask."""
    memory, state, rows = KeyValue(), filled(), torch.tensor([0, 2], dtype=dtype)
    assert torch.equal(memory.take(state, rows), state.values[[0, 2]])
    assert torch.equal(memory.forget(state, rows).keys, state.keys[1:2])
    twice = memory.write(state, torch.eye(3), torch.ones(2, 2), rows.clamp(max=1).repeat(2)[:3])
    assert twice.slot.tolist() == [0, 1, 2, 3, 4, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8], ids=str)
def test_keys_without_numbers_are_all_alike(dtype: torch.dtype) -> None:
    """Every inner product is 0, so the lowest rows are found."""
    memory = KeyValue(2)
    empty = memory.empty(0, 1, key_dtype=dtype)
    state = memory.write(empty, torch.empty(3, 0), torch.tensor([[1.0], [2.0], [3.0]]))
    scores, rows = memory.address(state, torch.empty(4, 0))
    assert rows.tolist() == [[0, 1]] * 4 and not scores.any()
    assert memory.read(state, torch.empty(4, 0)).tolist() == [[1.5]] * 4


def test_one_row_that_is_taken_is_a_copy() -> None:
    memory, state = KeyValue(), filled()
    before = state.values.clone()
    memory.take(state, torch.tensor(1)).fill_(9)
    assert torch.equal(state.values, before)


def test_a_solution_that_is_taken_is_a_copy() -> None:
    memory = PseudoInverse()
    state = memory.write(memory.empty(3, 2), torch.eye(3), torch.ones(3, 2))
    memory.solve(state).fill_(9)
    torch.testing.assert_close(memory.read(state, torch.eye(3)), torch.ones(3, 2))


def test_larimar_in_float32_may_be_asked_in_float64() -> None:
    patterns = normal(2, 6)
    for memory in (Larimar(), PublishedLarimar(steps=30, start_scale=None)):
        state = memory.write(memory.start(torch.eye(4, 6)), patterns.float())
        found = memory.read(state, patterns)
        assert found.dtype == torch.float32 and close(found, patterns)
        other = memory.write(memory.start(torch.eye(4, 6)), patterns)
        assert memory.read(other, patterns).dtype == torch.float64


@pytest.mark.parametrize("short", [1e-6, 1e-8, 1e-12, 1e-20])
def test_a_short_pattern_is_written_as_well_as_a_long_one(short: float) -> None:
    patterns = normal(3, 8)
    patterns[1] *= short
    memory = Larimar()
    state = memory.write(memory.start(torch.eye(8)), patterns)
    off = (memory.read(state, patterns) - patterns).norm(dim=1) / patterns.norm(dim=1)
    assert float(off.max()) < 1e-5
    assert torch.equal(memory.novelty(state, patterns), torch.zeros(3))
    assert float(memory.novelty(state, normal(5, 8, seed=1)).min()) > 0.1
    linear = PseudoInverse()
    pairs = linear.write(linear.empty(8, 1), patterns, patterns[:, :1])
    assert torch.equal(linear.novelty(pairs, patterns), torch.zeros(3))


def test_dividing_by_powers_of_two_changes_no_digit() -> None:
    """What is read of patterns of like length is what it was when rows were not made even."""
    patterns = normal(5, 16).double() * torch.tensor([[1.0], [3.0], [0.1], [7.0], [1e-3]])
    memory = Larimar()
    start = memory.start(normal(8, 16, seed=1).double())
    state = memory.write(start, patterns)
    addresses = patterns.double() @ start.inverse.double()
    factor = torch.linalg.cholesky(addresses @ addresses.T)
    plain = addresses.T @ torch.cholesky_solve(patterns.double(), factor)
    assert torch.equal(state.memory, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dense_network_weighs_half_precision_in_float32(dtype: torch.dtype) -> None:
    one = normal(3, 256)
    near = torch.cat([one, one + 0.05 * normal(3, 256, seed=1)]).to(dtype)
    memory = DenseHopfield(steps=3)
    half = memory.write(memory.empty(256, dtype=dtype), near)
    wide = memory.write(memory.empty(256), near.float())
    assert torch.equal(memory.weights(half, near), memory.weights(wide, near.float()))
    assert torch.equal(memory.energy(half, near), memory.energy(wide, near.float()))
    read = memory.read(half, near)
    assert read.dtype == dtype and torch.equal(read, memory.read(wide, near.float()).to(dtype))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_energy_of_a_dense_network_is_below_zero(scale: float) -> None:
    memory = DenseHopfield()
    patterns = scale * normal(1, 64)
    state = memory.write(memory.empty(64), patterns)
    lowest = float(memory.energy(state, patterns))
    assert 0 <= lowest < 1e-13 * scale**2 * 64
    assert float(memory.energy(state, 1.01 * patterns)) > 0


def test_whole_numbers_that_would_be_rounded_are_refused() -> None:
    memory = KeyValue()
    for number, dtype in (
        (2**24 + 1, torch.int64),
        (2**24 + 1, torch.int32),
        (2**62 + 1, torch.long),
    ):
        values = torch.tensor([[number]], dtype=dtype)
        with pytest.raises(ValueError, match="values must be whole numbers that torch.float32 can"):
            memory.write(memory.empty(1, 1), torch.ones(1, 1), values)
    values = torch.tensor([[2**24], [-(2**24)], [2**30]])
    state = memory.write(memory.empty(1, 1), torch.tensor([[1.0], [2.0], [3.0]]), values)
    assert torch.equal(state.values, values.float())
    wide = memory.empty(1, 1, dtype=torch.float64)
    state = memory.write(wide, torch.ones(1, 1), torch.tensor([[2**24 + 1]]))
    assert state.values.item() == 2**24 + 1


def test_pairs_that_were_summed_up_do_not_stay_in_memory() -> None:
    memory = PseudoInverse()
    state = memory.write(memory.empty(4, 4), normal(2000, 4), normal(2000, 4))
    assert state.keys.untyped_storage().nbytes() == state.values.untyped_storage().nbytes() == 0
