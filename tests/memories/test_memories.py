"""Associative memories against independent oracles: brute force, textbook recursions,
torch.linalg.pinv, theory."""

from __future__ import annotations

import math
import resource

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memlab import runtime
from memlab.memories import DenseHopfield, Hopfield, KeyValue, Larimar, PseudoInverse, rows, scan
from memlab.memories.key_value import KeyValueState

WRONG = (
    ValueError,
    jaxtyping.TypeCheckError,
)  # with the hook on, a wrong rank is caught before our own check


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=runtime.generator(seed, "memories", *shape), dtype=dtype)


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(normal(*shape, seed=seed, dtype=dtype), dim=1)


def cues(keys: Tensor, cosine: float, seed: int = 1) -> Tensor:
    """Unit vectors at this cosine from each of the unit `keys`."""
    noise = normal(*keys.shape, seed=seed, dtype=keys.dtype)
    noise = F.normalize(noise - (noise * keys).sum(1, keepdim=True) * keys, dim=1)
    return cosine * keys + math.sqrt(1 - cosine**2) * noise


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def identified(found: Tensor, values: Tensor) -> float:
    """How often the stored value closest to what was read is the right one."""
    return float(
        (torch.cdist(found, values).argmin(1) == torch.arange(len(values))).double().mean()
    )


def key_values(keys: Tensor, values: Tensor, slot: Tensor | None = None) -> KeyValueState:
    memory = KeyValue()
    empty = memory.empty(keys.shape[1], values.shape[1], dtype=values.dtype)
    return memory.write(empty, keys, values, slot)


