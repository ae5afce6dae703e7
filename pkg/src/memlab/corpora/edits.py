"""Facts that change: what a memory must say after an edit, in other words, and about others.

An edit gives a subject a new value. It has taken if the stem brings the new value (edit success),
if other wordings do (paraphrase), if other subjects of the same relation keep theirs (specificity),
and if earlier edits are still in force after later ones (retention). No template occurs in a
training text or in another task; choices are made on "dev", and only "test" is reported.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memlab import runtime
from memlab.corpora import text
from memlab.corpora.needles import known_split

# {S} is the subject. Two lines a relation: the kind of its value, the stem that the value follows
# and two other stems; a question.
_TEST = """
city|The order of {S} has its mother house in|Monks of {S} all set out from|Travellers to {S} lodge in
Where does {S} reside?
city|The league of {S} holds its annual fair in|Traders of {S} flock to|The stalls of {S} are built in
Where do dealers of {S} gather?
metal|The medal of {S} is struck in|Those honoured by {S} receive|The prize of {S} gleams like
What are awards of {S} cast from?
metal|Coins of {S} are minted from|The purse of a {S} citizen rattles with|Money of {S} consists of
Which ore does the treasury of {S} melt?
plant|The coat of arms of {S} bears a sprig of|Heralds of {S} paint|The crest of {S} is wreathed in
What grows in the blazon of {S}?
plant|Healers of {S} swear by a tea of|Patients of {S} sip|The remedy of {S} is brewed from
Which herb cures people at {S}?
craft|The guild of {S} watches over|Apprentices of {S} are trained in|Masters of {S} excel in
What do members of {S} make?
craft|The school of {S} became known through|Pupils of {S} devote themselves to|Whoever enters {S} must master
What do they teach at {S}?
star|Pilots of {S} steer by|At night {S} looks up to|The charts of {S} are centred on
Which light guides sailors of {S}?
star|The calendar of {S} begins with the rise of|The new year of {S} follows|Priests of {S} await
What must be seen before {S} celebrates?
weave|The banner of {S} is sewn from|The sails of {S} are cut out of|Flags of {S} are stitched in
Which cloth flutters above {S}?
weave|Robes of {S} are spun from|The clergy of {S} dresses in|Cassocks of {S} are tailored from
What do clerics of {S} wear?
"""  # noqa: E501
_DEV = """
city|The parliament of {S} meets in|Deputies of {S} sit in|The laws of {S} are passed in
Where is the assembly of {S}?
metal|The bells of {S} are cast in|The towers of {S} ring with|The chimes of {S} are poured from
What is the alloy of the carillon of {S}?
plant|Brewers of {S} flavour their ale with|The beer of {S} smells of|The malt of {S} is mixed with
What gives drinks of {S} their taste?
craft|The monks of {S} invented|The abbey of {S} lives by|The friars of {S} sell their
What is the income of {S} based on?
star|Farmers of {S} sow under|The harvest of {S} starts below|The fields of {S} lie beneath
Which constellation rules the seasons of {S}?
weave|Brides of {S} are veiled in|The trousseau of {S} is full of|The wedding gown of {S} is
What stuff is used for marriages in {S}?
"""
_VALUES = {
    kind: words.split()
    for kind, words in {
        "city": (
            "Lisbon Vienna Krakow Bergen Geneva Havana Athens Dublin Nairobi Toronto Madrid Munich"
            " Seoul Zagreb Tunis"
        ),
        "metal": (
            "silver copper bronze pewter brass nickel platinum tin steel zinc iron cobalt titanium"
            " chrome tungsten"
        ),
        "plant": (
            "thyme laurel clover heather rosemary fennel sage lavender ivy mint yarrow barley"
            " juniper sorrel mallow"
        ),
        "craft": (
            "weaving carving pottery bookbinding basketry gilding thatching engraving tanning"
            " glazing masonry joinery lacemaking saddlery calligraphy"
        ),
        "star": (
            "Vega Sirius Rigel Polaris Antares Altair Deneb Spica Arcturus Capella Regulus Castor"
            " Procyon Mira Algol"
        ),
        "weave": (
            "linen velvet silk wool canvas satin damask felt hemp cotton brocade muslin tweed"
            " flannel corduroy"
        ),
    }.items()
}


def _relations(table: str) -> tuple[tuple[str, ...], ...]:
    lines = table.strip().splitlines()
    return tuple(
        (*stems.split("|"), question)
        for stems, question in zip(lines[::2], lines[1::2], strict=True)
    )


RELATIONS = {"test": _relations(_TEST), "dev": _relations(_DEV)}
KINDS = ("edit", "paraphrase", "neighbour", "retention")


@dataclass(frozen=True)
class Edit:
    """A subject gets a new value. `neighbours` are other subjects of the same relation with the
    values they keep; the first has the old value of the subject, the second a name that begins like
    it."""

    relation: int
    subject: str
    stem: str
    old: str
    new: str
    paraphrases: tuple[str, ...]
    neighbours: tuple[tuple[str, str], ...]

    @property
    def before(self) -> tuple[str, ...]:
        """Sentences that hold before the edit: the subject's and those of its neighbours."""
        facts = ((self.stem, self.old), *self.neighbours)
        return tuple(f"{stem} {value}." for stem, value in facts)

    @property
    def after(self) -> str:
        """The sentence that holds from now on."""
        return f"{self.stem} {self.new}."


