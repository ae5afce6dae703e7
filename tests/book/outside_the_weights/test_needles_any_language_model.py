"""A causal language model as a reader of needles: a tiny checkpoint, made here, that gets the
prompt as plain text."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memlab import weights
from memlab.book.outside_the_weights.needles import any_language_model, measure
from memlab.book.outside_the_weights.needles.any_language_model import TextReader
from memlab.book.outside_the_weights.needles.measure import Outcome
from memlab.corpora import needles
from memlab.models import stock

LENGTH = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights with the book's tokenizer and a window of 512 tokens."""
    place = tmp_path_factory.mktemp("checkpoint")
    stock.build("gpt2", len(weights.tokenizer()), 512, dim=16, heads=2, layers=1).save_pretrained(
        place
    )
    weights.tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def prompt() -> needles.Prompt:
    return measure.prompt("passkey", LENGTH, 0, hay=measure.haystack(LENGTH, 0))


def test_the_text_ends_with_the_cue_and_holds_the_fact(prompt: needles.Prompt) -> None:
    text = any_language_model.as_text(prompt)
    cue = weights.tokenizer().decode(list(prompt.cue)).strip()
    body, _, asked = text.rpartition("\n\n")
    assert asked == cue and prompt.fact.answer in body
    assert body.startswith(weights.tokenizer().decode(list(prompt.segments[0])).strip())


def test_a_folder_is_read_and_the_model_goes_on_with_the_text(
    folder: Path, prompt: needles.Prompt
) -> None:
    reader = any_language_model.load(str(folder))
    ids = reader.tokenizer(any_language_model.as_text(prompt), return_tensors="pt").input_ids
    own: list[int] = []  # greedy, by hand
    with torch.no_grad():
        for _ in range(any_language_model.NEW):
            logits = reader.model(
                torch.cat([ids, torch.tensor([own], dtype=torch.long)], 1)
            ).logits[0, -1]
            own.append(int(logits.argmax()))
            if own[-1] == reader.tokenizer.eos_token_id:
                break
    assert reader.window == 512
    assert reader.answer(prompt) == reader.tokenizer.decode(own, skip_special_tokens=True)


def test_what_does_not_fit_is_not_answered(folder: Path, prompt: needles.Prompt) -> None:
    reader = any_language_model.load(str(folder))
    length = reader.tokenizer(
        any_language_model.as_text(prompt), return_tensors="pt"
    ).input_ids.shape[1]
    short = TextReader(reader.model, reader.tokenizer, length + any_language_model.NEW - 1)
    assert short.answer(prompt) is None
    assert (
        TextReader(reader.model, reader.tokenizer, length + any_language_model.NEW).answer(prompt)
        is not None
    )


def test_only_a_name_in_the_environment_loads_a_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMLAB_LLM", raising=False)
    assert any_language_model.named() is None
    monkeypatch.setenv("MEMLAB_LLM", str(folder))
    found = any_language_model.named()
    assert found is not None and found.window == 512
    monkeypatch.setenv("MEMLAB_LLM", "someone/small")
    with pytest.raises(ValueError, match="hub:owner/name"):
        any_language_model.named()


def test_a_cell_scores_whole_answers_or_none(prompt: needles.Prompt) -> None:
    other = measure.prompt("passkey", LENGTH, 1, hay=measure.haystack(LENGTH, 1))
    cell: Any = SimpleNamespace(prompts=[prompt, other])
    said = measure.Cell.said_by(cell, lambda p: f" {p.fact.answer}." if p is prompt else "41", 2)
    assert said == [Outcome(True, None, f" {prompt.fact.answer}."), Outcome(False, None, "41")]
    assert measure.Cell.said_by(cell, lambda p: None if p is other else "41", 2) == []
    assert len(measure.Cell.said_by(cell, lambda p: None if p is other else "41", 1)) == 1
