"""Bits against an enumeration of everything that could have been said, and boxes that are filled
and damaged."""

from __future__ import annotations

import copy
import math
from itertools import product

import pytest
import torch

from memlab import evaluation
from memlab.book.opening_the_box.how_much_fits import measure
from memlab.book.opening_the_box.how_much_fits.measure import Setting
from memlab.corpora import poems as corpus
from memlab.evaluation import Reading
from memlab.models import stock

TINY = Setting(poems=6, words=3, dim=4, steps=60, vocabulary=4)


@pytest.fixture(scope="module")
def boxes() -> list:
    return TINY.train([0, 1])


@torch.no_grad()
def probability(box: object, key: torch.Tensor, body: tuple[int, ...]) -> float:
    """p(body | key), one call of the model a word: slow, and nothing shared with
    `evaluation.read`."""
    said, whole = key.tolist(), 1.0
    for word in body:
        logits = box(torch.tensor([said])).logits[0, -1].double()  # type: ignore[operator]
        whole *= float(logits.exp()[word] / logits.exp().sum())
        said.append(word)
    return whole


def test_bits_are_those_of_an_enumeration_of_all_poems(boxes: list) -> None:
    """The best code for one of 4³ poems under the model takes −log2 p; without the model it takes 6
    bits."""
    poems, spared, sure = TINY.draw(0), 0.0, 0
    everything = list(product(range(4), repeat=3))
    for key, body in zip(poems.keys, poems.bodies.tolist(), strict=True):
        p = {other: probability(boxes[0], key, other) for other in everything}
        assert sum(p.values()) <= 1 + 1e-6  # the rest goes to words that are authors' names
        spared += math.log2(len(everything)) + math.log2(p[tuple(body)])
        sure += p[tuple(body)] > 0.5
    reading = evaluation.read(boxes[0], poems)
    assert evaluation.stored_bits(reading.nll, poems.vocabulary) == pytest.approx(spared, abs=1e-3)
    assert float(measure.poem_bits(reading, 4).sum()) == pytest.approx(spared, abs=1e-3)
    assert (
        reading.memory_ability >= sure / 6 - 1e-9
    )  # what has more than half of all probability is recited


def test_a_guess_stores_nothing_and_a_box_that_knows_stores_it_all() -> None:
    even = Reading(torch.full((5, 3), math.log(4.0)), torch.zeros(5, 3, dtype=torch.bool))
    sure = Reading(torch.zeros(5, 3), torch.ones(5, 3, dtype=torch.bool))
    assert measure.poem_bits(even, 4).abs().max() < 1e-6 and torch.equal(
        measure.poem_bits(sure, 4), torch.full((5,), 6.0, dtype=torch.float64)
    )


def test_first_words() -> None:
    right = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], dtype=torch.bool)
    reading = Reading(torch.zeros(4, 3), right)
    assert measure.firsts(reading).tolist() == [0.75, 0.5, 0.25] and reading.memory_ability == 0.25


def test_a_setting_says_how_often_a_poem_is_met() -> None:
    assert Setting(steps=200).epochs == 200 and Setting(poems=64, batch=4, steps=200).epochs == 12.5
    assert Setting(dim=64).recipe.lr < Setting().recipe.lr == Setting(dim=16).recipe.lr


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_used_where_it_is_fast(
    fast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure.runtime, "fast_bfloat16", lambda: fast)
    assert Setting(bfloat16=True).recipe.bfloat16 == fast
    assert not Setting().recipe.bfloat16


@pytest.mark.parametrize(
    ("dim", "layers", "weights"), [(4, 1, 784), (8, 1, 1936), (8, 2, 2712), (12, 1, 3492)]
)
def test_boxes_are_stock_and_counted_by_hand(dim: int, layers: int, weights: int) -> None:
    box, ff = Setting(dim=dim, layers=layers).box(0), round(8 * dim / 3)
    assert type(box).__name__ == "LlamaForCausalLM"
    assert (
        stock.size(box)
        == 144 * dim + layers * (4 * dim * dim + 3 * dim * ff + 2 * dim) + dim
        == weights
    )


