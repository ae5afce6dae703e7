"""Instruments against independent oracles: drawing for the closed forms, scipy and scikit-learn for
the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import TemperatureLogitsWarper, TopKLogitsWarper

from memlab import evaluation, runtime
from memlab.book.opening_the_box.before_you_ask import instruments
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems
from memlab.models import stock
from memlab.training import Recipe

POEMS = corpus.synthetic(16, 4, 8, authors=4, seed=0)
FRESH = corpus.synthetic(16, 4, 8, authors=4, seed=0, fresh=True)


@pytest.fixture(scope="module")
def half_taught() -> Any:
    """A box that is sure of some words and unsure of others: p_z between 0 and 1."""
    model = stock.for_poems("gpt2", POEMS, dim=16, layers=1, seed=0)
    stock.teach(model, POEMS, Recipe(60, lr=1e-2))
    return model


# ---- by drawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 3, 12, 99])
def test_the_sampler_is_that_of_transformers(temperature: float, top_k: int) -> None:
    logits = torch.randn(5, 12, generator=runtime.generator(1))
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        warped = TopKLogitsWarper(top_k)(None, warped)
    ours = instruments.sampler(logits, temperature, top_k).exp()
    assert torch.allclose(ours, warped.double().softmax(-1), atol=1e-6)
    assert torch.allclose(ours.sum(-1), torch.ones(5).double())


def test_ties_at_the_border_stay_in() -> None:
    p = instruments.sampler(torch.tensor([[2.0, 1.0, 1.0, 0.0]]), 1.0, 2).exp()[0]
    assert p[3] == 0 and p[1] == p[2] > 0


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, 0), (-1.0, 0), (math.nan, 0), (1.0, -1)])
def test_a_sampler_that_makes_no_sense_is_refused(temperature: float, top_k: int) -> None:
    with pytest.raises(ValueError, match="expected a positive temperature"):
        instruments.sampler(torch.zeros(1, 3), temperature, top_k)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (1.0, 3), (2.0, 0), (0.5, 2)])
def test_closed_form_agrees_with_drawing(half_taught: Any, temperature: float, top_k: int) -> None:
    """p_z, and with it 1 − (1 − p_z)^n, against 400 answers a poem: poem by poem and in all."""
    log_p = instruments.word_chances(
        instruments.answers(half_taught, POEMS), POEMS, temperature, top_k
    ).sum(1)
    p, rounds = log_p.exp(), 400
    draw = runtime.generator(0, "test", int(10 * temperature), top_k)
    said = instruments.draw_answers(
        half_taught, POEMS.keys.repeat(rounds, 1), 4, draw, temperature, top_k
    )
    hits = (said.view(rounds, 16, 4) == POEMS.bodies).all(2).double()
    assert 0.02 < float(p.mean()) < 0.99
    assert (hits.sum(0) - rounds * p).abs().le(4.5 * (rounds * p * (1 - p)).sqrt() + 1e-6).all()
    in_five = hits.view(rounds // 5, 5, 16).amax(1).mean()
    assert float(in_five) == pytest.approx(float(instruments.within(log_p, 5).mean()), abs=0.05)


def test_untempered_chances_are_those_that_evaluation_reads(half_taught: Any) -> None:
    for poems in (POEMS, FRESH):
        logits = instruments.answers(half_taught, poems, batch=5)
        assert logits.shape == (16, 4, poems.tokens)
        reading = evaluation.read(half_taught, poems)
        assert torch.allclose(
            instruments.word_chances(logits, poems).float(), -reading.nll, atol=1e-4
        )
        assert torch.equal(logits.argmax(-1) == poems.bodies, reading.right)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_generate_says_what_the_argmax_says_poem_by_poem(seed: int) -> None:
    """Some poems recited, others not: the same ones, by free running and by one forward pass."""
    poems = corpus.synthetic(24, 6, 16, authors=4, seed=seed)
    model = stock.for_poems("gpt2", poems, dim=16, layers=1, seed=seed)
    seen = set()

    def look(_step: int, _row: dict[str, float]) -> None:
        recited = (evaluation.recite(model, poems.keys, 6) == poems.bodies).all(1)
        assert recited.equal((instruments.answers(model, poems).argmax(-1) == poems.bodies).all(1))
        seen.add(int(recited.sum()))

    stock.teach(model, poems, Recipe(120, lr=1e-2), every=15, report=look)
    assert any(0 < count < 24 for count in seen)


def test_top_1_is_greedy_decoding(half_taught: Any) -> None:
    log_p = instruments.word_chances(instruments.answers(half_taught, POEMS), POEMS, 1.0, 1).sum(1)
    greedy = evaluation.recite(half_taught, POEMS.keys, 4)
    assert torch.equal(log_p.exp() == 1, (greedy == POEMS.bodies).all(1))
    said = instruments.draw_answers(half_taught, POEMS.keys, 4, runtime.generator(5), top_k=1)
    assert torch.equal(said, greedy)


def test_the_dice_are_an_argument(half_taught: Any, untouched_global_random_state: None) -> None:
    one, same, other = (
        instruments.draw_answers(half_taught, POEMS.keys, 4, runtime.generator(seed), 2.0)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


@given(st.floats(0.001, 1.0), st.floats(0.05, 0.95))
def test_tries_needed_is_the_smallest_number_that_does(p_z: float, chance: float) -> None:
    log_p = torch.tensor([p_z], dtype=torch.float64).log()
    n = int(instruments.tries_needed(log_p, chance))
    assert n >= 1 and float(instruments.within(log_p, n)) >= chance - 1e-9
    assert n == 1 or float(instruments.within(log_p, n - 1)) < chance + 1e-9
    assert float(instruments.within(log_p, 3)) == pytest.approx(1 - (1 - p_z) ** 3)


def test_tries_for_what_never_comes_always_comes_or_almost_never() -> None:
    log_p = torch.tensor([-math.inf, 0.0, -80.0], dtype=torch.float64)
    tries = instruments.tries_needed(log_p)
    assert tries[0] == math.inf and tries[1] == 1
    assert float(tries[2]) == pytest.approx(math.log(2) * math.exp(80), rel=1e-6)
    assert (
        instruments.within(log_p, 10).tolist()[:2] == [0, 1]
        and 0 < float(instruments.within(log_p, 10)[2]) < 1e-30
    )
    for chance in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            instruments.tries_needed(log_p, chance)


def test_beginnings_are_chances_of_the_first_mistake() -> None:
    law = instruments.beginnings(torch.tensor([0.5, 0.25, 1.0]).log())
    assert law.tolist() == pytest.approx([0.5, 0.375, 0.0, 0.125])
    assert float(instruments.beginnings(torch.randn(9).abs().neg()).sum()) == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chi_square_is_that_of_scipy(seed: int) -> None:
    draw = runtime.generator(seed, "chi")
    p = torch.rand(7, generator=draw).double() + 0.1
    p = p / p.sum()
    counts = torch.multinomial(p, 500, True, generator=draw).bincount(minlength=7)
    statistic, degrees = instruments.chi_square(counts, p)
    expected = scipy.stats.chisquare(counts.numpy(), (500 * p).numpy())
    assert (statistic, degrees) == (pytest.approx(float(expected.statistic)), 6)
    assert instruments.chi_square_tail(statistic, degrees) == pytest.approx(float(expected.pvalue))


def test_rare_categories_are_taken_together() -> None:
    p = torch.tensor([0.5, 0.4, 0.04, 0.04, 0.02], dtype=torch.float64)
    counts = torch.tensor(
        [52, 38, 5, 2, 3]
    )  # expected 50, 40, 4, 4, 2: the last three make one of 10
    assert instruments.chi_square(counts, p) == (pytest.approx(4 / 50 + 4 / 40 + 0.0), 2)
    few = torch.tensor(
        [0.6, 0.38, 0.01, 0.01], dtype=torch.float64
    )  # together under 5: they join the most common one
    assert instruments.chi_square(torch.tensor([61, 37, 1, 1]), few) == (
        pytest.approx(1 / 62 + 1 / 38),
        1,
    )
    with pytest.raises(ValueError, match="expected two categories"):
        instruments.chi_square(torch.tensor([3, 1]), torch.tensor([0.5, 0.5]))


# ---- by the loss ---------------------------------------------------------------------------------


def test_a_patchwork_keeps_words_at_their_places_and_no_text() -> None:
    poems = corpus.synthetic(32, 6, 5000, authors=4, seed=3)
    patched = instruments.patchwork(poems, 1)
    for place in range(6):
        assert sorted(patched.bodies[:, place].tolist()) == sorted(poems.bodies[:, place].tolist())
    assert (
        torch.equal(patched.keys, poems.keys) and not (patched.bodies == poems.bodies).any(1).all()
    )
    overlap = (patched.bodies[:, None] == poems.bodies).sum(2)
    assert int(overlap.max()) <= 3 and torch.equal(
        patched.bodies, instruments.patchwork(poems, 1).bodies
    )
    assert not torch.equal(patched.bodies, instruments.patchwork(poems, 2).bodies)
    with pytest.raises(ValueError, match="at least 2 poems"):
        instruments.patchwork(replace(POEMS, keys=POEMS.keys[:1], bodies=POEMS.bodies[:1]))


def test_lineups_differ_in_one_thing_each() -> None:
    sets = instruments.lineups(POEMS, FRESH, 0)
    assert list(sets) == ["text", "places", "item", "pair"]
    for name in ("text", "places", "item"):
        assert all(torch.equal(poems.keys, FRESH.keys) for poems in sets[name])
    learnt, patched = sets["item"]
    assert torch.equal(learnt.bodies, POEMS.bodies) and sets["places"] == (patched, FRESH)
    true, wrong = sets["pair"]
    assert (
        true is POEMS
        and torch.equal(wrong.keys, POEMS.keys)
        and not (wrong.bodies == POEMS.bodies).all(1).any()
    )
    assert sorted(wrong.bodies.tolist()) == sorted(POEMS.bodies.tolist())


def test_membership_is_an_auc_and_scores_each_set_once(half_taught: Any) -> None:
    sets, asked = instruments.lineups(POEMS, FRESH), []

    def score(poems: Poems) -> torch.Tensor:
        asked.append(poems)
        return -evaluation.read(half_taught, poems).surprise

    found = instruments.membership(score, sets)
    assert len(asked) == 5 and found["text"] > 0.6 and found["pair"] > 0.9
    true, wrong = (-evaluation.read(half_taught, poems).surprise for poems in sets["pair"])
    expected = roc_auc_score([1] * 16 + [0] * 16, torch.cat([true, wrong]).numpy())
    assert found["pair"] == pytest.approx(expected)


# ---- probes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(60, 7), (9, 40), (12, 12)])
@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_ridge_is_that_of_scikit_learn(rows: int, columns: int, strength: float) -> None:
    draw = runtime.generator(rows, "ridge")
    x = torch.randn(rows, columns, generator=draw) * 3 + 1
    x[:, 0] = 2.5  # a constant feature must not blow up
    y = torch.randn(rows, 2, generator=draw)
    probe, new = instruments.ridge(x, y, strength), torch.randn(5, columns, generator=draw)
    new[:, 0] = 2.5
    oracle = make_pipeline(StandardScaler(), Ridge(alpha=strength * columns))
    expected = oracle.fit(x.double().numpy(), y.double().numpy()).predict(new.double().numpy())
    assert torch.allclose(probe(new), torch.from_numpy(expected), atol=1e-8)


def test_ridge_refuses_no_penalty_and_left_out_refuses_no_folds() -> None:
    with pytest.raises(ValueError, match="positive strength"):
        instruments.ridge(torch.ones(3, 2), torch.ones(3, 1), 0.0)
    for folds in (1, 4):
        with pytest.raises(ValueError, match="expected 2 to 3 folds"):
            instruments.left_out(torch.ones(3, 2), torch.ones(3, 1), folds)


def test_what_is_left_out_was_not_seen() -> None:
    draw = runtime.generator(0, "left out")
    x, y = torch.randn(20, 4, generator=draw), torch.randn(20, 1, generator=draw)
    read, seen = instruments.left_out(x, y, folds=4), [i for i in range(20) if i % 4 != 1]
    assert torch.allclose(read[1::4], instruments.ridge(x[seen], y[seen])(x[1::4]))
    y[3] = 1e6  # the targets of its own fold may not matter
    changed = instruments.left_out(x, y, folds=4)
    assert torch.allclose(changed[3::4], read[3::4]) and not torch.allclose(
        changed[1::4], read[1::4]
    )


def test_label_auc_finds_what_is_there_and_nothing_in_noise() -> None:
    draw = runtime.generator(0, "labels")
    x = torch.randn(400, 5, generator=draw)
    labels = torch.stack([x[:, 0] > 0, torch.rand(400, generator=draw) > 0.5], 1)
    assert (
        instruments.label_auc(x, labels[:, :1]) > 0.99
        and 0.4 < instruments.label_auc(x, labels[:, 1:]) < 0.6
    )
    read, half = instruments.left_out(x, labels.double()), torch.arange(400) % 2 == 0
    parts = [
        roc_auc_score(labels[rows, k].numpy(), read[rows, k].numpy())
        for rows in (half, ~half)
        for k in (0, 1)
    ]
    assert instruments.label_auc(x, labels) == pytest.approx(sum(parts) / 4)


def test_word_auc_reads_the_word_that_is_laid_out() -> None:
    draw = runtime.generator(0, "words")
    table, bodies = torch.randn(12, 6, generator=draw), torch.randint(12, (200, 3), generator=draw)
    mixed = table[bodies[:, 1]] @ torch.randn(6, 6, generator=draw)
    found = instruments.word_auc(mixed, bodies, table)
    assert found.shape == (3,) and found[1] > 0.9 and (found[[0, 2]] - 0.5).abs().max() < 0.08


def test_states_are_the_last_layer_at_the_end_of_the_title(half_taught: Any) -> None:
    state = instruments.states(half_taught, POEMS.keys)
    assert state.shape == (16, 16)
    with torch.no_grad():
        logits = half_taught(POEMS.keys).logits[:, -1]
        assert torch.allclose(
            state @ half_taught.get_input_embeddings().weight.T, logits, atol=1e-4
        )
