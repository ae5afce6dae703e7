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


def test_auc_of_non_contiguous_scores_and_of_nothing() -> None:
    assert evaluation.auc(torch.arange(6.0)[::2], torch.full((3,), -1.0)) == 1
    for positive, negative in (
        (torch.ones(0), torch.ones(1)),
        (torch.ones(1), torch.ones(0)),
        (torch.tensor([math.nan]), torch.ones(1)),
    ):
        with pytest.raises(ValueError, match="expected numbers on both sides"):
            evaluation.auc(positive, negative)
