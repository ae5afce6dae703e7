"""A language model that others have pretrained, behind the memory: rows are found in a long text,
the model reads them and answers a question in words.

    tools = Tools("held out", seed=0, entities=(6, 6))
    store = Store(tools, tokens=65536)
    store.read("bm25", Arm("question", rows=4))        # one record a question

The facts are those of section 10b, about entities that are made up: what the model answers, it has
read. Every fact is asked for twice, in words that it shares nothing with but the name ("question")
and in its own words up to the value ("stem"). Beside its row lie rows about the same entity, rows
of the same relation about others, and real documentation. Each entity has four facts at most: who
goes by its name alone has the right row among four.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from memlab import evaluation, retrieval, runtime
from memlab.book.outside_the_weights.needles import any_language_model
from memlab.book.outside_the_weights.needles.any_language_model import TextReader
from memlab.book.outside_the_weights.understanding import measure, tuning
from memlab.book.outside_the_weights.understanding.measure import Exam
from memlab.corpora import relations, tokenization
from memlab.corpora.relations import Query
from memlab.decoder import MemoryDecoder, Once, OwnKeys, TextMemory, pretrained
from memlab.models import checkpoints
from memlab.results import Record
from memlab.retrieval import Encoder, Index

NAME = "needles-reader"
OWN, ENCODER, TUNED = "own keys", "encoder", "encoder, tuned"
KEYED = (OWN, ENCODER, TUNED)  # memories: latents under keys
ORACLE, RANDOM, NOTHING = "oracle", "random", "nothing"
MOST = 8  # rows that are handed over at most
NEW = 24  # tokens that a reply may have
LAST = 2  # words; no value of the relations has more


@dataclass(frozen=True)
class Arm:
    """How a question is put: in which form, with how many rows; their text as it was "stored" or as
    the decoder has "written" it out of their latents; the best row first, or `last`."""

    form: str
    rows: int
    text: str = "stored"
    last: bool = False


class Reader:
    """The language model, asked for short replies; what it was asked before it need not read
    again."""

    def __init__(self, model: TextReader) -> None:
        self.model = model
        self._known: dict[str, str] = {}

    def replies(self, requests: Sequence[str]) -> list[str]:
        """Greedy replies, in order. ValueError for a request that the model's window cannot
        hold."""
        new = [request for request in dict.fromkeys(requests) if request not in self._known]
        turns = [self.model.turn(request) for request in new]
        for request, said in zip(new, self.model.continued(turns, NEW), strict=True):
            if said is None:
                raise ValueError(
                    f"expected requests that fit into {self.model.window} tokens with the reply,"
                    f" got {request[:40]!r}, which does not"
                )
            self._known[request] = said
        return [self._known[request] for request in requests]

    def length(self, texts: Sequence[str]) -> int:
        """How many tokens of the model the texts have."""
        return sum(map(len, tokenization.encoder(self.model.tokenizer)(texts)))


class Tools:
    """The questions, and what stores of every length share: decoder, keys, reader, each read or
    taught when it is first asked for. `steps` are those of the encoder's tuning."""

    def __init__(
        self,
        part: str,
        seed: int,
        *,
        entities: tuple[int, int],
        steps: int = 240,
    ) -> None:
        self.part = part
        self.seed = seed
        self.entities = entities
        self.steps = steps

    @cached_property
    def queries(self) -> list[Query]:
        """The questions of `part` about facts whose value is their end: they can be asked for in
        both forms."""
        asked = relations.question_set(self.part, self.seed, entities=self.entities)
        return [query for query in asked.queries if query.stem]

    @cached_property
    def decoder(self) -> MemoryDecoder:
        """The weights that travel with the package."""
        return pretrained.shipped()

    @cached_property
    def reader(self) -> Reader:
        """The model of `checkpoints.installed_llm`."""
        model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
        return Reader(any_language_model.reader(model, tokenizer))

    @cached_property
    def _own(self) -> Encoder:
        return Once(OwnKeys(self.decoder))

    @cached_property
    def _tuned(self) -> Encoder:
        encoder, _ = measure.semantic(retrieval.installed_encoder())
        return Once(tuning.tune(encoder, relations.TAUGHT, self.seed, steps=self.steps))

    def keys(self, ranker: str) -> Encoder | None:
        """Whose keys find the rows; None for "bm25". ModuleNotFoundError where no sentence encoder
        is installed, ValueError for another name."""
        if ranker == OWN:
            return self._own
        if ranker == ENCODER:
            return measure.semantic(retrieval.installed_encoder())[1]
        if ranker == TUNED:
            return self._tuned
        if ranker != "bm25":
            raise ValueError(f"expected bm25 or one of {', '.join(KEYED)}, got {ranker!r}")
        return None


