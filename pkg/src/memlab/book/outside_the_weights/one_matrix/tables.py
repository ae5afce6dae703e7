"""Tables of what a memory of fixed size brought back (experiment one-matrix): rungs, ways to read,
slots, doubts."""

from __future__ import annotations

import pandas as pd

from memlab.book.outside_the_weights.one_matrix import measure

RUNGS = {
    "untrained": "untrained keys",
    "head": "trained keys",
    "read-outs": "+ trained on read-outs",
    "whitened, no step": "+ whitened",
    "whitened": "+ trained on",
    "through the memory": "w = z M⁺, same steps",
}
WAYS = (
    *((name, rung, "once", None) for rung, name in RUNGS.items()),
    ("+ a second read", "whitened", "again", None),
    ("+ read until confirmed", "whitened", "insist", None),
    ("w = z M⁺, read until confirmed", "through the memory", "insist", None),
    ("slots, one a text", "whitened", "slots", None),
    ("slots, floats of M", "whitened", "slots", "matrix"),
    ("slots, floats of M and KᵀK", "whitened", "slots", "matrix and Gram"),
)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a rung or a way to read, a column a load: share of texts exact, all seeds together."""
    found = {
        name: measure.recall(data, task, rung, floats=floats) for name, rung, task, floats in WAYS
    }
    means = {name: rows.set_index("load")["mean"] for name, rows in found.items() if len(rows)}
    return pd.DataFrame(means).sort_index().T.round(3).rename_axis("memory").reset_index()


def confirmed(data: pd.DataFrame, model: str = "whitened") -> pd.DataFrame:
    """How many answers the memory confirms, how many of those are right, how many of all are; a row
    a load, all seeds together. The last column counts the answers."""
    rows = data[(data.task == "doubt") & (data.model == model)]
    whole = (rows.value * rows.n).round().astype(int)
    counts = rows.assign(value=whole).pivot_table("value", "load", "metric", "sum")
    asked = rows[rows.metric == "right"].groupby("load")["n"].sum().astype(int)
    return counts[["sure", "sure and right", "right"]].assign(answers=asked)


def law(data: pd.DataFrame) -> pd.DataFrame:
    """Measured error of a read beside the laws and the quality of the cues, means over seeds, a row
    a load."""
    return data[data.task == "read"].pivot_table("value", "load", "metric").round(3)
