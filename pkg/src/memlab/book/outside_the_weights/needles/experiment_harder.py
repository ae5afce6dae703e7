"""Chapter 11, second part: tasks in which one look-up is not enough, or finds too much
(`corpora.ruler`), and the same without an answer. Every reader gets the very same trials;
thresholds are chosen on the "dev" wordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pandas as pd
import torch

from memlab import retrieval
from memlab.book.outside_the_weights.needles.measure_harder import (
    CASES,
    STEMS,
    UNANSWERED,
    Cell,
    Outcome,
)
from memlab.decoder import MemoryDecoder, pretrained
from memlab.results import Record, Verdict

K = 1024
# Trials are multiples of eleven, one a depth. Retrieval indexes every trial's text anew, so it gets
# fewer of them.
PLANS: dict[str, dict] = {
    "quick": {"lengths": (4 * K,), "trials": 22, "search": {4 * K: 22}, "dense": 0},
    "full": {
        "lengths": (4 * K, 64 * K, K * K),
        "trials": 55,
        "search": {4 * K: 55, 64 * K: 11},
        "dense": 4 * K,
    },
    "gpu": {
        "lengths": (4 * K, 64 * K, K * K, 10 * K * K),
        "trials": 110,
        "search": {4 * K: 110},
        "dense": 64 * K,
    },
}
Search = Callable[[list[str]], retrieval.Index]
KEPT = (
    0.95  # the share of answered questions that a threshold, chosen on the dev wordings, lets pass
)


def run(profile: str, seed: int = 0) -> Iterator[Record]:
    """One record a trial and reader, and the trials without an answer."""
    plan, model, dense = PLANS[profile], pretrained.for_profile(profile, seed), _dense(profile)
    for length in plan["lengths"]:
        shared: dict = {}
        for case, (task, source) in CASES.items():
            cell = Cell(
                model, task, length, trials=plan["trials"], source=source, seed=seed, shared=shared
            )
            for name, outcomes in _readers(
                cell, plan, dense if length <= plan["dense"] else None
            ).items():
                yield from _records(name, case, cell, outcomes, seed)
            print(f"harder-needles: {length:>9,} tokens, {case}", file=sys.stderr)
        yield from _abstention(model, length, plan["trials"], seed, shared)


def _dense(profile: str) -> Search | None:
    if profile == "quick":
        return None
    try:
        encoder = retrieval.open_encoder(retrieval.installed_encoder())
    except ModuleNotFoundError as missing:
        return print(f"harder-needles: without dense retrieval: {missing}", file=sys.stderr)
    return lambda texts: retrieval.Dense(encoder, texts)


def _readers(cell: Cell, plan: dict, dense: Search | None) -> dict[str, list[Outcome]]:
    found = {"nearest": cell.nearest(), "oracle": cell.oracle()}
    if cell.task.kind in STEMS:
        found["memory"] = cell.memory()
    if cell.task.kind == "chain":
        found["memory, hops"] = cell.hops()
    if count := plan["search"].get(cell.length):
        found["bm25"] = cell.found_by(retrieval.BM25, count)
    return found | ({"dense": cell.found_by(dense, 11)} if dense else {})


def _records(
    name: str, case: str, cell: Cell, outcomes: list[Outcome], seed: int
) -> Iterator[Record]:
    for trial, one in enumerate(outcomes):
        meta = {"tokens": cell.length, "depth": cell.trials[trial].depth}
        yield Record("harder-needles", name, case, "recall", one.recall, seed, trial, meta)
        yield Record("harder-needles", name, case, "address", one.address, seed, trial, meta)


def _abstention(
    model: MemoryDecoder, length: int, trials: int, seed: int, shared: dict
) -> Iterator[Record]:
    """Recognition with a threshold: is an unanswerable question refused, is an answerable one let
    pass?"""
    for case, task in UNANSWERED.items():
        dev = Cell(model, CASES[case][0], length, trials=trials, seed=seed, split="dev")
        least = float(torch.tensor([one.fit for one in dev.memory()]).quantile(1 - KEPT))
        for name, asked in (("answered", CASES[case][0]), ("unanswered", task)):
            cell = Cell(model, asked, length, trials=trials, seed=seed, shared=shared)
            for trial, one in enumerate(cell.memory()):
                yield Record(
                    "harder-needles",
                    "memory",
                    case,
                    f"{name}, let pass",
                    float((one.fit or 0.0) >= least),
                    seed,
                    trial,
                    {"tokens": length, "depth": cell.trials[trial].depth},
                )


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Share of the values that are named, by task and reader, at the longest length."""
    return _wide(data[(data["metric"] == "recall") & (data["tokens"] == data["tokens"].max())])


def _wide(recall: pd.DataFrame) -> pd.DataFrame:
    wide = recall.pivot_table(index="task", columns="model", values="value").round(2)
    order = ["memory", "memory, hops", "nearest", "oracle", "bm25", "dense"]
    return wide.reindex([case for case in CASES if case in wide.index])[
        [n for n in order if n in wide]
    ].reset_index()


def shortest(data: pd.DataFrame) -> pd.DataFrame:
    """The same at the shortest length."""
    return _wide(data[(data["metric"] == "recall") & (data["tokens"] == data["tokens"].min())])


def abstention(data: pd.DataFrame) -> pd.DataFrame:
    """Share of answerable and of unanswerable questions that the threshold lets pass, by task and
    length."""
    passed = data[data["metric"].str.endswith("let pass")]
    return (
        passed.pivot_table(index=["task", "tokens"], columns="metric", values="value")
        .round(2)
        .reset_index()
    )


more_tables = (shortest, abstention)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N14: recall beyond one plain needle; N15: knowing that the text does not tell."""
    recall = data[(data["metric"] == "recall") & (data["tokens"] == data["tokens"].max())]
    own = (
        recall[recall["model"].isin(["memory", "nearest"])]
        .groupby(["task", "model"])["value"]
        .mean()
        .unstack()
    )
    best = own.get("memory", own["nearest"]).fillna(own["nearest"])
    weak = best[best < 0.9].sort_values()
    passed = data[data["metric"].str.endswith("let pass")].groupby("metric")["value"].mean()
    kept, wrong = (passed[f"{name}, let pass"] for name in ("answered", "unanswered"))
    named = ", ".join(f"{task} {value:.2f}" for task, value in weak.items())
    return [
        Verdict(
            "N14",
            "supported" if not len(weak) else "qualified",
            f"at {int(recall['tokens'].max()):,} tokens {len(best) - len(weak)} of {len(best)}"
            " tasks at 0.90 or more" + (f"; below: {named}" if named else ""),
        ),
        Verdict(
            "N15",
            "supported" if kept >= 0.9 and wrong <= 0.1 else "qualified",
            f"{kept:.2f} of the answerable questions pass, and {wrong:.2f} of the unanswerable"
            " ones",
        ),
    ]
