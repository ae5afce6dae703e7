"""Was it ever told? Thresholds against a scan and sklearn; a memory that lacks half of what is
asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor

from memlab import evaluation, results
from memlab.book.outside_the_weights.understanding import told_or_not
from memlab.corpora import relations, text
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    TextMemory,
    new_decoder,
    tiny_text_config,
    token_ids,
)

NUMBERS = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


class Words:
    """Keys from words, hashed by hand: enough to tell a stem that is stored from one that is
    not."""

    width = 64

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        rows = torch.zeros(len(texts), 64)
        for row, one in zip(rows, texts, strict=True):
            for word in one.lower().strip(".?").split():
                row[sum(map(ord, word)) * 31 % 64] += 1
        return torch.nn.functional.normalize(rows + 1e-3, dim=1)


@pytest.fixture(scope="module")
def model() -> MemoryDecoder:
    sizes = {
        "latent_width": 64,
        "key_width": 16,
        "slots": 16,
        "segment_tokens": 64,
        "encoder_layers": 1,
        "encoder_heads": 2,
    }
    return new_decoder(MemoryDecoderConfig(tiny_text_config(2048, 32, 1, 2, 300), **sizes)).eval()


@given(NUMBERS, NUMBERS, st.sampled_from([0.5, 0.9, 1.0]))
def test_what_a_threshold_can_do(told: list[int], other: list[int], recall: float) -> None:
    found = evaluation.detector(torch.tensor(told).double(), torch.tensor(other).double(), recall)
    truth, values = [1] * len(told) + [0] * len(other), [*told, *other]
    assert found["auc"] == pytest.approx(roc_auc_score(truth, values))
    cuts = sorted(set(values))
    passing = [cut for cut in cuts if sum(x >= cut for x in told) / len(told) >= recall - 1e-12]
    assert found["false answers"] == pytest.approx(
        sum(x >= max(passing) for x in other) / len(other)
    )
    assert found["f1"] == pytest.approx(
        max(f1_score(truth, [int(x >= cut) for x in values]) for cut in cuts)
    )
    errors = [
        (sum(x < cut for x in told) / len(told), sum(x >= cut for x in other) / len(other))
        for cut in cuts
    ]
    closest = min(abs(a - b) for a, b in errors)
    assert any(
        found["equal error"] == pytest.approx((a + b) / 2)
        for a, b in errors
        if abs(a - b) <= closest + 1e-9
    )


def test_scores_that_do_not_overlap() -> None:
    apart = evaluation.detector(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0]))
    assert apart == {"auc": 1.0, "false answers": 0.0, "f1": 1.0, "equal error": 0.0}


def test_half_of_what_is_asked_is_not_there(model: MemoryDecoder) -> None:
    asked = relations.question_set("held out", 1, entities=(2, 2))
    kept, told, untold = told_or_not._halves(asked, 1)
    assert len(told) == len(untold) == 18 and len(kept) == len(asked.facts) - 18
    gone = {asked.facts[query.row].sentence for query in untold}
    assert not gone & set(kept) and all(asked.facts[query.row].sentence in kept for query in told)
    names = [asked.facts[query.row].entity for query in untold]
    assert all(any(name in sentence for sentence in kept) for name in names), (
        "the entity is known by other things"
    )


def test_scores_tell_stems_that_are_stored(model: MemoryDecoder) -> None:
    both = told_or_not.scope(model, Words(), "held out", 2, tokens=0, entities=(1, 2))
    found = both["stem"]
    assert set(found.nearest) == {"told", "untold", "stranger"}
    assert evaluation.detector(found.nearest["told"], found.nearest["untold"])["auc"] > 0.9
    assert (found.novelty["told"] <= 0).all() and (found.recognition["told"] < 0).all()
    rows = results.frame(told_or_not.records("x", "few", [both, both], 0))
    assert len(rows) == 2 * 3 * 2 * 4 and set(rows["score"]) == set(told_or_not.SCORES)
    rows = rows[rows["ask"] == "stem"]
    assert (
        rows["n"]
        == 2
        * (
            len(found.nearest["told"])
            + rows["against"].map({kind: len(values) for kind, values in found.nearest.items()})
        )
    ).all()
    assert (
        len(told_or_not.table(rows)) == 3
        and told_or_not.areas(rows, "few")["x", "nearest", "stem", "untold"] > 0.9
    )


def test_novelty_ends_where_keys_span_the_space(model: MemoryDecoder) -> None:
    memory = TextMemory(model, Words())
    lines = [line for line in text.generic_sentences(400, 2) if len(token_ids([line])[0]) <= 64]
    few, full = (memory.write(memory.empty(), lines[:count]) for count in (20, 300))
    assert told_or_not.scores(memory, few, ["quite another thing"])["novelty"][0] < -0.1
    assert told_or_not.scores(memory, full, ["quite another thing"])["novelty"][0] == 0
    assert told_or_not.scores(memory, few, lines[3:5])["novelty"].abs().max() < 1e-5
