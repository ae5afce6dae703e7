"""Weights on disk: what is missing, cut off or damaged is named in one sentence; what is whole
passes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

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
