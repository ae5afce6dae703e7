"""A language model for chapters that ask one: tiny, made by the test, named by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Llama of two small blocks with the book's tokenizer, which `installed_llm` names."""
    from memlab import weights
    from memlab.models import checkpoints, stock

    tokenizer = weights.tokenizer()
    sizes = {"dim": 48, "layers": 2, "heads": 2, "seed": 0, "num_key_value_heads": 1}
    made = stock.build("llama", len(tokenizer), 512, **sizes)
    folder = tmp_path / "tiny"
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setenv("MEMLAB_LLM", str(folder))
    checkpoints.load_once.cache_clear()
    yield checkpoints.load_once(str(folder))[0]
    checkpoints.load_once.cache_clear()
