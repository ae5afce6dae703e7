"""Chapter 8's experiment: a small real run, and verdicts that follow the data wherever it goes."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from memlab import results
from memlab.book import experiments
from memlab.book.opening_the_box.the_right_question import experiment, measure
from memlab.corpora import poems as corpus

SMALL = measure.Size(1, poems=32, words=10, vocabulary=32, steps=70, both_ways=50, poet=40)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    parts = [measure.keys, measure.both_ways, measure.verses]
    return results.frame(record for part in parts for record in part(5, SMALL))


def value(data: pd.DataFrame, task: str, model: str, metric: str, **meta: object) -> float:
    rows = data[(data.task == task) & (data.model == model) & (data.metric == metric)]
    for name, wanted in meta.items():
        rows = rows[rows[name] == wanted]
    assert len(rows) == 1, rows
    return float(rows.value.iloc[0])


@pytest.mark.slow
def test_every_box_recites_by_its_own_key_and_none_by_a_made_up_one(data: pd.DataFrame) -> None:
    for box in ("strict", "gaps", "wordings, these", "wordings, others"):
        assert value(data, "cue", box, "recall", cue="its own key") >= 0.9
        assert value(data, "cue", box, "recall", cue="a made-up key") <= 0.15


@pytest.mark.slow
def test_a_box_forgives_what_it_was_taught_to_forgive(data: pd.DataFrame) -> None:
    def recall(box: str, cue: str) -> float:
        return value(data, "cue", box, "recall", cue=cue)

    assert (
        recall("strict", "a title word missing")
        <= 0.3
        < 0.6
        <= recall("gaps", "a title word missing")
    )
    for cue in ("title words exchanged", "a title word's second form"):
        assert recall("wordings, these", cue) >= 0.9 > 0.7 >= recall("wordings, others", cue)


@pytest.mark.slow
def test_first_words_open_the_box_with_key_dropout_and_it_alone(data: pd.DataFrame) -> None:
    for given in (1, 2, 3):
        ceiling = value(data, "begun", "ceiling", "recall", given=given)
        gaps, strict = (
            value(data, "begun", box, "recall", cue="no key", given=given)
            for box in ("gaps", "strict")
        )
        assert strict <= 0.3 and gaps <= ceiling + 1e-9
    assert value(data, "begun", "gaps", "recall", cue="no key", given=3) >= 0.8


@pytest.mark.slow
def test_direction_is_in_the_question(data: pd.DataFrame) -> None:
    assert value(data, "direction", "one way", "text to title") <= 0.2
    assert value(data, "direction", "both ways", "text to title") >= 0.8
    assert value(data, "direction", "one way", "weighing all titles") >= 0.9


@pytest.mark.slow
def test_places_can_be_asked_where_that_was_taught(data: pd.DataFrame) -> None:
    assert (
        value(data, "place", "strict", "at once")
        <= 0.3
        < 0.8
        <= value(data, "place", "places", "at once")
    )
    assert (
        value(data, "place", "strict", "in turn") >= 0.9
        and value(data, "place", "places", "in turn") >= 0.9
    )


@pytest.mark.slow
def test_grades_are_shares_and_first_choices_are_right(data: pd.DataFrame) -> None:
    rows = data[data.task == "grades"]
    assert rows.groupby(["model", "cue"]).value.sum().round(9).eq(1).all()
    assert value(data, "grades", "strict", "right", cue="own key, temperature 0") >= 0.9
    assert value(data, "grades", "strict", "right", cue="own key, temperature 2") <= 0.3


@pytest.mark.slow
def test_poets_of_comparison_are_what_they_are(data: pd.DataFrame) -> None:
    assert value(data, "verses", "chain of order 1", "grammar") == 1
    assert value(data, "verses", "dice that know the rules", "rhyme") == 1
    assert value(data, "verses", "untrained", "grammar") <= 0.5
    assert value(data, "verses", "collage of lines", "copied") >= 4
    trace = data[data.task == "trace"].pivot_table("value", "step", "metric")
    assert list(trace.index) == [0, 10, 20, 30, 40] and trace.recited[0] == 0


@pytest.mark.slow
def test_what_is_printed(data: pd.DataFrame) -> None:
    assert list(experiment.table(data).columns) == [
        "cue",
        "strict",
        "gaps",
        "wordings, these",
        "wordings, others",
    ]
    assert len(experiment.table(data)) == 9
    assert list(experiment.prefixes(data).columns) == ["asked", *measure.GIVEN]
    assert list(experiment.poets(data).columns) == ["poet", "grammar", "rhyme", "title", "copied"]
    for table in (experiment.table, *experiment.more_tables):
        assert not table(data).isna().any().any() and table(data).shape[1] <= 8
    assert [verdict.claim for verdict in experiment.verdicts(data)] == ["M1", "S3", "C1"]


def made(**changes: float) -> pd.DataFrame:
    """Data of two seeds as they usually come out, but for `changes`: "task|model|metric|cue" →
    value."""
    usual = {
        f"cue|{box}|recall|{cue}": 0.05
        for box in ("strict", "gaps", "wordings, these", "wordings, others")
        for cue in (
            "its own key",
            "a title word missing",
            "title words exchanged",
            "a title word's second form",
            "author replaced",
        )
    }
    usual |= {key: 1.0 for key in usual if key.endswith("its own key")}
    usual |= {
        "cue|gaps|recall|a title word missing": 0.8,
        "cue|wordings, these|recall|title words exchanged": 1.0,
        "cue|wordings, these|recall|a title word's second form": 1.0,
        "place|strict|at once|": 0.05,
        "place|strict|in turn|": 1.0,
        "place|places|at once|": 1.0,
        "direction|one way|text to title|": 0.0,
        "direction|one way|weighing all titles|": 1.0,
        "verses|poet|rhyme|": 0.7,
        "verses|poet|copied|": 3.5,
        "verses|dice that know the rules|rhyme|": 1.0,
        "verses|dice that know the rules|copied|": 2.7,
    }
    usual |= {
        f"verses|{name}|{metric}|": value
        for name in experiment.RIVALS
        for metric, value in (("rhyme", 0.2), ("copied", 3.0))
    }
    usual |= {
        "verses|chain of order 2|rhyme|": 0.9,
        "verses|chain of order 2|copied|": 6.5,
    } | changes
    return results.frame(
        results.Record("the-right-question", model, task, metric, number, seed, meta={"cue": cue})
        for seed in (0, 1)
        for key, number in usual.items()
        for task, model, metric, cue in [key.split("|")]
    )


def test_the_usual_verdicts() -> None:
    found = experiment.verdicts(made())
    assert [f"{one.claim} {one.verdict}" for one in found] == [
        "M1 qualified",
        "S3 qualified",
        "C1 qualified",
    ]
    assert all(
        "False" not in verdict.evidence and "(2 seeds)" in verdict.evidence for verdict in found
    )


@pytest.mark.parametrize(
    ("change", "to", "place", "verdict"),
    [
        ("cue|gaps|recall|its own key", 0.5, 0, "refuted"),
        ("cue|strict|recall|author replaced", 0.9, 0, "supported"),
        ("cue|gaps|recall|a title word missing", 0.2, 0, "supported"),
        ("cue|wordings, these|recall|author replaced", 0.9, 0, "supported"),
        ("place|strict|at once|", 0.9, 1, "refuted"),
        ("place|strict|in turn|", 0.5, 1, "refuted"),
        ("direction|one way|text to title|", 0.9, 1, "qualified"),
        ("place|places|at once|", 0.1, 1, "qualified"),
        ("direction|one way|weighing all titles|", 0.1, 1, "qualified"),
        ("verses|poet|rhyme|", 0.3, 2, "refuted"),
        ("verses|chain of order 2|copied|", 4.0, 2, "refuted"),
        ("verses|taught without rhymes|rhyme|", 0.7, 2, "refuted"),
        ("verses|dice that know the rules|rhyme|", 0.7, 2, "qualified"),
    ],
)
def test_other_data_give_other_verdicts(change: str, to: float, place: int, verdict: str) -> None:
    found = experiment.verdicts(made(**{change: to}))[place]
    assert found.verdict == verdict and "False" in found.evidence


def test_without_places_and_without_the_weighing_generation_alone_is_left() -> None:
    found = experiment.verdicts(
        made(**{"place|places|at once|": 0.1, "direction|one way|weighing all titles|": 0.1})
    )
    assert found[1].verdict == "supported"


def test_profiles_are_pieces_with_names_of_their_own() -> None:
    names = [unit.name for unit in experiment.units("quick", 4)]
    assert len(names) == len(set(names)) == 9 and names[:3] == [
        "seed 4, keys",
        "seed 4, both ways",
        "seed 4, verses",
    ]
    assert (
        len(list(experiment.units("full", 0))) == 30 and len(list(experiment.units("gpu", 0))) == 60
    )
    assert "the-right-question" in experiments.names()
    big = experiment.SIZES["gpu"]
    assert len(corpus.synthetic(big.poems, big.words, big.vocabulary)) == big.poems <= 1024


def test_the_boxes_start_from_the_same_weights_and_half_is_varied() -> None:
    boxes, varied = measure.learn(corpus.synthetic(8, 4, 16), 0, replace(SMALL, steps=1))
    assert (
        list(boxes) == ["strict", "gaps", "wordings", "places"]
        and varied.tolist() == [True, False] * 4
    )
    assert len({sum(p.numel() for p in box.parameters()) for box in boxes.values()}) == 1
    assert torch.isfinite(boxes["gaps"].get_input_embeddings().weight).all()
