"""The lesson for a pretrained model, on a tiny one that the test makes: what is taught, what stays
as it was, what is measured; and every verdict from made-up records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import results, weights
from memlab.book import experiments
from memlab.book.opening_the_box.reciting import experiment_pretrained as experiment
from memlab.book.opening_the_box.reciting import poems_as_text, pretrained
from memlab.book.opening_the_box.reciting.pretrained import Lesson
from memlab.corpora import verse
from memlab.corpora.poems import Poem


@pytest.fixture(autouse=True)
def short_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no licence, and the documentation is one line."""
    monkeypatch.setattr(pretrained, "LICENCE", tmp_path / "none")
    monkeypatch.setattr(pretrained.text, "documentation", lambda split: ("Return the value.",))


def table_of(records: Any) -> pd.DataFrame:
    return results.frame(records)


def metric(data: pd.DataFrame, task: str, name: str) -> float:
    (value,) = data[(data.task == task) & (data.metric == name)].value
    return float(value)


# ---- what is taught ------------------------------------------------------------------------------


def test_poems_never_taught_share_no_title_and_no_text_with_those_that_are() -> None:
    poems = pretrained.poems_of(Lesson(40, 1), 3)
    assert (len(poems.taught), len(poems.moved), len(poems.held)) == (40, 16, 16)
    assert not {poem.cue for poem in poems.taught} & {poem.cue for poem in poems.held}
    assert not {poem.text for poem in poems.taught} & {poem.text for poem in poems.held}
    assert poems.bits == 16 * math.log2(128)


def test_the_twin_learns_the_same_texts_under_the_same_titles_otherwise_paired() -> None:
    own = pretrained.poems_of(Lesson(16, 1), 0)
    twin = pretrained.poems_of(Lesson(16, 1, swapped=True), 0)
    assert list(twin.taught) == list(own.moved) and list(twin.moved) == list(own.taught)
    assert {poem.text for poem in twin.taught} == {poem.text for poem in own.taught}
    assert [poem.cue for poem in twin.taught] == [poem.cue for poem in own.taught]
    assert all(a.text != b.text for a, b in zip(own.taught, twin.taught, strict=True))


def test_a_step_holds_equally_many_words_of_poems_of_any_length() -> None:
    short, long = Lesson(64, 10), Lesson(16, 10, words=64)
    assert short.batch * short.words == long.batch * long.words == 256
    steps = [poems_as_text.steps(one.epochs, one.count, one.batch) for one in (short, long)]
    assert steps == [40, 40]


def test_five_verses_of_six_are_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Poem("A. Poet", f"Ode {i}", f"One line\nand {i} others") for i in range(14)]
    monkeypatch.setattr(verse, "collection", lambda name: {pretrained.VERSE: found}[name])
    poems = pretrained.poems_of(Lesson(0, 1), 0)
    assert list(poems.held) == found[::6] and poems.bits is None
    assert [*poems.taught] == [poem for i, poem in enumerate(found) if i % 6]


