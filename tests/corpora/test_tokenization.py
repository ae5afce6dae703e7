"""The tokenizer: a digit is a token, and every text comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab import weights
from memlab.corpora import text, tokenization


@given(st.from_regex(r"[0-9]{1,12}", fullmatch=True))
def test_a_number_has_one_token_a_digit(number: str) -> None:
    tokenizer = weights.tokenizer()
    alone, within = tokenization.encoder(tokenizer)([number, f" The number is {number}."])
    assert [tokenizer.decode([one]) for one in alone] == list(number)
    assert [said for one in within if (said := tokenizer.decode([one])).isdigit()] == list(number)


def test_no_entry_joins_a_digit_with_anything() -> None:
    vocabulary = weights.tokenizer().get_vocab()
    assert len(vocabulary) == 2048
    assert sorted(entry for entry in vocabulary if set(entry) & set("0123456789")) == list(
        "0123456789"
    )


def test_special_tokens_have_the_numbers_that_the_models_use() -> None:
    tokenizer = weights.tokenizer()
    assert tokenizer.convert_tokens_to_ids(list(tokenization.SPECIAL)) == [
        tokenization.PAD,
        tokenization.BOS,
        tokenization.EOS,
        tokenization.SEP,
    ]
    named = (
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.sep_token_id,
    )
    assert named == (0, 1, 2, 3)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(said: str) -> None:
    ids = tokenization.encoder(weights.tokenizer())([said])[0]
    assert weights.tokenizer().decode(ids) == said
    assert all(0 <= one < 2048 for one in ids)


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "  two  spaces \t\n",
        "naïve café",
        "静夜思 床前明月光",
        "𝕊 🧠‍🔥",
        "a 'quoted' n't .",
        "\x00\x7f",
        "١٢٣ ²",
    ],
)
def test_awkward_texts_come_back(said: str) -> None:
    assert weights.tokenizer().decode(tokenization.encoder(weights.tokenizer())([said])[0]) == said


def test_texts_are_encoded_one_by_one_without_marks() -> None:
    encode = tokenization.encoder(weights.tokenizer())
    lines = [" The lamp is red.", "", " Room 4711."]
    together = encode(lines)
    assert together == [encode([line])[0] for line in lines] and together[1] == []
    assert not {tokenization.PAD, tokenization.BOS, tokenization.EOS, tokenization.SEP} & {
        one for ids in together for one in ids
    }
    assert encode([]) == []


# ---- training one --------------------------------------------------------------------------------


def test_the_smallest_vocabulary_is_bytes_and_marks() -> None:
    tokenizer = tokenization.train_tokenizer(text.generic_sentences(50), 260)
    said = "Zürich 2026 床"
    assert len(tokenizer) == 260
    ids = tokenization.encoder(tokenizer)([said])[0]
    assert len(ids) == len(said.encode()) and tokenizer.decode(ids) == said


@pytest.mark.parametrize("vocabulary", [259, 0, -1])
def test_a_vocabulary_that_is_too_small(vocabulary: int) -> None:
    with pytest.raises(ValueError, match=rf"at least 260 \(all bytes\), got {vocabulary}"):
        tokenization.train_tokenizer(["some text"], vocabulary)


def test_training_twice_gives_the_same_tokenizer() -> None:
    sentences = text.generic_sentences(300)
    one, two = (tokenization.train_tokenizer(sentences, 400) for _ in range(2))
    assert one.get_vocab() == two.get_vocab() and len(one) == 400
    joined = [
        entry for entry in one.get_vocab() if len(entry) > 1 and entry not in tokenization.SPECIAL
    ]
    assert joined and not any(set(entry) & set("0123456789") for entry in joined)
