"""Tasks in which one look-up is not enough, or finds too much: the families of RULER (Hsieh et al.
2024) in wordings of our own, facts that share no word with their question, and questions that the
haystack does not answer.

    single        one fact, one key
    multi-key     `count` more facts whose keys are near the one that is asked about
    multi-value   `count` facts of the same key
    multi-query   `count` keys are asked about at once
    tracking      a variable, `count` others that get its value one from the other: which have the
                  value?
    chain         the same facts: what is the value of the last?
    mismatch      question and fact share no content word; `count` more facts of that kind

Everything is a pure function of (task, length, depth, seed, split), for any tokenizer. Two splits
of wordings: choices are made on "dev", and only "test" is reported.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from memlab import runtime
from memlab.corpora import keys_and_values, needles, text
from memlab.corpora.needles import Encode, Haystack, Rows, Segments, cut
from memlab.corpora.no_shared_words import PAIRS

KINDS = ("single", "multi-key", "multi-value", "multi-query", "tracking", "chain", "mismatch")
SOURCES = ("filler", "documentation", "needles")
DEPTHS = tuple(step / 10 for step in range(11))
_NOUNS = {"number": "number", "word": "word", "uuid": "identifier"}
_FACT = {
    "test": "A secret {noun} of the {key} is {value}.",
    "dev": "The {key} answers to the {noun} {value}.",
}
_QUESTION = {
    "test": "Which secret {noun}s belong to the {keys}?",
    "dev": "Which {noun}s are answers of the {keys}?",
}
_SET = {"test": "Variable {name} is set to {value}.", "dev": "Let {name} hold {value}."}
_COPY = {
    "test": "Variable {name} is set to variable {value}.",
    "dev": "Let {name} hold what {value} holds.",
}
_WHICH = {"test": "Which variables have the value {value}?", "dev": "Who holds {value}?"}
_WHAT = {"test": "Which value does variable {name} have?", "dev": "What does {name} hold?"}
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Task:
    """What is hidden and asked. `present` False: the same task without the facts that answer it, so
    that nothing is the right answer. ValueError for an unknown kind, a count below 1, or what
    `keys_and_values.check` refuses."""

    kind: str
    values: str = "number"
    digits: int = 7
    count: int = 4
    present: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown task {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.count < 1:
            raise ValueError(f"expected a count of at least 1, got {self.count}")
        keys_and_values.check(self.values, self.digits)


@dataclass(frozen=True)
class Puzzle:
    """A task made. Chains of sentences are hidden, each in its order; the first `needed` chains
    hold the answers (none of both: the haystack does not tell). `cues` are the words to look the
    facts up with, where there are such."""

    task: Task
    chains: tuple[tuple[str, ...], ...]
    needed: int
    cues: tuple[str, ...]
    question: str
    answers: tuple[str, ...]


def puzzle(
    task: Task,
    seed: int,
    *,
    split: str = "test",
    avoid: frozenset[str] = frozenset(),
) -> Puzzle:
    """The facts and the question of a task; names and values are new in every fact, and none is in
    `avoid` (words in lower case). ValueError for an unknown split, or a count that mismatch has not
    enough pairs for."""
    needles.known_split(split)
    scope = (task.kind, task.values, task.digits, task.count, split)
    rng = runtime.python_random(seed, "ruler", *scope)
    if task.kind in ("tracking", "chain"):
        made = _variables(task, rng, split, avoid)
    elif task.kind == "mismatch":
        made = _mismatch(task, rng, split, avoid)
    else:
        made = _facts(task, rng, split, avoid)
    if task.present:
        return made
    return replace(made, chains=made.chains[made.needed :], needed=0, answers=())


def _values(
    task: Task,
    kind: str,
    count: int,
    rng: random.Random,
    avoid: frozenset[str],
) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        taken = avoid.union(found)
        found.append(keys_and_values.new_value(kind, rng, digits=task.digits, taken=taken))
    return found


def _facts(
    task: Task,
    rng: random.Random,
    split: str,
    avoid: frozenset[str],
) -> Puzzle:
    asked = [keys_and_values.new_key(rng)]
    while len(asked) < (task.count if task.kind == "multi-query" else 1):
        asked.append(keys_and_values.new_key(rng, asked))
    keys = asked * (task.count if task.kind == "multi-value" else 1)
    needed = len(keys)
    if task.kind == "multi-key":
        near = keys_and_values.neighbours(asked[0])
        keys = keys + rng.sample(near, min(task.count, len(near)))
        while len(keys) < needed + task.count:
            keys.append(keys_and_values.new_key(rng, keys))
    noun = _NOUNS[task.values]
    fact = _FACT[split]
    found = _values(task, task.values, len(keys), rng, avoid)
    facts = [
        fact.format(noun=noun, key=key, value=value) for key, value in zip(keys, found, strict=True)
    ]
    chains = tuple((one,) for one in facts)
    cues = tuple(fact.format(noun=noun, key=key, value="").removesuffix(" .") for key in asked)
    question = _QUESTION[split].format(noun=noun, keys=" and the ".join(asked))
    return Puzzle(task, chains, needed, cues, question, tuple(found[:needed]))


def _variables(
    task: Task,
    rng: random.Random,
    split: str,
    avoid: frozenset[str],
) -> Puzzle:
    names: list[str] = []
    while len(names) < 2 * (task.count + 1):  # one chain is asked about, one is like it
        name = "".join(rng.choices(_CAPITALS, k=5))
        if name not in names and name.lower() not in avoid:
            names.append(name)
    asked = names[::2]
    value, other = _values(task, task.values, 2, rng, avoid)
    chains = (_chain(asked, value, split), _chain(names[1::2], other, split))
    if task.kind == "tracking":
        question = _WHICH[split].format(value=value)
        return Puzzle(task, chains, 1, (question,), question, tuple(asked))
    cue = _SET[split].format(name=asked[-1], value="").removesuffix(" .")
    question = _WHAT[split].format(name=asked[-1])
    return Puzzle(task, chains, 1, (cue,), question, (value,))


def _chain(
    names: list[str],
    value: str,
    split: str,
) -> tuple[str, ...]:
    """The first of some variables gets a value, each other one that of the one before it."""
    first = _SET[split].format(name=names[0], value=value)
    copies = [_COPY[split].format(name=new, value=old) for old, new in pairwise(names)]
    return (first, *copies)


def _mismatch(
    task: Task,
    rng: random.Random,
    split: str,
    avoid: frozenset[str],
) -> Puzzle:
    if task.count >= len(PAIRS[split]):
        raise ValueError(
            f"expected a count of at most {len(PAIRS[split]) - 1} for mismatch, got {task.count}"
        )
    pairs = rng.sample(PAIRS[split], task.count + 1)
    people = [name.capitalize() for name in _values(task, "word", len(pairs), rng, avoid)]
    chains = tuple((fact.format(A=name),) for (fact, _), name in zip(pairs, people, strict=True))
    _, question = pairs[0]
    return Puzzle(task, chains, 1, (question,), question, (people[0],))


# ---- in a haystack -------------------------------------------------------------------------------


def haystack(
    task: Task,
    tokens: int,
    encode: Encode,
    *,
    limit: int,
    source: str = "documentation",
    split: str = "test",
    seed: int = 0,
) -> Haystack:
    """At least `tokens` tokens: `needles.haystack`, or nothing but other facts ("needles", of the
    task's kind of value), which share no key and no value with any puzzle. It depends on nothing
    else of the task, so trials may share it."""
    if source != "needles":
        return needles.haystack(
            tokens,
            encode,
            limit=limit,
            split=split,
            source=source,
            seed=seed,
        )
    needles.known_split(split)
    rng = runtime.python_random(seed, "needles", task.values, task.digits, split)
    return needles.fill(_needles(task, split, rng), tokens, encode, limit=limit)


def _needles(
    task: Task,
    split: str,
    rng: random.Random,
) -> Iterator[str]:
    for key in keys_and_values.haystack_keys(rng):
        value = keys_and_values.new_value(task.values, rng, digits=task.digits, asked=False)
        yield _FACT[split].format(noun=_NOUNS[task.values], key=key, value=value)


@lru_cache(maxsize=2)
def _vocabulary(split: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", " ".join(text.documentation(split)).lower()))


@dataclass(frozen=True)
class Trial:
    """A puzzle in a haystack: segments in reading order, the rows that hold each needed sentence
    and those of the other facts, the question and the cues in tokens."""

    puzzle: Puzzle
    segments: Segments
    rows: tuple[Rows, ...]
    others: tuple[Rows, ...]
    question: Rows
    cues: Segments
    depth: float

    @property
    def tokens(self) -> int:
        """Length of haystack, facts and question together."""
        return sum(map(len, self.segments)) + len(self.question)


def trial(
    task: Task,
    tokens: int,
    depth: float,
    seed: int,
    encode: Encode,
    *,
    limit: int = 64,
    source: str = "documentation",
    split: str = "test",
    hay: Haystack | None = None,
    reserve: int = 2,
) -> Trial:
    """A prompt of at most `tokens` tokens, `reserve` of them left free. Facts lie between whole
    sentences: the first needed one with the share `depth` of the sentences before it, what follows
    it in a chain behind it, all others anywhere. Those do not move with the depth. ValueError for a
    depth outside 0 … 1, or a prompt too short."""
    if not 0 <= depth <= 1:
        raise ValueError(f"expected a depth between 0 and 1, got {depth}")
    avoid = _vocabulary(needles.known_split(split)) if source == "documentation" else frozenset()
    made = puzzle(task, seed, split=split, avoid=avoid)
    question, *cues = encode([" " + one for one in (made.question, *made.cues)])
    facts = encode([" " + one for chain in made.chains for one in chain])
    inside = needles.inside_characters(encode)
    own = [cut([ids], limit, inside) for ids in facts]
    room = _room(tokens, reserve, [question, *facts])
    if hay is None:
        hay = haystack(
            task, max(room, 1), encode, limit=limit, source=source, split=split, seed=seed
        )
    gaps = _gaps(hay, room)
    last = len(gaps) - 1
    places = [gaps[round(share * last)] for share in _shares(made, depth, seed, split)]
    segments, rows = needles.insert(hay.segments[: gaps[-1]], own, places)
    needed = sum(map(len, made.chains[: made.needed]))
    cue_ids = tuple(map(tuple, cues))
    return Trial(
        made, segments, tuple(rows[:needed]), tuple(rows[needed:]), tuple(question), cue_ids, depth
    )


def _room(tokens: int, reserve: int, needed: Sequence[Sequence[int]]) -> int:
    """What is left of a prompt for its haystack; ValueError if that is less than nothing."""
    room = tokens - reserve - sum(map(len, needed))
    if room < 0:
        raise ValueError(
            f"the facts and the question need {tokens - room} tokens, the prompt has {tokens}"
        )
    return room


def _gaps(hay: Haystack, room: int) -> Rows:
    """The rows before which a whole sentence of the haystack ends, in its first `room` tokens."""
    if hay.tokens < room:
        raise ValueError(f"expected a haystack of at least {room} tokens, got {hay.tokens}")
    return hay.starts[: bisect_right(hay.starts, hay.fitting(room))]


def _shares(
    made: Puzzle,
    depth: float,
    seed: int,
    split: str,
) -> list[float]:
    """For each sentence of each chain the share of the haystack's sentences that lie before it."""
    rng = runtime.python_random(seed, "places", made.task.kind, made.task.count, split)
    shares: list[float] = []
    for number, chain in enumerate(made.chains):
        first, *further = [rng.random() for _ in chain]
        if number == 0 and made.needed:
            first = depth
        shares += [first, *sorted(first + (1 - first) * share for share in further)]
    return shares
