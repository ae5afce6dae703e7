"""The small trained weights that travel with the package, each in a folder with a card (README.md)
that says on what it was trained, with which command and seed, and where its record lies. Only
safetensors, never pickle. And what any folder of weights must be before it is used: whole."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerFast

__all__ = ["HERE", "check", "folder", "tokenizer", "whole"]
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


def whole(
    kind: Any,
    where: str | Path,
    what: str,
    *,
    unread: str | None = None,
    **options: Any,
) -> Any:
    """The model that `kind.from_pretrained` reads, `what` in words.

    ValueError unless every weight is in the file, has the shape that the config says, and is a
    finite number: transformers draws what is missing at random, and loads the rest. Weights whose
    names begin with `unread`, which the caller never uses, may be anything.
    """
    try:
        model, found = kind.from_pretrained(
            where, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (OSError, RuntimeError, SafetensorError, EOFError, pickle.UnpicklingError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"{where} cannot be read as {what}: {reason}") from problem

    def is_read(name: str) -> bool:
        return unread is None or not name.startswith(unread)

    expected = f"{where} is damaged: expected all weights of {what}"
    missing = sorted(filter(is_read, found["missing_keys"]))
    if missing:
        raise ValueError(f"{expected}, {len(missing)} are missing ({missing[0]})")
    mismatched = sorted(entry for entry in found["mismatched_keys"] if is_read(entry[0]))
    if mismatched:
        name, got, wanted = mismatched[0]
        raise ValueError(f"{expected}, {name} of shape {tuple(wanted)}, got {tuple(got)}")
    for name, weight in model.named_parameters():
        if is_read(name) and not weight.isfinite().all():
            raise ValueError(f"{expected} as finite numbers, got others in {name}")
    return model
