"""The experiment of chapter 4 on tiny sizes: its bench, its records, and that the verdicts can go
the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
import torch

from memlab import results
from memlab.book.argument.where_is_the_memory import experiment, measure, static_network
from memlab.book.experiments import find
from memlab.corpora import poems as corpus

TINY = replace(
    experiment.SETTINGS["quick"],
    seeds=1,
    loads=(16, 64, 80),
    steps=150,
    twins={"uniform": (64,), "blindfolded": (16,), "never learnt": (16,), "one for all": (16,)},
)


@pytest.fixture(scope="module")
def data() -> Iterator[pd.DataFrame]:
    patch = pytest.MonkeyPatch()
    patch.setitem(experiment.SETTINGS, "quick", TINY)
    yield results.frame(
        record for unit in experiment.units("quick", 0) for record in unit.measure()
    )
    patch.undo()


def test_it_can_be_found_and_its_units_have_names_of_their_own() -> None:
    assert find("where-is-the-memory") is experiment
    for profile, at in experiment.SETTINGS.items():
        names = [unit.name for unit in experiment.units(profile, 0)]
        assert len(set(names)) == len(names) and at.seeds >= 3
        assert sum(name.startswith("tuning") for name in names) == (28 if at.grid else 0)


def test_every_measurement_is_there_once(data: pd.DataFrame) -> None:
    assert (
        not data.duplicated(["model", "task", "metric", "seed", "poems"]).any()
        and data.value.notna().all()
    )
    learnt = data[(data.task == "learnt") & (data.metric == "parameters")]
    assert set(zip(learnt.model, learnt.poems, strict=True)) == {
        *((kind, load) for kind in ("gpt2", "static") for load in TINY.loads),
        *((kind, load) for kind, loads in TINY.twins.items() for load in loads),
    }
    sizes = learnt.set_index("model").value
    assert (
        sizes["static"].max()
        <= sizes["gpt2"].min()
        == sizes["uniform"].min()
        < sizes["one for all"]
    )
    assert set(data[data.task != "learnt"].task) == {"movement", "cut", "attention", "restart"}


def test_fixed_weights_recite_and_foreign_attention_does_not(data: pd.DataFrame) -> None:
    recited = data[data.metric == "memory ability"].set_index(["task", "model", "poems"]).value
    assert recited["learnt", "static", 64] >= 0.9 and recited["learnt", "uniform", 64] >= 0.9
    assert recited["attention", "its own", 64] == recited["learnt", "gpt2", 64] >= 0.9
    assert (
        max(recited["attention", name, 64] for name in ("another poem's", "average", "uniform"))
        <= 0.1
    )
    assert (data[data.metric == "own coefficients: words"].value >= 0.95).all()
    assert (data[data.task == "restart"].value == 1).all()


def test_verdicts_follow_the_data(data: pd.DataFrame) -> None:
    full = data.copy()  # so few poems leave room for units that hardly matter
    full.loc[data.metric.isin(["harmed", "needed"]), "value"] = 0.4
    source, place = experiment.verdicts(full)
    assert (source.claim, source.verdict, place.claim, place.verdict) == (
        "S4",
        "refuted",
        "S3",
        "qualified",
    )
    assert "False" not in str(source) and "(1 seeds)" in str(source)
    no_rival = data.copy()
    no_rival.loc[(data.model == "static") & (data.task == "learnt"), "value"] = 0.01
    assert experiment.verdicts(no_rival)[0].verdict == "qualified"
    no_rival.loc[(data.model == "uniform") & (data.task == "learnt"), "value"] = 0.01
    assert experiment.verdicts(no_rival)[0].verdict == "supported"
    lost = full.copy()
    lost.loc[data.metric == "same to the bit", "value"] = 0
    assert experiment.verdicts(lost)[1].verdict == "not testable here"
    full.loc[data.metric == "harmed", "value"] = 0.01
    assert experiment.verdicts(full)[1].verdict == "not testable here"
    carried = data.copy()
    carried.loc[data.metric == "donor's words", "value"] = 0.5
    assert "brings no words of its donor: False" in str(experiment.verdicts(carried)[0])


def test_the_table_has_a_row_a_model_and_load(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert len(table) == 10 and list(table.columns[:3]) == ["model", "poems", "parameters"]
    assert table.set_index(["model", "poems"]).loc[("gpt2", 64), "memory ability"] == "1.00"


def test_a_cell_of_the_grid_uses_poems_of_its_own() -> None:
    at = replace(TINY, loads=(4, 8, 16), steps=5)
    (slow,), (fast,) = (list(experiment.tuning(0, "static", lr, 0.0, at)) for lr in (0.001, 0.1))
    assert (slow.task, slow.model, slow.meta) == ("tuning", "static", {"lr": 0.001, "muon": 0.0})
    assert slow.value < fast.value


def test_twins_start_from_the_same_gpt2_and_unknown_kinds_are_refused() -> None:
    poems = corpus.synthetic(8, 4, 16)
    made = {kind: measure.make(kind, poems, dim=8) for kind in measure.KINDS}
    for kind in ("blindfolded", "uniform", "one for all"):
        assert torch.equal(
            made[kind].model.transformer.wte.weight, made["gpt2"].transformer.wte.weight
        )
    with pytest.raises(ValueError, match="unknown kind 'lookup': expected one of gpt2, static"):
        measure.make("lookup", poems)


def test_silencing_finds_the_places_of_a_memory_that_has_them() -> None:
    """One unit a word, made by hand: each harms its own poem alone. A unit that writes nothing
    harms none."""
    poems = corpus.synthetic(3, 2, 8, authors=2, title_words=1)
    net = static_network.StaticNetwork(8, 2, 1, 2, 7)
    columns = net.columns(poems.keys).tolist()
    for p in net.parameters():
        p.data.zero_()
    for unit in range(6):
        poem, place = divmod(unit, 2)
        net.W.data[unit, [*columns[poem], 10 + place]] = 20.0
        net.b.data[unit] = -50.0
        net.O.data[int(poems.bodies[poem, place]), unit] = 1.0
    net.c.data[0] = (
        -0.1 if (poems.bodies == 0).any() else 0.5
    )  # a silenced word must not come right by default
    found = measure.cut(net, poems)
    assert len(measure.outlets(net)) == found["units"] == 7
    assert found["harmed"] == pytest.approx(6 / 7 / 3) and found["needed"] == pytest.approx(2 / 7)
