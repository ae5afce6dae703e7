"""Low-rank corrections: at first nothing, helped by what is trained, folded in, blind to what is
held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from memlab import retrieval
from memlab.book.outside_the_weights.understanding import tuning
from memlab.corpora import relations

SOME = (3, 5, 80, 81)


@pytest.fixture(scope="module")
def encoder(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Callable[..., Path]
) -> retrieval.SentenceEncoder:
    """A tiny BERT with random weights, whose words are those of the relations."""
    told = [
        line
        for family in (*relations.FAMILIES, *relations.LESSONS[:20])
        for line in (*family.statements, *family.questions)
    ]
    return retrieval.open_encoder(
        tiny_bert(
            tmp_path_factory.mktemp("bert"),
            told,
            words=600,
            width=32,
            layers=2,
            inner=64,
            positions=64,
            longest=64,
        )
    )


def test_without_a_step_nothing_changes(
    encoder: retrieval.SentenceEncoder, untouched_global_random_state: None
) -> None:
    lines = ["A lamp in Paris.", "Who?"]
    assert torch.equal(tuning.tune(encoder, SOME, steps=0).encode(lines), encoder.encode(lines))


def test_lessons_are_learned_and_the_encoder_given_stays(
    encoder: retrieval.SentenceEncoder, untouched_global_random_state: None
) -> None:
    before = {name: one.clone() for name, one in encoder.model.state_dict().items()}
    tuned = tuning.tune(encoder, SOME, 1, steps=150, pairs=24)
    assert before.keys() == tuned.model.state_dict().keys(), "a model like any other"
    assert all(torch.equal(one, before[name]) for name, one in encoder.model.state_dict().items())
    assert not any(
        "pooler" not in name and "embeddings" in name and not torch.equal(one, before[name])
        for name, one in tuned.model.state_dict().items()
    ), "tokens are not touched"
    assert found(tuned) > found(encoder) + 0.15, (found(tuned), found(encoder))
    again = (
        tuning.tune(encoder, SOME, 1, steps=2, pairs=24),
        tuning.tune(encoder, SOME, 1, steps=2, pairs=24),
    )
    assert torch.equal(*(one.encode(["A lamp in Paris."]) for one in again)), (
        "the same seed, the same keys"
    )


def found(encoder: retrieval.SentenceEncoder) -> float:
    """The share of trained questions about new entities that are nearest to their fact."""
    pairs = [
        pair
        for step in range(3)
        for pair in relations.training_pairs(step, count=24, seed=9, families=SOME)
    ]
    keys = encoder.encode([fact.sentence for fact, _ in pairs])
    asked = encoder.encode([ask for _, ask in pairs], question=True)
    return float(((asked @ keys.T).argmax(1) == torch.arange(len(pairs))).double().mean())


def test_what_is_held_out_cannot_be_taught(encoder: retrieval.SentenceEncoder) -> None:
    with pytest.raises(ValueError, match=r"got held-out ones: \[1, 4\]"):
        tuning.tune(encoder, (0, 4, 1), steps=1)


def test_only_what_is_taught_is_seen(
    encoder: retrieval.SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = retrieval.SentenceEncoder.embed
    monkeypatch.setattr(
        retrieval.SentenceEncoder,
        "embed",
        lambda self, texts, *, question=False: (
            seen.extend(texts),
            real(self, texts, question=question),
        )[1],
    )
    tuning.tune(encoder, seed=2, steps=3)
    taught, want = relations.TAUGHT, []
    for step in range(3):
        pairs = relations.training_pairs(step, count=tuning.PAIRS, seed=2, families=taught)
        want += [*(fact.sentence for fact, _ in pairs), *(question for _, question in pairs)]
        assert any(fact.family >= len(relations.FAMILIES) for fact, _ in pairs)
    assert seen == want


def test_the_closest_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        """A direction for every length of a text: cosine 1 for equal lengths, 0 otherwise."""

        width = 200

        def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
            return torch.eye(200)[torch.tensor([len(one) for one in texts])]

    one = relations.FAMILIES[relations.HELD_OUT[0]]
    monkeypatch.setattr(relations, "LESSONS", (one,))
    assert tuning.closest(Lengths()) == 1.0
    far = "x" * 190
    monkeypatch.setattr(
        relations, "LESSONS", (relations.Family("town", "year", (far, far), (far, far, far)),)
    )
    assert tuning.closest(Lengths()) == 0.0


def test_no_lesson_is_close_to_what_is_held_out() -> None:
    """Where the optional encoder is installed: the bound by which the lessons were sifted."""
    try:
        encoder = retrieval.open_encoder(retrieval.installed_encoder())
    except ModuleNotFoundError:
        pytest.skip("the optional sentence encoder is not installed")
    assert tuning.closest(encoder) < 0.7
