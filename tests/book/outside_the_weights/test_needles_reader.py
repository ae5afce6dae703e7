"""A language model behind the memory: who hands over which rows, what is asked and how it is
judged, on the shipped decoder and a language model that the test makes; every verdict from made-up
records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from memlab import results, retrieval
from memlab.book import experiments
from memlab.book.outside_the_weights.needles import any_language_model, reader
from memlab.book.outside_the_weights.needles import experiment_reader as experiment
from memlab.book.outside_the_weights.needles.any_language_model import TextReader
from memlab.book.outside_the_weights.needles.reader import (
    ENCODER,
    KEYED,
    NOTHING,
    ORACLE,
    OWN,
    RANDOM,
    TUNED,
    Arm,
    Reader,
    Store,
    Tools,
)
from memlab.corpora import relations
from memlab.decoder import OwnKeys
from memlab.models import checkpoints

TOKENS = 2500


class Scripted:
    """In the place of the language model: says what `says` makes of a request, and keeps what it
    was asked."""

    def __init__(self, says: Callable[[str], str]) -> None:
        self.says = says
        self.asked: list[str] = []

    def replies(self, requests: Sequence[str]) -> list[str]:
        self.asked += requests
        return [self.says(request) for request in requests]


@pytest.fixture(scope="module")
def store() -> Store:
    tools = Tools("held out", 5, entities=(1, 1))
    return Store(tools, TOKENS)


def told(request: str) -> list[str]:
    """The lines of text in a request."""
    head, _, _ = request.rpartition("\n\nQuestion: ")
    return head.split("\n")[1:]


def asking(store: Store, says: Callable[[str], str]) -> Scripted:
    store.tools.__dict__["reader"] = Scripted(says)
    return store.tools.__dict__["reader"]


def frame(records: Any) -> pd.DataFrame:
    return results.frame(records)


# ---- rows ----------------------------------------------------------------------------------------


def test_all_questions_have_both_forms(store: Store) -> None:
    queries = store.tools.queries
    whole = relations.question_set("held out", 5, entities=(1, 1))
    assert [*store.exam.asked.facts] == [*whole.facts]
    assert queries == [query for query in whole.queries if query.stem] and len(queries) > 12
    for query in queries:
        sentence = store.exam.sentences[store.own_row(query)]
        assert sentence == f"{query.stem} {query.answer}."
        asked = reader.in_words(query, "stem")
        person = relations.FAMILIES[query.family].value == "person"
        assert asked == f"{query.stem} {'who' if person else 'what'}?"
        assert reader.in_words(query, "question") == query.question
    assert len({reader.in_words(query, "stem").split()[-1] for query in queries}) == 2
    with pytest.raises(ValueError, match="expected question or stem as form, got 'cue'"):
        reader.in_words(queries[0], "cue")


@pytest.mark.parametrize("form", ["question", "stem"])
def test_the_rows_of_a_memory_are_those_of_a_scan(store: Store, form: str) -> None:
    own = OwnKeys(store.tools.decoder)
    asked = own.encode([getattr(query, form) for query in store.tools.queries])
    scores = asked @ own.encode(store.exam.sentences).T
    best = scores.topk(reader.MOST).indices.tolist()
    assert store.found(OWN, form) == best
    hits = [rows[0] == store.own_row(q) for rows, q in zip(best, store.tools.queries, strict=True)]
    share = sum(hits) / len(hits)
    assert share >= 0.9 if form == "stem" else share <= 0.4


def test_an_oracle_hands_over_the_right_row_before_those_of_bm25(store: Store) -> None:
    words = retrieval.BM25(store.exam.sentences)
    best = words.search([query.question for query in store.tools.queries], 20).rows.tolist()
    assert store.found("bm25", "question") == [rows[: reader.MOST] for rows in best]
    for rows, query, rivals in zip(
        store.found(ORACLE, "question"), store.tools.queries, best, strict=True
    ):
        own = store.own_row(query)
        assert rows[0] == own and len(rows) == reader.MOST
        assert rows[1:] == [row for row in rivals if row != own][: reader.MOST - 1]


def test_chance_hands_over_any_rows_but_the_right_one(store: Store) -> None:
    found = store.found(RANDOM, "question")
    for rows, query in zip(found, store.tools.queries, strict=True):
        assert store.own_row(query) not in rows and len(set(rows)) == len(rows) == reader.MOST
    assert len({tuple(rows) for rows in found}) == len(found)
    again = Store(Tools("held out", 5, entities=(1, 1)), TOKENS)
    assert again.found(RANDOM, "question") == found
    assert store.found(NOTHING, "stem") == [[] for _ in store.tools.queries]


def test_an_unknown_ranker_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match="expected bm25 or one of own keys, .*, got 'best'"):
        store.found("best", "stem")


# ---- requests ------------------------------------------------------------------------------------


def test_rows_are_told_best_first_a_line_each_or_the_best_one_last(store: Store) -> None:
    model = asking(store, lambda request: "")
    list(store.read(ORACLE, Arm("question", 3)))
    list(store.read(ORACLE, Arm("question", 3, last=True)))
    half = len(store.tools.queries)
    for first, last, rows, query in zip(
        model.asked[:half],
        model.asked[half:],
        store.found(ORACLE, "question"),
        store.tools.queries,
        strict=True,
    ):
        a, b, c = (store.exam.sentences[row] for row in rows[:3])
        assert told(first) == [a, b, c] and told(last) == [b, c, a]
        assert first.startswith("Text:\n")
        assert first.endswith(f"\n\nQuestion: {query.question}\nAnswer with a few words.")


def test_without_rows_the_question_stands_alone(store: Store) -> None:
    model = asking(store, lambda request: "")
    data = frame(store.read(NOTHING, Arm("question", 0)))
    query = store.tools.queries[0]
    assert model.asked[0] == f"Question: {query.question}\nAnswer with a few words."
    assert set(data.tokens) == set(data.found) == {0}


def test_what_is_written_out_is_what_the_decoder_says_of_each_row_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def say(self: Any, state: Any, rows: Any) -> list[str]:
        said.extend(texts := [f"row {len(said) + i}" for i in range(len(rows))])
        assert len(rows) == len(state)
        return texts

    monkeypatch.setattr(reader.TextMemory, "say", say)
    monkeypatch.setattr(store, "_written", {})
    model = asking(store, lambda request: "")
    list(store.read(OWN, Arm("question", 2, "written")))
    rows = [row for some in store.found(OWN, "question") for row in some[:2]]
    assert len(said) == len(set(rows)) < len(rows)
    text_of = dict(zip(dict.fromkeys(rows), said, strict=True))
    wanted = [[text_of[row] for row in some[:2]] for some in store.found(OWN, "question")]
    assert [told(request) for request in model.asked] == wanted
    list(store.read(OWN, Arm("question", 1, "written")))
    assert len(said) == len(set(rows))


def test_the_decoder_loses_little_of_the_facts(store: Store) -> None:
    rows = [store.own_row(query) for query in store.tools.queries]
    store.write_out(rows)
    both = zip(store.lines(rows, "stored"), store.lines(rows, "written"), strict=True)
    same = [stored == written for stored, written in both]
    assert sum(same) >= 0.8 * len(rows)


class Counted(TextReader):
    """Says how long a turn is and how much it may say to it; a window of 9 holds no turn of 2."""

    def turn(self, request: str) -> list[int]:
        self.tokenizer.append(request)
        return [len(request)]

    def continued(self, prompts: Sequence[Sequence[int]], new: int = 0) -> list[str | None]:
        return [None if ids == [2] else f"{ids[0]} of {new}" for ids in prompts]


def test_a_request_is_read_once() -> None:
    turns: list[str] = []
    model = Reader(Counted(None, turns, 9))
    assert model.replies(["a", "bbb", "a"]) == ["1 of 24", "3 of 24", "1 of 24"]
    assert model.replies(["bbb"]) == ["3 of 24"] and turns == ["a", "bbb"]
    with pytest.raises(ValueError, match="expected requests that fit into 9 tokens .*'cc'"):
        model.replies(["cc"])


# ---- records -------------------------------------------------------------------------------------


def test_answers_are_right_if_they_name_the_value_and_wrong_ones_may_name_a_rivals(
    store: Store,
) -> None:
    values = {
        store.exam.sentences[place]: fact.value
        for place, fact in zip(store.exam.places, store.exam.asked.facts, strict=True)
    }

    def named(request: str, number: int) -> str:
        lines = told(request)
        return f"It is {values.get(lines[number], 'a manual')}, I think."

    asking(store, lambda request: named(request, 0))
    first = frame(store.read(ORACLE, Arm("question", 2)))
    assert (first.value == 1).all() and (first.rival == 0).all() and (first.found == 1).all()
    assert list(first["index"]) == list(range(len(store.tools.queries)))
    asking(store, lambda request: named(request, 1))
    second = frame(store.read(ORACLE, Arm("question", 2)))
    rows = [some[1] for some in store.found(ORACLE, "question")]
    facts = [store.exam.sentences[row] in values for row in rows]
    own = [query.answer for query in store.tools.queries]
    same = [values.get(store.exam.sentences[r]) == a for r, a in zip(rows, own, strict=True)]
    assert second.value.tolist() == [float(one) for one in same]
    wanted = [int(fact and not one) for fact, one in zip(facts, same, strict=True)]
    assert second.rival.tolist() == wanted and sum(wanted) > len(wanted) / 2
    assert set(second.words) <= {5, 6}
    asking(store, lambda request: f"{named(request, 1)} Or: {named(request, 0)}")
    both = frame(store.read(ORACLE, Arm("question", 2)))
    assert set(both.value) == {1} and set(both.rival) == {0}
    assert set(second.columns) >= {"tokens", "rows", "text", "place"}


def test_found_says_whether_the_right_row_is_among_those_that_were_told(store: Store) -> None:
    asking(store, lambda request: "")
    for count in (1, 2):
        data = frame(store.read("bm25", Arm("question", count)))
        rows = store.found("bm25", "question")
        wanted = [
            store.own_row(query) in some[:count]
            for some, query in zip(rows, store.tools.queries, strict=True)
        ]
        assert data.found.tolist() == wanted and 0 < sum(wanted) < len(wanted)


def test_without_a_model_the_row_as_it_is_or_its_last_words_are_the_answer(store: Store) -> None:
    asking(store, lambda request: "no idea")
    data = frame(store.read(ORACLE, Arm("question", 1)))
    assert set(data.value) == {0} and set(data.row) == set(data["last"]) == {1}
    assert max(len(query.answer.split()) for query in store.tools.queries) == reader.LAST
    wrong = frame(store.read(RANDOM, Arm("question", 1)))
    assert wrong.row.mean() < 0.2 and set(wrong.found) == {0}
    assert "row" not in frame(store.read(ORACLE, Arm("question", 2)))
    early = reader._without_a_model("Mr Karo wrote the book of it.", "Karo")
    assert early == {"row": 1, "last": 0}


# ---- the experiment ------------------------------------------------------------------------------


def test_a_run_says_which_model_it_was_and_leaves_it_as_it_is(
    llm: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untouched_global_random_state: None,
) -> None:
    monkeypatch.setattr(reader, "NEW", 3)
    before = {name: one.clone() for name, one in llm.state_dict().items()}
    file = tmp_path / "needles-reader.jsonl"
    data = experiments.measure("needles-reader", "quick", 0, out=file)
    assert all(torch.equal(one, before[name]) for name, one in llm.state_dict().items())
    (session,) = results.provenances(file)
    assert session["llm_checkpoint"] == "tiny-0" and len(session["llm_sha256"]) == 64
    assert set(data[data.metric == "answered"].model) == {OWN, "bm25", ORACLE, RANDOM, NOTHING}
    length, window = (data[data.metric == name].value.item() for name in ("length", "window"))
    assert window == 512 and 1500 < length < 2200
    table = experiment.table(data)
    assert list(table.columns) == ["task", "model", "0", "1", "2"]
    assert table.model.tolist()[:5] == [ORACLE, "bm25", OWN, RANDOM, NOTHING]
    law = experiment.law(data)
    assert law.columns[4] == "addressed" and set(law.model) == {OWN, "bm25"}
    texts = experiment.texts(data)
    assert list(texts.columns[4:]) == ["last words", "read", "row"]
    right = texts[(texts.model == ORACLE) & (texts.text == "stored")]
    assert right.row.str.startswith("1.00").all() and set(texts.text) == {"stored", "written"}
    assert set(experiment.oracles(data).place) == {"ranked", "last"}
    found = {one.claim: one.verdict for one in experiment.verdicts(data)}
    assert found["N50"] == "not testable here" and list(found) == CLAIMS


def test_a_ranker_whose_package_is_not_there_is_left_out_by_name(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("MEMLAB_ENCODER", raising=False)
    monkeypatch.setattr(retrieval, "OPTIONAL", "no_such_package_of_anybody")
    for ranker in (ENCODER, TUNED):
        assert list(reader.measured(store, ranker, [Arm("question", 1)])) == []
        said = capsys.readouterr().err
        assert said.startswith(f"needles-reader: {ranker} left out: expected a sentence encoder")
        assert said.count("\n") == 1


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_units_are_told_apart_and_nothing_is_read_before_they_are_measured(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "load_once", None)
    names = [unit.name for unit in experiment.units(profile, 0)]
    assert len(names) == len(set(names)) and names[0] == "no rows"
    assert sum(name.endswith(RANDOM) for name in names) == 1
    assert sum(name.endswith(ORACLE) for name in names) == len(experiment.PLANS[profile].lengths)


def test_only_rows_with_latents_are_written_out_and_only_the_oracles_stands_last() -> None:
    rows = experiment.PLANS["full"].lengths[65536]
    by_ranker = {name: experiment.arms(name, rows) for name in experiment.ORDER[:-1]}
    written = {name for name, arms in by_ranker.items() if any(a.text == "written" for a in arms)}
    assert written == {*KEYED, ORACLE}
    assert [a for arms in by_ranker.values() for a in arms if a.last] == [
        Arm("question", 8, last=True)
    ]
    assert [arm.rows for arm in by_ranker["bm25"]] == [1, 2, 4, 8, 1, 8]
    assert by_ranker[RANDOM] == [Arm("question", 1), Arm("question", 8)]


# ---- verdicts ------------------------------------------------------------------------------------

CLAIMS = ["N50", "N51", "N52", "N53", "N54"]
ADDRESSED = {ORACLE: 1.0, TUNED: 0.9, ENCODER: 0.7, "bm25": 0.3, OWN: 0.1}
READ = {1: 0.8, 2: 0.7, 4: 0.6, 8: 0.5}


def one_arm(
    ranker: str, tokens: int, arm: Arm, addressed: float, read: float, otherwise: float
) -> pd.DataFrame:
    """A hundred questions, of which so many are addressed and so many of those answered."""
    number = np.arange(100)
    found = number < round(100 * addressed)
    of_found = number / max(addressed, 0.01)
    of_others = (number - 100 * addressed) / max(1 - addressed, 0.01)
    rank = np.where(found, of_found, of_others)
    right = rank < 100 * np.where(found, read, otherwise) - 1e-6
    columns = {"value": right, "found": found, "row": found, "last": found}
    return (
        pd.DataFrame(columns)
        .astype(float)
        .assign(
            tokens=tokens,
            rows=arm.rows,
            text=arm.text,
            place="last" if arm.last else "ranked",
            rival=0,
            words=3,
            model=ranker,
            task=arm.form,
            metric="answered",
        )
    )


def made_up(
    *,
    read: dict[int, float] = READ,
    behind: dict[int, float] | None = None,
    addressed: dict[str, float] = ADDRESSED,
    otherwise: float = 0.0,
    alone: float = 0.0,
    length: float = 5e5,
) -> pd.DataFrame:
    """The recorded plan: `read` behind the oracle, `behind` it the rankers; what is answered
    `otherwise`, and `alone`."""
    parts: list[pd.DataFrame] = []
    for tokens, counts in experiment.PLANS["full"].lengths.items():
        for ranker, share in addressed.items():
            reads = read if ranker == ORACLE else behind or read
            for arm in experiment.arms(ranker, counts):
                parts.append(one_arm(ranker, tokens, arm, share, reads[arm.rows], otherwise))
        sizes = {"metric": ["length", "window"], "value": [length, 8192.0]}
        parts.append(pd.DataFrame(sizes).assign(model="llm", tokens=tokens))
    for form in ("question", "stem"):
        parts.append(one_arm(NOTHING, 0, Arm(form, 0), 0.0, 0.0, alone))
    return pd.concat(parts, ignore_index=True)


WORLDS: list[tuple[str, str, dict[str, Any]]] = [
    ("N50", "supported", {}),
    ("N50", "qualified", {"read": {**READ, 8: 0.75}}),
    ("N50", "refuted", {"read": {**READ, 8: 0.8}}),
    ("N50", "not testable here", {"addressed": {"bm25": 0.3}}),
    ("N51", "supported", {}),
    ("N51", "qualified", {"behind": {**READ, 1: 0.9}}),
    ("N51", "qualified", {"otherwise": 0.06, "addressed": {**ADDRESSED, OWN: 0.3}}),
    ("N51", "refuted", {"behind": {**READ, 1: 0.4}}),
    ("N51", "not testable here", {"addressed": {ORACLE: 1.0, TUNED: 0.9, ENCODER: 0.8}}),
    ("N51", "not testable here", {"addressed": {TUNED: 0.9, OWN: 0.1}}),
    ("N52", "supported", {}),
    ("N52", "qualified", {"alone": 0.3}),
    ("N52", "qualified", {"addressed": {ORACLE: 1.0, OWN: 0.4}}),
    ("N52", "refuted", {"addressed": {ORACLE: 1.0, OWN: 0.1}}),
    ("N52", "not testable here", {"length": 8000.0}),
    ("N52", "not testable here", {"addressed": {ORACLE: 1.0, "bm25": 0.1}}),
    ("N53", "supported", {}),
    ("N53", "qualified", {"behind": {1: 0.8, 2: 0.7, 4: 0.6, 8: 0.3}}),
    ("N53", "refuted", {"behind": {1: 0.8, 2: 0.2, 4: 0.2, 8: 0.1}}),
    ("N53", "not testable here", {"addressed": {ORACLE: 1.0}}),
    ("N54", "supported", {"otherwise": 0.4}),
    ("N54", "qualified", {"otherwise": 0.25}),
    ("N54", "refuted", {}),
    ("N54", "not testable here", {"addressed": {ORACLE: 1.0, TUNED: 0.9}}),
]


@pytest.mark.parametrize(("claim", "verdict", "world"), WORLDS)
def test_every_verdict_can_come_out(claim: str, verdict: str, world: dict[str, Any]) -> None:
    found = {one.claim: one for one in experiment.verdicts(made_up(**world))}
    assert found[claim].verdict == verdict, found[claim]
    assert list(found) == CLAIMS


def test_a_memory_is_judged_by_what_its_decoder_writes() -> None:
    data = made_up()
    data.loc[data.text == "written", "value"] = 0.0
    found = {one.claim: one.verdict for one in experiment.verdicts(data)}
    assert found["N52"] == "refuted" and found["N51"] == "supported"


def test_the_evidence_holds_the_numbers() -> None:
    found = {one.claim: one.evidence for one in experiment.verdicts(made_up(alone=0.02))}
    assert "64K, question: 0.80 and 0.50" in found["N50"] and "n=100 or more" in found["N50"]
    assert "addressed 0.10 to 0.90, answered 0.08 to 0.72" in found["N51"]
    said = "500,000 tokens, of which the window holds 1.6%; first row of the memory"
    assert f"{said} (encoder, tuned): question: 0.72" in found["N52"]
    assert "alone 0.02, behind BM25 0.24" in found["N52"]
    assert "off by 0.0" in found["N53"]
    assert "64K, bm25: 0.30 and 0.15; " in found["N54"]


def test_the_law_is_address_times_what_is_read_behind_the_oracle() -> None:
    data = made_up(otherwise=0.1, behind={**READ, 8: 0.3})
    law = experiment.law(data).set_index(["tokens", "task", "model", "rows"])
    row = law.loc[(65536, "question", "encoder", 8)]
    assert (row.addressed, row["read"], row.expected, row.n) == (0.7, 0.3, 0.35, 100)
    assert row.answered == pytest.approx(0.7 * 0.3 + 0.3 * 0.1, abs=0.011)
    assert row.otherwise == pytest.approx(0.1, abs=0.01)
    assert ORACLE not in law.index.get_level_values("model")


def test_the_table_has_an_interval_for_each_share_and_rankers_in_order() -> None:
    data = made_up()
    table = experiment.table(data).set_index(["task", "model"])
    low, high = results.wilson(80, 100)
    assert table.loc[("question", ORACLE), "1"] == f"0.80 [{low:.2f}, {high:.2f}]"
    assert [model for task, model in table.index if task == "stem"] == [
        *(name for name in experiment.ORDER if name != RANDOM)
    ]
    assert "2" not in experiment.longest(data).columns and "2" in table.columns
    assert any_language_model.NEW > reader.NEW
