"""A language model for chapters that ask one: tiny, made by the test, named by the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _saved(folder: Path, seed: int) -> str:
    from memlab import weights
    from memlab.models import stock

    tokenizer = weights.tokenizer()
    sizes = {"dim": 48, "layers": 2, "heads": 2, "seed": seed, "num_key_value_heads": 1}
    made = stock.build("llama", len(tokenizer), 512, **sizes)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def saved_llm(tmp_path: Path) -> Callable[[int], str]:
    """Saves a Llama of two small blocks with the book's tokenizer; `saved_llm(seed)` is its
    folder."""
    return lambda seed: _saved(tmp_path / f"tiny-{seed}", seed)


@pytest.fixture
def llm(saved_llm: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Such a model, which `installed_llm` names."""
    from memlab.models import checkpoints

    folder = saved_llm(0)
    monkeypatch.setenv("MEMLAB_LLM", folder)
    checkpoints.load_once.cache_clear()
    yield checkpoints.load_once(folder)[0]
    checkpoints.load_once.cache_clear()
