"""Other questions for a pretrained model, on a tiny one that the test makes: what is asked, which
poem comes, what is recorded; and every verdict from made-up records."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import evaluation, results, weights
from memlab.book import experiments
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.book.opening_the_box.reciting import pretrained as reciting
from memlab.book.opening_the_box.the_right_question import experiment_pretrained as experiment
from memlab.book.opening_the_box.the_right_question import pretrained, titles
from memlab.book.opening_the_box.the_right_question.pretrained import Plan
from memlab.corpora.poems import Poem
from memlab.results import Record

REWORDED = ("begun", "shared", "unshared", "french", "neighbour")


# ---- titles --------------------------------------------------------------------------------------


def test_paraphrases_share_words_or_none_and_never_those_of_another_title() -> None:
    for one in titles.TITLES:
        assert one.title.startswith(f"{one.begun} ")
        assert 0 < evaluation.content_words(one.shared, one.title) < 1
        assert evaluation.content_words(one.unshared, one.title) == 0
        for wording in (getattr(one, name) for name in REWORDED):
            others = [other.title for other in titles.TITLES if other is not one]
            assert not [t for t in others if evaluation.content_words(wording, t)], wording


def test_a_neighbour_differs_in_one_word_and_all_wordings_are_told_apart() -> None:
    wordings = [getattr(one, name) for one in titles.TITLES for name in ("title", *REWORDED)]
    assert len(set(wordings)) == 6 * len(titles.TITLES) == 6 * 28
    for one in titles.TITLES:
        pairs = zip(one.title.split(), one.neighbour.split(), strict=True)
        (changed,) = [(a, b) for a, b in pairs if a != b]
        assert abs(len(changed[0]) - len(changed[1])) <= 2
        assert difflib.SequenceMatcher(None, *changed).ratio() >= 0.5, changed


def test_two_letters_of_the_longest_word_change_places() -> None:
    assert titles.misspelt("The Road Home") == "The Raod Home"
    assert titles.misspelt("Moon salt") == "Mono salt"
    assert titles.misspelt("Eel ivy") == "Ele ivy"
    for one in titles.TITLES:
        wrong = titles.misspelt(one.title)
        assert sorted(wrong) == sorted(one.title) and wrong != one.title
        assert [word[0] for word in wrong.split()] == [word[0] for word in one.title.split()]
        assert sum(a != b for a, b in zip(wrong, one.title, strict=True)) == 2
    with pytest.raises(ValueError, match="with two letters to exchange, got 'Oo a'"):
        titles.misspelt("Oo a")


# ---- what is asked -------------------------------------------------------------------------------


def test_english_poems_have_one_poet_and_a_quarter_of_them_a_neighbour() -> None:
    taught, asked = pretrained.english(16, 3)
    table = {one.title: one for one in titles.TITLES}
    names = [poem.title for poem in taught]
    assert len({poem.author for poem in taught}) == 1 and len(set(names)) == 16
    assert len({poem.text for poem in taught}) == 16 == len(taught[0].text.split())
    assert [table[name].neighbour for name in names[:4]] == names[12:]
    by_cue: dict[str, list[pretrained.Question]] = {}
    for one in asked:
        assert one.poem.text == taught[one.own].text
        by_cue.setdefault(one.cue, []).append(one)
    counts = {cue: len(some) for cue, some in by_cue.items()}
    assert counts == {
        "its own title": 16,
        **dict.fromkeys(experiment.THE_SAME, 12),
        "author left out": 12,
        "another author": 12,
        "a neighbour's title": 8,
        "a neighbour's title, never taught": 8,
        "another's title": 12,
        "a title never taught": 16,
    }
    for cue in ("another's title", "a neighbour's title"):
        for one in by_cue[cue]:
            assert one.rival is not None and one.rival != one.own
            assert one.poem.title == taught[one.rival].title
    unknown = {one.poem.title for one in by_cue["a title never taught"]}
    assert len(unknown) == 16 and unknown <= set(table) and not unknown & set(names)
    for one in by_cue["a neighbour's title, never taught"]:
        assert one.poem.title == table[taught[one.own].title].neighbour not in names
    for one in by_cue["another author"]:
        assert one.poem.author != taught[0].author and one.poem.title == names[one.own]
    assert {one.poem.author for one in by_cue["author left out"]} == {""}
    assert pretrained.english(16, 3) == (taught, asked) != pretrained.english(16, 4)
    with pytest.raises(ValueError, match="expected 4, 8, 12 or 16 poems, got 10"):
        pretrained.english(10, 0)


@pytest.mark.parametrize("kind", pretrained.KINDS)
def test_only_its_own_title_and_that_of_a_rival_are_questions_that_were_taught(kind: str) -> None:
    for seed in range(4):
        taught, asked = pretrained.KINDS[kind](16, seed)
        prompts = [poems_as_text.prompt(poem) for poem in taught]
        for one in asked:
            said = poems_as_text.prompt(one.poem)
            owner = prompts.index(said) if said in prompts else None
            assert owner == (one.own if one.cue == pretrained.OWN else one.rival), one


def test_drawn_titles_are_altered_as_those_of_the_small_boxes() -> None:
    taught, asked = pretrained.drawn(16, 0)
    poem = taught[0]
    first, second = poem.title.lower().split()
    changed = {one.cue: one.poem for one in asked if one.own == 0}
    assert changed["a title word missing"] == replace(poem, title=second.capitalize())
    assert changed["title words exchanged"].title.lower() == f"{second} {first}"
    assert changed["a title word replaced"].title.split()[1] == second
    assert changed["a title word replaced"].title.split()[0] != first.capitalize()
    assert changed["another author"] == replace(poem, author=changed["another author"].author)
    assert changed["another's title"].cue == taught[1].cue
    twice = [poem for poem in taught if len(set(poem.title.lower().split())) == 1]
    assert len(changed) == 11 and len(asked) == 16 * 11 - len(twice)
    assert len(twice) == 1, "of one word twice: to exchange them is no other question"
    assert set(experiment.SMALL) - {experiment.MEANING} <= set(changed)


def test_a_question_that_is_another_poem_s_by_accident_is_left_out() -> None:
    one, other = Poem("Ada Vale", "Eel ivy", "a"), Poem("Ada Vale", "Ivy eel", "b")
    turned = pretrained.Question("title words exchanged", replace(one, title="Ivy eel"), 0)
    same = pretrained.Question("title words exchanged", one, 0)
    free = pretrained.Question("a title word missing", replace(one, title="Ivy"), 0)
    meant = pretrained.Question("another's title", replace(other, text="a"), 0, 1)
    own = pretrained.Question(pretrained.OWN, one, 0)
    asked = [turned, same, free, meant, own]
    assert list(pretrained._unambiguous([one, other], asked)) == [free, meant, own]


# ---- what comes ----------------------------------------------------------------------------------


def test_that_poem_came_of_which_half_of_the_words_stand_in_their_places() -> None:
    poems = [Poem("", "", "moon salt\nriver door"), Poem("", "", "moon stone bird glass")]
    assert pretrained.nearest("moon salt river door", poems) == 0
    assert pretrained.nearest("moon salt ash ash and more", poems) == 0
    assert pretrained.nearest("moon stone bird", poems) == 1
    assert pretrained.nearest("salt moon river ash", poems) is None
    assert pretrained.nearest("", poems) is None


def answer(comes: int | None, bits: float, **more: Any) -> pretrained.Answer:
    asked = pretrained.Question("some", Poem("", "", "moon salt"), 0, more.get("rival"))
    said, like, tokens = more.get("said", ""), more.get("like", 1), more.get("tokens", 0.5)
    return pretrained.Answer(asked, said, comes, like, bits, tokens)


def test_a_summary_says_which_poem_came_and_whether_the_question_told_anything() -> None:
    some = [
        answer(0, 4.0, said="moon salt", tokens=1.0),
        answer(0, 6.0, said="moon salt "),
        answer(2, 9.0, rival=2),
        answer(2, 12.0),
        answer(None, 14.0, like=0),
    ]
    found = pretrained.summary(some, {0: 10.0})
    wanted = {"recited": 0.2, "its own": 0.4, "the rival's": 0.2, "another": 0.2, "none": 0.2}
    more = {"meant": 0.2, "tokens": 0.6, "bits": 9.0, "cheaper": 0.6}
    assert found == pytest.approx({**wanted, **more})
    first = some[0]
    unknown = replace(first, question=replace(first.question, cue=pretrained.UNKNOWN))
    assert "cheaper" not in pretrained.summary([unknown], {0: 10.0})


def test_bits_and_tokens_of_every_answer_are_those_of_its_question(llm: Any) -> None:
    tokenizer = weights.tokenizer()
    taught, asked = pretrained.english(4, 0)
    some = asked[:6]
    found = pretrained.ask(llm, tokenizer, taught, some, range(6))
    alone = [poems_as_text.score(llm, tokenizer, [one.poem]) for one in some]
    assert [one.tokens for one in found] == pytest.approx([one.tokens for one in alone])
    assert [one.bits for one in found] == pytest.approx([one.bits for one in alone], rel=1e-4)
    assert [one.question for one in found] == some and [one.like for one in found] == [*range(6)]


def test_titles_are_compared_by_the_state_that_would_say_their_meaning(llm: Any) -> None:
    taught, asked = pretrained.english(8, 0)
    tokenizer = weights.tokenizer()
    like = dict(zip(asked, pretrained.likest(llm, tokenizer, taught, asked), strict=True))
    for one, best in like.items():
        if one.cue in (pretrained.OWN, "author left out", "another author"):
            assert best == one.own
        if one.rival is not None:
            assert best == one.rival
    states = pretrained._meanings(llm, tokenizer, ["Moon", "Moon salt river"])
    said = pretrained.IN_ONE_WORD.format("Moon salt river")
    ids = torch.tensor([tokenizer(said, add_special_tokens=False).input_ids])
    last = llm(input_ids=ids, output_hidden_states=True).hidden_states[2]
    assert torch.allclose(states[1], last[0, -1], atol=1e-6)


def test_what_all_states_have_in_common_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.tensor([[9.0, 4, 0], [9, 0, 1], [9, 0, -1]])
    wanted = torch.tensor([[9.0, 2, 0.9]])
    assert int(torch.cosine_similarity(wanted, known).argmax()) == 1, "with what is common to all"
    monkeypatch.setattr(
        pretrained, "_meanings", lambda _m, _t, texts: known if len(texts) == 3 else wanted
    )
    poem = Poem("", "Moon", "salt")
    asked = [pretrained.Question("some", poem, 0)]
    assert pretrained.likest(None, None, [poem] * 3, asked) == [0]


# ---- the lesson ----------------------------------------------------------------------------------


def test_a_lesson_is_given_until_all_is_recited_and_the_shared_model_stays_as_it_was(
    llm: Any, monkeypatch: pytest.MonkeyPatch, untouched_global_random_state: None
) -> None:
    monkeypatch.setattr(reciting, "RATE", 2e-2)
    monkeypatch.setattr(pretrained, "WORDS", 4)
    before = {name: one.clone() for name, one in llm.state_dict().items()}
    data = results.frame(pretrained.measured(Plan("English", poems=4, epochs=30, rounds=4), 0))
    assert all(torch.equal(one, before[name]) for name, one in llm.state_dict().items())
    shares = data[data.task == "cue"].pivot_table("value", "cue", "metric")
    (epochs,) = set(data.epochs)
    assert shares.recited[pretrained.OWN] == shares["its own"][pretrained.OWN] == 1
    assert 30 <= epochs < 120 and epochs % 30 == 0, "all recited: no need to go on"
    assert shares.recited["another's title"] == 0 and shares["the rival's"]["another's title"] == 1
    assert shares.recited[pretrained.UNKNOWN] < 1
    assert shares.bits[pretrained.OWN] < shares.bits[pretrained.UNKNOWN]
    assert shares.cheaper[pretrained.OWN] == 1
    assert (shares[list(pretrained.WHOSE)].sum(axis=1) - 1).abs().max() < 1e-3
    assert set(data[data.task == "cost"].metric) == {"teaching", "asking"}


def test_a_lesson_is_given_until_the_last_poem_is_recited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lesson teaches one poem more."""
    taught, _ = pretrained.english(4, 0)
    given: list[int] = []

    def recite(_model: Any, _tokenizer: Any, poems: list[Poem]) -> list[str]:
        return [poem.text if i < len(given) else "" for i, poem in enumerate(poems)]

    monkeypatch.setattr(reciting, "teach", lambda *_: given.append(1))
    monkeypatch.setattr(poems_as_text, "recite", recite)
    assert pretrained.teach(Plan("English", rounds=6), None, None, taught, 0) == len(given) == 4


