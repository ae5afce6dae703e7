"""A causal language model as a reader of needles: a tiny checkpoint, made here, that gets the
prompt as plain text."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import processors

from memlab import evaluation, weights
from memlab.book.outside_the_weights.needles import any_language_model, measure
from memlab.book.outside_the_weights.needles.any_language_model import TextReader
from memlab.book.outside_the_weights.needles.measure import Outcome
from memlab.corpora import needles, tokenization
from memlab.models import causal_baseline, stock

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
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("MEMLAB_LLM", f"~/{folder.name}")
    assert any_language_model.named() is not None
    monkeypatch.setenv("MEMLAB_LLM", " ")
    assert any_language_model.named() is None
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


# ---- a fair judge --------------------------------------------------------------------------------


def test_a_text_is_decoded_as_a_whole() -> None:
    """Not segment by segment: where one ends inside a character, half of it would be read."""
    encode = tokenization.encoder(weights.tokenizer())
    line = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"
    hidden = needles.passkey(0)
    ids = encode([" " + line])[0]
    torn = tuple(tuple(ids[at : at + 5]) for at in range(0, len(ids), 5))
    cue = tuple(encode([" " + hidden.cue])[0])
    made = needles.Prompt(torn, (), cue, hidden, 0.5)
    assert any("\ufffd" in weights.tokenizer().decode(list(one)) for one in torn)
    assert any_language_model.as_text(made) == f"{line}\n\n{hidden.cue}"
    hay = needles.fill(cycle([line]), 300, encode, limit=64)
    whole = needles.hide(hay, hidden, 0.5, 300, encode, limit=64)
    assert "\ufffd" not in any_language_model.as_text(whole)


@pytest.fixture(scope="module")
def copier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book's causal model as a checkpoint of a user."""
    place = tmp_path_factory.mktemp("copier")
    causal_baseline.load_causal().save_pretrained(place)
    weights.tokenizer().save_pretrained(place)
    return place


DIGITS = tokenization.encoder(weights.tokenizer())(list("0123456789"))


