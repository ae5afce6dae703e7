"""Reading with a memory: batches of any size, in order, and clear words where there is nothing to
read."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from memlab import runtime, weights
from memlab.corpora.tokenization import BOS, EOS, PAD, SEP
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    new_decoder,
    reading,
    tiny_text_config,
)
from memlab.memories import KeyValue, rows

pytestmark = pytest.mark.usefixtures("float32")
SIZES = {
    "latent_width": 24,
    "key_width": 8,
    "slots": 6,
    "segment_tokens": 12,
    "encoder_layers": 1,
    "encoder_heads": 2,
}


@pytest.fixture(scope="module")
def model() -> MemoryDecoder:
    made = new_decoder(MemoryDecoderConfig(tiny_text_config(300, 32, 1, 2, 64), **SIZES))
    with torch.no_grad():  # a start whose answers differ
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "wpe" not in name:
                parameter.mul_(3)
    return made.eval()


def segments(count: int, longest: int = 12, seed: int = 0) -> list[tuple[int, ...]]:
    """Segments of 1 to `longest` tokens, in no order of length."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=rng).tolist()
    return [tuple(torch.randint(4, 300, (length,), generator=rng).tolist()) for length in lengths]


def one_by_one(model: MemoryDecoder, some: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        pairs = [model.encode(torch.tensor([segment])) for segment in some]
    return torch.cat([one for one, _ in pairs]), torch.cat([one for _, one in pairs])


# ---- encode --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 7, 40, 256])
def test_segments_keep_their_order_whatever_the_batch(model: MemoryDecoder, batch: int) -> None:
    some = segments(40)
    latents, keys = reading.encode(model, some, batch=batch)
    expected = one_by_one(model, some)
    assert torch.allclose(latents, expected[0], atol=1e-5) and torch.allclose(
        keys, expected[1], atol=1e-5
    )
    assert float((expected[0][0] - expected[0][1]).abs().max()) > 0.1
    assert latents.dtype == keys.dtype == torch.float32 and not latents.requires_grad


def test_fast_bfloat16_gives_nearly_the_same(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = reading.encode(model, segments(40))
    monkeypatch.setattr(runtime, "fast_bfloat16", lambda: True)
    for fast, slow in zip(reading.encode(model, segments(40)), exact, strict=True):
        assert fast.dtype == torch.float32 and 0 < float((fast - slow).norm() / slow.norm()) < 0.05


def test_nothing_to_encode(model: MemoryDecoder) -> None:
    latents, keys = reading.encode(model, [])
    assert latents.shape == (0, 24) and keys.shape == (0, 8)


@pytest.mark.parametrize(
    ("wrong", "lengths"), [([(5, 6), ()], "0 to 2"), ([(5,), (7,) * 13], "1 to 13")]
)
def test_segments_that_are_empty_or_too_long(
    model: MemoryDecoder, wrong: list[tuple[int, ...]], lengths: str
) -> None:
    with pytest.raises(
        ValueError, match=f"expected segments of 1 to 12 tokens, got lengths from {lengths}"
    ):
        reading.encode(model, wrong)


# ---- memorise ------------------------------------------------------------------------------------


def test_row_i_of_the_memory_is_segment_i(model: MemoryDecoder) -> None:
    some = segments(30)
    state = reading.memorise(model, some)
    latents, keys = one_by_one(model, some)
    assert torch.allclose(state.keys, keys, atol=1e-5) and torch.allclose(
        state.values, latents, atol=1e-5
    )
    assert state.slot.tolist() == list(range(30))
    other = KeyValue(top_k=2)
    assert torch.equal(reading.memorise(model, some, other).keys, state.keys)


def test_a_segment_as_its_own_cue_finds_itself(model: MemoryDecoder) -> None:
    some = [*segments(30, seed=1)]
    state, memory = reading.memorise(model, some), KeyValue()
    scores, rows = memory.address(state, reading.query_keys(model, some))
    assert [some[int(row)] for row in rows[:, 0]] == some
    assert torch.allclose(scores, torch.ones(30, 1), atol=1e-5)
    assert torch.allclose(
        memory.read(state, reading.query_keys(model, some)), state.values, atol=1e-5
    )


def test_a_context_longer_than_memory_allows_is_not_even_encoded(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object) -> None:
        raise AssertionError("encoded before the room was checked")

    some, row = segments(50), 4 * 8 + 4 * 24 + 8
    monkeypatch.setattr(rows, "available_bytes", lambda device: 50 * row - 1)
    monkeypatch.setattr(MemoryDecoder, "encode", encode)
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"50 rows need {50 * row:,} bytes, but {50 * row - 1:,} bytes are available: at most 49"
            " rows would fit"
        ),
    ):
        reading.memorise(model, some)


