"""The training loop: its schedule, who trains what, the same result twice, and what it leaves
behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from memlab.training import Log, Muon, Recipe, fit, optimisers, orthogonalised, rate

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


class Regression(nn.Module):
    """A line through points, with the interface of a transformers model, an embedding and a dropout
    that may be on."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Linear(4, 3)
            self.layer = nn.Linear(3, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, targets: Tensor) -> Any:
        predicted = self.layer(self.dropout(self.embed(inputs)))
        return SimpleNamespace(loss=(predicted - targets).square().mean(), predicted=predicted)


def batches(_step: int) -> dict[str, Tensor]:
    return {"inputs": X, "targets": X.sum(1, keepdim=True)}


def loss(model: nn.Module) -> float:
    with torch.no_grad():
        return float(model(**batches(0)).loss)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.9))
def test_the_rate_stays_between_0_and_1_and_ends_low(
    steps: int, warmup: float, decay: float, floor: float
) -> None:
    recipe = Recipe(steps, warmup=warmup, decay=decay, floor=floor)
    rates = [rate(step, recipe) for step in range(steps)]
    assert all(0 < r <= 1 + 1e-12 for r in rates)
    if decay > 0.1 and steps > 50 and warmup + decay <= 1:
        assert max(rates) > 0.9 and rates[-1] <= floor + (1 - floor) * 1.001 / (steps * decay)


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(100, warmup=0.1, decay=0.5)
    assert [round(rate(step, recipe), 3) for step in (0, 4, 9, 10, 50, 75, 99)] == [
        0.1,
        0.5,
        1,
        1,
        1,
        0.5,
        0.02,
    ]
    assert rate(99, Recipe(100, decay=0.0)) == 1
    assert rate(99, Recipe(100, floor=0.1)) == pytest.approx(0.1 + 0.9 * 0.02)


@pytest.mark.parametrize(
    "recipe", [Recipe(60, lr=0.05), Recipe(60, lr=0.05, muon=0.05, muon_bfloat16=False)]
)
def test_it_learns_and_twice_the_same(recipe: Recipe) -> None:
    first, second = Regression(), Regression()
    before = loss(first)
    fit(first, batches, recipe)
    fit(second, batches, recipe)
    assert loss(first) < 0.05 * before
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not first.training


def test_no_steps_change_nothing() -> None:
    model = Regression()
    log = fit(model, batches, Recipe(0))
    assert (
        loss(model) == loss(Regression())
        and isinstance(log, Log)
        and log.rows == []
        and not model.training
    )


def test_the_log_has_a_row_at_every_report_and_at_the_end() -> None:
    told: list[int] = []
    log = fit(
        Regression(), batches, Recipe(25), every=10, report=lambda step, row: told.append(step)
    )
    assert told == [row["step"] for row in log.rows] == [10, 20, 25]
    assert log.rows[0]["loss"] >= log.rows[-1]["loss"] and 0 < log.rows[0]["seconds"] <= log.seconds


def test_a_report_sees_the_model_without_dropout_and_training_goes_on_with_it() -> None:
    model, modes = Regression(dropout=0.5), []

    def seen(step: int) -> dict[str, Tensor]:
        modes.append(model.training)
        return batches(step)

    fit(model, seen, Recipe(4), every=1, report=lambda step, row: modes.append(model.training))
    assert modes == [True, False] * 4


def test_frozen_parameters_stay_as_they_are() -> None:
    model = Regression()
    model.embed.requires_grad_(False)
    before = model.embed.weight.clone()
    fit(model, batches, Recipe(5, lr=0.1, muon=0.1, muon_bfloat16=False))
    assert torch.equal(model.embed.weight, before) and not torch.equal(
        model.layer.weight, Regression().layer.weight
    )


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(
        ValueError, match="expected a model with parameters to train, got Regression"
    ):
        fit(Regression().requires_grad_(False), batches, Recipe(1))


def test_muon_takes_the_matrices_that_are_no_embedding() -> None:
    model = Regression()
    muon, adamw = optimisers(model, Recipe(1, lr=0.1, muon=0.2, muon_bfloat16=False))
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(model.layer.weight)]
    assert len(adamw.param_groups[0]["params"]) == 3
    assert (muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"]) == (0.2, 0.1)
    assert [type(one) for one in optimisers(model, Recipe(1))] == [torch.optim.AdamW]


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_orthogonalised_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.5 and values.max() < 1.3


def test_the_float32_muon_takes_the_step_of_the_one_in_torch() -> None:
    ours, theirs = Regression(), Regression()
    fit(ours, batches, Recipe(1, muon=0.1, muon_bfloat16=False))
    fit(theirs, batches, Recipe(1, muon=0.1))
    moved = ours.layer.weight - Regression().layer.weight
    assert moved.norm() > 0.01
    assert (ours.layer.weight - theirs.layer.weight).norm() < 0.05 * moved.norm()


def test_the_gradient_is_clipped_before_the_step() -> None:
    class Steep(Regression):
        def forward(self, inputs: Tensor, targets: Tensor) -> Any:
            return SimpleNamespace(loss=1e6 * super().forward(inputs, targets).loss)

    model = Steep()
    fit(model, batches, Recipe(1, clip=0.5))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert norm == pytest.approx(0.5, rel=1e-3)


def test_bfloat16_trains_too() -> None:
    model = Regression()
    before = loss(model)
    fit(model, batches, Recipe(60, lr=0.05, bfloat16=True))
    assert loss(model) < 0.1 * before and model.layer.weight.dtype == torch.float32
