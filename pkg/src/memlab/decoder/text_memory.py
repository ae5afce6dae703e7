"""A memory of texts: rows hold the latents of a memory decoder, and keys of whatever encoder is to
find them.

    # keys that the decoder was trained with, or keys of a pretrained sentence encoder
    memory = TextMemory(model, OwnKeys(model))
    memory = TextMemory(model, retrieval.open_encoder(folder))
    state = memory.write(memory.empty(), sentences)
    # the text of the nearest row, written out by the decoder
    memory.answer(state, ["Where does Ada live?"])

Every sentence has a key of its own; several may lead to one segment that holds them all (`owner`).
The text itself is not kept: what the memory says, the decoder has read from a latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memlab import weights
from memlab.corpora import needles, tokenization
from memlab.decoder import reading
from memlab.decoder.model import MemoryDecoder
from memlab.memories import KeyValue, KeyValueState
from memlab.retrieval import Encoder


def token_ids(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts in the book's own tokenizer, each with the space in front that the decoder
    was trained with. ValueError for a text that is blank, or none."""
    _check(texts)
    return tokenization.encoder(weights.tokenizer())([" " + text for text in texts])


def _check(texts: Sequence[str]) -> None:
    """ValueError if there is nothing to read in one of the texts: a latent of nothing would be read
    out as words, and a key of nothing could be the nearest one."""
    tokenization.check(texts)
    for number, text in enumerate(texts):
        if tokenization.is_blank(text):
            raise ValueError(
                f"expected texts with something to read, got {text!r} as text {number}"
            )


@dataclass(frozen=True)
class OwnKeys:
    """The decoder's own keys as a `retrieval.Encoder`: questions and sentences alike, cut to the
    length of a segment."""

    model: MemoryDecoder

    @property
    def width(self) -> int:
        """How many numbers a key has."""
        return int(self.model.config.key_width)

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """Unit keys in the order of the texts."""
        longest = self.model.config.segment_tokens
        return reading.encode(self.model, [ids[:longest] for ids in token_ids(texts)])[1]


@dataclass(frozen=True)
class Once:
    """An encoder that does no text twice: what one key back-end computed serves all memories that
    share it."""

    encoder: Encoder
    known: dict[tuple[str, bool], Float[Tensor, " key"]] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """How many numbers a key has."""
        return self.encoder.width

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Float[Tensor, "txt key"]:
        """Unit keys in the order of the texts."""
        new = [text for text in dict.fromkeys(texts) if (text, question) not in self.known]
        if new:
            made = self.encoder.encode(new, question=question)
            for text, key in zip(new, made, strict=True):
                self.known[text, question] = key
        if not texts:
            return torch.empty(0, self.width)
        return torch.stack([self.known[text, question] for text in texts])


def documentation(
    model: MemoryDecoder,
    count: int,
    seed: int = 0,
) -> list[str]:
    """Sentences of real documentation in their order, almost `count` tokens; those longer than a
    segment are left out."""
    hay = needles.haystack(
        count,
        tokenization.encoder(weights.tokenizer()),
        limit=model.config.segment_tokens,
        seed=seed,
    )
    # The last sentence may be cut off.
    whole = [list(hay.segments[row]) for row, end in pairwise(hay.starts) if end == row + 1]
    return [text.strip() for text in weights.tokenizer().batch_decode(whole)]


def pack(texts: Sequence[str], longest: int) -> list[int]:
    """For every text the number of the segment that it goes to: as many as fit, in order, at most
    `longest` tokens."""
    owner: list[int] = []
    number = -1
    used = 0
    for size in map(len, token_ids(texts)):
        if number < 0 or used + size > longest:
            number += 1
            used = 0
        owner.append(number)
        used += size
    return owner


@dataclass(frozen=True)
class TextMemory:
    """The rule of a memory of texts: which decoder reads and writes its rows, which encoder makes
    the keys."""

    model: MemoryDecoder
    encoder: Encoder
    rule: KeyValue = KeyValue()

    def empty(self, capacity: int = 0) -> KeyValueState:
        """A state without rows, with room for `capacity` sentences if that is known."""
        return self.rule.empty(
            self.encoder.width, self.model.config.latent_width, capacity=capacity
        )

    def write(
        self,
        state: KeyValueState,
        texts: Sequence[str],
        owner: Sequence[int] | None = None,
    ) -> KeyValueState:
        """The state with the texts behind what it held, one key each.

        `owner[i]` is the number of the segment that text i goes to, counted from 0 without a gap
        (default: one segment a text); texts of one segment are joined in order. ValueError if a
        segment is longer than the decoder takes, or a text is blank.
        """
        owner = range(len(texts)) if owner is None else owner
        numbers = sorted(set(owner))
        if len(owner) != len(texts) or numbers != list(range(len(numbers))):
            raise ValueError(
                f"expected one segment number a text, {len(texts)}, from 0 without a gap, "
                f"got {len(owner)}"
            )
        segments: list[list[int]] = [[] for _ in numbers]
        for number, ids in zip(owner, token_ids(texts), strict=True):
            segments[number] += ids
        latents, _ = reading.encode(self.model, segments)
        keys = self.encoder.encode(texts)
        return self.rule.write(state, keys, latents, torch.tensor(owner, dtype=torch.long))

    def address(
        self,
        state: KeyValueState,
        questions: Sequence[str],
    ) -> tuple[Float[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
        """Scores (cosines) and rows of the best keys of each question, best first. ValueError for a
        blank question."""
        _check(questions)
        queries = self.encoder.encode(questions, question=True)
        return self.rule.address(state, queries)

    def forget(self, state: KeyValueState, rows: Int[Tensor, " row"]) -> KeyValueState:
        """The state as if the segments that the keys `rows` lead to had never been written, with
        all their keys."""
        return self.rule.forget(state, rows)

    def say(self, state: KeyValueState, rows: Int[Tensor, " row"]) -> list[str]:
        """What the decoder writes when it reads the segment of each key, whole; each segment is
        read once. ValueError for a row that is not there."""
        latents = self.rule.take(state, rows)
        slots, which = state.slot[rows.long()].unique(return_inverse=True)
        place_of = {number: place for place, number in enumerate(which.tolist())}
        chosen = [place_of[number] for number in range(len(slots))]
        said = reading.write_out(
            self.model, latents[chosen], [()] * len(slots), weights.tokenizer()
        )
        return [said[place].strip() for place in which.tolist()]

    def answer(self, state: KeyValueState, questions: Sequence[str]) -> list[str]:
        """The text of the best row of each question. It says something whether or not it was
        told."""
        _, rows = self.address(state, questions)
        return self.say(state, rows[:, 0])
