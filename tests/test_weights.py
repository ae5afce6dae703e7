"""Weights on disk: what is missing, cut off or damaged is named in one sentence; what is whole
passes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from memlab import weights

TENSORS = {"decoder.weight": torch.arange(12.0).reshape(4, 3), "encoder.bias": torch.ones(5)}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    return path


def header_end(raw: bytes) -> int:
    return 8 + struct.unpack("<Q", raw[:8])[0]


def one_sentence(problem: pytest.ExceptionInfo[ValueError], path: Path) -> None:
    said = str(problem.value)
    assert str(path) in said and "\n" not in said and len(said) < 400


@pytest.mark.parametrize("name", ["", ".", "..", "../corpora", "causal/..", "__pycache__"])
def test_only_a_name_of_shipped_weights_is_one(name: str) -> None:
    assert weights.folder("causal").name == "causal"
    with pytest.raises(FileNotFoundError, match="expected one of causal, fixed-memory, "):
        weights.folder(name)


def test_a_whole_file_passes(good: Path) -> None:
    weights.check(good)
    weights.check(str(good))


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.safetensors"
    with pytest.raises(
        ValueError, match="expected a safetensors file at .*, found nothing"
    ) as problem:
        weights.check(path)
    one_sentence(problem, path)


def test_a_file_cut_off_anywhere(good: Path) -> None:
    raw = good.read_bytes()
    for length in [
        0,
        1,
        7,
        8,
        9,
        header_end(raw) - 1,
        header_end(raw),
        header_end(raw) + 1,
        len(raw) - 1,
    ]:
        good.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=f"damaged or cut off.*got {length} bytes") as problem:
            weights.check(good)
        one_sentence(problem, good)


def test_bytes_too_many(good: Path) -> None:
    good.write_bytes(good.read_bytes() + b"more")
    with pytest.raises(ValueError, match="damaged or cut off"):
        weights.check(good)


def test_a_flipped_bit_of_the_header_is_found_unless_it_changes_a_name(good: Path) -> None:
    raw = good.read_bytes()
    names = [b"format", b'pt"', *(name.encode() for name in TENSORS)]
    harmless = {
        at
        for name in names
        for at in range(raw.index(name), raw.index(name) + len(name.rstrip(b'"')))
    }
    found = 0
    for at in range(header_end(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << (at % 8)
        good.write_bytes(damaged)
        try:
            weights.check(good)
        except ValueError as problem:
            found += 1
            assert "damaged or cut off" in str(problem) or "holds no tensors" in str(problem)
        else:
            assert at in harmless, f"bit {at % 8} of byte {at} was not noticed"
    assert found >= header_end(raw) - len(harmless)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    with pytest.raises(ValueError, match="holds no tensors") as problem:
        weights.check(path)
    one_sentence(problem, path)


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="damaged or cut off"):
        weights.check(tmp_path)
    pickle = tmp_path / "model.bin"
    torch.save(TENSORS, pickle)
    with pytest.raises(ValueError, match="damaged or cut off"):
        weights.check(pickle)


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        FileNotFoundError, match="no shipped weights called 'gpt-9': expected one of .*tokenizer"
    ):
        weights.folder("gpt-9")
    assert "__pycache__" not in str(pytest.raises(FileNotFoundError, weights.folder, "x").value)


def test_what_is_shipped_is_whole_small_and_never_pickle() -> None:
    files = [
        path
        for path in weights.HERE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path.suffix for path in files} <= {".py", ".json", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= 10 * 2**20
    for path in files:
        if path.suffix == ".safetensors":
            weights.check(path)


def test_the_tokenizer_is_loaded_once() -> None:
    assert weights.tokenizer() is weights.tokenizer()
    assert weights.folder("tokenizer").is_dir()


# ---- whole models --------------------------------------------------------------------------------

GPT2 = {"vocab_size": 9, "n_embd": 4, "n_layer": 3, "n_head": 2, "n_positions": 6}
BERT = {
    "vocab_size": 9,
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 4,
    "max_position_embeddings": 6,
}


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    BertForMaskedLM(BertConfig(**BERT)).save_pretrained(tmp_path)
    return tmp_path


def say(folder: Path, **settings: Any) -> None:
    """Other settings in the config of a folder."""
    said = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(said | settings), "utf-8")


def add(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("kind", [AutoModelForCausalLM, AutoModel])
@pytest.mark.parametrize(("layers", "more"), [(2, 11), (1, 22)])
def test_layers_that_the_config_leaves_out_are_refused(
    gpt2: Path, kind: Any, layers: int, more: int
) -> None:
    say(gpt2, n_layer=layers)
    said = f"all weights of a reader and no others, got {more} more .transformer.h.{layers}.attn"
    with pytest.raises(ValueError, match=said) as problem:
        weights.whole(kind, gpt2, "a reader")
    assert "\n" not in str(problem.value)


def test_layers_of_the_model_inside_a_larger_one_are_refused(bert: Path) -> None:
    say(bert, num_hidden_layers=1)
    with pytest.raises(ValueError, match="no others, got 16 more .bert.encoder.layer.1.attention"):
        weights.whole(AutoModel, bert, "an encoder", unread="pooler.")


def test_layers_of_a_bare_model_are_refused_in_a_larger_one(gpt2: Path) -> None:
    AutoModelForCausalLM.from_pretrained(gpt2).transformer.save_pretrained(gpt2)
    say(gpt2, n_layer=2)
    with pytest.raises(ValueError, match="got 11 more .h.2.attn.c_attn.weight"):
        weights.whole(AutoModelForCausalLM, gpt2, "a reader")


HARMLESS = (
    "more",
    "classifier.0.weight",
    "score.weight",
    "transformer.h.0.attn.masks",
    "transformer.h.7.attn.bias",
    "transformer.h.1.attn.rotary_emb.inv_freq",
    "transformer.position_ids",
    "mtp.h.0.ln_1.weight",
    "transformer.h.ln_1.weight",
    "transformer.h.3x.ln_1.weight",
)


def test_what_belongs_to_no_layer_does_no_harm_unless_all_is_asked_for(gpt2: Path) -> None:
    add(gpt2, lambda held: held.update({name: torch.ones(2) for name in HARMLESS}))
    assert weights.whole(AutoModelForCausalLM, gpt2, "a reader").config.n_layer == 3
    with pytest.raises(ValueError, match="a reader and no others, got [0-9] more .classifier.0"):
        weights.whole(AutoModelForCausalLM, gpt2, "a reader", exact=True)


def test_a_head_and_a_pooler_that_nobody_asked_for_do_no_harm(bert: Path) -> None:
    assert weights.whole(AutoModel, bert, "an encoder", unread="pooler.").config.hidden_size == 4
    model = weights.whole(BertForMaskedLM, bert, "an encoder", exact=True)
    model.save_pretrained(bert)
    weights.whole(BertForMaskedLM, bert, "an encoder", exact=True)


def test_what_float16_cannot_hold_is_named() -> None:
    ids = torch.arange(3) + 70_000
    halves = weights.as_float16([("a", torch.full((2,), 65_504.0)), ("ids", ids)])
    assert halves["a"].dtype == torch.float16 and halves["a"].tolist() == [65_504.0] * 2
    assert halves["ids"] is not None and halves["ids"].tolist() == ids.tolist()
    for bad in (65_520.0, -1e9, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="float16 can hold, up to 65504, got others in b$"):
            weights.as_float16([("a", torch.ones(1)), ("b", torch.tensor([1.0, bad]))])
