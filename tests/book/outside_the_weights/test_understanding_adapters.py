"""Two maps behind a frozen encoder: at first the identity, helped by what belongs together, harmed
by what does not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from memlab import retrieval
from memlab.book.outside_the_weights.understanding import adapters
from memlab.corpora import relations

WIDTH = 300


class Words:
    """Keys from words, hashed by hand: which words belong together an adapter can learn."""

    width = WIDTH

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        rows = torch.full((len(texts), WIDTH), 1e-3)
        for row, one in zip(rows, texts, strict=True):
            for word in one.strip(".?").split():
                row[sum(map(ord, word)) * 7 % WIDTH] += 1
        return torch.nn.functional.normalize(rows, dim=1)


def found(encoder: retrieval.Encoder, seed: int = 3) -> float:
    asked = relations.question_set("trained", seed, entities=(1, 1))
    rows = retrieval.best_rows(
        retrieval.Dense(encoder, [fact.sentence for fact in asked.facts]),
        [query.question for query in asked.queries],
    )
    return sum(row == query.row for row, query in zip(rows, asked.queries, strict=True)) / len(rows)


def trained(steps: int, **how: bool) -> adapters.Adapted:
    return adapters.train(Words(), 1, steps=steps, episodes=6, others=300, **how)


def test_without_a_step_nothing_changes(untouched_global_random_state: None) -> None:
    made, lines = trained(0), ["A lamp in Paris.", "Who?"]
    assert torch.equal(made.text, torch.eye(WIDTH)) and torch.equal(made.question, torch.eye(WIDTH))
    for ask in (False, True):
        assert torch.allclose(
            made.encode(lines, question=ask), Words().encode(lines, question=ask), atol=1e-6
        )
    assert made.width == WIDTH and isinstance(made, retrieval.Encoder)


def test_training_helps_and_wrong_pairs_do_not(untouched_global_random_state: None) -> None:
    start, right, wrong = found(Words()), found(trained(80)), found(trained(80, shuffled=True))
    assert right > start + 0.1 and right > wrong + 0.1, (start, right, wrong)
    assert torch.equal(trained(3).text, trained(3).text), "the same seed, the same maps"


def test_only_trained_families_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = Words.encode
    monkeypatch.setattr(
        Words,
        "encode",
        lambda self, texts, question=False: (
            seen.extend(texts),
            real(self, texts, question=question),
        )[1],
    )
    trained(1)
    for family in relations.HELD_OUT:
        for one in (*relations.FAMILIES[family].statements, *relations.FAMILIES[family].questions):
            pattern = re.escape(one).replace(r"\{A\}", ".+").replace(r"\{B\}", ".+")
            assert not any(re.fullmatch(pattern, line) for line in seen), one
    one = relations.FAMILIES[relations.TRAINED[0]].questions[0]
    assert any(re.fullmatch(re.escape(one).replace(r"\{A\}", ".+"), line) for line in seen), (
        "it would be found"
    )
