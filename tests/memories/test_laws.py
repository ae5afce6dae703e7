"""The laws of memories/laws.py against other ways to the same number: brute force, quadrature,
scipy, root finding."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, optimize, special, stats

from memlab import runtime
from memlab.memories import Hopfield, Larimar, PseudoInverse, laws


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = runtime.generator(seed, "laws", *shape)
    return F.normalize(torch.randn(shape, generator=draw, dtype=torch.float64), dim=1)


def test_hopfields_limit_is_where_the_equations_lose_their_solution() -> None:
    """m = erf(y), C = √(2/(π α r)) e^(−y²), r = 1/(1 − C)²: solved for m at each load, as in the
    textbooks."""

    def missing(m: float, load: float) -> float:
        r = 1.0
        for _ in range(2000):
            c = math.sqrt(2 / (math.pi * load * r)) * math.exp(-(m**2) / (2 * load * r))
            r = 0.5 * r + 0.5 / (1 - c) ** 2
        return math.erf(m / math.sqrt(2 * load * r)) - m

    for load in (0.05, 0.10, 0.13):
        m = laws.hopfield_overlap(load)
        assert m > 0.97 and missing(m, load) == pytest.approx(0, abs=1e-4)
    assert laws.hopfield_overlap(0.1379) == pytest.approx(0.967, abs=2e-3)
    assert laws.hopfield_overlap(0.1381) == 0.0 and laws.hopfield_overlap(0.001) == pytest.approx(
        1.0
    )


def test_perfect_recall_is_a_count_of_flips() -> None:
    for units, patterns in ((64, 8), (256, 24)):
        kept = []
        for seed in range(40):
            signs = unit(patterns, units, seed=seed).sign().float()
            memory = Hopfield(steps=1, asynchronous=False)
            state = memory.write(memory.empty(units), signs)
            kept.append((memory.read(state, signs) == signs).all(1).float().mean())
        assert float(torch.stack(kept).mean()) == pytest.approx(
            laws.hopfield_exact(units, patterns), abs=0.05
        )
    assert laws.hopfield_exact(100, 1) == 1.0
    large = 10**9
    assert laws.hopfield_exact(large, int(large / (2 * math.log(large)))) == pytest.approx(
        1 - 1 / math.sqrt(4 * math.pi * math.log(large)), abs=0.01
    )


@pytest.mark.parametrize(("dim", "beta"), [(3, 2.0), (8, 4.0), (32, 16.0), (64, 8.0)])
def test_mean_weight_is_a_bessel_function(dim: int, beta: float) -> None:
    order = dim / 2 - 1
    wanted = math.gamma(dim / 2) * (2 / beta) ** order * special.iv(order, beta)
    assert laws.mean_weight(dim, beta) == pytest.approx(wanted, rel=1e-3)
    assert laws.dense_capacity(dim, beta, 0.9) == pytest.approx(
        1 + math.exp(0.9 * beta) / wanted, rel=1e-3
    )


@pytest.mark.parametrize("load", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_resolvent_is_the_integral_over_the_spectrum(load: float, ridge: float) -> None:
    """Marchenko–Pastur: eigenvalues of KᵀK for load · key rows, in closed form, plus zeros below
    load 1."""
    low, high = (1 - math.sqrt(load)) ** 2, (1 + math.sqrt(load)) ** 2

    def density(x: float) -> float:
        return math.sqrt(max((high - x) * (x - low), 0)) / (2 * math.pi * x)

    def integral(power: int) -> float:
        inside = integrate.quad(lambda x: density(x) / (x + ridge) ** power, low, high, limit=500)[
            0
        ]
        return inside + max(1 - load, 0) / ridge**power

    m, gain = laws.resolvent(load, ridge)
    assert m == pytest.approx(integral(1), rel=1e-4)
    assert gain == pytest.approx(integral(1) - ridge * integral(2), rel=1e-3)


def test_read_error_has_the_known_limits() -> None:
    for g in (0.1, 0.5, 0.9):
        assert laws.read_error(g) == pytest.approx(0, abs=1e-5)
        assert laws.read_error(g, 0.9) == pytest.approx(
            math.sqrt(0.01 + 0.19 * g / (1 - g)), rel=1e-4
        )
    for g in (1.5, 4.0):
        assert laws.read_error(g) == pytest.approx(math.sqrt(1 - 1 / g), rel=1e-6)
    assert laws.read_error(1.0, 0.9, 1e-6) == pytest.approx(
        math.sqrt(0.19 / (2 * 1e-3)), rel=0.01
    )  # the peak
    assert laws.read_error(0.5, 0.9, 1e9) == pytest.approx(
        1.0, abs=1e-6
    )  # all ridge: nothing is read
    with pytest.raises(ValueError, match="expected load >= 0 and ridge > 0"):
        laws.resolvent(0.5, 0.0)


@pytest.mark.parametrize("load", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("cosine", [1.0, 0.9, 0.6])
@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_read_error_is_what_is_measured(load: float, cosine: float, ridge: float) -> None:
    width, found = 256, []
    items = int(load * width)
    for seed in range(3):
        keys, values = unit(items, width, seed=seed), unit(items, 96, seed=seed)
        noise = unit(items, width, seed=seed + 10)
        noise = F.normalize(noise - (noise * keys).sum(1, keepdim=True) * keys, dim=1)
        memory = PseudoInverse(ridge)
        read = memory.read(
            memory.write(memory.empty(width, 96, dtype=torch.float64), keys, values),
            cosine * keys + math.sqrt(1 - cosine**2) * noise,
        )
        found.append(float((read - values).norm() / values.norm()))
    assert sum(found) / 3 == pytest.approx(laws.read_error(load, cosine, ridge), rel=0.03, abs=2e-3)


@pytest.mark.parametrize(("load", "cosine"), [(0.25, 0.95), (1.0, 0.8), (2.0, 0.6)])
def test_the_best_ridge_is_the_noise_of_the_cues(load: float, cosine: float) -> None:
    """With the read scaled by 1/c the error is least there: the scaled law, minimised
    numerically."""

    def scaled(log_ridge: float) -> float:
        m, gain = laws.resolvent(load, math.exp(log_ridge))
        a = 1 / cosine
        return (1 - a * cosine * m / (1 + m)) ** 2 + a**2 * (
            cosine**2 / (1 + m) ** 2 + 1 - cosine**2
        ) * gain

    best = optimize.minimize_scalar(scaled, bounds=(-12, 5), method="bounded").x
    assert math.exp(best) == pytest.approx(laws.best_ridge(load, cosine), rel=1e-3)


def test_a_projection_removes_the_noise_outside_the_span() -> None:
    patterns, memory = unit(96, 384), Larimar()
    noise = unit(96, 384, seed=1)
    noise = F.normalize(noise - (noise * patterns).sum(1, keepdim=True) * patterns, dim=1)
    state = memory.write(memory.start(torch.eye(128, 384, dtype=torch.float64)), patterns)
    read = memory.read(state, 0.6 * patterns + 0.8 * noise)
    found = float(F.cosine_similarity(read, patterns).mean())
    assert found == pytest.approx(laws.projected_cosine(0.6, 96 / 384), rel=0.01)


@pytest.mark.parametrize(("cosine", "free"), [(0.5, 4), (0.9, 1), (0.99, 40)])
def test_novelty_auc_is_fishers_distribution(cosine: float, free: int) -> None:
    assert laws.novelty_auc(cosine, free) == pytest.approx(
        stats.f.cdf(1 / (1 - cosine**2), free, free), abs=2e-3
    )
    assert laws.novelty_auc(cosine, 0) == laws.novelty_auc(0.0, free) == 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: laws.hopfield_overlap(math.nan), "expected a finite load >= 0, got nan"),
        (lambda: laws.hopfield_overlap(-0.1), "expected a finite load >= 0, got -0.1"),
        (lambda: laws.hopfield_exact(0, 3), "expected units >= 1, got 0"),
        (lambda: laws.hopfield_exact(8, -1), "expected patterns >= 0, got -1"),
        (lambda: laws.mean_weight(1, 2.0), "expected dim >= 2, got 1"),
        (lambda: laws.dense_capacity(8, 1e4), "expected a beta of at most 700, got 10000.0"),
        (lambda: laws.dense_capacity(8, 2.0, math.nan), "expected a cosine from -1 to 1, got nan"),
        (lambda: laws.resolvent(math.inf, 1.0), "expected load >= 0 and ridge > 0, both finite"),
        (lambda: laws.read_error(0.5, 2.0), "expected a cosine from -1 to 1, got 2.0"),
        (lambda: laws.best_ridge(0.5, 0.0), "expected a cosine other than 0, got 0.0"),
        (lambda: laws.projected_cosine(0.5, -1.0), "expected a share from 0 to 1, got -1.0"),
        (lambda: laws.novelty_auc(math.inf, 3), "expected a cosine from -1 to 1, got inf"),
    ],
)
def test_what_no_law_is_about_is_refused(call: Callable[[], float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_a_cue_that_says_nothing_projects_on_nothing() -> None:
    assert laws.projected_cosine(0.0, 0.0) == laws.projected_cosine(0.0, 0.5) == 0.0


def test_a_cosine_that_rounding_made_greater_than_one_is_one() -> None:
    for sign in (1.0, -1.0):
        measured = sign * (1 + 5e-7)
        assert laws.read_error(0.5, measured) == laws.read_error(0.5, sign)
        assert laws.best_ridge(0.5, measured) == 0
        assert laws.novelty_auc(measured, 10) == laws.novelty_auc(sign, 10)
        assert laws.projected_cosine(measured, 0.5) == sign
        assert laws.dense_capacity(20, 2.0, measured) == laws.dense_capacity(20, 2.0, sign)
    with pytest.raises(ValueError, match="expected a cosine from -1 to 1, got 1.001"):
        laws.read_error(0.5, 1.001)
