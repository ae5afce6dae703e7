"""Passkeys and needles: the prompt is as long, the fact as deep and the answer as alone as the task
says."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle

import pytest

from memlab import weights
from memlab.corpora import needles, text
from memlab.corpora.tokenization import encoder

ENCODE = encoder(weights.tokenizer())
LINES = tuple(text.generic_sentences(400, 5))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A library of 400 sentences in place of the real one."""
    monkeypatch.setattr(text, "documentation", lambda split: LINES)
    return LINES


def said(segments: object) -> str:
    return str(weights.tokenizer().decode([token for segment in segments for token in segment]))  # type: ignore[attr-defined]


def trigrams(sentence: str) -> set[tuple[str, ...]]:
    words = re.findall("[a-z]+", sentence.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


# ---- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_passkey_is_a_five_digit_number_said_twice(split: str) -> None:
    facts = [needles.passkey(seed, split=split) for seed in range(300)]
    assert all(re.fullmatch(r"[1-9]\d{4}", fact.answer) for fact in facts)
    assert len({fact.answer for fact in facts}) > 290
    for fact in facts:
        assert [sentence.count(fact.answer) for sentence in fact.sentences] == [1, 0, 1]
        assert fact.sentences[0] == f"{fact.cue} {fact.answer}."


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_needle_is_its_stem_and_its_answer(split: str) -> None:
    facts = [needles.needle(seed, split=split) for seed in range(300)]
    assert all(fact.sentences == (f"{fact.cue} {fact.answer}.",) for fact in facts)
    assert len({fact.answer for fact in facts}) >= 6 and len({fact.cue for fact in facts}) > 10
    assert all(fact.answer not in fact.question for fact in facts)


@pytest.mark.parametrize("kind", needles.KINDS)
def test_choices_and_reports_rest_on_different_wordings(kind: str) -> None:
    seen = {
        split: {
            three
            for seed in range(200)
            for fact in [needles.fact(kind, seed, split=split)]
            for one in (*fact.sentences, fact.cue, fact.question)
            for three in trigrams(one)
        }
        for split in ("dev", "test")
    }
    cities = {three for city in needles._CITIES for three in trigrams(f"{city} is")}
    assert len(seen["dev"]) > 5 and seen["dev"] & seen["test"] <= cities


def test_facts_are_a_pure_function_of_kind_seed_and_split() -> None:
    for kind in needles.KINDS:
        assert needles.fact(kind, 0) == needles.fact(kind, 0, split="test") != needles.fact(kind, 1)
        assert needles.fact(kind, 0).kind == kind
    assert needles.fact("passkey", 3) == needles.passkey(3) and needles.fact(
        "needle", 3
    ) == needles.needle(3)


# ---- haystacks -----------------------------------------------------------------------------------


def test_cut_keeps_every_token_in_order() -> None:
    ids = [[1, 2, 3], [], [4, 5, 6, 7, 8, 9, 10]]
    assert needles.cut(ids, 3, ()) == ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10,))
    with pytest.raises(ValueError, match="at least 1 token, got a limit of 0"):
        needles.cut(ids, 0, ())


@pytest.mark.parametrize("length", [1, 30, 384, 5000])
@pytest.mark.parametrize("source", ["documentation", "filler"])
def test_a_haystack_is_just_long_enough(lines: tuple[str, ...], length: int, source: str) -> None:
    hay = needles.haystack(length, ENCODE, limit=16, source=source)
    assert length <= hay.tokens == sum(len(segment) for segment in hay.segments) < length + 16
    assert all(1 <= len(segment) <= 16 for segment in hay.segments)


def test_a_haystack_runs_on_in_the_order_of_the_text(lines: tuple[str, ...]) -> None:
    starts = set()
    for seed in range(5):
        first, *rest = (
            said(needles.haystack(3000, ENCODE, limit=10, seed=seed).segments).strip().split("  ")
        )
        assert not rest
        starts.add(next(i for i, line in enumerate(lines) if first.startswith(line)))
        twice = (
            " ".join(lines[max(starts) :] + lines) if len(starts) == 1 else " ".join(lines + lines)
        )
        assert first in twice
    assert len(starts) == 5, "each seed starts somewhere else"


