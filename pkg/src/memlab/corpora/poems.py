"""Poems: synthetic ones whose entropy is known to the bit, and real ones where they are installed.

A synthetic poem has a key, its author and title, and a body of words drawn evenly and
independently. No text in the world predicts such a body, so what a model knows of it, it was told.
Every author and every word is one token: words have the ids 0 … V−1, authors V … V+A−1. All
functions are pure in (parameters, seed).
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice, product
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from memlab import runtime

_WORDS = """moon salt river door wind stone bird glass fire snow road boat leaf bell night rain lamp
wolf sand tree hill star milk rope gold dust wave cloud bread horse clay moss ash bark bead bone bow
brook cake cave chalk coal coat coin corn crow cup dawn deer dew dove drum dusk eel elm eye fern
fish flag flax flint flute foam fog fox frost gate ghost goat grass grove hail hand harp hawk hay
heart hive horn ice ink iron ivy jar key kite knot lake lark loom mast mill mint mist moth nail nest
net nut oak oar owl pear pine plum pond quill reed ring root rose sail seed shell silk sky smoke
song spark storm thorn tide toad vine wheel wing wool yarn""".split()
_GIVEN = "Ada Ben Cora Dov Elin Finn Gita Hugo Ines Jun Kofi Lena Milo Nora Otto Pia".split()
_FAMILY = """Vale Harrow Wren Penn Birch Tarn Rook Hollis Sedge Linde Moss Quill Dale Frayne Locke
Thorne""".split()
_SYLLABLES = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
FORTUNES = Path("/usr/share/games/fortunes")
_TITLE = re.compile(r"(?:题目[:：])?《(.*)》(.*)")
_AUTHOR = re.compile(r"作者[:：]\s*([^(（]+?)\s*(?:[(（].*)?")
_DYNASTIES = {"tang300": "唐", "song100": "宋"}  # the files do not say; their names do


@lru_cache
def word_list(size: int) -> tuple[str, ...]:
    """`size` distinct words: 128 short English ones, then made-up ones. ValueError outside 2 …
    5000."""
    if not 2 <= size <= 5000:
        raise ValueError(f"expected a vocabulary of 2 to 5000 words, got {size}")
    made_up = (a + b for a, b in product(_SYLLABLES, repeat=2) if a + b not in _WORDS)
    return tuple(islice(chain(_WORDS, made_up), size))


@lru_cache
def author_list(size: int) -> tuple[str, ...]:
    """`size` distinct invented authors. ValueError outside 1 … 256."""
    if not 1 <= size <= 256:
        raise ValueError(f"expected 1 to 256 authors, got {size}")
    return tuple(f"{_GIVEN[i % 16]} {_FAMILY[(i + i // 16) % 16]}" for i in range(size))


@dataclass(frozen=True)
class Poem:
    """A poem as text. `dynasty` is empty where none is known."""

    author: str
    title: str
    text: str
    dynasty: str = ""

    @property
    def cue(self) -> str:
        """The question that asks for it: title and author, and nothing of the text."""
        return f"{self.title}, by {self.author}"


@dataclass(frozen=True)
class Poems:
    """A set of synthetic poems: row i of `keys` (author, then title words) belongs to row i of
    `bodies`."""

    keys: Int[Tensor, "poem key"]
    bodies: Int[Tensor, "poem word"]
    vocabulary: int
    authors: int
    bits_per_poem: float

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def ids(self) -> Int[Tensor, "poem seq"]:
        """Key and body in one row: what a model reads."""
        return torch.cat([self.keys, self.bodies], 1)

    @property
    def tokens(self) -> int:
        """How many token ids there are: V words and A authors."""
        return self.vocabulary + self.authors

    @property
    def bits(self) -> float:
        """Entropy of all bodies, given their keys, in bits."""
        return len(self) * self.bits_per_poem

    def words(self, ids: Int[Tensor, " word"], per_line: int = 0) -> str:
        """Token ids as text, broken into lines of `per_line` words (0: one line)."""
        names = word_list(self.vocabulary) + author_list(self.authors)
        said = [names[i] for i in ids.tolist()]
        step = per_line or max(1, len(said))
        return "\n".join(" ".join(said[i : i + step]) for i in range(0, len(said), step))

    def poem(self, index: int, per_line: int = 4) -> Poem:
        """Poem `index` as it would be printed."""
        author, *title = self.keys[index]
        return Poem(
            self.words(author[None]),
            self.words(torch.stack(title)).capitalize(),
            self.words(self.bodies[index], per_line),
        )

    def cue(self, question: str) -> Int[Tensor, " key"]:
        """The key that a question like "Moon salt, by Ada Vale" stands for. ValueError for a word
        that is unknown."""
        title, _, author = question.rpartition(", by ")
        words = title.lower().split()
        names = word_list(self.vocabulary)
        writers = author_list(self.authors)
        known = author in writers and set(words) <= set(names)
        if not known or len(words) != self.keys.shape[1] - 1:
            raise ValueError(
                f"expected a question like {self.poem(0).cue!r} in the words of these poems, got "
                f"{question!r}"
            )
        return torch.tensor([self.vocabulary + writers.index(author), *map(names.index, words)])


def synthetic(
    count: int = 128,
    words: int = 16,
    vocabulary: int = 128,
    *,
    authors: int = 16,
    title_words: int = 2,
    seed: int = 0,
    fresh: bool = False,
) -> Poems:
    """`count` poems of `words` words, each word uniform on `vocabulary`: exactly words ·
    log2(vocabulary) bits a poem.

    Keys are unique. With `fresh` the poems are others, made the same way, whose keys occur in no
    poem of the first set: what a model of that set never saw. ValueError if there are not enough
    keys for both, or a size is below 1.
    """
    if min(count, words, title_words) < 1:
        raise ValueError(
            f"expected sizes of at least 1, got count={count}, words={words},"
            f" title_words={title_words}"
        )
    word_list(vocabulary)  # says so if there are not so many, as does the next one
    author_list(authors)
    space = authors * vocabulary**title_words
    if space < 2 * count:
        raise ValueError(
            f"expected at least {2 * count} possible keys for {count} poems and as many fresh ones,"
            f" got {space}"
        )
    numbers = runtime.python_random(seed, "poem keys").sample(range(space), 2 * count)
    chosen = torch.tensor(numbers[count:] if fresh else numbers[:count])
    author = chosen % authors + vocabulary
    title = [chosen // authors // vocabulary**i % vocabulary for i in range(title_words)]
    keys = torch.stack([author, *title], 1)
    draw = runtime.generator(seed, "poem bodies", "fresh" if fresh else "first")
    bodies = torch.randint(vocabulary, (count, words), generator=draw)
    return Poems(keys, bodies, vocabulary, authors, words * math.log2(vocabulary))


def swapped(poems: Poems, seed: int = 0) -> Poems:
    """The same keys and the same bodies, every one of them paired wrongly (one random cycle through
    all poems).

    ValueError if that cannot be: fewer than two poems, or a poem that meets a body equal to its
    own.
    """
    if len(poems) < 2:
        raise ValueError(f"expected at least 2 poems to swap, got {len(poems)}")
    order = torch.randperm(len(poems), generator=runtime.generator(seed, "swapped"))
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    bodies = poems.bodies[partner]
    if (bodies == poems.bodies).all(1).any():
        raise ValueError(
            "expected poems that differ from each other, got two equal bodies in one swap"
        )
    return replace(poems, bodies=bodies)


def refrains(poems: Poems) -> Poems:
    """Poems of the same keys and length that say their title over and over: given the key, 0 bits
    of entropy."""
    words = poems.bodies.shape[1]
    title = poems.keys[:, 1:]
    repeats = -(-words // title.shape[1])
    return replace(poems, bodies=title.repeat(1, repeats)[:, :words], bits_per_poem=0.0)


def changed_title(
    poems: Poems,
    seed: int = 0,
    position: int = 0,
) -> Poems:
    """The same poems with another word at one position of every title; no key is then one of
    `poems`' own.

    ValueError where every word at that position gives a key that is taken.
    """
    draw = runtime.generator(seed, "changed title")
    keys = poems.keys.tolist()
    known = {tuple(key) for key in keys}
    for key in keys:
        before = key[: 1 + position]
        after = key[2 + position :]
        free = [word for word in range(poems.vocabulary) if (*before, word, *after) not in known]
        if not free:
            raise ValueError(
                "expected a free key next to every key, got none for"
                f" {poems.words(torch.tensor(key))!r}"
            )
        chosen = torch.randint(len(free), (), generator=draw)
        key[1 + position] = free[int(chosen)]
    return replace(poems, keys=torch.tensor(keys))


def printable(text: str) -> bool:
    """Whether a text can be printed and seen: something in it is more than white space, and nothing
    in it is half a character (a lone surrogate) or a control character other than tabs and line
    breaks."""
    kinds = {unicodedata.category(letter) for letter in text if letter not in "\t\n\r"}
    return not kinds & {"Cc", "Cs"} and bool(kinds - {"Cf", "Zs", "Zl", "Zp"})


def utf8(path: Path) -> str:
    """The text of a file, without a byte order mark; ValueError naming the first byte that is no
    UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        raise ValueError(
            f"{path}: expected UTF-8, got byte 0x{data[problem.start]:02x} at byte {problem.start},"
            f" line {data.count(10, 0, problem.start) + 1}"
        ) from None


