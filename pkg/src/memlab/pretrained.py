"""The book's memory decoder, trained: recipes, training from scratch, the cache, and the weights that are shipped."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from memlab import runtime, training, weights
from memlab.corpora import episodes, tokens
from memlab.decoder import MemoryDecoder, new_decoder

# Chosen on the "dev" wordings. "quick" has to fit into three minutes on two old cores.
_BASE = training.Recipe(steps=300, lr=4e-3, muon=4e-3, muon_bfloat16=False, warmup=0.1, decay=0.7, floor=0.02,
                        weight_decay=0.01)
RECIPES = {"quick": _BASE, "full": replace(_BASE, steps=2000, warmup=0.03),
           "gpu": replace(_BASE, steps=20_000, warmup=0.01)}
Report = Callable[[int, dict[str, float]], None]


def train(profile: str, seed: int = 0, *, steps: int | None = None, report: Report | None = None,
          ) -> tuple[MemoryDecoder, training.Log]:
    """A memory decoder trained from scratch on episodes of at most 384 tokens, and the log of the training."""
    recipe = RECIPES[runtime.profile(profile)]
    recipe = replace(recipe, steps=steps or recipe.steps, bfloat16=runtime.fast_bfloat16())
    encode = tokens.encoder(weights.tokenizer())
    pool = episodes.pool(encode, len(weights.tokenizer()), seed=seed)
    model = new_decoder(seed=seed).to(runtime.device())
    log = training.fit(model, episodes.batches(pool, seed=seed), recipe, every=50, report=report)
    return model, log


def remember(model: MemoryDecoder, profile: str, seed: int = 0) -> Path:
    """Put a trained model where `trained` finds it; an interrupted call leaves nothing behind."""
    place = _place(profile, seed)
    part = Path(tempfile.mkdtemp(dir=place.parent))
    model.save_pretrained(part)
    if place.exists():
        shutil.rmtree(place)
    part.rename(place)
    return place


def _place(profile: str, seed: int) -> Path:
    return runtime.cache_dir("memory-decoder") / f"{profile}-{seed}-{RECIPES[profile].steps}"


def trained(profile: str, seed: int = 0) -> MemoryDecoder:
    """The model that this machine trained with this profile and seed: from the cache, or trained now (minutes)."""
    place = _place(runtime.profile(profile), seed)
    if place.exists():
        weights.check(place / "model.safetensors")
        return MemoryDecoder.from_pretrained(place).eval()
    model, log = train(profile, seed, report=lambda step, row: print(step, f"{row['loss']:.2f}", file=sys.stderr))
    remember(model, profile, seed)
    return model


def shipped() -> MemoryDecoder:
    """The better-trained weights that travel with the package (see their card)."""
    place = weights.folder("memory-decoder")
    weights.check(place / "model.safetensors")
    return MemoryDecoder.from_pretrained(place, dtype=torch.float32).eval()