def test_where_no_verse_is_installed_one_line_says_so(
    llm: Any, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def missing(name: str) -> list[Poem]:
        raise FileNotFoundError("install it with `apt install fortunes`")

    monkeypatch.setattr(verse, "collection", missing)
    for epochs in (0, 1):
        assert list(pretrained.measured(Lesson(0, epochs), 0)) == []
        said = "reciting: verse left out: install it with `apt install fortunes`\n"
        assert capsys.readouterr().err == said


# ---- the lesson ----------------------------------------------------------------------------------


def test_a_lesson_is_recited_and_the_model_that_all_share_stays_as_it_was(
    llm: Any, monkeypatch: pytest.MonkeyPatch, untouched_global_random_state: None
) -> None:
    monkeypatch.setattr(pretrained, "RATE", 2e-2)
    before = {name: one.clone() for name, one in llm.state_dict().items()}
    data = table_of(pretrained.measured(Lesson(3, 60, words=4), 0))
    assert all(torch.equal(one, before[name]) for name, one in llm.state_dict().items())
    assert metric(data, "taught", "every character") == 1
    assert metric(data, "titles swapped", "every character") == 0
    assert metric(data, "never taught", "every character") == 0
    assert metric(data, "taught", "code bits") < 4 * 7 < metric(data, "never taught", "code bits")
    total = sum(one.numel() for one in llm.parameters())
    assert set(data.trained) == set(data.weights) == {total} and set(data.poem_bits) == {28}
    again = table_of(pretrained.measured(Lesson(3, 0, words=4), 0))
    assert metric(again, "taught", "every character") == 0 and set(again.epochs) == {0}
    moved = data[data.task == "elsewhere"].set_index("text").value
    start = again[again.task == "elsewhere"].set_index("text").value
    assert list(moved.index) == list(start.index) == ["documentation", "this book's own words"]
    assert (moved - start).abs().min() > 0.05


def test_corrections_train_few_numbers_and_leave_the_embedding(llm: Any) -> None:
    tokenizer = weights.tokenizer()
    lesson = Lesson(2, 2, words=4, rank=1)
    pupil = pretrained.pupil_of(lesson, llm, 0)
    poems = pretrained.poems_of(lesson, 0).taught
    trained = pretrained.teach(lesson, pupil, tokenizer, poems, 0)
    after = pupil.state_dict()
    changed = {name for name, one in llm.state_dict().items() if not torch.equal(one, after[name])}
    wanted = [name for name in after if "_proj" in name]
    assert changed == set(wanted) and len(wanted) == 2 * 7
    assert trained == sum(sum(after[name].shape) for name in wanted)


def test_a_random_start_is_the_same_architecture_and_depends_on_the_seed_alone(
    llm: Any, untouched_global_random_state: None
) -> None:
    lesson = Lesson(2, 1, start="random")
    one, same, other = (pretrained.pupil_of(lesson, llm, seed) for seed in (0, 0, 1))
    assert one.config.to_dict() == llm.config.to_dict()
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, llm.lm_head.weight)


def test_bits_a_token_are_those_of_the_windows(llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "WINDOW", 5)
    tokenizer = weights.tokenizer()
    words = "The water of the river was as cold as it had been in the month of April."
    ids = tokenizer(words).input_ids[:10]
    lost = []
    for part in (ids[:5], ids[5:]):
        with torch.no_grad():
            logits = llm(torch.tensor([part])).logits[0].double().log_softmax(-1)
        lost += [-float(logits[i, part[i + 1]]) / math.log(2) for i in range(len(part) - 1)]
    found = pretrained.bits_a_token(llm, tokenizer, words)
    assert found == pytest.approx(sum(lost) / len(lost), abs=1e-5)
    with pytest.raises(ValueError, match="expected a text of at least 2 tokens, got 0"):
        pretrained.bits_a_token(llm, tokenizer, "")


