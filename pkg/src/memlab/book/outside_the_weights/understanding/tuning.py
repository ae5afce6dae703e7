"""A sentence encoder that is taught relations: low-rank corrections of its matrices, folded in when
they are trained.

Low-rank adaptation (LoRA) is by Hu et al. (2021): W stays what it is, and W + BA is used, with B
and A of few rows and columns. B starts at zero, so that training starts from the encoder as it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from memlab import runtime
from memlab.corpora import relations
from memlab.retrieval import Encoder, SentenceEncoder

# All chosen on relations that the adapters of `adapters` train on, before those held out were asked
# (LOG.md).
RANK, RATE, PAIRS, SHARPNESS, WARM_UP = 16, 2e-3, 64, 30.0, 20


class LowRank(nn.Module):
    """A linear map and its correction: x (W + BA)ᵀ, of which A and B are trained."""

    def __init__(self, linear: nn.Linear, rank: int, draw: torch.Generator) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        down = torch.randn(rank, linear.in_features, generator=draw) / math.sqrt(linear.in_features)
        self.down = nn.Parameter(down.to(linear.weight))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))

    def forward(self, x: Float[Tensor, "... wide"]) -> Float[Tensor, "... out"]:
        """See the class."""
        return self.linear(x) + x @ self.down.T @ self.up.T

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The map with its correction as one matrix."""
        self.linear.weight += self.up @ self.down
        return self.linear


def tune(
    encoder: SentenceEncoder,
    families: Sequence[int] = relations.TAUGHT,
    seed: int = 0,
    *,
    steps: int = 240,
    pairs: int = PAIRS,
) -> SentenceEncoder:
    """A copy of the encoder that has learned to find the facts of questions about some relations,
    and no other.

    A step takes `pairs` facts and a question about each (`relations.training_pairs`); every
    question is to be nearer to its own fact than to the others of the step. ValueError for a
    relation that is held out.
    """
    if wrong := sorted(set(families) - set(relations.TAUGHT)):
        raise ValueError(f"expected relations that may be trained on, got held-out ones: {wrong}")
    model = copy.deepcopy(encoder.model).requires_grad_(False)
    tuned, draw = replace(encoder, model=model), runtime.generator(seed, "tuning")
    maps = {
        name: LowRank(part, RANK, draw).to(model.device)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and "pooler" not in name
    }
    for name, low in maps.items():
        model.set_submodule(name, low)
    trained = [one for low in maps.values() for one in (low.down, low.up)]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = (
            RATE * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        made = relations.training_pairs(step, count=pairs, seed=seed, families=families)
        keys = tuned.embed([fact.sentence for fact, _ in made])
        asked = tuned.embed([question for _, question in made], question=True)
        loss = functional.cross_entropy(
            SHARPNESS * asked @ keys.T, torch.arange(len(made), device=keys.device)
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    for name, low in maps.items():
        model.set_submodule(name, low.folded())
    return tuned


def closest(encoder: Encoder) -> float:
    """The largest cosine between a line of `relations.LESSONS` and a line of a held-out relation,
    without names."""
    lessons, held_out = (
        encoder.encode(
            [_bare(line) for family in some for line in (*family.statements, *family.questions)]
        )
        for some in (relations.LESSONS, [relations.FAMILIES[i] for i in relations.HELD_OUT])
    )
    return float((lessons @ held_out.T).amax())


def _bare(line: str) -> str:
    for name, word in (("the {A}", "it"), ("The {A}", "It"), ("{A}", "it"), ("{B}", "that")):
        line = line.replace(name, word)
    return line
