"""Measures of scores, against scikit-learn and against counting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from memlab import evaluation


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
def test_auc_is_that_of_scikit_learn_ties_included(high: list[int], low: list[int]) -> None:
    positive, negative = torch.tensor(high).float(), torch.tensor(low).float()
    expected = roc_auc_score([1] * len(high) + [0] * len(low), high + low)
    assert evaluation.auc(positive, negative) == pytest.approx(expected)
    assert evaluation.auc(negative, positive) == pytest.approx(1 - expected)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=10, max_size=60),
    st.sampled_from([0.1, 0.3]),
)
def test_true_positives_are_those_of_the_best_threshold_that_few_negatives_pass(
    high: list[int], low: list[int], rate: float
) -> None:
    positive, negative = torch.tensor(high).float(), torch.tensor(low).float()
    allowed = [
        sum(score > cut for score in high) / len(high)
        for cut in range(-1, 10)
        if sum(score > cut for score in low) <= rate * len(low) + 1e-9
    ]
    assert evaluation.true_positives(positive, negative, rate) == pytest.approx(max(allowed))


def test_true_positives_need_negatives_enough_for_their_rate() -> None:
    scores = torch.arange(100.0)
    assert evaluation.true_positives(torch.tensor([98.0, 98.5, 99.5]), scores) == pytest.approx(
        2 / 3
    )
    for negative, rate in ((scores[:99], 0.01), (scores, 0.0), (scores, 1.0)):
        with pytest.raises(ValueError, match="expected a rate between 0 and 1 and at least"):
            evaluation.true_positives(scores, negative, rate)


def test_auc_of_non_contiguous_scores_and_of_nothing() -> None:
    assert evaluation.auc(torch.arange(6.0)[::2], torch.full((3,), -1.0)) == 1
    for positive, negative in (
        (torch.ones(0), torch.ones(1)),
        (torch.ones(1), torch.ones(0)),
        (torch.tensor([math.nan]), torch.ones(1)),
    ):
        with pytest.raises(ValueError, match="expected numbers on both sides"):
            evaluation.auc(positive, negative)
