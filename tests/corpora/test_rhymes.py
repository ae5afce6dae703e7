"""Verses: the rules hold, their entropy is what is claimed, and each poet of comparison does what
it is there for."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from memlab.corpora import rhymes

VERSES = rhymes.verses(seed=2)
SOUND = {
    "ow": "snow crow glow bow",
    "ight": "night light flight sight",
    "ain": "rain grain train plain",
    "ore": "shore store lore score",
}


def keeps_the_rules(text: str, title: str) -> bool:
    """The rules once more, from letters."""
    lines = [line.split() for line in text.split("\n")]
    kinds = [rhymes.WORDS[i : i + 16] for i in (0, 16, 32, 48)]
    ends = [line[3] for line in lines]
    return (
        all(word in kind for line in lines for word, kind in zip(line, kinds, strict=True))
        and any(all(end in words.split() for end in ends) for words in SOUND.values())
        and all(a != b for a, b in pairwise(ends))
        and lines[0][1] == title.lower().split()[1]
    )


def test_words_are_different_and_endings_rhyme() -> None:
    assert len(set(rhymes.WORDS)) == len(rhymes.WORDS) == rhymes.VOCABULARY == 64
    assert [" ".join(rhymes.WORDS[i : i + 4]) for i in range(48, 64, 4)] == list(SOUND.values())
    assert all(word.endswith(sound) for sound, words in SOUND.items() for word in words.split())


def test_every_verse_keeps_the_rules(untouched_global_random_state: None) -> None:
    assert all(
        keeps_the_rules(VERSES.poem(i).text, VERSES.poem(i).title) for i in range(len(VERSES))
    )
    found = rhymes.rules(VERSES.bodies, VERSES.keys, VERSES.bodies)
    assert found == {"grammar": 1, "rhyme": 1, "title": 1, "copied": 16}


def test_keys_are_unique_and_fresh_ones_are_new() -> None:
    fresh = rhymes.verses(seed=2, fresh=True)
    assert len(set(map(tuple, torch.cat([VERSES.keys, fresh.keys]).tolist()))) == 192
    assert VERSES.ids.equal(rhymes.verses(seed=2).ids) and not VERSES.bodies.equal(fresh.bodies)
    assert VERSES.tokens == 80 and VERSES.keys[:, 0].min() >= 64


def test_the_entropy_is_that_of_the_free_choices() -> None:
    """16 words of 4 bits; the noun of line 1 is given, three endings are one of the three others of
    their sound."""
    assert (
        pytest.approx(math.log2(16**12 * 3**3)) == rhymes.BITS
        and VERSES.bits_per_poem == rhymes.BITS
    )
    endings = rhymes.dice(rhymes.verses(2000, seed=1).keys, seed=1)[:, 3::4]
    share = [n / 2000 for n in Counter(map(tuple, (endings[:, :2] - 48).tolist())).values()]
    assert len(share) == 16 * 3 and -sum(p * math.log2(p) for p in share) == pytest.approx(
        4 + math.log2(3), abs=0.03
    )


def test_rules_of_one_poem_by_hand() -> None:
    word = {name: i for i, name in enumerate(rhymes.WORDS)}
    text = "pale moon meets snow cold moon meets snow old river finds crow deep door pale night"
    body = torch.tensor([[word[name] for name in text.split()]])
    assert rhymes.grammar(body).tolist() == [15 / 16]  # "pale" stands where a verb should
    assert rhymes.rhyme(body).tolist() == [
        pytest.approx(1 / 3)
    ]  # snow/snow is no rhyme, crow/night neither
    assert rhymes.titled(body, torch.tensor([[70, 0, word["moon"]]])).tolist() == [True]
    assert rhymes.titled(body, torch.tensor([[70, 0, word["river"]]])).tolist() == [False]


def test_a_word_that_is_no_ending_does_not_rhyme() -> None:
    body = torch.zeros(1, 16, dtype=torch.long)
    body[0, 3::4] = torch.tensor([0, 1, 2, 3])
    assert rhymes.rhyme(body).tolist() == [0] and rhymes.rhyme(body + 64).tolist() == [0]


def test_chance_is_three_in_sixteen() -> None:
    free = rhymes.unrhymed(rhymes.verses(2000, seed=0))
    assert float(rhymes.rhyme(free.bodies).mean()) == pytest.approx(3 / 16, abs=0.02)
    assert (
        free.keys.equal(rhymes.verses(2000, seed=0).keys)
        and float(rhymes.grammar(free.bodies).min()) == 1
    )
    same = torch.arange(16) % 4 != 3
    assert free.bodies[:, same].equal(rhymes.verses(2000, seed=0).bodies[:, same])


@pytest.mark.parametrize(
    ("said", "longest"),
    [([1, 2, 3, 4], 4), ([9, 2, 3, 9], 2), ([4, 3, 2, 1], 1), ([9, 9, 9, 9], 0), ([3, 4, 1, 2], 2)],
)
def test_longest_copy_by_hand(said: list[int], longest: int) -> None:
    assert rhymes.longest_copy(
        torch.tensor([said]), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    ).tolist() == [longest]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_chain_takes_only_steps_that_poems_took(
    order: int, untouched_global_random_state: None
) -> None:
    said = rhymes.markov(VERSES, 50, order, seed=1)
    assert said.equal(rhymes.markov(VERSES, 50, order, seed=1))
    assert not said.equal(rhymes.markov(VERSES, 50, order, seed=2))
    steps = {pair for poem in VERSES.bodies.tolist() for pair in pairwise(poem)}
    assert all(pair in steps for poem in said.tolist() for pair in pairwise(poem))
    assert set(said[:, 0].tolist()) <= set(VERSES.bodies[:, 0].tolist())
    assert float(rhymes.longest_copy(said, VERSES.bodies).double().mean()) > order


def test_a_chain_draws_what_follows_as_often_as_it_does() -> None:
    poems = rhymes.Verses(
        torch.tensor([[64, 0, 16]] * 4), torch.tensor([[1, 5], [1, 5], [1, 5], [1, 6]]), 64, 16, 1.0
    )
    said = rhymes.markov(poems, 2000, seed=0)
    assert float((said[:, 1] == 5).double().mean()) == pytest.approx(0.75, abs=0.03)


def test_a_chain_rhymes_by_chance_and_a_long_one_by_copying() -> None:
    short, long = (rhymes.markov(VERSES, 400, order) for order in (1, 3))
    assert float(rhymes.rhyme(short).mean()) == pytest.approx(3 / 16, abs=0.05)
    assert float(rhymes.rhyme(long).mean()) > 0.8
    assert float(rhymes.grammar(short).min()) == 1


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_collage_is_made_of_whole_pieces_in_their_place(lines: int) -> None:
    asked = rhymes.verses(seed=2, fresh=True).keys
    made = rhymes.collage(VERSES, asked, lines, seed=1)
    for start in range(0, 16, 4 * lines):
        pieces = set(map(tuple, VERSES.bodies[:, start : start + 4 * lines].tolist()))
        assert all(tuple(row) in pieces for row in made[:, start : start + 4 * lines].tolist())
    there = torch.isin(asked[:, 2], VERSES.keys[:, 2])
    assert rhymes.titled(made, asked)[there].all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rhymes.verses(0),
        lambda: rhymes.verses(3000),
        lambda: rhymes.markov(VERSES, 1, 0),
        lambda: rhymes.collage(VERSES, VERSES.keys, 3),
    ],
)
def test_wrong_arguments_are_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected .* got"):
        wrong()  # type: ignore[operator]
