"""The experiment of chapter 2: its records, its tables, its verdicts, and that the verdicts can go
the other way."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from memlab import results
from memlab.book.argument.universal_approximation import experiment
from memlab.book.experiments import find


@pytest.fixture(scope="module")
def data() -> Iterator[pd.DataFrame]:
    patch = pytest.MonkeyPatch()
    patch.setitem(experiment.SEEDS, "quick", 1)
    patch.setitem(experiment.STEPS, "quick", 300)
    patch.setattr(experiment, "WIDTHS", (32, 128, 256))
    patch.setattr(experiment, "TRAINED", (8, 128))
    patch.setattr(experiment, "STARTS", 6)
    patch.setattr(experiment, "POINTS", (16, 400))
    yield results.frame(
        record for unit in experiment.units("quick", 0) for record in unit.measure()
    )
    patch.undo()


def test_it_can_be_found_by_name() -> None:
    assert find("universal-approximation") is experiment
    assert experiment.SEEDS["quick"] >= 3
    assert max(experiment.POINTS) == 10_000


def test_units_are_one_a_seed_and_named_apart() -> None:
    names = [unit.name for unit in experiment.units("full", 5)]
    assert names == [f"seed {seed}" for seed in range(5, 15)]


def test_every_cell_is_there_once(data: pd.DataFrame) -> None:
    key = [
        "task",
        "model",
        "metric",
        "seed",
        "index",
        "target",
        "width",
        "points",
        "labels",
        "bits",
        "share",
    ]
    assert not data.duplicated(key).any()
    assert set(data.task) == {"width", "starts", "memory", "rounded", "recital", "rule"}
    assert data.value.notna().all() and (data.value >= 0).all()


def test_the_theorem_keeps_its_promise_and_no_other(data: pd.DataFrame) -> None:
    first, second = experiment.verdicts(data)
    assert (first.claim, first.verdict) == ("U2", "supported")
    assert (second.claim, second.verdict) == ("U3", "refuted")
    assert str(first).count("True") == 3 and str(second).count("True") == 2


def test_what_exists_is_not_what_is_found(data: pd.DataFrame) -> None:
    sup = (
        data[(data.metric == "sup") & (data.target == "smooth") & (data.width == 128)]
        .set_index("model")
        .value
    )
    assert sup["trained"] > 3 * sup["constructed"] > 3 * sup["from construction"]


def test_memories_are_exact_whatever_the_labels(data: pd.DataFrame) -> None:
    memory = data[data.task == "memory"]
    assert (memory[memory.metric == "error"].value < 1e-3).all()
    units = memory[memory.metric == "units"].pivot_table("value", ["points", "model"], "labels")
    assert (units["rule"] == units["shuffled"]).all()
    assert units.loc[(400, "1 hidden")].eq(399).all() and units.loc[(400, "2 hidden")].eq(79).all()


def test_memorising_needs_no_structure_and_gives_none(data: pd.DataFrame) -> None:
    share = data[data.task == "rule"].set_index(["labels", "model", "metric"]).value.sort_index()
    assert (share.xs("seen", level="metric") == 1).all()
    assert share["rule", "trained", "fresh"] >= 0.7
    assert share["shuffled", "trained", "fresh"] <= 0.65


def test_density_has_no_ceiling(data: pd.DataFrame) -> None:
    longer = (
        data[(data.task == "recital") & (data.points == 256) & (data.share == 1.25)]
        .set_index("model")
        .value
    )
    assert longer["ReLU"] == longer["cosine"] == 1 and longer["square"] <= 0.15


def test_tables(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert list(table.columns) == ["method", "smooth", "kinked", "broken", "2-D"]
    assert set(table.method) == {"constructed", "cosines", "random", "squares", "trained"}
    assert table.set_index("method").loc["constructed", "smooth"] == "3.0e-04, n^-2.0"
    assert table.set_index("method").loc["squares", "2-D"] == "–"
    memory = experiment.memory_table(data)
    assert memory.units.tolist() == [15, 15, 399, 79]


@pytest.mark.parametrize(
    ("task", "model", "extra", "value", "said"),
    [
        ("width", "constructed", {"target": "smooth"}, 0.1, ["refuted", "refuted"]),
        ("width", "trained", {"target": "broken"}, 0.1, ["refuted", "refuted"]),
        ("width", "squares", {"target": "kinked"}, 0.01, ["refuted", "refuted"]),
        ("recital", "ReLU", {"points": 128}, 1.0, ["supported", "qualified"]),
        ("recital", "square", {"points": 128}, 0.1, ["supported", "qualified"]),
    ],
)
def test_verdicts_can_go_the_other_way(
    data: pd.DataFrame,
    task: str,
    model: str,
    extra: dict[str, object],
    value: float,
    said: list[str],
) -> None:
    bad = data.copy()
    rows = (bad.task == task) & (bad.model == model)
    for column, wanted in extra.items():
        rows &= bad[column] == wanted
    assert rows.any()
    bad.loc[rows, "value"] = value
    assert [verdict.verdict for verdict in experiment.verdicts(bad)] == said


def test_recited_by_nothing_dense_and_all_by_dense_would_support() -> None:
    rows = [
        {
            "task": "recital",
            "model": m,
            "points": 128.0,
            "share": s,
            "metric": "recited",
            "seed": 0,
            "value": float(m != "square"),
        }
        for m in ("ReLU", "cosine", "square")
        for s in (0.5, 1.25)
    ]
    ways = [("constructed", 0.5), ("squares", 0.5)]
    rows += [
        {
            "task": "width",
            "model": m,
            "target": t,
            "width": w,
            "metric": "sup",
            "seed": 0,
            "value": v,
        }
        for m, v in ways
        for t in ("smooth", "kinked", "2-D", "broken")
        for w in (32, 256)
    ]
    assert experiment.verdicts(pd.DataFrame(rows))[1].verdict == "supported"
