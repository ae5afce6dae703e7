"""`torchrun --nproc_per_node 2 -m memlab run needles`: the recall of one process, one printout, one
file of records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from memlab import __main__, results, runtime
from memlab.book.outside_the_weights.needles import experiment

PLAN = {"lengths": (1500,), "trials": 2, "causal": 0, "causal_trials": 0}
PROGRAM = f"""
import sys
from memlab import __main__
from memlab.book.outside_the_weights.needles import experiment
from memlab.decoder import pretrained
experiment.PLANS["quick"] = {PLAN!r}
experiment.model_for = lambda profile, seed: pretrained.shipped()
sys.exit(__main__.main(["run", "needles", "--out", sys.argv[1]]))
"""
SAME = ["model", "task", "metric", "tokens", "index"]


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    program, two = tmp_path / "two.py", tmp_path / "two.jsonl"
    program.write_text(PROGRAM, "utf-8")
    source = str(Path(__main__.__file__).parents[1])
    where = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(program),
            str(two),
        ],
        capture_output=True,
        text=True,
        env=where,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setitem(experiment.PLANS, "quick", PLAN)
    monkeypatch.setattr(
        experiment,
        "model_for",
        lambda profile, seed: experiment.pretrained.shipped(),
    )
    assert __main__.main(["run", "needles", "--out", str(tmp_path / "one.jsonl")]) == 0
    alone = results.load(tmp_path / "one.jsonl")
    alone = alone[alone["model"] != "linear"]
    pairs = alone.merge(results.load(two), on=SAME, suffixes=("", "_two"), validate="1:1")
    assert len(pairs) == len(alone) == len(results.load(two))
    timed = pairs["metric"].isin(["write_seconds", "read_ms"])
    assert (pairs["value"] - pairs["value_two"])[~timed].abs().max() < 1e-5
    recall = pairs[pairs["metric"].isin(["recall", "address"])]
    assert (recall["value"] == recall["value_two"]).all() and recall["value"].mean() > 0.9
    first = capsys.readouterr().out.splitlines()
    assert len(done.stdout.splitlines()) == len(first) - 1, (
        "the line of N4 is left out, and nothing is said twice"
    )
    assert len(results.provenances(two)) == 1


def test_without_the_linear_read_out_there_is_no_verdict_on_it() -> None:
    def row(model: str, task: str, metric: str, value: float) -> dict:
        return {"model": model, "task": task, "metric": metric, "value": value, "tokens": 16384}

    rows = [row("memory", task, "recall", 1.0) for task in ("passkey", "needle")]
    rows += [
        row("memory", "cost", metric, 1.0)
        for metric in ("write_seconds", "read_ms", "bytes_per_token")
    ]
    assert [v.claim for v in experiment.verdicts(pd.DataFrame(rows))] == ["N1", "N2"]


@pytest.mark.parametrize("asked", [["dynamic-sum"], ["needles", "--resume", "--out", "x.jsonl"]])
def test_what_is_not_shared_out_wants_one_process(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert runtime.processes() == 2
    assert __main__.main(["run", *asked]) == 2
    wanted = asked[0] + " --resume" * ("--resume" in asked)
    assert (
        capsys.readouterr().err
        == f"memlab: expected one process for {wanted}, got 2 from torchrun\n"
    )


def test_alone_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with runtime.process_group() as rank, runtime.one_process_first():
        assert rank == 0
