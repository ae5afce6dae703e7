"""The experiment of chapter 3: its records, its table, its verdicts, and that the verdicts can go
the other way."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from memlab import results, training
from memlab.book.argument.dynamic_sum import experiment
from memlab.book.experiments import find
from memlab.models import blocks


@pytest.fixture(scope="module")
def data() -> Iterator[pd.DataFrame]:
    patch = pytest.MonkeyPatch()
    patch.setitem(experiment.SEEDS, "quick", 1)
    yield results.frame(
        record for unit in experiment.units("quick", 0) for record in unit.measure()
    )
    patch.undo()


def test_it_can_be_found_by_name() -> None:
    assert find("dynamic-sum") is experiment
    assert experiment.SEEDS["quick"] >= 3


def test_every_cell_is_there_once(data: pd.DataFrame) -> None:
    assert not data.duplicated(
        ["model", "task", "metric", "seed", "dtype", "size", "recipe", "form"]
    ).any()
    assert set(data.task) == {"identity", "movement", "response", "recital"}
    assert data.value.notna().all()
    assert set(data[data.task == "response"]["size"]) == set(experiment.SIZES)
    shares = data[data.task == "recital"].value
    assert shares.between(0, 1).all() and len(shares) == 16


def test_findings_of_one_seed(data: pd.DataFrame) -> None:
    value = data.set_index(["task", "metric"]).value
    assert (value["recital", "own input: own poem"] == 1).all()
    assert data[data.metric == "max error"].groupby("dtype").value.max()["float64"] <= 1e-12
    first, second = experiment.verdicts(data)
    assert (first.claim, first.verdict) == ("U1", "supported")
    assert (second.claim, second.verdict) == ("S4", "not testable here")
    assert str(second).count("True") == 2


def test_the_table_has_a_row_a_model(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert list(table.model) == ["bloom", "gpt2", "llama", "qwen2", "gpt2, trained"]
    assert list(table.columns)[:2] == ["model", "units"]
    assert table.set_index("model").loc["gpt2", "alpha"] == "0.00"


def test_verdicts_can_go_the_other_way(data: pd.DataFrame) -> None:
    bad = data.copy()
    bad.loc[(bad.metric == "max error") & (bad.dtype == "float64"), "value"] = 1e-6
    bad.loc[bad.metric == "frozen", "value"] = 0.01
    first, second = experiment.verdicts(bad)
    assert first.verdict == "refuted"
    assert "a static tangent under 0.05: False" in str(second)


def test_poems_are_random_and_titles_unique(
    monkeypatch: pytest.MonkeyPatch, untouched_global_random_state: None
) -> None:
    monkeypatch.setitem(experiment.RECIPES, "none", training.Recipe(steps=1))
    model, ids = experiment.recitation(0, "none")
    assert ids.shape == (experiment.POEMS, 2 + experiment.LINE)
    assert len({tuple(title) for title in ids[:, :2].tolist()}) == experiment.POEMS
    assert not torch.equal(ids, experiment.recitation(1, "none")[1])
    right = (model(ids).logits.argmax(-1)[:, 1:-1] == ids[:, 2:]).double().mean()
    assert float(right) < 0.2, "an untrained model knows no poem"
    assert len(blocks.calls(model, ids[0])) == 2
