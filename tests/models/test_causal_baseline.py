"""The causal baseline: what it is trained on, what it may see, and that it can do the task in its
own window."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2ForCausalLM

from memlab import results, runtime, training, weights
from memlab.book.outside_the_weights.needles.measure import correct
from memlab.corpora import copying_episodes, needles, text
from memlab.corpora.copying_episodes import Mixture, Pool
from memlab.corpora.tokenization import BOS, EOS, PAD, SEP, encoder
from memlab.models import causal_baseline

SMALL = causal_baseline.causal_config(width=32, layers=2, heads=4, feed=32)
EVERYTHING = Mixture(noise=0.3, twins=0.5, repeated=0.5, echo=0.5)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return copying_episodes.training_pool(encoder(weights.tokenizer()), generic=3000)


@pytest.fixture(scope="module")
def shipped() -> Qwen2ForCausalLM:
    return causal_baseline.load_causal()


def episodes(
    pool: Pool, count: int, tokens: int, mix: Mixture = EVERYTHING
) -> Iterator[tuple[list[int], list[int]]]:
    rng = random.Random(0)
    yield from (copying_episodes.episode(pool, tokens, mix, rng) for _ in range(count))


def grams(said: str, size: int = 4) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z]+", said.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


# ---- the training data ---------------------------------------------------------------------------


def test_nothing_trained_on_shares_four_words_in_a_row_with_a_task(pool: Pool) -> None:
    tokenizer = weights.tokenizer()
    facts = [
        needles.fact(kind, seed, split=split)
        for kind in needles.KINDS
        for seed in range(100)
        for split in ("dev", "test")
    ]
    asked = {
        gram
        for f in facts
        for said in (*f.sentences, f.cue, f.question, f.answer)
        for gram in grams(said)
    }
    assert ("best", "thing", "to", "do") in asked and ("the", "vault", "code", "is") in asked
    lines = [*text.documentation("train"), *text.generic_sentences(3000)]
    trained = {gram for line in lines for gram in grams(line)}
    trained |= {gram for ids, _ in episodes(pool, 20, 384) for gram in grams(tokenizer.decode(ids))}
    assert len(trained) > 50_000
    assert trained & asked == set()
    assert not any(filler in line for line in lines for filler in needles._FILLER)


def test_batches_are_a_pure_function_of_their_arguments(pool: Pool) -> None:
    made = [
        copying_episodes.batch(pool, 128, 4, EVERYTHING, seed, step)
        for seed, step in ((0, 5), (0, 5), (0, 6), (1, 5))
    ]
    same = [torch.equal(made[0]["input_ids"], other["input_ids"]) for other in made[1:]]
    assert same == [True, False, False]
    assert torch.equal(made[0]["labels"], made[1]["labels"])


@pytest.mark.parametrize("tokens", [32, 64, 384])
def test_loss_falls_on_continuations_of_what_is_stored_and_nowhere_else(
    pool: Pool, tokens: int
) -> None:
    sentences = set(pool)
    for ids, labels in episodes(pool, 60, tokens):
        assert len(ids) == len(labels) <= tokens and ids[0] == BOS and ids[-1] == EOS
        start = ids.index(SEP)
        context = ids[1:start]
        assert not {PAD, BOS, EOS, SEP} & set(context)
        assert set(labels[:start]) == {-100}
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        while start < len(ids):
            end = ids.index(EOS, start)
            asked, marked = (
                ids[start + 1 : end],
                [label != -100 for label in labels[start : end + 1]],
            )
            cue = marked.index(True) - 1
            assert 3 <= cue <= 12 and marked[:-1] == [False] * (cue + 1) + [True] * (
                len(asked) - cue
            )
            assert not marked[-1] or tuple(asked) in sentences  # the end of noise cannot be known
            assert occurrences(asked, context) >= 1
            start = end + 1


def occurrences(part: list[int], whole: list[int]) -> int:
    return sum(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def test_a_batch_is_padded_without_loss_and_too_short_an_episode_is_refused(pool: Pool) -> None:
    made = copying_episodes.batch(pool, 64, 8, Mixture(), 0, 0)
    assert made["input_ids"].shape == made["labels"].shape and made["input_ids"].shape[0] == 8
    assert (made["labels"][made["input_ids"] == PAD] == -100).all()
    with pytest.raises(ValueError, match="at least 32 tokens"):
        copying_episodes.episode(pool, 16, Mixture(), random.Random(0))


# ---- the model -----------------------------------------------------------------------------------


def test_the_start_depends_on_the_seed_alone(untouched_global_random_state: None) -> None:
    a, b, c = (
        causal_baseline.causal_model(seed, SMALL).model.layers[0].mlp.up_proj.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_the_baseline_is_stock_and_of_the_stated_size() -> None:
    model = causal_baseline.causal_model(0)
    assert type(model) is Qwen2ForCausalLM
    assert sum(p.numel() for p in model.parameters()) == 1_116_800
    assert all(p.requires_grad for p in model.parameters())


def test_the_hand_set_heads_look_one_two_and_three_tokens_back() -> None:
    model = causal_baseline.causal_model(0)
    model.set_attn_implementation("eager")
    ids = torch.randint(4, 2048, (1, 40), generator=runtime.generator(0, "ids"))
    attention = model(input_ids=ids, output_attentions=True).attentions[0][0]
    for head, offset in enumerate((1, 2, 3)):
        places = torch.arange(offset, 40)
        assert (attention[head, places].argmax(-1) == places - offset).all()
    plain = causal_baseline.causal_model(0, hand_set=False)
    assert plain.model.layers[0].self_attn.q_proj.bias.abs().max() == 0


def last_logits(model: Qwen2ForCausalLM, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits[0, -1]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_window_hides_what_lies_before_it(layers: int) -> None:
    config = causal_baseline.causal_config(width=32, layers=layers, heads=4, feed=32)
    model = causal_baseline.variant(
        causal_baseline.causal_model(0, config, hand_set=False), window=8
    )
    ids = torch.randint(4, 2048, (1, 40), generator=runtime.generator(0, "ids"))
    reach = layers * 7 + 1  # a token sees itself and seven before it, once a layer
    far, near = ids.clone(), ids.clone()
    far[0, : 40 - reach] = 9
    near[0, 40 - reach] = 9
    assert torch.equal(last_logits(model, ids), last_logits(model, far))
    assert not torch.equal(last_logits(model, ids), last_logits(model, near))


def test_other_configs_keep_the_weights_and_refuse_nonsense() -> None:
    model = causal_baseline.causal_model(0, SMALL)
    ids = torch.arange(4, 44)[None]
    wide, plain = (
        causal_baseline.variant(model, window=64),
        causal_baseline.variant(model, rope="yarn", factor=1.0),
    )
    assert torch.allclose(last_logits(wide, ids), last_logits(model, ids), atol=1e-5)
    assert torch.equal(last_logits(plain, ids), last_logits(model, ids))
    for rope in ("yarn", "linear"):
        scaled = causal_baseline.variant(model, rope=rope, factor=4.0)
        assert not torch.allclose(last_logits(scaled, ids), last_logits(model, ids))
    with pytest.raises(ValueError, match="unknown rope scaling 'ntk'"):
        causal_baseline.variant(model, rope="ntk")
    with pytest.raises(ValueError, match="at least 1 token"):
        causal_baseline.variant(model, window=0)


def test_training_is_repeatable_and_learns(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        causal_baseline, "training_pool", lambda encode, seed: pool
    )  # encoding all of it takes seconds
    monkeypatch.setitem(causal_baseline.STAGES, "quick", ((32, 8, 4), (64, 4, 4)))
    runs = [causal_baseline.train_causal("quick", 3) for _ in range(2)]
    losses = [log.rows[-1]["loss"] for _, log in runs]
    assert losses[0] == losses[1] < 7.5


def test_our_muon_takes_the_steps_of_torch_muon() -> None:
    for shape in ((32, 32), (96, 32), (32, 96)):
        start = torch.randn(shape, generator=runtime.generator(0, *shape))
        ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
        made: list[torch.optim.Optimizer] = [
            training.Muon([ours], 1e-2, weight_decay=0.1),
            torch.optim.Muon(
                [theirs], 1e-2, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
            ),
        ]
        for step in range(3):
            ours.grad = torch.randn(shape, generator=runtime.generator(1, step, *shape))
            theirs.grad = ours.grad.clone()
            for optimiser in made:
                optimiser.step()
        assert (ours - theirs).norm() < 0.03 * (
            ours - start
        ).norm()  # theirs is rounded to bfloat16 on the way


# ---- weights -------------------------------------------------------------------------------------


def test_saved_weights_come_back_and_damaged_ones_are_named(tmp_path: Path) -> None:
    model = causal_baseline.causal_model(0, SMALL)
    causal_baseline.save(model, tmp_path)
    back = causal_baseline.load(tmp_path)
    assert back.dtype == torch.float32 and type(back) is Qwen2ForCausalLM
    for (name, a), (_, b) in zip(model.named_parameters(), back.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3, rtol=1e-3), name
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or cut off"):
        causal_baseline.load(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match="found nothing"):
        causal_baseline.load(tmp_path)


def nan(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"][1] = torch.nan


def infinite(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"][2, 1] = -torch.inf


def narrow(tensors: dict[str, Tensor]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name][:, :-1].clone()


def more(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.9.mlp.up_proj.bias"] = torch.ones(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            nan,
            "expected all weights of the causal baseline as finite numbers, got others in .*norm",
        ),
        (infinite, "as finite numbers, got others in model.layers.0.mlp.up_proj.weight"),
        (narrow, r"up_proj.weight of shape \(\d+, 32\), got \(\d+, 31\)"),
        (more, "and no others, got 1 more .model.layers.9.mlp.up_proj.bias"),
        (lambda held: held.pop("model.norm.weight"), "1 are missing .model.norm.weight"),
    ],
)
def test_weights_that_are_damaged_or_of_another_model_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    causal_baseline.save(causal_baseline.causal_model(0, SMALL), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message) as problem:
        causal_baseline.load(tmp_path)
    assert str(tmp_path) in str(problem.value) and "\n" not in str(problem.value)


def test_a_config_of_another_size_or_none_is_refused(tmp_path: Path) -> None:
    causal_baseline.save(causal_baseline.causal_model(0, SMALL), tmp_path)
    said = json.loads((tmp_path / "config.json").read_text("utf-8"))
    for layers, message in ((1, "and no others, got 12 more"), (3, "12 are missing")):
        own = {"num_hidden_layers": layers, "layer_types": ["full_attention"] * layers}
        (tmp_path / "config.json").write_text(json.dumps(said | own), "utf-8")
        with pytest.raises(ValueError, match=message):
            causal_baseline.load(tmp_path)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="cannot be read as the causal baseline: "):
        causal_baseline.load(tmp_path)


@pytest.mark.parametrize("bad", [70_000.0, torch.nan])
def test_what_float16_cannot_hold_is_not_saved(tmp_path: Path, bad: float) -> None:
    model = causal_baseline.causal_model(0, SMALL)
    with torch.no_grad():
        model.model.norm.weight[0] = bad
    with pytest.raises(ValueError, match="float16 can hold, up to 65504, got others in model.norm"):
        causal_baseline.save(model, tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is half-written"


def test_loading_moves_no_random_state(tmp_path: Path, untouched_global_random_state: None) -> None:
    causal_baseline.save(causal_baseline.causal_model(0, SMALL), tmp_path)
    causal_baseline.load(tmp_path)


def test_shipped_weights_are_small_and_have_a_card(shipped: Qwen2ForCausalLM, root: Path) -> None:
    folder = weights.folder("causal")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_500_000
    card = (folder / "README.md").read_text("utf-8")
    assert runtime.file_sha256(folder / "model.safetensors") in card
    for word in ("hand-set", "licence", "python -m memlab train causal", "causal-training.jsonl"):
        assert word in card
    assert shipped.dtype == torch.float32


# ---- the task ------------------------------------------------------------------------------------


def test_a_trial_is_the_same_for_every_model() -> None:
    encode = encoder(weights.tokenizer())
    one, again, other = (
        needles.tasks_for("needle", 300, trial, 0, "test", encode) for trial in (3, 3, 13)
    )
    assert one == again and one.depth == other.depth == pytest.approx(0.35)
    assert one.segments != other.segments and one.tokens <= 298
    assert one.fact == needles.needle(runtime.derive_seed(0, "needle", 300, 3))


def test_a_sliding_window_loses_what_full_attention_finds(shipped: Qwen2ForCausalLM) -> None:
    prompt = needles.tasks_for(
        "passkey", 384, 0, 1, "test", encoder(weights.tokenizer())
    )  # depth 0.05
    full, limited = (
        causal_baseline.answer(shipped, prompt, weights.tokenizer(), window=window)
        for window in (None, 32)
    )
    assert correct(prompt.fact, full) and not correct(prompt.fact, limited)


def test_what_the_model_would_rather_say_does_not_matter() -> None:
    encode = encoder(weights.tokenizer())
    prompt = needles.tasks_for("passkey", 128, 0, 1, "test", encode)
    model = causal_baseline.load_causal()
    wanted = causal_baseline.answer(model, prompt, weights.tokenizer())
    assert correct(prompt.fact, wanted)
    model.generation_config.no_repeat_ngram_size = 2
    model.generation_config.suppress_tokens = [ids[0] for ids in encode(list("0123456789"))]
    assert causal_baseline.answer(model, prompt, weights.tokenizer()) == wanted


def test_the_record_passes_the_gate_and_names_its_weights(root: Path) -> None:
    path = root / "book" / "results" / "causal-training.jsonl"
    data = results.load(path)
    inside = data[
        (data["model"] == "causal")
        & (data["metric"] == "recall")
        & (data["tokens"] <= causal_baseline.WINDOW)
    ]
    by_cell = inside.groupby(["task", "tokens"])["value"].mean()
    assert len(by_cell) == 6 and (by_cell >= 0.9).all()
    assert set(inside["split"]) == {"test"}
    named = {p.get("weights_sha256") for p in results.provenances(path)}
    assert runtime.file_sha256(weights.folder("causal") / "model.safetensors") in named