# ---- query keys ----------------------------------------------------------------------------------


def test_cues_are_encoded_as_a_loop_would(model: MemoryDecoder) -> None:
    cues = [*segments(9, seed=2), tuple(range(4, 40))]
    keys = reading.query_keys(model, cues)
    with torch.no_grad():
        expected = torch.cat([model.encode_keys(torch.tensor([cue[:12]])) for cue in cues])
    assert keys.shape == (10, 8) and torch.allclose(keys, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("cues", "lengths"), [([()], "[0]"), ([(5, 6), (), (7,)], "[2, 0, 1]"), ([], "[]")]
)
def test_an_empty_cue_has_no_key(
    model: MemoryDecoder, cues: list[tuple[int, ...]], lengths: str
) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"expected cues of at least 1 token, got lengths {lengths}")
    ):
        reading.query_keys(model, cues)


# ---- write out -----------------------------------------------------------------------------------


def test_a_batch_is_written_out_as_a_loop_would(model: MemoryDecoder) -> None:
    cues = [(), (5,), tuple(range(20, 27)), (), (9, 8, 7)]
    latents = reading.encode(model, segments(5, seed=3))[0]
    tokenizer = weights.tokenizer()
    together = reading.write_out(model, latents, cues, tokenizer, max_new_tokens=8)
    alone = [
        reading.write_out(model, latents[i : i + 1], cues[i : i + 1], tokenizer, max_new_tokens=8)[
            0
        ]
        for i in range(5)
    ]
    assert together == alone and len(set(together)) > 2
    prompt = torch.tensor([[BOS, 9, 8, 7]])
    new = model.generate(
        prompt,
        latents=latents[4:],
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )[0, 4:]
    assert together[4] == tokenizer.decode(new, skip_special_tokens=True), (
        "only what is new, without the cue"
    )


def test_more_answers_than_fit_into_one_batch(model: MemoryDecoder) -> None:
    few = reading.encode(model, segments(3, seed=4))[0]
    latents = few.repeat(100, 1)
    written = reading.write_out(model, latents, [()] * 300, weights.tokenizer(), max_new_tokens=3)
    assert (
        written
        == reading.write_out(model, few, [()] * 3, weights.tokenizer(), max_new_tokens=3) * 100
    )


def test_the_end_mark_ends_what_is_written(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = weights.tokenizer()(" The lamp.", add_special_tokens=False).input_ids

    def generate(self: MemoryDecoder, ids: Tensor, **more: object) -> Tensor:
        assert more["eos_token_id"] == [EOS, SEP] and more["do_sample"] is False
        return torch.cat([ids, torch.tensor([[*said, EOS, PAD, PAD]] * len(ids))], 1)

    monkeypatch.setattr(MemoryDecoder, "generate", generate)
    written = reading.write_out(model, torch.zeros(2, 24), [(), (5, 6)], weights.tokenizer())
    assert written == [" The lamp."] * 2


def test_settings_for_decoding_do_not_change_what_is_written(model: MemoryDecoder) -> None:
    latents, _ = reading.encode(model, segments(9))
    wanted = reading.write_out(model, latents, [()] * 9, weights.tokenizer())
    assert max(map(len, wanted)) > 12, "otherwise nothing could be repeated"
    kept = model.generation_config
    spoilt = deepcopy(kept)
    spoilt.update(no_repeat_ngram_size=1, repetition_penalty=5.0, min_new_tokens=9, num_beams=3)
    model.generation_config = spoilt
    try:
        assert reading.write_out(model, latents, [()] * 9, weights.tokenizer()) == wanted
        assert model.decoder.generation_config is spoilt
    finally:
        model.generation_config = kept


def test_one_cue_a_latent(model: MemoryDecoder) -> None:
    assert reading.write_out(model, torch.zeros(0, 24), [], weights.tokenizer()) == []
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"expected one cue a query, 2, got {count}"):
            reading.write_out(model, torch.zeros(2, 24), [()] * count, weights.tokenizer())