def brute_force(keys: Tensor, queries: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    exact = torch.stack([(keys.double() * query.double()).sum(1) for query in queries])
    scores, rows = exact.sort(dim=1, descending=True, stable=True)
    return scores[:, :top_k].to(keys.dtype), rows[:, :top_k]


# --- exact key–value slots ------------------------------------------------------------------------


@given(
    rows=st.integers(1, 60),
    width=st.integers(1, 5),
    queries=st.integers(0, 9),
    top_k=st.integers(1, 7),
    at_once=st.integers(1, 200),
    group=st.integers(1, 9),
    grid=st.booleans(),
    seed=st.integers(0, 999),
)
def test_address_is_brute_force(
    rows: int, width: int, queries: int, top_k: int, at_once: int, group: int, grid: bool, seed: int
) -> None:
    """Any block size; keys on a coarse grid collide all the time, so equal scores must go to the
    lowest row."""
    keys, asked = (
        normal(rows, width, seed=seed).float(),
        normal(queries, width, seed=seed + 1).float(),
    )
    if grid:
        keys, asked = keys.round(), asked.round()
    top_k = min(top_k, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "SCORES_AT_ONCE", at_once)
        patch.setattr(scan, "GROUP", group)
        patch.setattr(scan, "GROUPED_FROM", at_once // 2)
        scores, found = KeyValue(top_k).address(key_values(keys, keys), asked)
    if queries:
        expected_scores, expected_rows = brute_force(keys, asked, top_k)
        assert torch.equal(found, expected_rows) and torch.equal(scores, expected_scores)
    assert found.shape == (queries, top_k)


def test_equal_keys_go_to_the_lowest_row_wherever_they_lie() -> None:
    """A matrix product may round the same key differently in another row; the rank must not depend
    on it."""
    key = unit(1, 131, dtype=torch.float32)
    keys = unit(4099, 131, seed=2, dtype=torch.float32)
    where = torch.tensor([17, 18, 1024, 4000, 4097, 4098])
    keys[where] = key
    scores, rows = KeyValue(top_k=6).address(key_values(keys, keys[:, :1]), cues(key, 0.9))
    assert torch.equal(rows[0], where)
    assert (scores == scores[0, 0]).all()


def test_a_batch_of_queries_is_a_loop_bit_for_bit() -> None:
    keys, queries = unit(3000, 96, dtype=torch.float32), unit(60, 96, seed=1, dtype=torch.float32)
    memory, state = KeyValue(top_k=5), key_values(keys, normal(3000, 7).float())
    scores, rows = memory.address(state, queries)
    alone = [memory.address(state, query[None]) for query in queries]
    assert torch.equal(scores, torch.cat([one[0] for one in alone]))
    assert torch.equal(rows, torch.cat([one[1] for one in alone]))
    assert torch.equal(
        memory.read(state, queries), torch.cat([memory.read(state, q[None]) for q in queries])
    )


def test_near_ties_are_decided_in_float64() -> None:
    """Keys that differ in their last bits: a float32 product ranks them by its own rounding."""
    keys = (unit(1, 64) * (1 + 3e-7 * normal(300, 64))).float()
    queries = cues(keys[:20].double(), 0.9).float()
    assert not torch.equal((queries @ keys.T).argmax(1), brute_force(keys, queries, 1)[1][:, 0])
    for found, wanted in zip(
        KeyValue(top_k=5).address(key_values(keys, keys), queries),
        brute_force(keys, queries, 5),
        strict=True,
    ):
        assert torch.equal(found, wanted)


def test_autocast_does_not_blur_the_address() -> None:
    keys = unit(500, 64, dtype=torch.float32)
    queries = F.normalize(
        keys + 0.999 * keys.roll(1, 0), dim=1
    )  # two keys that bfloat16 can hardly tell apart
    state = key_values(keys, normal(500, 3).float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(KeyValue().address(state, queries)[1], brute_force(keys, queries, 1)[1])


def test_what_is_written_is_read_back_bit_for_bit() -> None:
    keys, values = unit(200, 32, dtype=torch.float32), normal(200, 9).float()
    assert torch.equal(KeyValue().read(key_values(keys, values), keys), values)


def test_several_keys_share_a_value() -> None:
    keys, values = unit(6, 8, dtype=torch.float32), normal(3, 4).float()
    memory, slot = KeyValue(), torch.tensor([0, 0, 1, 2, 2, 2])
    state = memory.write(key_values(keys, values, slot), -keys, -values, slot)
    assert torch.equal(memory.read(state, keys), values[slot])
    assert torch.equal(memory.read(state, -keys), -values[slot])
    assert state.slot.tolist() == [0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5]


def test_top_k_read_is_attention_over_the_nearest() -> None:
    keys, values, queries = unit(50, 8), normal(50, 5), unit(4, 8, seed=3)
    state = KeyValueState(keys, values, torch.arange(50))
    memory = KeyValue(top_k=50, beta=3.0)
    torch.testing.assert_close(
        memory.read(state, queries),
        F.scaled_dot_product_attention(queries, keys, values, scale=3.0),
    )
    few = KeyValue(top_k=2, beta=3.0)
    scores, rows = few.address(state, queries)
    weight = (3 * scores).softmax(1)[:, :, None]
    torch.testing.assert_close(few.read(state, queries), (weight * few.take(state, rows)).sum(1))


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), capacity=st.integers(0, 30))
def test_many_writes_are_one_write(sizes: list[int], capacity: int) -> None:
    rows = sum(sizes)
    keys, values, slot = normal(rows, 3).float(), normal(rows, 2).half(), torch.arange(rows)
    memory = KeyValue()
    state = memory.empty(3, 2, capacity=capacity, dtype=torch.float16)
    for some_keys, some_values in zip(keys.split(sizes), values.split(sizes), strict=True):
        state = memory.write(state, some_keys, some_values)
    for found, wanted in zip(
        (state.keys, state.values, state.slot), (keys, values, slot), strict=True
    ):
        assert torch.equal(found, wanted) and found.dtype == wanted.dtype
    assert state.nbytes == rows * memory.bytes_per_row(3, 2, torch.float16)
    assert state.longest == key_values(keys, values).longest


def test_states_that_share_rows_do_not_disturb_each_other() -> None:
    memory = KeyValue()
    pieces = [(normal(2, 3, seed=i).float(), normal(2, 2, seed=i).float()) for i in range(4)]
    root = memory.write(memory.empty(3, 2, capacity=100), *pieces[0])
    before = root.keys.clone()
    left = memory.write(memory.write(root, *pieces[1]), *pieces[2])
    right = memory.write(root, *pieces[3])
    assert torch.equal(root.keys, before) and len(root.keys) == 2
    assert torch.equal(left.keys, torch.cat([keys for keys, _ in pieces[:3]]))
    assert torch.equal(right.values, torch.cat([pieces[0][1], pieces[3][1]]))


def test_writing_in_pieces_does_not_cost_the_square() -> None:
    memory, piece = KeyValue(), normal(3, 4).float()
    for capacity, copies in ((0, 20), (900, 1)):
        state = memory.empty(4, 4, capacity=capacity)
        places = set()
        for _ in range(300):
            state = memory.write(state, piece, piece)
            places.add(state.keys.data_ptr())
        assert len(state.keys) == 900 and len(places) <= copies


@given(rows=st.integers(2, 20), data=st.data())
def test_forgotten_is_never_written(rows: int, data: st.DataObject) -> None:
    slot = torch.tensor(data.draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)))
    gone = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), max_size=4)), dtype=torch.long)
    keys, values = normal(rows, 4).float(), normal(5, 3).float()
    state = KeyValue().forget(key_values(keys, values, slot), gone)
    left = [value for value in range(5) if value not in slot[gone].tolist()]
    kept = torch.tensor([i for i in range(rows) if int(slot[i]) in left], dtype=torch.long)
    twin = key_values(
        keys[kept], values[left], torch.tensor([left.index(int(s)) for s in slot[kept]]).long()
    )
    for found, wanted in zip(
        (state.keys, state.values, state.slot), (twin.keys, twin.values, twin.slot), strict=True
    ):
        assert torch.equal(found, wanted)


