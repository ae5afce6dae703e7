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
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Trainer,
    TrainingArguments,
)

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
    full = model.generate(ids, latents=latents, return_dict_in_generate=True, **FREE)
    assert full.sequences.shape == (2, 6)


def test_a_left_padded_batch_is_a_loop(model: MemoryDecoder) -> None:
    rows = [drawn((length,), length).tolist() for length in (1, 5, 3)]
    latents = normal(3, LATENT)
    ids, mask = padded(rows, left=True)
    together = model.generate(ids, latents=latents, attention_mask=mask, **FREE)[:, 5:]
    for row, latent, said in zip(rows, latents, together, strict=True):
        alone = model.generate(torch.tensor([row]), latents=latent[None], **FREE)[0, len(row) :]
        assert torch.equal(said, alone)


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
