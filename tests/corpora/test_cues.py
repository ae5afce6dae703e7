"""Cues: what is changed and what is not, no key that is a poem's by accident, and what the best
answerer could get."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab import runtime
from memlab.corpora import cues
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems

POEMS = corpus.synthetic(60, 6, 16, authors=4, seed=3)  # 60 of 1024 keys: collisions do happen
MATRIX = torch.randn(POEMS.tokens, 5, generator=runtime.generator(0, "matrix"))
CHANGES: dict[str, Callable[[Poems], Poems]] = {
    "author": lambda p: cues.replaced(p, 0),
    "word": lambda p: cues.replaced(p, 1),
    "last": lambda p: cues.replaced(p, 2),
    "missing": lambda p: cues.missing(p, 1),
    "exchanged": cues.exchanged,
    "form": lambda p: cues.other_form(p, 1, 2),
    "nearest": lambda p: cues.nearest(p, 2, MATRIX),
    "made up": lambda p: cues.made_up(p, 5),
}


def keys(poems: Poems) -> set[tuple[int, ...]]:
    return set(map(tuple, poems.keys.tolist()))


@pytest.mark.parametrize("name", CHANGES)
def test_no_changed_key_belongs_to_a_poem(name: str, untouched_global_random_state: None) -> None:
    changed = CHANGES[name](POEMS)
    assert not keys(changed) & keys(POEMS)
    assert changed.keys.equal(CHANGES[name](POEMS).keys)
    assert POEMS.keys.equal(
        corpus.synthetic(60, 6, 16, authors=4, seed=3).keys
    )  # the original is not touched


@given(st.integers(0, 30))
def test_collisions_are_avoided_even_where_keys_are_crowded(seed: int) -> None:
    poems = corpus.synthetic(30, 4, 6, authors=2, seed=seed)  # 30 of 72 keys
    matrix = torch.randn(6, 3, generator=runtime.generator(seed, "matrix"))
    for change in (
        cues.replaced(poems, 1, seed),
        cues.nearest(poems, 1, matrix),
        cues.made_up(poems, seed),
        cues.exchanged(poems),
    ):
        assert not keys(change) & keys(poems)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("author", {0}),
        ("word", {1}),
        ("last", {2}),
        ("missing", {1}),
        ("form", {1, 2}),
        ("nearest", {2}),
    ],
)
def test_only_the_named_places_change(name: str, places: set[int]) -> None:
    changed = CHANGES[name](POEMS)
    differ = changed.keys != POEMS.keys
    assert all(
        bool(differ[:, place].all()) == (place in places) == bool(differ[:, place].any())
        for place in range(3)
    )
    assert changed.bodies.equal(POEMS.bodies)


def test_an_author_stays_an_author_and_a_word_a_word() -> None:
    assert (
        (cues.replaced(POEMS, 0).keys[:, 0] >= 16) & (cues.replaced(POEMS, 0).keys[:, 0] < 20)
    ).all()
    made_up = cues.made_up(POEMS, 1)
    assert ((made_up.keys[:, 0] >= 16) & (made_up.keys[:, 0] < 20)).all() and made_up.keys[
        :, 1:
    ].max() < 16
    assert len(keys(made_up)) == len(POEMS) and made_up.bodies.equal(POEMS.bodies)
    assert not cues.made_up(POEMS, 2).keys.equal(made_up.keys)


def test_exchanged_leaves_out_what_would_not_be_new() -> None:
    rows = torch.tensor([[16, 1, 2], [16, 2, 1], [17, 3, 3], [17, 4, 5]])
    poems = Poems(rows, torch.arange(8).view(4, 2), 16, 4, 8.0)
    changed = cues.exchanged(poems)
    assert changed.keys.tolist() == [[17, 5, 4]] and changed.bodies.tolist() == [[6, 7]]
    with pytest.raises(ValueError, match="4 that are all taken|3 that are all taken"):
        cues.exchanged(Poems(rows[:3], poems.bodies[:3], 16, 4, 8.0))


def test_tokens_blanks_and_second_forms_do_not_overlap() -> None:
    words = torch.arange(16)
    assert cues.blank(POEMS) == 20 and cues.tokens(POEMS) == 37
    assert cues.second_form(POEMS, words).tolist() == list(range(21, 37))
    with pytest.raises(ValueError, match="expected words"):
        cues.second_form(POEMS, torch.tensor([16]))


def test_a_cue_can_be_read_aloud() -> None:
    name = corpus.word_list(16)
    assert (
        cues.spoken(POEMS, torch.tensor([16, 3, 20, 21, 36]))
        == f"Ada Vale {name[3]} … {name[0]}′ {name[15]}′"
    )


def test_nearest_is_the_nearest_by_cosine_unless_taken() -> None:
    rows = torch.tensor([[16, 0, 5], [16, 1, 5], [17, 0, 5]])
    poems = Poems(rows, torch.arange(6).view(3, 2), 4, 4, 4.0)
    matrix = torch.tensor(
        [[1.0, 0], [10, 1], [1, 1], [-1, 0]]
    )  # word 1 is nearest to 0 whatever its length
    assert cues.nearest(poems, 1, matrix).keys[:, 1].tolist() == [2, 2, 1]  # taken, taken, free
    with pytest.raises(ValueError, match="a row for each of 4 words"):
        cues.nearest(poems, 1, matrix[:3])
    with pytest.raises(ValueError, match="a row for each"):
        cues.nearest(poems, 0, matrix)


def test_the_whole_list_of_alterations() -> None:
    altered = cues.altered(POEMS, MATRIX)
    assert (
        list(altered)[0] == "its own key" and len(altered) == 9 and altered["its own key"] is POEMS
    )
    form = altered["another word's second form"].keys[:, 1]
    assert (form > cues.blank(POEMS)).all() and (
        form != cues.second_form(POEMS, POEMS.keys[:, 1])
    ).all()
    assert (
        altered["a title word's second form"]
        .keys[:, 1]
        .equal(cues.second_form(POEMS, POEMS.keys[:, 1]))
    )


def test_a_borrowed_key_is_another_poems() -> None:
    borrowed = cues.borrowed(POEMS)
    assert keys(borrowed) == keys(POEMS) and (borrowed.keys != POEMS.keys).any(1).all()


@pytest.mark.parametrize("given_words", [0, 1, 5])
def test_begun_moves_words_from_answer_to_question(given_words: int) -> None:
    begun = cues.begun(POEMS, given_words)
    assert begun.ids.equal(POEMS.ids) and begun.keys.shape[1] == 3 + given_words
    assert begun.bits_per_poem == pytest.approx((6 - given_words) * 4)


def test_opened_asks_for_one_word_without_those_before_it() -> None:
    asked = cues.opened(POEMS, 4)
    assert (
        asked.keys[:, :3].equal(POEMS.keys)
        and (asked.keys[:, 3:] == 20).all()
        and asked.keys.shape[1] == 7
    )
    assert asked.bodies.equal(POEMS.bodies[:, 4:5])


def test_backwards_turns_question_and_answer_round() -> None:
    back = cues.backwards(POEMS)
    assert (
        back.keys[:, :6].equal(POEMS.bodies)
        and (back.keys[:, 6] == 20).all()
        and back.bodies.equal(POEMS.keys)
    )


def best_by_trying(cue: Poems) -> float:
    """All answerers that give one of the bodies to each question, tried one by one."""
    questions, bodies = sorted(keys(cue)), sorted(set(map(tuple, cue.bodies.tolist())))
    pairs = [
        (tuple(k), tuple(b)) for k, b in zip(cue.keys.tolist(), cue.bodies.tolist(), strict=True)
    ]
    tries = (
        dict(zip(questions, answers, strict=True))
        for answers in product(bodies, repeat=len(questions))
    )
    return max(sum(answerer[key] == body for key, body in pairs) for answerer in tries) / len(pairs)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6))
def test_the_ceiling_is_what_the_best_answerer_gets(pairs: list[tuple[int, int]]) -> None:
    cue = Poems(
        torch.tensor([[key] for key, _ in pairs]),
        torch.tensor([[body] for _, body in pairs]),
        4,
        4,
        2.0,
    )
    assert cues.ceiling(cue) == pytest.approx(best_by_trying(cue))


def test_the_ceiling_of_no_key_is_the_share_of_different_beginnings() -> None:
    nothing = cues.missing(POEMS, 0, 1, 2)
    assert cues.ceiling(nothing) == pytest.approx(1 / 60)
    assert cues.ceiling(cues.begun(nothing, 1)) == pytest.approx(
        len(set(POEMS.bodies[:, 0].tolist())) / 60
    )
    assert cues.ceiling(POEMS) == 1


def test_gaps_come_as_often_as_asked_for(untouched_global_random_state: None) -> None:
    poems, draw = corpus.synthetic(1000, 2, 128), runtime.generator(0, "gaps")
    lost = cues.with_gaps(poems, draw, one=0.2, whole=0.25) == cues.blank(poems)
    assert float(lost.double().mean()) == pytest.approx(1 - 0.8 * 0.75, abs=0.03)
    assert float(lost.all(1).double().mean()) == pytest.approx(0.25 + 0.75 * 0.2**3, abs=0.04)
    again = cues.with_gaps(poems, draw)
    assert not (again == cues.blank(poems)).equal(lost) and again[again != cues.blank(poems)].equal(
        poems.keys[again != cues.blank(poems)]
    )
    assert cues.with_gaps(poems, draw, one=0.0, whole=0.0).equal(poems.keys)


def test_hidden_bodies_are_hidden_whole() -> None:
    poems, draw = corpus.synthetic(1000, 4, 32), runtime.generator(0, "hidden")
    shown = cues.with_hidden_words(poems, draw, 0.3)
    lost = shown == cues.blank(poems)
    assert lost.all(1).equal(lost.any(1)) and float(lost.double().mean()) == pytest.approx(
        0.3, abs=0.05
    )
    assert shown[~lost].equal(poems.bodies[~lost]) and not cues.with_hidden_words(
        poems, draw, 0.3
    ).equal(shown)
    with pytest.raises(ValueError, match="expected a share"):
        cues.with_hidden_words(poems, draw, -0.1)


def test_wordings_are_eight_and_only_of_the_varied() -> None:
    poems, draw = corpus.synthetic(40, 2, 64), runtime.generator(0, "wordings")
    varied = torch.arange(40) < 20
    seen: list[set[tuple[int, ...]]] = [set() for _ in range(40)]
    for _ in range(120):
        for row, key in zip(seen, cues.with_wordings(poems, varied, draw).tolist(), strict=True):
            row.add(tuple(key))
    assert all(len(row) == 1 for row in seen[20:]) and all(len(row) == 8 for row in seen[:20])
    a, v, w = poems.keys[0].tolist()
    forms = [(x, y) for x, y in product((v, v + 81), (w, w + 81))]
    assert seen[0] == {(a, *order) for form in forms for order in (form, form[::-1])}
    assert not set.union(*seen[:20]) & set.union(*seen[20:])


def test_wordings_never_borrow_the_key_of_another_poem() -> None:
    poems = Poems(torch.tensor([[16, 1, 2], [16, 2, 1]]), torch.arange(4).view(2, 2), 16, 4, 8.0)
    draw, plain = runtime.generator(0, "wordings"), keys(poems)
    for _ in range(40):
        got = cues.with_wordings(poems, [True, True], draw).tolist()
        assert tuple(got[0]) not in plain - {(16, 1, 2)} and tuple(got[1]) not in plain - {
            (16, 2, 1)
        }


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cues.missing(POEMS),
        lambda: cues.missing(POEMS, 3),
        lambda: cues.replaced(POEMS, -1),
        lambda: cues.other_form(POEMS, 0),
        lambda: cues.begun(POEMS, 6),
        lambda: cues.begun(POEMS, -1),
        lambda: cues.with_gaps(POEMS, torch.Generator(), one=1.2),
        lambda: cues.made_up(
            Poems(torch.tensor([[2, 0], [2, 1]]), torch.tensor([[1], [0]]), 2, 1, 1.0)
        ),
        lambda: cues.exchanged(Poems(torch.tensor([[16, 1]]), torch.tensor([[1]]), 16, 4, 4.0)),
    ],
)
def test_wrong_arguments_are_named(wrong: Callable[[], object]) -> None:
    try:
        wrong()
    except ValueError as problem:
        assert "expected" in str(problem) and "got" in str(problem)
    else:
        pytest.fail("expected a ValueError")


def test_no_free_author_is_an_error() -> None:
    poems = Poems(torch.tensor([[4, 0], [5, 0]]), torch.tensor([[1], [2]]), 4, 2, 2.0)
    with pytest.raises(ValueError, match="a free author for every title"):
        cues.replaced(poems, 0)
