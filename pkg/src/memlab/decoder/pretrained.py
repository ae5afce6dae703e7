"""The book's memory decoder, trained: recipes, training from scratch, the cache, and the weights
that are shipped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from inspect import getfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, logging

from memlab import runtime, training, weights
from memlab.corpora import memory_episodes, text, tokenization
from memlab.decoder.encoder import SegmentEncoder
from memlab.decoder.model import MemoryDecoder, MemoryDecoderConfig, new_decoder, tiny_text_config

# Chosen on the "dev" wordings; "gpu" is for the larger model of `sizes` and has not been run.
# "quick" has to fit into three minutes on two old cores.
_BASE = training.Recipe(
    steps=400,
    lr=4e-3,
    muon=4e-3,
    muon_bfloat16=False,
    warmup=0.1,
    decay=0.7,
    floor=0.02,
    weight_decay=0.01,
)
RECIPES = {
    "quick": _BASE,
    "full": replace(_BASE, steps=2000, warmup=0.025),
    "gpu": replace(
        _BASE,
        steps=20_000,
        lr=1e-3,
        muon=2e-3,
        warmup=0.01,
    ),
}
Report = Callable[[int, dict[str, float]], None]


def sizes(profile: str) -> MemoryDecoderConfig:
    """What a profile trains: a model as large as the shipped one, or for "gpu" one of 33 million
    parameters."""
    if profile != "gpu":
        return MemoryDecoderConfig()
    text_config = tiny_text_config(width=512, layers=6, heads=8)
    return MemoryDecoderConfig(
        text_config,
        latent_width=2048,
        key_width=256,
        encoder_layers=4,
        encoder_heads=8,
    )


def train(
    profile: str,
    seed: int = 0,
    *,
    steps: int | None = None,
    report: Report | None = None,
    watch: training.Watch | None = None,
) -> tuple[MemoryDecoder, training.Log]:
    """A memory decoder trained from scratch on episodes of at most 384 tokens, and the log of the
    training. `report` and `watch` are those of a `training.Progress`, or alike."""
    recipe = RECIPES[runtime.profile(profile)]
    recipe = replace(recipe, steps=steps or recipe.steps, bfloat16=runtime.fast_bfloat16())
    encode = tokenization.encoder(weights.tokenizer())
    pool = memory_episodes.pool(encode, len(weights.tokenizer()), seed=seed)
    model: Any = new_decoder(sizes(runtime.profile(profile)), seed=seed)
    # Few steps are better spent on reading one segment well.
    alone = recipe.steps if profile == "quick" else memory_episodes.ALONE
    made = memory_episodes.batches(
        pool, latent_width=model.config.latent_width, alone=alone, seed=seed
    )
    device = runtime.device()

    def batches(step: int) -> dict[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in made(step).items()}

    watched = watch(batches) if watch else batches
    log = training.fit(model.to(device), watched, recipe, every=50, report=report)
    return model, log


def remember(
    model: MemoryDecoder,
    profile: str,
    seed: int = 0,
    place: Path | None = None,
) -> Path:
    """Put a trained model where `trained` finds it, or at `place`; an interrupted call leaves
    nothing behind."""
    place = place or _place(profile, seed)
    part = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        logging.disable_progress_bar()
        model.save_pretrained(part)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place


def _place(profile: str, seed: int) -> Path:
    """Where a model is kept: the name changes with all that it is made from, so that no stale one
    is ever found."""
    made_by: tuple[Any, ...] = (MemoryDecoder, SegmentEncoder, memory_episodes, text, training.fit)
    sources = b"".join(Path(getfile(made)).read_bytes() for made in made_by)
    settings = f"{RECIPES[profile]}{sizes(profile)}".encode()
    made_from = hashlib.sha256(settings + sources).hexdigest()
    return runtime.cache_dir("memory-decoder") / f"{profile}-{seed}-{made_from[:12]}"


def load(place: Path, kind: type[MemoryDecoder] = MemoryDecoder) -> Any:
    """A saved model of a kind in float32, to read with. ValueError if weights are missing,
    damaged, not all there, or more than the config says."""
    for file in _files(Path(place)):
        weights.check(file)
    model = weights.whole(kind, place, "a memory decoder", exact=True, dtype=torch.float32)
    return model.eval()


def _files(place: Path) -> list[Path]:
    """The files that hold the weights of a saved model: one, or those that an index names."""
    index = place / SAFE_WEIGHTS_INDEX_NAME
    if not index.exists():
        return [place / SAFE_WEIGHTS_NAME]
    try:
        parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as problem:
        raise ValueError(
            f"{index} is damaged: expected JSON with a weight_map, got {problem!r}"
        ) from problem
    return [place / part for part in sorted(parts)]


def trained(profile: str, seed: int = 0) -> MemoryDecoder:
    """The model that this machine trained with this profile and seed: from the cache, or trained
    now (minutes); on the GPU where there is one. ValueError if the cache cannot be written to: it
    says so before the training."""
    place = _place(runtime.profile(profile), seed)
    if place.exists():
        return load(place).to(runtime.device())  # type: ignore[no-any-return]
    if not os.access(place.parent, os.W_OK):
        raise ValueError(
            f"expected in MEMLAB_CACHE a folder that can be written to, got {place.parent}"
        )
    model, _ = _shown(profile, seed)
    remember(model, profile, seed)
    return model


def _shown(profile: str, seed: int) -> tuple[MemoryDecoder, training.Log]:
    """`train`, and how far it is on stderr."""
    steps = RECIPES[runtime.profile(profile)].steps
    with training.Progress("memory-decoder", steps) as progress:
        return train(profile, seed, report=progress.report, watch=progress.watch)


def shipped() -> MemoryDecoder:
    """The better-trained weights that travel with the package (see their card); on the GPU where
    there is one."""
    found = load(weights.folder("memory-decoder"))
    return found.to(runtime.device())  # type: ignore[no-any-return]


def for_profile(profile: str, seed: int = 0) -> MemoryDecoder:
    """Quick: the model that this machine trained in minutes. Otherwise the weights that travel with
    the package."""
    with runtime.one_process_first():  # it may have to train
        return trained("quick", seed) if runtime.profile(profile) == "quick" else shipped()


def save(model: MemoryDecoder, folder: str | Path) -> None:
    """Write config and float16 weights, half the size; `load` reads them as float32
    (`from_pretrained`, as float16). ValueError, and nothing written, for weights that are too large
    for float16, or NaN."""
    logging.disable_progress_bar()
    weights.as_float16(model.state_dict().items())
    deepcopy(model).half().save_pretrained(folder)


def make(
    profile: str,
    seed: int,
    folder: str | Path,
) -> training.Log:
    """Train a memory decoder from scratch and save it: the command behind the shipped weights."""
    model, log = _shown(profile, seed)
    save(model, folder)
    return log
