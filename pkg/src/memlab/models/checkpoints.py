"""Causal language models that others have trained, from a folder or, asked by name, from the
hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from memlab import runtime, weights


def load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint: a folder, or "hub:owner/name", which alone uses the
    network.

    In eval mode, float32, on the GPU where there is one. ValueError for any other name, and as
    `weights.whole` says.
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
    model = weights.whole(
        AutoModelForCausalLM,
        where,
        "a language model",
        local_files_only=local,
        dtype=torch.float32,
    )
    return model.eval().to(runtime.device()), tokenizer
