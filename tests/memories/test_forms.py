"""The other linear memories: recursive, Bayesian, as published; addresses; novelty. Oracles:
inverses, SVD, sklearn."""

from __future__ import annotations

import math
from itertools import pairwise

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memlab import runtime
from memlab.memories import (
    Kanerva,
    KanervaState,
    Larimar,
    PseudoInverse,
    PublishedLarimar,
    Recursive,
    RecursiveState,
    gaussian_addresses,
    iterate_inverse,
    iteration_residual,
    linear_addresses,
)

WRONG = (
    ValueError,
    jaxtyping.TypeCheckError,
)  # with the hook on, a wrong rank is caught before our own check


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        shape, generator=runtime.generator(seed, "forms", *shape), dtype=torch.float64
    )


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(normal(*shape, seed=seed), dim=1)


def ridge_solution(addresses: Tensor, values: Tensor, ridge: float) -> Tensor:
    """[W; √ridge I] M = [Z; 0] in the least-squares sense, by SVD."""
    eye = torch.eye(addresses.shape[1], dtype=torch.float64)
    longer = torch.cat([addresses, math.sqrt(ridge) * eye])
    return torch.linalg.lstsq(
        longer, torch.cat([values, 0 * eye[:, :1] @ values[:1]]), driver="gelsd"
    ).solution


# --- recursive least squares ----------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    slots=st.integers(1, 9),
    seed=st.integers(0, 999),
)
def test_recursive_is_batch(sizes: list[int], slots: int, seed: int) -> None:
    """Equations 4-6, in pieces of any size: M and C are those of one batch, C⁻¹ is the inverse
    (Woodbury)."""
    addresses, values = unit(sum(sizes), slots, seed=seed), normal(sum(sizes), 3, seed=seed)
    memory = Recursive(0.01)
    state = memory.empty(slots, 3)
    for some, more in zip(addresses.split(sizes), values.split(sizes), strict=True):
        state = memory.write(state, some, more)
    torch.testing.assert_close(
        state.memory, ridge_solution(addresses, values, 0.01), rtol=1e-8, atol=1e-8
    )
    precision = addresses.T @ addresses + 0.01 * torch.eye(slots, dtype=torch.float64)
    torch.testing.assert_close(state.inverse, torch.linalg.inv(precision), rtol=1e-7, atol=1e-7)
    assert state.count == sum(sizes)


@given(
    items=st.integers(2, 20),
    gone=st.integers(1, 6),
    at_once=st.booleans(),
    seed=st.integers(0, 999),
)
def test_recursively_forgotten_is_never_written(
    items: int, gone: int, at_once: bool, seed: int
) -> None:
    gone = min(gone, items - 1)
    addresses, values = unit(items, 8, seed=seed), normal(items, 3, seed=seed)
    memory = Recursive(1e-3)
    state = memory.write(memory.empty(8, 3), addresses, values)
    for some, more in zip(
        addresses[:gone].split(gone if at_once else 1),
        values[:gone].split(gone if at_once else 1),
        strict=True,
    ):
        state = memory.forget(state, some, more)
    twin = memory.write(memory.empty(8, 3), addresses[gone:], values[gone:])
    torch.testing.assert_close(
        memory.read(state, addresses), memory.read(twin, addresses), rtol=1e-6, atol=1e-6
    )
    assert state.count == twin.count


def test_a_fact_is_changed_by_forgetting_and_writing() -> None:
    """Larimar's edit: addresses come from a reference memory that no write changes, so they can be
    made again."""
    reference, prompts, values = normal(16, 24), normal(10, 24, seed=1), normal(10, 5)
    memory = Recursive()
    addresses = F.normalize(linear_addresses(reference, prompts), dim=1)
    state = memory.write(memory.empty(16, 5), addresses, values)
    again = F.normalize(linear_addresses(reference, prompts[3:4]), dim=1)
    changed = memory.write(memory.forget(state, again, values[3:4]), again, -values[3:4])
    wanted = values.clone()
    wanted[3] *= -1
    torch.testing.assert_close(memory.read(changed, addresses), wanted, rtol=0, atol=0.02)
    torch.testing.assert_close(memory.read(state, addresses), values, rtol=0, atol=0.02)


def test_recursive_and_streamed_sums_are_the_same_memory() -> None:
    keys, values, queries = unit(40, 12), normal(40, 5), unit(7, 12, seed=1)
    sums, steps = PseudoInverse(1e-3), Recursive(1e-3)
    summed = sums.write(sums.empty(12, 5, dtype=torch.float64), keys, values)
    torch.testing.assert_close(
        steps.read(steps.write(steps.empty(12, 5), keys, values), queries),
        sums.read(summed, queries),
        rtol=1e-7,
        atol=1e-7,
    )


