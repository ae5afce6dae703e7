"""Training episodes: short, reproducible, asked for as they say, and without a trace of the
tasks."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable

import pytest
import torch

from memlab import weights
from memlab.corpora import memory_episodes, needles, text
from memlab.corpora.memory_episodes import Pool
from memlab.corpora.tokenization import BOS, EOS, PAD, SEP, encoder

ENCODE = encoder(weights.tokenizer())
VOCABULARY = len(weights.tokenizer())
Batch = dict[str, torch.Tensor]
# Three words in a row that any English text may hold; every four words around them are searched for
# all the same.
PLAIN_ENGLISH = {("to", "do", "in")}


@pytest.fixture(scope="module")
def pool() -> Pool:
    """The pool that models are trained on, whole."""
    return memory_episodes.pool(ENCODE, VOCABULARY)


@pytest.fixture(scope="module")
def batches(pool: Pool) -> list[Batch]:
    """The first steps of a training run, and the first ones in which two segments are read."""
    return [
        memory_episodes.batch(pool, step)
        for step in (*range(100), *range(memory_episodes.ALONE, memory_episodes.ALONE + 100))
    ]


# ---- no task in the training data ----------------------------------------------------------------


def grams(said: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall("[a-z]+", said.lower())
    return set(zip(*(words[i:] for i in range(size)), strict=False))


def wordings() -> dict[int, set[tuple[str, ...]]]:
    """Three words in a row of the stems and questions of both tasks in both splits, and four of all
    they hold."""
    facts = [
        needles.fact(kind, seed, split=split)
        for kind in needles.KINDS
        for split in ("dev", "test")
        for seed in range(150)
    ]
    stems = [
        one.replace(fact.answer, "")
        for fact in facts
        for one in (*fact.sentences, fact.cue, fact.question)
    ]
    whole = [
        one for fact in facts for one in (*fact.sentences, fact.cue, fact.question, fact.answer)
    ]
    return {
        3: {gram for one in stems for gram in grams(one, 3)} - PLAIN_ENGLISH,
        4: {gram for one in whole for gram in grams(one, 4)},
    }


WORDINGS = wordings()
FILLER = [tuple(re.findall("[a-z]+", line.lower())) for line in needles._FILLER]


def traces(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """What the lines share with the tasks, whatever the case, the punctuation and the numbers."""
    seen: dict[int, set[tuple[str, ...]]] = {size: set() for size in (3, 4, 5)}
    for line in lines:
        for size, known in seen.items():
            known |= grams(line, size)
    filler = {line for line in FILLER if line in seen[len(line)]}
    return (seen[3] & WORDINGS[3]) | (seen[4] & WORDINGS[4]) | filler


def decoded(rows: Iterable[Iterable[int]]) -> list[str]:
    return weights.tokenizer().batch_decode([list(row) for row in rows], skip_special_tokens=True)


def test_no_task_is_in_what_the_generator_yields(pool: Pool, batches: list[Batch]) -> None:
    assert traces(decoded(pool.segments)) == set()
    seen = [line for made in batches for line in decoded(made["input_ids"].tolist())]
    assert len(pool.segments) > 40_000 and len(seen) > 8_000
    assert traces(seen) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "The pass key is 12345.",
        "so: THE PASS, key... is",
        "99999 is the vault code.",
        "The best thing to do in Rome is rest",
        "the finest  view over Oslo",
        "one may ride a boat across the bay",
        "I am in Bergen, what should I do there?",
        "The sky is blue.",
        "Here we go.",
        "There and back again.",
        "Which number do I have to recall?",
    ],
)
def test_the_search_finds_what_is_planted(pool: Pool, planted: str) -> None:
    segments = list(pool.segments[-200:])
    segments[123] = tuple(ENCODE([" He says: " + planted])[0])
    assert traces(decoded(segments)) != set()


def test_the_search_finds_a_template_that_the_generator_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text, "documentation", lambda split: ("Nothing is said here.",))
    monkeypatch.setattr(text, "FORBIDDEN", re.compile("no such phrase"))
    monkeypatch.setattr(text, "_TEMPLATES", (*text._TEMPLATES, "The vault code is {number}."))
    made = memory_episodes.pool(ENCODE, VOCABULARY, generic=300)
    seen = [
        line
        for step in range(4)
        for line in decoded(memory_episodes.batch(made, step)["input_ids"].tolist())
    ]
    assert ("the", "vault", "code", "is") in traces(seen)


# ---- the pool ------------------------------------------------------------------------------------


def test_the_pool_holds_every_segment_once_in_classes_of_like_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = text.documentation("train")[:600]
    monkeypatch.setattr(text, "documentation", lambda split: {"train": library}[split])
    made = memory_episodes.pool(ENCODE, VOCABULARY, generic=300, seed=3)
    lines = [*text.generic_sentences(300, 3), *library]
    segments = needles.cut(ENCODE([" " + line for line in lines]), 64, ())
    expected = [segment for segment in segments if len(segment) >= 4]
    assert Counter(made.segments) == Counter(expected) and made.limit == 64
    spans = [(min(map(len, group)), max(map(len, group))) for group in made.classes]
    assert len(spans) == 4 and spans[0][0] == 4 and spans[-1][1] == 64
    assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert not {PAD, BOS, EOS} & {token for segment in made.segments for token in segment}


def test_no_segment_of_the_pool_begins_inside_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["在记忆里寻找一根针，" * 9, "чтобы помнить, " * 9]
    monkeypatch.setattr(text, "documentation", lambda split: {"train": lines}[split])
    made = memory_episodes.pool(ENCODE, VOCABULARY, generic=10, limit=16)
    assert "�" not in "".join(decoded(made.segments))


# ---- batches -------------------------------------------------------------------------------------


def rows_of(made: Batch, name: str, fill: int = PAD) -> list[list[int]]:
    return [[token for token in row if token != fill] for row in made[name].tolist()]


def test_no_episode_is_longer_than_384_tokens(batches: list[Batch]) -> None:
    lengths: list[int] = []
    for made in batches:
        sizes: Counter[int] = Counter()
        for number, segment in zip(
            made["context_ids"].tolist(), rows_of(made, "segment_ids"), strict=True
        ):
            sizes[number] += len(segment)
        assert 1 <= len(sizes) <= 4 and sorted(sizes) == list(range(len(sizes)))
        lengths += sizes.values()
    assert min(lengths) > 384 - 64 and 370 < max(lengths) <= 384


def test_a_batch_ends_once_it_has_many_rows(pool: Pool) -> None:
    for step in range(8):
        counts = Counter(
            memory_episodes.batch(pool, step, contexts=50, most=20)["context_ids"].tolist()
        )
        rows = [counts[number] for number in range(len(counts))]
        assert sum(rows[:-1]) < 20 <= sum(rows)


def test_labels_ask_for_all_that_follows_the_stem(batches: list[Batch]) -> None:
    stems: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for made in batches:
        segments, given, reads = (
            rows_of(made, "segment_ids"),
            made["input_ids"].tolist(),
            made["read_rows"].tolist(),
        )
        for row, (text_ids, labels) in enumerate(zip(given, made["labels"].tolist(), strict=True)):
            kind, body = read_by_hand(segments, row, reads[row], text_ids)
            end = len(body) + 2
            assert len(text_ids) == len(labels) and text_ids[:end] == [BOS, *body, EOS]
            assert set(text_ids[end:]) <= {PAD} and set(labels[end:]) <= {-100}
            asked = [place for place, label in enumerate(labels) if label != -100]
            assert asked == list(range(asked[0], end)), (
                "asked for in one piece, the end mark included"
            )
            assert [labels[place] for place in asked] == [text_ids[place] for place in asked]
            stem = asked[0] - 1
            assert (3 if kind == "one of two" else 0) <= stem <= 8 and len(asked) >= 2
            stems[stem], kinds[kind] = stems[stem] + 1, kinds[kind] + 1
    assert set(stems) == set(range(9)), "every length of a stem occurs, the empty one as well"
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert 0.75 < shares["one"] < 0.95 and shares["both"] > 0.02 and shares["one of two"] > 0.02


def read_by_hand(
    segments: list[list[int]], row: int, reads: list[int], ids: list[int]
) -> tuple[str, list[int]]:
    """What the text of a row has to be: its own segment, both that are read, or its own out of
    two."""
    assert row in reads and len(set(reads)) == len(reads)
    if len(reads) == 1:
        return "one", segments[row]
    if SEP in ids:
        assert reads[0] == row
        return "both", [*segments[reads[0]], SEP, *segments[reads[1]]]
    return "one of two", segments[row]


def test_of_two_that_are_read_either_may_be_the_one() -> None:
    segments = [(10 + i, 20 + i, 30 + i, 40 + i, 50 + i) for i in range(6)]
    found: Counter[tuple[bool, bool]] = Counter()
    for seed in range(200):
        reads, texts, _ = memory_episodes._reads(segments, [0] * 6, random.Random(seed), two=0.5)
        if len(reads[0]) == 2:
            found.update(
                (SEP in text, own[0] == row)
                for row, (text, own) in enumerate(zip(texts, reads, strict=True))
            )
    assert (True, False) not in found, "both are written in the order in which they are read"
    assert 0.35 < found[False, True] / (found[False, True] + found[False, False]) < 0.65


def test_a_cue_is_taken_from_its_segment_in_order(batches: list[Batch]) -> None:
    prefixes = total = 0
    for made in batches[:40]:
        for segment, cue in zip(
            rows_of(made, "segment_ids"), rows_of(made, "cue_ids"), strict=True
        ):
            rest = iter(segment)
            assert all(token in rest for token in cue), "expected a subsequence"
            assert 1 <= len(cue) <= 16
            prefixes, total = prefixes + (cue == segment[: len(cue)] and len(cue) <= 8), total + 1
    assert 0.5 < prefixes / total < 0.85


def test_three_cues_in_five_are_the_stem() -> None:
    segment = list(range(10, 50))
    for stem, length in ((0, 3), (3, 3), (8, 8)):
        made = [
            tuple(memory_episodes.cue(segment, stem, random.Random(seed))) for seed in range(500)
        ]
        (usual, count), *_ = Counter(made).most_common()
        assert usual == tuple(segment[:length]), "a stem has at least three tokens"
        assert 0.55 < count / 500 < 0.65 and max(map(len, made)) == 16
        gaps = [
            sum(b - a > 1 for a, b in zip(one, one[1:], strict=False))
            for one in made
            if one != usual
        ]
        assert min(gaps) <= 1 < 3 < max(gaps), "a missing piece, or a random part"
    assert all(
        1 <= len(memory_episodes.cue([7, 8, 9, 10], 0, random.Random(seed))) <= 4
        for seed in range(200)
    )


def test_a_fifth_of_the_segments_is_random(pool: Pool, batches: list[Batch]) -> None:
    known, total, unknown = set(pool.segments), 0, 0
    for made in batches[:40]:
        for segment in rows_of(made, "segment_ids"):
            total, unknown = total + 1, unknown + (tuple(segment) not in known)
            assert all(3 < token < VOCABULARY for token in segment)
    assert 0.15 < unknown / total < 0.25


def test_noise_has_the_strength_asked_for(pool: Pool) -> None:
    made = memory_episodes.batch(pool, 3, noise=0.25, latent_width=512)
    assert made["noise"].shape == (len(made["segment_ids"]), 512)
    assert float(made["noise"].std()) == pytest.approx(0.25, rel=0.05)
    assert float(memory_episodes.batch(pool, 3, noise=0.0)["noise"].abs().max()) == 0


@pytest.mark.usefixtures("untouched_global_random_state")
def test_a_batch_is_a_pure_function_of_pool_step_and_seed(pool: Pool) -> None:
    def same(one: Batch, two: Batch) -> bool:
        assert one.keys() == two.keys()
        return all(torch.equal(one[name], two[name]) for name in one)

    made = memory_episodes.batches(pool, seed=0)
    first, later = made(0), made(7)
    assert (
        same(later, made(7))
        and same(first, made(0))
        and same(first, memory_episodes.batch(pool, 0))
    )
    for other in (later, memory_episodes.batch(pool, 0, seed=1)):
        assert not torch.equal(other["noise"][:1], first["noise"][:1])
        said, before = (set(decoded(one["segment_ids"].tolist())) for one in (other, first))
        assert len(said & before) < 0.2 * len(said), "other segments are drawn"
