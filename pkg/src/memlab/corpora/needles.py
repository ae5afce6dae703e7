"""Passkeys and needles: a fact, a haystack of whole sentences, a depth, a prompt.

Two splits of wordings: choices are made on "dev", and only "test" is reported. The passkey is that
of Mohtashami and Jaggi (Landmark attention), the needle has the form of Kamradt's test; the second
seed paper (arXiv 2407.01437) uses both. Every number, city and activity is drawn anew for each
trial.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from memlab import runtime
from memlab.corpora import text

Encode = Callable[[Sequence[str]], list[list[int]]]
Segments = tuple[tuple[int, ...], ...]
Rows = tuple[int, ...]
KINDS = ("passkey", "needle")

_CITIES = (
    "Vienna Madrid Chicago Lisbon Seoul Athens Munich Austin Havana Dublin Toronto Geneva Bergen"
    " Nairobi Santiago Krakow"
).split() + ["San Francisco"]
_ACTIVITIES = (
    "eat a sandwich and sit in Dolores Park on a sunny day",
    "ride a boat across the bay and feed the gulls",
    "drink hot tea by the window and watch the rain",
    "climb the tower and draw the roofs below",
    "visit the old bakery and share a cake with friends",
    "walk along the wall and listen to the bells",
    "rent a bicycle and follow the river to the sea",
    "hear a choir sing under the great dome at noon",
    "buy ripe plums at the market and eat them on the steps",
    "swim in the lake before the town wakes up",
    "take the night tram and count the bridges",
    "sit on the pier and mend a fishing net",
)
_VIEWS = (
    "the roof of the opera after dark",
    "a bench behind the brewery at dawn",
    "the last car of the cable train",
    "the third floor of the glass library",
    "a rowing boat below the castle",
    "the hill with the two pines",
)
_FILLER = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)


@dataclass(frozen=True)
class Fact:
    """What is hidden: its sentences, the stem that cues it, a freely worded question, and the
    answer."""

    kind: str
    sentences: tuple[str, ...]
    cue: str
    question: str
    answer: str


def passkey(seed: int, *, split: str = "test") -> Fact:
    """A five-digit number hidden in three sentences, asked for by the stem of the first."""
    number = str(runtime.python_random(seed, "passkey", split).randrange(10_000, 100_000))
    if known_split(split) == "test":
        name = "pass key"
        aside = "Remember it."
        question = "Which number do I have to type as pass key?"
    else:
        name = "vault code"
        aside = "Keep it safe."
        question = "With what does the vault open?"
    stem = f"The {name} is"
    sentences = (f"{stem} {number}.", aside, f"{number} is the {name}.")
    return Fact("passkey", sentences, stem, question, number)


def needle(seed: int, *, split: str = "test") -> Fact:
    """One sentence about a city, asked for by its stem; the answer is the rest of the sentence."""
    rng = runtime.python_random(seed, "needle", split)
    city = rng.choice(_CITIES)
    if known_split(split) == "test":
        stem = f"The best thing to do in {city} is"
        question = f"I am in {city}, what should I do there?"
        answer = rng.choice(_ACTIVITIES)
    else:
        stem = f"The finest view over {city} is from"
        question = f"From where can {city} be admired?"
        answer = rng.choice(_VIEWS)
    return Fact("needle", (f"{stem} {answer}.",), stem, question, answer)


def known_split(split: str) -> str:
    """The split itself; ValueError unless it is dev or test."""
    if split not in ("dev", "test"):
        raise ValueError(f"unknown split {split!r}: expected dev or test")
    return split


def fact(
    kind: str,
    seed: int,
    *,
    split: str = "test",
) -> Fact:
    """`passkey` or `needle` by name."""
    if kind not in KINDS:
        raise ValueError(f"unknown task {kind!r}: expected one of {', '.join(KINDS)}")
    return passkey(seed, split=split) if kind == "passkey" else needle(seed, split=split)


@dataclass(frozen=True)
class Haystack:
    """Token ids of consecutive segments: a segment is a sentence, or a piece of one that is longer
    than the limit.

    `starts` are the rows with which a sentence begins, in order.
    """

    segments: Segments
    starts: Rows = ()

    @property
    def tokens(self) -> int:
        """The length of the whole haystack in tokens."""
        return sum(map(len, self.segments))

    def fitting(self, room: int) -> int:
        """How many segments from the start fit into `room` tokens."""
        used = 0
        for count, segment in enumerate(self.segments):
            used += len(segment)
            if used > room:
                return count
        return len(self.segments)


def cut(
    ids: Sequence[Sequence[int]],
    limit: int,
    inside: Container[int],
) -> Segments:
    """Sentences as segments of at most `limit` tokens, in order.

    No segment begins with a token of `inside` (those that begin inside a character, see
    `inside_characters`), but where a single character has more tokens than the limit.
    """
    if limit < 1:
        raise ValueError(f"a segment must hold at least 1 token, got a limit of {limit}")
    return tuple(piece for one in ids for piece in _pieces(one, limit, inside))


def _pieces(
    ids: Sequence[int],
    limit: int,
    inside: Container[int],
) -> Iterator[tuple[int, ...]]:
    start = 0
    while start < len(ids):
        end = min(start + limit, len(ids))
        whole = end
        while start < whole < len(ids) and ids[whole] in inside:
            whole -= 1
        end = whole if whole > start else end
        yield tuple(ids[start:end])
        start = end


def inside_characters(encode: Encode) -> Container[int]:
    """What an encoder says of its tokens that begin inside a character; nothing, if it is a bare
    function."""
    found: Container[int] = getattr(encode, "inside", ())
    return found


def fill(
    lines: Iterator[str],
    tokens: int,
    encode: Encode,
    *,
    limit: int,
) -> Haystack:
    """The first sentences, up to the segment with which they have at least `tokens` tokens.

    Raises ValueError for a length below 1, or if the sentences come to an end before.
    """
    if tokens < 1:
        raise ValueError(f"expected a haystack of at least 1 token, got {tokens}")
    segments: list[tuple[int, ...]] = []
    starts = []
    inside = inside_characters(encode)
    have = 0
    while have < tokens:
        some = [" " + line for line in islice(lines, min(1000, 10 + tokens // 16))]
        if not some:
            raise ValueError(
                f"expected sentences for a haystack of {tokens} tokens, got {have} tokens"
            )
        for sentence in filter(None, encode(some)):
            starts.append(len(segments))
            segments += cut([sentence], limit, inside)
            have += len(sentence)
    size = Haystack(tuple(segments)).fitting(tokens) + 1
    return Haystack(tuple(segments[:size]), tuple(starts[: bisect_left(starts, size)]))


def haystack(
    tokens: int,
    encode: Encode,
    *,
    limit: int,
    split: str = "test",
    source: str = "documentation",
    seed: int = 0,
) -> Haystack:
    """At least `tokens` tokens of real documentation ("documentation") or of the five filler
    sentences ("filler").

    The documentation starts at a place that depends on the seed and runs in its own order; only a
    haystack longer than all of it begins again. Raises ValueError for an unknown source or split,
    or a length below 1.
    """
    if source not in ("documentation", "filler"):
        raise ValueError(f"unknown haystack {source!r}: expected documentation or filler")
    if source == "filler":
        return fill(cycle(_FILLER), tokens, encode, limit=limit)
    lines = text.documentation(known_split(split))
    start = runtime.python_random(seed, "haystack", split).randrange(len(lines))
    return fill(cycle((*lines[start:], *lines[:start])), tokens, encode, limit=limit)


@dataclass(frozen=True)
class Prompt:
    """A fact in a haystack: `segments` in reading order, the rows that hold the fact, the cue and
    the answer."""

    segments: Segments
    rows: Rows
    cue: tuple[int, ...]
    fact: Fact
    depth: float

    @property
    def tokens(self) -> int:
        """Length of haystack, fact and cue together."""
        return sum(map(len, self.segments)) + len(self.cue)


def insert(
    segments: Segments,
    groups: Sequence[Segments],
    places: Sequence[int],
) -> tuple[Segments, list[Rows]]:
    """Segments with groups of others put in, each before the segment at its place, and the rows of
    each group.

    Groups that go to the same place keep their order.
    """
    rows: list[Rows] = [()] * len(groups)
    joined: list[tuple[int, ...]] = []
    done = 0
    for number in sorted(range(len(groups)), key=places.__getitem__):
        joined += segments[done : places[number]]
        done = places[number]
        rows[number] = tuple(range(len(joined), len(joined) + len(groups[number])))
        joined += groups[number]
    return (*joined, *segments[done:]), rows


def hide(
    hay: Haystack,
    hidden: Fact,
    depth: float,
    tokens: int,
    encode: Encode,
    *,
    limit: int,
    reserve: int = 2,
) -> Prompt:
    """Put a fact at relative `depth` (0 start, 1 end) of a prompt of at most `tokens` tokens, cue
    included.

    `reserve` tokens stay free for the marks a model sets (start, cue). Raises ValueError if the
    depth is outside 0…1, if the prompt cannot hold the fact with its cue, or if the haystack is too
    short for the length asked for.
    """
    if not 0 <= depth <= 1:
        raise ValueError(f"expected a depth between 0 and 1, got {depth}")
    cue, *own = encode([" " + s for s in (hidden.cue, *hidden.sentences)])
    pieces = cut(own, limit, inside_characters(encode))
    room = tokens - reserve - len(cue) - sum(map(len, pieces))
    if room < 0:
        raise ValueError(
            f"the needle and its cue need {tokens - room} tokens, the prompt has {tokens}"
        )
    if hay.tokens < room:
        raise ValueError(f"expected a haystack of at least {room} tokens, got {hay.tokens}")
    count = hay.fitting(room)
    segments, (rows,) = insert(hay.segments[:count], [pieces], [round(depth * count)])
    return Prompt(segments, rows, tuple(cue), hidden, depth)


def tasks_for(
    kind: str,
    tokens: int,
    trial: int,
    seed: int,
    split: str,
    encode: Encode,
    limit: int = 48,
    *,
    source: str = "documentation",
) -> Prompt:
    """The prompt of one trial: the same for every model compared, new for every kind, length and
    trial.

    Depth runs through 0.05, 0.15 … 0.95 as the trials do. Errors are those of `fact`, `haystack`
    and `hide`.
    """
    fact_seed = runtime.derive_seed(seed, kind, tokens, trial)
    hay_seed = runtime.derive_seed(seed, "hay", tokens, trial)
    depth = trial % 10 / 10 + 0.05
    hidden = fact(kind, fact_seed, split=split)
    hay = haystack(
        tokens,
        encode,
        limit=limit,
        split=split,
        source=source,
        seed=hay_seed,
    )
    return hide(hay, hidden, depth, tokens, encode, limit=limit)
