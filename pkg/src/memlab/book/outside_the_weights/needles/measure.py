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
from collections.abc import Callable, Sequence
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
ENDS = 64  # by at most so many rows at their ends do the haystacks of trials that share one differ


@dataclass(frozen=True)
class Outcome:
    """One trial: was the answer right, was the address right (None where there is no address), what
    was said."""

    right: bool
    address: bool | None
    said: str


def correct(fact: needles.Fact, said: str) -> bool:
    """Passkey: the first number in the output is the answer, 12,345 being one number. Needle: all
    content words of the answer are there."""
    if fact.kind == "passkey":
        numbers = re.findall(r"\d+", evaluation.plain_numbers(said))
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
    fact_seed = runtime.derive_seed(seed, kind, length, trial)
    hidden = needles.fact(kind, fact_seed, split=split)
    hay = hay or haystack(length, trial, seed=seed, split=split)
    return needles.hide(hay, hidden, depth(trial), length, encode, limit=LIMIT)


def depth(trial: int) -> float:
    """Where in the text the fact of a trial is hidden: ten depths in turn."""
    return trial % 10 / 10 + 0.05


def haystack(
    length: int,
    trial: int,
    *,
    seed: int = 0,
    split: str = "test",
) -> needles.Haystack:
    """Real documentation for a trial; above `SHORT` tokens all trials of one length get the
    same."""
    encode = tokenization.encoder(weights.tokenizer())
    seed = runtime.derive_seed(seed, "hay", length, _haystack_number(length, trial))
    return needles.haystack(length, encode, limit=LIMIT, split=split, seed=seed)


def _haystack_number(length: int, trial: int) -> int:
    return trial if length <= SHORT else 0


def _rule(top_k: int) -> Any:
    """Shared out over the processes that this one has joined, if it has."""
    rule = KeyValue(top_k)
    return Sharded(rule) if runtime.joined() else rule


def said_by(
    answer: Callable[[needles.Prompt], str | None],
    kind: str,
    length: int,
    trials: int,
    seed: int = 0,
) -> list[Outcome]:
    """What a model writes that reads the whole prompts of a cell, none of which is encoded for the
    memory; no outcomes if one of them is too long for it (None)."""
    known: dict[int, needles.Haystack] = {}
    prompts = []
    for trial in range(trials):
        number = _haystack_number(length, trial)
        if number not in known:
            known[number] = haystack(length, trial, seed=seed)
        prompts.append(prompt(kind, length, trial, seed=seed, hay=known[number]))
    return _answered(answer, prompts)


