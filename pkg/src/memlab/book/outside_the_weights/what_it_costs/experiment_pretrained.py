"""Chapter 12 for a pretrained language model: what it costs to read a text whole, beside the memory
and the word index over the same text; and from which length on its cache is the larger one.

The model is the one that MEMLAB_LLM names, or SmolLM2-135M-Instruct where its package is installed
(requirements-llm.txt). No claim is judged here: those of the needle paper are about the memory, and
a model of a hundred times the weights is no rival of equal size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import pandas as pd

from memlab.book.outside_the_weights.what_it_costs import pretrained, tables
from memlab.book.units import Unit
from memlab.models import checkpoints
from memlab.results import Verdict

sources = checkpoints.sources  # which model is asked, for the record
# Tokens of the model. Eight thousand and an answer still lie within the 8,192 places of
# SmolLM2-135M-Instruct.
LENGTHS = {
    "quick": (32, 64, 128),
    "full": (1000, 2000, 4000, 8000),
    "gpu": (1000, 2000, 4000, 8000),
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One a length, the shortest first, and one for the weights."""
    yield Unit("weights", partial(pretrained.of_weights, seed))
    for length in LENGTHS[profile]:
        yield Unit(f"{length} tokens", partial(pretrained.at_length, length, seed))


# ---- what is printed -----------------------------------------------------------------------------


def table(data: pd.DataFrame) -> pd.DataFrame:
    """By length in the model's own tokens: seconds to read the text, microseconds a token of it,
    milliseconds for a question and an answer of sixteen tokens behind it; and seconds in which the
    memory (float32 rows) and the word index have read the same text, milliseconds for the same of
    the memory."""
    build = tables.numbers(data, "llm", "build")
    asked = sum(tables.numbers(data, "model", stage) for stage in tables.QUESTION)
    rows = tables.numbers(data, "model", "build") + tables.numbers(data, "float32", "write")
    found = pd.DataFrame(
        {
            "read s": build,
            "µs/token": 1e6 * build / build.index,
            "question ms": 1e3 * tables.numbers(data, "llm", "answer"),
            "memory reads s": rows,
            "its question ms": 1e3 * (asked + tables.numbers(data, "float32", "read")),
            "BM25 reads s": tables.numbers(data, "bm25", "build"),
        }
    )
    found.index = found.index.astype(int)
    whole = {name: int for name in ("µs/token", "question ms", "its question ms")}
    digits = {**dict.fromkeys(whole, 0), "BM25 reads s": 3}
    return found.round({name: digits.get(name, 2) for name in found}).astype(whole).reset_index()


def kept(data: pd.DataFrame) -> pd.DataFrame:
    """Bytes a token of the model at the longest text: the model's cache, measured and by its
    formula, the memory's rows, the word index, the text itself; and how many times the text that
    is."""
    parts = {
        "the model's cache": ("llm", "bytes"),
        "the same by formula": ("llm", "formula"),
        "rows, float32": ("float32", "bytes"),
        "rows, int8": ("int8", "bytes"),
        "BM25, text included": ("bm25", "bytes"),
        "the text": ("llm", "text"),
    }
    each = pd.Series({name: _each(data, *part) for name, part in parts.items()})
    found = pd.DataFrame({"bytes/token": each, "times the text": each / each["the text"]})
    shown = found.map(lambda one: f"{one:,.0f}" if one >= 100 else f"{one:.1f}")
    return shown.rename_axis("what is kept").reset_index()


def _each(data: pd.DataFrame, system: str, metric: str) -> float:
    held = tables.numbers(data, system, metric)
    return float(held.iloc[-1] / held.index[-1])


def turns(data: pd.DataFrame) -> pd.DataFrame:
    """From which length on, in the model's tokens, its cache has more bytes than its own weights;
    and, where three lengths or more were measured, from which on it spends more seconds on pairs of
    tokens than on tokens. Infinite where that never comes. `extrapolated`: whether that is longer
    than what was measured."""
    weights = data[data.task == "weights"].groupby("model").value.mean()
    found = {
        "cache over the model's own weights": _ratio(weights["llm"], _each(data, "llm", "bytes")),
    }
    lengths = tables.numbers(data, "llm", "build").index
    if len(lengths) >= 3:
        law = tables.law(data, "llm", "build", (0, 1, 2))
        found["pairs of tokens over tokens, seconds"] = _ratio(law.b, law.c)
    rows = [(name, f"{length:,.0f}", length > max(lengths)) for name, length in found.items()]
    return pd.DataFrame(rows, columns=["what", "tokens", "extrapolated"])


def _ratio(fixed: float, each: float) -> float:
    return fixed / each if each > 0 else math.inf


more_tables = (kept, turns)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """None: see the module."""
    return []
