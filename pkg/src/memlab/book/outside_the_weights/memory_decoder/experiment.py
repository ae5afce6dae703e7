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
            yield Record("memory-decoder", "memory", "sentences", metric, float(value), seed, index)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Mean of each metric and how many outcomes it rests on."""
    means = data.groupby("metric", sort=False)["value"].agg(["mean", "count"]).reset_index()
    return means.rename(columns={"count": "n"}).round(3)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N3: facts can be written, edited and forgotten without training (Das et al., sections 3 and
    5)."""
    mean = data.groupby("metric")["value"].mean()
    apart = {
        name: evaluation.auc(
            *(
                torch.tensor(data[data["metric"] == f"{name}, {which}"]["value"].to_numpy())
                for which in ("stored", "forgotten")
            )
        )
        for name in ("score", "fit")
    }
    good = (
        mean["edit, new answer"] >= 0.95
        and mean["edit, old answer"] <= 0.05
        and mean["written out"] >= 0.9
    )
    return [
        Verdict(
            "N3",
            "supported" if good else "qualified",
            f"new answer {mean['edit, new answer']:.2f}, old answer {mean['edit, old answer']:.2f},"
            f" sentences written out {mean['written out']:.2f}",
        ),
        Verdict(
            "N6",
            "qualified",
            "stored told from forgotten by the score of the key: "
            f"AUC {apart['score']:.3f}; by how well the row fits the cue: {apart['fit']:.3f}",
        ),
    ]