def in_words(query: Query, form: str) -> str:
    """What the reader is asked: the question, or the stem with the word that asks for its end.
    ValueError for another form."""
    if form == "question":
        return query.question
    if form != "stem":
        raise ValueError(f"expected question or stem as form, got {form!r}")
    value = relations.FAMILIES[query.family].value
    return f"{query.stem} {'who' if value == 'person' else 'what'}?"


# ---- rows ----------------------------------------------------------------------------------------


class Store:
    """The facts among documentation, `tokens` tokens of the book's in all, and who finds which rows
    in it; all that is found or written out is kept."""

    def __init__(self, tools: Tools, tokens: int) -> None:
        self.tools = tools
        self.tokens = tokens
        self._found: dict[tuple[str, str], list[list[int]]] = {}
        self._written: dict[int, str] = {}

    @cached_property
    def exam(self) -> Exam:
        """The text, a row a sentence, and the places of the facts."""
        at = self.tools
        return Exam(at.decoder, at.part, at.seed, tokens=self.tokens, entities=at.entities)

    @cached_property
    def _words(self) -> Index:
        return self.exam.index(None)

    @cached_property
    def _values(self) -> dict[int, str]:
        """The value that each row of a fact tells."""
        facts = zip(self.exam.places, self.exam.asked.facts, strict=True)
        return {place: fact.value for place, fact in facts}

    def own_row(self, query: Query) -> int:
        """The row of the fact that answers."""
        return self.exam.places[query.row]

    def found(self, ranker: str, form: str) -> list[list[int]]:
        """The rows that a ranker hands over for each question, best first, `MOST` of them.

        "oracle": the row of the fact, and behind it those that BM25 finds; "random": any others,
        drawn; "nothing": none. All others search with the question, or with the bare stem, by the
        nearest keys alone: to recognise a row (`needles.measure`) wants a cue that it begins with.
        """
        if (ranker, form) not in self._found:
            self._found[ranker, form] = self._ranked(ranker, form)
        return self._found[ranker, form]

    def _ranked(self, ranker: str, form: str) -> list[list[int]]:
        queries = self.tools.queries
        if ranker == NOTHING:
            return [[] for _ in queries]
        if ranker == RANDOM:
            return [self._drawn(query) for query in queries]
        if ranker == ORACLE:
            rivals = self._search(self._words, form, MOST + 1)
            return [
                [self.own_row(query), *(row for row in rows if row != self.own_row(query))][:MOST]
                for query, rows in zip(queries, rivals, strict=True)
            ]
        keys = self.tools.keys(ranker)
        index = self._words if keys is None else self.exam.index(keys)
        return self._search(index, form, MOST)

    def _search(self, index: Index, form: str, count: int) -> list[list[int]]:
        prompts = [getattr(query, form) for query in self.tools.queries]
        rows: list[list[int]] = index.search(prompts, count).rows.tolist()
        return rows

    def _drawn(self, query: Query) -> list[int]:
        rng = runtime.python_random(self.tools.seed, "rows", query.row)
        rows = rng.sample(range(len(self.exam.sentences)), MOST + 1)
        return [row for row in rows if row != self.own_row(query)][:MOST]

    def lines(self, rows: Sequence[int], text: str) -> list[str]:
        """The text of rows: as it was stored, or as the decoder writes it out of their latents. A
        latent depends on its row alone, so rows that nobody hands over are not written out."""
        if text == "stored":
            return [self.exam.sentences[row] for row in rows]
        return [self._written[row] for row in rows]

    def write_out(self, rows: Sequence[int]) -> None:
        """The decoder writes these rows, all at once."""
        new = [row for row in dict.fromkeys(rows) if row not in self._written]
        if not new:
            return
        decoder = self.tools.decoder
        memory = TextMemory(decoder, OwnKeys(decoder))
        state = memory.write(memory.empty(), [self.exam.sentences[row] for row in new])
        texts = memory.say(state, torch.arange(len(state)))
        self._written.update(zip(new, texts, strict=True))

    # ---- records ---------------------------------------------------------------------------------

    def read(self, ranker: str, arm: Arm) -> Iterator[Record]:
        """The language model answers every question from the rows that a ranker hands over.

        A record also says whether the right row was `found`, whether a wrong reply names the value
        of a `rival` that was handed over, and how many `words` it has. Where one row is handed
        over, also what it is worth without a language model: whether the `row` as it is names the
        value, and whether its `last` words do, where a plain sentence has it.
        """
        handed = [rows[: arm.rows] for rows in self.found(ranker, arm.form)]
        if arm.text == "written":
            self.write_out([row for rows in handed for row in rows])
        told = [self.lines(rows, arm.text) for rows in handed]
        requests = []
        for query, lines in zip(self.tools.queries, told, strict=True):
            # The others keep their order.
            ordered = [*lines[1:], *lines[:1]] if arm.last else lines
            question = in_words(query, arm.form)
            requests.append(any_language_model.as_request(ordered, question))
        replies = self.tools.reader.replies(requests)
        asked = zip(self.tools.queries, handed, told, replies, strict=True)
        for number, (query, rows, lines, reply) in enumerate(asked):
            right = evaluation.contains_value(reply, query.answer)
            meta = {
                "tokens": 0 if ranker == NOTHING else self.tokens,
                "rows": arm.rows,
                "text": arm.text,
                "place": "last" if arm.last else "ranked",
                "found": int(ranker != NOTHING and self.own_row(query) in rows),
                "rival": int(not right and self._names_a_rival(query, rows, reply)),
                "words": len(reply.split()),
            }
            if arm.rows == 1:
                meta |= _without_a_model(lines[0], query.answer)
            value = float(right)
            seed = self.tools.seed
            yield Record(NAME, ranker, arm.form, "answered", value, seed, number, meta)

    def _names_a_rival(self, query: Query, rows: Sequence[int], reply: str) -> bool:
        """Whether a reply names the value of another fact that was handed over."""
        others = [row for row in rows if row in self._values and row != self.own_row(query)]
        return any(evaluation.contains_value(reply, self._values[row]) for row in others)

    def size(self) -> Iterator[Record]:
        """How long the text is in tokens of the language model, and how long its window."""
        reader = self.tools.reader
        sizes = {"length": reader.length(self.exam.sentences), "window": reader.model.window}
        for metric, value in sizes.items():
            meta = {"tokens": self.tokens}
            yield Record(NAME, "llm", "text", metric, float(value), self.tools.seed, meta=meta)


def _without_a_model(line: str, value: str) -> dict[str, int]:
    """Whether a row names the value, and whether its last words do."""
    last = " ".join(line.split()[-LAST:])
    return {
        "row": int(evaluation.contains_value(line, value)),
        "last": int(evaluation.contains_value(last, value)),
    }


def measured(store: Store, ranker: str, arms: Sequence[Arm]) -> Iterator[Record]:
    """The records of one ranker; none, and one line to stderr, where what it needs is not
    installed."""
    try:
        for arm in arms:
            store.found(ranker, arm.form)
    except ModuleNotFoundError as missing:
        print(f"{NAME}: {ranker} left out: {missing}", file=sys.stderr)
        return
    for arm in arms:
        yield from store.read(ranker, arm)
    if ranker == ORACLE:
        yield from store.size()
