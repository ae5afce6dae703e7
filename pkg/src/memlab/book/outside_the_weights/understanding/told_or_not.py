"""Was it ever told? What the scores of a memory say about questions that it cannot answer.

Larimar guards its edits with a scope detector: a question belongs to the stored facts if the
nearest of them, by a sentence encoder, is near enough. Here are three scores of that kind, and what
a threshold on each can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora import relations
from memlab.corpora.relations import Query, QuestionSet
from memlab.decoder import MemoryDecoder, TextMemory, documentation, reading, token_ids
from memlab.memories import KeyValueState, PseudoInverse
from memlab.results import Record
from memlab.retrieval import Encoder

SCORES = ("nearest", "novelty", "recognition")
OTHERS = ("untold", "stranger")
ASKS = ("stem", "question")


@dataclass(frozen=True)
class Scope:
    """Scores of prompts by kind: "told"; "untold", about an entity of which the memory knows other
    things; "stranger", about one that it never heard of. Higher means rather told."""

    nearest: dict[str, Tensor]
    novelty: dict[str, Tensor]
    recognition: dict[str, Tensor]


def _halves(asked: QuestionSet, seed: int) -> tuple[list[str], list[Query], list[Query]]:
    """The facts without those of a random half of the queries, and both halves of the queries."""
    count = len(asked.queries)
    order = runtime.python_random(seed, "told").sample(range(count), count)
    told = sorted(order[: count // 2])
    gone = {query.row for number, query in enumerate(asked.queries) if number not in told}
    kept = [fact.sentence for row, fact in enumerate(asked.facts) if row not in gone]
    known = [asked.queries[number] for number in told]
    unknown = [query for query in asked.queries if query.row in gone]
    return kept, known, unknown


def scope(
    model: MemoryDecoder,
    encoder: Encoder,
    part: str,
    seed: int,
    *,
    tokens: int,
    entities: tuple[int, int] = (1, 1),
) -> dict[str, Scope]:
    """A memory of a part's facts without half of those that are asked for, among documentation, and
    what its scores say of stems and of questions. `tokens` = 0: no documentation.
    """
    asked = relations.question_set(part, seed, entities=entities)
    kept, told, untold = _halves(asked, seed)
    names = {fact.entity for fact in asked.facts}
    others = relations.question_set(part, seed + 1000, entities=entities)
    strange = []
    for query in others.queries:
        if others.facts[query.row].entity not in names:
            strange.append(query)
    memory = TextMemory(model, encoder)
    lines = documentation(model, tokens) if tokens else []
    state = memory.write(memory.empty(), [*kept, *lines])
    queries = {
        "told": told,
        "untold": untold,
        "stranger": strange,
    }
    return {ask: _scored(memory, state, queries, ask) for ask in ASKS}


def _scored(
    memory: TextMemory,
    state: KeyValueState,
    queries: dict[str, list[Query]],
    ask: str,
) -> Scope:
    """The scores of all prompts of one form, scored together, by kind of query."""
    prompts: list[str] = []
    sizes = []
    for some in queries.values():
        asked = [prompt for query in some if (prompt := getattr(query, ask))]
        prompts += asked
        sizes.append(len(asked))
    by_score = {}
    for name, values in scores(memory, state, prompts).items():
        by_score[name] = dict(zip(queries, values.split(sizes), strict=True))
    return Scope(**by_score)


def scores(
    memory: TextMemory,
    state: KeyValueState,
    prompts: Sequence[str],
) -> dict[str, Tensor]:
    """Three scores of each prompt, high for what was told: cosine of the nearest key; minus the
    residual of the projection on all keys (0 for everything once they span the space); how well the
    decoder recognises the prompt as the beginning of the row found, in nats a token."""
    queries = memory.encoder.encode(prompts, question=True)
    nearest, rows = memory.rule.address(state, queries)
    linear = PseudoInverse()
    empty = linear.empty(state.keys.shape[1], 1)
    no_values = torch.zeros(len(state), 1)
    spanned = linear.write(empty, state.keys, no_values)
    # what is left of a full space is rounding
    residual = (linear.novelty(spanned, queries) * 1e6).round() / 1e6
    latents = memory.rule.take(state, rows[:, :1])
    known = reading.recognise(memory.model, latents, token_ids(prompts))
    return {
        "nearest": nearest[:, 0].double(),
        "novelty": -residual.double(),
        "recognition": known[:, 0].double(),
    }


def records(
    name: str,
    rows: str,
    parts: Sequence[dict[str, Scope]],
    seed: int,
) -> Iterator[Record]:
    """What each score of some memories taken together can do, against each kind of question that
    has no answer."""
    for ask, score in product(ASKS, SCORES):
        told = _joined(parts, ask, score, "told")
        for against in OTHERS:
            other = _joined(parts, ask, score, against)
            meta = {
                "score": score,
                "ask": ask,
                "rows": rows,
                "against": against,
                "n": len(told) + len(other),
            }
            for metric, value in evaluation.detector(told, other).items():
                yield Record("understanding", name, "scope", metric, value, seed, meta=meta)


def _joined(
    parts: Sequence[dict[str, Scope]],
    ask: str,
    score: str,
    kind: str,
) -> Tensor:
    scores_of_kind = [getattr(part[ask], score)[kind] for part in parts]
    return torch.cat(scores_of_kind)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of what each score can do: area under the curve; false answers where 0.9 of
    the told pass."""
    rows = data[data["task"] == "scope"]
    rows = rows[rows["metric"].isin(["auc", "false answers"])]
    wide = rows.pivot_table(
        "value", ["model", "ask", "rows", "score"], ["against", "metric"], sort=False
    )
    wide.columns = [f"{metric}, {against}" for against, metric in wide.columns]
    return wide.round(2).reset_index()


def areas(data: pd.DataFrame, rows: str = "all") -> pd.Series:
    """Mean area under the curve, by model, score, ask and against."""
    own = data[(data["task"] == "scope") & (data["metric"] == "auc")]
    own = own[own["rows"] == rows]
    return own.groupby(["model", "score", "ask", "against"])["value"].mean()
