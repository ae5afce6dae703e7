"""Chapter 1's experiment: one real seed, and verdicts that follow the data wherever it goes."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from memlab import evaluation, results
from memlab.book import marks
from memlab.book.argument.poem_in_the_box import experiment
from memlab.corpora import poems as corpus


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return results.frame(experiment.one_seed(11))


def value(data: pd.DataFrame, box: str, metric: str) -> float:
    rows = data[(data.model == box) & (data.metric == metric) & (data.task != "trace")]
    assert len(rows) == 1
    return float(rows.value.iloc[0])


def test_a_tiny_gpt2_is_stock_small_and_fixed_by_its_seed(
    untouched_global_random_state: None,
) -> None:
    poems = corpus.synthetic()
    one, same, other = (experiment.tiny_gpt2(poems, seed) for seed in (0, 0, 1))
    assert (
        type(one).__name__ == "GPT2LMHeadModel"
        and sum(p.numel() for p in one.parameters()) == 30_688
    )
    assert (
        evaluation.fingerprint(one) == evaluation.fingerprint(same) != evaluation.fingerprint(other)
    )
    assert not one.training and one.num_parameters() == 30_688


def test_only_the_body_is_learnt() -> None:
    poems = corpus.synthetic(8, 4, 8)
    model, same = (experiment.tiny_gpt2(poems, dim=8) for _ in range(2))
    experiment.learn(model, poems, steps=1)
    fake = corpus.Poems(poems.keys, poems.bodies.flip(0), 8, 16, 12.0)
    experiment.learn(same, fake, steps=1)
    assert evaluation.fingerprint(model) != evaluation.fingerprint(same)


@pytest.mark.slow
def test_the_trained_box_recites_and_its_twins_do_not(data: pd.DataFrame) -> None:
    assert value(data, "trained", "memory ability") >= 0.98
    assert value(data, "trained", "words alone") >= 0.98 and value(data, "trained", "bits") >= 0.95
    for twin in ("untrained", "swapped"):
        assert value(data, twin, "memory ability") == 0 and value(data, twin, "words alone") <= 0.05
        assert value(data, twin, "bits") <= 0.1


@pytest.mark.slow
def test_the_swapped_twin_knows_the_texts_and_files_them_wrongly(data: pd.DataFrame) -> None:
    assert value(data, "swapped, own pairs", "memory ability") >= 0.98
    assert value(data, "swapped", "pair AUC") <= 0.01 and value(data, "swapped", "text AUC") >= 0.99
    assert (
        value(data, "trained", "pair AUC") >= 0.99
        and 0.35 <= value(data, "untrained", "pair AUC") <= 0.65
    )


@pytest.mark.slow
def test_asking_changes_nothing_and_one_other_word_ends_it(data: pd.DataFrame) -> None:
    assert value(data, "trained", "same answers") == value(data, "trained", "same weights") == 1
    assert value(data, "trained", "title changed") <= 0.05


@pytest.mark.slow
def test_the_bits_come_before_the_first_recital(data: pd.DataFrame) -> None:
    trace = data[data.task == "trace"].pivot_table("value", "step", "metric")
    assert list(trace.index[[0, 1, -1]]) == [0, experiment.EVERY, experiment.STEPS]
    silent = trace[trace["memory ability"] == 0]
    assert silent["bits"].max() >= 0.4 and silent["pair AUC"].max() >= 0.95
    assert abs(trace["bits"][0]) <= 0.1


@pytest.mark.slow
def test_refrains_are_recited_without_having_been_met(data: pd.DataFrame) -> None:
    assert value(data, "refrains, never met", "memory ability") >= 0.9


@pytest.mark.slow
def test_what_is_printed(data: pd.DataFrame) -> None:
    table = experiment.table(data)
    assert list(table.columns) == [
        "box",
        "memory ability",
        "words",
        "bits",
        "pair AUC",
        "words alone",
        "text AUC",
    ]
    assert table["box"].tolist() == [
        "trained",
        "untrained",
        "swapped",
        "swapped, own pairs",
        "refrains",
        "refrains, never met",
    ]
    assert table["text AUC"].tolist()[-1] == "–" and not table.isna().any().any()
    assert [str(verdict).split("  ")[0] for verdict in experiment.verdicts(data)] == [
        "M1 qualified",
        "S1 qualified",
        "S2 refuted",
    ]


def changed(data: pd.DataFrame, box: str, metric: str, to: float) -> pd.DataFrame:
    rows = (data.model == box) & (data.metric == metric)
    return data.assign(value=data.value.where(~rows, to))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "metric", "to", "place", "verdict"),
    [
        ("trained", "memory ability", 0.5, 0, "refuted"),
        ("swapped", "memory ability", 0.1, 0, "refuted"),
        ("untrained", "memory ability", 0.1, 0, "refuted"),
        ("refrains, never met", "memory ability", 0.2, 0, "supported"),
        ("trained", "bits", 0.1, 1, "supported"),
        ("trained", "pair AUC", 0.7, 1, "supported"),
        ("trained", "same answers", 0.0, 2, "supported"),
        ("trained", "same weights", 0.0, 2, "supported"),
    ],
)
def test_other_data_give_other_verdicts(
    data: pd.DataFrame, box: str, metric: str, to: float, place: int, verdict: str
) -> None:
    found = experiment.verdicts(changed(data, box, metric, to))[place]
    shown = f" ≈ {to:.2f}" if place < 2 else "same weights: False"
    assert found.verdict == verdict and shown in found.evidence and "(1 seeds)" in found.evidence


@pytest.mark.slow
def test_verdicts_print_what_was_measured_beside_the_threshold(data: pd.DataFrame) -> None:
    evidence = [marks.exact(found.evidence) for found in experiment.verdicts(data)]
    assert evidence[0].startswith("recited by title: trained 1.00 (at least 0.98), its twins 0.00")
    trace = data[data.task == "trace"].pivot_table("value", "step", "metric")
    silent = trace[trace["memory ability"] == 0].max()
    assert f"{silent['bits']:.2f} of the bits (at least 0.40)" in evidence[1]
    assert f"AUC {silent['pair AUC']:.3f} for true against" in evidence[1]


def test_profiles_ask_for_more_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "one_seed", lambda seed: iter([seed]))
    assert [list(unit.measure()) for unit in experiment.units("quick", 5)] == [[5], [6], [7]]
    assert len({unit.name for unit in experiment.units("full", 0)}) == 10


def test_the_same_seed_gives_the_same_poems_and_swaps() -> None:
    assert torch.equal(
        corpus.swapped(corpus.synthetic(seed=2), 2).ids,
        corpus.swapped(corpus.synthetic(seed=2), 2).ids,
    )
