"""Weights as lists of numbers: against autograd one poem at a time, and against training one box at
a time."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

from memlab import evaluation
from memlab.book.opening_the_box.before_you_ask import weight_probes
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems
from memlab.models import stock
from memlab.training import Recipe

POOL = corpus.synthetic(6, 4, 8, authors=4, seed=0)


def build(seed: int, **options: Any) -> Any:
    return stock.for_poems("gpt2", POOL, dim=8, layers=1, seed=seed, **options)


def subset(poems: Poems, rows: torch.Tensor) -> Poems:
    return replace(poems, keys=poems.keys[rows], bodies=poems.bodies[rows])


def test_flat_is_all_weights_once_and_a_copy() -> None:
    model = build(0)
    weights = weight_probes.flat(model)
    assert len(weights) == stock.size(model) == sum(p.numel() for p in model.parameters())
    weights.zero_()
    assert weight_probes.flat(model).abs().sum() > 0


def test_slopes_are_autograds_poem_by_poem_at_the_weights_given() -> None:
    model, other = build(0), build(1)
    found = weight_probes.slopes(
        other, weight_probes.flat(model), POOL
    )  # `other` lends its architecture only
    labels = POOL.ids.masked_fill(torch.arange(POOL.ids.shape[1]) < 3, -100)
    for i in range(6):
        loss = model(POOL.ids[i : i + 1], labels=labels[i : i + 1]).loss
        by_hand = torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]
        )
        assert torch.allclose(found[i], by_hand, atol=1e-6)


def test_nothing_warns_and_nothing_moves(untouched_global_random_state: None) -> None:
    model = build(0)
    before = evaluation.fingerprint(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weight_probes.slopes(model, weight_probes.flat(model), POOL)
        crowd = weight_probes.crowd(POOL, build, 3, same=False)
        crowd.read(crowd.learn(Recipe(2)))
    assert evaluation.fingerprint(model) == before


def test_displacement_is_minus_the_first_order_change_of_the_loss() -> None:
    """For a short way it predicts how much each poem's loss falls."""
    model = build(0)
    start = weight_probes.flat(model)
    slope = weight_probes.slopes(model, start, POOL)
    way = -1e-3 * slope.mean(0) / slope.mean(0).norm()
    before = evaluation.read(model, POOL).nll.mean(1)
    torch.nn.utils.vector_to_parameters(start + way, model.parameters())
    fallen = before - evaluation.read(model, POOL).nll.mean(1)
    assert torch.allclose(weight_probes.displacement(slope, way), fallen, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("same", [True, False])
def test_a_crowd_learns_as_each_box_would_alone(same: bool) -> None:
    crowd = weight_probes.crowd(POOL, build, 3, same=same, seed=4)
    recipe = Recipe(25, lr=1e-2, clip=math.inf)
    looks: dict[int, torch.Tensor] = {}
    together = crowd.learn(
        recipe, look_at=(1, 10), report=lambda step, weights: looks.update({step: weights})
    )
    assert sorted(looks) == [1, 10] and not torch.equal(looks[1], looks[10])
    reading = crowd.read(together)
    for place in range(3):
        alone = build(0 if same else place)
        assert torch.equal(crowd.start[place], weight_probes.flat(alone))
        stock.teach(alone, subset(POOL, crowd.member[place]), recipe)
        assert torch.allclose(together[place], weight_probes.flat(alone), atol=2e-3)
        read = evaluation.read(alone, POOL)
        assert torch.allclose(reading.nll[6 * place : 6 * place + 6], read.nll, atol=0.05)
    assert reading.nll.shape == (18, 4) and not together.requires_grad


def test_halves_depend_on_the_seed_alone() -> None:
    asked = ((True, 0), (False, 0), (True, 1))
    same, own, other = (
        weight_probes.crowd(POOL, build, 8, same=alike, seed=seed) for alike, seed in asked
    )
    assert torch.equal(same.member, own.member) and not torch.equal(same.member, other.member)
    assert same.member.sum(1).unique().tolist() == [3]
    assert (same.start == same.start[0]).all() and not (own.start == own.start[0]).all()


@pytest.mark.parametrize("same", [True, False])
def test_slopes_of_a_crowd_are_each_boxs_own(same: bool) -> None:
    crowd = weight_probes.crowd(POOL, build, 3, same=same)
    found = crowd.slopes()
    assert found.shape == (3, 6, crowd.start.shape[1])
    for place in range(3):
        assert torch.allclose(
            found[place], weight_probes.slopes(crowd.box, crowd.start[place], POOL), atol=1e-6
        )
    moved = torch.randn(crowd.start.shape, generator=torch.Generator().manual_seed(0))
    scores = weight_probes.displacement(found, moved)
    assert torch.allclose(
        scores[1], weight_probes.displacement(found[1], moved[1]), atol=1e-5
    ) and scores.shape == (3, 6)


def test_crowds_that_make_no_sense_are_refused() -> None:
    for boxes, pool in ((0, POOL), (2, subset(POOL, torch.tensor([0])))):
        with pytest.raises(ValueError, match="expected at least 1 box and 2 poems"):
            weight_probes.crowd(pool, build, boxes, same=True)
    crowd = weight_probes.crowd(POOL, build, 2, same=True)
    uneven = crowd.member.clone()
    uneven[0] = True
    for member in (uneven, crowd.member[:, :5]):
        with pytest.raises(ValueError, match="expected a row a box and a column a poem"):
            replace(crowd, member=member)
