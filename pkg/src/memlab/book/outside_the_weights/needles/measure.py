"""One cell of the needle test, read in several ways: the same prompts, segments, latents and
decoder for all.

    cell = Cell(model, "needle", 65536, trials=20)
    cell.memory(), cell.nearest(), cell.oracle(), cell.bm25(), cell.linear()  # one outcome a trial

A haystack is encoded once; each trial adds the rows of its own fact. That is exact, not a shortcut:
segments are encoded independently of each other
(tests/book/outside_the_weights/test_needles_measure.py compares with prompts that are read whole).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from memlab import evaluation, retrieval, runtime, weights
from memlab.corpora import needles, tokenization
from memlab.decoder import MemoryDecoder, reading
from memlab.memories import (
    KeyValue,
    KeyValueState,
    LinearState,
    PseudoInverse,
    Sharded,
    ShardedState,
)

State = KeyValueState | ShardedState
LIMIT = 64  # tokens in a segment, as many as the book's decoder takes
# up to this length every trial has a haystack of its own; beyond it the trials of a cell share one
SHORT = 1024


@dataclass(frozen=True)
class Outcome:
    """One trial: was the answer right, was the address right (None where there is no address), what
    was said."""

    right: bool
    address: bool | None
    said: str


def correct(fact: needles.Fact, said: str) -> bool:
    """Passkey: the first number in the output is the answer. Needle: all content words of the
    answer are there."""
    if fact.kind == "passkey":
        numbers = re.findall(r"\d+", said)
        return bool(numbers) and numbers[0] == fact.answer
    return evaluation.content_words(said, fact.answer) == 1.0


def prompt(
    kind: str,
    length: int,
    trial: int,
    *,
    seed: int = 0,
    split: str = "test",
    hay: needles.Haystack | None = None,
) -> needles.Prompt:
    """The prompt of a trial, at most `length` tokens with its cue: a pure function of (kind,
    length, trial, seed)."""
    encode = tokenization.encoder(weights.tokenizer())
    hidden = needles.fact(kind, runtime.derive_seed(seed, kind, length, trial), split=split)
    hay = hay or haystack(length, trial, seed=seed, split=split)
    return needles.hide(hay, hidden, trial % 10 / 10 + 0.05, length, encode, limit=LIMIT)


def haystack(length: int, trial: int, *, seed: int = 0, split: str = "test") -> needles.Haystack:
    """Real documentation for a trial; above `SHORT` tokens all trials of one length get the
    same."""
    number = trial if length <= SHORT else 0
    encode = tokenization.encoder(weights.tokenizer())
    seed = runtime.derive_seed(seed, "hay", length, number)
    return needles.haystack(length, encode, limit=LIMIT, split=split, seed=seed)


def _rule(top_k: int) -> Any:
    return Sharded(KeyValue(top_k)) if runtime.processes() > 1 else KeyValue(top_k)


class Cell:
    """All trials of one (kind, length), encoded; each reader returns one `Outcome` a trial."""

    def __init__(
        self,
        model: MemoryDecoder,
        kind: str,
        length: int,
        *,
        trials: int,
        seed: int = 0,
        split: str = "test",
        shared: dict[int, tuple[needles.Haystack, Any, float]] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Latents are kept in `dtype`. Under torchrun all processes make the same cell, and each
        encodes and keeps its share of the rows."""
        self.model, self.kind, self.length, self.dtype = model, kind, length, dtype
        self.memory_rule: Any = _rule(1)
        known = shared if shared is not None else {}
        self.write_seconds: float = 0.0
        self.read_seconds: list[float] = []
        self.prompts: list[needles.Prompt] = []
        self.bases: list[State] = []
        for trial in range(trials):
            number = trial if length <= SHORT else 0
            if number not in known:
                known[number] = self._store(haystack(length, trial, seed=seed, split=split))
            hay, state, self.write_seconds = known[number]
            self.prompts.append(prompt(kind, length, trial, seed=seed, split=split, hay=hay))
            rows = len(self.prompts[-1].segments) - len(self.prompts[-1].rows)
            self.bases.append(self.memory_rule.first(state, rows))
        facts = [[p.segments[row] for row in p.rows] for p in self.prompts]
        latents, keys = reading.encode(model, [segment for fact in facts for segment in fact])
        sizes = [len(fact) for fact in facts]
        self.facts = list(zip(keys.split(sizes), latents.split(sizes), strict=True))
        self.queries = reading.query_keys(model, [p.cue for p in self.prompts])

    def _store(self, hay: needles.Haystack) -> tuple[needles.Haystack, Any, float]:
        with runtime.Stopwatch() as watch:
            state = reading.memorise(self.model, hay.segments, self.memory_rule, dtype=self.dtype)
        return hay, state, watch.seconds

    @cached_property
    def candidates(self) -> list[list[int]]:
        """The rows that each query finds, nearest key first, among all of its own memory, the fact
        behind the haystack.

        Every look-up is timed on its own. Only keys are laid side by side; values stay where they
        are.
        """
        found = []
        rule = _rule(
            min(reading.CANDIDATES, *(len(base) for base in self.bases))
        )  # a short prompt has few rows
        for base, (own, _), query in zip(self.bases, self.facts, self.queries, strict=True):
            state = rule.keys_only(base, own)
            with runtime.Stopwatch() as watch:
                found.append(rule.address(state, query[None])[1][0].tolist())
            self.read_seconds.append(watch.seconds)
        return found

    @cached_property
    def scores(self) -> tuple[list[float], list[float]]:
        """For each trial the best score among the fact's own rows, and the best among the rows of
        the haystack."""
        own = [
            float((keys @ query).max())
            for (keys, _), query in zip(self.facts, self.queries, strict=True)
        ]
        rivals = [
            float(self.memory_rule.address(base, query[None])[0][0, 0])
            for base, query in zip(self.bases, self.queries, strict=True)
        ]
        return own, rivals

    def _latents(self, rows: list[int]) -> Tensor:
        """Stored latents by row: rows of the haystack first, then those of the trial's fact."""
        picked = []
        for base, (_, own), row in zip(self.bases, self.facts, rows, strict=False):
            size = len(base)
            picked.append(
                self.memory_rule.take(base, torch.tensor(row)) if row < size else own[row - size]
            )
        return torch.stack(picked)

    def _outcomes(self, latents: Tensor, address: list[bool] | None) -> list[Outcome]:
        """The decoder writes each latent out, whole; the answer is looked for in what it wrote."""
        said = reading.write_out(self.model, latents, [()] * len(latents), weights.tokenizer())
        return [
            Outcome(correct(p.fact, one), address[i] if address is not None else None, one)
            for i, (p, one) in enumerate(zip(self.prompts, said, strict=False))
        ]

    def _from_rows(self, rows: list[int]) -> list[Outcome]:
        hits = [row >= len(base) for row, base in zip(rows, self.bases, strict=False)]
        return self._outcomes(self._latents(rows), hits)

    def nearest(self) -> list[Outcome]:
        """The nearest key, its latent, the decoder."""
        return self._from_rows([rows[0] for rows in self.candidates])

    def memory(self) -> list[Outcome]:
        """The nearest keys, looked at again: the decoder writes out the row that best fits the
        cue."""
        places = range(len(self.candidates[0]))
        latents = torch.stack(
            [self._latents([rows[place] for rows in self.candidates]) for place in places], 1
        )
        fits = reading.recognise(self.model, latents, [p.cue for p in self.prompts])
        return self._from_rows(
            [rows[int(best)] for rows, best in zip(self.candidates, fits.argmax(1), strict=True)]
        )

    def oracle(self) -> list[Outcome]:
        """The right row by decree: what is lost here is lost by encoder and decoder, not by the
        address."""
        return self._outcomes(self._latents([len(base) for base in self.bases]), None)

    def linear(self, trials: int = 10, ridge: float = 1e-3) -> list[Outcome]:
        """Larimar's linear read-out M = K⁺V over the same keys and latents, untrained for it; the
        read-out is normalised as every latent is. No outcomes where the rows are shared out or
        packed: it wants all of them."""
        memory, config, out = PseudoInverse(ridge), self.model.config, []
        sums: dict[
            int, tuple[int, LinearState]
        ] = {}  # rows that all trials of a haystack share, summed once
        for base, (keys, latents), query in list(
            zip(self.bases, self.facts, self.queries, strict=True)
        )[:trials]:
            if not isinstance(base, KeyValueState) or self.dtype != torch.float32:
                return []
            place = base.keys.data_ptr()
            if place not in sums:
                count = max(len(base.keys) - 64, 0)
                empty = memory.empty(config.key_width, config.latent_width)
                sums[place] = count, memory.write(empty, base.keys[:count], base.values[:count])
            count, state = sums[place]
            rest = torch.cat([base.keys[count:], keys]), torch.cat([base.values[count:], latents])
            out.append(memory.read(memory.write(state, *rest), query[None])[0])
        return self._outcomes(reading.settled(self.model, torch.stack(out)), None)

    def said_by(self, answer: Callable[[needles.Prompt], str | None], trials: int) -> list[Outcome]:
        """What a model that reads the whole prompt writes, for the first `trials`; no outcomes if
        one of them is too long for it (None)."""
        said = [(prompt.fact, answer(prompt)) for prompt in self.prompts[:trials]]
        return (
            [Outcome(correct(fact, one), None, one) for fact, one in said if one is not None]
            if all(one is not None for _, one in said)
            else []
        )

    def bm25(self) -> list[Outcome]:
        """BM25 over the words of the segments picks the row; the same decoder writes it out. Ten
        trials, four above 64K tokens: every trial indexes its own text."""
        trials, rows, decode = (
            10 if self.length <= 65536 else 4,
            [],
            weights.tokenizer().batch_decode,
        )
        for p in self.prompts[:trials]:
            own = set(p.rows)
            segments = [list(s) for i, s in enumerate(p.segments) if i not in own]
            segments += [list(p.segments[i]) for i in p.rows]
            rows += retrieval.best_rows(retrieval.BM25(decode(segments)), decode([list(p.cue)]))
        return self._from_rows(rows)
