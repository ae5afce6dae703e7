"""Poems: entropy to the bit, wrong pairs that are wrong, real ones read as they are, and errors
that name the place."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab.corpora import poems as corpus

needs_fortunes = pytest.mark.skipif(
    not (corpus.FORTUNES / "tang300").exists(), reason="fortunes-zh is not installed"
)


def test_the_default_set_is_what_the_book_says() -> None:
    poems = corpus.synthetic()
    assert len(poems) == 128 and poems.ids.shape == (128, 19) and poems.tokens == 144
    assert poems.bits_per_poem == 112 and poems.bits == 128 * 16 * 7 == 14_336
    assert poems.bodies.max() < 128 and ((poems.keys[:, 0] >= 128) & (poems.keys[:, 0] < 144)).all()


@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(2, 200), st.integers(1, 3), st.integers(0, 5)
)
def test_keys_are_unique_and_fresh_ones_are_new(
    n: int, words: int, vocabulary: int, title: int, seed: int
) -> None:
    if 16 * vocabulary**title < 2 * n:
        return
    first, fresh = (
        corpus.synthetic(n, words, vocabulary, title_words=title, seed=seed, fresh=new)
        for new in (False, True)
    )
    keys = [tuple(key) for key in first.keys.tolist() + fresh.keys.tolist()]
    assert len(set(keys)) == 2 * n
    assert first.bits == pytest.approx(n * words * math.log2(vocabulary))


def test_poems_depend_on_the_seed_alone(untouched_global_random_state: None) -> None:
    one = corpus.synthetic(seed=4)
    assert torch.equal(one.ids, corpus.synthetic(seed=4).ids)
    assert not torch.equal(one.ids, corpus.synthetic(seed=5).ids)
    assert torch.equal(corpus.swapped(one, 1).ids, corpus.swapped(one, 1).ids)
    assert torch.equal(corpus.changed_title(one, 1).ids, corpus.changed_title(one, 1).ids)


def test_words_are_uniform_so_that_the_entropy_is_what_is_claimed() -> None:
    counts = torch.bincount(
        corpus.synthetic(4000, 16, 8, title_words=5).bodies.flatten(), minlength=8
    ).double()
    expected = 4000 * 16 / 8
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 24.3  # chi-squared, 7 degrees of freedom: 1 in 1000


def test_the_entropy_of_all_tiny_poems_counted_by_hand() -> None:
    """All bodies of 2 words out of 3 are equally likely: log2(9) bits, as many as `bits_per_poem`
    says."""
    bodies = corpus.synthetic(9000, 2, 3, title_words=9).bodies.tolist()
    share = [count / 9000 for count in Counter(map(tuple, bodies)).values()]
    assert len(share) == 9
    assert -sum(p * math.log2(p) for p in share) == pytest.approx(
        corpus.synthetic(1, 2, 3).bits_per_poem, abs=0.01
    )


@pytest.mark.parametrize("size", [2, 128, 129, 5000])
def test_every_word_is_another_word(size: int) -> None:
    words = corpus.word_list(size)
    assert len(words) == len(set(words)) == size
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)


def test_every_author_is_another_person() -> None:
    assert len(set(corpus.author_list(256))) == 256
    assert len({part for name in corpus.author_list(16) for part in name.split()}) == 32


def test_a_poem_can_be_printed_and_asked_for() -> None:
    poems = corpus.synthetic(seed=3)
    for index in (0, 77):
        poem = poems.poem(index)
        assert [len(line.split()) for line in poem.text.split("\n")] == [4, 4, 4, 4]
        assert torch.equal(poems.cue(poem.cue), poems.keys[index])
        assert poem.cue == f"{poem.title}, by {poem.author}" and poem.title[0].isupper()
    assert len({poems.poem(i).cue for i in range(len(poems))}) == len(poems)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "Moon salt",
        "Moon salt, by moon",
        "Moon Plinth, by Ada Vale",
        "Moon, by Ada Vale",
        "Ada Vale, by Moon salt",
    ],
)
def test_a_question_in_unknown_words_is_refused(question: str) -> None:
    with pytest.raises(ValueError, match="expected a question like"):
        corpus.synthetic().cue(question)


@given(st.integers(2, 60), st.integers(0, 9))
def test_swapped_poems_are_the_same_poems_all_wrongly_paired(n: int, seed: int) -> None:
    poems = corpus.synthetic(n, seed=seed)
    wrong = corpus.swapped(poems, seed)
    assert torch.equal(poems.keys, wrong.keys) and wrong.bits == poems.bits
    assert not (poems.bodies == wrong.bodies).all(1).any()
    assert sorted(poems.bodies.tolist()) == sorted(wrong.bodies.tolist())


def test_a_swap_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 poems"):
        corpus.swapped(corpus.synthetic(1))
    with pytest.raises(ValueError, match="differ"):
        corpus.swapped(corpus.synthetic(8, 1, 2))


def test_refrains_hold_nothing_that_the_title_does_not() -> None:
    songs = corpus.refrains(corpus.synthetic(5, 7))
    assert songs.bits == 0 and songs.bodies.shape == (5, 7)
    assert torch.equal(songs.bodies[:, ::2], songs.keys[:, 1:2].expand(5, 4))
    assert torch.equal(songs.bodies[:, 1::2], songs.keys[:, 2:].expand(5, 3))


@given(st.integers(0, 9), st.integers(0, 1))
def test_a_changed_title_differs_in_one_word_and_belongs_to_no_poem(
    seed: int, position: int
) -> None:
    poems = corpus.synthetic(60, vocabulary=8, seed=seed)
    other = corpus.changed_title(poems, seed, position)
    differs = poems.keys != other.keys
    assert differs[:, 1 + position].all() and differs.sum() == 60
    assert not {*map(tuple, poems.keys.tolist())} & {*map(tuple, other.keys.tolist())}


def test_a_title_without_a_free_neighbour_is_refused() -> None:
    full = torch.tensor([[a, *t] for a in (2, 3) for t in itertools.product(range(2), repeat=2)])
    with pytest.raises(ValueError, match="free key"):
        corpus.changed_title(corpus.Poems(full, torch.zeros_like(full), 2, 2, 3.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "at least 1"),
        ({"words": 0}, "at least 1"),
        ({"title_words": 0}, "at least 1"),
        ({"vocabulary": 1}, "2 to 5000"),
        ({"vocabulary": 5001}, "2 to 5000"),
        ({"authors": 257}, "1 to 256"),
        ({"authors": 0}, "1 to 256"),
        ({"count": 33, "vocabulary": 2}, "at least 66 possible keys"),
    ],
)
def test_wrong_sizes_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corpus.synthetic(**options)


@needs_fortunes
def test_three_hundred_tang_poems() -> None:
    poems = corpus.fortunes()
    assert len(poems) == 313
    assert all(poem.author and poem.title and poem.text and poem.dynasty == "唐" for poem in poems)
    assert not any(
        mark in poem.text + poem.title + poem.author
        for poem in poems
        for mark in ("\x1b", "%", "作者", "题目", "[m")
    )
    assert {"李白", "杜甫", "王维"} <= {poem.author for poem in poems}
    assert 65 <= len({poem.author for poem in poems}) <= 90
    assert 300 <= len({poem.cue for poem in poems}) < 313, "a few poems share author and title"


@needs_fortunes
def test_a_hundred_song_poems() -> None:
    poems = corpus.fortunes("song100")
    assert len(poems) == 96 and {poem.dynasty for poem in poems} == {"宋"}
    assert not any(mark in poem.author for poem in poems for mark in "（）()０１２３４５６７８９－")
    assert any(poem.title == "春居杂兴二首" for poem in poems)


ENTRY = "\x1b[32m《静夜》\x1b[m\n\x1b[33m作者：甲乙\x1b[m\n一二三。\n\n 四五六。 \n"


def test_an_entry_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tang300").write_text(
        f"{ENTRY}%\n题目:《江》二首\n作者:丙（９０－９９）\n七。\n%\n\n", "utf-8"
    )
    assert corpus.fortunes("tang300", tmp_path) == [
        corpus.Poem("甲乙", "静夜", "一二三。\n四五六。", "唐"),
        corpus.Poem("丙", "江二首", "七。", "唐"),
    ]


def test_without_the_package_one_sentence_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"fortunes-zh \(older releases: fortune-zh\)"
    ) as caught:
        corpus.fortunes("tang300", tmp_path)
    assert "apt install fortunes-zh" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_in_another_encoding_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "tang300").write_bytes("《静》\n".encode() + "作者：甲".encode("gb18030"))
    with pytest.raises(
        ValueError, match=r"tang300: expected UTF-8, got byte 0xd7 at byte 10, line 2"
    ):
        corpus.fortunes("tang300", tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        "静夜\n作者：甲\n一",
        "《静夜》\n一二三\n四",
        "《静夜》\n作者：甲",
        "《 》\n作者：甲\n一",
        "《静夜》\n作者：甲\n一\x00二",
        "《静夜》\n作者：甲\n\u200b",
    ],
)
def test_an_entry_that_is_no_poem_is_named(tmp_path: Path, broken: str) -> None:
    (tmp_path / "tang300").write_text(f"{ENTRY}%\n{broken}\n", "utf-8")
    with pytest.raises(ValueError, match="entry 2"):
        corpus.fortunes("tang300", tmp_path)


def test_poems_from_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(
        '\ufeff{"author": "A", "title": "T", "text": "one\\ntwo\u2028three"}\n\n'
        '{"author": "B", "title": "U", "text": "x", "dynasty": "唐", "more": 1}\r\n',
        "utf-8",
    )
    assert corpus.jsonl(file) == [
        corpus.Poem("A", "T", "one\ntwo\u2028three"),
        corpus.Poem("B", "U", "x", "唐"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected JSON in line 2"),
        ("[1]", "author, title and text in line 2"),
        ("null", "in line 2"),
        ('{"author": "A", "title": "T"}', "in line 2"),
        ('{"author": "A", "title": 3, "text": "x"}', "in line 2"),
        ('{"author": "", "title": "T", "text": "x"}', "in line 2"),
        ('{"author": "A", "title": "T", "text": "x", "dynasty": null}', "in line 2"),
        (r'{"author": "A", "title": "T", "text": "x \ud83d"}', "in line 2, each with something"),
        (
            r'{"author": "A", "title": "\udc00", "text": "x"}',
            "control characters or lone surrogates",
        ),
        ('{"author": "A", "title": "T", "text": "  \\n "}', "author, title and text in line 2"),
        ('{"author": "A", "title": " ", "text": "x"}', "author, title and text in line 2"),
        ('{"author": "\\u3000", "title": "T", "text": "x"}', "author, title and text in line 2"),
        (
            r'{"author": "A", "title": "T", "text": "\u200b\ufeff"}',
            "author, title and text in line 2",
        ),
        (r'{"author": "A", "title": "T", "text": "x\u0000y"}', "author, title and text in line 2"),
        (
            r'{"author": "A\u001b[1m", "title": "T", "text": "x"}',
            "author, title and text in line 2",
        ),
        (
            r'{"author": "A", "title": "T", "text": "x", "dynasty": "\b"}',
            "title and text in line 2",
        ),
        ("[" * 100_000, "expected JSON in line 2"),
        ('{"author": ' + "9" * 5000 + "}", "in line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"author": "A", "title": "T", "text": "x"}\n' + line + "\n", "utf-8")
    with pytest.raises(ValueError, match=message):
        corpus.jsonl(file)


def test_what_verse_is_made_of_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(
        r'{"author": "\ud83d\ude00", "title": "\u00e9", "text": "\tone\r\ntwo", "dynasty": ""}',
        "utf-8",
    )
    assert corpus.jsonl(file) == [corpus.Poem("😀", "é", "\tone\r\ntwo")]


def test_json_lines_that_are_not_there_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own\.jsonl"):
        corpus.jsonl(tmp_path / "own.jsonl")
    (tmp_path / "own.jsonl").write_bytes(b'{"author": "\xe9"}')
    with pytest.raises(
        ValueError, match=r"own\.jsonl: expected UTF-8, got byte 0xe9 at byte 12, line 1"
    ):
        corpus.jsonl(tmp_path / "own.jsonl")