def test_forgetting_leaves_the_old_state_and_allows_writing_on() -> None:
    keys, values = unit(5, 16, dtype=torch.float32), normal(5, 2).float()
    memory, old = KeyValue(), key_values(keys, values)
    state = memory.write(memory.forget(old, torch.tensor([1, 3])), keys[1:2], -values[1:2])
    assert torch.equal(memory.read(old, keys), values)
    left = [0, 1, 2, 4]
    assert torch.equal(
        memory.read(state, keys[left]), values[left] * torch.tensor([[1], [-1], [1], [1]])
    )


def test_half_precision_values_are_half_the_bytes_and_read_as_float32() -> None:
    keys, values = unit(10, 4, dtype=torch.float32), normal(10, 64).half()
    state = key_values(keys, values)
    assert state.values.dtype == torch.float16 and state.values.nbytes == 10 * 64 * 2
    read = KeyValue().read(state, keys)
    assert read.dtype == torch.float32 and torch.equal(read, values.float())


def test_a_scan_needs_little_memory() -> None:
    """1,500 queries × 100,000 keys are 600 MB of scores, which must never exist at once."""
    keys, queries = (
        unit(100_000, 4, dtype=torch.float32),
        unit(1500, 4, seed=1, dtype=torch.float32),
    )
    state = KeyValueState(keys, keys, torch.arange(len(keys)))
    KeyValue().address(state, queries[:300])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    KeyValue().address(state, queries)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_no_room_is_said_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = KeyValue()
    assert memory.check_capacity(10, 128, 768) == 10 * (4 * 128 + 4 * 768 + 8)
    with pytest.raises(
        ValueError,
        match=r"^1,000 rows need 3,592,000 bytes, but 1,000,000 bytes are available: "
        r"at most 278 rows would fit$",
    ):
        memory.check_capacity(1000, 128, 768, torch.float32, 1_000_000)
    with pytest.raises(ValueError, match="bytes are available"):
        memory.empty(1024, 1024, capacity=10**12)
    state = memory.empty(4, 4)
    monkeypatch.setattr(rows, "available_bytes", lambda device: 399)
    with pytest.raises(
        ValueError, match="^10 rows need 400 bytes, but 399 bytes are available: at most 9 rows"
    ):
        memory.write(state, torch.ones(10, 4), torch.ones(10, 4))


