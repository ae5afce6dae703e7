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

STEMS = (
    "single",
    "multi-key",
    "multi-value",
    "multi-query",
    "chain",
)  # kinds whose cue is how the fact begins
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
        shared: dict[Any, Any] | None = None,
    ) -> None:
        self.model, self.task, self.length, self.source = model, task, length, source
        encode, limit = tokenization.encoder(weights.tokenizer()), model.config.segment_tokens
        known: dict[Any, tuple[ruler.Haystack, KeyValueState]] = (
            shared if shared is not None else {}
        )
        # Haystacks of facts depend on the kind of value; the others are the same for all tasks.
        place = (source, length, task.values if source == "needles" else "", seed)
        if place not in known:
            hay = ruler.haystack(
                task,
                length,
                encode,
                limit=limit,
                source=source,
                split=split,
                seed=runtime.derive_seed(seed, "hay", length),
            )
            known[place] = hay, reading.memorise(model, hay.segments)
        hay, state = known[place]
        self.trials = [
            ruler.trial(
                task,
                length,
                ruler.DEPTHS[trial % 11],
                runtime.derive_seed(seed, length, trial),
                encode,
                limit=limit,
                source=source,
                split=split,
                hay=hay,
            )
            for trial in range(trials)
        ]
        self.own = [
            [row for rows in (*made.rows, *made.others) for row in rows] for made in self.trials
        ]
        facts = [
            [made.segments[row] for row in own]
            for made, own in zip(self.trials, self.own, strict=True)
        ]
        latents, keys = reading.encode(model, [segment for fact in facts for segment in fact])
        sizes = [len(fact) for fact in facts]
        bases = [
            KeyValue().first(state, len(made.segments) - size)
            for made, size in zip(self.trials, sizes, strict=True)
        ]
        self.bases: list[KeyValueState] = bases
        self.facts = list(zip(keys.split(sizes), latents.split(sizes), strict=True))

    def take(self, trial: int, rows: Sequence[int]) -> Tensor:
        """Latents of a trial by row: rows of the haystack first, then those of its facts, needed
        ones first."""
        base, own = self.bases[trial], self.facts[trial][1]
        return torch.stack(
            [
                (
                    KeyValue().take(base, torch.tensor(row))
                    if row < len(base)
                    else own[row - len(base)]
                )
                for row in rows
            ]
        )

    def needed(self, trial: int) -> list[int]:
        """The rows that hold the answer."""
        return [len(self.bases[trial]) + i for i in range(sum(map(len, self.trials[trial].rows)))]

    def _look_up(self, trial: int, cues: Sequence[Sequence[int]], top_k: int) -> list[list[int]]:
        base, memory = self.bases[trial], KeyValue(min(top_k, len(self.bases[trial])))
        state = memory.keys_only(base, self.facts[trial][0])
        rows: list[list[int]] = memory.address(state, reading.query_keys(self.model, cues))[
            1
        ].tolist()
        return rows

    @property
    def _values_a_cue(self) -> int:
        return self.task.count if self.task.kind == "multi-value" else 1

    def nearest(self) -> list[Outcome]:
        """The nearest rows of each cue (the question, where there is no cue), as many as there are
        values to it."""
        rows = [
            sum(self._look_up(i, made.cues, self._values_a_cue), [])
            for i, made in enumerate(self.trials)
        ]
        return self.outcomes(rows)

    @cached_property
    def _recognised(self) -> list[tuple[list[int], float]]:
        return [self._recognise(i, made.cues) for i, made in enumerate(self.trials)]

    def _recognise(self, trial: int, cues: Sequence[Sequence[int]]) -> tuple[list[int], float]:
        """Of the nearest rows of each cue (`reader.CANDIDATES`) those that fit it best, and how
        well the worst does."""
        found = self._look_up(trial, cues, reading.CANDIDATES)
        latents = torch.stack([self.take(trial, rows) for rows in found])
        fits, order = reading.recognise(self.model, latents, cues).sort(
            dim=1, descending=True, stable=True
        )
        count = self._values_a_cue
        return (
            [found[cue][int(i)] for cue in range(len(cues)) for i in order[cue, :count]],
            float(fits[:, :count].min()),
        )

    def memory(self) -> list[Outcome]:
        """The nearest rows, looked at again: the decoder keeps those that begin with the cue.
        ValueError for a task in which nothing begins with it."""
        if self.task.kind not in STEMS:
            raise ValueError(
                f"expected a task with stems, one of {', '.join(STEMS)}, got {self.task.kind!r}"
            )
        return self.outcomes(
            [rows for rows, _ in self._recognised], [fit for _, fit in self._recognised]
        )

    def hops(self) -> list[Outcome]:
        """As `memory`, but a variable that the answer names is looked up in its turn, `count` + 1
        times at most."""
        encode, out = tokenization.encoder(weights.tokenizer()), []
        for trial, made in enumerate(self.trials):
            cue, path, said = list(made.cues[0]), [], ""
            for _ in range(self.task.count + 1):
                rows, _ = self._recognise(trial, [cue])
                path += rows
                said = self._write(self.take(trial, rows))[0]
                named = _VARIABLE.search(said)
                if not named:
                    break
                stem = re.sub(r"(\w+)(?= is set to$| hold$)", named[1], made.puzzle.cues[0])
                cue = encode([" " + stem])[0]
            out.append(self._outcome(trial, path, said, None))
        return out

    def oracle(self) -> list[Outcome]:
        """The needed rows by decree: what is lost here is lost by encoder and decoder."""
        return self.outcomes([self.needed(trial) for trial in range(len(self.trials))])

    def found_by(
        self, index: Callable[[list[str]], retrieval.Index], trials: int | None = None
    ) -> list[Outcome]:
        """An index over the texts of the rows picks, by the question in words, as many rows as are
        needed."""
        rows, decode = [], weights.tokenizer().batch_decode
        for trial, made in enumerate(self.trials[:trials]):
            own = set(self.own[trial])
            segments = [list(s) for row, s in enumerate(made.segments) if row not in own]
            segments += [list(made.segments[row]) for row in self.own[trial]]
            count = max(len(self.needed(trial)), 1)
            rows.append(
                index(decode(segments)).search([made.puzzle.question], count).rows[0].tolist()
            )
        return self.outcomes(rows)

    def _write(self, latents: Tensor) -> list[str]:
        return reading.write_out(self.model, latents, [()] * len(latents), weights.tokenizer())

    def outcomes(
        self, rows: Sequence[Sequence[int]], fits: Sequence[float] | None = None
    ) -> list[Outcome]:
        """The decoder writes all rows of all trials out; the values are looked for in what it
        wrote."""
        flat = [self.take(trial, some) for trial, some in enumerate(rows) if some]
        texts = iter(self._write(torch.cat(flat)) if flat else [])
        said = [" ".join(next(texts).strip() for _ in some) for some in rows]
        return [
            self._outcome(trial, rows[trial], said[trial], fits[trial] if fits else None)
            for trial in range(len(rows))
        ]

    def _outcome(self, trial: int, rows: Sequence[int], said: str, fit: float | None) -> Outcome:
        needed, answers = self.needed(trial), self.trials[trial].puzzle.answers
        hit = sum(row in rows for row in needed) / len(needed) if needed else 0.0
        return Outcome(evaluation.value_recall(said, answers), hit, fit, said)
