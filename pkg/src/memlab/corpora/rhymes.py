"""Verses that obey rules: what a wrong recitation can get right. And poets without a network:
chains, collages, dice.

A verse has four lines of four words: adjective, noun, verb, ending. Every ending rhymes with the
one before, and is another word; the noun of line 1 is the one in the title. All else is drawn
evenly. Ids: 16 words of each kind, then authors. All functions are pure in (parameters, seed).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab import runtime
from memlab.corpora.poems import Poems, author_list

# Adjectives, nouns, verbs, endings; four endings of a sound stand together.
WORDS = tuple(
    """
pale cold old deep soft dark green lost wild thin grey proud small slow bright blind
moon river door stone wolf boat king bell tree cloud ghost horse road lamp star leaf
meets finds leaves fears brings calls hides holds
loses paints breaks follows crosses counts wakes wants
snow crow glow bow night light flight sight rain grain train plain shore store lore score
""".split()
)
KINDS = 4
EACH = 16
PER_SOUND = 4
LINES = 4
AUTHORS = 16
VOCABULARY = KINDS * EACH
# 4 bits a word; three must rhyme, and the title gives one away.
BITS = 12 * 4 + 3 * math.log2(PER_SOUND - 1)


class Verses(Poems):
    """Poems in the words of this module."""

    def words(self, ids: Int[Tensor, " word"], per_line: int = 0) -> str:
        """Token ids as text, broken into lines of `per_line` words (0: one line)."""
        names = WORDS + author_list(self.authors)
        said = [names[i] for i in ids.tolist()]
        step = per_line or max(1, len(said))
        return "\n".join(" ".join(said[i : i + step]) for i in range(0, len(said), step))


def verses(
    count: int = 96,
    *,
    seed: int = 0,
    fresh: bool = False,
) -> Verses:
    """`count` verses that obey the rules, under unique keys: author, adjective, noun. 52.8 bits
    each.

    With `fresh` others, under keys that occur in no verse of the first set. ValueError if there are
    not enough keys.
    """
    space = AUTHORS * EACH * EACH
    if not 1 <= count <= space // 2:
        raise ValueError(f"expected 1 to {space // 2} verses, got {count}")
    numbers = runtime.python_random(seed, "verse keys").sample(range(space), 2 * count)
    chosen = torch.tensor(numbers[count:] if fresh else numbers[:count])
    author = VOCABULARY + chosen % AUTHORS
    adjective = chosen // AUTHORS % EACH
    noun = EACH + chosen // AUTHORS // EACH
    keys = torch.stack([author, adjective, noun], 1)
    bodies = dice(keys, seed=seed, scope="fresh" if fresh else "first")
    return Verses(keys, bodies, VOCABULARY, AUTHORS, BITS)


def dice(
    keys: Int[Tensor, "poem key"],
    *,
    seed: int = 0,
    scope: str = "dice",
) -> Int[Tensor, "poem word"]:
    """Poems to these titles by dice that know the rules, and no poem."""
    draw = runtime.generator(seed, "verses", scope)
    lines = torch.randint(EACH, (len(keys), LINES, KINDS), generator=draw)
    first = lines[:, :1, -1]
    further = torch.randint(1, PER_SOUND, (len(keys), LINES - 1), generator=draw).cumsum(1)
    lines[:, 1:, -1] = first // PER_SOUND * PER_SOUND + (first + further) % PER_SOUND
    lines[:, 0, 1] = keys[:, 2] - EACH
    return (lines + torch.arange(KINDS) * EACH).flatten(1)


def unrhymed(poems: Verses, seed: int = 0) -> Verses:
    """The same verses with all endings drawn anew, each on its own: what there is to learn but for
    the rhymes."""
    draw = runtime.generator(seed, "verses", "unrhymed")
    endings = torch.randint(EACH, (len(poems), LINES), generator=draw)
    bodies = poems.bodies.clone()
    bodies[:, KINDS - 1 :: KINDS] = VOCABULARY - EACH + endings
    return Verses(poems.keys, bodies, VOCABULARY, AUTHORS, 15 * 4.0)


# ---- what a poem gets right ----------------------------------------------------------------------


def grammar(bodies: Int[Tensor, "poem word"]) -> Float[Tensor, " poem"]:
    """The share of words that are of the kind their place asks for; 1/4 by chance."""
    place = torch.arange(bodies.shape[1]) % KINDS
    return (bodies // EACH == place).double().mean(1)


def rhyme(bodies: Int[Tensor, "poem word"]) -> Float[Tensor, " poem"]:
    """The share of neighbouring lines that end on two words of the same sound; 3/16 for endings
    drawn evenly."""
    last = bodies[:, KINDS - 1 :: KINDS]
    ends = (last >= VOCABULARY - EACH) & (last < VOCABULARY)
    one = last[:, :-1]
    two = last[:, 1:]
    both_end = ends[:, :-1] & ends[:, 1:]
    same_sound = one // PER_SOUND == two // PER_SOUND
    rhymes = same_sound & (one != two) & both_end
    return rhymes.double().mean(1)


def titled(
    bodies: Int[Tensor, "poem word"], keys: Int[Tensor, "poem key"]
) -> Bool[Tensor, " poem"]:
    """Whether the noun of the first line is the one in the title; 1/16 for a noun drawn evenly."""
    return bodies[:, 1] == keys[:, 2]


def longest_copy(
    bodies: Int[Tensor, "poem word"], known: Int[Tensor, "other word"]
) -> Int[Tensor, " poem"]:
    """The length of the longest run of words that also occurs, anywhere, in one of the known
    poems."""
    lengths = range(1, bodies.shape[1] + 1)
    known_runs: set[tuple[int, ...]] = set()
    for poem in known.tolist():
        for length in lengths:
            known_runs.update(_runs(poem, length))

    def longest(poem: list[int]) -> int:
        for length in reversed(lengths):
            if any(run in known_runs for run in _runs(poem, length)):
                return length
        return 0

    return torch.tensor([longest(poem) for poem in bodies.tolist()])


def _runs(poem: list[int], length: int) -> Iterator[tuple[int, ...]]:
    """All runs of so many words of a poem."""
    for start in range(len(poem) - length + 1):
        yield tuple(poem[start : start + length])


def rules(
    bodies: Int[Tensor, "poem word"],
    keys: Int[Tensor, "poem key"],
    known: Int[Tensor, "other word"],
) -> dict[str, float]:
    """Means over poems: the rules kept, and the longest run copied from the known poems, in
    words."""
    return {
        "grammar": float(grammar(bodies).mean()),
        "rhyme": float(rhyme(bodies).mean()),
        "title": float(titled(bodies, keys).double().mean()),
        "copied": float(longest_copy(bodies, known).double().mean()),
    }


# ---- poets to compare with -----------------------------------------------------------------------


def markov(
    poems: Poems,
    count: int,
    order: int = 1,
    *,
    seed: int = 0,
) -> Int[Tensor, "poem word"]:
    """Poems by a Markov chain: every word is drawn as in the poems after the same `order` words.

    A run of words that ends its only poem goes on after a shorter one. ValueError for an order
    below 1.
    """
    if order < 1:
        raise ValueError(f"expected an order of at least 1, got {order}")
    draw = runtime.python_random(seed, "markov", order)
    bodies = poems.bodies.tolist()
    first = [poem[0] for poem in bodies]
    after: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for poem in bodies:
        for i in range(1, len(poem)):
            for n in range(min(order, i) + 1):
                after[tuple(poem[i - n : i])].append(poem[i])

    def last_known(said: list[int]) -> tuple[int, ...]:
        for n in range(min(order, len(said)), 0, -1):
            past = tuple(said[-n:])
            if past in after:
                return past
        return ()

    def one() -> list[int]:
        said = [draw.choice(first)]
        while len(said) < poems.bodies.shape[1]:
            said.append(draw.choice(after[last_known(said)]))
        return said

    return torch.tensor([one() for _ in range(count)])


def collage(
    poems: Poems,
    keys: Int[Tensor, "poem key"],
    lines: int = 1,
    *,
    seed: int = 0,
) -> Int[Tensor, "poem word"]:
    """Poems of whole lines cut out of the known ones, `lines` at a time, each in its place.

    The first piece comes from a poem whose title has the noun that is asked for, where there is
    one.
    """
    if lines not in (1, 2, 4):
        raise ValueError(f"expected 1, 2 or 4 lines at a time, got {lines}")
    draw = runtime.python_random(seed, "collage", lines)
    pieces = poems.bodies.unflatten(1, (-1, lines * KINDS))  # poem, piece, word
    made = []
    for key in keys:
        same_noun = (poems.keys[:, 2] == key[2]).nonzero().flatten().tolist()
        sources = [draw.choice(same_noun or range(len(poems)))]
        for _ in range(pieces.shape[1] - 1):
            sources.append(draw.randrange(len(poems)))
        made.append(torch.cat([pieces[source, i] for i, source in enumerate(sources)]))
    return torch.stack(made)
