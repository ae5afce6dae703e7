"""RULER-style tasks: every answer stands where it was put and nowhere else, and what is withheld
stands nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab import runtime, weights
from memlab.corpora import keys_and_values, needles, ruler, text
from memlab.corpora.no_shared_words import PAIRS
from memlab.corpora.ruler import Task, Trial
from memlab.corpora.tokenization import encoder
from memlab.evaluation import answers, words

ENCODE = encoder(weights.tokenizer())
SPLITS = ("dev", "test")
ALL = [Task(kind, value) for kind in ruler.KINDS for value in keys_and_values.KINDS]
FEW = [
    *(Task(kind) for kind in ruler.KINDS),
    Task("multi-key", "uuid"),
    Task("multi-value", "word"),
]
IDS = [f"{task.kind} {task.values}" for task in ALL]


def said(segments: Iterable[Iterable[int]]) -> str:
    return str(weights.tokenizer().decode([token for segment in segments for token in segment]))


def whole(name: str, said: str) -> int:
    """How often a value stands in a text as a whole."""
    return len(re.findall(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", said.lower()))


def grams(sentence: str, size: int = 4) -> set[tuple[str, ...]]:
    words = re.findall("[a-z]+", sentence.lower())
    return set(zip(*(words[i:] for i in range(size)), strict=False))


# ---- keys and values -----------------------------------------------------------------------------


def test_no_key_of_a_haystack_is_asked_about_and_none_comes_twice() -> None:
    first, second = (
        set(islice(keys_and_values.haystack_keys(runtime.python_random(seed, "x")), 3000))
        for seed in (0, 1)
    )
    assert len(first) == len(second) == 3000 and first != second
    rng = runtime.python_random(0, "asked")
    asked = {keys_and_values.new_key(rng) for _ in range(500)}
    assert len(asked) > 490 and not asked & (first | second)
    assert all(keys_and_values.asked_about(key) for key in asked)
    assert not any(keys_and_values.asked_about(key) for key in first | second)


def test_the_keys_of_haystacks_suffice_for_ten_million_tokens() -> None:
    keys = keys_and_values._KEYS * 3 // 4
    needle = ruler.haystack(Task("single", "word"), 20_000, ENCODE, limit=64, source="needles")
    assert keys * needle.tokens / len(needle.starts) > 10e6
    lists = (keys_and_values.QUALITIES, keys_and_values.MATERIALS, keys_and_values.THINGS)
    assert all(len(set(words)) == len(words) for words in lists)
    for number in range(0, keys_and_values._KEYS, 997):
        place = [
            words.index(word)
            for words, word in zip(lists, keys_and_values._key(number).split(), strict=True)
        ]
        assert number == (place[0] * len(lists[1]) + place[1]) * len(lists[2]) + place[2]


@given(st.integers(0, 10_000))
def test_neighbours_differ_from_a_key_in_one_word(seed: int) -> None:
    key = keys_and_values.new_key(runtime.python_random(seed, "key"))
    near = keys_and_values.neighbours(key)
    assert len(near) == len(set(near)) > 20 and key not in near
    assert all(
        sum(a != b for a, b in zip(key.split(), other.split(), strict=True)) == 1 for other in near
    )
    assert all(map(keys_and_values.asked_about, near))


@given(
    st.integers(0, 10_000),
    st.sampled_from(keys_and_values.KINDS),
    st.integers(4, 12),
    st.booleans(),
)
def test_values_have_their_form_and_their_side(
    seed: int, kind: str, digits: int, asked: bool
) -> None:
    rng = runtime.python_random(seed, "value")
    value = keys_and_values.new_value(kind, rng, digits=digits, asked=asked)
    form = {
        "number": rf"[1-9]\d{{{digits - 1}}}",
        "word": "[a-z]{6,12}",
        "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    }
    assert re.fullmatch(form[kind], value) and keys_and_values.asked_about(value) == asked
    again = keys_and_values.new_value(
        kind, runtime.python_random(seed, "value"), digits=digits, asked=asked, taken={value}
    )
    assert again != value


# ---- puzzles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", ALL, ids=IDS)
def test_each_answer_is_in_one_needed_fact_and_in_no_other(task: Task, split: str) -> None:
    for seed in range(12):
        made = ruler.puzzle(task, seed, split=split)
        needed, others = made.chains[: made.needed], made.chains[made.needed :]
        holding = [
            sum(whole(answer, line) > 0 for chain in needed for line in chain)
            for answer in made.answers
        ]
        expected = (
            [1] * len(holding) if task.kind != "tracking" else [2] * task.count + [1]
        )  # set, then handed on
        assert holding == expected and len(set(made.answers)) == len(made.answers)
        assert not any(
            whole(answer, line) for answer in made.answers for chain in others for line in chain
        )
        assert not any(whole(answer, made.question) for answer in made.answers)
        counts = {
            "multi-value": (4, 0, 4),
            "multi-query": (4, 0, 4),
            "tracking": (1, 1, 5),
            "chain": (1, 1, 1),
            "single": (1, 0, 1),
            "multi-key": (1, 4, 1),
            "mismatch": (1, 4, 1),
        }
        assert (len(needed), len(others), len(made.answers)) == counts[task.kind]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["single", "multi-key", "multi-value", "multi-query", "chain"])
def test_a_cue_is_the_stem_of_what_it_looks_up_and_of_nothing_else(kind: str, split: str) -> None:
    for seed in range(30):
        made = ruler.puzzle(Task(kind), seed, split=split)
        lines = [line for chain in made.chains for line in chain]
        found = [[line for line in lines if line.startswith(cue + " ")] for cue in made.cues]
        needed = [line for chain in made.chains[: made.needed] for line in chain]
        assert len({len(rows) for rows in found}) == 1 and all(
            line in needed for rows in found for line in rows
        )
        if kind != "chain":
            assert sorted(line for rows in found for line in rows) == sorted(needed)
            stems = zip(
                (c for c in made.cues for _ in found[0]), (v for v in made.answers), strict=True
            )
            assert all(f"{cue} {value}." in needed for cue, value in stems)


@pytest.mark.parametrize("split", SPLITS)
def test_variables_resolve_to_the_answer(split: str) -> None:
    """Another reader of the sentences: names are capitals, a value is digits."""
    for seed in range(40):
        for task in (Task("tracking"), Task("chain", count=1 + seed % 6)):
            made = ruler.puzzle(task, seed, split=split)
            held: dict[str, str] = {}
            for line in (line for chain in made.chains for line in chain):
                names, value = re.findall(r"\b[A-Z]{5}\b", line), re.findall(r"\d+", line)
                held[names[0]] = value[0] if value else held[names[1]]
            assert len(held) == 2 * (task.count + 1) and len(set(held.values())) == 2
            if task.kind == "tracking":
                asked = re.findall(r"\d+", made.question)[0]
                assert {name for name, value in held.items() if value == asked} == set(made.answers)
            else:
                name = re.findall(r"\b[A-Z]{5}\b", made.question)[0]
                assert made.answers == (held[name],) and name in made.cues[0]
                assert len(made.chains[0]) == task.count + 1 and name in made.chains[0][-1]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", ALL, ids=IDS)
def test_a_task_without_its_facts_is_the_same_task_without_its_facts(
    task: Task, split: str
) -> None:
    absent = Task(task.kind, task.values, present=False)
    for seed in range(4):
        full, bare = ruler.puzzle(task, seed, split=split), ruler.puzzle(absent, seed, split=split)
        assert bare.chains == full.chains[full.needed :] and bare.answers == () and bare.needed == 0
        assert (bare.question, bare.cues) == (full.question, full.cues)


def test_distractors_are_near_and_as_many_as_asked_for() -> None:
    for count in (1, 8, 200):
        made = ruler.puzzle(Task("multi-key", count=count), 3)
        keys = [re.findall(r"of the (\w+ \w+ \w+) is", line)[0] for (line,) in made.chains]
        assert len(set(keys)) == count + 1
        near = [
            sum(a != b for a, b in zip(keys[0].split(), key.split(), strict=True)) == 1
            for key in keys[1:]
        ]
        assert all(near) if count <= 8 else sum(near) == len(keys_and_values.neighbours(keys[0]))


# ---- wordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_fact_and_its_question_share_no_content_word(split: str) -> None:
    def stems(line: str) -> set[str]:
        plain = {
            "has",
            "have",
            "had",
            "does",
            "do",
            "been",
            "used",
            "must",
            "will",
            "would",
            "not",
            "cannot",
            "never",
        }
        return (
            {word[:5] for word in words.words(line.replace("{A}", "").casefold())}
            - answers._EMPTY
            - plain
        )

    for fact, question in PAIRS[split]:
        assert fact.count("{A}") == 1 and "{A}" not in question
        assert not stems(fact) & (stems(question) - {"whose"}), (fact, question)
    assert len({question for _, question in PAIRS[split]}) == len(PAIRS[split])
    assert not set(PAIRS["dev"]) & set(PAIRS["test"])


def wordings(split: str, task: Task) -> set[tuple[str, ...]]:
    """Four words in a row of the templates, without keys, names and values."""
    found: set[tuple[str, ...]] = set()
    for seed in range(12):
        made = ruler.puzzle(task, seed, split=split)
        for line in [*(line for chain in made.chains for line in chain), made.question]:
            drop = {w for a in made.answers for w in re.findall("[a-z]+", a.lower())}
            keys = {
                w
                for some in (
                    keys_and_values.QUALITIES,
                    keys_and_values.MATERIALS,
                    keys_and_values.THINGS,
                )
                for w in some
            }
            found |= {
                g for g in grams(re.sub(r"\b[A-Z]{5}\b", "", line)) if not set(g) & (drop | keys)
            }
    return found


@pytest.mark.parametrize("kind", ruler.KINDS)
def test_choices_and_reports_rest_on_different_wordings(kind: str) -> None:
    assert not wordings("dev", Task(kind)) & wordings("test", Task(kind))


def test_no_wording_is_in_the_training_text() -> None:
    """Neither in the documentation nor in the generic sentences that the memory decoder is trained
    on."""
    ours = {
        gram for kind in ruler.KINDS for split in SPLITS for gram in wordings(split, Task(kind))
    }
    lines = [line.replace("{A}", "") for pairs in PAIRS.values() for pair in pairs for line in pair]
    ours |= {gram for line in lines for gram in grams(line, 5)}
    assert len(ours) > 150
    trained = " ".join((*text.documentation("train"), *text.generic_sentences(5000))).lower()
    plain = " " + " ".join(re.findall("[a-z]+", trained)) + " "
    assert [gram for gram in ours if f" {' '.join(gram)} " in plain] == []


@pytest.mark.parametrize("split", SPLITS)
def test_real_text_holds_no_key_at_all(split: str) -> None:
    qualities, materials, things = (
        set(keys_and_values.QUALITIES),
        set(keys_and_values.MATERIALS),
        set(keys_and_values.THINGS),
    )
    found = {gram for line in text.documentation(split) for gram in grams(line, 3)}
    assert not any(a in qualities and b in materials and c in things for a, b, c in found)


# ---- trials --------------------------------------------------------------------------------------


def check(made: Trial, tokens: int, hay_text: Callable[[str], bool] = lambda rest: True) -> None:
    puzzle = made.puzzle
    needed = [line for chain in puzzle.chains[: puzzle.needed] for line in chain]
    assert [said(made.segments[row] for row in rows) for rows in made.rows] == [
        " " + line for line in needed
    ]
    rest_of_it = [line for chain in puzzle.chains[puzzle.needed :] for line in chain]
    assert [said(made.segments[row] for row in rows) for rows in made.others] == [
        " " + line for line in rest_of_it
    ]
    taken = {row for rows in made.rows for row in rows}
    rest = said(segment for row, segment in enumerate(made.segments) if row not in taken)
    assert not any(whole(answer, rest) for answer in puzzle.answers)
    everything = said(made.segments)
    for line in (line for chain in puzzle.chains for line in chain):
        assert everything.count(" " + line) == 1
    if puzzle.task.kind not in ("tracking", "mismatch"):
        assert not any(cue in rest for cue in puzzle.cues)
    assert said([made.question]) == " " + puzzle.question
    assert made.tokens == sum(map(len, made.segments)) + len(made.question) <= tokens - 2
    assert all(1 <= len(segment) <= 64 for segment in made.segments)


@pytest.mark.parametrize("source", ruler.SOURCES)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", FEW, ids=lambda task: f"{task.kind} {task.values}")
def test_answers_stand_where_they_were_put_and_nowhere_else(
    task: Task, split: str, source: str
) -> None:
    for seed, depth in enumerate((0.0, 0.7)):
        check(ruler.trial(task, 700, depth, seed, ENCODE, source=source, split=split), 700)
        absent = Task(task.kind, task.values, present=False)
        bare = ruler.trial(absent, 700, depth, seed, ENCODE, source=source, split=split)
        check(bare, 700)
        avoid = ruler._vocabulary(split) if source == "documentation" else frozenset()
        full = ruler.puzzle(task, seed, split=split, avoid=avoid)
        everything = said(bare.segments)
        assert bare.rows == () and not any(whole(answer, everything) for answer in full.answers)
        assert not any(line in everything for chain in full.chains[: full.needed] for line in chain)


def test_long_numbers_hide_as_well_as_short_ones() -> None:
    for digits in (4, 9, 12):
        made = ruler.trial(Task("multi-key", digits=digits), 2000, 0.5, digits, ENCODE)
        assert len(made.puzzle.answers[0]) == digits
        check(made, 2000)


def sentences(hay: needles.Haystack) -> list[str]:
    bounds = [*hay.starts, len(hay.segments)]
    return [said(hay.segments[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]


@pytest.mark.parametrize("depth", ruler.DEPTHS)
@pytest.mark.parametrize("source", ruler.SOURCES)
def test_facts_lie_between_whole_sentences_at_their_depth(source: str, depth: float) -> None:
    hay = ruler.haystack(Task("single"), 1500, ENCODE, limit=16, source=source)
    made = ruler.trial(Task("single"), 1500, depth, 5, ENCODE, limit=16, source=source, hay=hay)
    first, last = made.rows[0][0], made.rows[0][-1]
    before, after = said(made.segments[:first]), said(made.segments[last + 1 :])
    lines = sentences(hay)
    ends = ["".join(lines[:n]) for n in range(len(lines) + 1)]
    count, total = (
        ends.index(before),
        ends.index(before + after),
    )  # ValueError: not between sentences
    assert abs(count - depth * total) <= 0.5 + 1e-9
    assert (depth == 0) <= (first == 0) and (depth == 1) <= (last == len(made.segments) - 1)


def test_only_the_fact_asked_for_moves_with_the_depth() -> None:
    hay = ruler.haystack(Task("multi-key"), 3000, ENCODE, limit=64)
    trials = [
        ruler.trial(Task("multi-key"), 3000, depth, 7, ENCODE, hay=hay) for depth in ruler.DEPTHS
    ]
    without = {
        tuple(s for row, s in enumerate(made.segments) if row not in made.rows[0])
        for made in trials
    }
    assert len(without) == 1 and len({made.rows for made in trials}) == 11


@pytest.mark.parametrize("kind", ["tracking", "chain"])
def test_chains_keep_their_order_behind_the_depth(kind: str) -> None:
    for seed in range(4):
        for depth in (0.0, 0.6, 1.0):
            made = ruler.trial(Task(kind), 2500, depth, seed, ENCODE)
            firsts = [rows[0] for rows in made.rows]
            assert len(firsts) == 5 and firsts == sorted(firsts)
            everything = said(made.segments)
            for chain in made.puzzle.chains:
                at = [everything.index(line) for line in chain]
                assert at == sorted(at)
            assert firsts[0] >= depth * (len(made.segments) - 12) - 2


def test_any_tokenizer_will_do() -> None:
    """Letters as tokens: lengths are counted in them, and the text is the same."""

    def letters(lines: Sequence[str]) -> list[list[int]]:
        return [list(map(ord, line)) for line in lines]

    for task in FEW:
        made = ruler.trial(task, 6000, 0.4, 2, letters, limit=240)
        shown = [
            "".join(map(chr, (t for row in rows for t in made.segments[row]))) for rows in made.rows
        ]
        assert shown == [
            " " + line for chain in made.puzzle.chains[: made.puzzle.needed] for line in chain
        ]
        assert 5998 - 2 * 240 < made.tokens <= 5998
        assert made.puzzle == ruler.trial(task, 3000, 0.9, 2, ENCODE).puzzle


def test_every_fact_fits_into_one_segment_of_64_tokens() -> None:
    for task in ALL:
        for split in SPLITS:
            for seed in range(4):
                made = ruler.puzzle(Task(task.kind, task.values, 12), seed, split=split)
                lines = [" " + line for chain in made.chains for line in chain]
                assert max(map(len, ENCODE(lines))) <= 64


@pytest.mark.usefixtures("untouched_global_random_state")
def test_a_trial_is_a_pure_function_of_task_length_depth_and_seed() -> None:
    def make(
        task: Task | None = None, tokens: int = 800, depth: float = 0.5, seed: int = 0
    ) -> Trial:
        return ruler.trial(task or Task("multi-query"), tokens, depth, seed, ENCODE)

    first = make()
    assert first == make() and first.puzzle == make(tokens=900).puzzle == make(depth=0.6).puzzle
    others = [make(Task("multi-query", digits=8)), make(seed=1), make(Task("multi-query", "word"))]
    assert all(other.puzzle.chains != first.puzzle.chains for other in others)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Task("haiku"), "unknown task 'haiku': expected one of single, multi-key"),
        (lambda: Task("single", count=0), "expected a count of at least 1, got 0"),
        (
            lambda: ruler.puzzle(Task("single", "smell"), 0),
            "unknown kind of value 'smell': expected one of number, word",
        ),
        (
            lambda: ruler.puzzle(Task("single", digits=3), 0),
            "expected numbers of 4 to 12 digits, got 3",
        ),
        (
            lambda: ruler.puzzle(Task("single"), 0, split="train"),
            "unknown split 'train': expected dev or test",
        ),
        (
            lambda: ruler.puzzle(Task("mismatch", count=26), 0),
            "expected a count of at most 25 for mismatch, got 26",
        ),
        (lambda: ruler.trial(Task("single"), 20, 0.5, 0, ENCODE), "tokens, the prompt has 20"),
        (
            lambda: ruler.trial(Task("single"), 500, 1.5, 0, ENCODE),
            "expected a depth between 0 and 1, got 1.5",
        ),
        (
            lambda: ruler.trial(Task("single"), 500, 0.5, 0, ENCODE, source="novel"),
            "unknown haystack 'novel'",
        ),
        (
            lambda: ruler.trial(
                Task("single"), 500, 0.5, 0, ENCODE, hay=needles.Haystack(((1, 2),), (0,))
            ),
            "tokens, got 2",
        ),
        (
            lambda: needles.fill(iter(["One."]), 100, ENCODE, limit=9),
            "expected sentences for a haystack of 100 tokens",
        ),
    ],
)
def test_tasks_that_cannot_be(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
