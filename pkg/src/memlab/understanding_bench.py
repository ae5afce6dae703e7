"""Section 10b's measurements: facts of relations hidden in real documentation, asked for by stem and by question; and
what tells a question that can be answered from one that cannot.

    exam = Exam(model, "held out", seed=0, tokens=65536)
    exam.addressed(memory_or_index), exam.answered(...)      # a truth value for every question

The row of a fact is one sentence, so an answer is right if the right row was found and the decoder's text of it holds the
value. What the decoder writes depends on the row alone, whichever key has found it: every fact is written out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from memlab import evaluation, reader, runtime
from memlab.corpora import relations, text
from memlab.corpora.relations import Query, QuestionSet
from memlab.decoder import MemoryDecoder
from memlab.memories import KeyValue, KeyValueState, PseudoInverse
from memlab.retrieval import BM25, Blend, Dense, Encoder, Index
from memlab.text_memory import OwnKeys, TextMemory, pack, token_ids

ASKS = ("stem", "question")


def documentation(tokens: int, longest: int, seed: int) -> list[str]:
    """Sentences of real documentation in their order, from a place that depends on the seed, `tokens` tokens or a little
    less; sentences longer than a segment are left out."""
    lines = text.documentation("test")
    start, found, used = runtime.python_random(seed, "documentation").randrange(len(lines)), [], 0
    for place in range(start, start + len(lines)):
        line = lines[place % len(lines)]
        size = len(token_ids([line])[0])
        if used + size > tokens:
            break
        if size <= longest:
            found.append(line)
            used += size
    return found


class Exam:
    """One part of the relations among documentation, `tokens` tokens in all, and who finds which fact in it."""

    def __init__(self, model: MemoryDecoder, part: str, seed: int, *, tokens: int, entities: tuple[int, int] = (3, 6),
                 ) -> None:
        self.model = model
        self.asked: QuestionSet = relations.question_set(part, seed, entities=entities)
        own = sum(map(len, token_ids([fact.sentence for fact in self.asked.facts])))
        lines = documentation(tokens - own, model.config.segment_tokens, seed)
        self.sentences, self.places = self.asked.scattered(lines, seed)

    def prompts(self, ask: str) -> list[str]:
        """What is asked for each query: its question, or the stem of its fact (nothing where the value is not the end).
        """
        return [getattr(query, ask) for query in self.asked.queries]

    @property
    def plain(self) -> list[bool]:
        """Whether the fact of each query is told in the plain wording."""
        return [self.asked.facts[query.row].plain for query in self.asked.queries]

    def index(self, encoder: Encoder | None) -> Index:
        """The nearest key of an encoder, or BM25 for None; a row is a sentence."""
        return BM25(self.sentences) if encoder is None else Dense(encoder, self.sentences)

    def blend(self, encoder: Encoder) -> Index:
        """The nearest key and BM25 added up; the weight, 0.5, was fixed before anything was measured."""
        return Blend(self.index(encoder), self.index(None), len(self.sentences))

    def addressed(self, index: Index, ask: str) -> list[bool]:
        """For each query whether the row found is that of its fact; False where there is nothing to ask."""
        prompts = self.prompts(ask)
        found = iter(index.search([one for one in prompts if one]).rows[:, 0].tolist())
        return [bool(prompt) and next(found) == self.places[query.row]
                for prompt, query in zip(prompts, self.asked.queries, strict=True)]

    @cached_property
    def written(self) -> list[bool]:
        """For each query whether the decoder, reading the row of its fact, writes the value."""
        memory = TextMemory(self.model, OwnKeys(self.model))
        state = memory.write(memory.empty(), [self.sentences[self.places[q.row]] for q in self.asked.queries])
        said = memory.say(state, torch.arange(len(state)))
        return [evaluation.contains_value(one, q.answer) for one, q in zip(said, self.asked.queries, strict=True)]

    def packed(self, encoder: Encoder) -> dict[str, tuple[list[bool], list[bool]]]:
        """Several sentences to a segment: for each query whether the segment found holds its fact, and whether the
        decoder's text of it holds the value; with a key for every sentence, and with one for the segment."""
        owner = pack(self.sentences, self.model.config.segment_tokens)
        segments: list[list[str]] = [[] for _ in range(owner[-1] + 1)]
        for number, sentence in zip(owner, self.sentences, strict=True):
            segments[number].append(sentence)
        memory, found = TextMemory(self.model, encoder), {}
        whole = [" ".join(some) for some in segments]
        for name, state in (("a key a sentence", memory.write(memory.empty(), self.sentences, owner)),
                            ("a key a segment", memory.write(memory.empty(), whole))):
            rows = memory.address(state, self.prompts("question"))[1][:, 0]
            right = [int(state.slot[row]) == owner[self.places[query.row]]
                     for row, query in zip(rows, self.asked.queries, strict=True)]
            said = memory.say(state, rows)
            found[name] = right, [ok and evaluation.contains_value(one, query.answer) for ok, one, query in
                                  zip(right, said, self.asked.queries, strict=True)]
        return found


