"""Chapter 10: can a decoder read a matrix? Train the memory decoder, then write, read, forget, edit
and abstain."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch

from memlab import evaluation
from memlab.book.outside_the_weights.memory_decoder.measure import exam
from memlab.decoder import pretrained
from memlab.results import Record, Verdict


def run(profile: str, seed: int = 0) -> Iterator[Record]:
    """Train (or take from the cache) and examine; metrics as in `exam`, one record an outcome."""
    model = pretrained.trained(profile, seed)
    for metric, values in exam(model, seed=seed):
        for index, value in enumerate(values):
            number = float(value)
            yield Record("memory-decoder", "memory", "sentences", metric, number, seed, index)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Mean of each metric and how many outcomes it rests on."""
    by_metric = data.groupby("metric", sort=False)["value"]
    means = by_metric.agg(["mean", "count"]).reset_index()
    return means.rename(columns={"count": "n"}).round(3)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N3: facts can be written, edited and forgotten without training (Das et al., sections 3 and
    5); N6: the memory can tell what was never written."""
    return [_n3(data), _n6(data)]


def _n3(data: pd.DataFrame) -> Verdict:
    mean = data.groupby("metric")["value"].mean()
    new = mean["edit, new answer"]
    old = mean["edit, old answer"]
    written = mean["written out"]
    good = new >= 0.95 and old <= 0.05 and written >= 0.9
    return Verdict(
        "N3",
        "supported" if good else "qualified",
        f"new answer {new:.2f}, old answer {old:.2f}, sentences written out {written:.2f}",
    )


def _n6(data: pd.DataFrame) -> Verdict:
    return Verdict(
        "N6",
        "qualified",
        "stored told from forgotten by the score of the key: "
        f"AUC {_apart(data, 'score'):.3f}; by how well the row fits the cue:"
        f" {_apart(data, 'fit'):.3f}",
    )


def _apart(data: pd.DataFrame, name: str) -> float:
    """Area under the curve of a score that is to tell what is stored from what was forgotten."""
    stored = data[data["metric"] == f"{name}, stored"]["value"]
    forgotten = data[data["metric"] == f"{name}, forgotten"]["value"]
    return evaluation.auc(torch.tensor(stored.to_numpy()), torch.tensor(forgotten.to_numpy()))
