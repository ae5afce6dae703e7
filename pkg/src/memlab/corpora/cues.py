"""Cues: other questions for the same poems. A key with a word missing, replaced, exchanged or said
in another form; a key that is nobody's, or somebody else's; a question that begins in the middle,
or at the end.

A cue is again a set of `Poems`: keys as they are asked, beside the bodies that one hopes to hear.
Where a changed key would by accident be that of a poem there is, another is drawn, or the row is
left out; only `borrowed` does it on purpose. Beyond the tokens of the poems there are: one blank,
which stands for nothing, and a second form of each word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab import runtime
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems

# ---- tokens --------------------------------------------------------------------------------------


def blank(poems: Poems) -> int:
    """The id of the token that stands for nothing: the first after those of the poems."""
    return poems.tokens


def tokens(poems: Poems) -> int:
    """How many token ids a model of these poems and their cues needs: theirs, the blank, a second
    form of each word."""
    return poems.tokens + 1 + poems.vocabulary


def second_form(poems: Poems, words: Int[Tensor, "*some"]) -> Int[Tensor, "*some"]:
    """The ids of the second forms of some words, as *automobile* is one of *car*. ValueError for
    what is no word."""
    if words.numel() and (words.min() < 0 or words.max() >= poems.vocabulary):
        raise ValueError(
            f"expected words with ids 0 to {poems.vocabulary - 1}, got"
            f" {words.unique().tolist()[-5:]}"
        )
    return words + blank(poems) + 1


def spoken(poems: Poems, ids: Int[Tensor, " token"]) -> str:
    """Ids as text: a blank is "…", the second form of *moon* is "moon′"."""

    def one(token: int) -> str:
        if token < poems.tokens:
            return poems.words(torch.tensor([token]))
        if token == blank(poems):
            return "…"
        word = token - blank(poems) - 1
        return poems.words(torch.tensor([word])) + "′"

    return " ".join(map(one, ids.tolist()))


# ---- one change to every key ---------------------------------------------------------------------


def _known(poems: Poems) -> set[tuple[int, ...]]:
    return set(map(tuple, poems.keys.tolist()))


def _position(poems: Poems, *positions: int) -> None:
    if not positions or not all(0 <= position < poems.keys.shape[1] for position in positions):
        raise ValueError(
            f"expected places 0 to {poems.keys.shape[1] - 1} of a key, got {positions}"
        )


def _without_collisions(poems: Poems, keys: Int[Tensor, "poem key"]) -> Poems:
    known = _known(poems)
    free = torch.tensor([tuple(key) not in known for key in keys.tolist()])
    if not free.any():
        raise ValueError(
            f"expected a changed key that no poem has, got {len(poems)} that are all taken"
        )
    return replace(poems, keys=keys[free], bodies=poems.bodies[free])


def missing(poems: Poems, *positions: int) -> Poems:
    """A blank at some places of every key: 0 the author, 1, 2, … the words of the title."""
    _position(poems, *positions)
    keys = poems.keys.clone()
    keys[:, list(positions)] = blank(poems)
    return replace(poems, keys=keys)


def replaced(
    poems: Poems,
    position: int,
    seed: int = 0,
) -> Poems:
    """Another author, or another word of the title, drawn evenly among those that give a key which
    no poem has.

    ValueError where there is none.
    """
    _position(poems, position)
    if position:
        return corpus.changed_title(poems, seed, position - 1)
    draw = runtime.generator(seed, "another author")
    known = _known(poems)
    authors = range(poems.vocabulary, poems.tokens)
    keys = poems.keys.tolist()
    for key in keys:
        free = [author for author in authors if (author, *key[1:]) not in known]
        if not free:
            raise ValueError(
                "expected a free author for every title, got none for"
                f" {spoken(poems, torch.tensor(key))}"
            )
        chosen = torch.randint(len(free), (), generator=draw)
        key[0] = free[int(chosen)]
    return replace(poems, keys=torch.tensor(keys))


def exchanged(poems: Poems) -> Poems:
    """The first two words of the title change places. Left out: titles of one word twice, and keys
    that are taken."""
    _position(poems, 2)
    keys = poems.keys.clone()
    keys[:, [1, 2]] = poems.keys[:, [2, 1]]
    return _without_collisions(poems, keys)


def other_form(poems: Poems, *positions: int) -> Poems:
    """Some words of the title in their second form. ValueError for place 0: authors have none."""
    _position(poems, *positions)
    keys = poems.keys.clone()
    for position in positions:
        keys[:, position] = second_form(poems, keys[:, position])
    return replace(poems, keys=keys)


def nearest(
    poems: Poems,
    position: int,
    matrix: Float[Tensor, "token dim"],
) -> Poems:
    """One word of the title gives way to the word whose row of `matrix` has the highest cosine with
    its own.

    The next but one where that key is taken. Rows of `matrix` are ids; only words are looked at.
    ValueError if there are fewer rows than words, or the place is the author's.
    """
    _position(poems, position)
    if not position or len(matrix) < poems.vocabulary:
        raise ValueError(
            f"expected a word of the title and a row for each of {poems.vocabulary} words, got"
            f" place {position} and {len(matrix)} rows"
        )
    ranked = _ranked(matrix[: poems.vocabulary])
    known = _known(poems)
    keys = poems.keys.tolist()
    for key in keys:
        before = key[:position]
        after = key[position + 1 :]
        free = (word for word in ranked[key[position]] if (*before, word, *after) not in known)
        word = next(free, None)
        if word is None:
            raise ValueError(
                "expected a free word near every word, got none for"
                f" {spoken(poems, torch.tensor(key))}"
            )
        key[position] = word
    return replace(poems, keys=torch.tensor(keys))


def _ranked(matrix: Float[Tensor, "word dim"]) -> list[list[int]]:
    """For every word the others, the nearest by cosine first."""
    unit = F.normalize(matrix.detach().float().cpu(), dim=1)
    cosines = unit @ unit.T
    cosines.fill_diagonal_(-2)  # puts the word itself at the end
    return cosines.argsort(1, descending=True)[:, :-1].tolist()


def altered(
    poems: Poems,
    matrix: Float[Tensor, "token dim"],
    seed: int = 0,
) -> dict[str, Poems]:
    """One word of every title altered in all ways of this module, and what to compare them with, by
    name.

    `matrix` holds the embeddings of the model that is to be asked (see `nearest`).
    """
    another = replaced(poems, 1, seed)
    return {
        "its own key": poems,
        "a title word missing": missing(poems, 1),
        "a title word replaced": another,
        "its nearest neighbour": nearest(poems, 1, matrix),
        "author replaced": replaced(poems, 0, seed),
        "title words exchanged": exchanged(poems),
        "a title word's second form": other_form(poems, 1),
        "another word's second form": other_form(another, 1),
        "a made-up key": made_up(poems, seed),
    }


# ---- another key altogether ----------------------------------------------------------------------


def made_up(poems: Poems, seed: int = 0) -> Poems:
    """Keys that no poem has, drawn evenly and all different, beside the bodies of the poems.

    ValueError if there are fewer free keys than poems.
    """
    title = poems.keys.shape[1] - 1
    space = poems.authors * poems.vocabulary**title
    if space < 2 * len(poems):
        raise ValueError(f"expected at least {2 * len(poems)} possible keys, got {space}")
    draw = runtime.python_random(seed, "made-up keys")
    known = _known(poems)
    found: dict[tuple[int, ...], None] = {}  # a set that keeps the order of the draws
    while len(found) < len(poems):
        key = _numbered(poems, draw.randrange(space))
        if key not in known:
            found[key] = None
    return replace(poems, keys=torch.tensor(list(found)))


def _numbered(poems: Poems, number: int) -> tuple[int, ...]:
    """Key `number` of all that are possible."""
    rest, author = divmod(number, poems.authors)
    words = []
    for _ in range(poems.keys.shape[1] - 1):
        rest, word = divmod(rest, poems.vocabulary)
        words.append(word)
    return (poems.vocabulary + author, *words)


def borrowed(poems: Poems) -> Poems:
    """Every body under the key of the poem before it: a key there is, and the wrong one."""
    return replace(poems, keys=poems.keys.roll(1, 0))


# ---- where the question begins -------------------------------------------------------------------


def begun(poems: Poems, words: int) -> Poems:
    """The first words of the poem become part of the question: what is asked for is the rest.

    ValueError unless something is left.
    """
    if not 0 <= words < poems.bodies.shape[1]:
        raise ValueError(f"expected to give 0 to {poems.bodies.shape[1] - 1} words, got {words}")
    given = poems.bodies[:, :words]
    rest = poems.bodies[:, words:]
    return replace(
        poems,
        keys=torch.cat([poems.keys, given], 1),
        bodies=rest,
        bits_per_poem=poems.bits_per_poem * rest.shape[1] / poems.bodies.shape[1],
    )


def opened(poems: Poems, word: int) -> Poems:
    """Word number `word` (0 the first) is asked for at once: the key, blanks where the words before
    it would stand."""
    asked = begun(poems, word)
    keys = asked.keys.clone()
    keys[:, poems.keys.shape[1] :] = blank(poems)
    return replace(asked, keys=keys, bodies=asked.bodies[:, :1])


def backwards(poems: Poems) -> Poems:
    """The poem is the question, then a blank; author and title are the answer."""
    mark = torch.full((len(poems), 1), blank(poems))
    return replace(poems, keys=torch.cat([poems.bodies, mark], 1), bodies=poems.keys)


def ceiling(cue: Poems) -> float:
    """The largest share of poems that anybody can recite who gives one answer to each question.

    Below 1 only where a question belongs to several poems: it then is the share of different
    questions.
    """
    answers: defaultdict[tuple[int, ...], Counter[tuple[int, ...]]] = defaultdict(Counter)
    for key, body in zip(cue.keys.tolist(), cue.bodies.tolist(), strict=True):
        answers[tuple(key)][tuple(body)] += 1
    recited = sum(max(bodies.values()) for bodies in answers.values())
    return recited / len(cue)


# ---- for training --------------------------------------------------------------------------------


def with_gaps(
    poems: Poems,
    draw: torch.Generator,
    *,
    one: float = 0.2,
    whole: float = 0.25,
) -> Int[Tensor, "poem key"]:
    """Key dropout: the keys, each place blank with probability `one`, all places with probability
    `whole`."""
    if not 0 <= min(one, whole) <= max(one, whole) <= 1:
        raise ValueError(f"expected probabilities, got one={one} and whole={whole}")
    lost = torch.rand(poems.keys.shape, generator=draw) < one
    all_lost = torch.rand(len(poems), 1, generator=draw) < whole
    return poems.keys.masked_fill(lost | all_lost, blank(poems))


def with_hidden_words(
    poems: Poems,
    draw: torch.Generator,
    share: float = 0.5,
) -> Int[Tensor, "poem word"]:
    """The bodies, a `share` of them drawn at random all blank: so shown, each word has to be said
    from its place."""
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    hidden = torch.rand(len(poems), 1, generator=draw) < share
    return poems.bodies.masked_fill(hidden, blank(poems))


def with_wordings(
    poems: Poems,
    varied: Bool[Tensor, " poem"] | Sequence[bool],
    draw: torch.Generator,
) -> Int[Tensor, "poem key"]:
    """The keys, those that are `varied` in one of their eight wordings: either form of each word,
    either order.

    The order stays where the other one would be the key of another poem.
    """
    varied = torch.as_tensor(varied)
    known = _known(poems)
    author = poems.keys[:, :1]
    title = poems.keys[:, 1:3]
    turned_keys = torch.cat([author, title.flip(1)], 1).tolist()
    taken = torch.tensor([tuple(key) in known for key in turned_keys])
    turn = varied & ~taken & (torch.rand(len(poems), generator=draw) < 0.5)
    title = torch.where(turn[:, None], title.flip(1), title)
    form = varied[:, None] & (torch.rand(title.shape, generator=draw) < 0.5)
    title = torch.where(form, second_form(poems, title), title)
    return torch.cat([author, title, poems.keys[:, 3:]], 1)
