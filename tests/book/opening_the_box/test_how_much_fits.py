"""Chapter 6's experiment: a few real boxes, and verdicts that follow the data wherever it goes."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from memlab import results
from memlab.book.opening_the_box.how_much_fits import experiment
from memlab.book.opening_the_box.how_much_fits.measure import Setting

FEW = {
    "load": [Setting(8), Setting(64)],
    "size": [Setting(8), Setting(8, dim=4)],
    "paper": [Setting(4, 4), Setting(64)],
    "bits": [Setting(16, 4), Setting(4)],
    "edge": [Setting(64)],
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    patch = pytest.MonkeyPatch()
    patch.setattr(experiment, "designs", lambda profile: FEW)
    patch.setattr(experiment, "SEEDS", {"quick": 2})
    found = results.frame(
        record for unit in experiment.units("quick", 21) for record in unit.measure()
    )
    patch.undo()
    return found


@pytest.mark.slow
def test_the_cliff_while_stored_bits_rise(data: pd.DataFrame) -> None:
    """S5: the same box recites all of few poems and none of many, and holds more of the latter."""
    recites, bits = (
        experiment.select(data, "load", metric, "poems") for metric in ("memory ability", "bits")
    )
    assert (
        (recites[8] == 1).all() and (recites[64] <= 0.05).all() and (bits[64] > 2 * bits[8]).all()
    )
    assert (experiment.select(data, "load", "stored", "poems")[64] > 2.2).all()
    asked = experiment.select(data, "load", "asked", "poems")
    assert asked[64].tolist() == [64 * 112 / 1936] * 2 and sorted(asked.index) == [21, 22]


@pytest.mark.slow
def test_a_box_four_wide_holds_less_and_words_add_up_to_poems(data: pd.DataFrame) -> None:
    assert list(experiment.select(data, "size", "bits", "weights").columns) == [784, 1936]
    full = data[(data.poems == 64) & (data.seed == 21)]
    first, word, poem = (
        full[full.task == task].set_index("place").value for task in ("first words", "word", "poem")
    )
    score = experiment.select(data, "load", "memory ability", "poems")[64][21]
    words = experiment.select(data, "load", "words", "poems")[64][21]
    stored = experiment.select(data, "load", "bits", "poems")[64][21]
    assert (
        list(first.index) == list(range(1, 17))
        and first.is_monotonic_decreasing
        and first[16] == score
    )
    assert first[1] == word[1] and word.mean() == pytest.approx(words)
    assert len(poem) == 64 and poem.sum() * 112 == pytest.approx(stored)


@pytest.mark.slow
def test_length_alone_changes_nothing(data: pd.DataFrame) -> None:
    """S6: the same words, as often, cut into short poems or long ones: all recited."""
    held = experiment.select(data, "bits", "memory ability", "words")
    assert list(held.columns) == [4, 16] and (held >= 0.9).all(axis=None)


@pytest.mark.slow
def test_what_is_printed(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert list(table.columns) == [
        "design",
        "poems",
        "weights",
        "epochs",
        "asked",
        "memory ability",
        "stored",
    ]
    assert table.design.tolist() == ["load"] * 2 + ["size"] * 2 + ["poems, epochs"] * 2 + [
        "bits, epochs"
    ] * 2 + ["bits, epochs (overfull)"]
    assert table.poems[:2].tolist() == ["8 × 16", "64 × 16"] and not table.isna().any(axis=None)
    assert [str(verdict).split("  ")[0] for verdict in experiment.verdicts(data)] == [
        "S5 qualified",
        "S6 qualified",
    ]


def changed(
    data: pd.DataFrame, design: str, metric: str, column: str, at: int, to: float
) -> pd.DataFrame:
    here = data.designs.map(lambda named: design in named.split())
    return data.assign(
        value=data.value.mask(here & (data.metric == metric) & (data[column] == at), to)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "place", "verdict"),
    [
        (lambda data: changed(data, "load", "memory ability", "poems", 64, 0.5), 0, "supported"),
        (lambda data: changed(data, "load", "memory ability", "poems", 8, 0.5), 0, "supported"),
        (lambda data: changed(data, "load", "bits", "poems", 64, 100.0), 0, "supported"),
        (lambda data: changed(data, "bits", "memory ability", "words", 16, 0.5), 1, "supported"),
        (lambda data: changed(data, "paper", "memory ability", "words", 16, 0.9), 1, "refuted"),
    ],
)
def test_other_data_give_other_verdicts(
    data: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], place: int, verdict: str
) -> None:
    found = experiment.verdicts(change(data))[place]
    assert found.verdict == verdict and "False" in found.evidence and "(2 seeds)" in found.evidence


@pytest.mark.slow
def test_a_run_without_lengths_has_no_verdict_on_them(data: pd.DataFrame) -> None:
    only = data[[bool({"load", "scale"} & {*named.split()}) for named in data.designs]]
    only = only.assign(designs=only.designs.str.replace("load", "million"))
    assert [verdict.claim for verdict in experiment.verdicts(only)] == ["S5"]


def test_the_default_box_is_damaged_and_no_other() -> None:
    at = Setting(poems=32)
    assert at == Setting() and {row[0] for row in experiment.look(at.box(0), at, 0, False)} == {
        "reading",
        "damage",
    }
    other = Setting(poems=4)
    seen = {row[0] for row in experiment.look(other.box(0), other, 0, True)}
    assert seen == {"reading", "first words", "word", "poem"}


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
def test_profiles_hold_what_they_say(profile: str) -> None:
    found, names = experiment.designs(profile), [unit.name for unit in experiment.units(profile, 0)]
    settings = {at for design in found.values() for at in design}
    assert len(names) == len(set(names)) == len(settings)
    for at in settings:
        assert at.poems >= max(1, at.batch) and (
            at.dim > 16 or at.box(0).config.hidden_size == at.dim
        )
    for design, words in (("bits", 256), ("edge", 768), ("steps", 256)):
        assert all(at.poems * at.words == words for at in found.get(design, []))
    for design in ("load", "size", "paper", "bits", "edge", "grown"):
        assert {at.epochs for at in found.get(design, [])} <= {200}
    assert len({at.epochs for at in found.get("steps", [])}) == len(found.get("steps", []))


def test_the_longest_runs_have_fewer_seeds() -> None:
    seeds = {unit.name: list(unit.measure.args[2]) for unit in experiment.units("full", 4)}
    assert {len(own) for own in seeds.values()} == {3, 5} and all(
        own[0] == 4 for own in seeds.values()
    )
    assert len(seeds["96 poems of 16 words, width 8, 2 blocks, 10000 epochs"]) == 3
    assert {len(unit.measure.args[2]) for unit in experiment.units("gpu", 0)} == {1, 4}


def test_boxes_that_grow_are_asked_for_equally_much() -> None:
    sizes = {4: 784, 6: 1314, 8: 1936, 12: 3492, 16: 5440}
    asked = [at.poems * at.words * 7 / sizes[at.dim] for at in experiment.designs("full")["grown"]]
    assert max(asked) - min(asked) < 0.1
