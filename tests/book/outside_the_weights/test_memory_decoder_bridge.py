"""The bridge to a pretrained language model, on a tiny one that the test makes: what it reads, what
is trained and what is not, what goes from part to part; every verdict from made-up records."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from memlab import evaluation, results, weights
from memlab.book import experiments
from memlab.book.outside_the_weights.memory_decoder import bridge as bridges
from memlab.book.outside_the_weights.memory_decoder import experiment_bridge as experiment
from memlab.book.outside_the_weights.memory_decoder.bridge import Rows, Scribe
from memlab.book.outside_the_weights.memory_decoder.experiment_bridge import (
    ANOTHER,
    BRIDGE,
    DECODER,
    FIRST,
    NOTHING,
    SPELLED,
    TEXT,
    Tools,
)
from memlab.corpora import text, tokenization
from memlab.decoder import MemoryDecoder, pretrained
from memlab.models import checkpoints

LINES = text.generic_sentences(120, seed=7)


@pytest.fixture(scope="module")
def decoder() -> MemoryDecoder:
    return pretrained.shipped()


@pytest.fixture
def scribe(llm: Any) -> Scribe:
    return Scribe.of(*bridges.frozen(checkpoints.installed_llm()))


@pytest.fixture
def rows(scribe: Scribe) -> Rows:
    return bridges.rows_of(LINES, scribe, 64)


def new(scribe: Scribe, decoder: MemoryDecoder, rows: Rows, span: int = 1) -> bridges.Bridge:
    bridge = bridges.drawn_bridge(scribe, decoder, span=span, width=16, seed=0)
    bridges.align(bridge, scribe, decoder, rows.segments)
    return bridge.eval()


def stirred(bridge: bridges.Bridge) -> bridges.Bridge:
    """One whose blocks add something."""
    with torch.no_grad():
        bridge.leave.weight.normal_(std=1.0, generator=torch.Generator().manual_seed(0))
    return bridge


# ---- the language model --------------------------------------------------------------------------


def test_a_row_of_tokens_is_read_as_if_the_prompt_held_it(scribe: Scribe, rows: Rows) -> None:
    some = rows.some(sorted(range(20), key=lambda row: len(rows.answers[row]))[::6])
    given = bridges.as_tokens(scribe)(some)
    assert len({len(one) for one in given}) > 1
    vectors = torch.nn.utils.rnn.pad_sequence(given, batch_first=True)
    holds = torch.tensor([[i < len(one) for i in range(vectors.shape[1])] for one in given])
    logits = scribe.logits(vectors, holds, some.labels())
    before, behind = scribe.copying
    for row, answer in enumerate(some.answers):
        start = [*before, *answer[:-1], *behind]
        whole = torch.tensor([[*start, *answer]])
        with torch.no_grad():
            wanted = scribe.llm(input_ids=whole).logits[0, len(start) - 1 : -1]
        assert torch.allclose(logits[row, : len(answer)], wanted, atol=1e-4)


def test_what_is_counted_as_exact_is_what_is_written(scribe: Scribe, rows: Rows) -> None:
    given = bridges.as_tokens(scribe)(rows.some([0, 1]))
    said = []
    for vectors in given:
        ids: list[int] = []
        while len(ids) < 6:
            labels = torch.tensor([[*ids, 0]])
            holds = torch.ones(1, len(vectors), dtype=torch.bool)
            ids.append(int(scribe.logits(vectors[None], holds, labels)[0, -1].argmax()))
        end = scribe.tokenizer.eos_token_id
        said.append(scribe.tokenizer.decode(tokenization.until(ids, [end])))
        # a row of exactly these tokens is one that is written out
        alike = Rows(("",), ((1,),), (tuple(ids),))
        found = bridges.read(scribe, lambda _, own=vectors: [own], alike)
        assert found.exact.tolist() == [True] and found.tokens.tolist() == [6]
        alike = Rows(("",), ((1,),), ((*ids[:-1], ids[-1] ^ 1),))
        found = bridges.read(scribe, lambda _, own=vectors: [own], alike)
        assert found.exact.tolist() == [False] and found.right.tolist() == [5]
    sequences = [scribe.sequence(scribe.copying, vectors) for vectors in given]
    assert len(sequences[0]) != len(sequences[1])
    written = evaluation.greedy_texts(scribe.llm, scribe.tokenizer, sequences, new=6, ends=[end])
    assert written == said


def test_bits_are_those_of_the_model(scribe: Scribe, rows: Rows) -> None:
    some = rows.some([3])
    found = bridges.read(scribe, bridges.nothing(scribe), some)
    whole = [*scribe.copying.before, *scribe.copying.behind]
    ids = torch.tensor([[*whole, *some.answers[0]]])
    labels = torch.where(torch.arange(ids.shape[1]) < len(whole), -100, ids)
    with torch.no_grad():
        nats = float(scribe.llm(input_ids=ids, labels=labels).loss)
    count = len(some.answers[0])
    assert float(found.bits) == pytest.approx(nats * count / 0.693147, rel=1e-4)


def test_a_prompt_is_a_chat_where_the_tokenizer_has_one(scribe: Scribe) -> None:
    tokenizer = copy.deepcopy(scribe.tokenizer)
    plain = bridges.prompt(tokenizer, "Be brief.", f"See {bridges.PLACE} here")
    assert tokenizer.decode(plain.before) == "Be brief.\nSee "
    assert tokenizer.decode(plain.behind) == " here\n"
    tokenizer.chat_template = (
        "{% for m in messages %}<bos>{{ m['role'] }}: {{ m['content'] }}<eos>{% endfor %}>"
    )
    chat = bridges.prompt(tokenizer, "Be brief.", f"See {bridges.PLACE} here")
    assert tokenizer.decode(chat.before) == "<bos>system: Be brief.<eos><bos>user: See "
    assert tokenizer.decode(chat.behind) == " here<eos>>"
    assert chat.behind[-2] == tokenization.EOS
    alone = bridges.prompt(tokenizer, "Be brief.", "Who?")
    assert tokenizer.decode(alone.before).endswith("user: Who?<eos>>") and not alone.behind


def test_questions_are_put_behind_the_row_or_alone(
    scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.Tensor] = []

    def kept(_llm: Any, _tokenizer: Any, sequences: Any, **_: Any) -> list[str]:
        asked.extend(sequences)
        return ["", ""]

    monkeypatch.setattr(bridges, "greedy_texts", kept)
    vectors = torch.full((2, scribe.table.shape[1]), 7.0)
    bridges.replies(scribe, [vectors, vectors[:0]], ["Who?", "Who?"])
    system = scribe.embedded(scribe.tokenizer(f"{bridges.ANSWER[0]}\n").input_ids)
    question = scribe.embedded(scribe.tokenizer("\nWho?\n").input_ids)
    assert torch.equal(asked[0], torch.cat([system, vectors, question]))
    words = f"{bridges.ANSWER[0]}\nWho?\n"
    assert torch.equal(asked[1], scribe.embedded(scribe.tokenizer(words).input_ids))


# ---- the bridge ----------------------------------------------------------------------------------


def test_before_training_it_gives_the_letters_of_each_token(
    scribe: Scribe, decoder: MemoryDecoder, rows: Rows
) -> None:
    some = rows.some(range(30))
    wanted = bridges.as_book_tokens(scribe)(some)
    for span in (1, 4):
        made = bridges.through(new(scribe, decoder, rows, span), decoder)(some)
        near = []
        for own, words in zip(made, wanted, strict=True):
            means = torch.stack([part.mean(0) for part in words.split(span)])
            assert own.shape == means.shape
            near += [torch.allclose(a, b, atol=1e-3) for a, b in zip(own, means, strict=True)]
        assert sum(near) >= 0.95 * len(near)


def test_letters_of_a_token_are_those_of_the_language_model(scribe: Scribe) -> None:
    table = bridges.spelled(scribe, weights.tokenizer())
    number = weights.tokenizer().convert_tokens_to_ids("Ġthe")
    assert torch.equal(table[number], scribe.table[number])  # here both have one tokenizer
    assert not table[: len(tokenization.SPECIAL)].any()


def test_a_row_has_the_same_vectors_in_any_company(
    scribe: Scribe, decoder: MemoryDecoder, rows: Rows
) -> None:
    bridge = stirred(new(scribe, decoder, rows, 4))
    some = rows.some([0, 1, 2, 3])
    together = bridges.through(bridge, decoder)(some)
    for place in range(4):
        (alone,) = bridges.through(bridge, decoder)(some.some([place]))
        assert len(alone) == -(-len(some.segments[place]) // 4)
        assert torch.allclose(alone, together[place], atol=1e-5)


def test_the_control_hands_over_the_vectors_of_the_next_row(
    scribe: Scribe, decoder: MemoryDecoder, rows: Rows
) -> None:
    bridge = stirred(new(scribe, decoder, rows))
    some = rows.some(range(20))  # more than are read together
    own = bridges.through(bridge, decoder)(some)
    moved = bridges.through(bridge, decoder, 1)(some)
    for place in range(20):
        assert torch.allclose(moved[place], own[(place + 1) % 20], atol=1e-5)


def test_first_tokens_are_as_many_as_the_vectors_of_a_bridge(scribe: Scribe, rows: Rows) -> None:
    some = rows.some([0, 1])
    for segment, answer, own in zip(
        some.segments, some.answers, bridges.as_tokens(scribe, 4)(some), strict=True
    ):
        count = -(-len(segment) // 4)
        assert torch.equal(own, scribe.embedded(answer[:count]))


def test_wrong_sizes_are_refused(scribe: Scribe, decoder: MemoryDecoder) -> None:
    with pytest.raises(ValueError, match="expected a span that divides 64 slots, got 5"):
        bridges.Bridge(slots=64, code=16, vocabulary=8, to=8, span=5)
    tokenizer = copy.deepcopy(scribe.tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="expected a tokenizer with an end mark"):
        Scribe.of(scribe.llm, tokenizer)
    other = copy.deepcopy(decoder)
    other.config.slots = 32
    bridge = bridges.Bridge(slots=64, code=16, vocabulary=2048, to=48, width=16)
    with pytest.raises(ValueError, match="expected a decoder with a slot a token, 64, got 32"):
        bridges.align(bridge, scribe, other, [])


# ---- rows and training ---------------------------------------------------------------------------


def test_rows_are_those_that_fit_both_models(scribe: Scribe) -> None:
    long = " ".join(["river"] * 40)
    made = bridges.rows_of(["To.", LINES[0], long], scribe, 64)
    assert made.texts == (LINES[0],)
    assert made.answers[0][-1] == scribe.tokenizer.eos_token_id
    assert weights.tokenizer().decode(list(made.segments[0])) == f" {LINES[0]}"
    assert bridges.rows_of(["To."], scribe, 64).texts == ()
    assert bridges.rows_of([LINES[0]], scribe, 5).texts == ()


def test_steps_hold_rows_of_similar_length_and_depend_on_their_number_alone(rows: Rows) -> None:
    spread = []
    for step in range(8):
        own = bridges.rows_of_step(rows, step, 4, 0)
        assert own == bridges.rows_of_step(rows, step, 4, 0) and len(set(own.texts)) == 4
        sizes = list(map(len, own.segments))
        spread.append(max(sizes) - min(sizes))
    assert bridges.rows_of_step(rows, 0, 4, 1) != bridges.rows_of_step(rows, 0, 4, 0)
    assert bridges.rows_of_step(rows, 1, 4, 0) != bridges.rows_of_step(rows, 0, 4, 0)
    everywhere = list(map(len, rows.segments))
    assert sum(spread) / 8 < 0.5 * (max(everywhere) - min(everywhere))


def test_training_moves_the_bridge_and_nothing_else(
    scribe: Scribe,
    decoder: MemoryDecoder,
    rows: Rows,
    untouched_global_random_state: None,
) -> None:
    bridge = new(scribe, decoder, rows)
    start = copy.deepcopy(bridge)
    frozen = evaluation.fingerprint(scribe.llm), evaluation.fingerprint(decoder)
    whole = bridges.Bridged(bridge, scribe)
    assert all(name.startswith("bridge.") for name in whole.state_dict())
    some = rows.some(range(40))
    before = bridges.read(scribe, bridges.through(start, decoder), some)
    bridges.train(bridge, scribe, decoder, some, steps=8, batch=8)
    after = bridges.read(scribe, bridges.through(bridge, decoder), some)
    assert float(after.bits.sum()) < float(before.bits.sum())
    assert (evaluation.fingerprint(scribe.llm), evaluation.fingerprint(decoder)) == frozen
    assert all(one.grad is None for one in scribe.llm.parameters())
    moved = {
        name
        for name, one in bridge.named_parameters()
        if not torch.equal(one, start.get_parameter(name))
    }
    # A look-up that is sure of its token passes no gradient to its scores.
    names = {name for name, _ in bridge.named_parameters() if not name.startswith("scores.")}
    assert moved >= names and {"words.weight", "leave.weight", "enter.weight"} <= names


# ---- the experiment ------------------------------------------------------------------------------


@pytest.fixture
def cached(llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and few lines of documentation."""
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path / "cache"))
    lines = {"train": LINES[:30], "dev": LINES[30:60], "test": LINES[60:90]}
    monkeypatch.setattr(text, "documentation", lambda split: tuple(lines[split]))
    monkeypatch.setitem(
        experiments.TABLE, "bridge", "outside_the_weights.memory_decoder.experiment_bridge"
    )
    return tmp_path


