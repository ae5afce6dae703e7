"""Edits: the probes are right about a world that is kept by hand, and neighbours are never
touched."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab import evaluation
from memlab.corpora import edits, relations, text
from memlab.corpora.edits import Edit, Probe

SPLITS = ("dev", "test")


def replay(stream: list[Edit], after: int) -> dict[str, str]:
    """Every stem and its value after some edits, kept sentence by sentence: the oracle."""
    held = {}
    for sentence in edits.world(stream):
        stem, _, value = sentence[:-1].rpartition(" ")
        assert stem not in held, "the world says nothing twice"
        held[stem] = value
    for edit in stream[:after]:
        assert held[edit.stem] == edit.old, "the old value is the one in force"
        held[edit.stem] = edit.new
    return held


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("again", [0.0, 0.3, 1.0])
def test_probes_agree_with_a_world_kept_by_hand(split: str, again: float) -> None:
    stream = edits.stream(60, 1, split=split, again=again)
    for after in (1, 2, 17, 60):
        held, found = replay(stream, after), edits.probes(stream, after)
        for probe in found:
            if probe.kind == "paraphrase":
                assert probe.answer == held[stream[probe.edit].stem]
            else:
                assert probe.answer == held[probe.prompt], probe
        kinds = [probe.kind for probe in found]
        assert kinds[:8] == ["edit"] + ["paraphrase"] * 3 + ["neighbour"] * 4
        changed = {edit.stem for edit in stream[:after]} - {stream[after - 1].stem}
        assert sorted(probe.prompt for probe in found if probe.kind == "retention") == sorted(
            changed
        )
        assert len(kinds) == 8 + len(changed) and set(kinds) <= set(edits.KINDS)
    fewest, most = {0.0: (60, 60), 0.3: (33, 51), 1.0: (1, 1)}[again]
    assert fewest <= len({edit.subject for edit in stream}) <= most


@given(st.integers(0, 2000), st.sampled_from(SPLITS))
def test_an_edit_changes_one_subject_and_leaves_hard_neighbours(seed: int, split: str) -> None:
    for edit in edits.stream(4, seed, split=split, neighbours=3):
        stems, kept = zip(*edit.neighbours, strict=True)
        assert (
            edit.old != edit.new and edit.new not in kept and kept[0] == edit.old and len(kept) == 3
        )
        assert edit.stem not in stems and len(set(stems)) == 3
        assert all(stem.count(" ") >= edit.stem.count(" ") - 1 for stem in stems)
        first, _, last = edit.subject.partition(" ")
        assert first in stems[1] and last not in stems[1] and first not in stems[0]
        assert all(edit.subject in line for line in (edit.stem, *edit.paraphrases))
        assert not any(
            evaluation.contains_value(line, edit.new) for line in (edit.stem, *edit.paraphrases)
        )
        assert (
            edit.after == f"{edit.stem} {edit.new}."
            and edit.before[0] == f"{edit.stem} {edit.old}."
        )


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    assert edits.stream(30, 4, again=0.2)[:12] == edits.stream(12, 4, again=0.2)
    assert edits.stream(12, 4) != edits.stream(12, 5) and edits.stream(12, 4) != edits.stream(
        12, 4, split="dev"
    )


def test_a_thousand_edits_have_a_thousand_subjects() -> None:
    stream = edits.stream(1000)
    names = [edit.subject for edit in stream]
    stems = [
        stem for edit in stream for stem in (edit.stem, *(near for near, _ in edit.neighbours))
    ]
    assert len(set(names)) == 1000 and len(set(stems)) == len(stems) == 5000
    assert {edit.relation for edit in stream} == set(range(12))
    found = edits.probes(stream, 1000, retained=50)
    assert sum(probe.kind == "retention" for probe in found) == 50 and found == edits.probes(
        stream, 1000, retained=50
    )
    assert edits.probes(stream, 1) == [probe for probe in edits.probes(stream, 1, retained=9)]


def test_retained_probes_are_a_part_of_all() -> None:
    stream = edits.stream(40, again=0.25)
    some, whole = edits.probes(stream, 40, retained=10), edits.probes(stream, 40)
    assert set(some) < set(whole) and len(some) == 18
    assert edits.probes(stream, 40, retained=10, seed=1) != some


# ---- wordings ------------------------------------------------------------------------------------


def grams(line: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall("[a-z]+", re.sub(r"\{.\}", "x", line).lower())
    return {
        gram for gram in zip(*(words[i:] for i in range(size)), strict=False) if "x" not in gram
    }


def test_templates_and_splits_are_apart() -> None:
    lines = {
        split: [line for relation in edits.RELATIONS[split] for line in relation[1:]]
        for split in SPLITS
    }
    assert all(line.count("{S}") == 1 for split in SPLITS for line in lines[split])
    assert [len(edits.RELATIONS[split]) for split in SPLITS] == [6, 12]
    dev, test = ({gram for line in lines[split] for gram in grams(line, 4)} for split in SPLITS)
    assert dev and test and not dev & test


def test_no_template_is_in_a_training_text() -> None:
    ours = {
        gram
        for split in SPLITS
        for relation in edits.RELATIONS[split]
        for line in relation[1:]
        for gram in grams(line, 4)
    }
    families = [
        line for family in relations.FAMILIES for line in (*family.statements, *family.questions)
    ]
    lines = (*text.documentation("train"), *text.generic_sentences(5000), *families)
    plain = " " + " ".join(re.findall("[a-z]+", " . ".join(lines).lower())) + " "
    assert len(ours) > 45 and [gram for gram in ours if f" {' '.join(gram)} " in plain] == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: edits.stream(0),
            "expected at least 1 edit, 2 neighbours and a share in 0 … 1, got 0, 4 and 0.0",
        ),
        (lambda: edits.stream(3, neighbours=1), "got 3, 1 and 0.0"),
        (lambda: edits.stream(3, again=1.5), "got 3, 4 and 1.5"),
        (lambda: edits.stream(3, split="train"), "unknown split 'train': expected dev or test"),
        (lambda: edits.probes(edits.stream(3), 4), "expected 1 to 3 edits done, got 4"),
        (lambda: edits.probes(edits.stream(3), 0), "expected 1 to 3 edits done, got 0"),
    ],
)
def test_edits_that_cannot_be(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.usefixtures("untouched_global_random_state")
def test_probes_are_values() -> None:
    probe = edits.probes(edits.stream(1), 1)[0]
    assert isinstance(probe, Probe) and probe == Probe("edit", probe.prompt, probe.answer, 0)
