"""Chapter 9's measurements: their random rows are what they say, and each number agrees with a
plain computation."""

from __future__ import annotations

import math

import pytest
import torch

from memlab.book.outside_the_weights.associative_memories import measure
from memlab.corpora import patterns
from memlab.memories import laws


def test_rows_and_cues_are_what_they_say(untouched_global_random_state: None) -> None:
    keys = patterns.rows(200, 64, 0, "a")
    assert torch.allclose(keys.norm(dim=1), torch.ones(200).double())
    assert torch.equal(keys, patterns.rows(200, 64, 0, "a")) and not torch.equal(
        keys, patterns.rows(200, 64, 0, "b")
    )
    for spectrum in (0.0, 2.0):
        cues = patterns.cues(keys, 0.7, 0, spectrum=spectrum)
        assert torch.allclose((cues * keys).sum(1), torch.full((200,), 0.7).double())
        assert torch.allclose(cues.norm(dim=1), torch.ones(200).double())
    first = [
        float(patterns.rows(400, 64, 0, spectrum=bend)[:, :4].square().sum(1).mean())
        for bend in (0.0, 1.0)
    ]
    assert first[0] == pytest.approx(4 / 64, rel=0.1) and first[1] > 0.7
    signs = patterns.signs(300, 50, 1)
    assert set(signs.unique().tolist()) == {-1.0, 1.0} and abs(float(signs.mean())) < 0.05


def test_a_crowd_is_counted_as_if_keys_came_one_by_one() -> None:
    keys, beta = patterns.rows(2**12, 8, 3, "dense"), 4.0
    counts = []
    for own in range(4):
        weights = torch.exp(beta * (keys @ keys[own] - 1))
        weights[own] = 0
        count = 1
        while count <= len(weights) and float(weights[:count].sum()) < 1:
            count += 1
        counts.append(float(count))
    found = measure.crowd(8, "d/2", 3, most=2**12, asked=4)["capacity"]
    assert found == torch.tensor(counts).median()
    assert math.isnan(measure.crowd(32, "d/2", 0, most=64, asked=4)["capacity"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_measurement_lies_near_its_law(seed: int) -> None:
    assert (
        measure.settle(128, 0.08, seed)["overlap"]
        > 0.98
        > 0.8
        > measure.settle(400, 0.25, seed)["overlap"]
    )
    near = {
        "exact": measure.perfect(512, 1.25, seed),
        "capacity": measure.crowd(16, "d/2", seed, most=2**12),
        "error": measure.linear(0.5, 200, 0.9, None, seed),
        "actual": measure.believed(0.5, 96, 1.0, seed),
        "cosine": measure.projection(0.3, 192, 0.7, seed),
        "residual": measure.never_written(0.9, 192, 0.7, 0.0, seed),
    }
    for metric, found in near.items():
        assert found[metric] == pytest.approx(found["law"], rel=0.15), metric


def test_whitened_cues_follow_the_law_of_the_cosine_they_now_have() -> None:
    for noise in (0.0, 1.0, 2.0):
        found = measure.linear(0.5, 128, 0.95, 1e-8, 0, keys=1.0, noise=noise, whiten=True)
        assert found["error"] == pytest.approx(found["expected"], rel=0.1)
        assert found["law"] == pytest.approx(found["expected"], rel=0.15)
    assert (
        found["seen"]
        > 0.95
        > measure.linear(0.5, 128, 0.95, 1e-8, 0, keys=1.0, whiten=True)["seen"] + 0.4
    )


def test_alike_keys_break_the_linear_read_and_not_the_nearest_key() -> None:
    found = measure.linear(0.75, 128, 0.95, 1e-8, 0, keys=1.0)
    assert found["identified"] < 0.5 and found["nearest key"] > 0.95
    assert found["error"] == pytest.approx(found["expected"], rel=0.1)


def test_a_wrong_belief_is_too_sure() -> None:
    right, wrong = (measure.believed(0.5, 96, scale, 0) for scale in (1.0, 3.0))
    assert right["stated"] == wrong["stated"] == pytest.approx(right["actual"], rel=0.1)
    assert wrong["actual"] > 2.5 * right["actual"]


def test_one_shot_solved_and_iterated() -> None:
    for scale in (0.01, 1.0, 1000.0):
        assert measure.one_shot(0.5, 64, None, 0, scale=scale)["error"] < 1e-5
    assert measure.one_shot(0.5, 64, 15, 0, scale=0.01)["error"] > 0.9
    lost = measure.one_shot(0.5, 64, 15, 0, scale=1000.0)
    assert lost["finite"] == 0 and math.isnan(lost["error"])


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_forgotten_is_never_written_and_not_silent(load: float) -> None:
    found = measure.forgetting(load, 128, 0)
    left = load - round(load * 128) // 4 / 128
    assert found["difference"] < 1e-6 and found["kept"] < 0.02
    assert found["length"] == pytest.approx(math.sqrt(left / (1 - left)), rel=0.15)


def test_the_residual_fails_where_the_chapter_says() -> None:
    found = {load: measure.never_written(load, 128, 0.95, 0.0, 0) for load in (0.25, 0.75, 1.0)}
    assert found[0.25]["residual"] > 0.999 and found[1.0]["residual"] == 0.5 == laws.novelty_auc(
        0.95, 0
    )
    assert all(
        abs(row["residual, mixture"] - 0.5) < 0.15 and row["nearest key"] > 0.99
        for row in found.values()
    )
    assert found[0.25]["length"] > 0.9 and found[0.75]["length"] < 0.1
    assert measure.never_written(0.75, 128, 0.95, 1.0, 0)["residual"] < 0.85