def test_a_lesson_that_is_not_learnt_ends(llm: Any) -> None:
    tokenizer = weights.tokenizer()
    taught, _ = pretrained.english(4, 0)
    plan = Plan("English", start="random", poems=4, epochs=1, rounds=2)
    pupil = reciting.pupil_of(plan.lesson, llm, 0)
    assert pretrained.teach(plan, pupil, tokenizer, taught, 0) == 2
    assert not torch.allclose(pupil.lm_head.weight, llm.lm_head.weight, atol=1e-2)


# ---- the experiment ------------------------------------------------------------------------------


def test_units_are_told_apart_and_begin_with_one_seed_of_each() -> None:
    names = [unit.name for unit in experiment.units("full", 0)]
    assert names == [
        "English titles, pretrained start, seed 0",
        "drawn titles, pretrained start, seed 0",
        "English titles, random start, seed 0",
        "English titles, pretrained start, seed 1",
        "English titles, pretrained start, seed 2",
    ]
    assert len({unit.name for unit in experiment.units("gpu", 0)}) == 23


def test_a_record_says_which_model_it_was_and_its_tables_hold_every_question(
    llm: Any, tmp_path: Path
) -> None:
    file = tmp_path / "the-right-question-pretrained.jsonl"
    data = experiments.measure("the-right-question-pretrained", "quick", 0, out=file)
    (session,) = results.provenances(file)
    assert session["llm_checkpoint"] == "tiny-0" and len(session["llm_sha256"]) == 64
    table = experiment.table(data)
    cues = list(dict.fromkeys(question.cue for question in pretrained.english(4, 0)[1]))
    assert list(table.cue) == cues and set(table.model) == {"English titles"}
    assert list(table.columns) == ["model", "cue", "recited", "95 %", *pretrained.WHOSE]
    assert table.recited[0] == "0 of 4"
    for more in experiment.more_tables:
        assert len(more(data)) == (1 if more is experiment.lessons else len(cues))
    assert [verdict.verdict for verdict in experiment.verdicts(data)] == ["not testable here"]


