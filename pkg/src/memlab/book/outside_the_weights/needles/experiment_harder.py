"""Chapter 11, second part: tasks in which one look-up is not enough, or finds too much
(`corpora.ruler`), and the same without an answer. Every reader gets the very same trials;
thresholds are chosen on the "dev" wordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

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
    "quick": {
        "lengths": (4 * K,),
        "trials": 22,
        "search": {4 * K: 22},
        "dense": 0,
    },
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
# the share of answered questions that a threshold, chosen on the dev wordings, lets pass
KEPT = 0.95


def run(profile: str, seed: int = 0) -> Iterator[Record]:
    """One record a trial and reader, and the trials without an answer."""
    plan = PLANS[profile]
    model = pretrained.for_profile(profile, seed)
    dense = _dense(profile)
    trials = plan["trials"]
    for length in plan["lengths"]:
        shared: dict = {}
        for case, (task, source) in CASES.items():
            cell = Cell(
                model,
                task,
                length,
                trials=trials,
                source=source,
                seed=seed,
                shared=shared,
            )
            affordable = dense if length <= plan["dense"] else None
            for name, outcomes in _readers(cell, plan, affordable).items():
                yield from _records(name, case, cell, outcomes, seed)
            print(f"harder-needles: {length:>9,} tokens, {case}", file=sys.stderr)
        yield from _abstention(model, length, trials, seed, shared)


def _dense(profile: str) -> Search | None:
    if profile == "quick":
        return None
    try:
        encoder = retrieval.open_encoder(retrieval.installed_encoder())
    except ModuleNotFoundError as missing:
        print(f"harder-needles: without dense retrieval: {missing}", file=sys.stderr)
        return None
    return partial(retrieval.Dense, encoder)


def _readers(
    cell: Cell,
    plan: dict,
    dense: Search | None,
) -> dict[str, list[Outcome]]:
    found = {"nearest": cell.nearest(), "oracle": cell.oracle()}
    if cell.task.kind in STEMS:
        found["memory"] = cell.memory()
    if cell.task.kind == "chain":
        found["memory, hops"] = cell.hops()
    if cell.length in plan["search"]:
        trials = plan["search"][cell.length]
        found["bm25"] = cell.found_by(retrieval.BM25, trials)
    if dense is not None:
        found["dense"] = cell.found_by(dense, 11)
    return found


def _records(
    name: str,
    case: str,
    cell: Cell,
    outcomes: list[Outcome],
    seed: int,
) -> Iterator[Record]:
    for trial, one in enumerate(outcomes):
        meta = {"tokens": cell.length, "depth": cell.trials[trial].depth}
        yield Record("harder-needles", name, case, "recall", one.recall, seed, trial, meta)
        yield Record("harder-needles", name, case, "address", one.address, seed, trial, meta)


def _abstention(
    model: MemoryDecoder,
    length: int,
    trials: int,
    seed: int,
    shared: dict,
) -> Iterator[Record]:
    """Recognition with a threshold: is an unanswerable question refused, is an answerable one let
    pass?"""
    for case, unanswered in UNANSWERED.items():
        answered, _ = CASES[case]
        dev = Cell(model, answered, length, trials=trials, seed=seed, split="dev")
        fits = torch.tensor([one.fit for one in dev.memory()])
        least = float(fits.quantile(1 - KEPT))
        for name, task in (("answered", answered), ("unanswered", unanswered)):
            cell = Cell(model, task, length, trials=trials, seed=seed, shared=shared)
            for trial, one in enumerate(cell.memory()):
                passed = float((one.fit or 0.0) >= least)
                metric = f"{name}, let pass"
                meta = {"tokens": length, "depth": cell.trials[trial].depth}
                yield Record("harder-needles", "memory", case, metric, passed, seed, trial, meta)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Share of the values that are named, by task and reader, at the longest length."""
    return _wide(_recall_at(data, int(data["tokens"].max())))


def _wide(recall: pd.DataFrame) -> pd.DataFrame:
    wide = recall.pivot_table(index="task", columns="model", values="value").round(2)
    readers = ["memory", "memory, hops", "nearest", "oracle", "bm25", "dense"]
    rows = [case for case in CASES if case in wide.index]
    columns = [name for name in readers if name in wide]
    return wide.reindex(rows)[columns].reset_index()


def shortest(data: pd.DataFrame) -> pd.DataFrame:
    """The same at the shortest length."""
    return _wide(_recall_at(data, int(data["tokens"].min())))


def _recall_at(data: pd.DataFrame, tokens: int) -> pd.DataFrame:
    recall = data[data["metric"] == "recall"]
    return recall[recall["tokens"] == tokens]


def abstention(data: pd.DataFrame) -> pd.DataFrame:
    """Share of answerable and of unanswerable questions that the threshold lets pass, by task and
    length."""
    passed = data[data["metric"].str.endswith("let pass")]
    wide = passed.pivot_table(index=["task", "tokens"], columns="metric", values="value")
    return wide.round(2).reset_index()


more_tables = (shortest, abstention)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N14: recall beyond one plain needle; N15: knowing that the text does not tell."""
    return [_n14(data), _n15(data)]


def _n14(data: pd.DataFrame) -> Verdict:
    longest = int(data["tokens"].max())
    recall = _recall_at(data, longest)
    own = recall[recall["model"].isin(["memory", "nearest"])]
    by_reader = own.groupby(["task", "model"])["value"].mean().unstack()
    nearest = by_reader["nearest"]
    best = by_reader.get("memory", nearest).fillna(nearest)
    weak = best[best < 0.9].sort_values()
    named = ", ".join(f"{task} {value:.2f}" for task, value in weak.items())
    return Verdict(
        "N14",
        "supported" if not len(weak) else "qualified",
        f"at {longest:,} tokens {len(best) - len(weak)} of {len(best)}"
        " tasks at 0.90 or more" + (f"; below: {named}" if named else ""),
    )


def _n15(data: pd.DataFrame) -> Verdict:
    passed = data[data["metric"].str.endswith("let pass")]
    shares = passed.groupby("metric")["value"].mean()
    kept = shares["answered, let pass"]
    wrong = shares["unanswered, let pass"]
    return Verdict(
        "N15",
        "supported" if kept >= 0.9 and wrong <= 0.1 else "qualified",
        f"{kept:.2f} of the answerable questions pass, and {wrong:.2f} of the unanswerable ones",
    )
