"""Training episodes of the memory decoder: short contexts, a cue for every segment, the segment to
write out.

An episode is a context of at most 384 tokens: segments of at most 64, drawn from generic sentences,
from real documentation and from random tokens. No passkey, no needle, no filler sentence is among
them (`text.FORBIDDEN`; tests/corpora/test_memory_episodes.py searches what this module yields).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from memlab import runtime
from memlab.corpora import text, tokenization
from memlab.corpora.needles import Encode, cut, inside_characters

CONTEXT_TOKENS = 384
CUE_TOKENS = 16
# Half of the episodes are drawn from neighbours in the order of their first tokens: sentences that
# begin alike, and so wrong answers that are hard to tell from the right one although there are few
# of them.
ALIKE_SHARE = 0.5
NEIGHBOURS = 200
# To read one segment is learned first, for so many steps; then, in a share of the steps, the
# decoder reads two at once.
ALONE = 300
TWO_READS = 0.3
# Class borders in eighths of the segment limit; one class a step, so little is spent on padding.
LENGTHS = (2, 3, 5)


@dataclass(frozen=True)
class Pool:
    """Training segments in classes of similar length, each at most `limit` tokens, and the size of
    the vocabulary."""

    classes: tuple[tuple[tuple[int, ...], ...], ...]
    limit: int
    vocabulary: int

    @property
    def segments(self) -> tuple[tuple[int, ...], ...]:
        """All segments, short ones first."""
        return tuple(segment for group in self.classes for segment in group)


def pool(
    encode: Encode,
    vocabulary: int,
    *,
    generic: int = 30_000,
    limit: int = 64,
    seed: int = 0,
) -> Pool:
    """Generic sentences and the documentation of the standard library, cut to segments of at least
    four tokens."""
    lines = text.generic_sentences(generic, seed) + list(text.documentation("train"))
    sentences = encode([" " + line for line in lines])
    segments = cut(sentences, limit, inside_characters(encode))
    bounds = [4, *(limit * part // 8 for part in LENGTHS), limit + 1]
    classes = []
    for low, high in pairwise(bounds):
        group = sorted(segment for segment in segments if low <= len(segment) < high)
        if group:
            classes.append(tuple(group))
    return Pool(tuple(classes), limit, vocabulary)


def context(
    segments: Sequence[tuple[int, ...]],
    vocabulary: int,
    rng: random.Random,
    random_share: float = 0.2,
) -> list[tuple[int, ...]]:
    """Segments of one episode, at most 384 tokens in all; `random_share` of them are random tokens
    (pure copying)."""
    chosen: list[tuple[int, ...]] = []
    room = CONTEXT_TOKENS
    if rng.random() < ALIKE_SHARE and len(segments) > NEIGHBOURS:
        start = rng.randrange(len(segments) - NEIGHBOURS)
        segments = segments[start : start + NEIGHBOURS]
    while True:
        segment = rng.choice(segments)
        if rng.random() < random_share:
            segment = tuple(rng.randrange(len(tokenization.SPECIAL), vocabulary) for _ in segment)
        if len(segment) > room:
            return chosen
        chosen.append(segment)
        room -= len(segment)


def cue(
    segment: Sequence[int],
    stem: int,
    rng: random.Random,
) -> list[int]:
    """What is asked with: the stem (at least 3 tokens), the segment with a piece missing, or a
    random part of it."""
    kind = rng.random()
    length = len(segment)
    if kind < 0.6:
        return list(segment[: max(stem, 3)])
    if kind < 0.8:
        gap = rng.randint(1, max(1, length // 2))
        start = rng.randint(0, length - gap)
        kept = [*segment[:start], *segment[start + gap :]]
    else:
        share = rng.uniform(0.3, 0.8)
        kept = [token for token in segment if rng.random() < share]
    return kept[:CUE_TOKENS] or list(segment[:3])


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    padding = [fill] * width
    return torch.tensor([[*row, *padding[len(row) :]] for row in rows])


def batch(
    source: Pool,
    step: int,
    *,
    contexts: int = 4,
    most: int = 80,
    noise: float = 0.05,
    latent_width: int = 1024,
    alone: int = ALONE,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The tensors of one training step, a pure function of (pool, step, seed): up to `contexts`
    episodes, and no further one once there are `most` segments. From step `alone` on, some steps
    read two segments at once.

    segment_ids "batch seq", cue_ids "batch cue", input_ids and labels "batch text" (the stem of a
    segment is given, what follows it and the end mark are asked for), read_rows "batch read" (the
    segments that are read), context_ids " batch" (which episode a row belongs to) and the noise
    that is added to the latents.
    """
    rng = runtime.python_random(seed, "episode", step)
    rows = _episodes(source, rng, contexts, most)
    segments = [segment for _, segment in rows]
    stems = [min(rng.randint(0, 8), len(segment) - 1) for segment in segments]
    two = TWO_READS if step >= alone else 0.0
    reads, bodies, stems = _reads(segments, stems, rng, two)
    texts = [[tokenization.BOS, *body, tokenization.EOS] for body in bodies]
    labels = [_labels(one, stem) for one, stem in zip(texts, stems, strict=True)]
    cues = [cue(segment, stem, rng) for segment, stem in zip(segments, stems, strict=True)]
    shift = torch.randn(len(rows), latent_width, generator=runtime.generator(seed, "noise", step))
    return {
        "segment_ids": _padded(segments, tokenization.PAD),
        "cue_ids": _padded(cues, tokenization.PAD),
        "input_ids": _padded(texts, tokenization.PAD),
        "labels": _padded(labels, -100),
        "read_rows": torch.tensor(reads),
        "context_ids": torch.tensor([number for number, _ in rows]),
        "noise": noise * shift,
    }


