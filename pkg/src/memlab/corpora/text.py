"""Text: generic sentences to train on, and real English from the documentation that lies on every
reader's disk.

Nothing is downloaded and nothing is shipped. `documentation` reads docstrings of installed packages
with `ast`, split by package so that no sentence is trained on and searched in as well;
`generic_sentences` makes sentences with an open vocabulary (made-up words, numbers of any length).
`FORBIDDEN` keeps every phrase of the test tasks out of both.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import random
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from memlab import runtime

# Whole packages, so that training and test text cannot share a docstring. All but the standard
# library are dependencies of memlab (torch brings sympy).
PACKAGES = {
    "train": ("stdlib",),
    "dev": ("sympy",),
    "test": (
        "numpy",
        "pandas",
        "matplotlib",
        "torch.nn",
        "torch.distributions",
        "torch.optim",
        "torch.distributed",
        "torch.utils",
        "torch.fx",
    ),
}
# Packages copy from each other ("Default is True.", vendored helpers): a split leaves out what
# these hold already.
_BEFORE: dict[str, tuple[str, ...]] = {"train": (), "test": ("train",), "dev": ("train", "test")}
# Words of the reported tasks. A training sentence that holds one of them is thrown away;
# tests/corpora/test_text.py checks the result against the tasks themselves, not against this
# pattern.
FORBIDDEN = re.compile(
    r"pass.?key|needle|haystack|best thing|thing to do|remember it|sandwich|dolores|francisco|"
    r"grass is|sky is|sun is|here we go|there and back|vault code|finest view",
    re.I,
)
_FEWEST = 100  # a split with fewer sentences is no text to search in
_SKIPPED = {
    "test",
    "tests",
    "testing",
    "_testing",
    "site-packages",
    "idlelib",
    "lib2to3",
    "__pycache__",
    "pydoc_data",
}


def _folders(package: str) -> list[Path]:
    if package == "stdlib":
        return [Path(sysconfig.get_paths()["stdlib"])]
    found = importlib.util.find_spec(package.split(".")[0])
    if found is None or not found.submodule_search_locations:
        return []
    return [Path(found.submodule_search_locations[0], *package.split(".")[1:])]


def _docstrings(source: str) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def sentences_of(text: str) -> Iterator[str]:
    """Plain English sentences of 12 to 240 characters: no doctests, tables or markup-heavy
    paragraphs."""
    for paragraph in re.split(r"\n\s*\n", text):
        flat = re.sub(r"\s+", " ", paragraph).strip()
        if not flat or ">>>" in flat or not flat.isascii():
            continue
        if sum(c.isalpha() or c == " " for c in flat) < 0.85 * len(flat):
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", flat):
            if 12 <= len(sentence) <= 240:
                yield sentence


def _extract(packages: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}  # ordered, without repeats
    for package in packages:
        for folder in _folders(package):
            for path in sorted(folder.rglob("*.py")):
                if _SKIPPED & set(path.relative_to(folder).parts):
                    continue
                try:
                    texts = list(_docstrings(path.read_text("utf-8")))
                except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
                    continue  # a file for another Python version, or not source at all
                for text in texts:
                    found.update((s, None) for s in sentences_of(text) if not FORBIDDEN.search(s))
    return list(found)


@lru_cache(maxsize=4)
def documentation(split: str) -> tuple[str, ...]:
    """Distinct sentences of real English documentation: "train" (standard library), "dev" or "test"
    (other packages).

    No sentence is in two splits. The text is read once for each set of package versions and kept in
    the cache folder; a damaged cache is read anew. Raises ValueError for an unknown split, and if
    the installed packages hold no documentation (as when their source was left out).
    """
    if split not in PACKAGES:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(PACKAGES)}")
    path = runtime.cache_dir("text") / f"{split}-{_fingerprint(split)}.json"
    found = _stored(path)
    if found is None:
        known = {_plain(sentence) for other in _BEFORE[split] for sentence in documentation(other)}
        found = [
            sentence for sentence in _extract(PACKAGES[split]) if _plain(sentence) not in known
        ]
        if len(found) < _FEWEST:
            raise ValueError(
                f"expected documentation of {', '.join(PACKAGES[split])}, found {len(found)}"
                " sentences"
            )
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(path)  # atomic: a killed run leaves no half-written text behind
    return tuple(found)


def _plain(sentence: str) -> str:
    return " ".join(re.findall(r"\w+", sentence.lower()))


def _stored(path: Path) -> list[str] | None:
    """The sentences in a cache file, or None if there is none, or what is there is not a list of
    them."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = (
        isinstance(found, list)
        and len(found) >= _FEWEST
        and all(isinstance(one, str) for one in found)
    )
    return found if good else None


