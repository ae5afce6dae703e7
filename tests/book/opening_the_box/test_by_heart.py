"""What a language model knows by heart: passages, their readings against greedy decoding and by
hand, where texts are read, and verdicts from made-up records."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import evaluation, results, weights
from memlab.book.opening_the_box.before_you_ask import by_heart, known_texts
from memlab.book.opening_the_box.before_you_ask import experiment_by_heart as experiment
from memlab.corpora import tokenization
from memlab.results import Record
from memlab.training import Recipe, fit

HALF = by_heart.HALF
LONG = known_texts.drawn_words()


# ---- passages ------------------------------------------------------------------------------------


def test_passages_reach_from_the_beginning_to_the_end_and_do_not_overlap() -> None:
    (ids,) = tokenization.encoder(weights.tokenizer())([LONG])
    for most in (2, 7, 1000):
        told = by_heart.passages(weights.tokenizer(), LONG, most)
        assert told.shape == (min(most, len(ids) // 100), 100)
        assert told[0].tolist() == ids[:100] and told[-1].tolist() == ids[-100:]
    together = [token for row in told for token in row.tolist()]
    assert len(together) <= len(ids)
    starts = [
        next(at for at in range(len(ids)) if ids[at : at + 100] == row.tolist()) for row in told
    ]
    gaps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert min(gaps) >= 100 and max(gaps) - min(gaps) <= 1


def test_a_text_that_cannot_be_swapped_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a text of at least 200 tokens, got"):
        by_heart.passages(weights.tokenizer(), "a few words", 10)


def test_shuffling_keeps_every_word_and_the_white_space_behind_it() -> None:
    words = "one\n  two three\tfour " * 20
    mixed = known_texts.shuffled(words, 1)
    assert sorted(mixed.split()) == sorted(words.split()) and len(mixed) == len(words)
    assert mixed != words and mixed == known_texts.shuffled(words, 1)
    assert mixed != known_texts.shuffled(words, 2)


# ---- readings ------------------------------------------------------------------------------------


@pytest.fixture
def learnt(llm: Any) -> tuple[Any, torch.Tensor]:
    """The tiny model after it read three passages over and over, and those."""
    told = by_heart.passages(weights.tokenizer(), LONG, 3)
    batch = {"input_ids": told, "labels": told}
    fit(llm, lambda _step: batch, Recipe(150, lr=1e-2, decay=1.0))
    return llm, told


def test_what_was_read_over_and_over_is_recited_behind_its_own_opening_alone(
    learnt: tuple[Any, torch.Tensor],
) -> None:
    model, told = learnt
    found = pd.DataFrame(by_heart.read(model, told))
    assert found["recited"].min() == found["found"].min() == found["first choices"].min() == 1
    assert (found["run"] == HALF).all()
    assert (found["bits, other opening"] > found["bits"]).all()
    assert (found["bits, no opening"] > found["bits"]).all()


def test_a_run_is_as_long_as_greedy_decoding_goes_on_with_the_text(
    learnt: tuple[Any, torch.Tensor],
) -> None:
    model, told = learnt
    changed = told.clone()
    changed[1, HALF + 7] = (told[1, HALF + 7] + 1) % 500
    found = by_heart.read(model, changed)
    said = evaluation.greedy(model, changed[:, :HALF], new=HALF, pad=0)[:, HALF:]
    for row, passage in enumerate(changed):
        same = (said[row] == passage[HALF:]).long().cumprod(0).sum()
        assert found[row]["run"] == float(same)
    assert found[1]["run"] == 7 and found[1]["recited"] == 0 and found[1]["found"] == 0


def test_bits_are_those_of_one_forward_pass(llm: Any) -> None:
    told = by_heart.passages(weights.tokenizer(), LONG, 3)
    found = by_heart.read(llm, told)
    with torch.no_grad():
        log_p = llm(told[2:]).logits[0].log_softmax(-1)
    bits = -sum(float(log_p[at - 1, told[2, at]]) for at in range(HALF, 2 * HALF))
    assert found[2]["bits"] == pytest.approx(bits / HALF / math.log(2), rel=1e-5)
    other = torch.cat([told[1, :HALF], told[2, HALF:]])
    with torch.no_grad():
        log_p = llm(other[None]).logits[0].log_softmax(-1)
    bits = -sum(float(log_p[at - 1, other[at]]) for at in range(HALF, 2 * HALF))
    assert found[2]["bits, other opening"] == pytest.approx(bits / HALF / math.log(2), rel=1e-5)


# ---- texts ---------------------------------------------------------------------------------------


def test_texts_are_read_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_texts, "LICENCES", tmp_path)
    monkeypatch.setattr(known_texts, "STATE", tmp_path)
    (tmp_path / "GPL-3").write_text("  You may\n  copy.\n", "utf-8")
    (tmp_path / "us-constitution.gz").write_bytes(gzip.compress(b"We\nthe  People"))
    assert known_texts.read("licence GPL-3") == "  You may\n  copy.\n"
    assert known_texts.read("Constitution") == "We the People"


def test_chapters_lose_the_numbers_of_their_verses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bible"
    said = "Ge1:1 In the beginning.\\nGe1:2 And: 3:4 days."
    program.write_text(f'#!/bin/sh\necho "$3" > {tmp_path}/asked\nprintf "{said}\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert known_texts.chapters(("Gen 1",)) == "In the beginning. And: 3:4 days."
    assert (tmp_path / "asked").read_text() == "Gen1:1-200\n"


def test_a_text_that_is_not_here_is_left_out_by_name(
    llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(known_texts, "STATE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("Constitution", "Bible, often quoted"):
        assert list(experiment.one_text(name, 4, 2, 0)) == []
        assert capsys.readouterr().err.startswith(f"by-heart: {name} left out: expected ")


def test_drawn_chapters_are_always_the_same_and_exist() -> None:
    drawn = known_texts.drawn_chapters()
    assert drawn == known_texts.drawn_chapters() and len(set(drawn)) == known_texts.DRAWN_CHAPTERS
    for chapter in drawn:
        book, number = chapter.split(" ")
        assert 1 <= int(number) <= known_texts.PROSE[book]
    assert not set(drawn) & set(known_texts.QUOTED)


def test_own_words_are_long_enough_and_are_those_of_this_package() -> None:
    own = known_texts.own_words()
    assert "Associative memories" in own and len(own) > 20_000


# ---- the experiment ------------------------------------------------------------------------------


def test_a_text_is_read_in_order_and_shuffled(
    llm: Any, monkeypatch: pytest.MonkeyPatch, untouched_global_random_state: None
) -> None:
    monkeypatch.setitem(known_texts.TEXTS, "Constitution", lambda: LONG)
    data = results.frame(experiment.one_text("Constitution", 4, 2, 0))
    assert data.groupby(["version", "metric"]).size().unstack("version").eq([4, 2]).all(axis=None)
    shown = experiment.table(data)
    assert list(shown.text) == ["Constitution"] and list(shown.passages) == [4]
    assert list(experiment.shuffled(data).passages) == [2]
    assert list(shown.columns)[2:] == list(experiment.COLUMNS.values())


def rows(name: str, count: int, spared: float, run: int) -> Iterator[Record]:
    for index in range(count):
        found = {
            "bits": 2.0,
            "bits, other opening": 2.0 + spared + 0.01 * index,
            "run": float(run),
            "recited": float(run == HALF),
        }
        for metric, value in found.items():
            meta = {"version": experiment.ORDER}
            yield Record(experiment.NAME, "llm", name, metric, value, 0, index, meta)


def test_what_an_opening_saves_is_told_with_its_interval_and_compared() -> None:
    """Passage i of a text saves its text's own bits and i hundredths."""
    texts = {
        "Bible, often quoted": (12, 1.0),
        "Bible, chapters drawn": (12, 0.0),
        "documentation": (12, 1.0),
        known_texts.UNKNOWN[0]: (12, 0.0),
    }
    made = [one for name, (n, bits) in texts.items() for one in rows(name, n, bits, 3)]
    data = results.frame(made)
    saved = experiment.saved(data).set_index("text")
    assert list(saved.index) == list(texts) and set(saved.passages) == {12}
    assert list(saved.saved) == pytest.approx([1.055, 0.055, 1.055, 0.055], abs=0.006)
    se = pd.Series([0.01 * i for i in range(12)]).sem()
    assert saved.high.iloc[0] - saved.low.iloc[0] == pytest.approx(2 * 1.96 * se, abs=0.011)
    lineups = experiment.lineups(data).set_index("line-up")["AUC by bits saved"]
    assert list(lineups.str.split().str[0]) == ["0.75", "0.25", "1.00"]
    assert lineups.iloc[2] == "1.00 (1.00–1.00)"
    low, high = map(float, lineups.iloc[0].split("(")[1].rstrip(")").split("–"))
    assert 0.5 < low < 0.75 < high < 1
    assert experiment.lineups(data).equals(experiment.lineups(data))


@pytest.mark.parametrize(
    ("known", "unknown", "verdict"),
    [
        (("licence GPL-3", 24, 1.0, 3), 24, "qualified"),
        (("licence GPL-3", 24, 0.5, 3), 24, "not testable here"),
        (("licence GPL-3", 24, 1.0, HALF), 24, "not testable here"),
        (("licence GPL-3", 24, 1.0, 3), 10, "not testable here"),
        (("documentation", 24, 1.0, 3), 24, "not testable here"),
    ],
)
def test_verdict(known: tuple[str, int, float, int], unknown: int, verdict: str) -> None:
    data = results.frame([*rows(*known), *rows(known_texts.UNKNOWN[0], unknown, 0.5, 2)])
    (found,) = experiment.verdicts(data)
    assert (found.claim, found.verdict) == ("S1", verdict)