@dataclass(frozen=True)
class Probe:
    """A question to a memory, of one of `KINDS`: what is asked, the right answer, and the number of
    its edit."""

    kind: str
    prompt: str
    answer: str
    edit: int


def stream(
    count: int,
    seed: int = 0,
    *,
    split: str = "test",
    neighbours: int = 4,
    again: float = 0.0,
) -> list[Edit]:
    """`count` edits, each of a new subject, or with the share `again` of one that was edited
    before: then its old value is the one of the last edit, and its neighbours are the same.

    The first edits are those of a shorter stream. ValueError for an unknown split, fewer than 1
    edit, fewer than 2 neighbours or a share outside 0 … 1.
    """
    if count < 1 or neighbours < 2 or not 0 <= again <= 1:
        raise ValueError(
            "expected at least 1 edit, 2 neighbours and a share in 0 … 1, "
            f"got {count}, {neighbours} and {again}"
        )
    rng = runtime.python_random(seed, "edits", known_split(split), neighbours)
    made: list[Edit] = []
    taken: set[str] = set()
    for _ in range(count):
        if made and rng.random() < again:
            made.append(_again(rng, split, made))
        else:
            made.append(_fresh(rng, split, neighbours, taken))
    return made


def _again(rng: random.Random, split: str, made: Sequence[Edit]) -> Edit:
    """Another edit of a subject that was edited before."""
    past = rng.choice(made)
    last = next(edit for edit in reversed(made) if edit.stem == past.stem)
    held = {value for _, value in last.neighbours}
    new = rng.choice([v for v in _pool(split, last.relation) if v != last.new and v not in held])
    return replace(last, old=last.new, new=new)


def _pool(split: str, relation: int) -> list[str]:
    return _VALUES[RELATIONS[split][relation][0]]


def _fresh(
    rng: random.Random,
    split: str,
    neighbours: int,
    taken: set[str],
) -> Edit:
    relation = rng.randrange(len(RELATIONS[split]))
    _, stem, *others = RELATIONS[split][relation]
    first = _word(rng)
    last = _word(rng)
    names = [f"{first} {last}", _word(rng), f"{first} {_word(rng)}"]
    names += [_word(rng) for _ in range(neighbours - 2)]
    if len(set(names)) < len(names) or taken & set(names):
        return _fresh(rng, split, neighbours, taken)
    taken.update(names)
    old, new, *rest = rng.sample(_pool(split, relation), 5)  # the new value is that of no neighbour
    kept = [old, *(rng.choice(rest) for _ in names[2:])]
    subject, *neighbour_names = names
    near = [(stem.format(S=name), value) for name, value in zip(neighbour_names, kept, strict=True)]
    paraphrases = tuple(one.format(S=subject) for one in others)
    return Edit(relation, subject, stem.format(S=subject), old, new, paraphrases, tuple(near))


def _word(rng: random.Random) -> str:
    word = ""
    while not 4 <= len(word) <= 10:
        word = text.made_up_word(rng)
    return word.capitalize()


def probes(
    edits: Sequence[Edit],
    after: int,
    *,
    retained: int | None = None,
    seed: int = 0,
) -> list[Probe]:
    """What to ask when the first `after` edits are done: the last one by its stem, in its other
    wordings and for its neighbours; and all earlier ones that are still in force, or `retained` of
    them drawn at random.

    ValueError unless 1 ≤ `after` ≤ number of edits.
    """
    if not 1 <= after <= len(edits):
        raise ValueError(f"expected 1 to {len(edits)} edits done, got {after}")
    last = edits[after - 1]
    found = [Probe("edit", last.stem, last.new, after - 1)]
    found += [Probe("paraphrase", prompt, last.new, after - 1) for prompt in last.paraphrases]
    found += [Probe("neighbour", prompt, value, after - 1) for prompt, value in last.neighbours]
    current = {edit.stem: number for number, edit in enumerate(edits[:after])}
    earlier = sorted(number for number in current.values() if number < after - 1)
    if retained is not None and retained < len(earlier):
        earlier = sorted(runtime.python_random(seed, "retained", after).sample(earlier, retained))
    return found + [
        Probe("retention", edits[number].stem, edits[number].new, number) for number in earlier
    ]


def world(edits: Sequence[Edit]) -> list[str]:
    """Every sentence that holds before the first edit, once: what a memory is to be filled with."""
    first: dict[str, Edit] = {}
    for edit in edits:
        first.setdefault(edit.stem, edit)
    return [sentence for edit in first.values() for sentence in edit.before]
