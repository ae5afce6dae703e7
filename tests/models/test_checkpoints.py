"""Checkpoints of others: read whole, or refused in one sentence that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from memlab import weights
from memlab.models import checkpoints, stock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A GPT-2 of two layers and no training, with the book's tokenizer."""
    stock.build("gpt2", len(weights.tokenizer()), 32, dim=8).save_pretrained(tmp_path)
    weights.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def without_a_layer(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if ".h.1." in name]:
        del tensors[name]


def with_nan(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.h.0.mlp.c_fc.weight"][3, 3] = torch.nan


def with_infinity(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.ln_f.bias"][0] = -torch.inf


def narrower(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"][:16].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_layer, r"expected all weights of a language model, 12 are missing \(transf"),
        (dict.clear, r"expected all weights of a language model, \d+ are missing"),
        (with_nan, r"weights of a language model as finite numbers, got others in .*mlp.c_fc.weig"),
        (with_infinity, r"as finite numbers, got others in transformer.ln_f.bias"),
        (narrower, r"transformer.wpe.weight of shape \(32, 8\), got \(16, 8\)"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(ValueError, match=message) as problem:
        checkpoints.load(str(folder))
    assert str(folder) in str(problem.value) and "\n" not in str(problem.value)


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    "damage",
    [cut_off, lambda folder: (folder / "model.safetensors").unlink()],
    ids=["cut off", "gone"],
)
def test_files_that_cannot_be_read_are_named_in_one_sentence(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(ValueError, match="cannot be read as a language model: ") as problem:
        checkpoints.load(str(folder))
    assert str(folder) in str(problem.value) and "\n" not in str(problem.value)


def test_a_folder_without_anything_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a tokenizer: ") as problem:
        checkpoints.load(str(tmp_path))
    assert str(tmp_path) in str(problem.value) and "\n" not in str(problem.value)


@pytest.mark.parametrize("family", stock.FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_whole_one_is_read_bit_for_bit(tmp_path: Path, family: str, tied: bool) -> None:
    """Tied weights stand in the file once and are not missing."""
    shared = {"num_key_value_heads": 1} if family in ("llama", "qwen2") else {}
    made = stock.build(
        family, len(weights.tokenizer()), 32, dim=8, tie_word_embeddings=tied, **shared
    )
    made.save_pretrained(tmp_path, max_shard_size="20KB")
    weights.tokenizer().save_pretrained(tmp_path)
    model, tokenizer = checkpoints.load(str(tmp_path))
    assert not model.training and model.dtype == torch.float32 and tokenizer.eos_token == "<eos>"
    state: dict[str, Any] = model.state_dict()
    assert all(torch.equal(state[name].cpu(), t.cpu()) for name, t in made.state_dict().items())


def test_what_the_file_has_too_much_does_no_harm(folder: Path) -> None:
    edit(folder, lambda tensors: tensors.update(more=torch.ones(2)))
    assert checkpoints.load(str(folder))[0].config.n_layer == 2


def test_options_go_to_the_loader_and_words_into_the_sentence(folder: Path) -> None:
    half = weights.whole(AutoModelForCausalLM, folder, "a reader", dtype=torch.float16)
    assert half.dtype == torch.float16
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 3}))
    with pytest.raises(ValueError, match="expected all weights of a reader, .* missing"):
        weights.whole(AutoModelForCausalLM, folder, "a reader")
