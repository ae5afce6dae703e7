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
EPISODES = 12
OTHERS = 600  # sentences about other things to draw from
RIVALS = 256  # of them in a step
RATE = 1e-3
PULL = 2e-3  # of the maps to the identity: no farther from it than pays


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
        matrix = self.question if question else self.text
        return functional.normalize(keys @ matrix.T, dim=-1)


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
    facts, asked = _encoded_episodes(encoder, seed, episodes)
    lines = text.documentation("train")
    drawn = runtime.python_random(seed, "adapter").sample(lines, min(others, len(lines)))
    hay = encoder.encode(drawn)
    draw = runtime.generator(seed, "adapter")
    if shuffled:
        asked = [keys[torch.randperm(len(keys), generator=draw)] for keys in asked]
    eye = torch.eye(encoder.width)
    of_text = eye.clone().requires_grad_()
    of_question = eye.clone().requires_grad_()
    optimiser = torch.optim.AdamW([of_text, of_question], lr=RATE, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        episode = int(torch.randint(episodes, (1,), generator=draw))
        rivals = hay[torch.randint(len(hay), (RIVALS,), generator=draw)]
        rows = torch.cat([facts[episode], rivals])
        keys = functional.normalize(rows @ of_text.T, dim=-1)
        queries = functional.normalize(asked[episode] @ of_question.T, dim=-1)
        right = torch.arange(len(queries))
        loss = functional.cross_entropy(SHARPNESS * queries @ keys.T, right)
        loss = loss + PULL * sum((one - eye).square().sum() for one in (of_text, of_question))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Adapted(encoder, of_text.detach(), of_question.detach())


def _encoded_episodes(
    encoder: Encoder,
    seed: int,
    episodes: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """For each episode the keys of its facts, and those of its questions in the same order."""
    facts = []
    asked = []
    for step in range(episodes):
        pairs = relations.training_pairs(step, seed=seed)
        facts.append(encoder.encode([fact.sentence for fact, _ in pairs]))
        questions = [question for _, question in pairs]
        asked.append(encoder.encode(questions, question=True))
    return facts, asked