# --- linear memories ------------------------------------------------------------------------------


@given(items=st.integers(1, 12), width=st.integers(1, 6), seed=st.integers(0, 999))
def test_up_to_half_its_width_a_pseudo_inverse_loses_nothing(
    items: int, width: int, seed: int
) -> None:
    keys, values = unit(items, 2 * items + 4, seed=seed), normal(items, width, seed=seed + 1)
    for memory in (PseudoInverse(0.0), PseudoInverse()):
        state = memory.write(memory.empty(keys.shape[1], width, dtype=torch.float64), keys, values)
        torch.testing.assert_close(memory.read(state, keys), values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("items", [1, 5, 12, 13, 40])
@pytest.mark.parametrize("ridge", [0.0, 1e-8, 0.1])
def test_both_solutions_are_ridge_regression(items: int, ridge: float) -> None:
    """Against the augmented problem [K; √ridge I] M = [V; 0], solved by SVD."""
    keys, values = normal(items, 12), normal(items, 5, seed=1)
    memory = PseudoInverse(ridge)
    state = memory.write(memory.empty(12, 5, dtype=torch.float64), keys, values)
    longer = torch.cat([keys, math.sqrt(ridge) * torch.eye(12, dtype=torch.float64)])
    wanted = torch.linalg.pinv(longer) @ torch.cat(
        [values, torch.zeros(12, 5, dtype=torch.float64)]
    )
    torch.testing.assert_close(memory.solve(state), wanted, rtol=1e-6, atol=1e-6)
    assert state.count == items and (state.gram is None) == (items <= 12)


@given(sizes=st.lists(st.integers(0, 7), min_size=1, max_size=8), data=st.data())
def test_streamed_is_batch_and_recursive_least_squares(
    sizes: list[int], data: st.DataObject
) -> None:
    items, ridge = sum(sizes) + 1, 0.05
    sizes = [*sizes, 1]
    keys, values, queries = normal(items, 6), normal(items, 3, seed=1), normal(4, 6, seed=2)
    memory = PseudoInverse(ridge)
    empty = memory.empty(6, 3, dtype=torch.float64)
    streamed = empty
    for some_keys, some_values in zip(keys.split(sizes), values.split(sizes), strict=True):
        streamed = memory.write(streamed, some_keys, some_values)
    inverse, matrix = (
        torch.eye(6, dtype=torch.float64) / ridge,
        torch.zeros(6, 3, dtype=torch.float64),
    )
    for key, value in zip(keys, values, strict=True):  # Larimar's equations 2-6, one row at a time
        gain = inverse @ key / (1 + key @ inverse @ key)
        matrix = matrix + torch.outer(gain, value - key @ matrix)
        inverse = inverse - torch.outer(gain, key @ inverse)
    for state in (memory.write(empty, keys, values), streamed):
        torch.testing.assert_close(
            memory.read(state, queries), queries @ matrix, rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("items", [4, 30])
def test_a_linear_memory_forgets_what_it_can_prove(items: int) -> None:
    keys, values, queries = normal(items, 8), normal(items, 3, seed=1), normal(5, 8, seed=2)
    memory = PseudoInverse(1e-6)
    empty = memory.empty(8, 3, dtype=torch.float64)
    state = memory.forget(memory.write(empty, keys, values), keys[:2], values[:2])
    twin = memory.write(empty, keys[2:], values[2:])
    torch.testing.assert_close(
        memory.read(state, queries), memory.read(twin, queries), rtol=1e-8, atol=1e-8
    )
    assert state.count == items - 2


def test_beyond_its_width_the_error_is_the_law() -> None:
    width = 128
    for load in (2, 4, 16):
        keys, values = unit(load * width, width, seed=load), normal(load * width, 384, seed=load)
        memory = PseudoInverse()
        state = memory.write(memory.empty(width, 384, dtype=torch.float64), keys, values)
        assert error(memory.read(state, keys), values) == pytest.approx(
            math.sqrt(1 - 1 / load), rel=0.02
        )
        if load <= 4:  # far from right, yet always closest to the right one
            assert identified(memory.read(state, keys), values) == 1.0


def test_cue_noise_below_capacity_follows_the_law_of_the_noisy_query() -> None:
    width, cosine = 512, 0.95
    for load in (0.125, 0.25, 0.5):
        items = int(load * width)
        keys, values = unit(items, width), normal(items, 96, seed=1)
        memory = PseudoInverse()
        read = memory.read(
            memory.write(memory.empty(width, 96, dtype=torch.float64), keys, values),
            cues(keys, cosine),
        )
        wanted = math.sqrt((1 - cosine) ** 2 + (1 - cosine**2) * load / (1 - load))
        assert error(read, values) == pytest.approx(wanted, rel=0.05)


def test_at_capacity_noise_explodes_and_a_ridge_calms_it() -> None:
    """The interpolation peak: with as many pairs as the width, the smallest singular value is near
    0."""
    width = 128

    def read(items: int, ridge: float) -> tuple[float, float]:
        keys, values = unit(items, width), normal(items, 32, seed=1)
        memory = PseudoInverse(ridge)
        found = memory.read(
            memory.write(memory.empty(width, 32, dtype=torch.float64), keys, values),
            cues(keys, 0.9),
        )
        return error(found, values), identified(found, values)

    below, peak, beyond, calm = read(32, 1e-9), read(128, 1e-9), read(1024, 1e-9), read(128, 0.1)
    assert peak[0] > 3 > 1.2 > max(below[0], beyond[0], calm[0])
    assert peak[1] < 0.5 and below[1] == 1.0 and calm[1] > 0.95


def test_correlated_keys_break_the_linear_read_but_not_the_nearest_key() -> None:
    items, width = 96, 128
    spread = 1.0 / torch.arange(1, width + 1, dtype=torch.float64)  # power-law spectrum
    shared = F.normalize(normal(items, width) * spread + 1.2 * unit(1, width, seed=5), dim=1)
    assert ((shared @ shared.T).mean()) > 0.4
    values = normal(items, 32, seed=1)
    rates = {}
    for name, keys in (("isotropic", unit(items, width)), ("correlated", shared)):
        asked = cues(keys, 0.95)
        linear, nearest = PseudoInverse(), KeyValue()
        state = linear.write(linear.empty(width, 32, dtype=torch.float64), keys, values)
        rates[name] = (
            identified(linear.read(state, asked), values),
            identified(
                nearest.read(KeyValueState(keys, values, torch.arange(items)), asked), values
            ),
        )
    assert rates["isotropic"] == (1.0, 1.0)
    assert rates["correlated"][0] < 0.5 and rates["correlated"][1] > 0.95


def plain_larimar(initial: Tensor, patterns: Tensor, queries: Tensor) -> Tensor:
    memory = torch.linalg.pinv(patterns @ torch.linalg.pinv(initial)) @ patterns
    return queries @ torch.linalg.pinv(memory, rtol=1e-9) @ memory


@pytest.mark.parametrize(
    ("items", "twice"), [(1, False), (9, False), (16, False), (9, True), (40, False)]
)
def test_larimar_is_the_same_algebra_with_svd_inverses(items: int, twice: bool) -> None:
    patterns, queries, initial = normal(items, 24), normal(6, 24, seed=1), normal(16, 24, seed=2)
    if twice:
        patterns[4:] = patterns[:5].clone()  # dependent rows
    memory = Larimar()
    state = memory.write(memory.start(initial), patterns)
    torch.testing.assert_close(
        memory.read(state, queries), plain_larimar(initial, patterns, queries), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        memory.address(state, queries) @ state.memory, memory.read(state, queries)
    )


@given(items=st.integers(1, 16), seed=st.integers(0, 999))
def test_larimar_projects_and_its_first_matrix_does_not_matter(items: int, seed: int) -> None:
    patterns, queries = normal(items, 24, seed=seed), normal(7, 24, seed=seed + 1)
    memory = Larimar()
    basis = torch.linalg.svd(patterns, full_matrices=False).Vh
    for initial in (torch.eye(16, 24, dtype=torch.float64), normal(16, 24, seed=seed + 2)):
        state = memory.write(memory.start(initial), patterns)
        read = memory.read(state, queries)
        torch.testing.assert_close(read, queries @ basis.T @ basis, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(memory.read(state, read), read, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(memory.read(state, patterns), patterns, rtol=1e-5, atol=1e-5)


def test_larimar_does_not_reject_an_unrelated_query() -> None:
    items, dim = 32, 512
    memory = Larimar()
    state = memory.write(memory.start(torch.eye(64, dim)), normal(items, dim).float())
    lengths = memory.read(state, unit(200, dim, seed=1, dtype=torch.float32)).norm(dim=1)
    assert float(lengths.pow(2).mean().sqrt()) == pytest.approx(math.sqrt(items / dim), rel=0.03)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_larimar_is_exact_at_capacity_at_any_scale(scale: float) -> None:
    """E = K, where the historic iteration leaves 5 % or NaN."""
    patterns = scale * normal(128, 192).float()
    memory = Larimar()
    state = memory.write(memory.start(torch.eye(128, 192)), patterns)
    assert error(memory.read(state, patterns), patterns) < 1e-5


# --- memories that settle -------------------------------------------------------------------------


def signs(*shape: int, seed: int = 0) -> Tensor:
    return torch.where(normal(*shape, seed=seed) < 0, -1.0, 1.0)


def test_hopfield_recalls_from_a_tenth_wrong() -> None:
    patterns = signs(8, 200)
    wrong = torch.where(
        torch.rand(8, 200, generator=runtime.generator(1)) < 0.1, -patterns, patterns
    )
    for memory in (Hopfield(), Hopfield(asynchronous=False)):
        state = memory.write(memory.empty(200), patterns)
        assert torch.equal(memory.read(state, wrong), patterns)
        assert torch.equal(
            memory.read(state, wrong), torch.cat([memory.read(state, cue[None]) for cue in wrong])
        )
    assert torch.equal(Hopfield().read(state, wrong, runtime.generator(3)), patterns)


@given(items=st.integers(1, 9), dim=st.integers(2, 12), seed=st.integers(0, 999))
def test_hopfield_is_the_textbook_and_never_gains_energy(items: int, dim: int, seed: int) -> None:
    patterns, cue = signs(items, dim, seed=seed), signs(1, dim, seed=seed + 1)
    memory = Hopfield(steps=1)
    state = memory.write(memory.empty(dim), patterns)
    x = cue[0].tolist()
    weight = [
        [0.0 if i == j else sum(float(p[i] * p[j]) for p in patterns) / dim for j in range(dim)]
        for i in range(dim)
    ]
    energies = [float(memory.energy(state, cue))]
    for i in range(dim):
        drive = sum(weight[i][j] * x[j] for j in range(dim))
        x[i] = x[i] if abs(drive) < 1e-12 else math.copysign(1.0, drive)
        energies.append(
            -0.5 * sum(weight[a][b] * x[a] * x[b] for a in range(dim) for b in range(dim))
        )
    swept = memory.read(state, cue)
    assert swept[0].tolist() == x
    assert float(memory.energy(state, swept)) == pytest.approx(energies[-1], abs=1e-5)
    assert all(
        later <= earlier + 1e-6 for earlier, later in zip(energies, energies[1:], strict=False)
    )
    settled = Hopfield().read(state, cue)
    assert torch.equal(memory.read(state, settled), settled)


def test_synchronous_updates_can_cycle_where_asynchronous_ones_settle() -> None:
    state = Hopfield().write(Hopfield().empty(2), torch.tensor([[1.0, -1.0]]))
    both = torch.ones(1, 2)
    assert torch.equal(Hopfield(steps=1, asynchronous=False).read(state, both), -both)
    assert torch.equal(Hopfield(steps=2, asynchronous=False).read(state, both), both)
    assert Hopfield().read(state, both).tolist() == [[-1.0, 1.0]]


def test_hopfield_pieces_and_forgetting_are_exact() -> None:
    patterns, memory = signs(10, 33), Hopfield()
    state = memory.write(memory.write(memory.empty(33), patterns[:4]), patterns[4:])
    assert torch.equal(state.weights, memory.write(memory.empty(33), patterns).weights)
    twin = memory.write(memory.empty(33), patterns[3:])
    assert torch.equal(memory.forget(state, patterns[:3]).weights, twin.weights)
    assert not state.weights.diagonal().any()


@given(
    items=st.integers(1, 20),
    dim=st.integers(1, 8),
    beta=st.floats(0.1, 20),
    seed=st.integers(0, 999),
)
def test_one_dense_step_is_attention_and_a_step_down_the_energy(
    items: int, dim: int, beta: float, seed: int
) -> None:
    patterns, x = normal(items, dim, seed=seed), normal(5, dim, seed=seed + 1).requires_grad_()
    memory = DenseHopfield(beta)
    state = memory.write(memory.empty(dim, dtype=torch.float64), patterns)
    step = memory.read(state, x)
    torch.testing.assert_close(
        step, F.scaled_dot_product_attention(x, patterns, patterns, scale=beta)
    )
    energy = memory.energy(state, x)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(step, x - slope)
    assert (memory.energy(state, step) <= energy + 1e-9).all() and (energy > -1e-9).all()


def test_dense_steps_compose_and_a_large_beta_is_the_nearest_key() -> None:
    patterns = unit(40, 16)
    once, thrice = DenseHopfield(5.0), DenseHopfield(5.0, steps=3)
    state = once.write(once.write(once.empty(16, dtype=torch.float64), patterns[:7]), patterns[7:])
    x = cues(patterns, 0.8)
    torch.testing.assert_close(
        thrice.read(state, x), once.read(state, once.read(state, once.read(state, x)))
    )
    nearest = KeyValue().read(KeyValueState(patterns, patterns, torch.arange(40)), x)
    torch.testing.assert_close(DenseHopfield(1e4).read(state, x), nearest)


# --- what all have in common ----------------------------------------------------------------------


def life_cycle() -> list[Tensor]:
    """Everything read once, with a query of the right width, plus what errors need: see the two
    tests below."""
    keys = signs(5, 12).double()
    pairs = [
        (KeyValue(), KeyValue().empty(12, 12)),
        (KeyValue(top_k=3), KeyValue().empty(12, 12)),
        (PseudoInverse(0.1), PseudoInverse().empty(12, 12)),
    ]
    found = [memory.read(memory.write(state, keys, keys), keys) for memory, state in pairs]
    for memory in (Hopfield(), DenseHopfield()):
        found.append(memory.read(memory.write(memory.empty(12), keys), keys))
    larimar = Larimar()
    return [
        *found,
        larimar.read(larimar.write(larimar.start(torch.eye(8, 12).double()), keys), keys),
    ]


def test_reading_and_writing_leave_the_global_random_state(
    untouched_global_random_state: None,
) -> None:
    assert all(
        torch.equal(first, again) for first, again in zip(life_cycle(), life_cycle(), strict=True)
    )


def test_float32_is_the_default_and_shapes_follow_the_queries() -> None:
    assert [tuple(found.shape) for found in life_cycle()] == [(5, 12)] * 6
    assert (
        KeyValue().empty(3, 4).keys.dtype
        == PseudoInverse().empty(3, 4).values.dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    "memory", [KeyValue(), PseudoInverse(), DenseHopfield(), Hopfield(), Larimar()]
)
def test_mistakes_are_named(
    memory: KeyValue | PseudoInverse | DenseHopfield | Hopfield | Larimar,
) -> None:
    good, wide = signs(3, 4), signs(3, 5)
    paired = isinstance(memory, KeyValue | PseudoInverse)
    more = [good] if paired else []
    if isinstance(memory, Larimar):
        state = memory.start(torch.eye(4))
    else:
        state = (
            memory.empty(4, 4) if isinstance(memory, KeyValue | PseudoInverse) else memory.empty(4)
        )
        with pytest.raises(
            ValueError, match="empty memory: expected at least 1 stored item, got 0"
        ):
            memory.read(state, good)
    with pytest.raises(ValueError, match=r"must have shape \(rows, 4\), got \(3, 5\)"):
        memory.write(state, wide, *more)
    with pytest.raises(
        ValueError, match="must be finite in torch.float32, got 1 numbers that are not"
    ):
        memory.write(
            state, good.masked_fill(torch.eye(3, 4) * torch.arange(4) == 1, math.nan), *more
        )
    state = memory.write(state, good, *more)
    with pytest.raises(ValueError, match=r"queries must have shape \(rows, 4\), got \(3, 5\)"):
        memory.read(state, wide)
    with pytest.raises(WRONG):
        memory.read(state, good[0])
    with pytest.raises(ValueError, match="queries must be finite"):
        memory.read(state, good / 0)


def test_mistakes_with_pairs_are_named() -> None:
    memory, state = KeyValue(), key_values(torch.eye(3), torch.eye(3))
    with pytest.raises(ValueError, match="expected top_k <= 3 stored rows, got top_k=4"):
        KeyValue(top_k=4).address(state, torch.eye(3))
    with pytest.raises(ValueError, match="expected one value or one slot per key, 3, got 2"):
        memory.write(state, torch.eye(3), torch.eye(3)[:2])
    with pytest.raises(ValueError, match="expected slots from 0 to 2, got numbers from 0 to 3"):
        memory.write(state, torch.eye(3), torch.eye(3), torch.tensor([0, 1, 3]))
    with pytest.raises(ValueError, match="expected rows from 0 to 2, got numbers from -1 to -1"):
        memory.forget(state, torch.tensor([-1]))
    with pytest.raises(ValueError, match="values must be finite in torch.float16, got 3"):
        memory.write(memory.empty(3, 3, dtype=torch.float16), torch.eye(3), 1e6 * torch.eye(3))
    linear = PseudoInverse(0.0)
    same = torch.ones(2, 3)
    with pytest.raises(
        ValueError, match="expected linearly independent keys or a larger ridge, got ridge=0.0"
    ):
        linear.read(linear.write(linear.empty(3, 3), same, same), same)
    with pytest.raises(ValueError, match="one that is not stored"):
        linear.forget(linear.write(linear.empty(3, 3), same, same), torch.eye(3)[:1], same[:1])
    with pytest.raises(WRONG):
        linear.write(linear.empty(3, 3), same, same[:1])
    with pytest.raises(ValueError, match="must hold -1 and 1 only, got 6 other"):
        Hopfield().write(Hopfield().empty(3), torch.eye(3))
    for wrong in (
        lambda: KeyValue(top_k=0),
        lambda: PseudoInverse(-1.0),
        lambda: DenseHopfield(0.0),
    ):
        with pytest.raises(ValueError, match="expected|must be"):
            wrong()


def test_the_hook_checks_the_shape_of_a_state(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("needs the jaxtyping hook")
    with pytest.raises(jaxtyping.TypeCheckError):
        KeyValueState(torch.eye(3), torch.eye(3), torch.arange(2))
