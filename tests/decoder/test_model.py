"""The memory decoder behind the Hugging Face contract: what is saved is loaded, what is stock stays
stock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Trainer,
    TrainingArguments,
)
from transformers.generation.streamers import BaseStreamer

from memlab import training
from memlab.decoder import MemoryDecoder, MemoryDecoderConfig, new_decoder, tiny_text_config

VOCABULARY, LATENT, KEY, SEGMENT = 300, 24, 8, 12
MARKS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
STOCK: dict[str, Any] = {
    **MARKS,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
BACKBONES: dict[str, PreTrainedConfig] = {
    "gpt2": tiny_text_config(VOCABULARY, 32, 1, 2, 64),
    "llama": LlamaConfig(**STOCK, num_key_value_heads=1),
    "qwen2": Qwen2Config(**STOCK, num_key_value_heads=1, tie_word_embeddings=True),
    "gpt-neox": GPTNeoXConfig(**STOCK),
    "bloom": BloomConfig(**MARKS, hidden_size=32, n_layer=1, n_head=2),
}
FREE: dict[str, Any] = {
    "max_new_tokens": 6,
    "do_sample": False,
    "eos_token_id": None,
    "pad_token_id": 0,
}


def config(backbone: str = "gpt2", **more: Any) -> MemoryDecoderConfig:
    # No token is the separator, so that tokens may be drawn at random.
    sizes = {
        "latent_width": LATENT,
        "key_width": KEY,
        "slots": 6,
        "segment_tokens": SEGMENT,
        "encoder_layers": 1,
        "encoder_heads": 2,
        "separator": -1,
        **more,
    }
    return MemoryDecoderConfig(BACKBONES[backbone].to_dict(), **sizes)


@pytest.fixture(params=BACKBONES)
def model(request: pytest.FixtureRequest) -> MemoryDecoder:
    return louder(new_decoder(config(request.param)))


@pytest.fixture
def gpt2() -> MemoryDecoder:
    return louder(new_decoder(config()))


def louder(model: MemoryDecoder) -> MemoryDecoder:
    """Stock starts are so small that every latent gives the same answer; here they must not."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "wpe" not in name:
                parameter.mul_(3)
    return model.eval()