def made_up(**shares: float | tuple[float, float]) -> pd.DataFrame:
    """A record of two seeds in which nothing but the own title brings a poem, with the shares of
    poems recited that are named otherwise."""
    named = {
        "own": pretrained.OWN,
        "unknown": pretrained.UNKNOWN,
        "meaning": experiment.MEANING,
        "letters": "letters exchanged",
        "author": "another author",
    }
    cues = [pretrained.OWN, pretrained.UNKNOWN, *experiment.THE_SAME, "another author"]
    values: dict[str, Any] = {cue: 0.0 for cue in cues} | {pretrained.OWN: 1.0}
    values |= {named[name]: share for name, share in shares.items() if name in named}
    records: list[Record] = []
    for cue, value in values.items():
        for seed, one in enumerate(value if isinstance(value, tuple) else (value, value)):
            records += note(cue, one, seed)
    if "twin" in shares:
        records += note(pretrained.OWN, 1.0, 0, start="random")
        records += note(experiment.MEANING, shares["twin"], 0, start="random")
    return results.frame(records)


def note(cue: str, share: Any, seed: int, **more: str) -> list[Record]:
    about = {"titles": "English", "start": "pretrained", "epochs": 20, "cue": cue, "count": 20}
    found = {"recited": share, "meant": 0.75, **dict.fromkeys(pretrained.WHOSE, 0.0)}
    return list(pretrained._note("cue", found, seed, about | more))


