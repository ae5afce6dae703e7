"""Networks that return a list: exact in rational numbers, exact to rounding in the package, no
larger than said."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab.book.argument.universal_approximation import memorising

LIST = st.lists(st.integers(-50, 50), min_size=2, max_size=60)
one = torch.ones(1, dtype=torch.float64)


def column(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def hard_tanh(t: Fraction) -> Fraction:
    return max(t + 1, Fraction(0)) - max(t - 1, Fraction(0)) - 1


def exact_two_layers(z: list[int], y: list[int], at: int) -> Fraction:
    """The two-layer construction from its description alone, pair by pair, in rational numbers; one
    group of all."""
    scale = Fraction(max(map(abs, y)) or 1) * Fraction(21, 20)
    total = Fraction(0)
    for j, (zj, yj) in enumerate(zip(z, y, strict=True)):
        nearest = min(abs(zj - other) for other in z if other != zj)
        slope = Fraction(2 if j % 2 == 0 else -2, nearest)
        total += hard_tanh(yj / scale + slope * (at - zj))
    return scale * (total - 1)


@given(LIST)
def test_one_layer_is_the_linear_interpolant(labels: list[int]) -> None:
    places = [3 * i + i % 3 for i in range(len(labels))]
    G = memorising.memorise(column(places), torch.tensor(labels, dtype=torch.float64), one)
    at = np.linspace(0, places[-1], 200)
    said = G(torch.from_numpy(at)[:, None])[:, 0].numpy()
    assert np.allclose(said, np.interp(at, places, labels), atol=1e-9)
    assert int((G.W != 0).any(1).sum()) == len(labels) - 1


@given(LIST)
def test_two_layers_return_every_label(labels: list[int]) -> None:
    places = [3 * i + i % 3 for i in range(len(labels))]
    X, y = column(places), torch.tensor(labels, dtype=torch.float64)
    G = memorising.memorise_deep(X, y, one)
    assert (G(X) - y).abs().max() < 1e-8
    q = 2 * math.ceil(math.sqrt(len(y)) / 2)
    assert G.units == 2 * math.ceil(len(y) / q) - 1 + 2 * q


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=12).filter(lambda y: len(y) % 2 == 0))
def test_saturated_pairs_cancel_exactly(labels: list[int]) -> None:
    places = [3 * i + i % 3 for i in range(len(labels))]
    assert [exact_two_layers(places, labels, at) for at in places] == labels


def test_a_group_of_the_package_is_that_of_the_description() -> None:
    places, labels = [0, 2, 3, 7], [5, -3, 0, 4]
    G = memorising.memorise_deep(column(places), torch.tensor(labels, dtype=torch.float64), one)
    at = [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    ]  # inside the first group of two and the second, where the lines are those described
    inside = [t for t in at if t <= 2 or t >= 3]
    for t in inside:
        group = slice(0, 2) if t <= 2 else slice(2, 4)
        scale = Fraction(5) * Fraction(21, 20)
        z, y = places[group], labels[group]
        total = sum(
            hard_tanh(yj / scale + Fraction(2 if j == 0 else -2, abs(z[0] - z[1])) * (t - zj))
            for j, (zj, yj) in enumerate(zip(z, y, strict=True))
        )
        assert float(G(column([t]))) == pytest.approx(float(scale * (total - 1)), abs=1e-9)


@pytest.mark.parametrize("N", [100, 1000, 10_000])
def test_units_shrink_and_numbers_do_not(N: int) -> None:
    X, _, y = memorising.listed(N, 16, 64, seed=1)
    a = memorising.direction(X, seed=1)
    wide, deep = memorising.memorise(X, y, a), memorising.memorise_deep(X, y, a)
    assert len(wide.b) == N and deep.units <= 4 * math.sqrt(N) + 4
    assert 2 * N <= deep.numbers <= 2 * N + 4 * math.sqrt(N) + 20
    for G in (wide, deep):
        assert memorising.recited(G, X, y, width=N, within=0.05) == 1


def test_shuffled_labels_cost_the_same() -> None:
    X, rule, shuffled = memorising.listed(500, 16, 64, seed=2)
    assert rule.sort().values.equal(shuffled.sort().values) and not rule.equal(shuffled)
    a = memorising.direction(X, seed=2)
    found = [memorising.memorise_deep(X, y, a) for y in (rule, shuffled)]
    assert found[0].units == found[1].units
    assert all(
        memorising.recited(G, X, y) == 1 for G, y in zip(found, (rule, shuffled), strict=True)
    )


def test_the_rule_is_one_and_labels_are_equally_frequent() -> None:
    X, rule, _ = memorising.listed(640, 16, 64, seed=0)
    assert rule.unique(return_counts=True)[1].tolist() == [10] * 64
    assert X.min() >= 0 and X.max() <= 1
    # a linear fit of the points explains a rule along a direction, and hardly anything of shuffled
    # labels
    C, left = X - X.mean(0), []
    for y in memorising.listed(640, 16, 64, seed=0)[1:]:
        centred = (y - y.mean())[:, None]
        left.append(float((centred - C @ torch.linalg.lstsq(C, centred).solution).var() / y.var()))
    assert left[0] < 0.1 and left[1] > 0.9


def test_evaluate_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _, y = memorising.listed(50, 4, 8, seed=0)
    G = memorising.memorise(X, y, memorising.direction(X))
    whole = memorising.evaluate(G, X, 50)
    monkeypatch.setattr(memorising, "BLOCK", 120)
    assert torch.allclose(memorising.evaluate(G, X, 50), whole, atol=1e-9)


def test_direction_keeps_the_closest_points_apart_and_is_repeatable() -> None:
    X = memorising.listed(200, 16, 64, seed=0)[0]
    gaps = [
        float((X @ memorising.direction(X, 0, tries)).sort().values.diff().min())
        for tries in (1, 16)
    ]
    assert gaps[1] >= gaps[0] > 0
    assert memorising.direction(X, 0).equal(memorising.direction(X, 0))
    assert not memorising.direction(X, 0).equal(memorising.direction(X, 1))


def test_rounding_keeps_the_leading_bits() -> None:
    x = torch.tensor([1.0, -3.0, 1 / 3, 1e300, 0.0], dtype=torch.float64)
    assert memorising.rounded(x, 53).equal(x)
    kept = memorising.rounded(x, 24)
    assert kept[:3].equal(x[:3].float().double()), "float32 has 24 bits"
    assert memorising.rounded(torch.tensor([5.0]), 2).item() in (4.0, 6.0)


def test_rounded_memories_forget() -> None:
    X, _, y = memorising.listed(1000, 16, 64, seed=0)
    G = memorising.memorise_deep(X, y, memorising.direction(X))
    shares = [memorising.recited(G.rounded(bits), X, y) for bits in (16, 53)]
    assert shares[0] < 0.2 and shares[1] == 1


def test_wrong_arguments_are_named() -> None:
    X, y = column([0, 1, 1]), torch.zeros(3, dtype=torch.float64)
    for make in (memorising.memorise, memorising.memorise_deep):
        with pytest.raises(ValueError, match="two of them equal"):
            make(X, y, one)
        with pytest.raises(ValueError, match="expected two or more points, got 1"):
            make(X[:1], y[:1], one)
    with pytest.raises(ValueError, match="distinct points"):
        memorising.direction(X)


def test_no_global_random_state(untouched_global_random_state: None) -> None:
    X, _, y = memorising.listed(20, 4, 8, seed=0)
    memorising.memorise_deep(X, y, memorising.direction(X))
