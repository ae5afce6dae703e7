"""Section 10b's measurements: facts of relations hidden in real documentation, asked for by stem
and by question.

    exam = Exam(model, "held out", seed=0, tokens=65536)
    exam.addressed(exam.index(encoder), "question"), exam.written  # truth values, one a question

The row of a fact is one sentence, so an answer is right if the right row was found and the
decoder's text of it holds the value. What the decoder writes depends on the row alone, whichever
key has found it: every fact is written out once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pandas as pd
import torch

from memlab import evaluation, retrieval
from memlab.book.outside_the_weights.understanding import adapters, tuning
from memlab.book.outside_the_weights.understanding.told_or_not import ASKS
from memlab.corpora import relations
from memlab.corpora.relations import QuestionSet
from memlab.decoder import MemoryDecoder, Once, OwnKeys, TextMemory, documentation, pack, token_ids
from memlab.results import Record, wilson
from memlab.retrieval import BM25, Dense, Encoder, Found, Index, best_owners, best_rows

NAME, KINDS = "understanding", ("plain", "roundabout")
TUNED, FEWER = "encoder, tuned", "encoder, tuned on 54"


@lru_cache(maxsize=1)
def semantic(name: str) -> tuple[retrieval.SentenceEncoder, Once]:
    """The sentence encoder of that name, and the same with a memory: all seeds share the
    documentation."""
    encoder = retrieval.open_encoder(name)
    return encoder, Once(encoder)


def encoders(
    model: MemoryDecoder, seed: int, adapt: int, tune: tuple[int, int]
) -> dict[str, Encoder]:
    """The key back-ends by name; with `adapt` steps the optional sentence encoder too, two adapters
    (one the control), and the encoder tuned on all relations that may be trained on and on those of
    the table alone (`tune` steps)."""
    found: dict[str, Encoder] = {"scratch": Once(OwnKeys(model))}
    if adapt:
        encoder, plain = semantic(retrieval.installed_encoder())
        found["encoder"] = plain
        for name, families, steps in zip(
            (TUNED, FEWER), (relations.TAUGHT, relations.TRAINED), tune, strict=True
        ):
            found[name] = Once(tuning.tune(encoder, families, seed, steps=steps))
        for name, wrong in (("encoder + adapter", False), ("encoder + wrong pairs", True)):
            found[name] = adapters.train(plain, seed, steps=adapt, shuffled=wrong)
    return found


@dataclass(frozen=True)
class Blend:
    """Meaning and words: the score of one index plus `weight` times that of another, whose best
    counts as 1."""

    first: Index
    second: Index
    rows: int
    weight: float = 0.5

    def search(self, questions: Sequence[str], k: int = 1) -> Found:
        """See `Index`; `rows` is the number of rows that both have."""
        a, b = (index.search(questions, self.rows) for index in (self.first, self.second))
        words = self.weight * b.scores / b.scores.amax(1, keepdim=True).clamp(min=1e-9)
        total = torch.zeros_like(words).scatter(1, a.rows, a.scores).scatter_add(1, b.rows, words)
        return best_owners([total], torch.arange(self.rows), k)


class Exam:
    """One part of the relations among documentation, `tokens` tokens in all, and who finds which
    fact in it. The seed changes facts and their places, not the documentation."""

    def __init__(
        self,
        model: MemoryDecoder,
        part: str,
        seed: int,
        *,
        tokens: int,
        entities: tuple[int, int] = (3, 6),
    ) -> None:
        self.model = model
        self.asked: QuestionSet = relations.question_set(part, seed, entities=entities)
        own = sum(map(len, token_ids([fact.sentence for fact in self.asked.facts])))
        lines = documentation(model, tokens - own)
        self.sentences, self.places = self.asked.scattered(lines, seed)

    def prompts(self, ask: str) -> list[str]:
        """What is asked for each query: its question, or the stem of its fact (nothing where the
        value is not the end)."""
        return [getattr(query, ask) for query in self.asked.queries]

    @property
    def plain(self) -> list[bool]:
        """Whether the fact of each query is told in the plain wording."""
        return [self.asked.facts[query.row].plain for query in self.asked.queries]

    def index(self, encoder: Encoder | None) -> Index:
        """The nearest key of an encoder, or BM25 for None; a row is a sentence."""
        return BM25(self.sentences) if encoder is None else Dense(encoder, self.sentences)

    def blend(self, encoder: Encoder) -> Index:
        """The nearest key and BM25 added up; the weight, 0.5, was fixed before anything was
        measured."""
        return Blend(self.index(encoder), self.index(None), len(self.sentences))

    def addressed(self, index: Index, ask: str) -> list[bool]:
        """For each query whether the row found is that of its fact; False where there is nothing to
        ask."""
        prompts = self.prompts(ask)
        found = iter(best_rows(index, [one for one in prompts if one]))
        return [
            bool(prompt) and next(found) == self.places[query.row]
            for prompt, query in zip(prompts, self.asked.queries, strict=True)
        ]

    @cached_property
    def written(self) -> list[bool]:
        """For each query whether the decoder, reading the row of its fact, writes the value."""
        memory = TextMemory(self.model, OwnKeys(self.model))
        state = memory.write(
            memory.empty(), [self.sentences[self.places[q.row]] for q in self.asked.queries]
        )
        said = memory.say(state, torch.arange(len(state)))
        return [
            evaluation.contains_value(one, q.answer)
            for one, q in zip(said, self.asked.queries, strict=True)
        ]

    def packed(self, encoder: Encoder) -> dict[str, tuple[list[bool], list[bool]]]:
        """Several sentences to a segment: for each query whether the segment found holds its fact,
        and whether the decoder's text of it holds the value; with a key for every sentence, and
        with one for the segment."""
        owner = pack(self.sentences, self.model.config.segment_tokens)
        segments: list[list[str]] = [[] for _ in range(owner[-1] + 1)]
        for number, sentence in zip(owner, self.sentences, strict=True):
            segments[number].append(sentence)
        memory, found = TextMemory(self.model, encoder), {}
        whole = [" ".join(some) for some in segments]
        for name, state in (
            ("a key a sentence", memory.write(memory.empty(), self.sentences, owner)),
            ("a key a segment", memory.write(memory.empty(), whole)),
        ):
            rows = memory.address(state, self.prompts("question"))[1][:, 0]
            right = [
                int(state.slot[row]) == owner[self.places[query.row]]
                for row, query in zip(rows, self.asked.queries, strict=True)
            ]
            said = memory.say(state, rows)
            found[name] = (
                right,
                [
                    ok and evaluation.contains_value(one, query.answer)
                    for ok, one, query in zip(right, said, self.asked.queries, strict=True)
                ],
            )
        return found


# ---- records -------------------------------------------------------------------------------------


def share(
    model: str, task: str, metric: str, hits: Sequence[bool], seed: int, **meta: str
) -> Record:
    """A record of how many of some truth values are true, and of how many there are (`n`)."""
    return Record(
        NAME, model, task, metric, sum(hits) / len(hits), seed, meta={**meta, "n": len(hits)}
    )


def ask(exam: Exam, part: str, name: str, index: Index, seed: int) -> Iterator[Record]:
    """What an index finds by stems and by questions, and what the decoder then answers, by wording
    of the fact. By question also for each family alone."""
    for kind_of_prompt in ASKS:
        found = exam.addressed(index, kind_of_prompt)
        rows = [
            (KINDS[not plain], query.family, right, right and written)
            for prompt, plain, query, right, written in zip(
                exam.prompts(kind_of_prompt),
                exam.plain,
                exam.asked.queries,
                found,
                exam.written,
                strict=True,
            )
            if prompt
        ]
        meta = {"part": part, "ask": kind_of_prompt}
        for kind in KINDS:
            own = [row for row in rows if row[0] == kind]
            for place, metric in ((2, "addressed"), (3, "answered")) if own else ():
                yield share(
                    name,
                    "asked",
                    metric,
                    [bool(row[place]) for row in own],
                    seed,
                    **meta,
                    kind=kind,
                )
        for family in sorted({row[1] for row in rows}) if kind_of_prompt == "question" else ():
            hits = [row[2] for row in rows if row[1] == family]
            said = relations.FAMILIES[family].statements[0].format(A="…", B="…")
            yield share(name, "family", "addressed", hits, seed, **meta, family=said)


def pack_and_ask(exam: Exam, part: str, name: str, encoder: Encoder, seed: int) -> Iterator[Record]:
    """The same by question with several sentences to a segment."""
    for task, (right, said) in exam.packed(encoder).items():
        for metric, hits in (("addressed", right), ("answered", said)):
            yield share(name, task, metric, hits, seed, part=part, ask="question")


def pooled(data: pd.DataFrame, by: Sequence[str], task: str = "asked", **at: str) -> pd.DataFrame:
    """Shares over all seeds with 95 % Wilson intervals, where the coordinates are `at`: `by`, mean,
    low, high, n."""
    rows = data[data["task"] == task]
    for name, value in at.items():
        rows = rows[rows[name] == value]
    sums = (
        rows.assign(hits=rows["value"] * rows["n"])
        .groupby(list(by), sort=False)[["hits", "n"]]
        .sum()
        .reset_index()
    )
    bounds = [wilson(round(hits), int(n)) for hits, n in zip(sums["hits"], sums["n"], strict=True)]
    low, high = zip(*bounds, strict=True) if bounds else ((), ())
    return sums.assign(mean=sums["hits"] / sums["n"], low=low, high=high).drop(columns="hits")


def shares(
    data: pd.DataFrame,
    part: str = "held out",
    metric: str = "addressed",
    ask: str = "question",
    **at: str,
) -> pd.DataFrame:
    """For each kind of key the share of questions whose fact is found, its 95 % Wilson interval,
    and their number."""
    return pooled(data, ["model"], part=part, metric=metric, ask=ask, **at).set_index("model")


def span(share: pd.Series) -> str:
    """A row of `pooled` as text: the share and its interval."""
    return f"{share['mean']:.2f} [{share['low']:.2f}, {share['high']:.2f}]"
