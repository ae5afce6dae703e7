"""Facts of 72 relations and questions about them: does a key understand a question, or has it
learned templates?

A quarter of the families of each kind is held out whole; of the others the third question is never
trained. Every entity is made up, and those that are tested are never trained
(`keys_and_values.asked_about`). A tested entity also occurs in other relations, so that its name
alone does not find the fact.

`LESSONS` are relations that are only ever trained on. They were written later, without sight of
those held out, and whatever came close to one of these was thrown out (`tuning.closest`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from memlab import runtime
from memlab.corpora import keys_and_values, text
from memlab.corpora.relation_table import TABLE, VALUES

PARTS = ("trained", "wording", "held out")
_GIVEN = """Adam Bella Colin Doris Edgar Flora Gavin Hilda Ivan Julia Kevin Linda Martin Nora Owen
Petra Ralph Sonia Tobias Ursula Vera Walter Yvonne Zoe Agnes Boris Celia Dario Edith Felix Greta
Hugo Ilse Jonas Klara Leon Mabel Nils Olga Pedro Rhea Silas Tilda Umar Viola Wanda Xenia
Yusuf""".split()
_AFTER = {
    "town": ("", "", "ton", "burg", "field", " Bay"),
    "firm": (" Ltd", " & Sons", " Works", " Group"),
    "ship": (" Star", " Queen", " Wave", " Spirit"),
    "school": (" School",),
    "team": (" United", " Rovers", " City", " Athletic"),
    "hotel": (" Inn", " Hotel", " Lodge"),
    "river": ("", "", "a"),
    "band": (" Brothers", "s", " Trio"),
    "building": (" House", " Tower", " Bridge"),
    "plant": ("", "wort", "ia"),
    "medicine": ("", "ol", "ine"),
    "program": ("", "Edit", "Base"),
    "country": ("ia", "land", "stan"),
    "restaurant": (" Grill", " Bistro", " Kitchen"),
    "car": ("", " GT"),
    "planet": ("", " Prime"),
    "festival": (" Festival", " Fair", " Fest"),
}


@dataclass(frozen=True)
class Family:
    """A relation: the kinds of its entity {A} and its value {B}, two statements (a plain one that
    ends with the value, and a roundabout one), and three questions."""

    kind: str
    value: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


def _families(table: str) -> tuple[Family, ...]:
    lines = table.strip().splitlines()
    found = []
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        kinds, *statements = first.split("|")
        kind, value = kinds.split()
        found.append(Family(kind, value, tuple(statements), tuple(second.split("|"))))
    return tuple(found)


def _lessons() -> tuple[dict[str, str], tuple[Family, ...]]:
    """The values of further types, a line each, and after an empty line the relations."""
    found = resources.files("memlab.corpora").joinpath("lessons.txt").read_text(encoding="utf-8")
    types, table = found.split("\n\n", 1)
    values = dict(line.split(": ") for line in types.splitlines())
    return values, _families(table)


FAMILIES = _families(TABLE)
_TYPES, LESSONS = _lessons()
_ALL = FAMILIES + LESSONS
_VALUES = VALUES | _TYPES
KINDS = tuple(dict.fromkeys(family.kind for family in FAMILIES))
_OF_KIND = {kind: [i for i, family in enumerate(FAMILIES) if family.kind == kind] for kind in KINDS}
# The draw is older than any measurement and a fixed part of the book. The wordings are not quite:
# after one look at the share of all held-out questions that a pretrained sentence encoder answers,
# unclear ones were rewritten, once.
_DRAWN = [
    runtime.python_random(0, "held out", kind).sample(own, len(own) // 4)
    for kind, own in _OF_KIND.items()
]
HELD_OUT = tuple(sorted(i for drawn in _DRAWN for i in drawn))
TRAINED = tuple(i for i in range(len(FAMILIES)) if i not in HELD_OUT)
# The numbers of LESSONS follow those of FAMILIES.
TAUGHT = TRAINED + tuple(range(len(FAMILIES), len(_ALL)))


def _name(rng: random.Random) -> str:
    return text.made_up_word(rng).capitalize()


def entity(
    kind: str,
    rng: random.Random,
    *,
    tested: bool,
) -> str:
    """A new entity of a kind, from the quarter that is tested or from the rest."""
    made = _entity(kind, rng)
    while keys_and_values.asked_about(made) != tested:
        made = _entity(kind, rng)
    return made


def _entity(kind: str, rng: random.Random) -> str:
    if kind == "person":
        return f"{rng.choice(_GIVEN)} {_name(rng)}"
    if kind in ("work", "film", "object"):
        made = f"{rng.choice(keys_and_values.QUALITIES)} {rng.choice(keys_and_values.THINGS)}"
        return made if kind == "object" else f"The {made.title()}"
    word = text.made_up_word(rng)
    made = f"{word}{rng.randrange(10, 100)}" if kind == "machine" else word.capitalize()
    return made + rng.choice(_AFTER.get(kind, ("",)))


def _value(kind: str, rng: random.Random) -> str:
    if kind in _VALUES:
        return rng.choice(_VALUES[kind].split())
    if kind == "year":
        return str(rng.randrange(1400, 2030))
    if kind == "number":
        return str(rng.randrange(10, 10 ** rng.randint(3, 6)))
    return entity(kind, rng, tested=False)


@dataclass(frozen=True)
class Fact:
    """A sentence about an entity, in the plain or the roundabout wording of its family."""

    family: int
    entity: str
    value: str
    plain: bool
    sentence: str

    @property
    def stem(self) -> str:
        """The sentence up to its value, or nothing if the value is not the end."""
        end = f" {self.value}."
        return self.sentence.removesuffix(end) if self.sentence.endswith(end) else ""


def fact(
    family: int,
    who: str,
    rng: random.Random,
) -> Fact:
    """A fact about an entity in one of the two wordings, with a new value; `family` counts
    FAMILIES, then LESSONS."""
    value = _value(_ALL[family].value, rng)
    wording = rng.randrange(2)
    sentence = _ALL[family].statements[wording].format(A=who, B=value)
    return Fact(family, who, value, wording == 0, sentence)


# ---- training ------------------------------------------------------------------------------------


def training_pairs(
    step: int,
    *,
    count: int = 112,
    seed: int = 0,
    families: Sequence[int] = TRAINED,
) -> list[tuple[Fact, str]]:
    """Facts and questions for one step of contrastive training, each (family, entity) once: of
    `families` alone (`TRAINED`, `TAUGHT` or some of them), with entities and wordings that are
    trained.

    Half are about entities with four relations each, a quarter relations with eight entities each,
    some of whose names begin alike; the rest are single. So a key has to tell apart both who is
    meant and what is asked.
    """
    rng = runtime.python_random(seed, "relations", step)
    wanted: list[tuple[int, str]] = []
    while len(wanted) < count // 2:
        kind = _ALL[rng.choice(families)].kind
        who = entity(kind, rng, tested=False)
        of_kind = [family for family in families if _ALL[family].kind == kind]
        some = rng.sample(of_kind, min(4, len(of_kind)))
        wanted += [(family, who) for family in some]
    while len(wanted) < count * 3 // 4:
        family = rng.choice(families)
        kind = _ALL[family].kind
        first = entity(kind, rng, tested=False)
        wanted.append((family, first))
        wanted += [(family, _alike(first, kind, rng)) for _ in range(3)]
        wanted += [(family, entity(kind, rng, tested=False)) for _ in range(4)]
    while len(wanted) < count:
        family = rng.choice(families)
        wanted.append((family, entity(_ALL[family].kind, rng, tested=False)))
    pairs = []
    for family, who in dict.fromkeys(wanted[:count]):
        told = fact(family, who, rng)
        question = rng.choice(_trained_questions(family))
        pairs.append((told, question.format(A=who)))
    return pairs


def _trained_questions(family: int) -> tuple[str, ...]:
    questions = _ALL[family].questions
    return questions[:2] if family < len(FAMILIES) else questions


def _alike(
    who: str,
    kind: str,
    rng: random.Random,
) -> str:
    """Another entity with the same first word, where entities of the kind have two."""
    first, *rest = who.split()
    if not rest:
        return entity(kind, rng, tested=False)
    while True:
        _, *others = entity(kind, rng, tested=False).split()
        other = " ".join((first, *others))
        if not keys_and_values.asked_about(other):
            return other


# ---- tests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """A question, the row of the fact that answers it, the stem of that fact (or none), and the
    answer."""

    row: int
    family: int
    question: str
    stem: str
    answer: str


@dataclass(frozen=True)
class QuestionSet:
    """Facts, of which some are asked about; the others are about the same entities or of the same
    relations."""

    facts: tuple[Fact, ...]
    queries: tuple[Query, ...]

    def scattered(self, lines: Sequence[str], seed: int = 0) -> tuple[list[str], list[int]]:
        """The facts at random places among other lines, which keep their order, and the place of
        each fact."""
        total = len(lines) + len(self.facts)
        rng = runtime.python_random(seed, "scattered", total)
        places = rng.sample(range(total), len(self.facts))
        at = {place: one.sentence for place, one in zip(places, self.facts, strict=True)}
        rest = iter(lines)
        return [at[i] if i in at else next(rest) for i in range(total)], places


def question_set(
    part: str,
    seed: int = 0,
    *,
    entities: tuple[int, int] = (3, 6),
    others: int = 3,
) -> QuestionSet:
    """Questions about new entities, `entities` (from, to) of them for each family of a part, each
    entity also in `others` other relations of its kind, of any part.

    "trained": families and wordings that are trained; "wording": the third question of those
    families; "held out": families that are never trained, any of their questions. ValueError for
    another part.
    """
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}: expected one of {', '.join(PARTS)}")
    rng = runtime.python_random(seed, "questions", part)
    facts: list[Fact] = []
    queries: list[Query] = []
    known: set[str] = set()
    for family in HELD_OUT if part == "held out" else TRAINED:
        kind = FAMILIES[family].kind
        questions = _tested_questions(family, part)
        rest = [i for i in _OF_KIND[kind] if i != family]
        for _ in range(rng.randint(*entities)):
            who = entity(kind, rng, tested=True)
            while who in known:
                who = entity(kind, rng, tested=True)
            known.add(who)
            own = fact(family, who, rng)
            question = rng.choice(questions).format(A=who)
            queries.append(Query(len(facts), family, question, own.stem, own.value))
            further = rng.sample(rest, min(others, len(rest)))
            facts += [own, *(fact(i, who, rng) for i in further)]
    return QuestionSet(tuple(facts), tuple(queries))


def _tested_questions(family: int, part: str) -> tuple[str, ...]:
    questions = FAMILIES[family].questions
    if part == "trained":
        return questions[:2]
    return questions[2:] if part == "wording" else questions
