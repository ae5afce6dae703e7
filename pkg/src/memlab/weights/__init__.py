"""The small trained weights that travel with the package, each in a folder with a card (README.md)
that says on what it was trained, with which command and seed, and where its record lies. Only
safetensors, never pickle. And what any folder of weights must be before it is used: whole."""

from __future__ import annotations

import contextlib
import pickle
import re
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerFast

__all__ = ["HERE", "UNREADABLE", "as_float16", "check", "folder", "tokenizer", "whole"]
HERE = Path(__file__).resolve().parent
# What readers of the several formats say of files that end too early, or hold something else.
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
)


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
    exact: bool = False,
    **options: Any,
) -> Any:
    """The model that `kind.from_pretrained` reads, `what` in words.

    ValueError unless every weight is in the file, has the shape that the config says, and is a
    finite number, buffers too: transformers draws what is missing at random, and loads the rest.
    Weights whose names begin with `unread`, which the caller never uses, may be anything.

    Of what the file holds besides, a weight is refused whose name differs from that of a weight of
    the model in its numbers alone: it belongs to a layer that the config leaves out. The rest does
    no harm, such as a head, a pooler or a mask of attention; with `exact` it is refused as well.
    """
    model, found = _read(kind, where, what, options)

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
    more = _beyond(model, filter(is_read, found["unexpected_keys"]), exact=exact)
    if more:
        raise ValueError(f"{expected} and no others, got {len(more)} more ({more[0]})")
    bad = next(filter(is_read, _not_finite(model)), None)
    if bad is not None:
        raise ValueError(f"{expected} as finite numbers, got others in {bad}")
    return model


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """A block in which nothing says how far the reading of a model is: a page prints what it means
    to print."""
    from tqdm import tqdm
    from transformers import modeling_gguf_pytorch_utils as gguf_files
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # One bar, for GGUF files, asks no setting.
        with mock.patch.object(gguf_files, "tqdm", partial(tqdm, disable=True)):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _read(
    kind: Any,
    where: str | Path,
    what: str,
    options: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """A model, and what transformers says of the weights that it found."""
    try:
        with _no_bars():
            model, found = kind.from_pretrained(
                where, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except UNREADABLE as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"{where} cannot be read as {what}: {reason}") from problem
    return model, found


def _not_finite(model: Any) -> Iterator[str]:
    """The names of the weights and buffers that hold NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            yield name


def _beyond(model: Any, unexpected: Iterable[str], *, exact: bool) -> list[str]:
    """Those of the names that `whole` refuses, sorted."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def without_numbers(name: str) -> str:
        # A file may hold the model inside a larger one, or the other way round.
        return re.sub(r"(?<![^.])\d+(?![^.])", "#", name.removeprefix(prefix))

    kinds = set(map(without_numbers, model.state_dict()))
    return sorted(name for name in unexpected if exact or without_numbers(name) in kinds)


def as_float16(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors by name, those of real numbers in float16; ValueError if it cannot hold them."""
    halves = {}
    for name, tensor in named:
        real = tensor.is_floating_point()
        half = tensor.detach().to(torch.float16 if real else tensor.dtype).contiguous()
        if real and not half.isfinite().all():
            most = torch.finfo(torch.float16).max
            raise ValueError(
                f"expected weights that float16 can hold, up to {most:.0f}, got others in {name}"
            )
        halves[name] = half
    return halves