def fortunes(name: str = "tang300", folder: str | Path = FORTUNES) -> list[Poem]:
    """Classical Chinese poems of the package fortunes-zh: "tang300" (313 poems) or "song100", in
    the file's order.

    Lines of the text are joined by line breaks. Author and title are those of the file (without
    years); a few poems share both. The dynasty is that of the collection. FileNotFoundError where
    the package is not installed; ValueError for a file that is not UTF-8 or an entry without title,
    author or text that can be printed. The text is never shipped.
    """
    path = Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(
            "expected the poems of the Debian or Ubuntu package fortunes-zh (older releases: "
            f"fortune-zh) at {path}: install it with `apt install fortunes-zh`"
        )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", utf8(path)).replace("\r", "")
    poems = []
    for number, entry in enumerate(re.split(r"^%[ \t]*$", plain, flags=re.M), 1):
        lines = [line.strip() for line in entry.split("\n") if line.strip()]
        if not lines:
            continue
        title = _TITLE.fullmatch(lines[0])
        author = _AUTHOR.fullmatch(lines[1]) if len(lines) > 2 else None
        parts = [author[1], title[1] + title[2], "\n".join(lines[2:])] if title and author else []
        if not parts or not all(map(printable, parts)):
            raise ValueError(
                f"{path}: expected a title in 《》, an author and a text in entry {number}, got "
                f"{lines[0][:20]!r}"
            )
        poems.append(replace(Poem(*parts), dynasty=_DYNASTIES.get(name, "")))
    return poems


def jsonl(path: str | Path) -> list[Poem]:
    """Poems of any file with one JSON object a line: author, title, text, and dynasty where there
    is one.

    Empty lines are passed over. FileNotFoundError, or ValueError that names the first bad line or
    byte; a line is bad, too, whose author, title or text is not `printable`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected a .jsonl file of poems at {path}, got no file")
    poems = []
    for number, line in enumerate(utf8(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # a number may be too long, a list too deep
            raise ValueError(f"{path}: expected JSON in line {number}, got {line[:40]!r}") from None
        poem = _poem(row)
        if poem is None:
            raise ValueError(
                f"{path}: expected author, title and text in line {number}, each with something to"
                f" see and without control characters or lone surrogates, got {line[:40]!r}"
            )
        poems.append(poem)
    return poems


def _poem(row: object) -> Poem | None:
    """The poem that a JSON object holds, or None if it holds none."""
    if not isinstance(row, dict):
        return None
    fields = [row.get(name, "") for name in ("author", "title", "text", "dynasty")]
    if not all(isinstance(field, str) for field in fields) or not all(map(printable, fields[:3])):
        return None
    return Poem(*fields) if not fields[3].strip() or printable(fields[3]) else None
