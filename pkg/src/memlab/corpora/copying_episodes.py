"""Copying episodes: the generic training data of a model that holds its context in attention.

An episode is some segments, then the first tokens of one of them as a cue; the task is to go on as
that segment did. Segments are documentation, made-up sentences and random tokens, no phrase of the
test tasks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from memlab import runtime
from memlab.corpora import needles, text
from memlab.corpora.tokenization import BOS, EOS, PAD, SEP

Segment = tuple[int, ...]
Pool = tuple[Segment, ...]


@dataclass(frozen=True)
class Mixture:
    """Shares of what an episode holds beside sentences. All of it is generic: no words of a test
    are in it.

    `noise` of the segments are random tokens (half that share of the episodes holds nothing else).
    `twins` is the chance that a segment gets a twin that shares all but one token of its cue and
    goes on differently. `repeated` of the episodes are filled up with a few segments again and
    again, and `echo` of those few hold the last token of a cue as well, so that one token is not
    enough to find the place.
    """

    noise: float = 0.4
    twins: float = 0.25
    repeated: float = 0.2
    echo: float = 0.3


def training_pool(
    encode: needles.Encode,
    seed: int = 0,
    generic: int = 20_000,
    longest: int = 40,
) -> Pool:
    """Token ids of what may be trained on: the standard library's documentation and made-up
    sentences."""
    lines = [*text.documentation("train"), *text.generic_sentences(generic, seed)]
    segments = encode([" " + line for line in lines])
    return tuple(tuple(ids) for ids in segments if 5 <= len(ids) <= longest)


class _Asked(NamedTuple):
    """A segment that may be asked for, how many of its tokens are the cue, and whether its end can
    be known."""

    segment: Segment
    cue: int
    ends: bool

    def is_unique(self, stored: list[Segment]) -> bool:
        """Whether exactly one of the stored segments begins with the cue."""
        cue = self.segment[: self.cue]
        return sum(other[: self.cue] == cue for other in stored) == 1


def _segment(
    pool: Pool,
    noise: float,
    longest: int,
    vocabulary: int,
    rng: random.Random,
) -> tuple[Segment, bool]:
    """A segment, and whether its end can be known: that of a whole sentence can, that of noise or a
    cut one cannot."""
    if rng.random() < noise:
        length = rng.randint(5, min(16, longest))
        return tuple(rng.randrange(SEP + 1, vocabulary) for _ in range(length)), False
    sentence = rng.choice(pool)
    return sentence[:longest], len(sentence) <= longest


def _twin(
    segment: Segment,
    cue: int,
    pool: Pool,
    vocabulary: int,
    rng: random.Random,
) -> Segment:
    changed = list(segment[:cue])
    token = rng.randrange(SEP + 1, vocabulary)
    changed[rng.randrange(cue)] = token
    sentence = rng.choice(pool)
    return (*changed, *sentence[: rng.randint(2, 10)])


def _echo(
    filler: Segment,
    token: int,
    rng: random.Random,
) -> Segment:
    at = rng.randrange(1, len(filler))
    return (*filler[:at], token, *filler[at + 1 :])


def _segments(
    pool: Pool,
    room: int,
    longest: int,
    mix: Mixture,
    vocabulary: int,
    rng: random.Random,
) -> tuple[list[Segment], list[_Asked]]:
    """What an episode stores, and what may be asked for; every cue is unique."""
    noise = 1.0 if rng.random() < mix.noise / 2 else mix.noise
    repeated = rng.random() < mix.repeated
    count = rng.randint(2, 5) if repeated else 0
    filler = [_segment(pool, noise, longest, vocabulary, rng)[0] for _ in range(count)]
    stored: list[Segment] = []
    asked: list[_Asked] = []
    while True:
        if asked and filler and rng.random() < 0.75:
            new = _Asked(filler[len(stored) % len(filler)], 0, False)
        else:
            segment, ends = _segment(pool, noise, longest, vocabulary, rng)
            new = _Asked(segment, min(rng.randint(3, 12), len(segment) - 1), ends)
        if asked and not _fits(new.segment, stored, room):
            break
        stored.append(new.segment)
        if not new.cue:  # a repeat: nobody asks for it
            continue
        if not asked:
            last = new.segment[new.cue - 1]
            filler = [_echo(f, last, rng) if rng.random() < mix.echo else f for f in filler]
        asked.append(new)
        if rng.random() < mix.twins:
            twin = _twin(new.segment, new.cue, pool, vocabulary, rng)
            if _fits(twin, stored, room):
                stored.append(twin)
    rng.shuffle(stored)
    rng.shuffle(asked)
    return stored, [one for one in asked if one.is_unique(stored)]


def _fits(
    segment: Segment,
    stored: list[Segment],
    room: int,
) -> bool:
    return sum(map(len, stored)) + len(segment) <= room


def episode(
    pool: Pool,
    tokens: int,
    mix: Mixture,
    rng: random.Random,
    vocabulary: int = 2048,
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one episode of at most `tokens` tokens.

    [BOS] segments, then [SEP] segment [EOS] for some of them. Labels are −100 (no loss) but on what
    follows the cue, and on [EOS] after a whole sentence. A cue begins exactly one of the stored
    segments. Raises ValueError below 32 tokens.
    """
    if tokens < 32:
        raise ValueError(f"an episode needs at least 32 tokens, got {tokens}")
    longest = max(8, min(40, tokens // 3))
    ids: list[int] = []
    labels: list[int] = []
    # A twin or a repeat can leave nothing to ask for.
    while all(label == -100 for label in labels):
        room = min(int(tokens * rng.uniform(0.3, 0.9)), tokens - longest - 4)
        stored, asked = _segments(pool, room, longest, mix, vocabulary, rng)
        ids = [BOS, *(token for segment in stored for token in segment)]
        labels = [-100] * len(ids)
        for segment, cue, ends in asked:
            if len(ids) + len(segment) + 2 > tokens:
                break
            ids += [SEP, *segment, EOS]
            labels += [-100] * (1 + cue) + [*segment[cue:], EOS if ends else -100]
    return ids, labels


def batch(
    pool: Pool,
    tokens: int,
    size: int,
    mix: Mixture,
    seed: int,
    step: int,
) -> dict[str, Int[Tensor, "ep seq"]]:
    """`size` episodes, padded on the right: `input_ids` and `labels`. A pure function of its
    arguments."""
    rng = runtime.python_random(seed, "episodes", step)
    made = [episode(pool, tokens, mix, rng) for _ in range(size)]
    longest = max(len(ids) for ids, _ in made)
    input_ids = []
    labels = []
    for ids, own_labels in made:
        empty = longest - len(ids)
        input_ids.append(ids + [PAD] * empty)
        labels.append(own_labels + [-100] * empty)
    return {"input_ids": torch.tensor(input_ids), "labels": torch.tensor(labels)}
