"""The tokenizer: a digit is a token, and every text comes back as it was, in any tokenizer."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from memlab import weights
from memlab.corpora import needles, text, tokenization


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


# ---- text is text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "The parser stops at <eos> and the rest is lost.",
        "A <pad> tag stands between the words.",
        "Two parts <sep> of one line.",
        "<bos>",
        "<eos><eos> <sep>\n<pad>",
        "x<bos>9<eos>",
    ],
)
def test_a_mark_in_a_text_is_letters(said: str) -> None:
    encode = tokenization.encoder(weights.tokenizer())
    (ids,) = encode([said])
    assert not set(ids) & {tokenization.PAD, tokenization.BOS, tokenization.EOS, tokenization.SEP}
    assert weights.tokenizer().decode(ids, skip_special_tokens=True) == said
    longer = encode([said + " Room 4711."])[0]
    assert longer[: len(ids) - 1] == ids[:-1], "what follows a mark is not lost"


def byte_pairs(marks: list[str]) -> Tokenizer:
    """As GPT-2 and its heirs have it, trained on the lines of this test."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=marks, show_progress=False, initial_alphabet=alphabet
    )
    core.train_from_iterator(text.generic_sentences(50), trainer)
    return core


def unigram(marks: list[str]) -> Tokenizer:
    """As T5 and XGLM have it: a mark is also the best piece for its own letters."""
    pieces = [(mark, 0.0) for mark in marks]
    letters = [(chr(code), -5.0) for code in range(33, 127)]
    core = Tokenizer(models.Unigram([*pieces, ("▁", -3.0), *letters], unk_id=None))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return core


def characters(marks: list[str]) -> Tokenizer:
    """Words as pieces between blanks, and every letter beside them."""
    vocabulary = {entry: i for i, entry in enumerate([*marks, *map(chr, range(32, 127))])}
    core = Tokenizer(models.WordPiece(vocabulary, continuing_subword_prefix=""))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    core.decoder = decoders.Fuse()
    return core


def users(core: Tokenizer, marks: list[str]) -> PreTrainedTokenizerFast:
    pad, bos, eos = marks
    core.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
    )


@pytest.mark.parametrize("make", [byte_pairs, unigram, characters])
@pytest.mark.parametrize(
    "marks",
    [
        ["<pad>", "<s>", "</s>"],
        ["[PAD]", "[CLS]", "[SEP]"],
        ["<|pad|>", "<|start|>", "<|endoftext|>"],
    ],
)
def test_so_it_is_in_a_tokenizer_of_a_user(make: Any, marks: list[str]) -> None:
    tokenizer = users(make(marks), marks)
    encode = tokenization.encoder(tokenizer)
    lines = [f"ends with {marks[2]}", f"{marks[0]} {marks[1]} in front", "plain words", marks[2]]
    found = encode(lines)
    assert not {token for ids in found for token in ids} & set(tokenizer.all_special_ids)
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in found] == lines
    assert found[2] == tokenizer("plain words", add_special_tokens=False).input_ids
    assert tokenizer(marks[2], add_special_tokens=False).input_ids == [tokenizer.eos_token_id], (
        "whoever asks the tokenizer itself gets the mark as before"
    )


def test_a_sign_that_serves_as_mark_stays_a_sign() -> None:
    """Some tokenizers fill up with an exclamation mark: in a text it is one all the same."""
    core = byte_pairs([])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="!", eos_token="\n")
    encode = tokenization.encoder(tokenizer)
    assert tokenizer.decode(encode(["Oh!\nNo."])[0]) == "Oh!\nNo."


def test_a_tokenizer_that_cannot_spell_its_mark_is_named() -> None:
    class Stubborn:
        all_special_tokens = ["<end>"]
        unk_token = None

        def convert_tokens_to_ids(self, name: str) -> int:
            return 0

        def __call__(self, texts: list[str], **_options: Any) -> Any:
            return type("Found", (), {"input_ids": [[5, 0, 7] for _ in texts]})

    encode = tokenization.encoder(Stubborn())
    assert encode(["no mark"]) == [[5, 0, 7]]
    with pytest.raises(ValueError, match="expected a tokenizer that spells <end> in letters, got"):
        encode(["the <end> is near"])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "expected a sequence of texts, got str 'one text'"),
        (["good", "half \ud83d"], r"expected text that UTF-8 can write, got '\\ud83d' in text 1"),
    ],
)
def test_what_is_no_text_is_refused(texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as problem:
        tokenization.encoder(weights.tokenizer())(texts)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("texts", [["good", None], [b"good", b"bytes"], ["good", 7]])
def test_texts_of_another_type_are_refused(texts: Any) -> None:
    unchecked = inspect.unwrap(tokenization.check)  # the hook of these tests would be first
    with pytest.raises(ValueError, match="expected texts, got (NoneType|bytes|int) as text [01]"):
        unchecked(texts)


@pytest.mark.parametrize(
    ("said", "blank"),
    [
        ("", True),
        (" \t\n", True),
        ("\u3000\xa0", True),
        ("\u200b\ufeff\u200e", True),
        ("\x00", True),
        (".", False),
        ("0", False),
        ("🍣", False),
        ("क", False),
        ("\u200b a", False),
    ],
)
def test_a_blank_text_shows_nothing(said: str, blank: bool) -> None:
    assert tokenization.is_blank(said) == blank


def test_only_what_stands_in_front_opens_a_text() -> None:
    marks = ["<pad>", "<s>", "</s>"]
    for template, opening in (("<s> $A </s>", [1]), ("$A </s>", []), ("<s> $A", [1]), ("$A", [])):
        tokenizer = users(byte_pairs(marks), marks)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        assert len(tokenizer("a").input_ids) == len(template.split())
        assert tokenization.opening(tokenizer) == opening
    assert tokenization.opening(weights.tokenizer()) == []


CHINESE = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 3, "naïve café 🧠‍🔥" * 9, "plain"]


@pytest.mark.parametrize("limit", [4, 7, 16, 64])
def test_no_segment_is_cut_inside_a_character(limit: int) -> None:
    encode = tokenization.encoder(weights.tokenizer())
    ids = encode(CHINESE)
    cut = needles.cut(ids, limit, encode.inside)
    assert [token for piece in cut for token in piece] == [token for one in ids for token in one]
    assert min(map(len, cut)) > 0 and max(map(len, cut)) <= limit
    assert not any("\ufffd" in weights.tokenizer().decode(list(piece)) for piece in cut)
    plain = encode([line for line in text.generic_sentences(50) if line.isascii()])
    assert needles.cut(plain, limit, encode.inside) == needles.cut(plain, limit, ())


def test_a_character_longer_than_a_segment_is_cut_all_the_same() -> None:
    encode = tokenization.encoder(weights.tokenizer())
    ids = encode(["床🔥"])
    for limit in (1, 2, 3):
        cut = needles.cut(ids, limit, encode.inside)
        assert [token for piece in cut for token in piece] == ids[0]
        assert max(map(len, cut)) <= limit
