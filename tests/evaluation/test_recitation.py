"""Poems read word by word against poems recited; what a model has stored of them."""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import pytest
import torch
import transformers

from memlab import evaluation, runtime, weights
from memlab.corpora import poems as corpus
from memlab.models import stock
from memlab.training import Recipe, fit

POEMS = corpus.synthetic(24, 6, 16, authors=4)


def test_stored_bits_of_boxes_that_know_nothing_everything_and_the_wrong_thing() -> None:
    assert evaluation.stored_bits(torch.full((4, 5), math.log(8)), 8) == pytest.approx(0, abs=1e-5)
    assert evaluation.stored_bits(torch.zeros(4, 5), 8) == 60
    assert evaluation.stored_bits(torch.full((4, 5), 2 * math.log(8)), 8) == pytest.approx(
        -60, abs=1e-4
    )


def small_model(kind: str, steps: int) -> transformers.PreTrainedModel:
    """A tiny stock model, trained for a few steps on POEMS: enough to know some poems and not
    others."""
    shape = {
        "vocab_size": POEMS.tokens,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    more = {
        "gpt2": {"n_positions": 16, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        "llama": {"intermediate_size": 48, "tie_word_embeddings": True},
        "qwen2": {"intermediate_size": 48, "num_key_value_heads": 1},
    }[kind]
    name = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2"}[kind]
    end = "LMHeadModel" if kind == "gpt2" else "ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, name + end)(
            getattr(transformers, f"{name}Config")(**shape, **more)
        )
    model.loss_type = "ForCausalLM"
    labels = POEMS.ids.masked_fill(torch.arange(POEMS.ids.shape[1]) < 3, -100)
    fit(model, lambda _: {"input_ids": POEMS.ids, "labels": labels}, Recipe(steps, lr=2e-2))
    return model


@pytest.mark.parametrize(
    ("kind", "steps"), [("gpt2", 0), ("gpt2", 60), ("gpt2", 200), ("llama", 60), ("qwen2", 60)]
)
def test_reading_says_poem_by_poem_what_reciting_does(kind: str, steps: int) -> None:
    """All words right under teacher forcing ⟺ greedy `generate` recites the poem: the same poems,
    not only as many."""
    model = small_model(kind, steps)
    reading, said = evaluation.read(model, POEMS), evaluation.recite(model, POEMS.keys, 6)
    assert torch.equal(reading.recited, (said == POEMS.bodies).all(1))
    right = (
        (said == POEMS.bodies).int().cumprod(1).sum(1)
    )  # words before the first mistake agree as well
    assert torch.equal(right, reading.right.int().cumprod(1).sum(1))
    assert reading.memory_ability == pytest.approx(
        float((said == POEMS.bodies).all(1).double().mean())
    )
    assert {0: reading.memory_ability == 0, 60: True, 200: reading.memory_ability == 1}[steps]


def test_reading_is_the_sum_of_the_log_probabilities_and_does_not_depend_on_the_batch() -> None:
    model = small_model("gpt2", 20)
    reading = evaluation.read(model, POEMS)
    with torch.no_grad():
        log_p = model(POEMS.ids[:1]).logits[0].log_softmax(-1)
    by_hand = -sum(float(log_p[2 + j, POEMS.bodies[0, j]]) for j in range(6))
    assert float(reading.surprise[0]) == pytest.approx(by_hand, rel=1e-5)
    assert torch.allclose(reading.nll, evaluation.read(model, POEMS, batch=5).nll, atol=1e-5)
    assert reading.nll.shape == reading.right.shape == (
        24,
        6,
    ) and reading.token_accuracy == pytest.approx(float(reading.right.double().mean()))
    assert not reading.nll.requires_grad


@pytest.fixture(scope="module")
def known() -> transformers.PreTrainedModel:
    return small_model("gpt2", 60)


SPOILERS: list[dict[str, Any]] = [
    {"no_repeat_ngram_size": 1},
    {"repetition_penalty": 9.0},
    {"suppress_tokens": list(range(8))},
    {"bad_words_ids": [[token] for token in range(8)]},
    {"forced_eos_token_id": 3},
    {"do_sample": True, "temperature": 50.0, "top_k": 0},
    {"num_beams": 3, "length_penalty": 3.0},
    {"eos_token_id": list(range(8)), "pad_token_id": 1},
    {"return_dict_in_generate": True, "output_logits": True},
    {"max_length": 2},
]


@pytest.mark.parametrize("settings", SPOILERS, ids=lambda one: next(iter(one)))
def test_settings_for_decoding_are_set_aside_and_put_back(
    known: Any, settings: dict[str, Any]
) -> None:
    model = copy(known)  # the weights are shared, the settings are not
    wanted = evaluation.recite(model, POEMS.keys, 6)
    model.generation_config = transformers.GenerationConfig(**settings)
    kept = model.generation_config
    assert torch.equal(evaluation.recite(model, POEMS.keys, 6), wanted)
    assert model.generation_config is kept
    assert all(getattr(kept, name) == value for name, value in settings.items())


def test_settings_come_back_when_decoding_fails(known: Any) -> None:
    model = copy(known)
    kept = model.generation_config
    with pytest.raises(ValueError, match="max_new_tokens"):
        evaluation.greedy(model, POEMS.keys, new=-1)
    assert model.generation_config is kept


def test_greedy_is_arg_max_step_by_step_up_to_an_end_mark(known: Any) -> None:
    model = known
    ids = wanted = POEMS.keys
    for _ in range(6):
        with torch.no_grad():
            wanted = torch.cat([wanted, model(wanted).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(evaluation.greedy(model, ids, new=6), wanted)
    end = int(wanted[0, ids.shape[1] + 2])
    for ends in (end, [end, 10**6]):
        found = evaluation.greedy(model, ids, new=6, end=ends, pad=0)
        for row, said in zip(wanted.tolist(), found.tolist(), strict=True):
            new = row[ids.shape[1] :]
            stop = new.index(end) + 1 if end in new else 6
            kept = [*new[:stop], *[0] * (6 - stop)]
            assert said[ids.shape[1] :] == kept[: found.shape[1] - ids.shape[1]]
    padded = torch.cat([torch.full_like(ids[:, :2], 5), ids], 1)
    mask = torch.ones_like(padded)
    mask[:, :2] = 0
    assert torch.equal(evaluation.greedy(model, padded, mask, new=6)[:, 2:], wanted)


def test_a_model_as_an_answerer() -> None:
    model = small_model("gpt2", 200)
    ask = evaluation.reciter(model, POEMS)
    poems = [POEMS.poem(i, per_line=0) for i in range(len(POEMS))]
    assert (
        evaluation.memory_ability(ask([poem.cue for poem in poems]), [poem.text for poem in poems])
        == 1
    )
    assert ask([]) == []
    with pytest.raises(ValueError, match="expected a question like"):
        ask(["Who are you?"])


def test_asking_leaves_the_fingerprint_and_one_bit_changes_it() -> None:
    model = small_model("gpt2", 5)
    before = evaluation.fingerprint(model)
    evaluation.read(model, POEMS)
    evaluation.recite(model, POEMS.keys, 6)
    assert evaluation.fingerprint(model) == before and len(before) == 64
    with torch.no_grad():
        weight = next(iter(model.parameters()))
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert evaluation.fingerprint(model) != before


def test_measuring_draws_nothing_from_the_global_random_state(
    untouched_global_random_state: None,
) -> None:
    model = small_model("gpt2", 1)
    evaluation.recite(model, POEMS.keys, 6)
    evaluation.read(model, POEMS)
    assert runtime.derive_seed(0) == runtime.derive_seed(0)


# ---- as text -------------------------------------------------------------------------------------


def test_texts_are_those_of_prompts_alone_be_they_ids_or_their_vectors() -> None:
    tokenizer = weights.tokenizer()
    model = stock.build("llama", len(tokenizer), 64, dim=16, layers=1, heads=2, seed=1)
    prompts = [torch.tensor(ids) for ids in ([300, 301, 302], [400], [500, 501], [7, 8, 9, 10])]
    alone = [
        tokenizer.decode(evaluation.greedy(model, ids[None], new=6, pad=0)[0, len(ids) :].tolist())
        for ids in prompts
    ]
    assert len(set(alone)) > 1
    table = model.get_input_embeddings().weight.detach()
    for asked in (prompts, [table[ids] for ids in prompts]):
        for at_once in (1, 2, 16):
            said = evaluation.greedy_texts(model, tokenizer, asked, new=6, ends=[], at_once=at_once)
            assert said == alone
    first = int(evaluation.greedy(model, prompts[0][None], new=1, pad=0)[0, -1])
    ended = evaluation.greedy_texts(model, tokenizer, prompts[:1], new=6, ends=[first])
    assert ended == [""] and evaluation.greedy_texts(model, tokenizer, [], new=6, ends=[]) == []
    with pytest.raises(ValueError, match="expected prompts of at least 1 token, got an empty one"):
        evaluation.greedy_texts(model, tokenizer, [prompts[0], prompts[0][:0]], new=6, ends=[])
