"""Tasks of `corpora.ruler`, read in several ways: the same trials, segments, latents and decoder
for every reader.

    cell = Cell(model, Task("multi-key"), 65536, trials=20)
    cell.nearest(), cell.memory(), cell.oracle(), cell.found_by(bm25, ...)  # outcomes, one a trial

The haystack of a cell is encoded once; each trial adds the rows of its own facts (as in
`measure`).
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
from memlab.corpora import ruler, tokenization
from memlab.corpora.ruler import Task
from memlab.decoder import MemoryDecoder, reading
from memlab.memories import KeyValue, KeyValueState

Cues = Sequence[Sequence[int]]  # in tokens
# kinds whose cue is how the fact begins
STEMS = ("single", "multi-key", "multi-value", "multi-query", "chain")
# Tasks by the names of chapter 11: what is asked, and in which text.
CASES: dict[str, tuple[Task, str]] = {
    "number": (Task("single"), "documentation"),
    "12 digits": (Task("single", digits=12), "documentation"),
    "word": (Task("single", "word"), "documentation"),
    "uuid": (Task("single", "uuid"), "documentation"),
    "repeated filler": (Task("single"), "filler"),
    "all facts": (Task("single"), "needles"),
    "near keys": (Task("multi-key"), "documentation"),
    "several values": (Task("multi-value"), "documentation"),
    "several questions": (Task("multi-query"), "documentation"),
    "chain": (Task("chain"), "documentation"),
    "tracking": (Task("tracking"), "documentation"),
    "no shared word": (Task("mismatch"), "documentation"),
}
UNANSWERED = {
    "number": Task("single", present=False),
    "near keys": Task("multi-key", present=False),
}
_VARIABLE = re.compile(r"variable (\w+)\W*$", re.I)


@dataclass(frozen=True)
class Outcome:
    """One trial: share of the values that the answer names, share of the needed rows that were
    found, how well the best row fits the cue (None where that is not asked), and what was said."""

    recall: float
    address: float
    fit: float | None
    said: str


class Cell:
    """All trials of one (task, length, source), encoded. Depth runs over the eleven of
    `ruler.DEPTHS`."""

    def __init__(
        self,
        model: MemoryDecoder,
        task: Task,
        length: int,
        *,
        trials: int,
        source: str = "documentation",
        seed: int = 0,
        split: str = "test",
        shared: dict[Any, tuple[ruler.Haystack, KeyValueState]] | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.length = length
        self.source = source
        encode = tokenization.encoder(weights.tokenizer())
        limit = model.config.segment_tokens
        known = {} if shared is None else shared
        # Haystacks of facts depend on the kind of value; the others are the same for all tasks.
        place = (source, length, task.values if source == "needles" else "", seed)
        same: dict[str, Any] = {"limit": limit, "source": source, "split": split}
        if place not in known:
            hay_seed = runtime.derive_seed(seed, "hay", length)
            hay = ruler.haystack(task, length, encode, seed=hay_seed, **same)
            known[place] = hay, reading.memorise(model, hay.segments)
        hay, state = known[place]
        self.trials: list[ruler.Trial] = []
        for trial in range(trials):
            depth = ruler.DEPTHS[trial % 11]
            trial_seed = runtime.derive_seed(seed, length, trial)
            made = ruler.trial(task, length, depth, trial_seed, encode, hay=hay, **same)
            self.trials.append(made)
        self.own = [_rows_of_facts(made) for made in self.trials]
        self.facts = self._encoded_facts()
        self.bases: list[KeyValueState] = []
        for made, own in zip(self.trials, self.own, strict=True):
            rows = len(made.segments) - len(own)
            self.bases.append(KeyValue().first(state, rows))

    def _encoded_facts(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and latents of each trial's own rows, all encoded together."""
        segments = []
        for made, own in zip(self.trials, self.own, strict=True):
            segments += [made.segments[row] for row in own]
        latents, keys = reading.encode(self.model, segments)
        sizes = [len(own) for own in self.own]
        return list(zip(keys.split(sizes), latents.split(sizes), strict=True))

    def take(self, trial: int, rows: Sequence[int]) -> Tensor:
        """Latents of a trial by row: rows of the haystack first, then those of its facts, needed
        ones first."""
        base = self.bases[trial]
        _, own = self.facts[trial]
        latents = []
        for row in rows:
            if row < len(base):
                latents.append(KeyValue().take(base, torch.tensor(row)))
            else:
                latents.append(own[row - len(base)])
        return torch.stack(latents)

    def needed(self, trial: int) -> list[int]:
        """The rows that hold the answer."""
        first = len(self.bases[trial])
        count = sum(map(len, self.trials[trial].rows))
        return list(range(first, first + count))

    def _look_up(
        self,
        trial: int,
        cues: Cues,
        top_k: int,
    ) -> list[list[int]]:
        base = self.bases[trial]
        keys, _ = self.facts[trial]
        memory = KeyValue(min(top_k, len(base)))
        state = memory.keys_only(base, keys)
        queries = reading.query_keys(self.model, cues)
        _, found = memory.address(state, queries)
        rows: list[list[int]] = found.tolist()
        return rows

    @property
    def _values_a_cue(self) -> int:
        return self.task.count if self.task.kind == "multi-value" else 1

    def nearest(self) -> list[Outcome]:
        """The nearest rows of each cue (the question, where there is no cue), as many as there are
        values to it."""
        count = self._values_a_cue
        rows = []
        for trial, made in enumerate(self.trials):
            by_cue = self._look_up(trial, made.cues, count)
            rows.append([row for found in by_cue for row in found])
        return self.outcomes(rows)

    @cached_property
    def _recognised(self) -> list[tuple[list[int], float]]:
        return [self._recognise(i, made.cues) for i, made in enumerate(self.trials)]

    def _recognise(self, trial: int, cues: Cues) -> tuple[list[int], float]:
        """Of the nearest rows of each cue (`reading.CANDIDATES`) those that fit it best, and how
        well the worst does."""
        found = self._look_up(trial, cues, reading.CANDIDATES)
        latents = torch.stack([self.take(trial, rows) for rows in found])
        fits = reading.recognise(self.model, latents, cues)
        fits, order = fits.sort(dim=1, descending=True, stable=True)
        count = self._values_a_cue
        rows = []
        for some, best in zip(found, order[:, :count].tolist(), strict=True):
            rows += [some[place] for place in best]
        return rows, float(fits[:, :count].min())

    def memory(self) -> list[Outcome]:
        """The nearest rows, looked at again: the decoder keeps those that begin with the cue.
        ValueError for a task in which nothing begins with it."""
        if self.task.kind not in STEMS:
            raise ValueError(
                f"expected a task with stems, one of {', '.join(STEMS)}, got {self.task.kind!r}"
            )
        rows = [found for found, _ in self._recognised]
        fits = [fit for _, fit in self._recognised]
        return self.outcomes(rows, fits)

    def hops(self) -> list[Outcome]:
        """As `memory`, but a variable that the answer names is looked up in its turn, `count` + 1
        times at most."""
        return [self._hop(trial) for trial in range(len(self.trials))]

    def _hop(self, trial: int) -> Outcome:
        encode = tokenization.encoder(weights.tokenizer())
        first = self.trials[trial].puzzle.cues[0]
        cue = list(self.trials[trial].cues[0])
        path: list[int] = []
        said = ""
        for _ in range(self.task.count + 1):
            rows, _ = self._recognise(trial, [cue])
            path += rows
            said = self._write(self.take(trial, rows))[0]
            named = _VARIABLE.search(said)
            if not named:
                break
            stem = re.sub(r"(\w+)(?= is set to$| hold$)", named[1], first)
            cue = encode([" " + stem])[0]
        return self._outcome(trial, path, said, None)

    def oracle(self) -> list[Outcome]:
        """The needed rows by decree: what is lost here is lost by encoder and decoder."""
        rows = [self.needed(trial) for trial in range(len(self.trials))]
        return self.outcomes(rows)

    def found_by(
        self, index: Callable[[list[str]], retrieval.Index], trials: int | None = None
    ) -> list[Outcome]:
        """An index over the texts of the rows picks, by the question in words, as many rows as are
        needed."""
        decode = weights.tokenizer().batch_decode
        rows = []
        for trial, made in enumerate(self.trials[:trials]):
            own = set(self.own[trial])
            haystack = [row for row in range(len(made.segments)) if row not in own]
            segments = [list(made.segments[row]) for row in (*haystack, *self.own[trial])]
            count = max(len(self.needed(trial)), 1)
            texts = index(decode(segments))
            found = texts.search([made.puzzle.question], count)
            rows.append(found.rows[0].tolist())
        return self.outcomes(rows)

    def _write(self, latents: Tensor) -> list[str]:
        no_cues = [()] * len(latents)
        return reading.write_out(self.model, latents, no_cues, weights.tokenizer())

    def outcomes(
        self, rows: Sequence[Sequence[int]], fits: Sequence[float] | None = None
    ) -> list[Outcome]:
        """The decoder writes all rows of all trials out; the values are looked for in what it
        wrote."""
        flat = [self.take(trial, some) for trial, some in enumerate(rows) if some]
        texts = iter(self._write(torch.cat(flat)) if flat else [])
        outcomes = []
        for trial, some in enumerate(rows):
            said = " ".join(next(texts).strip() for _ in some)
            fit = fits[trial] if fits else None
            outcomes.append(self._outcome(trial, some, said, fit))
        return outcomes

    def _outcome(
        self,
        trial: int,
        rows: Sequence[int],
        said: str,
        fit: float | None,
    ) -> Outcome:
        needed = self.needed(trial)
        hits = sum(row in rows for row in needed)
        address = hits / len(needed) if needed else 0.0
        recall = evaluation.value_recall(said, self.trials[trial].puzzle.answers)
        return Outcome(recall, address, fit, said)


def _rows_of_facts(made: ruler.Trial) -> list[int]:
    """The rows of the needed facts, then those of the others."""
    return [row for rows in (*made.rows, *made.others) for row in rows]