def test_the_licence_is_read_where_it_lies(
    llm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    assert "licence" not in pretrained.elsewhere()
    assert "the licence left out: expected it at " in capsys.readouterr().err
    (tmp_path / "GPL").write_text("You may copy.", "utf-8")
    monkeypatch.setattr(pretrained, "LICENCE", tmp_path / "GPL")
    texts = pretrained.elsewhere()
    assert texts["licence"] == "You may copy."
    assert "a random cycle" in texts["this book's own words"]


# ---- the experiment ------------------------------------------------------------------------------


def test_units_are_told_apart_and_ask_once_before_the_lessons() -> None:
    names = [unit.name for unit in experiment.units("full", 0)]
    assert len(names) == len(set(names))
    assert [name for name in names if " 0 epochs, seed 0" in name] == [
        "16 poems of 16 words, 0 epochs, seed 0",
        "64 poems of 16 words, 0 epochs, seed 0",
        "16 poems of 64 words, 0 epochs, seed 0",
        "verse, 0 epochs, seed 0",
    ]
    assert "16 poems of 16 words, 20 epochs, titles swapped, seed 2" in names


def test_a_record_says_which_model_it_was_and_takes_no_other(
    llm: Any,
    saved_llm: Callable[[int], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "reciting-pretrained.jsonl"
    data = experiments.measure("reciting-pretrained", "quick", 0, out=file)
    (session,) = results.provenances(file)
    assert session["llm_checkpoint"] == "tiny-0" and len(session["llm_sha256"]) == 64
    table = experiment.table(data)
    assert list(table.epochs) == [0, 2] and list(table.columns[-5:]) == [
        "recited",
        "other titles",
        "never taught",
        "tokens right",
        "bits a poem",
    ]
    assert list(table.lesson) == ["4 poems of 16 words"] * 2
    assert len(experiment.elsewhere(data)) == 2
    assert [verdict.verdict for verdict in experiment.verdicts(data)] == ["not testable here"] * 5
    experiments.recorded("reciting-pretrained", tmp_path)
    assert capsys.readouterr().out.rstrip().endswith(", tiny-0")
    monkeypatch.setenv("MEMLAB_LLM", saved_llm(1))
    with pytest.raises(ValueError, match="to go on with, got llm_checkpoint 'tiny-0', llm_sha256"):
        experiments.measure("reciting-pretrained", "quick", 0, out=file, resume=True)


# ---- verdicts ------------------------------------------------------------------------------------


def made_up(**shares: float | tuple[float, float]) -> pd.DataFrame:
    """A record of two seeds with the shares that are named, and 1 or 0 elsewhere as in a world in
    which everything holds."""
    lessons: dict[str, tuple[Lesson, str, float]] = {
        "hundred": (Lesson(16, 100), "taught", 1.0),
        "verse": (Lesson(0, 20), "taught", 1.0),
        "own": (Lesson(16, 20), "taught", 1.0),
        "fresh": (Lesson(16, 20), "never taught", 0.0),
        "bare": (Lesson(16, 20, start="random"), "taught", 0.0),
        "late bare": (Lesson(16, 100, start="random"), "taught", 0.5),
        "twin": (Lesson(16, 20, swapped=True), "taught", 1.0),
        "others": (Lesson(16, 20, swapped=True), "titles swapped", 0.0),
        "five": (Lesson(64, 5), "taught", 0.9),
        "ten": (Lesson(64, 10), "taught", 0.9),
        "twenty": (Lesson(64, 20), "taught", 0.9),
        "long": (Lesson(16, 10, words=64), "taught", 0.5),
    }
    records = []
    for name, (lesson, task, usual) in lessons.items():
        value = shares.get(name, usual)
        for seed, one in enumerate(value if isinstance(value, tuple) else (value, value)):
            found = {experiment.STRICT: one}
            records += pretrained._note(lesson, task, seed, found, epochs=lesson.epochs)
    return results.frame(records)


VERDICTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "T1": [
        ("supported", {}),
        ("qualified", {"verse": (1.0, 0.6)}),
        ("refuted", {"hundred": (0.4, 1.0)}),
    ],
    "T3": [
        ("supported", {}),
        ("qualified", {"bare": (0.8, 1.0)}),
        ("qualified", {"late bare": 1.0}),
        ("refuted", {"own": 0.5, "bare": 0.5}),
    ],
    "S5": [
        ("supported", {}),
        ("qualified", {"five": 0.0}),
        ("refuted", {"five": 0.0, "bare": 1.0}),
    ],
    "S6": [
        ("supported", {}),
        ("qualified", {"long": (0.9, 0.5)}),
        ("refuted", {"long": 0.9}),
        ("not testable here", {"ten": 1.0, "long": 1.0}),
        ("not testable here", {"ten": 0.0, "long": 0.0}),
    ],
    "M1": [
        ("supported", {}),
        ("qualified", {"others": 0.3}),
        ("qualified", {"twin": (0.7, 1.0)}),
        ("refuted", {"twin": 0.2}),
    ],
}


@pytest.mark.parametrize(
    ("claim", "verdict", "shares"),
    [(claim, verdict, shares) for claim, rows in VERDICTS.items() for verdict, shares in rows],
)
def test_every_verdict_can_come_out(claim: str, verdict: str, shares: dict[str, Any]) -> None:
    found = {one.claim: one for one in experiment.verdicts(made_up(**shares))}
    assert found[claim].verdict == verdict, found[claim]
    assert list(found) == list(VERDICTS)


@pytest.mark.parametrize("profile", ["full", "gpu"])
def test_plans_hold_lessons_of_distinct_names(profile: str) -> None:
    plan = experiment.PLANS[profile]
    assert len({lesson.name for lesson in plan}) == len(plan) and set(plan.values()) <= {1, 3}


def test_the_recorded_plan_holds_what_every_verdict_asks_for() -> None:
    plan = experiment.PLANS["full"]
    records = []
    for lesson in plan:
        for task in ("taught", "titles swapped", "never taught"):
            found = {experiment.STRICT: 0.5}
            records += pretrained._note(lesson, task, 0, found, epochs=lesson.epochs)
    evidence = [one.evidence for one in experiment.verdicts(results.frame(records))]
    assert not [said for said in evidence if "lacks the lessons" in said]
