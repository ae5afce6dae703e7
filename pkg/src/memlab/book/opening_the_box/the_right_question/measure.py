"""Measurements of chapter 8 as records: boxes that learnt the same poems under different keys,
asked in many ways.

Boxes: "strict", every poem under its own key; "gaps", with key dropout; "wordings", half of the
poems in all wordings of their titles; "places", half of the time with all words hidden; "both
ways", half of the poems from text to title too; and a "poet" that learnt verses with rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from memlab import evaluation, runtime
from memlab.book.opening_the_box.the_right_question import asking
from memlab.corpora import cues, rhymes
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems
from memlab.results import Record

GIVEN = (0, 1, 2, 3, 4, 8)  # first words that are told
TEMPERATURES = (0.0, 1.0, 1.5, 2.0)
EVERY = 10  # steps between two looks at the poet
Notes = Iterator[Record]


@dataclass(frozen=True)
class Size:
    """How many seeds and poems, how long, out of how many words, and how many training steps a box
    gets."""

    seeds: int
    poems: int = 96
    words: int = 12
    vocabulary: int = 64
    steps: int = 100
    both_ways: int = 60
    poet: int = 80


def note(seed: int, model: str, task: str, found: Mapping[str, Any], **meta: Any) -> Notes:
    """One record for every entry."""
    return (
        Record("the-right-question", model, task, what, float(value), seed, meta=meta)
        for what, value in found.items()
    )


def learn(
    poems: Poems,
    seed: int,
    size: Size,
) -> tuple[dict[str, Any], Bool[Tensor, " poem"]]:
    """The four boxes, from the same initial weights and in as many steps; which poems "wordings"
    met in all of them."""
    varied = torch.arange(len(poems)) % 2 == 0
    draw = runtime.generator(seed, "keys while learning")

    def with_gaps() -> Tensor:
        return cues.with_gaps(poems, draw)

    def with_wordings() -> Tensor:
        return cues.with_wordings(poems, varied, draw)

    def with_hidden_words() -> Tensor:
        return cues.with_hidden_words(poems, draw)

    made = {name: asking.box(poems, seed=seed) for name in ("strict", "gaps", "wordings", "places")}
    asking.teach(made["strict"], poems, size.steps)
    asking.teach(made["gaps"], poems, size.steps, with_gaps)
    asking.teach(made["wordings"], poems, size.steps, with_wordings)
    asking.teach(made["places"], poems, size.steps, bodies=with_hidden_words)
    return made, varied


# ---- one set of poems, four boxes ----------------------------------------------------------------


def keys(seed: int, size: Size) -> Notes:
    """Every measurement of the four boxes: altered keys, first words, places, temperatures, doubt,
    wrong answers."""
    poems = corpus.synthetic(size.poems, size.words, size.vocabulary, seed=seed)
    made, varied = learn(poems, seed, size)
    for name in ("strict", "gaps", "wordings"):
        yield from by_key(name, made[name], poems, varied if name == "wordings" else None, seed)
    nothing = cues.missing(poems, *range(poems.keys.shape[1]))
    for given in GIVEN:
        found = {"recall": cues.ceiling(cues.begun(nothing, given))}
        yield from note(seed, "ceiling", "begun", found, cue="no key", given=given)
    for name in ("strict", "gaps", "places"):
        yield from by_place(name, made[name], poems, seed)
    for name in ("strict", "gaps"):
        yield from by_first_words(name, made[name], poems, nothing, seed)
        yield from by_heat(name, made[name], poems, seed)
        yield from by_confidence(name, made[name], poems, seed)


def by_key(
    name: str,
    box: Any,
    poems: Poems,
    varied: Bool[Tensor, " poem"] | None,
    seed: int,
) -> Notes:
    """Recall by every altered key; where some poems were `varied`, on these and on the others
    apart."""
    groups = {name: poems.bodies}
    if varied is not None:
        groups = {
            f"{name}, these": poems.bodies[varied],
            f"{name}, others": poems.bodies[~varied],
        }
    embeddings = box.get_input_embeddings().weight
    for cue, asked in cues.altered(poems, embeddings, seed).items():
        recited = evaluation.read(box, asked).recited.double()
        for group, bodies in groups.items():
            among = (asked.bodies[:, None] == bodies).all(2).any(1)
            yield from note(seed, group, "cue", {"recall": recited[among].mean()}, cue=cue)


def by_first_words(
    name: str,
    box: Any,
    poems: Poems,
    nothing: Poems,
    seed: int,
) -> Notes:
    """Recall of the rest after the first words, under no key and two wrong ones."""
    asked = {
        "no key": nothing,
        "a made-up key": cues.made_up(poems, seed),
        "another poem's key": cues.borrowed(poems),
    }
    for cue, questions in asked.items():
        for given in GIVEN:
            found = {"recall": asking.recall(box, cues.begun(questions, given))}
            yield from note(seed, name, "begun", found, cue=cue, given=given)


def by_place(
    name: str,
    box: Any,
    poems: Poems,
    seed: int,
) -> Notes:
    """Words from the third on: asked for at once, and in their turn after the true words before
    them."""
    late = range(2, poems.bodies.shape[1])
    shares = [asking.recall(box, cues.opened(poems, place)) for place in late]
    right = evaluation.read(box, poems).right[:, 2:]
    found = {
        "at once": sum(shares) / len(late),
        "in turn": float(right.double().mean()),
    }
    yield from note(seed, name, "place", found)


def by_heat(
    name: str,
    box: Any,
    poems: Poems,
    seed: int,
) -> Notes:
    """Grades of answers to the true keys, by temperature; 0 is greedy."""
    draw = runtime.generator(seed, "temperature")
    for heat in TEMPERATURES:
        said = asking.draw_answer(box, poems, heat, draw)
        found = asking.grades(said, poems.bodies)
        yield from note(seed, name, "grades", found, cue=f"own key, temperature {heat:g}")


def by_confidence(
    name: str,
    box: Any,
    poems: Poems,
    seed: int,
) -> Notes:
    """Known, made-up and misspelt keys: grades, whether to believe the answers, and what the wrong
    ones are made of."""
    known = asking.answer(box, poems)
    none = asking.answer(box, cues.made_up(poems, seed))
    near = asking.answer(box, cues.replaced(poems, 1, seed))
    for cue, said in (("a title word replaced", near), ("a made-up key", none)):
        yield from note(seed, name, "grades", asking.grades(said.words, poems.bodies), cue=cue)
    right = (near.words == poems.bodies).all(1)
    yield from note(seed, name, "doubt", asking.doubt(known, none, near, right))
    count, words = poems.bodies.shape
    fresh = corpus.synthetic(count, words, poems.vocabulary, seed=seed, fresh=True)
    for who, answers in ((name, none.words), ("chance", fresh.bodies)):
        common = asking.closest(answers, poems.bodies)
        copied = rhymes.longest_copy(answers, poems.bodies)
        found = {
            "a known poem": float((common == 1).double().mean()),
            "in common": float(common.mean()),
            "copied": float(copied.double().mean()),
        }
        yield from note(seed, who, "wrong", found, beside=name)


# ---- text to title -------------------------------------------------------------------------------


def both_ways(seed: int, size: Size) -> Notes:
    """Half of the poems are taught from title to text and back, half one way: which way can they be
    asked?"""
    count = size.poems * 2 // 3
    poems = corpus.synthetic(count, size.words * 2 // 3, size.vocabulary, seed=seed)
    both = torch.arange(count) % 2 == 0
    box = asking.box(poems, seed=seed)
    asking.teach_backwards(box, poems, both, size.both_ways)
    told = {
        "title to text": evaluation.read(box, poems).recited,
        "text to title": evaluation.read(box, cues.backwards(poems)).recited,
        "weighing all titles": asking.whose(box, poems) == torch.arange(count),
    }
    for name, rows in (("both ways", both), ("one way", ~both)):
        found = {what: float(hit[rows].double().mean()) for what, hit in told.items()}
        yield from note(seed, name, "direction", found)


# ---- verses --------------------------------------------------------------------------------------


def verses(seed: int, size: Size) -> Notes:
    """Answers to titles that nobody gave a poem, while a poet learns; beside poets of other
    kinds."""
    poems = rhymes.verses(size.poems, seed=seed)
    new = rhymes.verses(size.poems, seed=seed, fresh=True)
    poet, unrhymed, untrained = (asking.box(poems, seed=seed) for _ in range(3))
    trace: list[Record] = []

    def look(step: int, _row: Mapping[str, Any]) -> None:
        trace.extend(note(seed, "poet", "trace", _progress(poet, poems, new), step=step))

    look(0, {})
    asking.teach(poet, poems, size.poet, every=EVERY, report=look)
    yield from trace
    asking.teach(unrhymed, rhymes.unrhymed(poems, seed), size.poet)
    said = {
        "poet": asking.answer(poet, new).words,
        "taught without rhymes": asking.answer(unrhymed, new).words,
        "untrained": asking.answer(untrained, new).words,
        "chain of order 1": rhymes.markov(poems, len(new), seed=seed),
        "chain of order 2": rhymes.markov(poems, len(new), 2, seed=seed),
        "collage of lines": rhymes.collage(poems, new.keys, seed=seed),
        "dice that know the rules": rhymes.dice(new.keys, seed=seed),
    }
    for who, words in said.items():
        yield from note(seed, who, "verses", rhymes.rules(words, new.keys, poems.bodies))


def _progress(
    poet: Any,
    poems: Poems,
    new: Poems,
) -> dict[str, float]:
    """How far a poet is: what it recites, the rules that its answers to `new` titles keep, and,
    where there are enough, what its wrong answers to known titles are like."""
    said = asking.answer(poet, new).words
    own, confidence = asking.answer(poet, poems)
    wrong = (own != poems.bodies).any(1)
    found = {
        "recited": float((~wrong).double().mean()),
        **rhymes.rules(said, new.keys, poems.bodies),
        "different": len(set(map(tuple, said.tolist()))) / len(said),
    }
    if wrong.any():
        found["rhyme, known titles"] = float(rhymes.rhyme(own[wrong]).mean())
    if 10 <= int(wrong.sum()) <= len(poems) - 10:
        found["AUC, known titles"] = evaluation.auc(confidence[~wrong], confidence[wrong])
    return found
