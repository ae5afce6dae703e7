"""The recall of the causal baseline by length: its units, its scorer, and the claim that it
judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memlab import results
from memlab.book.outside_the_weights.needles import experiment_causal
from memlab.book.outside_the_weights.needles.experiment_causal import Sweep
from memlab.corpora import needles
from memlab.models import causal_baseline
from memlab.models.causal_baseline import WINDOW
from memlab.results import Record


def recall(records: list[Record]) -> float:
    values = [record.value for record in records if record.metric == "recall"]
    return sum(values) / len(values)


@pytest.mark.parametrize("kind", needles.KINDS)
def test_the_shipped_baseline_recalls_in_its_window(kind: str) -> None:
    sweep = Sweep("causal", (128, WINDOW), 5, kinds=(kind,))
    made = [one for tokens in sweep.lengths for one in experiment_causal.recall(sweep, tokens, 1)]
    assert recall(made) >= 0.9
    assert made[0].model == "causal"
    assert set(made[0].meta) == {"tokens", "depth", "split", "haystack"}
    words = [record for record in made if record.metric == "words"]
    assert len(words) == (10 if kind == "needle" else 0)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (" 12345. Remember", 1.0),
        (" is 12345", 1.0),
        (" 123456", 0.0),
        (" 54321, not 12345", 0.0),
        ("", 0.0),
    ],
)
def test_answers_are_judged_by_the_scorer_of_the_chapter(
    monkeypatch: pytest.MonkeyPatch, said: str, right: float
) -> None:
    def answer(model: object, prompt: needles.Prompt, tokenizer: object) -> str:
        return said.replace("12345", prompt.fact.answer)

    monkeypatch.setattr(causal_baseline, "answer", answer)
    sweep = Sweep("causal", (128,), 1, kinds=("passkey",))
    assert [one.value for one in experiment_causal.recall(sweep, 128)] == [right]


def test_each_variant_is_the_shipped_model_under_another_config() -> None:
    windowed = experiment_causal._variant("causal-window", 1024)
    stretched = experiment_causal._variant("causal-yarn", 1024)
    assert windowed.config.sliding_window == WINDOW
    assert stretched.config.rope_parameters["factor"] == pytest.approx(1024 / WINDOW)
    assert not experiment_causal._variant("causal", 1024).config.use_sliding_window


@pytest.mark.parametrize("profile", experiment_causal.PLANS)
def test_units_have_names_of_their_own_and_depths_take_turns(profile: str) -> None:
    names = [unit.name for unit in experiment_causal.units(profile, 0)]
    assert len(names) == len(set(names))
    for sweep in experiment_causal.PLANS[profile]:
        assert sweep.trials % 10 == 0 and set(sweep.kinds) <= set(needles.KINDS)


def records(beyond: float, far: float, stretched: float) -> Iterator[Record]:
    """Ten trials a cell: recall 1 inside the window, `beyond` at twice its length, then `far`."""

    def cell(model: str, tokens: int, share: float) -> Iterator[Record]:
        meta = {"tokens": tokens, "depth": 0.5, "split": "test", "haystack": "documentation"}
        for kind in needles.KINDS:
            for trial in range(10):
                value = float(trial < 10 * share)
                yield Record("causal-training", model, kind, "recall", value, 0, trial, meta)

    yield from cell("causal", WINDOW, 1.0)
    yield from cell("causal", 2 * WINDOW, beyond)
    yield from cell("causal", 2048, far)
    yield from cell("causal-yarn", 2048, stretched)


@pytest.mark.parametrize(
    ("beyond", "far", "verdict"),
    [(0.9, 0.4, "qualified"), (0.4, 0.0, "supported"), (1.0, 0.9, "refuted")],
)
def test_a_fade_is_no_collapse(beyond: float, far: float, verdict: str) -> None:
    data = results.frame(records(beyond, far, 0.9))
    (found,) = experiment_causal.verdicts(data)
    assert (found.claim, found.verdict) == ("N7", verdict)
    assert "0.90 with positions stretched" in found.evidence


def test_the_table_has_a_row_a_variant_and_length() -> None:
    table = experiment_causal.table(results.frame(records(0.9, 0.4, 0.8)))
    assert table["tokens"].tolist() == [WINDOW, 2 * WINDOW, 2048, 2048]
    assert table["needle"].tolist() == [1.0, 0.9, 0.4, 0.8]


def test_the_recorded_run_says_what_the_ledger_says(root: Path) -> None:
    data = results.load(root / "book" / "results" / "causal-training.jsonl")
    (found,) = experiment_causal.verdicts(data)
    assert (found.claim, found.verdict) == ("N7", "qualified")
