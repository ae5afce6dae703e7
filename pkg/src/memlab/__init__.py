"""memlab: the small package behind the book Schrödinger's Memory.

The names below are imported when they are first asked for, so that `import memlab` costs neither
torch nor transformers:

    from memlab import KeyValue, TextMemory, run

The core is a library of its own (memories, corpora, retrieval, training, evaluation, models,
decoder, weights); the chapters lie in `memlab.book`, each at the path of its page.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = [
    "BM25",
    "DenseHopfield",
    "Hopfield",
    "Kanerva",
    "KeyValue",
    "Larimar",
    "MemoryDecoder",
    "MemoryDecoderConfig",
    "PseudoInverse",
    "RowFolder",
    "SentenceEncoder",
    "TextMemory",
    "recorded",
    "run",
]
_HOMES = {
    "memlab.memories": (
        "DenseHopfield",
        "Hopfield",
        "Kanerva",
        "KeyValue",
        "Larimar",
        "PseudoInverse",
        "RowFolder",
    ),
    "memlab.retrieval": ("BM25", "SentenceEncoder"),
    "memlab.decoder": ("MemoryDecoder", "MemoryDecoderConfig", "TextMemory"),
    "memlab.book.experiments": ("recorded", "run"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

try:
    __version__ = version("memlab")
except PackageNotFoundError:  # running from a checkout that was not installed
    __version__ = "0+unknown"

# As in pyproject.toml, which pip reads; but an installed package may be older than pip would allow.
_OLDEST = {"torch": (2, 4), "transformers": (5, 0)}


def _check_versions() -> None:
    """Raise ImportError if a package that memlab stands on is too old; what is not there at all
    says so itself when it is imported."""
    wanted = []
    found = []
    for name, oldest in _OLDEST.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            continue
        release = re.match(r"\d+(\.\d+)*", there or "")  # None where its metadata is damaged
        if release is None:
            continue
        numbers = [int(number) for number in release[0].split(".")]
        if tuple([*numbers, 0, 0][: len(oldest)]) < oldest:
            wanted.append(f"{name}>={'.'.join(map(str, oldest))}")
            found.append(f"{name} {there}")
    if wanted:
        quoted = " ".join(f'"{one}"' for one in wanted)
        raise ImportError(
            f"memlab expected {' and '.join(wanted)}, got {' and '.join(found)}: "
            f"pip install --upgrade {quoted}"
        )


_check_versions()


def __getattr__(name: str) -> Any:
    """The public name, from the package that it lives in; AttributeError for any other."""
    if name not in _HOME_OF:
        raise AttributeError(
            f"module 'memlab' has no attribute {name!r}: expected one of {', '.join(__all__)}"
        )
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """What there is, for tab completion."""
    return sorted([*globals(), *__all__])
