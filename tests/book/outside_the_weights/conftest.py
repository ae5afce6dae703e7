"""A memory decoder for tests that need one and not a good one."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def decoder() -> Any:
    """A tiny one that nobody trained: a slot a token, 48 of them."""
    from memlab.decoder import MemoryDecoderConfig, new_decoder, tiny_text_config

    config = MemoryDecoderConfig(
        tiny_text_config(width=16, layers=1, heads=2),
        latent_width=96,
        key_width=8,
        encoder_layers=1,
        encoder_heads=2,
        slots=48,
        segment_tokens=48,
    )
    return new_decoder(config).eval()
