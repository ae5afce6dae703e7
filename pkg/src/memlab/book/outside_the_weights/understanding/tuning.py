"""A sentence encoder that is taught relations: low-rank corrections of its matrices, folded in when
they are trained (Hu et al., 2021)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from memlab import runtime
from memlab.corpora import relations
from memlab.retrieval import Encoder, SentenceEncoder
from memlab.training import low_rank

# All chosen on relations that the adapters of `adapters` train on, before those held out were asked
# (LOG.md).
RANK = 16
RATE = 2e-3
PAIRS = 64  # facts and questions a step
SHARPNESS = 30.0
WARM_UP = 20  # steps


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
    model = copy.deepcopy(encoder.model)
    tuned = replace(encoder, model=model)
    draw = runtime.generator(seed, "tuning")
    maps = low_rank.correct(model, RANK, draw, _is_corrected)
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
    low_rank.fold(model, maps)
    return tuned


def _is_corrected(name: str) -> bool:
    return "pooler" not in name  # which nothing here reads


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
