"""Causal language models that others have trained, from a folder or, asked by name, from the
hub."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from memlab import runtime


def load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint: a folder, or "hub:owner/name", which alone uses the
    network.

    In eval mode, float32, on the GPU where there is one. ValueError for any other name, and as
    `whole` says.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = not name.startswith("hub:")
    where = name.removeprefix("hub:")
    if local and not Path(name).is_dir():
        raise ValueError(f"expected a folder with a checkpoint, or hub:owner/name, got {name!r}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=local)
    except (OSError, ValueError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"{where} cannot be read as a tokenizer: {reason}") from problem
    model = whole(
        AutoModelForCausalLM,
        where,
        "a language model",
        local_files_only=local,
        dtype=torch.float32,
    )
    return model.eval().to(runtime.device()), tokenizer


def whole(
    kind: Any,
    where: str | Path,
    what: str,
    **options: Any,
) -> Any:
    """The model that `kind.from_pretrained` reads, `what` in words. ValueError unless every weight
    is in the file, has the shape that the config says, and is a finite number: transformers draws
    what is missing at random, and loads the rest."""
    try:
        model, found = kind.from_pretrained(
            where, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (OSError, RuntimeError, SafetensorError, EOFError, pickle.UnpicklingError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"{where} cannot be read as {what}: {reason}") from problem
    expected = f"{where} is damaged: expected all weights of {what}"
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(f"{expected}, {len(missing)} are missing ({missing[0]})")
    mismatched = sorted(found["mismatched_keys"])
    if mismatched:
        name, got, wanted = mismatched[0]
        raise ValueError(f"{expected}, {name} of shape {tuple(wanted)}, got {tuple(got)}")
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{expected} as finite numbers, got others in {name}")
    return model
