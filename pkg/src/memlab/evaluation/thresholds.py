"""What a threshold on a score can do: areas under curves, false answers, errors."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def auc(positive: Float[Tensor, " pos"], negative: Float[Tensor, " neg"]) -> float:
    """The probability that a random positive scores higher than a random negative; a tie counts one
    half.

    1 tells all apart, 0.5 is chance. ValueError if a side is empty or not a number.
    """
    empty = not len(positive) or not len(negative)
    if empty or torch.cat([positive, negative]).isnan().any():
        raise ValueError(
            f"expected numbers on both sides, got {len(positive)} and {len(negative)}, NaN among"
            " them or none at all"
        )
    ranked = negative.double().sort().values
    scores = positive.double().contiguous()
    below = torch.searchsorted(ranked, scores)
    upto = torch.searchsorted(ranked, scores, right=True)
    return float((below + upto).double().mean() / (2 * len(negative)))


def true_positives(
    positive: Float[Tensor, " pos"],
    negative: Float[Tensor, " neg"],
    rate: float = 0.01,
) -> float:
    """The share of positives above a threshold that at most a share `rate` of the negatives exceed:
    the true-positive rate at a low false-positive rate, by which attacks on membership are judged
    (Carlini and colleagues 2022).

    ValueError for a rate outside 0 … 1 or with fewer negatives than 1 / `rate`, of which a single
    one would be too many.
    """
    if not 0 < rate < 1 or len(negative) * rate < 1:
        raise ValueError(
            f"expected a rate between 0 and 1 and at least 1 / rate negatives, got {rate} and"
            f" {len(negative)} negatives"
        )
    allowed = math.floor(len(negative) * rate + 1e-9)
    threshold = negative.double().sort(descending=True).values[allowed]
    return float((positive.double() > threshold).double().mean())


def detector(
    told: Float[Tensor, " told"],
    other: Float[Tensor, " other"],
    recall: float = 0.9,
) -> dict[str, float]:
    """What a threshold on a score can do: the area under its curve; the share of others that pass
    where `recall` of the told do; where both errors are equal, that error; the best F1 of any
    threshold."""
    cuts = torch.cat([told, other]).unique()
    hit = (told[None] >= cuts[:, None]).double().mean(1)
    alarm = (other[None] >= cuts[:, None]).double().mean(1)
    right = hit * len(told)
    wrong = alarm * len(other)
    f1 = 2 * right / (right + wrong + len(told))
    passed = alarm[hit >= recall].min()
    equal = int((1 - hit - alarm).abs().argmin())
    missed = 1 - hit[equal]
    return {
        "auc": auc(told, other),
        "false answers": float(passed),
        "f1": float(f1.max()),
        "equal error": float((missed + alarm[equal]) / 2),
    }
