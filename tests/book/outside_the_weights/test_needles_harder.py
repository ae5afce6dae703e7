"""The harder needles: what the experiment prints follows the data; a run of it on a model nobody
has trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memlab import results
from memlab.book.outside_the_weights.needles import experiment_harder
from memlab.book.outside_the_weights.needles.measure_harder import CASES, STEMS
from memlab.decoder import new_decoder
from memlab.results import Record

K = 1024


def records(passed: tuple[float, float] = (1.0, 0.0), **weak: float) -> Iterator[Record]:
    """Ten trials of every task, all right but for those in `weak`; shares of answered and
    unanswered let pass."""
    for tokens in (4 * K, 64 * K):
        for case, (task, _) in CASES.items():
            readers = ["nearest", "oracle"] + ["memory"] * (task.kind in STEMS)
            for model in readers:
                share = weak.get(case.replace(" ", "_"), 1.0) if model != "oracle" else 1.0
                for index in range(10):
                    yield Record(
                        "harder-needles",
                        model,
                        case,
                        "recall",
                        float(index < 10 * share),
                        0,
                        index,
                        {"tokens": tokens, "depth": 0.5},
                    )
        for name, share in zip(("answered", "unanswered"), passed, strict=True):
            for index in range(10):
                yield Record(
                    "harder-needles",
                    "memory",
                    "number",
                    f"{name}, let pass",
                    float(index < 10 * share),
                    0,
                    index,
                    {"tokens": tokens, "depth": 0.5},
                )


def verdicts(**changes: float | tuple[float, float]) -> dict[str, tuple[str, str]]:
    found = experiment_harder.verdicts(results.frame(records(**changes)))  # type: ignore[arg-type]
    return {v.claim: (v.verdict, v.evidence) for v in found}


def test_verdicts_follow_the_data_and_name_the_weakest_first() -> None:
    assert {claim: verdict for claim, (verdict, _) in verdicts().items()} == {
        "N14": "supported",
        "N15": "supported",
    }
    verdict, said = verdicts(tracking=0.2, no_shared_word=0.1)["N14"]
    assert verdict == "qualified" and said.endswith("below: no shared word 0.10, tracking 0.20")
    assert "65,536 tokens 10 of 12 tasks" in said


@pytest.mark.parametrize("passed", [(0.8, 0.0), (1.0, 0.2)])
def test_refusing_is_judged_on_both_sides(passed: tuple[float, float]) -> None:
    assert verdicts(passed=passed)["N15"][0] == "qualified"


def test_tables_have_a_row_a_task_in_the_order_of_the_chapter() -> None:
    data = results.frame(records(chain=0.5))
    for table in (experiment_harder.table(data), experiment_harder.shortest(data)):
        assert table["task"].tolist() == list(CASES) and list(table.columns) == [
            "task",
            "memory",
            "nearest",
            "oracle",
        ]
        assert table.set_index("task").loc["chain", "memory"] == 0.5
        assert table["memory"].isna().sum() == 2, "no stem, nothing to recognise"
    passed = experiment_harder.abstention(data)
    assert len(passed) == 2 and (passed["answered, let pass"] == 1).all()


def test_a_run_gives_every_reader_the_same_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"lengths": (K,), "trials": 2, "search": {K: 1}, "dense": 0}
    monkeypatch.setitem(experiment_harder.PLANS, "quick", plan)
    monkeypatch.setattr(
        experiment_harder.pretrained,
        "for_profile",
        lambda profile, seed: new_decoder(seed=0).eval(),
    )
    few = {name: CASES[name] for name in ("number", "near keys", "chain", "no shared word")}
    monkeypatch.setattr(experiment_harder, "CASES", few)
    data = results.frame(experiment_harder.run("quick"))
    recall = data[data["metric"] == "recall"]
    assert set(recall["task"]) == set(few)
    counts = recall[recall["task"] == "chain"].groupby("model").size().to_dict()
    assert counts == {"nearest": 2, "oracle": 2, "memory": 2, "memory, hops": 2, "bm25": 1}
    assert set(recall[recall["task"] == "no shared word"]["model"]) == {"nearest", "oracle", "bm25"}
    passed = data[data["metric"].str.endswith("let pass")]
    assert len(passed) == 8 and set(passed["value"]) <= {0.0, 1.0}


def test_dense_retrieval_is_left_out_where_there_is_no_encoder(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.delenv("MEMLAB_ENCODER", raising=False)
    monkeypatch.setattr(experiment_harder.retrieval, "OPTIONAL", "no_such_package_at_all")
    assert experiment_harder._dense("full") is None and experiment_harder._dense("quick") is None
    assert "without dense retrieval: expected a sentence encoder" in capsys.readouterr().err


def test_the_recorded_run_is_whole(root: Path) -> None:
    path = root / "book" / "results" / "harder-needles.jsonl"
    data = results.load(path)
    assert {v.claim for v in experiment_harder.verdicts(data)} == {"N14", "N15"}
    assert all("wall_seconds" in session for session in results.provenances(path))
    assert set(data["task"]) == set(CASES) and data["tokens"].max() == K * K
