"""Section 10c: edits in a memory whose reading is perfect agree with a world kept by hand; verdicts
follow the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from memlab import results, retrieval
from memlab.book.outside_the_weights.editing import experiment, measure
from memlab.corpora import edits as corpus
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    TextMemory,
    new_decoder,
    tiny_text_config,
)
from memlab.memories import KeyValueState

SMALL = experiment.Setting(2, 6, 30, (5, 30), 8, ("scratch",))


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


class Stems:
    """Keys that know what is meant: the words of a sentence, and the relation behind every wording
    of it."""

    width = 4096

    def __init__(self, understands: bool = True) -> None:
        self.understands = understands
        relations = corpus.RELATIONS["test"]
        self.known = [
            [one.replace("{S}", "|").split("|") for one in relation[1:]] for relation in relations
        ]

    def encode(self, texts: Sequence[str], *, question: bool = False) -> Tensor:
        rows = torch.full((len(texts), self.width), 1e-4)
        for row, one in zip(rows, texts, strict=True):
            for number, wordings in enumerate(self.known):
                for wording, (before, after) in enumerate(wordings):
                    if one.startswith(before) and after in one and (before or one.index(after) > 0):
                        row[number + (0 if self.understands else 20 * wording)] += 3
            for word in [word for word in one.strip(".?").split()[1:] if word[0].isupper()]:
                row[
                    100
                    + sum(ord(letter) * (place + 1) * 7 for place, letter in enumerate(word)) % 3900
                ] += 1
        return torch.nn.functional.normalize(rows, dim=1)


class Perfect(TextMemory):
    """A memory whose decoder reads without error: a latent is the number of its text."""

    texts: list[str] = []

    def write(
        self, state: KeyValueState, texts: Sequence[str], owner: Sequence[int] | None = None
    ) -> KeyValueState:
        first = len(self.texts)
        self.texts.extend(texts)
        width = self.model.config.latent_width
        values = torch.arange(first, first + len(texts))[:, None].repeat(1, width).float()
        return self.rule.write(state, self.encoder.encode(texts), values)

    def say(self, state: KeyValueState, rows: Tensor) -> list[str]:
        return [self.texts[int(self.rule.take(state, row[None])[0, 0])] for row in rows]


def value(data: pd.DataFrame, task: str, **at: object) -> float:
    rows = data[data["task"] == task]
    for name, wanted in at.items():
        rows = rows[rows[name] == wanted]
    assert len(rows) == 1, rows
    return float(rows["value"].iloc[0])


def test_edits_take_and_leave_the_rest(model: MemoryDecoder) -> None:
    """N36, N39: with keys that know what is meant every way of editing works as it should; without,
    it does not."""
    stream = corpus.stream(12, 3)
    found = {
        know: results.frame(measure.single(Perfect(model, Stems(know)), stream, "x", 0))
        for know in (True, False)
    }
    for know, data in found.items():
        assert (
            value(data, "edit", way="replace") == 1
            and value(data, "neighbour", way="replace") > 0.9
        )
        assert (
            value(data, "edit", way="nothing") == 0 == value(data, "paraphrase", way="nothing")
            or not know
        )
        assert value(data, "edit", way="add") < 0.5, "of two equal stems the older row is found"
        assert value(data, "paraphrase", way="replace") > 0.9
    assert (
        value(found[True], "edit", way="reworded")
        > 0.9
        > value(found[False], "edit", way="reworded")
    )


def test_a_sequence_agrees_with_a_world_kept_by_hand(model: MemoryDecoder) -> None:
    """N37."""
    stream = corpus.stream(40, 4, neighbours=2, again=0.3)
    memory = Perfect(model, Stems())
    data = results.frame(measure.sequence(memory, stream, "x", 0, stops=(10, 40)))
    assert value(data, "retention", after=40) == 1 and value(data, "row", metric="wrong row") == 0
    state, held = measure.filled(memory, stream), {}
    for sentence in corpus.world(stream):
        held[sentence.rpartition(" ")[0]] = sentence
    for one in stream:
        state = measure.edit(memory, state, one)
        held[one.stem] = one.after
    assert sorted(memory.say(state, torch.arange(len(state)))) == sorted(held.values())


def test_forgotten_is_not_said_and_leaves_no_trace(model: MemoryDecoder) -> None:
    """N38."""
    data = results.frame(
        measure.forgotten(Perfect(model, Stems()), corpus.stream(20, 5), "x", 0, 6)
    )
    found = data.set_index("metric")["value"]
    assert (
        found["said before"] == 1
        and found["still said"] == 0
        and found["bytes as never written"] == 1
    )
    assert found["others right"] > 0.8 and found["auc"] > 0.9


def test_other_ways_are_refused(model: MemoryDecoder) -> None:
    memory = Perfect(model, Stems())
    with pytest.raises(
        ValueError, match="expected one of replace, reworded, add, nothing, got 'erase'"
    ):
        measure.edit(memory, memory.empty(), corpus.stream(1)[0], "erase")


@pytest.fixture(scope="module")
def data(model: MemoryDecoder) -> pd.DataFrame:
    memory = Perfect(model, Stems())
    return results.frame(
        record for seed in (0, 1) for record in experiment.of_memory(memory, SMALL, "scratch", seed)
    )


def test_table_and_verdicts(data: pd.DataFrame) -> None:
    assert experiment.table(data)["way"].tolist() == list(measure.WAYS)
    assert len(experiment.rows(data)) == 3 * 2 and len(experiment.losses(data)) == 1
    found = {one.claim: one.verdict for one in experiment.verdicts(data)}
    assert found == {"N36": "supported", "N37": "supported", "N38": "supported", "N39": "supported"}


def changed(data: pd.DataFrame, to: float, **at: object) -> pd.DataFrame:
    here = pd.Series(True, index=data.index)
    for name, wanted in at.items():
        here &= data[name] == wanted
    assert here.any()
    return data.assign(value=data["value"].mask(here, to))


@pytest.mark.parametrize(
    ("claim", "verdict", "change"),
    [
        (
            "N36",
            "refuted",
            lambda data: changed(data, 0.5, task="edit", way="replace", mode="single"),
        ),
        (
            "N36",
            "qualified",
            lambda data: changed(data, 0.5, task="paraphrase", way="replace", mode="single"),
        ),
        (
            "N37",
            "refuted",
            lambda data: changed(data, 0.5, task="retention", way="replace", after=30),
        ),
        ("N38", "refuted", lambda data: changed(data, 0.0, metric="bytes as never written")),
        ("N39", "refuted", lambda data: changed(data, 0.1, task="retention", way="reworded")),
        ("N39", "qualified", lambda data: changed(data, 0.7, task="retention", way="reworded")),
    ],
)
def test_verdicts_follow_the_data(
    data: pd.DataFrame, claim: str, verdict: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    before, after = (
        {one.claim: one.verdict for one in experiment.verdicts(some)}
        for some in (data, change(data))
    )
    assert after[claim] == verdict and {name for name in before if before[name] != after[name]} == {
        claim
    }


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_profiles_have_their_units(
    profile: str, model: MemoryDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = experiment.SETTINGS[profile]
    found = list(experiment.units(profile, 0))
    assert (
        len({unit.name for unit in found}) == len(found) == at.seeds * len(at.keys)
        and max(at.stops) == at.row
    )
    monkeypatch.setitem(
        experiment.SETTINGS,
        profile,
        replace(SMALL, seeds=1, single=1, row=2, stops=(2,), forgotten=1, keys=at.keys),
    )
    monkeypatch.setattr(experiment.pretrained, "shipped", lambda: model)
    monkeypatch.setattr(retrieval, "installed_encoder", lambda: "folder")
    monkeypatch.setattr(retrieval, "open_encoder", lambda name: Stems())
    for unit in experiment.units(profile, 0):
        assert len(list(unit.measure())) > 20