def _answered(
    answer: Callable[[needles.Prompt], str | None], prompts: Sequence[needles.Prompt]
) -> list[Outcome]:
    outcomes = []
    for made in prompts:
        said = answer(made)
        if said is None:
            return []
        outcomes.append(Outcome(correct(made.fact, said), None, said))
    return outcomes


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
        self.model = model
        self.kind = kind
        self.length = length
        self.dtype = dtype
        self.memory_rule: Any = _rule(1)
        self.write_seconds: float = 0.0
        self.read_seconds: list[float] = []
        self.prompts: list[needles.Prompt] = []
        self.bases: list[State] = []
        known = shared if shared is not None else {}
        for trial in range(trials):
            number = _haystack_number(length, trial)
            if number not in known:
                hay = haystack(length, trial, seed=seed, split=split)
                known[number] = self._store(hay)
            hay, state, self.write_seconds = known[number]
            made = prompt(kind, length, trial, seed=seed, split=split, hay=hay)
            rows = len(made.segments) - len(made.rows)
            self.prompts.append(made)
            self.bases.append(self.memory_rule.first(state, rows))
        self.facts = self._encoded_facts()
        self.queries = reading.query_keys(model, self._cues)

    @property
    def _cues(self) -> list[tuple[int, ...]]:
        return [made.cue for made in self.prompts]

    def _encoded_facts(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and latents of each trial's own rows, all encoded together."""
        segments = []
        for made in self.prompts:
            segments += [made.segments[row] for row in made.rows]
        sizes = [len(made.rows) for made in self.prompts]
        latents, keys = reading.encode(self.model, segments)
        return list(zip(keys.split(sizes), latents.split(sizes), strict=True))

    def _store(self, hay: needles.Haystack) -> tuple[needles.Haystack, Any, float]:
        with runtime.Stopwatch() as watch:
            state = reading.memorise(
                self.model,
                hay.segments,
                self.memory_rule,
                dtype=self.dtype,
            )
        return hay, state, watch.seconds

    @cached_property
    def candidates(self) -> list[list[int]]:
        """The rows that each query finds, nearest key first, among all of its own memory, the fact
        behind the haystack.

        Every look-up is timed on its own. Only keys are laid side by side; values stay where they
        are.
        """
        sizes = [len(base) for base in self.bases]
        rule = _rule(min(reading.CANDIDATES, *sizes))  # a short prompt has few rows
        found = []
        for base, (keys, _), query in zip(self.bases, self.facts, self.queries, strict=True):
            state = rule.keys_only(base, keys)
            with runtime.Stopwatch() as watch:
                _, rows = rule.address(state, query[None])
                found.append(rows[0].tolist())
            self.read_seconds.append(watch.seconds)
        return found

    @cached_property
    def scores(self) -> tuple[list[float], list[float]]:
        """For each trial the best score among the fact's own rows, and the best among the rows of
        the haystack."""
        own = []
        rivals = []
        for base, (keys, _), query in zip(self.bases, self.facts, self.queries, strict=True):
            own.append(float((keys @ query).max()))
            best, _ = self.memory_rule.address(base, query[None])
            rivals.append(float(best[0, 0]))
        return own, rivals

    def _latents(self, rows: list[int]) -> Tensor:
        """Stored latents by row: rows of the haystack first, then those of the trial's fact."""
        picked = []
        for base, (_, own), row in zip(self.bases, self.facts, rows, strict=False):
            size = len(base)
            if row < size:
                picked.append(self.memory_rule.take(base, torch.tensor(row)))
            else:
                picked.append(own[row - size])
        return torch.stack(picked)

    def _outcomes(self, latents: Tensor, address: list[bool] | None) -> list[Outcome]:
        """The decoder writes each latent out, whole; the answer is looked for in what it wrote."""
        no_cues = [()] * len(latents)
        texts = reading.write_out(self.model, latents, no_cues, weights.tokenizer())
        hits = address if address is not None else [None] * len(texts)
        return [
            Outcome(correct(made.fact, said), hit, said)
            for made, said, hit in zip(self.prompts, texts, hits, strict=False)
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
        by_place = []
        for one_a_trial in zip(*self.candidates, strict=True):
            by_place.append(self._latents(list(one_a_trial)))
        latents = torch.stack(by_place, 1)
        fits = reading.recognise(self.model, latents, self._cues)
        chosen = []
        for rows, best in zip(self.candidates, fits.argmax(1), strict=True):
            chosen.append(rows[int(best)])
        return self._from_rows(chosen)

    def oracle(self) -> list[Outcome]:
        """The right row by decree: what is lost here is lost by encoder and decoder, not by the
        address."""
        first_own = [len(base) for base in self.bases]
        return self._outcomes(self._latents(first_own), None)

    def linear(self, trials: int = 10, ridge: float = 1e-3) -> list[Outcome]:
        """Larimar's linear read-out M = K⁺V over the same keys and latents, untrained for it; the
        read-out is normalised as every latent is. No outcomes where the rows are shared out or
        packed: it wants all of them."""
        memory = PseudoInverse(ridge)
        # The rows that all trials of a haystack share are summed once.
        sums: dict[int, tuple[int, LinearState]] = {}
        read_outs = []
        trials_of_all = zip(self.bases, self.facts, self.queries, strict=True)
        for base, (keys, latents), query in list(trials_of_all)[:trials]:
            if not isinstance(base, KeyValueState) or self.dtype != torch.float32:
                return []
            place = base.keys.data_ptr()
            if place not in sums:
                sums[place] = self._shared_sum(memory, base)
            count, state = sums[place]
            more_keys = torch.cat([base.keys[count:], keys])
            more_latents = torch.cat([base.values[count:], latents])
            state = memory.write(state, more_keys, more_latents)
            read_outs.append(memory.read(state, query[None])[0])
        settled = reading.settled(self.model, torch.stack(read_outs))
        return self._outcomes(settled, None)

    def _shared_sum(self, memory: PseudoInverse, base: KeyValueState) -> tuple[int, LinearState]:
        """How many rows of a haystack all its trials have, and a state that holds them."""
        count = max(len(base.keys) - ENDS, 0)
        config = self.model.config
        empty = memory.empty(config.key_width, config.latent_width)
        state = memory.write(empty, base.keys[:count], base.values[:count])
        return count, state

    def said_by(self, answer: Callable[[needles.Prompt], str | None], trials: int) -> list[Outcome]:
        """What a model that reads the whole prompt writes, for the first `trials`; no outcomes if
        one of them is too long for it (None)."""
        return _answered(answer, self.prompts[:trials])

    def bm25(self) -> list[Outcome]:
        """BM25 over the words of the segments picks the row; the same decoder writes it out. Ten
        trials, four above 64K tokens: every trial indexes its own text."""
        trials = 10 if self.length <= 65536 else 4
        decode = weights.tokenizer().batch_decode
        found = []
        for made in self.prompts[:trials]:
            haystack = [row for row in range(len(made.segments)) if row not in made.rows]
            segments = [list(made.segments[row]) for row in (*haystack, *made.rows)]
            index = retrieval.BM25(decode(segments))
            question = decode([list(made.cue)])
            found += retrieval.best_rows(index, question)
        return self._from_rows(found)