def test_wide_boxes_can_be_built() -> None:
    for dim in (4, 6, 8, 12, 16, 32, 64, 128, 256):
        heads = Setting(poems=2, words=2, dim=dim, vocabulary=4).box(0).config.num_attention_heads
        assert dim % heads == 0 and dim // heads % 2 == 0, "rotary positions turn pairs of numbers"


def test_training_fills_the_box(boxes: list) -> None:
    for seed, box in enumerate(boxes):
        _, found = measure.examine(box, TINY.draw(seed))
        _, before = measure.examine(TINY.box(seed), TINY.draw(seed))
        assert found["bits"] > 18 > 6 > before["bits"] and found["asked"] == 36 / stock.size(box)
        assert found["stored"] == pytest.approx(found["bits"] / stock.size(box))


def test_of_many_poems_the_first_are_read(boxes: list, monkeypatch: pytest.MonkeyPatch) -> None:
    poems = TINY.draw(0)
    reading, whole = measure.examine(boxes[0], poems)
    monkeypatch.setattr(measure, "READ", 2)
    part, scaled = measure.examine(boxes[0], poems)
    assert part.right.equal(reading.right[:2]) and scaled["asked"] == whole["asked"]
    assert scaled["bits"] == pytest.approx(
        3 * float(measure.poem_bits(reading, 4)[:2].sum()), abs=1e-4
    )


def test_noise_is_as_large_as_it_says_and_leaves_the_box_alone(boxes: list) -> None:
    mark = evaluation.fingerprint(boxes[0])
    noisy, same, other = (measure.damaged(boxes[0], "noise", 0.1, seed) for seed in (0, 0, 1))
    for p, q in zip(boxes[0].state_dict().values(), noisy.state_dict().values(), strict=True):
        if p.numel() > 100:
            assert float((q - p).norm() / p.norm()) == pytest.approx(0.1, rel=0.2)
    assert evaluation.fingerprint(boxes[0]) == mark != evaluation.fingerprint(noisy)
    assert (
        evaluation.fingerprint(noisy)
        == evaluation.fingerprint(same)
        != evaluation.fingerprint(other)
    )


@pytest.mark.parametrize("level", [2, 3, 5])
def test_a_grid_has_as_many_values_as_its_bits_allow(boxes: list, level: int) -> None:
    other = measure.damaged(boxes[0], "grid", level)
    for p, q in zip(boxes[0].state_dict().values(), other.state_dict().values(), strict=True):
        assert len(q.unique()) <= 2**level - 1 and torch.isclose(q.abs().max(), p.abs().max())
        assert (
            float((p - q).abs().max()) <= float(p.abs().max()) / (2 ** (level - 1) - 1) / 2 + 1e-6
        )


def test_more_damage_costs_more_bits(boxes: list) -> None:
    poems = TINY.draw(0)
    left = {(how, level): found["bits"] for how, level, found in measure.sweep(boxes[0], poems)}
    assert set(left) == {(how, level) for how, levels in measure.DAMAGE.items() for level in levels}
    whole = measure.examine(boxes[0], poems)[1]["bits"]
    assert left["noise", 0.003] == pytest.approx(whole, rel=0.02) and left[
        "grid", 10
    ] == pytest.approx(whole, rel=0.02)
    assert left["noise", 0.2] < whole > left["grid", 3]


@pytest.mark.parametrize(("how", "level"), [("fire", 1), ("grid", 1)])
def test_other_damage_is_refused(boxes: list, how: str, level: float) -> None:
    with pytest.raises(ValueError, match="expected noise, or a grid"):
        measure.damaged(boxes[0], how, level)


def test_nothing_depends_on_a_global_state(untouched_global_random_state: None) -> None:
    box = copy.deepcopy(TINY.box(0))
    measure.examine(measure.damaged(box, "noise", 0.1), corpus.synthetic(6, 3, 4))
