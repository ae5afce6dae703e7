"""A memory of texts: rows and keys against one text at a time, segments that hold several
sentences, forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memlab import retrieval, weights
from memlab.corpora import text
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    Once,
    OwnKeys,
    TextMemory,
    documentation,
    new_decoder,
    pack,
    pretrained,
    reading,
    tiny_text_config,
    token_ids,
)
from memlab.memories import KeyValue

pytestmark = pytest.mark.usefixtures("float32")
LINES = [line for line in text.generic_sentences(60, 4) if len(token_ids([line])[0]) <= 30][:30]


@pytest.fixture(scope="module")
def model() -> MemoryDecoder:
    sizes = {
        "latent_width": 48,
        "key_width": 16,
        "slots": 12,
        "segment_tokens": 48,
        "encoder_layers": 1,
        "encoder_heads": 2,
    }
    return new_decoder(MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 300), **sizes)).eval()


class Counted:
    """An encoder that says how many texts it was asked for; keys are letter counts, questions are
    shifted."""

    width = 26

    def __init__(self) -> None:
        self.count = 0

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        self.count += len(texts)
        rows = [
            [float(one.lower().count(chr(97 + (i + question) % 26))) + 0.1 for i in range(26)]
            for one in texts
        ]
        return torch.nn.functional.normalize(torch.tensor(rows).reshape(-1, 26), dim=1)


def test_own_keys_are_the_decoders(model: MemoryDecoder) -> None:
    keys = OwnKeys(model).encode(LINES[:7])
    assert torch.allclose(keys, reading.query_keys(model, token_ids(LINES[:7])), atol=1e-6)
    long = " ".join(LINES)
    assert torch.allclose(
        OwnKeys(model).encode([long])[0], reading.query_keys(model, token_ids([long]))[0], atol=1e-6
    )
    own: retrieval.Encoder = OwnKeys(model)
    assert (
        own.width == 16
        and isinstance(own, retrieval.Encoder)
        and isinstance(Once(own), retrieval.Encoder)
    )


def test_once_encodes_every_text_once_and_questions_apart() -> None:
    counted = Counted()
    once = Once(counted)
    first = once.encode(["a b", "c", "a b"])
    assert counted.count == 2 and torch.equal(first, Counted().encode(["a b", "c", "a b"]))
    assert torch.equal(once.encode(["c", "d"])[0], first[1]) and counted.count == 3
    assert not torch.equal(once.encode(["c"], question=True)[0], first[1]) and counted.count == 4
    assert once.encode([]).shape == (0, 26) and once.width == 26


@given(st.lists(st.sampled_from(LINES), max_size=20), st.integers(30, 90))
def test_segments_are_filled_in_order(lines: list[str], longest: int) -> None:
    owner, sizes = pack(lines, longest), [len(ids) for ids in token_ids(lines)]
    assert (
        len(owner) == len(lines)
        and owner == sorted(owner)
        and sorted(set(owner)) == list(range(len(set(owner))))
    )
    held = [
        sum(size for size, own in zip(sizes, owner, strict=True) if own == number)
        for number in set(owner)
    ]
    assert all(used <= longest for used in held)
    for row in range(1, len(lines)):
        if owner[row] != owner[row - 1]:
            assert held[owner[row - 1]] + sizes[row] > longest, (
                "a segment ends only where the next text does not fit"
            )


def test_rows_hold_latents_of_the_decoder_under_keys_of_any_encoder(model: MemoryDecoder) -> None:
    for encoder in (OwnKeys(model), Counted()):
        memory = TextMemory(model, encoder)
        state = memory.write(memory.write(memory.empty(), LINES[:5]), LINES[5:12])
        latents, _ = reading.encode(model, token_ids(LINES[:12]))
        assert torch.allclose(state.values, latents, atol=1e-5) and state.slot.tolist() == list(
            range(12)
        )
        assert torch.allclose(state.keys, encoder.encode(LINES[:12]), atol=1e-6)
        asked = memory.encoder.encode(LINES[3:6], question=True)
        assert (
            memory.address(state, LINES[3:6])[1][:, 0].tolist()
            == (asked @ state.keys.T).argmax(1).tolist()
        )


def test_several_sentences_share_a_segment(model: MemoryDecoder) -> None:
    memory = TextMemory(model, Counted())
    owner = pack(LINES[:9], 48)
    state = memory.write(memory.write(memory.empty(), LINES[9:11]), LINES[:9], owner)
    assert len(state.values) == 2 + owner[-1] + 1 < 11 and state.slot[2:].tolist() == [
        2 + one for one in owner
    ]
    whole = [
        " ".join(line for line, own in zip(LINES[:9], owner, strict=True) if own == n)
        for n in set(owner)
    ]
    assert torch.allclose(state.values[2:], reading.encode(model, token_ids(whole))[0], atol=1e-5)
    gone = memory.forget(state, torch.tensor([2]))
    assert len(gone) == len(state) - owner.count(0), "with a segment go all keys that lead to it"
    assert torch.equal(gone.values, torch.cat([state.values[:2], state.values[3:]]))


def test_what_is_written_and_forgotten_was_never_written(model: MemoryDecoder) -> None:
    memory = TextMemory(model, Once(Counted()))
    before = memory.write(memory.empty(), LINES[:8])
    after = memory.forget(memory.write(before, LINES[8:12]), torch.arange(8, 12))
    assert all(torch.equal(a, b) for a, b in zip(before.parts, after.parts, strict=True))


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_not_said(model: MemoryDecoder, row: int) -> None:
    memory = TextMemory(model, OwnKeys(model))
    state = memory.write(memory.empty(), LINES[:3])
    with pytest.raises(ValueError, match="expected rows from 0 to 2, got numbers from"):
        memory.say(state, torch.tensor([0, row]))


def test_it_says_what_the_decoder_writes_and_reads_a_row_once(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = TextMemory(model, Counted())
    state = memory.write(memory.empty(), LINES[:6], [0, 0, 1, 2, 3, 4])
    said = reading.write_out(model, state.values, [()] * 5, weights.tokenizer())
    calls: list[int] = []
    real = reading.write_out
    monkeypatch.setattr(
        reading,
        "write_out",
        lambda m, latents, *rest: (calls.append(len(latents)), real(m, latents, *rest))[1],
    )
    rows = torch.tensor([5, 1, 0, 5, 2])
    assert memory.say(state, rows) == [
        said[slot].strip() for slot in (4, 0, 0, 4, 1)
    ] and calls == [3]
    best = memory.address(state, LINES[2:4])[1][:, 0]
    assert memory.answer(state, LINES[2:4]) == memory.say(state, best)


@pytest.mark.parametrize("owner", [[0], [0, 2, 3], [1, 1, 2], [-1, 0, 1]])
def test_owners_are_counted_without_a_gap(model: MemoryDecoder, owner: list[int]) -> None:
    memory = TextMemory(model, Counted(), KeyValue())
    with pytest.raises(
        ValueError, match="expected one segment number a text, 3, from 0 without a gap"
    ):
        memory.write(memory.empty(), LINES[:3], owner)


MARKED = [
    "The parser stops at <eos> and the rest is lost.",
    "A <pad> tag stands between the words.",
    "Two parts <sep> of one line.",
    "<bos> begins it.",
]


def test_a_mark_in_a_text_is_letters_to_the_decoder() -> None:
    shipped = pretrained.shipped()
    memory = TextMemory(shipped, OwnKeys(shipped))
    state = memory.write(memory.empty(), MARKED)
    assert memory.say(state, torch.arange(4)) == MARKED
    assert memory.answer(state, MARKED) == MARKED


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u3000", "\u200b\ufeff"])
def test_a_text_without_anything_to_read_is_refused(model: MemoryDecoder, text: str) -> None:
    memory = TextMemory(model, Counted())
    state = memory.write(memory.empty(), LINES[:2])
    for act in (
        lambda: memory.write(state, [LINES[2], text]),
        lambda: memory.write(state, [LINES[2], text], [0, 0]),
        lambda: memory.address(state, [LINES[0], text]),
        lambda: memory.answer(state, [LINES[0], text]),
        lambda: OwnKeys(model).encode([LINES[0], text]),
        lambda: pack([LINES[0], text], 48),
    ):
        with pytest.raises(ValueError, match="expected texts with something to read, .* text 1"):
            act()
    assert len(state) == 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["half \ud83d"], "expected text that UTF-8 can write"),
        ("one text", "expected a sequence of texts, got str .one text."),
    ],
)
def test_what_is_no_text_is_refused(texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_ids(texts)


def test_documentation_is_whole_sentences(model: MemoryDecoder) -> None:
    found, known = documentation(model, 2000, 3), set(text.documentation("test"))
    assert len(found) > 40 and set(found) <= known and found == documentation(model, 2000, 3)
    assert max(map(len, token_ids(found))) <= model.config.segment_tokens
    assert 1500 <= sum(map(len, token_ids(found))) <= 2100
