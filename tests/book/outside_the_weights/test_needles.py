"""Chapter 11's experiment: what it prints follows the data. The measuring is tested in
test_needles_measure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from memlab import results
from memlab.book.outside_the_weights.needles import experiment
from memlab.book.outside_the_weights.needles.measure import prompt
from memlab.book.units import WHOLE
from memlab.results import Record

LENGTHS = (1024, 16384, 2**20)


def records(passkey: float = 1.0, linear: float = 0.0, growth: float = 1.0) -> Iterator[Record]:
    """Twenty trials of each cell; the share `passkey` of the longest pass keys is right."""

    def one(
        model: str, task: str, metric: str, value: float, tokens: int, index: int = 0
    ) -> Record:
        return Record(
            "needles", model, task, metric, value, 0, index, {"tokens": tokens, "depth": 0.5}
        )

    for tokens in LENGTHS:
        for task in ("passkey", "needle"):
            share = passkey if (task, tokens) == ("passkey", LENGTHS[-1]) else 1.0
            for index in range(20):
                yield one("memory", task, "recall", float(index < 20 * share), tokens, index)
                yield one("linear", task, "recall", float(index < 20 * linear), tokens, index)
        bytes_per_token = 140 * (growth if tokens == LENGTHS[-1] else 1.0)
        for metric, value in (
            ("write_seconds", 1.0),
            ("read_ms", 2.5),
            ("bytes_per_token", bytes_per_token),
        ):
            yield one("memory", "cost", metric, value, tokens)


def verdicts(**changes: float) -> dict[str, str]:
    """Verdict by claim for such data."""
    return {v.claim: v.verdict for v in experiment.verdicts(results.frame(records(**changes)))}


def test_a_run_without_a_miss_supports_the_claims() -> None:
    assert verdicts() == {"N1": "supported", "N2": "supported", "N4": "refuted"}


def test_one_weak_cell_qualifies_the_claim() -> None:
    assert verdicts(passkey=0.9)["N1"] == "qualified"
    assert "0.90" in str(experiment.verdicts(results.frame(records(passkey=0.9)))[0])


@pytest.mark.parametrize(("changes", "claim"), [({"growth": 2.0}, "N2"), ({"linear": 0.5}, "N4")])
def test_cost_and_linear_read_out_are_judged(changes: dict[str, float], claim: str) -> None:
    assert verdicts(**changes)[claim] == "qualified"


def test_the_table_has_a_row_a_length_and_the_readers_a_column_each() -> None:
    data = results.frame(records())
    table = experiment.table(data)
    assert table["tokens"].tolist() == list(LENGTHS) and table["passkey"].tolist() == [
        1.0,
        1.0,
        1.0,
    ]
    assert list(experiment.readers(data).columns) == ["tokens", "memory", "linear"]


def test_the_recorded_run_is_whole_and_says_what_the_chapter_says(root: Path) -> None:
    path = root / "book" / "results" / "needles.jsonl"
    data = results.load(path)
    found = {v.claim: v.verdict for v in experiment.verdicts(data)}
    assert found == {"N1": "supported", "N2": "supported", "N4": "refuted"}
    own = data[(data.model == "memory") & (data.metric == "recall")]
    assert own.tokens.max() == 10 * 2**20
    assert (own.groupby("tokens").value.agg(["sum", "size"]) == 200).all(axis=None), (
        "chapter 11 and the ledger say so"
    )
    assert all("wall_seconds" in session for session in results.provenances(path))
    assert isinstance(experiment.table(data), pd.DataFrame)


# ---- a large model of somebody else's ------------------------------------------------------------


def reads_along(monkeypatch: pytest.MonkeyPatch, *, chats: bool = True) -> list[tuple[str, str]]:
    """A model that the environment names; it knows passkeys, and says at which form it was asked
    what."""
    asked: list[tuple[str, str]] = []

    def said(form: str, prompt: Any) -> str | None:
        asked.append((form, prompt.fact.question))
        return None if len(prompt.segments) > 200 else f"It is {prompt.fact.answer}."

    large = SimpleNamespace(
        chats=chats,
        answer=lambda prompt: said("llm", prompt),
        reply=lambda prompt: said("llm-chat", prompt),
    )
    monkeypatch.setattr(experiment.any_language_model, "named", lambda: large)
    monkeypatch.setenv("MEMLAB_LLM", "hub:a/model")
    return asked


@pytest.mark.parametrize("chats", [True, False])
def test_a_large_model_reads_the_very_prompts_as_far_as_window_and_profile_reach(
    chats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reads_along(monkeypatch, chats=chats)
    plan = {"lengths": (256, 1024, 8192, 16384), "llm": 8192, "llm-chat": 256, "llm_trials": 4}
    monkeypatch.setitem(experiment.PLANS, "full", plan)
    data = results.frame(experiment.by_language_model("full", 3))
    forms = {"llm": [256, 1024], "llm-chat": [256]} if chats else {"llm": [256, 1024]}
    assert {name: sorted(set(rows.tokens)) for name, rows in data.groupby("model")} == forms
    assert (data.value == 1).all() and data.groupby(["model", "task", "tokens"]).size().eq(4).all()
    assert sorted(set(data.depth)) == [0.05, 0.15, 0.25, 0.35]
    own = [prompt("passkey", 256, trial, seed=3).fact.question for trial in range(4)]
    assert [question for form, question in asked[:4]] == own


def test_units_are_the_own_readers_and_a_large_model_where_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MEMLAB_LLM", raising=False)
    assert [unit.name for unit in experiment.units("quick", 0)] == [WHOLE]
    with pytest.raises(ValueError, match="expected in MEMLAB_LLM the name of a language model"):
        list(experiment.by_language_model("quick", 0))
    reads_along(monkeypatch)
    assert [unit.name for unit in experiment.units("quick", 0)] == [WHOLE, "language model"]


def test_the_record_says_which_model_read_along_if_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMLAB_LLM", raising=False)
    assert experiment.sources() == {}
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("MEMLAB_LLM", str(tmp_path / "tiny"))
    found = experiment.sources()
    assert found["llm_checkpoint"] == "tiny" and len(found["llm_sha256"]) == 64


def test_the_chat_has_a_column_of_its_own() -> None:
    data = results.frame(records())
    other = data[data.model == "memory"].assign(model="llm-chat")
    assert list(experiment.readers(pd.concat([data, other])).columns) == [
        "tokens",
        "memory",
        "linear",
        "llm-chat",
    ]
