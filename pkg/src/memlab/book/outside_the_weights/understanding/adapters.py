"""Two linear maps behind a frozen sentence encoder, one for what is stored and one for what is
asked.

They start as the identity and are trained to find the fact of a question among the facts of an
episode, on the relations that `corpora.relations` trains on, and on no other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memlab import runtime
from memlab.corpora import relations, text
from memlab.retrieval import Encoder

SHARPNESS = 20.0  # as in the decoder's own address loss: learned, it would grow
EPISODES, OTHERS, RIVALS = 12, 600, 256


@dataclass(frozen=True)
class Adapted:
    """An encoder whose keys of texts and of questions go through a matrix each:
    `retrieval.Encoder`."""

    encoder: Encoder
    text: Float[Tensor, "key key"]
    question: Float[Tensor, "key key"]

    @property
    def width(self) -> int:
        """How many numbers a key has."""
        return self.encoder.width

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """Unit keys in the order of the texts."""
        keys = self.encoder.encode(texts, question=question)
        return functional.normalize(keys @ (self.question if question else self.text).T, dim=-1)


def train(
    encoder: Encoder,
    seed: int = 0,
    *,
    steps: int = 400,
    episodes: int = EPISODES,
    others: int = OTHERS,
    shuffled: bool = False,
) -> Adapted:
    """The two maps after `steps` steps of AdamW; the encoder does not change.

    A step takes one episode, some 100 facts and a question about each, and `RIVALS` sentences about
    other things. With `shuffled` the questions of every episode are dealt out to the wrong facts:
    the control.
    """
    made = [relations.training_pairs(step, seed=seed) for step in range(episodes)]
    facts = [encoder.encode([fact.sentence for fact, _ in pairs]) for pairs in made]
    asked = [encoder.encode([question for _, question in pairs], question=True) for pairs in made]
    lines = text.documentation("train")
    hay = encoder.encode(
        runtime.python_random(seed, "adapter").sample(lines, min(others, len(lines)))
    )
    draw, eye = runtime.generator(seed, "adapter"), torch.eye(encoder.width)
    if shuffled:
        asked = [keys[torch.randperm(len(keys), generator=draw)] for keys in asked]
    maps = [eye.clone().requires_grad_() for _ in range(2)]
    optimiser = torch.optim.AdamW(maps, lr=1e-3, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        episode = int(torch.randint(episodes, (1,), generator=draw))
        rivals = hay[torch.randint(len(hay), (RIVALS,), generator=draw)]
        keys = functional.normalize(torch.cat([facts[episode], rivals]) @ maps[0].T, dim=-1)
        queries = functional.normalize(asked[episode] @ maps[1].T, dim=-1)
        loss = functional.cross_entropy(SHARPNESS * queries @ keys.T, torch.arange(len(queries)))
        loss = loss + 2e-3 * sum(
            (one - eye).square().sum() for one in maps
        )  # no farther from it than pays
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Adapted(encoder, *(one.detach() for one in maps))
