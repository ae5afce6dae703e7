"""Small boxes that are filled with poems of known entropy until they overflow, and what is then to
be seen of it.

A `Setting` is one size of box, one set of poems and one length of training. Several seeds of it,
each with its own poems and first weights, are trained at once (`memlab.training.many_models`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora.poems import Poems, synthetic
from memlab.evaluation import Reading
from memlab.models import stock
from memlab.training import Recipe, many_models

DAMAGE = {
    "noise": (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2),
    "grid": (10, 9, 8, 7, 6, 5, 4, 3),
}  # see `damaged`
READ = 8192


@dataclass(frozen=True)
class Setting:
    """A box (a Llama `dim` wide), its poems, and its training: all poems at every step, or `batch`
    of them; in bfloat16, if that is said, on machines on which it is fast."""

    poems: int = 32
    words: int = 16
    dim: int = 8
    layers: int = 1
    steps: int = 200
    batch: int = 0
    vocabulary: int = 128
    bfloat16: bool = False

    @property
    def epochs(self) -> float:
        """How often the box meets each poem."""
        return self.steps * (self.batch or self.poems) / self.poems

    @property
    def recipe(self) -> Recipe:
        """Muon for the matrices and AdamW for the rest; boxes wider than 16 take smaller steps."""
        slow = min(1.0, 16 / self.dim)
        return Recipe(
            self.steps,
            lr=0.1 * slow,
            muon=0.15 * slow**0.5,
            muon_bfloat16=False,
            bfloat16=self.bfloat16 and runtime.fast_bfloat16(),
        )

    def draw(self, seed: int) -> Poems:
        """Its poems."""
        return synthetic(self.poems, self.words, self.vocabulary, seed=seed)

    def box(self, seed: int) -> Any:
        """The untrained box, in eval mode."""
        head_width = 64
        if self.dim < 32:
            head_width = 4
        elif self.dim < 256:
            head_width = 16
        return stock.for_poems(
            "llama",
            self.draw(seed),
            dim=self.dim,
            layers=self.layers,
            heads=max(1, self.dim // head_width),
            seed=seed,
            attn_implementation="eager",
            use_cache=False,
        )

    def train(self, seeds: Sequence[int]) -> list[Any]:
        """One trained box a seed, all of them trained at once."""
        boxes = [self.box(seed) for seed in seeds]
        poems = [self.draw(seed) for seed in seeds]
        many_models.teach(boxes, poems, self.recipe, batch=self.batch, seeds=seeds)
        return boxes


def firsts(reading: Reading) -> Float[Tensor, " word"]:
    """The share of poems whose first k words are all right, for k = 1 … S; the last one is the
    memory ability."""
    return reading.right.long().cumprod(1).double().mean(0)


def poem_bits(reading: Reading, vocabulary: int) -> Float[Tensor, " poem"]:
    """Bits stored of every single poem: S · log2(V) − NLL / ln 2."""
    return reading.nll.shape[1] * math.log2(vocabulary) - reading.surprise / math.log(2)


def examine(box: Any, poems: Poems) -> tuple[Reading, dict[str, float]]:
    """A reading, and what it comes to: memory ability, words, bits; asked and stored, the bits per
    weight.

    Of more than READ poems the first READ are read, and their bits scaled up to all.
    """
    some = replace(poems, keys=poems.keys[:READ], bodies=poems.bodies[:READ])
    reading = evaluation.read(box, some)
    size = stock.size(box)
    bits = evaluation.stored_bits(reading.nll, poems.vocabulary) * len(poems) / len(some)
    return reading, {
        "memory ability": reading.memory_ability,
        "words": reading.token_accuracy,
        "bits": bits,
        "asked": poems.bits / size,
        "stored": bits / size,
    }


def damaged(
    box: Any,
    how: str,
    level: float | int,
    seed: int = 0,
) -> Any:
    """A copy of the box with "noise" of `level` times each tensor's rms, or its weights rounded to
    a "grid".

    The grid has 2^level − 1 values, evenly from −max to max of the tensor: `level` bits a weight.
    ValueError for another kind of damage, or a grid of less than 2 bits.
    """
    if how not in DAMAGE or (how == "grid" and level < 2):
        raise ValueError(
            f"expected noise, or a grid of at least 2 bits, got {how!r} at level {level}"
        )
    other = copy.deepcopy(box)
    draw = runtime.generator(seed, "capacity", how, str(level))
    with torch.no_grad():
        for p in other.parameters():
            if how == "noise":
                noise = torch.randn(p.shape, generator=draw).to(p.device)
                p.add_(noise * level * p.square().mean().sqrt())
            else:
                step = p.abs().max() / (2 ** (level - 1) - 1)
                p.copy_((p / step).round() * step)
    return other


def sweep(
    box: Any,
    poems: Poems,
    seed: int = 0,
) -> Iterator[tuple[str, float | int, dict[str, float]]]:
    """The kind, the level and the figures of every damage in DAMAGE."""
    for how, levels in DAMAGE.items():
        for level in levels:
            _, found = examine(damaged(box, how, level, seed), poems)
            yield how, level, found