def drawn(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padded(rows: list[list[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = [
        [0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows
    ]
    mask = [[int(token > 0) for token in row] for row in ids]
    return torch.tensor(ids), torch.tensor(mask)


# ---- saving and loading --------------------------------------------------------------------------


def test_what_is_saved_is_loaded_bit_for_bit(model: MemoryDecoder, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix != ".json") == [
        ".safetensors"
    ]
    again = MemoryDecoder.from_pretrained(tmp_path)
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after) and all(
        torch.equal(before[name], after[name]) for name in before
    )
    ids, segments = drawn((3, 5)), drawn((3, 9), 3)
    for one, two in zip(model.encode(segments), again.encode(segments), strict=True):
        assert torch.equal(one, two)
    latents = normal(3, LATENT)
    assert torch.equal(model(ids, latents=latents).logits, again(ids, latents=latents).logits)
    assert torch.equal(
        model.generate(ids, latents=latents, **FREE), again.generate(ids, latents=latents, **FREE)
    )
    tied = model.config.tie_word_embeddings
    assert (
        again.decoder.get_output_embeddings().weight is again.get_input_embeddings().weight
    ) == tied


def test_auto_config_knows_the_model(tmp_path: Path) -> None:
    new_decoder(config("llama", latent_width=12, key_width=5)).save_pretrained(tmp_path)
    found = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(found, MemoryDecoderConfig) and isinstance(found.text_config, LlamaConfig)
    assert (found.latent_width, found.key_width, found.slots, found.segment_tokens) == (
        12,
        5,
        6,
        SEGMENT,
    )
    assert AutoConfig.for_model("memory-decoder").text_config.model_type == "gpt2"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_that_was_chosen_is_used_and_kept(attention: str, tmp_path: Path) -> None:
    made = new_decoder(config(attention=attention))
    made.save_pretrained(tmp_path)
    for one in (made, MemoryDecoder.from_pretrained(tmp_path)):
        assert one.decoder.config._attn_implementation == attention


# ---- a stock decoder -----------------------------------------------------------------------------


def test_without_latents_it_is_the_bare_backbone(model: MemoryDecoder) -> None:
    bare = AutoModelForCausalLM.from_config(
        model.config.text_config, attn_implementation="eager"
    ).eval()
    bare.load_state_dict(model.decoder.state_dict())
    ids = drawn((3, 7))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    assert torch.equal(model(ids).logits, bare(input_ids=ids, use_cache=False).logits)
    assert torch.equal(
        model(ids, attention_mask=mask).logits,
        bare(input_ids=ids, attention_mask=mask, use_cache=False).logits,
    )
    assert torch.equal(
        model.generate(ids, attention_mask=mask, **FREE),
        bare.generate(ids, attention_mask=mask, **FREE),
    )


def test_latents_are_a_prefix_of_embeddings(model: MemoryDecoder) -> None:
    ids, latents = drawn((2, 5)), normal(2, LATENT)
    slots = model.to_prefix.weight.shape[1]
    parts = [
        [
            model.to_prefix.weight @ latent[j * slots : (j + 1) * slots]
            + model.prefix_positions[j]
            + model.rank[0]
            for j in range(6)
        ]
        for latent in latents
    ]
    prefix = torch.stack([torch.stack(part) for part in parts])
    found, holds = model.prefix(latents)
    assert torch.allclose(found[:, 0], prefix, atol=1e-5) and bool(holds.all())
    whole = torch.cat([prefix, model.get_input_embeddings()(ids)], 1)
    places = {
        "position_ids": torch.tensor([[*range(6), *range(12, 17)]] * 2)
    }  # room for two read-outs, then the text
    known = places if model._takes_positions else {}
    assert model._takes_positions != isinstance(model.decoder, BloomForCausalLM)
    expected = model.decoder(inputs_embeds=whole, **known).logits[:, 6:]
    found = model(ids, latents=latents).logits
    assert found.shape == (2, 5, VOCABULARY) and torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, model(ids).logits, atol=1e-2), "the latents matter"


def test_greedy_generate_is_argmax_step_by_step(model: MemoryDecoder) -> None:
    ids, latents = drawn((3, 4)), normal(3, LATENT)
    said = model.generate(ids, latents=latents, **FREE)
    wanted = ids
    for _ in range(6):
        wanted = torch.cat([wanted, model(wanted, latents=latents).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(said, wanted)
    assert len({tuple(row) for row in said[:, 4:].tolist()}) > 1, "else the test would see nothing"


def test_beams_and_several_returned_sequences(model: MemoryDecoder) -> None:
    ids, latents = drawn((2, 4)), normal(2, LATENT)
    best = model.generate(ids, latents=latents, num_beams=4, num_return_sequences=3, **FREE)
    assert best.shape == (6, 10)
    assert torch.equal(best[:, :4], ids.repeat_interleave(3, 0))
    assert len({tuple(row) for row in best[:3].tolist()}) == 3

    def score(row: Tensor, latent: Tensor) -> float:
        logits = model(row[None], latents=latent[None]).logits[0, 3:-1].detach().double()
        return float(logits.log_softmax(-1).gather(1, row[4:, None]).sum())

    for which in range(2):
        scores = [score(row, latents[which]) for row in best[3 * which : 3 * which + 3]]
        blind = torch.cat([ids[which], drawn((6,), 9)])
        assert scores == sorted(scores, reverse=True) and scores[0] > score(blind, latents[which])
    sampled = model.generate(
        ids, latents=latents, **{**FREE, "do_sample": True}, num_return_sequences=2
    )
    assert torch.equal(sampled[:, :4], ids.repeat_interleave(2, 0))


def test_a_left_padded_batch_is_a_loop(model: MemoryDecoder) -> None:
    rows = [drawn((length,), length).tolist() for length in (1, 5, 3)]
    latents = normal(3, LATENT)
    ids, mask = padded(rows, left=True)
    together = model.generate(ids, latents=latents, attention_mask=mask, **FREE)[:, 5:]
    for row, latent, said in zip(rows, latents, together, strict=True):
        alone = model.generate(torch.tensor([row]), latents=latent[None], **FREE)[0, len(row) :]
        assert torch.equal(said, alone)


# ---- generate, as stock models have it -----------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "best of beams": {"num_beams": 4, "num_return_sequences": 2},
    "sampled": {"do_sample": True, "num_return_sequences": 3},
}


def ragged(model: MemoryDecoder, *, left: bool) -> tuple[Tensor, Tensor, Tensor]:
    rows = [drawn((length,), length).tolist() for length in (2, 6, 4)]
    return *padded(rows, left=left), normal(3, LATENT)


def seeded(model: MemoryDecoder, *args: Any, **kwargs: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model.generate(*args, **kwargs)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_is_known_by_its_number(model: MemoryDecoder, kind: str) -> None:
    more = {**FREE, **KINDS[kind]}
    ids, mask, latents = ragged(model, left=True)
    wanted = seeded(model, ids, latents=latents, attention_mask=mask, **more)
    assert torch.equal(seeded(model, ids, latents=latents, **more), wanted)
    assert torch.equal(
        seeded(model, ids, latents=latents, attention_mask=mask.bool(), **more), wanted
    )
    right, right_mask, _ = ragged(model, left=False)
    for known in ({}, {"attention_mask": right_mask}):
        found = seeded(model, right, latents=latents, **known, **more)
        assert torch.equal(found[:, 6:], wanted[:, 6:])
        each = len(found) // 3
        assert torch.equal(found[:, :6], right.repeat_interleave(each, 0)), "the prompts as given"


def test_without_latents_padding_is_known_as_well(model: MemoryDecoder) -> None:
    ids, mask, _ = ragged(model, left=True)
    wanted = model.decoder.generate(input_ids=ids, attention_mask=mask, **FREE)
    assert torch.equal(model.generate(ids, **FREE), wanted)
    with torch.no_grad():
        given = model(ids, attention_mask=mask).logits
        assert torch.equal(model(ids).logits, given)


def test_what_a_masked_place_holds_does_not_matter(model: MemoryDecoder) -> None:
    model.config.separator = 3
    ids, mask, latents = ragged(model, left=True)
    wanted = model.generate(ids, latents=latents, attention_mask=mask, **FREE)[:, 6:]
    for filling in (3, 2, 77):
        other = ids.masked_fill(mask == 0, filling)
        found = model.generate(other, latents=latents, attention_mask=mask, **FREE)
        assert torch.equal(found[:, 6:], wanted) and torch.equal(found[:, :6], other)


def test_an_end_mark_that_is_padding_too_is_text() -> None:
    """As stock `generate` has it: the start mark of GPT-2 is its end mark and its padding."""
    text_config = tiny_text_config(VOCABULARY, 32, 1, 2, 64)
    text_config.pad_token_id = text_config.bos_token_id = text_config.eos_token_id = 2
    sizes = config().to_dict()
    kept = ("latent_width", "key_width", "slots", "segment_tokens", "encoder_layers")
    more = {name: sizes[name] for name in (*kept, "encoder_heads", "separator")}
    model = louder(new_decoder(MemoryDecoderConfig(text_config, **more)))
    ids, latents = torch.cat([torch.full((2, 1), 2), drawn((2, 4))], 1), normal(2, LATENT)
    asked = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    wanted = model.generate(ids, latents=latents, attention_mask=torch.ones_like(ids), **asked)
    assert torch.equal(model.generate(ids, latents=latents, **asked), wanted)
    blind = torch.ones_like(ids)
    blind[:, 0] = 0
    with torch.no_grad():
        seen, hidden = (
            model(ids, latents=latents, attention_mask=mask).logits[:, -1]
            for mask in (torch.ones_like(ids), blind)
        )
    assert not torch.allclose(seen, hidden, atol=1e-2), "otherwise this test shows nothing"


ASKED: list[tuple[dict[str, Any], int, int]] = [  # what is asked for: at least, at most so many
    ({"max_length": 9}, 0, 4),
    ({"max_new_tokens": 3}, 0, 3),
    ({"max_length": 8, "min_length": 7}, 2, 3),
    ({"max_length": 12, "min_new_tokens": 4}, 4, 7),
    ({"max_new_tokens": 5, "min_length": 8}, 3, 5),
    ({"max_new_tokens": 5, "min_new_tokens": 5}, 5, 5),
    ({}, 0, 20),
]


@pytest.mark.parametrize(("asked", "least", "most"), ASKED, ids=str)
@pytest.mark.parametrize("how", ["arguments", "given", "own"])
@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
def test_lengths_count_the_tokens_of_the_text(
    gpt2: MemoryDecoder, asked: dict[str, Any], least: int, most: int, how: str
) -> None:
    """Where nearly every token is an end mark, an answer ends as soon as it may; without one it
    goes on as long as it may."""
    ids, latents = drawn((2, 5)), normal(2, LATENT)
    nearly_all = [*range(3), *range(13, VOCABULARY)]
    for ends, count in ((None, most), (nearly_all, min(least + 1, most))):
        settings: dict[str, Any] = {"pad_token_id": 0, "do_sample": False, "eos_token_id": ends}
        settings["no_repeat_ngram_size"] = 1  # small models like to say a token again and again
        if how == "own":
            gpt2.generation_config = GenerationConfig(**settings, **asked)
            more = {}
        elif how == "given":
            gpt2.generation_config.eos_token_id = None
            more = {"generation_config": GenerationConfig(**settings, **asked)}
        else:
            more = {**settings, **asked}
        kept = [gpt2.generation_config, more.get("generation_config", gpt2.generation_config)]
        before = [one.to_dict() for one in kept]
        for known in ({}, {"latents": latents}):
            found = gpt2.generate(ids, **known, **more)
            assert found.shape == (2, 5 + count) and torch.equal(found[:, :5], ids)
        assert [one.to_dict() for one in kept] == before, "settings that are given are left alone"


def test_a_length_that_the_prompt_fills_is_refused_as_stock_does(gpt2: MemoryDecoder) -> None:
    ids = drawn((2, 5))
    for known in ({}, {"latents": normal(2, LATENT)}):
        with pytest.raises(ValueError, match="Input length of input_ids is 5, but `max_length` is"):
            gpt2.generate(ids, max_length=5, pad_token_id=0, **known)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_with_everything_holds_prompt_and_new_tokens(
    model: MemoryDecoder, kind: str
) -> None:
    ids, latents = drawn((2, 4)), normal(2, LATENT)
    more = {**FREE, **KINDS[kind]}
    wanted = seeded(model, ids, latents=latents, **more)
    full = seeded(
        model,
        ids,
        latents=latents,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **more,
    )
    assert torch.equal(full.sequences, wanted) and full.sequences.shape[1] == 10
    assert torch.equal(full.sequences[:, :4], ids.repeat_interleave(len(wanted) // 2, 0))
    assert len(full.scores) == len(full.logits) == 6
    if kind == "greedy":
        chosen = model.decoder.compute_transition_scores(full.sequences, full.scores)
        assert chosen.shape == (2, 6) and torch.equal(torch.stack(full.scores, 1).amax(-1), chosen)


def test_prompts_may_be_named_either_way(gpt2: MemoryDecoder) -> None:
    ids, latents = drawn((2, 4)), normal(2, LATENT)
    for known in ({}, {"latents": latents}):
        wanted = gpt2.generate(ids, **known, **FREE)
        assert torch.equal(gpt2.generate(inputs=ids, **known, **FREE), wanted)
        assert torch.equal(gpt2.generate(input_ids=ids, **known, **FREE), wanted)
        with pytest.raises(
            ValueError, match="expected prompts as input_ids or as inputs, got both"
        ):
            gpt2.generate(ids, inputs=ids, **known, **FREE)
    start = torch.ones(2, 1, dtype=torch.long)
    wanted = gpt2.generate(start, latents=latents, **FREE)
    assert torch.equal(gpt2.generate(latents=latents, **FREE), wanted)
    assert torch.equal(gpt2.generate(**FREE), gpt2.generate(start[:1], **FREE))
    with pytest.raises(ValueError, match=r"expected prompts or a start mark \(bos_token_id\)"):
        gpt2.generate(latents=latents, bos_token_id=None, **FREE)


class Heard(BaseStreamer):
    """What a streamer is told."""

    def __init__(self) -> None:
        self.parts: list[list[int]] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.parts.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


def test_a_streamer_hears_prompt_and_new_tokens(gpt2: MemoryDecoder) -> None:
    ids, heard = drawn((1, 4)), Heard()
    said = gpt2.generate(ids, latents=normal(1, LATENT), streamer=heard, **FREE)
    assert heard.ended and [token for part in heard.parts for token in part] == said[0].tolist()


def test_penalties_see_the_prompt_as_they_do_without_latents(gpt2: MemoryDecoder) -> None:
    ids, latents = drawn((1, 4)), normal(1, LATENT)
    said = gpt2.generate(ids, latents=latents, **FREE)
    first = int(said[0, 4])
    again = torch.cat([ids, torch.tensor([[first]]), ids[:, -1:]], 1)
    free = gpt2.generate(again, latents=latents, **{**FREE, "max_new_tokens": 12})
    kept = gpt2.generate(
        again, latents=latents, no_repeat_ngram_size=2, **{**FREE, "max_new_tokens": 12}
    )
    pairs = list(zip(kept[0].tolist(), kept[0, 1:].tolist(), strict=False))
    assert len(set(pairs)) == len(pairs)
    pairs = list(zip(free[0].tolist(), free[0, 1:].tolist(), strict=False))
    assert len(set(pairs)) < len(pairs), "otherwise this test shows nothing"


def test_settings_of_the_model_are_those_of_its_decoder(gpt2: MemoryDecoder) -> None:
    assert gpt2.generation_config is gpt2.decoder.generation_config
    gpt2.generation_config.max_new_tokens = 3
    ids, latents = drawn((1, 4)), normal(1, LATENT)
    assert gpt2.generate(ids, latents=latents, eos_token_id=None).shape == (1, 7)
    gpt2.generation_config = GenerationConfig(max_new_tokens=2, pad_token_id=0)
    assert gpt2.generate(ids, latents=latents).shape == (1, 6)


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_lookup_num_tokens": 2},
        {"prefill_chunk_size": 2},
        {"token_healing": True},
        {"inputs_embeds": torch.zeros(2, 3, 32)},
        {"position_ids": torch.zeros(2, 3, dtype=torch.long)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_would_pass_by_the_prefix_is_refused(
    gpt2: MemoryDecoder, more: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"expected latents or {next(iter(more))}, got both"):
        gpt2.generate(drawn((2, 3)), latents=normal(2, LATENT), **more, **FREE)


def test_a_mask_of_another_shape_and_a_latent_too_many(gpt2: MemoryDecoder) -> None:
    ids, latents = drawn((2, 3)), normal(2, LATENT)
    for call in (gpt2, gpt2.generate):
        with pytest.raises(ValueError, match=r"mask of the ids' shape \(2, 3\), got \(2, 4\)"):
            call(ids, latents=latents, attention_mask=torch.ones(2, 4))
    with pytest.raises(ValueError, match="expected latents for each of 2 texts, got 3"):
        gpt2._with_prefix(ids, normal(3, LATENT), None)


# ---- the stock contract --------------------------------------------------------------------------


def test_auto_model_reads_what_is_saved(model: MemoryDecoder, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is MemoryDecoder
    before, after = model.state_dict(), again.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids, latents = drawn((2, 4)), normal(2, LATENT)
    wanted = model.generate(ids, latents=latents, **FREE)
    assert torch.equal(again.generate(ids, latents=latents, **FREE), wanted)


@torch.no_grad()
@pytest.mark.parametrize("size", [VOCABULARY + 7, VOCABULARY - 40])
def test_the_token_table_grows_and_shrinks(model: MemoryDecoder, size: int, tmp_path: Path) -> None:
    ids, latents = drawn((2, 5)) % (VOCABULARY - 60) + 3, normal(2, LATENT)
    before, keys = model(ids, latents=latents).logits, model.encode(ids)[1]
    table = model.resize_token_embeddings(size, mean_resizing=False)
    assert table is model.get_input_embeddings() and table.weight.shape[0] == size
    after = model(ids, latents=latents).logits
    both = min(size, VOCABULARY)
    assert after.shape[-1] == size
    assert torch.allclose(after[..., :both], before[..., :both], atol=1e-5)
    assert torch.allclose(model.encode(ids)[1], keys, atol=1e-6)
    assert model.config.text_config.vocab_size == model.decoder.config.vocab_size == size
    head = model.get_output_embeddings()
    assert head.weight.shape[0] == size
    assert (head.weight is table.weight) == model.config.tie_word_embeddings
    model.save_pretrained(tmp_path)
    again = MemoryDecoder.from_pretrained(tmp_path)
    assert torch.equal(again(ids, latents=latents).logits, after)


def test_tables_may_be_exchanged(gpt2: MemoryDecoder) -> None:
    table, head = nn.Embedding(9, 32), nn.Linear(32, 9, bias=False)
    gpt2.set_input_embeddings(table)
    gpt2.set_output_embeddings(head)
    assert gpt2.get_input_embeddings() is table and gpt2.get_output_embeddings() is head


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
def test_gradients_are_the_same_with_less_memory(model: MemoryDecoder) -> None:
    made = episode()
    model.train()
    model(**made).loss.backward()
    wanted = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    assert model.decoder.base_model.is_activation_checkpointing
    model(**made).loss.backward()
    for name, one in model.named_parameters():
        assert torch.allclose(one.grad, wanted[name], atol=1e-6), name


# ---- the encoder ---------------------------------------------------------------------------------


def test_padding_changes_neither_latents_nor_keys(gpt2: MemoryDecoder) -> None:
    rows = [drawn((length,), length).tolist() for length in (1, 4, 9)]
    ids, mask = padded([*rows, drawn((SEGMENT,), 7).tolist()])
    latents, keys = gpt2.encode(ids, mask)
    assert torch.equal(gpt2.encode(ids)[0], latents), "padding is known by its number as well"
    for i, row in enumerate(rows):
        alone = gpt2.encode(torch.tensor([row]))
        assert torch.allclose(latents[i], alone[0][0], atol=1e-5) and torch.allclose(
            keys[i], alone[1][0], atol=1e-5
        )
        assert torch.allclose(gpt2.encode_keys(torch.tensor([row]))[0], keys[i], atol=1e-5)
    nonsense = ids.masked_fill(mask == 0, 77)
    assert torch.allclose(gpt2.encode(nonsense, mask)[0], latents, atol=1e-5)
    assert not torch.allclose(gpt2.encode(nonsense)[0], latents, atol=1e-2)


def test_a_segment_is_encoded_alone(model: MemoryDecoder) -> None:
    segments = drawn((9, 8))
    latents, keys = model.encode(segments)
    assert latents.shape == (9, LATENT) and keys.shape == (9, KEY)
    order = torch.tensor([8, 0, 3, 3, 5])
    some_latents, some_keys = model.encode(segments[order])
    assert torch.allclose(latents[order], some_latents, atol=1e-5) and torch.allclose(
        keys[order], some_keys, atol=1e-5
    )
    assert float((latents[0] - latents[1]).detach().abs().max()) > 0.1


def test_keys_have_length_one_and_latents_unit_variance(model: MemoryDecoder) -> None:
    latents, keys = model.encode(drawn((20, SEGMENT)))
    assert torch.allclose((keys * keys).sum(1), torch.ones(20), atol=1e-6)
    queries = model.encode_keys(drawn((20, 3)))
    assert torch.allclose((queries * queries).sum(1), torch.ones(20), atol=1e-6)
    assert torch.allclose(latents.mean(1), torch.zeros(20), atol=1e-5)
    assert torch.allclose(latents.var(1, unbiased=False), torch.ones(20), atol=1e-2)


def test_a_latent_knows_the_order_of_its_tokens(gpt2: MemoryDecoder) -> None:
    segment = drawn((1, 8))
    one, two = gpt2.encode(segment)[0], gpt2.encode(segment.flip(1))[0]
    assert float((one - two).detach().abs().max()) > 0.1


# ---- several read-outs ---------------------------------------------------------------------------


@torch.no_grad()
def test_one_read_out_of_several_is_the_same_as_one(model: MemoryDecoder) -> None:
    ids, latents = drawn((3, 5)), normal(3, LATENT)
    assert torch.equal(
        model(ids, latents=latents).logits, model(ids, latents=latents[:, None]).logits
    )


@torch.no_grad()
def test_the_text_begins_where_it_always_does(gpt2: MemoryDecoder) -> None:
    """The stock decoder, called by hand: read-outs one after another, then the text."""
    ids, latents = drawn((2, 5)), normal(2, 2, LATENT)
    slots, width = gpt2.config.slots, gpt2.prefix_positions.shape[1]
    first, second = (
        gpt2.to_prefix(latents[:, i].unflatten(1, (slots, -1)))
        + gpt2.prefix_positions
        + gpt2.rank[i]
        for i in (0, 1)
    )
    embeds = torch.cat([first, second, gpt2.get_input_embeddings()(ids)], 1)
    assert embeds.shape == (2, 2 * slots + 5, width)
    places = torch.tensor([[*range(2 * slots), *range(2 * slots, 2 * slots + 5)]] * 2)
    wanted = gpt2.decoder(inputs_embeds=embeds, position_ids=places).logits[:, -5:]
    assert torch.allclose(gpt2(ids, latents=latents).logits, wanted, atol=1e-5)


def test_every_segment_of_an_answer_has_a_stretch_of_its_own() -> None:
    gpt2 = new_decoder(config(separator=3))
    ids = torch.tensor([[0, 1, 9, 8, 3, 7, 6, 5], [1, 3, 9, 9, 9, 3, 4, 4]])
    mask = torch.tensor([[0, *[1] * 7], [1] * 8])
    start, stretch = 2 * gpt2.config.slots, SEGMENT + 2
    places = gpt2._places(ids, mask) - start
    assert places[0, 1:].tolist() == [0, 1, 2, stretch, stretch + 1, stretch + 2, stretch + 3]
    assert places[1].tolist() == [0, *range(stretch, stretch + 4), *range(stretch, stretch + 3)], (
        "no further than the positions of the last read-out"
    )


@torch.no_grad()
def test_texts_of_unequal_length_stay_within_their_positions() -> None:
    """A long text beside a short one of two segments: what pads the short one must not walk off the
    positions."""
    model = louder(new_decoder(config(separator=3)))
    short, full = (
        [1, 9, 3, *range(20, 20 + SEGMENT), 2],
        [1, *range(40, 40 + SEGMENT), 3, *range(60, 60 + SEGMENT), 2],
    )
    ids, _ = padded([short, full])
    both = model(ids, latents=normal(2, 2, LATENT)).logits
    alone = model(torch.tensor([short]), latents=normal(2, 2, LATENT)[:1]).logits
    assert torch.allclose(both[:1, : len(short)], alone, atol=1e-4)


@torch.no_grad()
def test_padding_on_the_left_changes_nothing_with_two_read_outs(model: MemoryDecoder) -> None:
    ids, latents = drawn((1, 4)), normal(1, 2, LATENT)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], 1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    alone = model(ids, latents=latents).logits
    assert torch.allclose(
        model(padded, latents=latents, attention_mask=mask).logits[:, 3:], alone, atol=1e-4
    )
    more = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": 2}
    left = model.generate(padded, latents=latents, attention_mask=mask, **more)[:, 7:]
    assert torch.equal(left, model.generate(ids, latents=latents, **more)[:, 4:])


@torch.no_grad()
def test_generate_with_two_read_outs_is_the_arg_max_of_forward(model: MemoryDecoder) -> None:
    ids, latents = drawn((2, 3)), normal(2, 2, LATENT)
    new = model.generate(
        ids,
        latents=latents,
        max_new_tokens=5,
        min_new_tokens=5,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=2,
    )
    for _ in range(5):
        logits = model(ids, latents=latents).logits[:, -1]
        logits[:, 2] = -torch.inf
        ids = torch.cat([ids, logits.argmax(1, keepdim=True)], 1)
    assert torch.equal(new, ids)


@torch.no_grad()
def test_texts_are_written_from_the_rows_that_are_named(gpt2: MemoryDecoder) -> None:
    made = episode()
    made.pop("noise")
    rows = torch.tensor([[i, (3 * i + 1) % 8] for i in range(8)])
    latents = gpt2.encode(made["segment_ids"])[0]
    wanted = gpt2(made["input_ids"], latents=latents[rows]).logits
    assert torch.allclose(gpt2(**made, read_rows=rows).logits, wanted, atol=1e-5)


@torch.no_grad()
def test_slots_behind_the_end_of_a_segment_are_zero_and_not_looked_at(model: MemoryDecoder) -> None:
    short, whole = drawn((1, 4)), drawn((1, SEGMENT), 5)
    span = SEGMENT // model.config.slots
    latent, full = model.encode(short)[0], model.encode(whole)[0]
    held = (latent.view(model.config.slots, -1) != 0).any(1)
    assert held.tolist() == [place < 4 / span for place in range(model.config.slots)] and bool(
        (full != 0).all()
    )
    for used in (latent[latent != 0], full):
        assert float(used.mean()) == pytest.approx(0, abs=1e-5) and bool(
            abs(used.var(correction=0) - 1) < 1e-3
        )
    ids = drawn((2, 5))
    together = model(ids, latents=torch.cat([latent, full])).logits[:1]
    assert torch.allclose(together, model(ids[:1], latents=latent).logits, atol=1e-4), (
        "alone, fewer slots are laid out"
    )
    assert model.prefix(latent)[0].shape[2] < model.prefix(full)[0].shape[2] == model.config.slots


@torch.no_grad()
def test_an_empty_read_out_is_no_prefix(gpt2: MemoryDecoder) -> None:
    logits = gpt2(drawn((1, 5)), latents=torch.zeros(1, LATENT)).logits
    places = 2 * gpt2.config.slots + torch.arange(5)[None]
    wanted = gpt2.decoder(input_ids=drawn((1, 5)), position_ids=places).logits
    assert torch.allclose(logits, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(2, 3, LATENT), (2, 0, LATENT), (2, 1, 1, LATENT), (2, LATENT + 1)]
)
def test_more_read_outs_than_the_decoder_takes(gpt2: MemoryDecoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 2 latents of width {LATENT}, got shape"):
        gpt2(drawn((2, 3)), latents=torch.zeros(shape))


# ---- losses and gradients ------------------------------------------------------------------------


def episode(seed: int = 0, rows: int = 8) -> dict[str, Tensor]:
    """A training batch by hand: two contexts, stems of one token, no padding in the segments."""
    segments = drawn((rows, SEGMENT - 2), seed)
    ids = torch.cat([torch.ones(rows, 1, dtype=torch.long), segments, torch.full((rows, 1), 2)], 1)
    labels = ids.clone()
    labels[:, :2] = -100
    return {
        "segment_ids": segments,
        "cue_ids": segments[:, :4],
        "input_ids": ids,
        "labels": labels,
        "context_ids": torch.arange(rows) % 2,
        "noise": 0.05 * normal(rows, LATENT, seed=seed),
    }


@torch.no_grad()
def test_losses_by_hand(gpt2: MemoryDecoder) -> None:
    made = episode()
    out = gpt2(**made)
    latents, keys = gpt2.encode(made["segment_ids"])
    queries = gpt2.encode_keys(made["cue_ids"])
    sharpness, reading, address = gpt2.config.sharpness, [], []
    for i in range(8):
        same = [j for j in range(8) if j % 2 == i % 2]
        scores = torch.stack([queries[i] @ keys[j] for j in same]).double() * sharpness
        address.append(float(scores.logsumexp(0) - scores[same.index(i)]))
        noisy = (latents[i] + made["noise"][i] * (latents[i] != 0))[None]
        logits = (
            gpt2(made["input_ids"][i : i + 1], latents=noisy).logits[0].double().log_softmax(-1)
        )
        reading += [-float(logits[at - 1, made["input_ids"][i, at]]) for at in range(2, SEGMENT)]
    assert float(out.address_loss) == pytest.approx(sum(address) / 8, rel=1e-4)
    assert float(out.reading_loss) == pytest.approx(sum(reading) / len(reading), rel=1e-4)
    assert float(out.loss) == pytest.approx(
        float(out.reading_loss) + 0.4 * float(out.address_loss), rel=1e-6
    )


@torch.no_grad()
def test_without_contexts_all_rows_are_rivals(gpt2: MemoryDecoder) -> None:
    queries, keys = (gpt2.encode_keys(drawn((6, 4), seed)) for seed in (1, 2))
    apart = torch.arange(6)
    assert float(gpt2.address_loss(queries, keys, apart)) == pytest.approx(0, abs=1e-6)
    assert torch.equal(
        gpt2.address_loss(queries, keys), gpt2.address_loss(queries, keys, torch.zeros(6))
    )
    assert float(gpt2.address_loss(queries, keys)) > 0.1


def test_parts_of_the_loss_can_be_left_out(gpt2: MemoryDecoder) -> None:
    made = episode()
    assert gpt2(made["input_ids"]).loss is None
    only = gpt2(made["input_ids"], latents=normal(8, LATENT), labels=made["labels"])
    assert only.address_loss is None and torch.equal(only.loss, only.reading_loss)


def test_the_gradient_of_reading_reaches_the_encoder_through_the_latents(
    model: MemoryDecoder,
) -> None:
    made = episode()
    made.pop("cue_ids")
    model(**made).loss.backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    addressing = {
        name for name in silent if name.startswith(("encoder.to_key", "encoder.to_weight"))
    }
    assert {
        name for name in silent - addressing if name.startswith(("encoder", "to_prefix", "prefix"))
    } == set()
    model.zero_grad()
    latents = model.encode(made["segment_ids"])[0].detach().requires_grad_()
    model(made["input_ids"], latents=latents, labels=made["labels"]).loss.backward()
    assert latents.grad is not None and bool(latents.grad.any(1).all()), (
        "every row's latent is used"
    )
    assert model.encoder.to_latent.weight.grad is None, "and it is the only way"


def test_the_gradient_of_addressing_reaches_the_keys(gpt2: MemoryDecoder) -> None:
    gpt2(**episode()).address_loss.backward()
    for parameter in (
        gpt2.encoder.to_key.weight,
        gpt2.encoder.to_weight.weight,
        gpt2.get_input_embeddings().weight,
    ):
        assert parameter.grad is not None and bool(parameter.grad.any())


# ---- training ------------------------------------------------------------------------------------


def test_the_loss_falls_on_a_repeated_batch(gpt2: MemoryDecoder) -> None:
    made = episode()
    gpt2.eval()
    before = float(gpt2(**made).loss.detach())
    training.fit(
        gpt2, lambda step: made, training.Recipe(steps=25, lr=1e-2, muon=1e-2, muon_bfloat16=False)
    )
    after = gpt2(**made)
    assert float(after.loss.detach()) < 0.5 * before
    assert float(after.address_loss.detach()) < 0.5 and not gpt2.training


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
        logging_strategy="no",
        lr_scheduler_type="constant",
        **more,
    )


def trainer(
    model: MemoryDecoder, batches: list[dict[str, Tensor]], args: TrainingArguments
) -> Trainer:
    """One item of the data set is one batch of episodes."""
    return Trainer(
        model=model, args=args, train_dataset=batches, data_collator=lambda items: items[0]
    )


def test_the_stock_trainer_runs(gpt2: MemoryDecoder, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in gpt2.state_dict().items()}
    done = trainer(
        gpt2, [episode(seed) for seed in range(3)], arguments(tmp_path, max_steps=3)
    ).train()
    assert done.global_step == 3 and done.training_loss > 0
    assert not torch.equal(gpt2.encoder.to_key.weight, before["encoder.to_key.weight"])
    assert not torch.equal(
        gpt2.get_input_embeddings().weight, before["decoder.transformer.wte.weight"]
    )


def test_what_the_trainer_predicts_is_the_logits(gpt2: MemoryDecoder, tmp_path: Path) -> None:
    """And not the parts of the loss beside them."""
    made = episode(rows=9)
    made.pop("noise")
    items = [{name: tensor[i] for name, tensor in made.items()} for i in range(9)]
    args = arguments(tmp_path, per_device_eval_batch_size=4)
    found = Trainer(model=gpt2, args=args).predict(items)
    assert found.predictions.shape == (9, SEGMENT, VOCABULARY)
    assert found.label_ids.shape == (9, SEGMENT) and found.metrics["test_loss"] > 0
    with torch.no_grad():
        wanted = gpt2(made["input_ids"][:4], latents=gpt2.encode(made["segment_ids"][:4])[0])
    assert torch.allclose(torch.from_numpy(found.predictions[:4]), wanted.logits, atol=1e-4)


def test_the_trainer_averages_over_its_accumulation_steps(tmp_path: Path) -> None:
    """A loss that takes keyword arguments is taken for a sum unless the model says otherwise."""
    moved = []
    for batches, steps in (([episode(0)], 1), ([episode(0), episode(0)], 2)):
        model = new_decoder(config())
        start = model.encoder.to_key.weight.detach().clone()
        args = arguments(
            tmp_path,
            max_steps=1,
            gradient_accumulation_steps=steps,
            optim="sgd",
            max_grad_norm=0.0,
            learning_rate=0.1,
        )
        trainer(model, batches, args).train()
        moved.append(model.encoder.to_key.weight.detach() - start)
    assert float(moved[0].abs().max()) > 1e-5
    assert torch.allclose(moved[0], moved[1], atol=1e-7)


# ---- starts --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_global_random_state")
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_start_depends_on_its_seed_alone(backbone: str) -> None:
    torch.randn(3, generator=torch.Generator().manual_seed(1))
    first, same, other = (new_decoder(config(backbone), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["encoder.to_latent.weight"], other["encoder.to_latent.weight"])
    assert not torch.equal(first["to_prefix.weight"], other["to_prefix.weight"])
    default = new_decoder(config(backbone)).state_dict()
    assert all(torch.equal(first[name], default[name]) for name in first), "the default seed is 0"


def test_a_start_leaves_other_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(seed: int) -> None:
        raise AssertionError("the random state of all GPUs was set")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    new_decoder(config())


def test_aligned_positions_put_slot_and_text_in_step(gpt2: MemoryDecoder) -> None:
    """With the start's positions, slot j looks most like a text position beside its own token's, in
    the stretch of its own read-out."""
    config = MemoryDecoderConfig()
    table, slots, stretch = (
        new_decoder(config).decoder.transformer.wpe.weight,
        config.slots,
        config.stretch,
    )
    best = (table[: 2 * slots] @ table[2 * slots : 2 * slots + 2 * stretch].T).argmax(1)
    own = torch.cat([torch.arange(slots), stretch + torch.arange(slots)])
    assert int((best - own).abs().max()) <= 2 and float((best == own).double().mean()) > 0.5


def test_decoders_without_learned_positions_are_left_as_they_are() -> None:
    model = new_decoder(config("llama"), 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        plain = MemoryDecoder(config("llama"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True)
    )


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"slots": 0}, "slots must be a positive whole number, got 0"),
        ({"key_width": -3}, "key_width must be a positive whole number, got -3"),
        ({"encoder_layers": False}, "encoder_layers must be a positive whole number, got False"),
        ({"latent_width": 25}, "latent_width must be a multiple of slots=6, got 25"),
        ({"segment_tokens": 13}, "segment_tokens must be a multiple of slots=6, got 13"),
        ({"encoder_heads": 3}, "the decoder's width must be a multiple of encoder_heads=3, got 32"),
        (
            {"slots": 64, "latent_width": 64, "segment_tokens": 64},
            "must hold at least 260 positions for 2 segments",
        ),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as problem:
        new_decoder(config(**sizes))
    assert "\n" not in str(problem.value)


def test_a_segment_that_is_too_long(gpt2: MemoryDecoder) -> None:
    with pytest.raises(ValueError, match="a segment holds at most 12 tokens, got 13"):
        gpt2.encode(drawn((2, SEGMENT + 1)))
    with pytest.raises(ValueError, match="a segment holds at most 12 tokens, got 20"):
        gpt2.encode_keys(drawn((1, 20)))


@pytest.mark.parametrize("width", [LATENT - 1, LATENT + 6, 6])
def test_latents_of_the_wrong_width(gpt2: MemoryDecoder, width: int) -> None:
    for call in (gpt2, gpt2.generate):
        with pytest.raises(
            ValueError, match=rf"expected 1 to 2 latents of width 24, got shape \(1, {width}\)"
        ):
            call(drawn((2, 3)), latents=normal(2, width))


def test_the_default_is_the_book_s_gpt2() -> None:
    default = MemoryDecoderConfig()
    assert isinstance(default.text_config, GPT2Config) and default.text_config.vocab_size == 2048
    assert isinstance(new_decoder(config()).get_input_embeddings(), nn.Embedding)
