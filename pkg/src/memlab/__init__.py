"""memlab: the small package behind the book Schrödinger's Memory.

The names below are imported when they are first asked for, so that `import memlab` costs neither
torch nor transformers:

    from memlab import KeyValue, TextMemory, run

The core is a library of its own (memories, corpora, retrieval, training, evaluation, models,
decoder, weights); the chapters lie in `memlab.book`, each at the path of its page.
"""

from __future__ import annotations

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
