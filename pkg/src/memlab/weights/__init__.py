"""The small trained weights that travel with the package, each in a folder with a card (README.md)
that says on what it was trained, with which command and seed, and where its record lies. Only
safetensors, never pickle."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerFast

__all__ = ["HERE", "check", "folder", "tokenizer"]
HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder of shipped weights called `name`; FileNotFoundError with the names there are."""
    there = sorted(p.name for p in HERE.iterdir() if p.is_dir() and not p.name.startswith("_"))
    if name not in there:
        raise FileNotFoundError(
            f"no shipped weights called {name!r}: expected one of {', '.join(there)}"
        )
    return HERE / name


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that all models of the book share (2,048 entries, one token a digit)."""
    return PreTrainedTokenizerFast.from_pretrained(folder("tokenizer"))


def check(path: str | Path) -> None:
    """Raise one clear ValueError if a safetensors file is missing, truncated or damaged."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"expected a safetensors file at {path}, found nothing")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            for name in names:
                file.get_slice(name).get_shape()
    except (SafetensorError, OSError) as problem:
        raise ValueError(
            f"{path} is damaged or cut off (expected a whole safetensors file, "
            f"got {path.stat().st_size} bytes): {problem}"
        ) from problem
    if not names:
        raise ValueError(f"{path} holds no tensors")
