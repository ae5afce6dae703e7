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
from memlab.book.outside_the_weights.needles.measure import Cell, Outcome
from memlab.models import causal_baseline
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


def joined(length: int, profile: str, names: tuple[str, ...]) -> dict[str, int]:
    """Who reads prompts of a length whole in a profile, and how many of them."""
    cell: Any = Cell.__new__(Cell)
    cell.length = length
    cell.said_by = lambda answer, trials: [Outcome(True, None, "")] * trials
    whole: dict[str, Any] = dict.fromkeys(names, lambda prompt: None)
    found = experiment._from_text(cell, whole, experiment.PLANS[profile])
    return {name: len(outcomes) for name, outcomes in found.items()}


def test_a_large_model_reads_as_far_as_the_profile_can_afford() -> None:
    names = ("causal", "llm", "llm-chat")
    assert joined(1024, "full", names) == {"causal": 20, "llm": 10, "llm-chat": 10}
    assert joined(8192, "full", names) == {"causal": 20, "llm": 10}
    assert joined(16384, "full", names) == {}
    assert joined(65536, "gpu", names) == {"llm": 100, "llm-chat": 100}
    assert joined(2048, "quick", names) == {"llm": 10, "llm-chat": 10}


@pytest.mark.parametrize("chats", [True, False])
def test_a_model_with_a_form_of_chat_is_asked_in_it_too(
    chats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, reply = (lambda prompt: "said"), (lambda prompt: "replied")
    large = SimpleNamespace(chats=chats, answer=answer, reply=reply)
    monkeypatch.setattr(experiment.any_language_model, "named", lambda: large)
    monkeypatch.setattr(causal_baseline, "load_causal", lambda: None)
    monkeypatch.setattr(causal_baseline, "variant", lambda model, window: None)
    found = experiment._whole_readers()
    assert found["llm"] is answer
    assert found.get("llm-chat") is (reply if chats else None)
    monkeypatch.setattr(experiment.any_language_model, "named", lambda: None)
    assert set(experiment._whole_readers()) == {"causal", "causal-window"}


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
