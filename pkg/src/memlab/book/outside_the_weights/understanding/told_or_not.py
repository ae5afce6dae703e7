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

SCORES, OTHERS = ("nearest", "novelty", "recognition"), ("untold", "stranger")
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
    order = runtime.python_random(seed, "told").sample(
        range(len(asked.queries)), len(asked.queries)
    )
    told = sorted(order[: len(order) // 2])
    gone = {query.row for number, query in enumerate(asked.queries) if number not in told}
    kept = [fact.sentence for row, fact in enumerate(asked.facts) if row not in gone]
    return kept, [asked.queries[i] for i in told], [q for q in asked.queries if q.row in gone]


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
    strange = [query for query in others.queries if others.facts[query.row].entity not in names]
    memory = TextMemory(model, encoder)
    state = memory.write(memory.empty(), [*kept, *(documentation(model, tokens) if tokens else [])])
    found = {}
    for ask in ASKS:
        prompts = [
            [prompt for query in some if (prompt := getattr(query, ask))]
            for some in (told, untold, strange)
        ]
        values = scores(memory, state, [prompt for some in prompts for prompt in some])
        split = {
            name: dict(
                zip(("told", *OTHERS), one.split([len(some) for some in prompts]), strict=True)
            )
            for name, one in values.items()
        }
        found[ask] = Scope(**split)
    return found


def scores(memory: TextMemory, state: KeyValueState, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Three scores of each prompt, high for what was told: cosine of the nearest key; minus the
    residual of the projection on all keys (0 for everything once they span the space); how well the
    decoder recognises the prompt as the beginning of the row found, in nats a token."""
    queries = memory.encoder.encode(prompts, question=True)
    nearest, rows = memory.rule.address(state, queries)
    linear = PseudoInverse()
    spanned = linear.write(
        linear.empty(state.keys.shape[1], 1), state.keys, torch.zeros(len(state), 1)
    )
    residual = (
        linear.novelty(spanned, queries) * 1e6
    ).round() / 1e6  # what is left of a full space is rounding
    known = reading.recognise(
        memory.model, memory.rule.take(state, rows[:, :1]), token_ids(prompts)
    )
    return {
        "nearest": nearest[:, 0].double(),
        "novelty": -residual.double(),
        "recognition": known[:, 0].double(),
    }


def records(name: str, rows: str, parts: Sequence[dict[str, Scope]], seed: int) -> Iterator[Record]:
    """What each score of some memories taken together can do, against each kind of question that
    has no answer."""
    for ask, score in product(ASKS, SCORES):
        told, *others = (
            torch.cat([getattr(part[ask], score)[kind] for part in parts])
            for kind in ("told", *OTHERS)
        )
        for against, other in zip(OTHERS, others, strict=True):
            for metric, value in evaluation.detector(told, other).items():
                meta = {
                    "score": score,
                    "ask": ask,
                    "rows": rows,
                    "against": against,
                    "n": len(told) + len(other),
                }
                yield Record("understanding", name, "scope", metric, value, seed, meta=meta)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of what each score can do: area under the curve; false answers where 0.9 of
    the told pass."""
    rows = data[(data["task"] == "scope") & data["metric"].isin(["auc", "false answers"])]
    wide = rows.pivot_table(
        "value", ["model", "ask", "rows", "score"], ["against", "metric"], sort=False
    )
    wide.columns = [f"{metric}, {against}" for against, metric in wide.columns]
    return wide.round(2).reset_index()


def areas(data: pd.DataFrame, rows: str = "all") -> pd.Series:
    """Mean area under the curve, by model, score, ask and against."""
    own = data[(data["task"] == "scope") & (data["metric"] == "auc") & (data["rows"] == rows)]
    return own.groupby(["model", "score", "ask", "against"])["value"].mean()
