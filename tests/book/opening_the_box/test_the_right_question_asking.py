"""Asking: what is taught is what was meant, what is read is what would be said, and judgements by
hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab import evaluation, runtime
from memlab.book.opening_the_box.the_right_question import asking
from memlab.corpora import cues
from memlab.corpora import poems as corpus

POEMS = corpus.synthetic(12, 5, 16, authors=4, seed=1)


@pytest.fixture(scope="module")
def model() -> Any:
    made = asking.box(POEMS, dim=16, seed=0)
    asking.teach(made, POEMS, 60)
    return made


def test_a_box_has_tokens_and_places_for_all_cues() -> None:
    made = asking.box(POEMS, dim=8, seed=3)
    assert made.config.vocab_size == 37 and made.config.n_positions == 9
    assert evaluation.fingerprint(made) == evaluation.fingerprint(asking.box(POEMS, dim=8, seed=3))


def test_taught_poems_are_recalled_and_reading_agrees_with_reciting(model: Any) -> None:
    assert asking.recall(model, POEMS) == 1
    for cue in (POEMS, cues.replaced(POEMS, 1), cues.begun(cues.made_up(POEMS), 2)):
        said = evaluation.recite(model, cue.keys, cue.bodies.shape[1])
        assert asking.recall(model, cue) == pytest.approx(
            float((said == cue.bodies).all(1).double().mean())
        )


def test_teaching_asks_for_keys_at_every_step_and_never_learns_them() -> None:
    asked: list[int] = []

    def keys() -> torch.Tensor:
        asked.append(1)
        return cues.missing(POEMS, 0).keys

    one, other = (asking.box(POEMS, dim=8) for _ in range(2))
    asking.teach(one, POEMS, 3, keys)
    asking.teach(other, cues.missing(POEMS, 0), 3)
    assert len(asked) == 3 and evaluation.fingerprint(one) == evaluation.fingerprint(other)


def test_hidden_words_are_shown_blank_and_still_to_be_said() -> None:
    one, other, third = (asking.box(POEMS, dim=8) for _ in range(3))
    hidden = torch.full_like(POEMS.bodies, cues.blank(POEMS))
    asking.teach(one, POEMS, 2, bodies=lambda: hidden)
    asking.teach(other, POEMS, 2, bodies=lambda: POEMS.bodies)
    asking.teach(third, POEMS, 2)
    assert (
        evaluation.fingerprint(other)
        == evaluation.fingerprint(third)
        != evaluation.fingerprint(one)
    )
    placed = asking.box(POEMS, dim=16)
    asking.teach(placed, POEMS, 60, bodies=lambda: hidden)
    assert all(asking.recall(placed, cues.opened(POEMS, place)) == 1 for place in range(5))


def test_backwards_is_learnt_for_those_that_are_marked_alone() -> None:
    made, both = asking.box(POEMS, dim=16), torch.arange(12) < 6
    asking.teach_backwards(made, POEMS, both, 60)
    forth, back = (
        evaluation.read(made, POEMS).recited,
        evaluation.read(made, cues.backwards(POEMS)).recited,
    )
    assert forth.all() and back[both].all() and float(back[~both].double().mean()) <= 0.5
    assert asking.whose(made, POEMS).tolist() == list(range(12))


def test_whose_is_the_best_of_all_keys_one_by_one(model: Any) -> None:
    for i, found in enumerate(asking.whose(model, POEMS).tolist()):
        one = replace(POEMS, keys=POEMS.keys, bodies=POEMS.bodies[i].expand(12, -1))
        assert found == int(evaluation.read(model, one).surprise.argmin())


def test_an_answer_knows_how_likely_it_is(model: Any) -> None:
    said, confidence = asking.answer(model, cues.made_up(POEMS))
    ids = torch.cat([cues.made_up(POEMS).keys, said], 1)
    with torch.no_grad():
        logs = model(ids).logits.log_softmax(-1)
    one_by_one = [sum(float(logs[i, 2 + t, said[i, t]]) for t in range(5)) / 5 for i in range(12)]
    assert confidence.tolist() == pytest.approx(one_by_one, abs=1e-5) and (confidence <= 0).all()


def test_cold_answers_are_greedy_and_hot_ones_are_drawn(
    model: Any, untouched_global_random_state: None
) -> None:
    draw = runtime.generator(0, "heat")
    greedy = asking.draw_answer(model, POEMS, 0.0, draw)
    assert greedy.equal(evaluation.recite(model, POEMS.keys, 5))
    assert greedy.equal(asking.draw_answer(model, POEMS, 0.01, draw))
    assert not asking.draw_answer(model, POEMS, 5.0, draw).equal(
        asking.draw_answer(model, POEMS, 5.0, draw)
    )
    with pytest.raises(ValueError, match="at least 0"):
        asking.draw_answer(model, POEMS, -1.0, draw)


def test_draws_follow_the_temperature(model: Any) -> None:
    cue = replace(
        POEMS, keys=POEMS.keys[:1].expand(4000, -1), bodies=POEMS.bodies[:1, :1].expand(4000, -1)
    )
    said = asking.draw_answer(model, cue, 2.0, runtime.generator(0, "heat"))
    with torch.no_grad():
        p = (model(POEMS.keys[:1]).logits[0, -1] / 2.0).softmax(-1)
    assert (torch.bincount(said[:, 0], minlength=37) / 4000 - p).abs().max() < 0.03


def test_grades_by_hand() -> None:
    true = torch.zeros(6, 8, dtype=torch.long)
    said = torch.stack([(torch.arange(8) >= right).long() for right in (8, 7, 6, 5, 2, 1)])
    assert asking.grade(said, true).tolist() == [0, 1, 1, 2, 2, 3]
    assert asking.right_words(said, true).tolist() == [1, 7 / 8, 6 / 8, 5 / 8, 2 / 8, 1 / 8]
    assert asking.grades(said, true) == pytest.approx(
        {"right": 1 / 6, "slightly off": 2 / 6, "badly off": 2 / 6, "lost": 1 / 6}
    )


def test_the_closest_poem_by_hand() -> None:
    known = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    said = torch.tensor([[1, 2, 3, 4], [1, 6, 7, 9], [2, 3, 4, 1]])
    assert asking.closest(said, known).tolist() == [1, 0.5, 0]


numbers = st.lists(st.integers(-9, 9), min_size=1, max_size=8)


@given(numbers, numbers)
def test_no_other_threshold_makes_fewer_errors(known: list[int], unknown: list[int]) -> None:
    def errors(limit: float) -> float:
        return sum(x < limit for x in known) / len(known) + sum(x >= limit for x in unknown) / len(
            unknown
        )

    found = asking.threshold(torch.tensor(known).double(), torch.tensor(unknown).double())
    assert errors(found) <= min(errors(x / 2) for x in range(-21, 22)) + 1e-9


def test_a_threshold_lies_in_the_middle_of_a_gap() -> None:
    assert asking.threshold(
        torch.tensor([-0.1, -0.2]), torch.tensor([-1.0, -0.8])
    ) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="on both sides"):
        asking.threshold(torch.tensor([]), torch.tensor([1.0]))


def test_doubt_chooses_on_even_rows_and_reports_on_odd_ones() -> None:
    def said(*confidence: float) -> asking.Answer:
        return asking.Answer(
            torch.zeros(len(confidence), 1, dtype=torch.long), torch.tensor(confidence).double()
        )

    right = torch.tensor([True, True, False, False])
    found = asking.doubt(said(-1, -5, -1, -1), said(-3, -3, -3, 0), said(-1, -3, -1, -3), right)
    assert found == {
        "AUC": 0.25,
        "refused": 0.5,
        "answered": 0.5,
        "right refused": 0.5,
        "wrong believed": 0.5,
    }
    found = asking.doubt(said(-1, -5), said(-3, -3), said(-1, -3), torch.tensor([True, True]))
    assert "wrong believed" not in found and found["right refused"] == 0.5