VERDICTS: list[tuple[str, dict[str, Any]]] = [
    ("supported", {"meaning": (0.4, 0.7)}),
    ("qualified", {"meaning": (0.4, 0.5)}),
    ("qualified", {"meaning": 0.6, "unknown": 0.4}),
    ("qualified", {"letters": 0.2}),
    ("qualified", {"meaning": 0.2}),
    ("refuted", {}),
    ("refuted", {"letters": (0.2, 0.0), "author": 1.0}),
    ("not testable here", {"own": (1.0, 0.8), "meaning": 0.8}),
]


@pytest.mark.parametrize(("verdict", "shares"), VERDICTS)
def test_every_verdict_can_come_out(verdict: str, shares: dict[str, Any]) -> None:
    (found,) = experiment.verdicts(made_up(**shares))
    assert (found.claim, found.verdict) == ("M1", verdict), found


def test_a_verdict_names_its_counts_and_the_twin_where_there_is_one() -> None:
    (found,) = experiment.verdicts(made_up(meaning=(0.4, 0.7)))
    assert found.evidence.endswith("it knew the meaning of 30")
    assert "2 seeds" in found.evidence and "no word shared 22 of 40" in found.evidence
    low, high = results.wilson(22, 40)
    assert f"{low:.2f}–{high:.2f}" in found.evidence and "twin" not in found.evidence
    (beside,) = experiment.verdicts(made_up(meaning=(0.4, 0.7), twin=0.1))
    assert "random start, 20 of 20 by its own titles, 2 of 20" in beside.evidence
    data = made_up()
    (lacking,) = experiment.verdicts(data[data.cue != "in French"])
    assert lacking.verdict == "not testable here" and "lacks the questions" in lacking.evidence


def test_the_law_sets_the_models_beside_the_small_boxes() -> None:
    data = made_up(meaning=(0.4, 0.7), twin=0.1)
    boxes = [
        Record("the-right-question", box, "cue", "recall", value, seed, meta={"cue": cue})
        for box, cue, value in (("strict", "its own key", 1.0), ("gaps", "its own key", 0.9))
        for seed in (0, 1)
    ]
    law = experiment.law(data, results.frame(boxes)).set_index("cue")
    assert list(law.columns[1:3]) == ["English titles", "the same, random start"]
    meant = experiment._counted(data, "meant").loc["English titles", experiment.MEANING]
    assert law.loc[experiment.MEANING, "meant, before"] == f"{meant.hits / meant.asked:.2f}"
    assert law.loc[experiment.MEANING, "English titles"] == "0.55"
    assert law.loc["in French", "the same, random start"] == "–"
    assert law.loc[pretrained.OWN, "small box, gaps"] == "0.90"
    assert law.loc[experiment.MEANING, "small box, strict"] == "–"
    assert not [name for name in experiment.law(data).columns if "small" in name]