def _version(package: str) -> str:
    try:
        return sys.version if package == "stdlib" else metadata.version(package.split(".")[0])
    except metadata.PackageNotFoundError:
        return "none"


def _fingerprint(split: str) -> str:
    """Changes with this module, with the packages and their versions: then the text is read
    anew."""
    versions = [(p, _version(p)) for some in (split, *_BEFORE[split]) for p in PACKAGES[some]]
    here = Path(__file__).read_text(encoding="utf-8")
    return f"{runtime.derive_seed(0, here, repr(versions)):016x}"


_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kl pr sh sl st th tr".split()
_VOWELS = "a e i o u ai ea ee ou".split()
_CODAS = ["", "", "n", "r", "l", "s", "t", "m", "k", "nd", "x"]
_WORDS = {
    "noun": (
        "lamp river garden engine letter window bridge market ticket mountain teacher farmer box"
        " paper ship train clock kitchen room road village library castle forest lake song colour"
        " machine server file table chair bottle coat horse bird apple cake wall door map coin"
        " signal phone parcel record account flight house"
    ),
    "adjective": (
        "old small quiet bright heavy empty broken green red blue cold warm narrow famous strange"
        " simple early late hidden second silver wooden rapid soft tall"
    ),
    "verb": (
        "bought sold found lost opened painted carried counted moved built cleaned visited read"
        " sent described measured repaired borrowed"
    ),
    "name": (
        "Anna Ben Carla David Elena Frank Grace Henry Irene Jack Karen Leo Maria Nina Oscar Paula"
        " Quinn Rosa Sam Tina Victor Wendy"
    ),
    "place": "Paris Lima Oslo Cairo Boston Kyoto Delhi Rome Perth Quito Denver Lagos",
}
_WHEN = (
    "on Monday|on Friday|in March|in the morning|last year|every winter|before noon|after the"
    " storm|at night|two days ago|for many years|slowly|with care|without a word|at last|in secret"
).split("|")
_TEMPLATES = (
    "{name} {verb} {number} {noun}s {when}.",
    "{name} {verb} the {noun} in {place} {when}.",
    "Room {number} holds a {noun} and {number} {noun}s.",
    "In {place} they {verb} a {noun} called {Made}.",
    "Flight {number} to {place} left {when} with {number} people.",
    "{name} has a {noun} and {name} has a {noun}.",
    "There were {number} {noun}s near the {noun} of {place}.",
    "{name} lives at {number} {Made} Street in {place}.",
    "Call {name} at {number} or write to {name} {when}.",
    "Order {number} was sent to {place} by {name}.",
    "A {noun} costs {number} coins in {place}, but {number} in {place}.",
    "{name} said that the {noun} was {adjective} and {adjective}.",
    "The {noun} {verb} the {noun} {when}.",
    "When {name} came to {place}, the {noun} was {adjective}.",
    "{number} {noun}s were {verb} {when}.",
    "Why did {name} want the {noun} from {place}?",
    "{Made} {number}, {made} {number}.",
    "To reach the {noun}, walk past {number} {noun}s and turn at {place}.",
    "The {noun} of {name} is {adjective}, and it can {made} {when}.",
    "My favourite {noun} is in {place} near {Made} {noun}.",
    "{made} {made} {number} {noun} {made} {adjective}.",
)


def made_up_word(rng: random.Random) -> str:
    """A pronounceable word of one to three syllables that no dictionary lists (or only by
    accident)."""
    body = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))
    return body + rng.choice(_CODAS)


def _slot(kind: str, rng: random.Random) -> str:
    if kind == "number":
        digits = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 10, 12))
        return "".join(rng.choice("0123456789") for _ in range(digits))
    if kind == "when":
        return rng.choice(_WHEN)
    word = made_up_word(rng)
    if kind in _WORDS and rng.random() < (0.5 if kind in ("name", "place") else 0.65):
        word = rng.choice(_WORDS[kind].split())
    if kind == "noun" and rng.random() < 0.4:
        word = f"{rng.choice(_WORDS['adjective'].split())} {word}"
    return word[0].upper() + word[1:] if kind in ("name", "place", "Made") else word


def generic_sentences(count: int, seed: int = 0) -> list[str]:
    """`count` sentences about nothing, with made-up words and numbers of one to twelve digits.

    They teach a decoder to copy any word and any number. None holds a phrase of the test tasks.
    """
    made: list[str] = []
    rng = runtime.python_random(seed, "generic sentences")
    while len(made) < count:
        template = rng.choice(_TEMPLATES)
        sentence = re.sub(r"\{(\w+)\}", lambda slot: _slot(slot[1], rng), template)
        if not FORBIDDEN.search(sentence):
            made.append(sentence)
    return made
