"""Section 10b: who finds which fact, against a scan by hand; a small run of all; verdicts that
follow the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from memlab import evaluation, results, retrieval
from memlab.book.outside_the_weights.understanding import experiment, measure, told_or_not
from memlab.corpora import relations, text
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    OwnKeys,
    TextMemory,
    new_decoder,
    tiny_text_config,
)

SMALL = experiment.Setting(1, 5000, (1, 1), (1, 1), 2, (2, 1))


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Callable[..., Path]) -> Path:
    """A tiny BERT with random weights."""
    return tiny_bert(
        tmp_path_factory.mktemp("bert"),
        text.generic_sentences(60, 3),
        words=300,
        width=16,
        layers=1,
        inner=16,
        positions=40,
        longest=40,
    )


@pytest.fixture(scope="module")
def data(model: MemoryDecoder, folder: Path) -> pd.DataFrame:
    patch = pytest.MonkeyPatch()
    patch.setenv("MEMLAB_ENCODER", str(folder))
    patch.setattr(experiment.pretrained, "shipped", lambda: model)
    patch.setattr(TextMemory, "say", lambda self, state, rows: ["The lamp is red."] * len(rows))
    patch.setattr(experiment, "FEW", 1)
    patch.setitem(experiment.SETTINGS, "full", SMALL)
    patch.setattr(
        measure.adapters.train,
        "__kwdefaults__",
        {"steps": 2, "episodes": 1, "others": 20, "shuffled": False},
    )
    found = results.frame(
        record for unit in experiment.units("full", 0) for record in unit.measure()
    )
    measure.semantic.cache_clear()
    patch.undo()
    return found


# ---- the exam ------------------------------------------------------------------------------------


def test_rows_found_are_those_of_a_scan(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = measure.Exam(model, "held out", 5, tokens=5000, entities=(1, 1))
    facts = [fact.sentence for fact in exam.asked.facts]
    assert [exam.sentences[place] for place in exam.places] == facts and len(exam.sentences) > len(
        facts
    ) + 50
    own = OwnKeys(model)
    keys = own.encode(exam.sentences)
    for ask in told_or_not.ASKS:
        prompts = exam.prompts(ask)
        want = [
            bool(prompt) and int((own.encode([prompt]) @ keys.T).argmax()) == exam.places[query.row]
            for prompt, query in zip(prompts, exam.asked.queries, strict=True)
        ]
        assert exam.addressed(exam.index(own), ask) == want
    assert all(
        bool(stem) == exam.asked.facts[q.row].sentence.endswith(f" {q.answer}.")
        for stem, q in zip(exam.prompts("stem"), exam.asked.queries, strict=True)
    )
    monkeypatch.setattr(
        TextMemory,
        "say",
        lambda self, state, rows: [
            exam.asked.facts[q.row].sentence if i % 2 else "nothing"
            for i, q in enumerate(exam.asked.queries)
        ],
    )
    assert exam.written == [bool(i % 2) for i in range(len(exam.asked.queries))]


def test_packed_segments_are_judged_as_segments(
    model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = measure.Exam(model, "held out", 5, tokens=4000, entities=(1, 1))

    class Exact:
        """A key for each text that finds it by the entity it names: the question names it too."""

        width = 64

        def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
            own = {
                query.question: exam.asked.facts[query.row].sentence for query in exam.asked.queries
            }
            rows = torch.stack(
                [
                    torch.randn(
                        64,
                        generator=torch.Generator().manual_seed(
                            sum(map(ord, own.get(one, one))) * 131 + len(own.get(one, one))
                        ),
                    )
                    for one in texts
                ]
            )
            return torch.nn.functional.normalize(rows, dim=1)

    monkeypatch.setattr(evaluation, "contains_value", lambda said, target: True)
    found = exam.packed(Exact())
    assert all(found["a key a sentence"][0]) and sum(found["a key a segment"][0]) < len(
        exam.asked.queries
    )
    assert found["a key a sentence"][1] == found["a key a sentence"][0]


def test_a_blend_adds_what_two_indexes_say() -> None:
    lines = text.generic_sentences(30, 8)
    dense, words = retrieval.Dense(_Letters(), lines), retrieval.BM25(lines)
    blend = measure.Blend(dense, words, len(lines), 0.5)
    asked = [lines[4], "the lamp in Paris", "zzzz"]
    found = blend.search(asked, len(lines))
    for row, question in enumerate(asked):
        a, b = (
            dict(zip(one.rows[0].tolist(), one.scores[0].tolist(), strict=True))
            for one in (dense.search([question], 30), words.search([question], 30))
        )
        want = {i: a[i] + 0.5 * b[i] / max(max(b.values()), 1e-9) for i in range(30)}
        got = dict(zip(found.rows[row].tolist(), found.scores[row].tolist(), strict=True))
        assert got == pytest.approx(want, abs=1e-5)
        assert list(found.scores[row]) == sorted(found.scores[row], reverse=True)


class _Letters:
    width = 26

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        rows = [[one.lower().count(chr(97 + i)) + 0.1 for i in range(26)] for one in texts]
        return torch.nn.functional.normalize(torch.tensor(rows).reshape(-1, 26), dim=1)


# ---- the experiment ------------------------------------------------------------------------------


def test_tables_and_counts(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert table["keys"].tolist() == list(experiment.ORDER) and table.columns.tolist()[1:] == [
        "trained",
        "new wording",
        "new relation",
        "plain",
        "roundabout",
        "answered",
        "stem",
    ]
    assert (table["answered"] <= table["new relation"]).all()
    held = measure.pooled(data, ["model"], part="held out", ask="question", metric="addressed")
    by_family = measure.pooled(
        data, ["model"], task="family", part="held out", ask="question", metric="addressed"
    )
    assert (
        held[["model", "mean", "n"]].equals(by_family[["model", "mean", "n"]])
        and held["n"].min() == 18
    )
    assert {"a key a sentence", "a key a segment", "scope", "family", "asked", "lessons"} == set(
        data["task"]
    )


def test_bm25_finds_stems_and_few_questions(data: pd.DataFrame) -> None:
    words = experiment.table(data).set_index("keys").loc["bm25"]
    assert words["stem"] > 0.95 and words["new relation"] < 0.6


def changed(data: pd.DataFrame, to: float, **at: object) -> pd.DataFrame:
    here = pd.Series(True, index=data.index)
    for name, wanted in at.items():
        here &= data[name] == wanted
    assert here.any()
    return data.assign(value=data["value"].mask(here, to))


def good(data: pd.DataFrame) -> pd.DataFrame:
    """What would support every claim but N34: where all is found, an adapter has nothing to add."""
    data = changed(data, 1.0, model="encoder", task="asked")
    data = changed(
        changed(data, 1.0, model="scratch", ask="stem", task="asked"),
        0.1,
        model="scratch",
        ask="question",
        task="asked",
    )
    data = changed(
        changed(data, 1.0, task="scope", metric="auc"), 1.0, model=measure.TUNED, task="asked"
    )
    return changed(data, 1.0, model="encoder + adapter", task="asked")


def test_all_can_be_supported_and_the_adapter_none(data: pd.DataFrame) -> None:
    assert {one.claim: one.verdict for one in experiment.verdicts(good(data))} == {
        "N30": "supported",
        "N31": "supported",
        "N32": "supported",
        "N33": "supported",
        "N34": "refuted",
        "N35": "supported",
    }


def asked(data: pd.DataFrame, **shares: float) -> pd.DataFrame:
    """What is addressed, and answered, by some kinds of keys changed to a share."""
    names = {"adapter": "encoder + adapter", "tuned": measure.TUNED}
    for name, to in shares.items():
        data = changed(data, to, model=names.get(name, name), task="asked")
    return data


@pytest.mark.parametrize(
    ("claim", "verdict", "change"),
    [
        ("N30", "qualified", lambda d: asked(d, encoder=0.8, bm25=0.2)),
        ("N30", "refuted", lambda d: asked(d, encoder=0.8, bm25=0.6)),
        ("N31", "qualified", lambda d: asked(d, encoder=0.8)),
        (
            "N31",
            "refuted",
            lambda d: changed(asked(d, encoder=0.8), 0.7, model="encoder", metric="answered"),
        ),
        ("N32", "refuted", lambda d: asked(d, scratch=0.9)),
        ("N33", "qualified", lambda d: changed(d, 0.7, task="scope", metric="auc", ask="question")),
        ("N33", "refuted", lambda d: changed(d, 0.7, task="scope", metric="auc", ask="stem")),
        ("N34", "supported", lambda d: asked(d, encoder=0.4)),
        ("N34", "qualified", lambda d: asked(d, encoder=0.8)),
        ("N34", "refuted", lambda d: asked(d, adapter=0.9)),
        ("N35", "qualified", lambda d: asked(d, tuned=0.85, encoder=0.3)),
        (
            "N35",
            "qualified",
            lambda d: changed(asked(d, encoder=0.3), 0.8, model=measure.TUNED, metric="answered"),
        ),
        ("N35", "refuted", lambda d: asked(d, tuned=0.85, encoder=0.8)),
    ],
)
def test_verdicts_follow_the_data(
    data: pd.DataFrame, claim: str, verdict: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    assert {one.claim: one.verdict for one in experiment.verdicts(change(good(data)))}[
        claim
    ] == verdict


def test_without_an_encoder_the_rest_is_judged(data: pd.DataFrame) -> None:
    """N32, N33: the quick profile needs no download."""
    own = data[data["model"].isin(["scratch", "bm25"])]
    assert [one.claim for one in experiment.verdicts(own)] == ["N32", "N33"] and len(
        experiment.table(own)
    ) == 2


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_profiles_have_a_unit_a_seed(profile: str) -> None:
    assert len(list(experiment.units(profile, 0))) == experiment.SETTINGS[profile].seeds >= 3
    assert (experiment.SETTINGS[profile].adapt == 0) == (profile == "quick")
    assert replace(SMALL, seeds=2).seeds == 2 and len(relations.HELD_OUT) == 18


def test_without_the_optional_package_the_message_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMLAB_ENCODER", raising=False)
    monkeypatch.setattr(retrieval, "OPTIONAL", "no_such_package_of_anybody")
    with pytest.raises(ModuleNotFoundError, match="--require-hashes -r requirements-semantic.txt"):
        retrieval.installed_encoder()
    monkeypatch.setenv("MEMLAB_ENCODER", "hub:someone/small")
    assert retrieval.installed_encoder() == "hub:someone/small"