def _episodes(
    source: Pool,
    rng: random.Random,
    contexts: int,
    most: int,
) -> list[tuple[int, tuple[int, ...]]]:
    """Segments of one class of lengths, each behind the number of its episode."""
    tokens = [sum(map(len, group)) for group in source.classes]
    group = rng.choices(source.classes, tokens)[0]
    rows: list[tuple[int, tuple[int, ...]]] = []
    for number in range(contexts):
        if len(rows) < most:
            rows += [(number, segment) for segment in context(group, source.vocabulary, rng)]
    return rows


def _reads(
    segments: Sequence[tuple[int, ...]],
    stems: list[int],
    rng: random.Random,
    two: float,
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Rows that are read, what is written from them, and the stems that are given of it.

    Most steps read one segment and write it out from its stem on. The share `two` reads two: either
    both are written, one after the other, or the one that the stem belongs to, wherever it comes.
    """
    kind = rng.random()
    rows = range(len(segments))
    pairs = [(row, _another(row, len(segments), rng)) for row in rows]
    own = [list(segment) for segment in segments]
    if kind >= two:
        return [[row] for row in rows], own, stems
    if kind < two / 2:
        both = [[*segments[row], tokenization.SEP, *segments[other]] for row, other in pairs]
        return [[row, other] for row, other in pairs], both, [0] * len(stems)
    reads = [rng.sample(pair, 2) for pair in pairs]
    longer = [
        min(max(stem, 3), len(segment) - 1) for stem, segment in zip(stems, segments, strict=True)
    ]
    return reads, own, longer


def _another(
    row: int,
    rows: int,
    rng: random.Random,
) -> int:
    if rows == 1:
        return row
    return (row + rng.randrange(1, rows)) % rows


def _labels(text: list[int], stem: int) -> list[int]:
    """The text without a loss on the mark at its beginning and on its stem."""
    given = 1 + stem
    return [-100] * given + text[given:]


def batches(
    source: Pool,
    *,
    contexts: int = 4,
    latent_width: int = 1024,
    alone: int = ALONE,
    seed: int = 0,
) -> Callable[[int], dict[str, Tensor]]:
    """`batch` as a function of the step alone: what `training.fit` takes."""
    return lambda step: batch(
        source,
        step,
        contexts=contexts,
        latent_width=latent_width,
        alone=alone,
        seed=seed,
    )