@pytest.mark.parametrize(
    "settings",
    [
        {"no_repeat_ngram_size": 2},
        {"repetition_penalty": 4.0},
        {"bad_words_ids": DIGITS},
        {"suppress_tokens": [ids[0] for ids in DIGITS]},
        {"begin_suppress_tokens": [ids[0] for ids in DIGITS]},
        {"forced_bos_token_id": 7, "forced_eos_token_id": 9},
        {"do_sample": True, "temperature": 9.0, "top_k": 0},
        {"num_beams": 4, "num_return_sequences": 2},
        {"max_length": 5, "max_new_tokens": 1},
        {"min_length": 900, "min_new_tokens": 32},
        {"sequence_bias": [[ids, -50.0] for ids in DIGITS]},
        {"return_dict_in_generate": True, "output_scores": True},
        {"use_cache": False, "renormalize_logits": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_how_a_checkpoint_would_rather_decode_does_not_matter(
    copier: Path, prompt: needles.Prompt, settings: dict[str, Any], tmp_path: Path
) -> None:
    plain = any_language_model.load(str(copier))
    wanted = plain.answer(prompt)
    assert wanted is not None and measure.correct(prompt.fact, wanted)
    for file in copier.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    own = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **settings}
    (tmp_path / "generation_config.json").write_text(json.dumps(own))
    reader = any_language_model.load(str(tmp_path))
    kept = reader.model.generation_config
    assert reader.answer(prompt) == wanted
    assert reader.model.generation_config is kept and kept.eos_token_id == 2


@pytest.mark.parametrize(
    ("template", "first"),
    [("$A <eos>", []), ("<bos> $A <eos>", [1]), ("<bos> $A", [1]), ("$A", [])],
)
def test_a_prompt_carries_no_end_mark(
    copier: Path, prompt: needles.Prompt, template: str, first: list[int], tmp_path: Path
) -> None:
    for file in copier.iterdir():
        (tmp_path / file.name).symlink_to(file)
    core = weights.tokenizer().backend_tokenizer.to_str()
    (tmp_path / "tokenizer.json").unlink()
    changed = json.loads(core)
    template_of = processors.TemplateProcessing(
        single=template, special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    changed["post_processor"] = json.loads(template_of.__getstate__())
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
    reader = any_language_model.load(str(tmp_path))
    text = any_language_model.as_text(prompt)
    (bare,) = tokenization.encoder(weights.tokenizer())([text])
    assert len(reader.tokenizer(text).input_ids) == len(bare) + len(template.split()) - 1
    assert reader.ids(text) == [*first, *bare]
    plain = any_language_model.load(str(copier))
    if not first:
        assert reader.answer(prompt) == plain.answer(prompt)


def test_a_mark_in_the_prompt_is_letters(folder: Path) -> None:
    reader = any_language_model.load(str(folder))
    text = "He types <eos> and <pad>.\n\nHe types"
    ids = reader.ids(text)
    assert not {0, 1, 2, 3} & set(ids) and reader.tokenizer.decode(ids) == text


def no_pad(tokenizer: Any) -> None:
    tokenizer.pad_token = None


def no_marks(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token = tokenizer.bos_token = None


def cut_and_filled(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.enable_truncation(9)
    tokenizer.backend_tokenizer.enable_padding(length=900)
    tokenizer.model_max_length = 9


def a_chat(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for one in messages %}<bos>{{ one.content }}<eos>{% endfor %}"


@pytest.mark.parametrize("change", [no_pad, no_marks, cut_and_filled, a_chat])
def test_what_else_a_tokenizer_says_does_not_matter(
    folder: Path, prompt: needles.Prompt, change: Callable[[Any], None], tmp_path: Path, capfd: Any
) -> None:
    wanted = any_language_model.load(str(folder)).answer(prompt)
    for file in folder.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).symlink_to(file)
    tokenizer = type(weights.tokenizer()).from_pretrained(folder)
    change(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    capfd.readouterr()
    assert any_language_model.load(str(tmp_path)).answer(prompt) == wanted
    assert "generation" not in capfd.readouterr().err


def test_a_checkpoint_without_its_tokenizer_is_named(
    copier: Path, prompt: needles.Prompt, tmp_path: Path
) -> None:
    for file in copier.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ValueError, match="expected a tokenizer that knows words|as a tokenizer"):
        any_language_model.load(str(tmp_path)).answer(prompt)


def test_either_end_mark_of_a_checkpoint_ends_an_answer(folder: Path) -> None:
    reader = any_language_model.load(str(folder))
    reader.model.generation_config.eos_token_id = [5, 2]
    assert reader._ends() == [2, 5]
    reader.model.generation_config.eos_token_id = None
    assert reader._ends() == [2]


# ---- asked as its makers meant it ----------------------------------------------------------------

TEMPLATE = (
    "{% for one in messages %}<bos>{{ one.role }}\n{{ one.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant\n{% endif %}"
)


@pytest.fixture
def chat(folder: Path) -> TextReader:
    """The same checkpoint with a form of chat."""
    found = any_language_model.load(str(folder))
    found.tokenizer.chat_template = TEMPLATE
    return found


def test_a_request_is_a_turn_of_the_models_own_chat(chat: TextReader) -> None:
    message = {"role": "user", "content": "Who is it?"}
    wanted = chat.tokenizer.apply_chat_template([message], add_generation_prompt=True).input_ids
    assert chat.chats and chat.turn("Who is it?") == wanted
    assert chat.tokenizer.decode(wanted) == "<bos>user\nWho is it?<eos>\n<bos>assistant\n"


def test_a_mark_in_a_request_is_letters(chat: TextReader) -> None:
    ids = chat.turn("He types <eos> now.")
    assert [one for one in ids if one < 4] == [1, 2, 1]
    plain = chat.turn("He types it now.")
    assert [one for one in plain if one < 4] == [1, 2, 1]
    assert chat.tokenizer.decode(ids) == ("<bos>user\nHe types <eos> now.<eos>\n<bos>assistant\n")


def test_without_a_form_of_chat_the_request_is_plain(folder: Path) -> None:
    reader = any_language_model.load(str(folder))
    assert not reader.chats
    assert reader.tokenizer.decode(reader.turn("Who is it?")) == "Who is it?\nAnswer:"


def test_lines_come_before_the_question() -> None:
    asked = "Question: Who?\nAnswer with a few words."
    assert any_language_model.as_request([], "Who?") == asked
    assert any_language_model.as_request(["A b.", "C."], "Who?") == f"Text:\nA b.\nC.\n\n{asked}"


def test_a_reply_is_to_the_whole_text_and_the_question(
    chat: TextReader, prompt: needles.Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def turn(self: TextReader, request: str) -> list[int]:
        asked.append(request)
        return [5] * 600

    monkeypatch.setattr(TextReader, "turn", turn)
    assert chat.reply(prompt) is None  # longer than its window
    text, _, _ = any_language_model.as_text(prompt).rpartition("\n\n")
    assert asked == [any_language_model.as_request([text], prompt.fact.question)]
    monkeypatch.setattr(TextReader, "turn", lambda self, request: [5, 6])
    assert chat.reply(prompt) == chat.continued([[5, 6]])[0]


def test_prompts_that_are_read_together_are_answered_as_alone(
    copier: Path, prompt: needles.Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = any_language_model.load(str(copier))
    whole = reader.ids(any_language_model.as_text(prompt))
    prompts = [whole, whole[40:], whole[-3:], whole[-30:], whole]
    alone = [reader.continued([ids])[0] for ids in prompts]
    assert len(set(alone)) == 4 and alone[0] == alone[4] == reader.answer(prompt)
    assert reader.continued(prompts) == alone
    monkeypatch.setattr(any_language_model, "AT_ONCE", {"cpu": 2, "cuda": 2})
    assert reader.continued(prompts) == alone
    short = TextReader(reader.model, reader.tokenizer, len(whole) + any_language_model.NEW - 1)
    assert short.continued(prompts) == [None, *alone[1:4], None]
    assert reader.continued([]) == []


def test_a_reply_has_no_more_tokens_than_it_may(folder: Path) -> None:
    reader = any_language_model.load(str(folder))
    long, short = (reader.continued([[5, 6, 7]], new)[0] for new in (12, 3))
    assert long is not None and short is not None
    assert len(long) > len(short) and long.startswith(short)


def test_nothing_behind_an_end_mark_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = any_language_model.load(str(folder))
    out = torch.tensor([[5, 6, 7, 40, 41, 2, 42], [5, 6, 7, 43, 2, 2, 2]])
    monkeypatch.setattr(evaluation.recitation, "greedy", lambda *args, **options: out)
    said = [reader.tokenizer.decode(ids) for ids in ([40, 41], [43])]
    assert reader.continued([[5, 6, 7], [5, 6, 7]]) == said