def test_forgetting_what_was_not_written_is_refused_where_it_shows() -> None:
    memory = Recursive()
    state = memory.write(memory.empty(6, 2), unit(3, 6), normal(3, 2))
    with pytest.raises(ValueError, match="expected at most 3 stored rows to forget, got 4"):
        memory.forget(state, unit(4, 6), normal(4, 2))
    with pytest.raises(ValueError, match="expected rows that were written"):
        memory.forget(state, unit(1, 6, seed=9), normal(1, 2))
    with pytest.raises(ValueError, match="empty memory"):
        memory.read(memory.empty(6, 2), unit(1, 6))
    with pytest.raises(ValueError, match="expected a finite ridge >= 1e-6"):
        Recursive(0.0)


# --- the Kanerva machine --------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    slots=st.integers(1, 7),
    noise=st.floats(0.05, 2),
    seed=st.integers(0, 999),
)
def test_sequential_kanerva_is_the_closed_form_posterior(
    sizes: list[int], slots: int, noise: float, seed: int
) -> None:
    """With prior mean R and covariance U: precision U⁻¹ + WᵀW/σ², mean that times (U⁻¹R +
    WᵀZ/σ²)."""
    count = sum(sizes)
    addresses, patterns, prior = (
        normal(count, slots, seed=seed),
        normal(count, 4, seed=seed),
        normal(slots, 4),
    )
    half = normal(slots, slots, seed=seed + 1)
    covariance = half @ half.T + torch.eye(slots, dtype=torch.float64)
    memory = Kanerva(noise)
    state = memory.start(prior, covariance)
    for some, more in zip(addresses.split(sizes), patterns.split(sizes), strict=True):
        state = memory.write(state, some, more)
    before = torch.linalg.inv(covariance)
    posterior = torch.linalg.inv(before + addresses.T @ addresses / noise**2)
    mean = posterior @ (before @ prior + addresses.T @ patterns / noise**2)
    torch.testing.assert_close(state.covariance, posterior, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(state.mean, mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        memory.read(state, addresses), addresses @ mean, rtol=1e-6, atol=1e-6
    )


def test_kanerva_is_sklearns_bayesian_ridge() -> None:
    """With both precisions held where sklearn starts: coefficients, their covariance, and the
    predictive spread."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    addresses, pattern, queries = normal(20, 6).numpy(), normal(20, 1).numpy(), normal(5, 6, seed=3)
    alpha, prior = 4.0, 2.0
    ridge = linear_model.BayesianRidge(
        max_iter=1,
        tol=1e-12,
        alpha_init=alpha,
        lambda_init=prior,
        fit_intercept=False,
        alpha_1=1e12,
        alpha_2=1e12 / alpha,
        lambda_1=1e12,
        lambda_2=1e12 / prior,
    )
    ridge.fit(addresses, pattern[:, 0])
    mean, spread = ridge.predict(queries.numpy(), return_std=True)
    memory = Kanerva(alpha**-0.5)
    state = memory.start(
        torch.zeros(6, 1, dtype=torch.float64), torch.eye(6, dtype=torch.float64) / prior
    )
    state = memory.write(state, torch.from_numpy(addresses), torch.from_numpy(pattern))
    assert np.allclose(memory.read(state, queries)[:, 0], mean, rtol=1e-4)
    assert np.allclose(memory.variance(state, queries) + 1 / alpha, spread**2, rtol=1e-4)


def test_the_posterior_covariance_is_shared_by_all_columns() -> None:
    """Each column alone has the same posterior: the covariance does not look at the patterns."""
    addresses, patterns, memory = normal(9, 5), normal(9, 3), Kanerva(0.3)
    together = memory.write(
        memory.start(torch.zeros(5, 3, dtype=torch.float64)), addresses, patterns
    )
    for column in range(3):
        alone = memory.write(
            memory.start(torch.zeros(5, 1, dtype=torch.float64)), addresses, patterns[:, [column]]
        )
        torch.testing.assert_close(alone.mean, together.mean[:, [column]])
        torch.testing.assert_close(alone.covariance, together.covariance)


def test_kanerva_knows_how_wrong_it_is() -> None:
    """Memories drawn from the prior, observed with the noise: the mean squared error is the
    variance it states."""
    draws, slots, noise, memory = 4000, 8, 0.5, Kanerva(0.5)
    truth, addresses, asked = normal(slots, draws), normal(5, slots), normal(6, slots, seed=1)
    seen = addresses @ truth + noise * normal(5, draws, seed=2)
    state = memory.write(
        memory.start(torch.zeros(slots, draws, dtype=torch.float64)), addresses, seen
    )
    wrong = (memory.read(state, asked) - asked @ truth).square().mean(1)
    torch.testing.assert_close(wrong, memory.variance(state, asked), rtol=0.1, atol=0)


@given(items=st.integers(2, 12), seed=st.integers(0, 999))
def test_kanerva_forgets_and_equals_recursive_least_squares(items: int, seed: int) -> None:
    addresses, values, ridge = unit(items, 6, seed=seed), normal(items, 2, seed=seed), 0.05
    bayes, squares = Kanerva(1.0), Recursive(ridge)
    prior = torch.eye(6, dtype=torch.float64) / ridge
    state = bayes.write(
        bayes.start(torch.zeros(6, 2, dtype=torch.float64), prior), addresses, values
    )
    torch.testing.assert_close(
        state.mean, squares.write(squares.empty(6, 2), addresses, values).memory
    )
    left = bayes.forget(state, addresses[:1], values[:1])
    twin = bayes.write(
        bayes.start(torch.zeros(6, 2, dtype=torch.float64), prior), addresses[1:], values[1:]
    )
    torch.testing.assert_close(left.mean, twin.mean, rtol=1e-6, atol=1e-6)
    assert left.count == items - 1


def test_kanervas_mistakes_are_named() -> None:
    memory, zero = Kanerva(), torch.zeros(3, 2)
    with pytest.raises(ValueError, match="expected a finite noise >= 1e-6, got 0"):
        Kanerva(0.0)
    for wrong in (-torch.eye(3), torch.ones(3, 3) + torch.eye(3).roll(1, 0)):
        with pytest.raises(ValueError, match="expected a positive definite covariance of 3 slots"):
            memory.start(zero, wrong)
    with pytest.raises(WRONG):
        memory.start(zero, torch.eye(2))
    with pytest.raises(WRONG):
        memory.write(memory.start(zero), torch.ones(2, 3), torch.ones(1, 2))
    with pytest.raises(ValueError, match="expected at most 0 stored rows"):
        memory.forget(memory.start(zero), torch.ones(1, 3), torch.ones(1, 2))


# --- as published ---------------------------------------------------------------------------------


def with_singular(values: list[float], rows: int = 12, columns: int = 18) -> Tensor:
    left, right = (
        torch.linalg.qr(normal(rows, len(values))).Q,
        torch.linalg.qr(normal(columns, len(values))).Q,
    )
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@given(largest=st.floats(5.0, 63.0), steps=st.integers(1, 20))
def test_inside_its_bound_the_iteration_goes_to_the_inverse(largest: float, steps: int) -> None:
    """What is missing after S steps is (1 − αs²)^(2^S) of each direction: formula and numbers
    agree."""
    strengths = torch.linspace(1.0, largest, 12, dtype=torch.float64)
    matrix = with_singular(strengths.tolist())
    found = iterate_inverse(matrix, steps)
    missing = torch.linalg.svdvals(torch.eye(12, dtype=torch.float64) - matrix @ found)
    wanted = iteration_residual(strengths, steps).sort(descending=True).values
    torch.testing.assert_close(missing, wanted, rtol=1e-6, atol=1e-9)


def test_enough_steps_give_the_true_pseudo_inverse_and_rank_may_lack() -> None:
    matrix = with_singular([1.0, 7.0, 40.0, 62.0])
    torch.testing.assert_close(
        iterate_inverse(matrix, 20), torch.linalg.pinv(matrix, rtol=1e-9), rtol=0, atol=1e-8
    )
    tiny = 1e-4 * matrix
    assert torch.linalg.norm(iterate_inverse(tiny, 15)) < 0.1 * torch.linalg.norm(
        torch.linalg.pinv(tiny, rtol=1e-9)
    )
    torch.testing.assert_close(
        iterate_inverse(tiny, 25, start=None),
        torch.linalg.pinv(tiny, rtol=1e-9),
        rtol=1e-6,
        atol=1e-3,
    )


@pytest.mark.parametrize(("largest", "ends"), [(63.2, True), (63.3, False), (100.0, False)])
def test_the_bound_is_two_over_alpha(largest: float, ends: bool) -> None:
    """63.245² = 4000 = 2 / 5e-4."""
    found = iterate_inverse(with_singular([10.0, largest]), 30)
    assert bool(torch.isfinite(found).all()) == ends


@pytest.mark.parametrize("items", [1, 8, 16])
def test_published_and_exact_agree_where_the_iteration_has_converged(items: int) -> None:
    patterns, queries, initial = (
        8 * unit(items, 24),
        normal(5, 24),
        8 * torch.linalg.qr(normal(24, 16)).Q.T,
    )
    exact, published = Larimar(), PublishedLarimar(steps=25)
    wanted = exact.read(exact.write(exact.start(initial), patterns), queries)
    found = published.read(published.write(published.start(initial), patterns), queries)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_outside_its_window_the_published_memory_reads_nothing_or_nan() -> None:
    patterns = unit(8, 24).float()
    few, many = PublishedLarimar(steps=3), PublishedLarimar(steps=15)
    state = few.write(few.start(torch.eye(16, 24)), patterns)
    assert float((few.read(state, patterns) - patterns).norm() / patterns.norm()) > 0.9
    state = many.write(many.start(torch.eye(16, 24)), 1000 * patterns)
    assert bool(torch.isnan(many.read(state, patterns)).any())
    exact = Larimar()
    torch.testing.assert_close(
        exact.read(exact.write(exact.start(torch.eye(16, 24)), 1000 * patterns), patterns),
        patterns,
        rtol=1e-4,
        atol=1e-5,
    )


def test_noise_is_drawn_from_the_callers_generator(untouched_global_random_state: None) -> None:
    patterns, memory = 8 * unit(6, 24), PublishedLarimar(steps=20, noise=0.1, spread=0.2)
    start = memory.start(8 * torch.eye(12, 24, dtype=torch.float64))

    def once(seed: int) -> tuple[Tensor, Tensor]:
        draw = runtime.generator(seed)
        state = memory.write(start, patterns, draw)
        return state.memory, memory.read(state, patterns, draw)

    same, other, more = once(0), once(0), once(1)
    assert torch.equal(same[0], other[0]) and torch.equal(same[1], other[1])
    assert not torch.equal(same[0], more[0]) and not torch.equal(same[1], more[1])
    for call in (lambda: memory.write(start, patterns), lambda: memory.read(start, patterns)):
        with pytest.raises(ValueError, match="expected a generator for noise of 0.[12], got None"):
            call()


# --- addresses ------------------------------------------------------------------------------------


def test_linear_addresses_are_least_squares() -> None:
    reference, patterns = normal(7, 12), normal(5, 12, seed=1)
    wanted = torch.linalg.lstsq(reference.T, patterns.T).solution.T
    torch.testing.assert_close(linear_addresses(reference, patterns), wanted)


@given(
    slots=st.integers(1, 9),
    alpha=st.floats(1e-3, 1.0),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 999),
)
def test_gaussian_addresses_are_equations_7_and_8(
    slots: int, alpha: float, scale: float, seed: int
) -> None:
    reference, patterns = normal(slots, 4, seed=seed), normal(3, 4, seed=seed + 1)
    wanted = torch.zeros(3, slots, dtype=torch.float64)
    for i, z in enumerate(patterns):
        squares = [float((z - row).square().sum()) for row in reference]
        weights = [
            math.exp(-(square - min(squares)) / (2 * alpha * min(squares))) for square in squares
        ]
        wanted[i] = torch.tensor([weight / sum(weights) for weight in weights])
    found = gaussian_addresses(scale * reference, scale * patterns, alpha)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-9)


def test_a_gaussian_address_on_a_row_is_that_row() -> None:
    reference = torch.cat([normal(4, 6), normal(4, 6)[:1]])
    found = gaussian_addresses(reference, reference[:3], alpha=1.0)
    half = torch.zeros(5, dtype=torch.float64)
    half[[0, 4]] = 0.5
    torch.testing.assert_close(found[0], half)
    torch.testing.assert_close(found[1:], torch.eye(5, dtype=torch.float64)[1:3])
    nearest = torch.cdist(normal(9, 6, seed=5), reference).argmin(1)
    assert torch.equal(gaussian_addresses(reference, normal(9, 6, seed=5)).argmax(1), nearest)
    with pytest.raises(ValueError, match="expected a finite alpha > 0"):
        gaussian_addresses(reference, reference, 0.0)
    with pytest.raises(WRONG):
        linear_addresses(reference, reference[:, :4])


# --- novelty --------------------------------------------------------------------------------------


@given(items=st.integers(1, 14), twice=st.booleans(), seed=st.integers(0, 999))
def test_novelty_is_the_distance_from_the_span(items: int, twice: bool, seed: int) -> None:
    """Against SVD; kept pairs (up to 8), streamed sums (beyond), rows that repeat; Larimar's the
    same."""
    keys = normal(items, 8, seed=seed)
    keys = torch.cat([keys, keys]) if twice else keys
    basis = torch.linalg.svd(keys, full_matrices=False).Vh[: min(items, 8)]
    queries = torch.cat([normal(4, 8, seed=seed + 1), normal(2, len(keys), seed=seed) @ keys])
    wanted = (queries - queries @ basis.T @ basis).norm(dim=1) / queries.norm(dim=1)
    memory, auto = PseudoInverse(), Larimar()
    found = memory.novelty(
        memory.write(memory.empty(8, 8, dtype=torch.float64), keys, keys), queries
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert float(found[4:].max()) < 1e-6
    state = auto.write(auto.start(torch.eye(6, 8, dtype=torch.float64)), keys[:6])
    _, strength, directions = torch.linalg.svd(keys[:6], full_matrices=False)
    rows = directions[strength > 1e-9 * strength.max()]
    wanted = (queries - queries @ rows.T @ rows).norm(dim=1) / queries.norm(dim=1)
    torch.testing.assert_close(auto.novelty(state, queries), wanted, rtol=0, atol=1e-5)


def test_novelty_follows_writing_and_forgetting() -> None:
    keys, memory = unit(20, 12), PseudoInverse()
    empty = memory.empty(12, 1, dtype=torch.float64)
    state = memory.write(empty, keys[:5], keys[:5, :1])
    assert (
        float(memory.novelty(state, keys[:5]).max())
        < 1e-9
        < 0.3
        < float(memory.novelty(state, keys[5:]).min())
    )
    state = memory.forget(state, keys[:2], keys[:2, :1])
    assert (
        float(memory.novelty(state, keys[:2]).min()) > 0.3
        and float(memory.novelty(state, keys[2:5]).max()) < 1e-9
    )
    full = memory.write(empty, keys, keys[:, :1])
    assert float(memory.novelty(full, unit(3, 12, seed=1)).max()) < 1e-9
    assert float(memory.novelty(state, torch.zeros(1, 12, dtype=torch.float64))) == 0
    with pytest.raises(ValueError, match="empty memory"):
        memory.novelty(empty, keys)


def test_kanervas_variance_is_the_soft_form_of_novelty() -> None:
    """U = I, noise → 0: w U wᵀ is the squared distance from the span of the addresses."""
    addresses, queries, bayes, hard = (
        unit(5, 12),
        unit(9, 12, seed=1),
        Kanerva(1e-4),
        PseudoInverse(),
    )
    soft = bayes.write(
        bayes.start(torch.zeros(12, 1, dtype=torch.float64)), addresses, addresses[:, :1]
    )
    state = hard.write(hard.empty(12, 1, dtype=torch.float64), addresses, addresses[:, :1])
    torch.testing.assert_close(
        bayes.variance(soft, queries), hard.novelty(state, queries) ** 2, rtol=1e-4, atol=1e-6
    )


# --- all of them ----------------------------------------------------------------------------------


def test_other_forms_keep_the_queries_dtype_and_the_global_random_state(
    untouched_global_random_state: None,
) -> None:
    addresses, values = unit(4, 6).float(), normal(4, 3).float()
    recursive, bayes = Recursive(), Kanerva()
    state = recursive.write(recursive.empty(6, 3), addresses, values)
    other = bayes.write(bayes.start(torch.zeros(6, 3)), addresses, values)
    found = [
        recursive.read(state, addresses),
        bayes.read(other, addresses),
        bayes.variance(other, addresses),
        linear_addresses(addresses, addresses),
        gaussian_addresses(addresses, addresses),
    ]
    assert {part.dtype for part in found} == {torch.float32} and state.memory.dtype == torch.float64
    assert all(bool(torch.isfinite(part).all()) for part in found)


def test_the_hook_checks_the_shapes_of_these_states(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("needs the jaxtyping hook")
    for kind in (RecursiveState, KanervaState):
        with pytest.raises(jaxtyping.TypeCheckError):
            kind(torch.zeros(3, 2), torch.eye(2))


def test_more_noise_trusts_a_row_less() -> None:
    row, pattern = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])
    reads = []
    for noise in (0.1, 1.0, 3.0):
        memory = Kanerva(noise)
        reads.append(
            float(memory.read(memory.write(memory.start(torch.zeros(2, 1)), row, pattern), row))
        )
        assert reads[-1] == pytest.approx(2 / (1 + noise**2))
    assert all(later < earlier for earlier, later in pairwise(reads))
