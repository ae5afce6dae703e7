"""Sums of units against functions: rates that can be proved, least squares against numpy, and what
training may do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memlab.book.argument.universal_approximation import approximation
from memlab.book.argument.universal_approximation.finite_sum import FiniteSum

WIDTHS = (32, 64, 128, 256)


def rates(target: str, metric: str) -> float:
    found = [
        approximation.errors(approximation.constructed(target, width), target)[metric]
        for width in WIDTHS
    ]
    return approximation.rate(WIDTHS, found)


@pytest.mark.parametrize(
    ("target", "metric", "law"),
    [
        ("smooth", "sup", -2),
        ("smooth", "rms", -2),
        ("kinked", "sup", -1),
        ("kinked", "rms", -1.5),
        ("broken", "sup", 0),
        ("broken", "rms", -0.5),
        ("2-D", "sup", -2),
        ("2-D", "rms", -2),
    ],
)
def test_the_interpolant_obeys_its_law(target: str, metric: str, law: float) -> None:
    assert rates(target, metric) == pytest.approx(law, abs=0.08)


@pytest.mark.parametrize("width", WIDTHS)
def test_proved_bounds(width: int) -> None:
    """max|f''| h²/8 for the sine; 4/(9n) at a kink one or two thirds into an interval; 2/3 of the
    jump."""
    sup = {
        target: approximation.errors(approximation.constructed(target, width), target)["sup"]
        for target in approximation.TARGETS
    }
    assert sup["smooth"] <= math.pi**2 / 2 / width**2 + 1e-12
    assert sup["kinked"] <= 4 / 9 / width + 1e-12 and sup["kinked"] >= 0.9 * 4 / 9 / width
    assert 0.6 < sup["broken"] <= 2 / 3 + 1e-9
    # each of the two ridges has half the height, and runs over twice the length with half the units
    assert sup["2-D"] <= 2 * (math.pi**2 / 4) * (4 / width) ** 2 + 1e-12


def test_a_steep_unit_does_not_slip_past_the_jump() -> None:
    """Two ReLUs climb from 0 to 1 between two places of the grid: right at all of them, and wrong
    by the jump."""
    steep = 1e6
    climb = FiniteSum(
        alpha=torch.tensor([[steep, -steep]], dtype=torch.float64),
        W=torch.ones(2, 1).double(),
        b=torch.tensor([-1 / 3, -1 / 3 - 1 / steep], dtype=torch.float64),
        sigma=torch.relu,
    )
    found = approximation.errors(climb, "broken")
    assert found["rms"] < 1e-6 and found["sup"] > 0.99
    step = FiniteSum(
        alpha=torch.ones(1, 1).double(),
        W=torch.ones(1, 1).double(),
        b=torch.tensor([-1 / 3], dtype=torch.float64),
        sigma=lambda t: (t > 0).double(),
    )
    assert approximation.errors(step, "broken")["sup"] < 1e-6, (
        "a unit that jumps, too, is no continuous function"
    )


def test_ridges_are_the_target() -> None:
    X = approximation.grid(17, 2)
    waves = sum(g(X @ a) for g, a in approximation.RIDGES)
    assert torch.allclose(waves, approximation.TARGETS["2-D"](X), atol=1e-12)


def test_rate_is_the_exponent() -> None:
    assert approximation.rate([1, 2, 4, 8], [3 * n**-1.25 for n in (1, 2, 4, 8)]) == pytest.approx(
        -1.25
    )


def test_grids() -> None:
    assert approximation.grid(4).flatten().tolist() == [0.125, 0.375, 0.625, 0.875]
    assert approximation.grid(3, ends=True).flatten().tolist() == [0, 0.5, 1]
    assert approximation.grid(3, 2, ends=True).shape == (9, 2) and approximation.grid(
        3, 2, ends=True
    )[5].tolist() == [0.5, 1]


@pytest.mark.parametrize("target", ["smooth", "kinked", "broken"])
def test_any_number_of_squares_is_a_parabola(target: str) -> None:
    X = approximation.grid(1001, ends=True)
    y, at = approximation.TARGETS[target](X), approximation.grid(50)
    parabola = np.polyval(np.polyfit(X[:, 0].numpy(), y.numpy(), 2), at[:, 0].numpy())
    for width in (8, 200):
        G = approximation.untrained(target, width, seed=0)["squares"]
        assert np.allclose(G(at)[:, 0].numpy(), parabola, atol=1e-6)


def test_least_squares_agrees_with_numpy_and_keeps_the_units() -> None:
    units, X = approximation.draw(2, 12, torch.relu, seed=3), approximation.grid(8, 2)
    y = approximation.TARGETS["2-D"](X)
    G = approximation.solve(units, X, y)
    features = torch.relu(X @ units.W.T + units.b).numpy()
    assert np.allclose(
        G.alpha[0].numpy(), np.linalg.lstsq(features, y.numpy(), rcond=None)[0], atol=1e-8
    )
    assert G.W is units.W and G.b is units.b


def test_cosines_interpolate_by_the_discrete_cosine_transform() -> None:
    y = torch.tensor([3.0, 1, 4, 1, 5, 9], dtype=torch.float64)
    t = approximation.grid(6)
    G = approximation.solve(approximation.cosines(6), t, y)
    by_hand = [
        (2 if k else 1) / 6 * sum(y[i] * math.cos(math.pi * k * t[i, 0]) for i in range(6))
        for k in range(6)
    ]
    assert torch.allclose(G.alpha[0], torch.tensor(by_hand, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(G(t)[:, 0], y, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_drawn_units_bend_inside_the_cube(seed: int) -> None:
    units = approximation.draw(3, 50, torch.relu, scale=2.0, seed=seed)
    assert torch.allclose(units.W.norm(dim=1), torch.full((50,), 2.0, dtype=torch.float64))
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 3)
    pre = corners @ units.W.T + units.b
    assert ((pre.amin(0) < 0) & (pre.amax(0) > 0)).all()
    assert approximation.draw(3, 50, torch.relu, seed=seed).b.equal(
        approximation.draw(3, 50, torch.relu, seed=seed).b
    )


def test_training_improves_and_leaves_the_start_alone(untouched_global_random_state: None) -> None:
    starts = [approximation.draw(1, 16, torch.relu, seed=0)] * 2
    before = starts[0].alpha.clone()
    found = approximation.trained(["smooth", "kinked"], starts, steps=150)
    assert starts[0].alpha.equal(before)
    for G, target in zip(found, ("smooth", "kinked"), strict=True):
        assert (
            approximation.errors(G, target)["rms"]
            < 0.5 * approximation.errors(starts[0], target)["rms"]
        )


def test_side_by_side_is_as_alone() -> None:
    start = approximation.draw(1, 8, torch.relu, seed=1)
    both = approximation.trained(["smooth", "kinked"], [start, start], steps=30)
    alone = approximation.trained(["kinked"], [start], steps=30)
    assert torch.allclose(both[1].alpha, alone[0].alpha, atol=1e-9)


def test_two_units_are_the_kink() -> None:
    V = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    exact = FiniteSum(torch.ones(1, 2, dtype=torch.float64), V, -V[:, 0] / 3, torch.relu)
    assert approximation.errors(exact, "kinked")["sup"] < 1e-15


def test_contenders_are_all_there() -> None:
    seen = {
        (target, way, width)
        for target, way, width, _ in approximation.contenders((4,), (4,), seed=0, steps=2)
    }
    on_a_line = {"constructed", "random", "cosines", "squares", "trained"}
    assert seen == {
        (target, way, 4) for target in ("smooth", "kinked", "broken") for way in on_a_line
    } | {("2-D", way, 4) for way in ("constructed", "random", "trained")}


def test_training_gives_the_threads_back() -> None:
    before = torch.get_num_threads()
    approximation.trained(["kinked"], [approximation.draw(1, 4, torch.relu, seed=0)], steps=2)
    assert torch.get_num_threads() == before
