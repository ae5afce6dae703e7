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
from memlab.memories import KeyValueState
from memlab.results import Record, wilson
from memlab.retrieval import BM25, Dense, Encoder, Found, Index, best_owners, best_rows

NAME = "understanding"
KINDS = ("plain", "roundabout")
TUNED = "encoder, tuned"
FEWER = "encoder, tuned on 54"


@lru_cache(maxsize=1)
def semantic(name: str) -> tuple[retrieval.SentenceEncoder, Once]:
    """The sentence encoder of that name, and the same with a memory: all seeds share the
    documentation."""
    encoder = retrieval.open_encoder(name)
    return encoder, Once(encoder)


def encoders(
    model: MemoryDecoder,
    seed: int,
    adapt: int,
    tune: tuple[int, int],
) -> dict[str, Encoder]:
    """The key back-ends by name; with `adapt` steps the optional sentence encoder too, two adapters
    (one the control), and the encoder tuned on all relations that may be trained on and on those of
    the table alone (`tune` steps)."""
    found: dict[str, Encoder] = {"scratch": Once(OwnKeys(model))}
    if adapt:
        encoder, plain = semantic(retrieval.installed_encoder())
        found["encoder"] = plain
        many_steps, few_steps = tune
        many = tuning.tune(encoder, relations.TAUGHT, seed, steps=many_steps)
        few = tuning.tune(encoder, relations.TRAINED, seed, steps=few_steps)
        found[TUNED] = Once(many)
        found[FEWER] = Once(few)
        found["encoder + adapter"] = adapters.train(plain, seed, steps=adapt)
        found["encoder + wrong pairs"] = adapters.train(plain, seed, steps=adapt, shuffled=True)
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
        a = self.first.search(questions, self.rows)
        b = self.second.search(questions, self.rows)
        best = b.scores.amax(1, keepdim=True).clamp(min=1e-9)
        words = self.weight * b.scores / best
        total = torch.zeros_like(words).scatter(1, a.rows, a.scores)
        total = total.scatter_add(1, b.rows, words)
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
        facts = token_ids([fact.sentence for fact in self.asked.facts])
        lines = documentation(model, tokens - sum(map(len, facts)))
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
        own = [self.sentences[self.places[query.row]] for query in self.asked.queries]
        state = memory.write(memory.empty(), own)
        said = memory.say(state, torch.arange(len(state)))
        answers = [query.answer for query in self.asked.queries]
        return list(map(evaluation.contains_value, said, answers))

    def packed(self, encoder: Encoder) -> dict[str, tuple[list[bool], list[bool]]]:
        """Several sentences to a segment: for each query whether the segment found holds its fact,
        and whether the decoder's text of it holds the value; with a key for every sentence, and
        with one for the segment."""
        owner = pack(self.sentences, self.model.config.segment_tokens)
        segments: list[list[str]] = [[] for _ in range(owner[-1] + 1)]
        for number, sentence in zip(owner, self.sentences, strict=True):
            segments[number].append(sentence)
        whole = [" ".join(some) for some in segments]
        memory = TextMemory(self.model, encoder)
        by_sentence = memory.write(memory.empty(), self.sentences, owner)
        by_segment = memory.write(memory.empty(), whole)
        return {
            "a key a sentence": self._found_packed(memory, by_sentence, owner),
            "a key a segment": self._found_packed(memory, by_segment, owner),
        }

    def _found_packed(
        self,
        memory: TextMemory,
        state: KeyValueState,
        owner: Sequence[int],
    ) -> tuple[list[bool], list[bool]]:
        """For each question whether its segment is found, and then whether its value is said;
        `owner` is the segment of each sentence."""
        _, found = memory.address(state, self.prompts("question"))
        rows = found[:, 0]
        segments = state.slot[rows].tolist()
        texts = memory.say(state, rows)
        right = []
        answered = []
        for segment, said, query in zip(segments, texts, self.asked.queries, strict=True):
            hit = segment == owner[self.places[query.row]]
            right.append(hit)
            answered.append(hit and evaluation.contains_value(said, query.answer))
        return right, answered


# ---- records -------------------------------------------------------------------------------------


def share(
    model: str, task: str, metric: str, hits: Sequence[bool], seed: int, **meta: str
) -> Record:
    """A record of how many of some truth values are true, and of how many there are (`n`)."""
    value = sum(hits) / len(hits)
    coordinates = {**meta, "n": len(hits)}
    return Record(NAME, model, task, metric, value, seed, meta=coordinates)


def ask(
    exam: Exam,
    part: str,
    name: str,
    index: Index,
    seed: int,
) -> Iterator[Record]:
    """What an index finds by stems and by questions, and what the decoder then answers, by wording
    of the fact. By question also for each family alone."""
    for form in ASKS:
        rows = _asked(exam, index, form)
        for kind in KINDS:
            own = rows[rows["kind"] == kind]
            for metric in ("addressed", "answered") if len(own) else ():
                hits = own[metric].tolist()
                yield share(name, "asked", metric, hits, seed, part=part, ask=form, kind=kind)
        for family, own in rows.groupby("family") if form == "question" else ():
            hits = own["addressed"].tolist()
            said = relations.FAMILIES[family].statements[0].format(A="…", B="…")
            yield share(name, "family", "addressed", hits, seed, part=part, ask=form, family=said)


def _asked(
    exam: Exam,
    index: Index,
    form: str,
) -> pd.DataFrame:
    """A row a query that can be put in this form: kind, family, addressed, answered."""
    prompts = exam.prompts(form)
    rows = pd.DataFrame(
        {
            "kind": [KINDS[not plain] for plain in exam.plain],
            "family": [query.family for query in exam.asked.queries],
            "addressed": exam.addressed(index, form),
            "written": exam.written,
        }
    )
    rows["answered"] = rows["addressed"] & rows["written"]
    return rows[[bool(prompt) for prompt in prompts]]


def pack_and_ask(
    exam: Exam,
    part: str,
    name: str,
    encoder: Encoder,
    seed: int,
) -> Iterator[Record]:
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
    rows = rows.assign(hits=rows["value"] * rows["n"])
    groups = rows.groupby(list(by), sort=False)
    sums = groups[["hits", "n"]].sum().reset_index()
    counts = zip(sums["hits"], sums["n"], strict=True)
    bounds = [wilson(round(hits), int(n)) for hits, n in counts]
    return sums.assign(
        mean=sums["hits"] / sums["n"],
        low=[low for low, _ in bounds],
        high=[high for _, high in bounds],
    ).drop(columns="hits")


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