def test_a_later_part_goes_on_with_the_weights_of_the_one_before(cached: Path) -> None:
    tools = Tools("quick", 0)
    with pytest.raises(ValueError, match="'span 1, training, part 1 of 2' of profile quick"):
        list(experiment.trained(tools, 1, 2))
    with pytest.raises(ValueError, match="'span 1, training, part 2 of 2' of profile quick"):
        list(experiment.examined(tools, 1))
    first = results.frame(experiment.trained(tools, 1, 1))
    kept = tools.place(1, 1).read_bytes()
    assert set(first[first.task == "dev"].steps) == {0, 3}
    second = results.frame(experiment.trained(tools, 1, 2))
    assert set(second.steps) == {6} and tools.place(1, 1).read_bytes() == kept
    ends = tools.after(1, 2).state_dict()
    # A part that was killed is made again from its beginning: the same, in another process.
    again = Tools("quick", 0)
    list(experiment.trained(again, 1, 2))
    assert all(torch.equal(one, ends[name]) for name, one in again.after(1, 2).state_dict().items())
    assert not torch.equal(ends["words.weight"], tools.after(1, 1).state_dict()["words.weight"])
    assert len(list((cached / "cache" / "bridge").iterdir())) == 2


def test_other_settings_have_another_place(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {Tools("quick", 0).place(1, 1), Tools("quick", 1).place(1, 1)}
    places |= {Tools("full", 0).place(1, 1), Tools("quick", 0).place(4, 1)}
    other = replace(experiment.PLANS["quick"], steps=4)
    monkeypatch.setitem(experiment.PLANS, "quick", other)
    places.add(Tools("quick", 0).place(1, 1))
    assert len(places) == 5


def test_facts_have_values_that_nobody_can_guess_and_fit_their_questions(cached: Path) -> None:
    tools = Tools("quick", 0)
    assert len(tools.facts.texts) == len(tools.queries) == 5
    for fact, query in zip(tools.facts.texts, tools.queries, strict=True):
        assert evaluation.contains_value(fact, query.answer)
        assert query.answer.isdigit() or query.answer[0].isupper()
    assert not set(tools.documentation("test", 5).texts) & set(tools.lessons.texts)


def test_a_whole_run(cached: Path, llm: Any) -> None:
    file = cached / "bridge.jsonl"
    data = experiments.measure("bridge", "quick", 0, out=file)
    (session,) = results.provenances(file)
    assert session["llm_checkpoint"] == "tiny-0"
    table = experiment.table(data)
    assert list(table.columns) == ["task", "model", "span", "exact", "tokens", "bits a token"]
    arms = [TEXT, SPELLED, NOTHING, FIRST, DECODER, BRIDGE, ANOTHER]
    assert sorted(set(table.model)) == sorted(arms)
    assert len(table) == 2 * (5 + 2 * 2)
    curve = experiment.curve(data)
    assert list(zip(curve.span, curve.steps, strict=True)) == [
        (1, 0),
        (1, 3),
        (1, 6),
        (4, 0),
        (4, 3),
    ]
    asked = experiment.questions(data)
    assert set(asked.model) == {TEXT, NOTHING, BRIDGE, ANOTHER} and set(asked.n) == {5}
    cost = data[data.metric == "seconds"]
    assert len(cost) == 3 and (cost.value > 0).all() and (cost.weights < 1e7).all()
    decoder = data[(data.model == DECODER) & (data.metric == "exact")]
    assert decoder.value.mean() >= 0.8 and len(decoder) == 10
    found = experiment.verdicts(data)
    assert [one.claim for one in found] == ["N60", "N61", "N62"]


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_units_are_told_apart_and_nothing_is_read_before_they_are_measured(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "load", None)
    names = [unit.name for unit in experiment.units(profile, 0)]
    plan = experiment.PLANS[profile]
    assert len(names) == len(set(names)) == 1 + len(plan.parts) + sum(plan.parts.values())
    assert {1, 4} <= set(plan.parts)  # what the verdicts ask for


# ---- verdicts ------------------------------------------------------------------------------------


def world(**shares: float) -> pd.DataFrame:
    """A record in which all holds but for what is named."""
    usual = {
        "own": 1.0,
        "other": 0.0,
        "bits": 0.1,
        "alone": 4.0,
        "four": 1.0,
        "asked": 0.8,
        "told": 0.8,
        "unasked": 0.0,
        "facts": 1.0,
    }
    at = usual | shares
    rows = [
        (BRIDGE, "documentation", "exact", 1, at["own"]),
        (ANOTHER, "documentation", "exact", 1, at["other"]),
        (BRIDGE, "documentation", "bits a token", 1, at["bits"]),
        (BRIDGE, "documentation", "exact", 4, at["four"]),
        (ANOTHER, "documentation", "exact", 4, at["other"]),
        (BRIDGE, "documentation", "bits a token", 4, at["bits"]),
        (NOTHING, "documentation", "bits a token", 0, at["alone"]),
        (BRIDGE, "facts", "exact", 1, at["facts"]),
        (BRIDGE, "questions", "answered", 1, at["asked"]),
        (TEXT, "questions", "answered", 0, at["told"]),
        (NOTHING, "questions", "answered", 0, at["unasked"]),
    ]
    columns = ["model", "task", "metric", "span", "value"]
    return pd.DataFrame(rows, columns=columns).assign(steps=700)


WORLDS: list[tuple[str, str, dict[str, float]]] = [
    ("N60", "supported", {}),
    ("N60", "qualified", {"own": 0.8}),
    ("N60", "qualified", {"other": 0.2}),
    ("N60", "qualified", {"own": 0.0, "bits": 2.0}),
    ("N60", "not testable here", {"own": 0.1, "bits": 2.1}),
    ("N61", "supported", {"own": 0.0}),
    ("N61", "qualified", {"four": 0.2, "bits": 3.0}),
    ("N61", "not testable here", {"four": 0.0, "bits": 3.0}),
    ("N62", "supported", {"asked": 0.73}),
    ("N62", "qualified", {"asked": 0.7}),
    ("N62", "qualified", {"asked": 0.1}),
    ("N62", "refuted", {"asked": 0.05}),
    ("N62", "not testable here", {"asked": 0.05, "facts": 0.8}),
    ("N62", "not testable here", {"unasked": 0.7}),
]


@pytest.mark.parametrize(("claim", "verdict", "shares"), WORLDS)
def test_every_verdict_can_come_out(claim: str, verdict: str, shares: dict[str, float]) -> None:
    found = {one.claim: one for one in experiment.verdicts(world(**shares))}
    assert found[claim].verdict == verdict, found[claim]


def test_a_record_without_what_decides_is_no_verdict() -> None:
    data = world()
    for arm in (BRIDGE, NOTHING):
        lacking = experiment.verdicts(data[data.model != arm])
        assert {one.verdict for one in lacking} == {"not testable here"}
        assert all("the record lacks" in one.evidence for one in lacking)


def test_the_evidence_holds_the_numbers_and_says_when_a_training_decides_nothing() -> None:
    first = experiment.verdicts(world(own=0.05, bits=3.5))[0].evidence
    assert first.startswith("0.05 of 1 rows written out after 700 steps")
    assert "3.50 bits a token, 4.00 without a row" in first
    assert first.endswith("so short a training decides nothing about a longer one")
    assert "decides nothing" not in experiment.verdicts(world())[0].evidence
