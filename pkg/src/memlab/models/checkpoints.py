"""Causal language models that others have trained, from a folder or, asked by name, from the
hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from memlab import runtime


def load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint: a folder, or "hub:owner/name", which alone uses the
    network.

    In eval mode, float32, on the GPU where there is one. ValueError for any other name.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = not name.startswith("hub:")
    where = name.removeprefix("hub:")
    if local and not Path(name).is_dir():
        raise ValueError(f"expected a folder with a checkpoint, or hub:owner/name, got {name!r}")
    tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=local)
    model: Any = AutoModelForCausalLM.from_pretrained(
        where, local_files_only=local, dtype=torch.float32
    )
    return model.eval().to(runtime.device()), tokenizer
