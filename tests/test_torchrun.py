"""`torchrun --nproc_per_node 2 -m memlab run needles`: the recall of one process, one printout, one
file of records."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from memlab import __main__, results, runtime
from memlab.book.outside_the_weights.needles import experiment, measure
from memlab.memories import KeyValue

PLAN = {"lengths": (1500,), "trials": 2, "causal": 0, "causal_trials": 0}
PROGRAM = f"""
import sys
from memlab import __main__
from memlab.book.outside_the_weights.needles import experiment, measure
from memlab.memories import KeyValue
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


def test_a_process_that_joined_no_group_looks_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not runtime.joined()
    assert isinstance(measure._rule(1), KeyValue)


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


# Process 0 fails while process 1 waits for it; both go on; process 1 fails while process 0 waits.
FAILING = """
import json, time, torch
from memlab import runtime

def told(block):
    try:
        block()
    except Exception as problem:
        return type(problem).__name__ + ": " + str(problem)
    return "nothing"

ran = []

def first():
    with runtime.one_process_first():
        ran.append("a")
        raise OSError("the disk is full")

def again():
    with runtime.one_process_first():
        ran.append("b")

def left():
    with runtime.process_group() as rank:
        said.extend([told(first), told(again)])
        if rank:
            raise ValueError("only here")
        torch.distributed.barrier()

said = []
start = time.perf_counter()
last = told(left)
print(json.dumps([said, ran, last, time.perf_counter() - start]))
"""


def processes_of(program: str, environment: dict[str, str]) -> list[list]:
    """What two processes with a group of their own print, as JSON."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = str(some.getsockname()[1])
    where = {
        **os.environ,
        "PYTHONPATH": str(Path(runtime.__file__).parents[1]),
        "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        **environment,
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**where, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        return [json.loads(process.communicate(timeout=60)[0]) for process in started]
    finally:
        for process in started:
            process.kill()


def test_nobody_waits_for_a_process_that_failed() -> None:
    (said, ran, last, seconds), (others, ran_there, last_there, _) = processes_of(FAILING, {})
    assert said == ["OSError: the disk is full", "nothing"] and ran == ["a", "b"]
    assert others == [
        "PeerFailed: process 0, which goes first, failed: OSError: the disk is full",
        "nothing",
    ]
    assert ran_there == ["b"], "what failed in process 0 is not tried by the other"
    assert last_there == "ValueError: only here" and last != "nothing" and seconds < 30


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE, which torchrun sets, .* got 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE, .* of at least 1, got '0'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE, .* of at least 1, got '-1'"),
        ({"WORLD_SIZE": "1.0"}, "WORLD_SIZE, .* of at least 1, got '1.0'"),
        (
            {"WORLD_SIZE": "2"},
            "expected RANK, MASTER_ADDR, MASTER_PORT beside WORLD_SIZE=2, as torchrun sets them, "
            "got nothing",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1"}, "expected MASTER_ADDR beside"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "expected in RANK, which torchrun sets, a number from 0 to 1, got '2'",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "http"},
            "expected in MASTER_PORT, .* a number from 0 to 65535, got 'http'",
        ),
    ],
)
def test_an_environment_that_torchrun_did_not_make_is_one_sentence(
    said: dict[str, str], wrong: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=wrong), runtime.process_group():
        pass
    assert __main__.main(["run", "needles"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("memlab: expected") and err.count("\n") == 1


@pytest.mark.parametrize("said", ["", " ", "1"])
def test_one_process_needs_nothing_else(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", said)
    assert runtime.processes() == 1
    with runtime.process_group() as rank:
        assert rank == 0


def test_two_processes_do_not_train_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(__main__, "_trainer", lambda model: pytest.fail("nothing is trained"))
    assert __main__.main(["train", "causal", "--folder", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == "memlab: expected one process for train, got 2 from torchrun\n"
    )


def test_alone_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with runtime.process_group() as rank, runtime.one_process_first():
        assert rank == 0