def test_what_several_rows_say_is_joined(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (
        weights.tokenizer()(said, add_special_tokens=False).input_ids
        for said in (" The lamp.", " A box.")
    )
    asked: list[list[int]] = []

    def generate(self: MemoryDecoder, ids: Tensor, **more: Any) -> Tensor:
        assert more["latents"].shape == (1, 2, 24) and more["max_new_tokens"] == 12 + 2
        asked.append(ids[0].tolist())
        return torch.cat([ids, torch.tensor([[*one, SEP] if len(asked) == 1 else [*two, EOS]])], 1)

    monkeypatch.setattr(MemoryDecoder, "generate", generate)
    assert reading.write_out(model, torch.zeros(1, 2, 24), [()], weights.tokenizer()) == [
        " The lamp. |  A box."
    ]
    assert asked == [[BOS], [BOS, *one, SEP]], "the second segment is asked for behind the first"


def test_a_stem_asks_for_one_of_several_rows(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def generate(self: MemoryDecoder, ids: Tensor, **more: Any) -> Tensor:
        calls.append(tuple(more["latents"].shape))
        return torch.cat([ids, torch.full((len(ids), 1), EOS)], 1)

    monkeypatch.setattr(MemoryDecoder, "generate", generate)
    written = reading.write_out(
        model, torch.zeros(3, 2, 24), [(5, 6), (), (7,)], weights.tokenizer()
    )
    assert written == ["", " | ", ""] and calls == [(3, 2, 24), (1, 2, 24)]


# ---- mixtures ------------------------------------------------------------------------------------


def test_a_stored_latent_is_settled_already_and_a_faint_slot_is_emptied(
    model: MemoryDecoder,
) -> None:
    latents = reading.encode(model, segments(8, seed=6))[0]
    assert torch.allclose(reading.settled(model, latents, least=0.01), latents, atol=1e-3)
    faint = latents + 0.01 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    settled = reading.settled(model, 3 * faint)
    slots, held = settled.unflatten(1, (6, -1)), latents.unflatten(1, (6, -1))
    assert bool((slots[(held == 0).all(2)] == 0).all()), "what only noise has filled"
    for row in settled:
        used = row[row != 0]
        assert (
            float(used.mean()) == pytest.approx(0, abs=1e-5)
            and abs(float(used.var(correction=0)) - 1) < 1e-3
        )


# ---- recognition ---------------------------------------------------------------------------------


@torch.no_grad()
def test_recognition_is_the_mean_log_probability_of_the_cue(model: MemoryDecoder) -> None:
    latents = reading.encode(model, segments(6, seed=5))[0].view(3, 2, 24)
    cues = [(5, 6, 7), (9,), tuple(range(20, 29))]
    found = reading.recognise(model, latents, cues)
    for query, cue in enumerate(cues):
        for read in range(2):
            ids = torch.tensor([[BOS, *cue]])
            logits = model(ids, latents=latents[query, read][None]).logits[0].log_softmax(-1)
            wanted = sum(float(logits[place, token]) for place, token in enumerate(cue)) / len(cue)
            assert float(found[query, read]) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("cues", [[(5,), ()], [(5,)]])
def test_recognition_needs_a_cue_for_every_query(
    model: MemoryDecoder, cues: list[tuple[int, ...]]
) -> None:
    with pytest.raises(
        ValueError, match="expected a cue of at least 1 token for each of 2 queries"
    ):
        reading.recognise(model, torch.zeros(2, 1, 24), cues)
