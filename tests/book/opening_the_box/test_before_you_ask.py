"""Chapter 7's bench and experiment: small boxes under all instruments, and verdicts that follow the
data."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from memlab import evaluation, results
from memlab.book.opening_the_box.before_you_ask import experiment, measure, weight_probes
from memlab.models import stock
from memlab.training import Recipe

SMALL = experiment.Size(1, 48, steps=72, crowd_steps=40, poems=64)


@pytest.fixture(scope="module")
def watch() -> measure.Watch:
    return measure.Watch(0, count=32, words=6, dim=16)


@pytest.fixture(scope="module")
def taught() -> measure.Watch:
    watch = measure.Watch(0, count=32, words=6, dim=16)
    stock.teach(watch.box, watch.poems, Recipe(90, lr=1e-2))
    return watch


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    records = [*experiment.one_box(0, SMALL)]
    for kind in experiment.CROWDS:
        records += experiment.one_crowd(0, kind, SMALL)
    return results.frame(records)


# ---- the bench -----------------------------------------------------------------------------------


def test_before_training_every_instrument_is_at_chance(watch: measure.Watch) -> None:
    found = watch.look()
    for name in ("recited", "100 tries at 1.0", "10000 tries at 1.0", "10000 tries at 0.5"):
        assert found[name] == 0
    assert found["agrees"] == 1 and found["words"] < 0.1 and abs(found["bits"]) < 0.1
    for name in ("known title", "word 1", "later words", "loss: text", "loss: item", "loss: pair"):
        assert 0.25 < found[name] < 0.75
    assert all(found[f"{who} start: item"] == 0.5 for who in ("own",))  # it has not moved: all ties
    assert len([name for name in found if name.startswith("word ")]) == 6


def test_after_training_it_is_known_to_those_who_can_see(taught: measure.Watch) -> None:
    found = taught.look()
    assert found["recited"] >= 0.9 and found["agrees"] == 1 and found["bits"] > 0.8
    assert (
        found["loss: item"] > 0.9 and found["loss: pair"] > 0.95 and found["own start: item"] > 0.75
    )
    assert found["word 1"] > found["later words"] + 0.15


def test_looking_changes_nothing_and_draws_nothing(
    taught: measure.Watch, untouched_global_random_state: None
) -> None:
    before = evaluation.fingerprint(taught.box)
    first, again = taught.look(), taught.look()
    taught.lesions(3)
    taught.strangers(16)
    assert first == again and evaluation.fingerprint(taught.box) == before


def test_displacement_is_measured_from_the_start_believed_in(taught: measure.Watch) -> None:
    poems = taught.sets["item"][0]
    for name, seed in (("own start", 0), ("other start", 1000)):
        start = stock.for_poems("gpt2", taught.poems, dim=16, seed=seed)
        slope = weight_probes.slopes(start, weight_probes.flat(start), poems)
        expected = -(slope @ (weight_probes.flat(taught.box) - weight_probes.flat(start)))
        assert torch.allclose(taught.displaced(name, poems), expected, rtol=1e-3, atol=1e-3)


def test_asking_and_strangers(taught: measure.Watch) -> None:
    assert taught.asking() == {"again": 1, "backwards": 1, "one at a time": 1, "same weights": 1}
    assert 0 <= taught.strangers(16)["found blindly"] <= taught.strangers(256)["found blindly"] <= 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dice_are_fair_and_a_wrong_law_is_caught(taught: measure.Watch, seed: int) -> None:
    taught.seed = seed
    found = taught.dice(poems=4, draws=600, temperature=1.5, rounds=8)
    taught.seed = 0
    assert found["chi2 tail"] > 1e-4 and found["chi2 tail, hotter"] < 1e-3 and abs(found["z"]) < 4
    assert found["recitals drawn"] == pytest.approx(found["recitals expected"], abs=0.15)


def test_lesions_spread_their_damage_and_are_healed(taught: measure.Watch) -> None:
    found = taught.lesions(8)
    assert len(found) == 8 and all(
        1 <= lesion["sharers"] <= 32 and 0 <= lesion["recited"] <= 1 for lesion in found
    )
    assert found == taught.lesions(8)


def test_sharers_are_one_for_a_row_of_a_table_and_all_for_an_even_loss() -> None:
    for harm, sharers in (([3.0, 0, 0, 0], 1), ([2.0, 2, 2, 2], 4), ([1.0, 1, 0, 0], 2)):
        d = torch.tensor(harm)
        assert float(d.sum() ** 2 / (d**2).sum()) == sharers


# ---- the experiment ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_order_in_which_they_wake(data: pd.DataFrame) -> None:
    box = data[(data.model == "box") & (data.task == "trace")].pivot_table(
        "value", "step", "metric"
    )
    assert list(box.index[[0, 1, -1]]) == [0, experiment.EVERY, SMALL.steps]
    woke = {
        name: int((box[name] >= mark).idxmax())
        for name, mark in {
            "loss: item": 0.75,
            "loss: pair": 0.75,
            "10000 tries at 0.5": 0.5,
            "recited": 0.5,
        }.items()
    }
    assert woke["loss: item"] < woke["loss: pair"] < woke["10000 tries at 0.5"] < woke["recited"]
    assert (box["agrees"] == 1).all()


@pytest.mark.slow
def test_weights_tell_those_who_know_the_start(data: pd.DataFrame) -> None:
    end = measure.moments(data).end.xs(0, level="seed")
    assert end["same start", "probe"] > 0.75 and 0.3 < end["own starts", "probe"] < 0.7
    assert end["own starts", "own start"] > 0.8 and 0.3 < end["own starts", "other start"] < 0.7
    assert end["own starts", "loss"] > 0.95 and 0.3 < end["same start", "shuffled"] < 0.7


@pytest.mark.slow
def test_silent_is_the_last_look_without_a_recital(data: pd.DataFrame) -> None:
    box = (
        data[(data.model == "box") & (data.metric == "recited") & (data.task == "trace")]
        .set_index("step")
        .value
    )
    silent = int(box.index[box == 0].max())
    bits = data[(data.model == "box") & (data.metric == "bits")].set_index("step").value
    found = measure.moments(data)
    assert found.loc[("box", "bits", 0)].tolist() == [bits[silent], bits[SMALL.steps]]
    assert found.loc[("box", "recited", 0), "silent"] == 0
    assert found.loc[("same start", "recited", 0), "silent"] <= 0.01
    assert math.isnan(found.loc[("box", "found blindly", 0), "silent"]) and found.index.is_unique


@pytest.mark.slow
def test_what_is_printed(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert list(table.columns) == ["observer", "takes", "runs it", "silent", "end"]
    assert (
        len(table) == len(experiment.OBSERVERS)
        and not table.isna().any().any()
        and table.observer.is_unique
    )
    assert table.silent.iloc[0] == "0.00" and "–" in table.silent.tolist()
    assert [str(v).split("  ")[0] for v in experiment.verdicts(data)] == [
        "S1 refuted",
        "S2 refuted",
        "S3 qualified",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "metric", "to", "place", "verdict"),
    [
        ("box", "own start: item", 0.6, 0, "qualified"),
        ("same start", "probe", 0.6, 0, "qualified"),
        ("box", "again", 0.0, 1, "supported"),
        ("box", "one at a time", 0.0, 1, "supported"),
        ("box", "same weights", 0.0, 1, "supported"),
        ("box", "chi2 tail", 1e-9, 1, "supported"),
        ("box", "chi2 tail, hotter", 0.2, 1, "supported"),
        ("box", "word 1", 0.6, 2, "refuted"),
        ("box", "later words", 0.9, 2, "refuted"),
        ("box", "sharers", 1.0, 2, "refuted"),
    ],
)
def test_other_data_give_other_verdicts(
    data: pd.DataFrame, model: str, metric: str, to: float, place: int, verdict: str
) -> None:
    rows = (data.model == model) & (data.metric == metric)
    assert rows.any()
    found = experiment.verdicts(data.assign(value=data.value.where(~rows, to)))[place]
    assert found.verdict == verdict and "False" in found.evidence and "(1 seeds)" in found.evidence


@pytest.mark.slow
def test_without_any_early_sign_the_paper_is_right(data: pd.DataFrame) -> None:
    seen = data.metric.isin(["own start: item", "probe", "loss: item", "loss: pair"])
    assert (
        experiment.verdicts(data.assign(value=data.value.where(~seen, 0.5)))[0].verdict
        == "supported"
    )


def test_profiles_ask_for_independent_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "one_box", lambda seed, size: iter([(seed, size.boxes)]))
    monkeypatch.setattr(
        experiment, "one_crowd", lambda seed, kind, size: iter([(seed, kind, size.boxes)])
    )
    units = list(experiment.units("quick", 5))
    assert len({unit.name for unit in units}) == 9
    assert [list(unit.measure())[0] for unit in units[:3]] == [
        (5, 96),
        (5, "same start", 96),
        (5, "own starts", 96),
    ]
    assert (
        len(list(experiment.units("full", 0))) == 30 and len(list(experiment.units("gpu", 0))) == 60
    )
