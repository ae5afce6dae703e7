"""The dynamic sum against stock blocks' own outputs, hand-written sums and finite differences; and
where it fails."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memlab.book.argument.dynamic_sum import sums
from memlab.book.argument.universal_approximation import finite_sum
from memlab.models import blocks
from memlab.runtime import generator

EXACT, CLOSE = 1e-12, 1e-4


def inputs(tokens: int, dim: int, seed: int) -> Tensor:
    return torch.randn(tokens, dim, generator=generator(seed, "test inputs"), dtype=torch.float64)


def made(
    architecture: str, seed: int = 0, tokens: int = 5, dim: int = 16, **options: Any
) -> list[blocks.Call]:
    model = blocks.double(blocks.stock_model(architecture, seed, dim=dim, **options))
    return blocks.calls(model, inputs(tokens, dim, seed))


def error(form: sums.DynamicSum, call: blocks.Call) -> float:
    return float((form.evaluate(call.X) - call.Y).abs().max())


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
@pytest.mark.parametrize(
    ("seed", "heads", "tokens"), [(0, 4, 5), (1, 1, 5), (2, 2, 1), (3, 8, 7), (4, 4, 2)]
)
def test_identity_in_float64(architecture: str, seed: int, heads: int, tokens: int) -> None:
    [call] = made(architecture, seed, tokens, heads=heads)
    assert float(call.Y.abs().max()) > 1, "a block of zeros would prove nothing"
    assert error(sums.dynamic_sum(call), call) <= EXACT


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_identity_in_float32(architecture: str, seed: int) -> None:
    model = blocks.stock_model(architecture, seed, dim=16)
    [call] = blocks.calls(model, inputs(5, 16, seed).float())
    form = sums.dynamic_sum(call)
    assert call.Y.dtype == form.W.dtype == torch.float32
    assert 0 < error(form, call) <= CLOSE


@pytest.mark.parametrize(
    ("architecture", "exact"), [("gpt2", True), ("bloom", True), ("llama", False), ("qwen2", False)]
)
def test_stock_rms_norms_keep_float64_from_being_exact(architecture: str, exact: bool) -> None:
    """Why `double` swaps them: the stock ones compute in float32, so the block itself is only that
    precise."""
    model = blocks.stock_model(architecture, dim=16).double()
    [call] = blocks.calls(model, inputs(5, 16, 0))
    assert (error(sums.dynamic_sum(call), call) <= EXACT) is exact


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "llama", "num_key_value_heads": 1},
        {"architecture": "qwen2", "num_key_value_heads": 4},
        {"architecture": "llama", "attention_bias": True, "mlp_bias": True},
        {"architecture": "llama", "head_dim": 6},
        {"architecture": "bloom", "apply_residual_connection_post_layernorm": True},
        {"architecture": "gpt2", "activation_function": "gelu"},
        {"architecture": "gpt2", "n_inner": 7},
        {"architecture": "gpt2", "scale_attn_by_inverse_layer_idx": True},
        {"architecture": "qwen2", "rms_norm_eps": 0.1},
    ],
)
def test_identity_for_the_options_of_the_stock_configs(options: dict[str, Any]) -> None:
    for call in made(**options, layers=2):
        assert error(sums.dynamic_sum(call), call) <= EXACT


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_whole_stack_is_one_sum(architecture: str, layers: int) -> None:
    stack = made(architecture, layers=layers)
    form = sums.stack_sum(stack)
    assert float((form.evaluate(stack[0].X) - stack[-1].Y).abs().max()) <= 10 * EXACT
    assert len(form.b) == sum(len(sums.dynamic_sum(call).b) for call in stack)


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
def test_one_sum_of_units_skip_and_constant_included(architecture: str) -> None:
    [call] = made(architecture)
    form = sums.dynamic_sum(call)
    G, d = form.as_finite_sum(), call.X.numel()
    assert isinstance(G, finite_sum.FiniteSum) and len(G.b) == len(form.b) + 2 * d + 1
    assert float((G(call.X.reshape(-1)) - call.Y.reshape(-1)).abs().max()) <= EXACT
    elsewhere = torch.randn(3, d, generator=generator(5, "elsewhere"), dtype=torch.float64)
    by_hand = torch.stack([form.evaluate(x.reshape(call.X.shape)).reshape(-1) for x in elsewhere])
    torch.testing.assert_close(G(elsewhere), by_hand)


def test_the_skip_needs_the_right_activation() -> None:
    form = replace(sums.dynamic_sum(made("gpt2")[0]), sigma=torch.tanh)
    with pytest.raises(
        ValueError, match=r"expected an activation with σ\(z\) − σ\(−z\) = z .* got a gap"
    ):
        form.as_finite_sum()


def test_finite_sum_is_the_double_loop() -> None:
    G = finite_sum.FiniteSum(
        alpha=torch.tensor([[1.0, -2.0]]),
        W=torch.tensor([[0.5, 1.0], [2.0, 0.0]]),
        b=torch.tensor([0.1, -1.0]),
        sigma=torch.sigmoid,
    )
    x = (0.3, -0.7)

    def unit(w: tuple[float, float], b: float) -> float:
        return 1 / (1 + math.exp(-(w[0] * x[0] + w[1] * x[1] + b)))

    assert float(G(torch.tensor(x))) == pytest.approx(
        unit((0.5, 1.0), 0.1) - 2 * unit((2.0, 0.0), -1.0), abs=1e-6
    )


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
@pytest.mark.parametrize("part", ["M", "W", "alpha"])
def test_a_wrong_coefficient_shows(architecture: str, part: str) -> None:
    [call] = made(architecture)
    form = sums.dynamic_sum(call)
    value = getattr(form, part).clone()
    value.view(-1)[int(value.abs().argmax())] *= 1.001
    assert error(replace(form, **{part: value}), call) > 1e-6


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
def test_coefficients_of_another_input_are_wrong(architecture: str) -> None:
    [call] = made(architecture)
    other = call.at(inputs(5, 16, 99))
    assert error(sums.dynamic_sum(other), other) <= EXACT
    assert error(sums.dynamic_sum(other), call) > 0.1


def test_what_moves_and_what_does_not() -> None:
    """α stands still without a gate and moves with one; where there is no bias anywhere, b stays
    zero."""
    for architecture, moves in (
        ("gpt2", False),
        ("bloom", False),
        ("llama", True),
        ("qwen2", True),
    ):
        [call] = made(architecture)
        here, there = sums.dynamic_sum(call), sums.dynamic_sum(call.at(inputs(5, 16, 99)))
        assert torch.equal(here.alpha, there.alpha) is not moves
        assert not torch.allclose(here.W, there.W) and not torch.allclose(here.M, there.M)
        assert bool((here.b == 0).all()) is (architecture == "llama")


def test_scaling_the_input_leaves_the_coefficients_of_a_tiny_eps() -> None:
    """A norm forgets the scale of its input, so attention does too; M's norm part shrinks as the
    input grows."""
    [call] = made("llama", rms_norm_eps=1e-30)
    big = call.at(3 * call.X)
    torch.testing.assert_close(big.P, call.P, atol=1e-6, rtol=0)
    here, there = sums.dynamic_sum(call).M, sums.dynamic_sum(big).M
    one = torch.eye(len(here), dtype=here.dtype)
    torch.testing.assert_close((there - one) * 3, here - one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
def test_folded_is_exact_where_made_and_vanishes_at_zero(architecture: str) -> None:
    [call] = made(architecture)
    form = sums.dynamic_sum(call)
    folded = form.folded(call.X)
    assert error(folded, call) <= EXACT
    assert not torch.allclose(folded.W, form.W) or architecture == "llama"
    assert float(folded.evaluate(torch.zeros_like(call.X)).abs().max()) == 0


@pytest.mark.parametrize(
    "f",
    [
        lambda X: X.sort(0).values,
        lambda X: (X > 0.3).to(X),
        lambda X: torch.full_like(X, 1e6),
        lambda X: torch.frac(1e5 * X.sin()),
    ],
    ids=["sort", "step", "constant", "hash"],
)
def test_any_function_has_the_trivial_form(f: Any) -> None:
    X = inputs(4, 3, 0)
    form = sums.trivial_form(f, X, F.gelu)
    torch.testing.assert_close(form.evaluate(X), f(X), rtol=1e-15, atol=0)
    torch.testing.assert_close(
        form.evaluate(0 * X), form.evaluate(X)
    )  # it does not even look at its argument


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
def test_response_tells_a_derivative_from_a_frozen_form(architecture: str) -> None:
    [call] = made(architecture)
    step = 1e-3 * inputs(5, 16, 7)
    found = sums.response(sums.dynamic_sum(call), call.output, call.X, step)
    assert found["tangent"] < 0.05 < 0.3 < found["frozen"] and found["unchanged"] > 0.3
    truth = call.output(call.X + step) - call.Y
    by_hand = (
        sums.dynamic_sum(call).evaluate(call.X + step) - call.Y - truth
    ).norm() / truth.norm()
    assert found["frozen"] == pytest.approx(float(by_hand), rel=1e-9)


def test_response_of_a_static_sum_is_exact() -> None:
    """Where the coefficients do not move, freezing loses nothing."""
    draw = generator(0, "static")
    W, alpha = torch.randn(2, 7, 6, generator=draw, dtype=torch.float64)
    one, zero = torch.eye(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    form = sums.DynamicSum(
        M=one, m=zero, W=W, b=W[:, 0], alpha=alpha.T, constant=zero, sigma=F.gelu
    )
    found = sums.response(form, form.evaluate, inputs(3, 2, 0), inputs(3, 2, 1))
    assert found["frozen"] < 1e-12 < found["tangent"]


def test_compose_is_function_composition_for_static_sums() -> None:
    """Where it is computed, the composed sum has the value of the functions applied one after the
    other."""
    draw = generator(1, "compose")

    def some() -> sums.DynamicSum:
        new = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
        return sums.DynamicSum(new(6, 6), new(6), new(9, 6), new(9), new(6, 9), new(6), F.silu)

    first, second, third, X = some(), some(), some(), inputs(3, 2, 0)
    form = sums.compose([first, second, third], X)
    torch.testing.assert_close(form.evaluate(X), third.evaluate(second.evaluate(first.evaluate(X))))
