"""Low-rank corrections: at first nothing, then a matrix of low rank, folded in without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memlab import runtime
from memlab.training import low_rank


def test_a_correction_starts_at_nothing_and_folds_in() -> None:
    draw = torch.Generator().manual_seed(0)
    linear, x = nn.Linear(6, 4), torch.randn(3, 6, generator=draw)
    plain, low = linear(x), low_rank.LowRank(linear, 2, draw)
    assert torch.equal(low(x), plain)
    with torch.no_grad():
        low.up += torch.randn(4, 2, generator=draw)
    corrected = low(x)
    assert not torch.allclose(corrected, plain, atol=0.1)
    assert [name for name, one in low.named_parameters() if one.requires_grad] == ["down", "up"]
    assert torch.allclose(low.folded()(x), corrected, atol=1e-5) and low.folded() is linear


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), nn.LayerNorm(4))


def test_a_model_is_corrected_where_it_is_chosen_and_is_one_like_any_other_afterwards() -> None:
    model, x = network(), torch.randn(5, 6, generator=runtime.generator(0))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    maps = low_rank.correct(model, 2, runtime.generator(0, "low rank"), lambda name: name == "2")
    assert list(maps) == ["2"] and torch.equal(model(x), functional(before, x))
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert sum(one.numel() for one in trained.values()) == 2 * (8 + 4)
    optimiser = torch.optim.SGD(trained.values(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(x)[:, 0].sum().backward()
        optimiser.step()
    taught = model(x)
    low_rank.fold(model, maps)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(p.requires_grad for p in model.parameters())
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["2.weight"]
    assert int(torch.linalg.matrix_rank(after["2.weight"] - before["2.weight"], rtol=1e-4)) <= 2
    assert not torch.allclose(taught, functional(before, x), atol=1e-3)
    torch.testing.assert_close(model(x), taught, atol=1e-6, rtol=0)


def functional(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    model = network()
    model.load_state_dict(weights)
    found: torch.Tensor = model(x)
    return found


def test_mistakes_are_named() -> None:
    draw = runtime.generator(0)
    with pytest.raises(ValueError, match="expected a rank of at least 1, got 0"):
        low_rank.correct(network(), 0, draw, lambda name: True)
    with pytest.raises(ValueError, match="to correct in Sequential, got none of such a name"):
        low_rank.correct(network(), 1, draw, lambda name: False)
