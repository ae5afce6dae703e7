"""Chapter 11: how far can it look? Passkeys and needles in real text up to ten million tokens,
every reader on the very same prompts: the memory decoder with the row that it recognises among the
nearest, with the nearest row, with an oracle's, with BM25's and with a linear read-out, a causal
transformer of equal size, and the language model that MEMLAB_LLM names, if it does (hub:owner/name
or a folder), as far as its window reaches. Under torchrun the rows are shared out, and the linear
read-out is left out."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd
import torch
from transformers import Qwen2ForCausalLM

from memlab import weights
from memlab.book.outside_the_weights.needles import any_language_model, measure
from memlab.book.outside_the_weights.needles.measure import Cell
from memlab.decoder import pretrained
from memlab.models import causal_baseline
from memlab.results import Record, Verdict, wilson

SHARED_OUT = True  # under torchrun all processes measure one memory together
K = 1024
# The causal transformer joins up to a length of its own: its cost grows with the square of it.
model_for = pretrained.for_profile
PLANS: dict[str, dict] = {
    "quick": {
        "lengths": (384, K, 8 * K, 64 * K, K * K),
        "trials": 20,
        "causal": K,
        "causal_trials": 10,
    },
    "full": {
        "lengths": (
            128,
            256,
            384,
            K,
            2 * K,
            4 * K,
            8 * K,
            16 * K,
            64 * K,
            256 * K,
            K * K,
            10 * K * K,
        ),
        "trials": 100,
        "causal": 8 * K,
        "causal_trials": 20,
    },
    "gpu": {
        "lengths": (128, 384, K, 4 * K, 16 * K, 64 * K, 256 * K, K * K, 10 * K * K),
        "trials": 500,
        "causal": 8 * K,
        "causal_trials": 100,
    },
}


def run(profile: str, seed: int = 0) -> Iterator[Record]:
    """Every reader on every cell; one record a trial, and three of cost for every length."""
    plan, model, causal = PLANS[profile], model_for(profile, seed), causal_baseline.load_causal()
    windowed, large = (
        causal_baseline.variant(causal, window=causal_baseline.WINDOW),
        any_language_model.named(),
    )
    for length in plan["lengths"]:
        shared: dict = {}
        for kind in ("passkey", "needle"):
            # Beyond a million tokens latents are kept in a byte a number, and there is no word
            # index.
            dtype = torch.float32 if length <= K * K else torch.int8
            cell = Cell(
                model, kind, length, trials=plan["trials"], seed=seed, shared=shared, dtype=dtype
            )
            readers = {
                "memory": cell.memory(),
                "nearest": cell.nearest(),
                "oracle": cell.oracle(),
                "linear": cell.linear(),
            } | ({"bm25": cell.bm25()} if length <= K * K else {})
            if length <= plan["causal"]:
                readers["causal"] = _causal(causal, cell, plan["causal_trials"])
                if length > causal_baseline.WINDOW:
                    readers["causal-window"] = _causal(windowed, cell, plan["causal_trials"])
            if large and (outcomes := cell.said_by(large.answer, plan["causal_trials"])):
                readers["llm"] = outcomes
            for name, outcomes in readers.items():
                yield from _records(name, kind, length, cell, outcomes, seed)
            for metric, values in zip(("own score", "rival score"), cell.scores, strict=True):
                for trial, value in enumerate(values):
                    yield Record(
                        "needles", "memory", kind, metric, value, seed, trial, {"tokens": length}
                    )
            if kind == "needle":
                yield from _costs(cell, length, seed)
            print(f"needles: {length:>9,} tokens, {kind}", file=sys.stderr)


def _causal(model: Qwen2ForCausalLM, cell: Cell, trials: int) -> list[measure.Outcome]:
    return cell.said_by(
        lambda prompt: causal_baseline.answer(model, prompt, weights.tokenizer()), trials
    )


def _records(
    name: str, kind: str, length: int, cell: Cell, outcomes: list, seed: int
) -> Iterator[Record]:
    for trial, outcome in enumerate(outcomes):
        meta = {"tokens": length, "depth": round(cell.prompts[trial].depth, 2)}
        yield Record("needles", name, kind, "recall", float(outcome.right), seed, trial, meta)
        if outcome.address is not None:
            yield Record(
                "needles", name, kind, "address", float(outcome.address), seed, trial, meta
            )


def _costs(cell: Cell, length: int, seed: int) -> Iterator[Record]:
    state, first, meta = cell.bases[0], cell.prompts[0], {"tokens": length}
    stored = sum(
        len(segment) for row, segment in enumerate(first.segments) if row not in first.rows
    )
    read = sorted(cell.read_seconds)[len(cell.read_seconds) // 2]
    for metric, value in (
        ("write_seconds", cell.write_seconds),
        ("read_ms", 1e3 * read),
        ("bytes_per_token", state.nbytes / stored),
    ):
        yield Record("needles", "memory", "cost", metric, value, seed, 0, meta)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """By length: recall of passkey and needle, seconds to encode and write, milliseconds to look
    up, bytes a token."""
    own = data[data["model"] == "memory"]
    recall = own[own["metric"] == "recall"].pivot_table(
        index="tokens", columns="task", values="value"
    )
    cost = own[own["task"] == "cost"].pivot_table(index="tokens", columns="metric", values="value")
    digits = {"passkey": 2, "needle": 2, "write_seconds": 1, "read_ms": 1, "bytes_per_token": 0}
    return recall.join(cost)[list(digits)].round(digits).reset_index()


def readers(data: pd.DataFrame) -> pd.DataFrame:
    """Recall by length (mean of both tasks) for every reader; NaN where a reader was not run."""
    wide = (
        data[data["metric"] == "recall"]
        .pivot_table(index="tokens", columns="model", values="value")
        .round(2)
    )
    order = ["memory", "nearest", "oracle", "bm25", "linear", "causal", "causal-window", "llm"]
    return wide[[name for name in order if name in wide]].reset_index()


more_tables = (readers,)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N1: recall far beyond the trained length; N2: cost of the store; N4: the linear read-out,
    untrained."""
    recall = data[data["metric"] == "recall"]
    own = recall[recall["model"] == "memory"].groupby(["task", "tokens"])["value"]
    worst, trials, longest = own.mean().min(), int(own.size().min()), int(recall["tokens"].max())
    low = wilson(own.sum().min(), trials)[0]
    far = recall[(recall["model"] == "linear") & (recall["tokens"] >= 16 * K)]["value"].mean()
    cost = data[(data["task"] == "cost") & (data["tokens"] >= K)].set_index(["metric", "tokens"])[
        "value"
    ]
    growth = cost["bytes_per_token"].max() / cost["bytes_per_token"].iloc[0]
    found = [
        Verdict(
            "N1",
            "supported" if worst >= 0.95 else "qualified",
            f"worst cell to {longest:,} tokens: recall {worst:.2f} (n={trials}, Wilson from"
            f" {low:.2f})",
        ),
        Verdict(
            "N2",
            "supported" if growth < 1.2 else "qualified",
            f"bytes a token between {cost['bytes_per_token'].min():.0f} and"
            f" {cost['bytes_per_token'].max():.0f} from 1K tokens on; one look-up in {longest:,}"
            f" tokens {cost['read_ms'][longest]:.1f} ms",
        ),
        Verdict(
            "N4",
            "refuted" if far <= 0.1 else "qualified",
            "linear read-out of the same keys, untrained for it, from 16K tokens on: recall"
            f" {far:.2f}",
        ),
    ]
    return found if (recall["model"] == "linear").any() else found[:2]