def test_a_haystack_longer_than_the_text_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(text.generic_sentences(7))
    monkeypatch.setattr(text, "documentation", lambda split: few)
    sentences = needles.haystack(30_000, ENCODE, limit=1000, seed=3).segments
    at = [few.index(said([one]).strip()) for one in sentences[:-1]]
    assert len(at) > 1500 and set(at) == set(range(7))
    assert all((b - a) % 7 == 1 for a, b in zip(at, at[1:], strict=False))


def test_the_filler_is_that_of_the_passkey_paper() -> None:
    hay = needles.haystack(100, ENCODE, limit=48, source="filler", seed=9)
    assert said(hay.segments[:6]) == (
        " The grass is green. The sky is blue. The sun is yellow. Here we go."
        " There and back again. The grass is green."
    )


def test_fitting_counts_whole_segments() -> None:
    hay = needles.Haystack(((1, 2), (3,), (4, 5, 6)))
    assert [hay.fitting(room) for room in range(8)] == [0, 0, 1, 2, 2, 2, 3, 3]
    assert hay.tokens == 6 and needles.Haystack(()).fitting(5) == 0


@pytest.mark.parametrize(
    ("length", "more", "message"),
    [
        (0, {}, "expected a haystack of at least 1 token, got 0"),
        (-5, {}, "expected a haystack of at least 1 token, got -5"),
        (10, {"source": "novels"}, "unknown haystack 'novels': expected documentation or filler"),
        (10, {"split": "train"}, "unknown split 'train': expected dev or test"),
        (10, {"limit": 0}, "a segment must hold at least 1 token, got a limit of 0"),
    ],
)
def test_haystacks_that_cannot_be(
    lines: tuple[str, ...], length: int, more: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        needles.haystack(length, ENCODE, **{"limit": 48, **more})  # type: ignore[arg-type]


# ---- prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", needles.KINDS)
@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("length", [128, 1500])
def test_real_prompts_hold_the_answer_where_they_say_and_nowhere_else(
    kind: str, split: str, length: int
) -> None:
    for trial in range(5):
        prompt = needles.tasks_for(kind, length, trial, 0, split, ENCODE)
        own = [prompt.segments[row] for row in prompt.rows]
        rest = [segment for row, segment in enumerate(prompt.segments) if row not in prompt.rows]
        answer = prompt.fact.answer
        assert said(own) == " " + " ".join(prompt.fact.sentences)
        assert said(own).count(answer) == {"passkey": 2, "needle": 1}[kind]
        assert answer not in said(rest) and prompt.fact.cue not in said(rest)
        assert (
            said([prompt.cue]) == " " + prompt.fact.cue and own[0][: len(prompt.cue)] == prompt.cue
        )
        assert length - 2 - 48 < prompt.tokens <= length - 2
        assert prompt.tokens == sum(len(segment) for segment in prompt.segments) + len(prompt.cue)
        assert all(1 <= len(segment) <= 48 for segment in prompt.segments)


@pytest.mark.parametrize("depth", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_depth_is_the_share_of_the_haystack_before_the_fact(
    lines: tuple[str, ...], depth: float
) -> None:
    hay, fact = needles.haystack(2000, ENCODE, limit=48), needles.passkey(1)
    prompt = needles.hide(hay, fact, depth, 2000, ENCODE, limit=48)
    first, last = prompt.rows[0], prompt.rows[-1]
    before, after = prompt.segments[:first], prompt.segments[last + 1 :]
    assert (*before, *after) == hay.segments[: len(before) + len(after)]
    assert (
        abs(len(before) / (len(before) + len(after)) - depth)
        <= 0.5 / (len(before) + len(after)) + 1e-9
    )
    assert (len(before) == 0) == (depth == 0) and (len(after) == 0) == (depth == 1)
    assert list(prompt.rows) == list(range(first, last + 1)) and prompt.depth == depth


def test_a_prompt_is_as_full_as_it_can_be(lines: tuple[str, ...]) -> None:
    hay, fact = needles.haystack(3000, ENCODE, limit=48), needles.needle(2)
    for length in range(100, 160):
        prompt = needles.hide(hay, fact, 0.5, length, ENCODE, limit=48, reserve=3)
        left_out = hay.segments[len(prompt.segments) - len(prompt.rows)]
        assert prompt.tokens + 3 <= length < prompt.tokens + 3 + len(left_out)


def test_a_long_fact_is_cut_into_rows_of_its_own(lines: tuple[str, ...]) -> None:
    prompt = needles.hide(
        needles.haystack(500, ENCODE, limit=6), needles.needle(0), 0.3, 400, ENCODE, limit=6
    )
    assert len(prompt.rows) > 2 and max(map(len, prompt.segments)) <= 6
    assert said(prompt.segments[row] for row in prompt.rows) == " " + prompt.fact.sentences[0]


@pytest.mark.parametrize("depth", [-0.01, 1.01, float("nan"), float("inf")])
def test_depth_outside_the_haystack(lines: tuple[str, ...], depth: float) -> None:
    hay = needles.haystack(300, ENCODE, limit=48)
    with pytest.raises(
        ValueError, match=re.escape(f"expected a depth between 0 and 1, got {depth}")
    ):
        needles.hide(hay, needles.passkey(0), depth, 200, ENCODE, limit=48)


def test_a_prompt_too_short_for_its_needle(lines: tuple[str, ...]) -> None:
    hay, fact = needles.haystack(300, ENCODE, limit=48), needles.passkey(0)
    sentences = ENCODE([" " + one for one in (fact.cue, *fact.sentences)])
    need = sum(len(one) for one in sentences) + 2
    assert needles.hide(hay, fact, 0.5, need, ENCODE, limit=48).rows == (0, 1, 2)
    with pytest.raises(
        ValueError, match=f"the needle and its cue need {need} tokens, the prompt has {need - 1}"
    ):
        needles.hide(hay, fact, 0.5, need - 1, ENCODE, limit=48)


def test_a_haystack_shorter_than_the_needle(lines: tuple[str, ...]) -> None:
    hay = needles.haystack(3, ENCODE, limit=3)
    assert hay.tokens < min(map(len, ENCODE(needles.needle(0).sentences)))
    with pytest.raises(
        ValueError, match=rf"expected a haystack of at least \d+ tokens, got {hay.tokens}$"
    ):
        needles.hide(hay, needles.needle(0), 0.5, 200, ENCODE, limit=48)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: needles.fact("haiku", 0), "unknown task 'haiku': expected one of passkey, needle"),
        (
            lambda: needles.fact("needle", 0, split="train"),
            "unknown split 'train': expected dev or test",
        ),
        (lambda: needles.passkey(0, split="Test"), "unknown split 'Test': expected dev or test"),
        (
            lambda: needles.tasks_for("needle", 0, 0, 0, "test", ENCODE),
            "expected a haystack of at least 1 token, got 0",
        ),
        (
            lambda: needles.tasks_for("needle", 10, 0, 0, "test", ENCODE),
            "the needle and its cue need",
        ),
        (
            lambda: needles.tasks_for("needle", 100, 0, 0, "test", ENCODE, source="x"),
            "unknown haystack 'x'",
        ),
    ],
)
def test_tasks_that_cannot_be(
    lines: tuple[str, ...], call: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.usefixtures("untouched_global_random_state")
def test_a_trial_is_a_pure_function_of_its_parameters(lines: tuple[str, ...]) -> None:
    def make(
        kind: str = "passkey", length: int = 200, trial: int = 0, seed: int = 0
    ) -> needles.Prompt:
        return needles.tasks_for(kind, length, trial, seed, "test", ENCODE)

    first = make()
    assert first == make()
    others = [make(kind="needle"), make(length=201), make(trial=1), make(seed=1)]
    assert all(other.fact != first.fact and other.segments != first.segments for other in others)
    assert [make(trial=trial).depth for trial in range(11)] == pytest.approx(
        [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.05]
    )


def test_segments_of_any_script_read_out_whole() -> None:
    """A haystack, a needle and its haystack around it: no segment begins or ends inside a
    character."""
    lines = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 2, "मेरा दिल दिल्ली में है 🍣" * 2]
    hay = needles.fill(cycle(lines), 600, ENCODE, limit=16)
    hidden = needles.Fact(
        "needle", ("最好的事是吃月饼 🥮。" * 3,), "最好的事是", "什么？", "吃月饼"
    )
    made = needles.hide(hay, hidden, 0.5, 500, ENCODE, limit=16)
    assert len(made.rows) > 1, "otherwise the needle was not cut"
    for segment in (*hay.segments, *made.segments):
        assert len(segment) <= 16 and "\ufffd" not in said([segment])
    assert hidden.sentences[0] in said(made.segments)