# ---- was it ever told? -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """Scores of prompts by kind: "told"; "untold", about an entity of which the memory knows other things; "stranger",
    about one that it never heard of. Higher means rather told."""

    nearest: dict[str, Tensor]
    novelty: dict[str, Tensor]
    recognition: dict[str, Tensor]


def _halves(asked: QuestionSet, seed: int) -> tuple[list[str], list[Query], list[Query]]:
    """The facts without those of a random half of the queries, and both halves of the queries."""
    order = runtime.python_random(seed, "told").sample(range(len(asked.queries)), len(asked.queries))
    told = sorted(order[: len(order) // 2])
    gone = {query.row for number, query in enumerate(asked.queries) if number not in told}
    kept = [fact.sentence for row, fact in enumerate(asked.facts) if row not in gone]
    return kept, [asked.queries[i] for i in told], [q for q in asked.queries if q.row in gone]


def scope(model: MemoryDecoder, encoder: Encoder, part: str, seed: int, ask: str, *, tokens: int,
          entities: tuple[int, int] = (3, 6)) -> Scope:
    """A memory of a part's facts without half of those that are asked for, among documentation, and what its scores say.

    `tokens` = 0: no documentation.
    """
    asked = relations.question_set(part, seed, entities=entities)
    kept, told, untold = _halves(asked, seed)
    names = {fact.entity for fact in asked.facts}
    others = relations.question_set(part, seed + 1000, entities=entities)
    strange = [query for query in others.queries if others.facts[query.row].entity not in names]
    lines = documentation(tokens, model.config.segment_tokens, seed) if tokens else []
    memory = TextMemory(model, encoder)
    state = memory.write(memory.empty(), [*kept, *lines])
    found: dict[str, dict[str, Tensor]] = {"nearest": {}, "novelty": {}, "recognition": {}}
    for name, queries in (("told", told), ("untold", untold), ("stranger", strange)):
        prompts = [prompt for query in queries if (prompt := getattr(query, ask))]
        for score, values in scores(memory, state, prompts).items():
            found[score][name] = values
    return Scope(**found)


def scores(memory: TextMemory, state: KeyValueState, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Three scores of each prompt, high for what was told: cosine of the nearest key; minus the residual of the
    projection on all keys (0 for everything once they span the space); how well the decoder recognises the prompt as the
    beginning of the row found, in nats a token."""
    queries = memory.encoder.encode(prompts, question=True)
    nearest, rows = memory.rule.address(state, queries)
    linear = PseudoInverse()
    spanned = linear.write(linear.empty(state.keys.shape[1], 1), state.keys, torch.zeros(len(state), 1))
    residual = (linear.novelty(spanned, queries) * 1e6).round() / 1e6  # what is left of a full space is rounding
    known = reader.recognise(memory.model, memory.rule.take(state, rows[:, 0]), token_ids(prompts))
    return {"nearest": nearest[:, 0].double(), "novelty": -residual.double(), "recognition": known.double()}


def detector(told: Tensor, other: Tensor, recall: float = 0.9) -> dict[str, float]:
    """What a threshold on a score can do: the area under its curve; the share of others that pass where `recall` of the
    told do; where both errors are equal, that error; the best F1 of any threshold."""
    cuts = torch.cat([told, other]).unique()
    hit = (told[None] >= cuts[:, None]).double().mean(1)
    alarm = (other[None] >= cuts[:, None]).double().mean(1)
    f1 = 2 * hit * len(told) / (hit * len(told) + alarm * len(other) + len(told))
    passed = alarm[hit >= recall].min()
    equal = int((1 - hit - alarm).abs().argmin())
    return {"auc": evaluation.auc(told, other), "false answers": float(passed), "f1": float(f1.max()),
            "equal error": float((1 - hit[equal] + alarm[equal]) / 2)}
