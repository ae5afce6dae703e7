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
RANK = 16
RATE = 2e-3
PAIRS = 64  # facts and questions a step
SHARPNESS = 30.0
WARM_UP = 20  # steps


class LowRank(nn.Module):
    """A linear map and its correction: x (W + BA)ᵀ, of which A and B are trained."""

    def __init__(
        self,
        linear: nn.Linear,
        rank: int,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        wide = linear.in_features
        down = torch.randn(rank, wide, generator=draw) / math.sqrt(wide)
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
    tuned = replace(encoder, model=model)
    maps = _low_rank(model, runtime.generator(seed, "tuning"))
    trained = [one for low in maps.values() for one in (low.down, low.up)]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _rate(step, steps)
        made = relations.training_pairs(step, count=pairs, seed=seed, families=families)
        keys = tuned.embed([fact.sentence for fact, _ in made])
        asked = tuned.embed([question for _, question in made], question=True)
        right = torch.arange(len(made), device=keys.device)
        loss = functional.cross_entropy(SHARPNESS * asked @ keys.T, right)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    for name, low in maps.items():
        model.set_submodule(name, low.folded())
    return tuned


def _low_rank(model: nn.Module, draw: torch.Generator) -> dict[str, LowRank]:
    """Put a correction beside every linear map of a model, the pooler's left out; all by name."""
    maps = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and "pooler" not in name:
            maps[name] = LowRank(part, RANK, draw).to(part.weight.device)
    for name, low in maps.items():
        model.set_submodule(name, low)
    return maps


def _rate(step: int, steps: int) -> float:
    """Up over `WARM_UP` steps, and down along half a cosine."""
    up = min(1, (step + 1) / WARM_UP)
    return RATE * up * 0.5 * (1 + math.cos(math.pi * step / steps))


def closest(encoder: Encoder) -> float:
    """The largest cosine between a line of `relations.LESSONS` and a line of a held-out relation,
    without names."""
    held_out = [relations.FAMILIES[number] for number in relations.HELD_OUT]
    lessons = encoder.encode(_lines(relations.LESSONS))
    others = encoder.encode(_lines(held_out))
    return float((lessons @ others.T).amax())


def _lines(families: Sequence[relations.Family]) -> list[str]:
    """All statements and questions, without names."""
    lines: list[str] = []
    for family in families:
        lines += [*family.statements, *family.questions]
    return [_bare(line) for line in lines]


def _bare(line: str) -> str:
    line = line.replace("the {A}", "it").replace("The {A}", "It")
    return line.replace("{A}", "it").replace("{B}", "that")
