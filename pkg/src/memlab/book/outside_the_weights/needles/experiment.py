"""Chapter 11: how far can it look? Passkeys and needles in real text up to ten million tokens,
every reader on the very same prompts: the memory decoder with the row that it recognises among the
nearest, with the nearest row, with an oracle's, with BM25's and with a linear read-out, a causal
transformer of equal size, and the language model that MEMLAB_LLM names, if it does (hub:owner/name,
a folder or a .gguf file), as far as its window reaches: it goes on with the cue, and, where it has
a form of chat, replies to the question (llm-chat). Under torchrun the rows are shared out, and the
linear read-out is left out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import pandas as pd
import torch

from memlab import runtime, weights
from memlab.book.outside_the_weights.needles import any_language_model, measure
from memlab.book.outside_the_weights.needles.measure import Cell, Outcome, said_by
from memlab.book.units import WHOLE, Unit
from memlab.corpora.needles import KINDS, Prompt
from memlab.decoder import pretrained
from memlab.models import causal_baseline, checkpoints
from memlab.results import Record, Verdict, wilson

SHARED_OUT = True  # under torchrun all processes measure one memory together
K = 1024
MILLION = K * K
SHORT_LENGTHS = (128, 256, 384, K, 2 * K, 4 * K, 8 * K, 16 * K)
LONG_LENGTHS = (64 * K, 256 * K, MILLION, 10 * MILLION)
# Who reads the whole prompt joins up to a length of its own: the cost grows with the square of it.
# Trials of a large model are multiples of ten, one a depth.
model_for = pretrained.for_profile
Answer = Callable[[Prompt], str | None]  # what a model writes that reads the whole prompt
PLANS: dict[str, dict] = {
    "quick": {
        "lengths": (384, K, 8 * K, 64 * K, MILLION),
        "trials": 20,
        "causal": K,
        "causal_trials": 10,
        "llm": 8 * K,
        "llm-chat": 8 * K,
        "llm_trials": 10,
    },
    "full": {
        "lengths": SHORT_LENGTHS + LONG_LENGTHS,
        "trials": 100,
        "causal": 8 * K,
        "causal_trials": 20,
        "llm": 8 * K,
        "llm-chat": K,
        "llm_trials": 10,
    },
    "gpu": {
        "lengths": (128, 384, K, 4 * K, 16 * K, *LONG_LENGTHS),
        "trials": 500,
        "causal": 8 * K,
        "causal_trials": 100,
        "llm": 256 * K,
        "llm-chat": 256 * K,
        "llm_trials": 100,
    },
}


def sources() -> dict[str, str]:
    """Which language model reads along, for the record; nothing where MEMLAB_LLM names none."""
    return checkpoints.sources() if runtime.path_setting("MEMLAB_LLM") else {}


def run(profile: str, seed: int = 0) -> Iterator[Record]:
    """Every reader on every cell; one record a trial, and three of cost for every length."""
    for unit in units(profile, seed):
        yield from unit.measure()


def units(profile: str, seed: int) -> Iterator[Unit]:
    """The book's own readers; and the language model that MEMLAB_LLM names, if it does, which reads
    the same prompts on its own."""
    yield Unit(WHOLE, partial(by_own_readers, profile, seed))
    if runtime.path_setting("MEMLAB_LLM"):
        yield Unit("language model", partial(by_language_model, profile, seed))


def by_own_readers(profile: str, seed: int) -> Iterator[Record]:
    """The readers of stored rows, and the causal transformer as far as it is asked."""
    plan = PLANS[profile]
    model = model_for(profile, seed)
    whole = _causal_readers()
    for length in plan["lengths"]:
        shared: dict = {}
        # Beyond a million tokens latents are kept in a byte a number.
        dtype = torch.float32 if length <= MILLION else torch.int8
        for kind in KINDS:
            cell = Cell(
                model,
                kind,
                length,
                trials=plan["trials"],
                seed=seed,
                shared=shared,
                dtype=dtype,
            )
            readers = _from_rows(cell) | _from_text(cell, whole, plan)
            for name, outcomes in readers.items():
                yield from _records(name, cell.kind, length, outcomes, seed)
            yield from _scores(cell, seed)
            if kind == "needle":
                yield from _costs(cell, seed)
            print(f"needles: {length:>9,} tokens, {kind}", file=sys.stderr)


def by_language_model(profile: str, seed: int) -> Iterator[Record]:
    """What the language model that MEMLAB_LLM names writes behind the cue, and replies to the
    question where it has a form of chat, as far as its window and the profile reach."""
    large = any_language_model.named()
    if large is None:
        raise ValueError("expected in MEMLAB_LLM the name of a language model, got none")
    answers: dict[str, Answer] = {"llm": large.answer}
    if large.chats:
        answers["llm-chat"] = large.reply
    plan = PLANS[profile]
    for length, kind, (name, answer) in product(plan["lengths"], KINDS, answers.items()):
        if length <= plan[name]:
            outcomes = said_by(answer, kind, length, plan["llm_trials"], seed)
            yield from _records(name, kind, length, outcomes, seed)
            print(f"needles: {length:>9,} tokens, {kind}, {name}", file=sys.stderr)


def _causal_readers() -> dict[str, Answer]:
    """The transformers of equal size, which read the whole prompt, by name."""
    causal = causal_baseline.load_causal()
    windowed = causal_baseline.variant(causal, window=causal_baseline.WINDOW)
    return {
        "causal": partial(causal_baseline.answer, causal, tokenizer=weights.tokenizer()),
        "causal-window": partial(causal_baseline.answer, windowed, tokenizer=weights.tokenizer()),
    }


def _from_rows(cell: Cell) -> dict[str, list[Outcome]]:
    """What the readers of stored rows answer."""
    found = {
        "memory": cell.memory(),
        "nearest": cell.nearest(),
        "oracle": cell.oracle(),
        "linear": cell.linear(),
    }
    if cell.length <= MILLION:  # beyond a million tokens there is no word index
        found["bm25"] = cell.bm25()
    return found


def _from_text(
    cell: Cell,
    whole: dict[str, Answer],
    plan: dict,
) -> dict[str, list[Outcome]]:
    """What the models that read the whole prompt answer, where the prompt is not too long."""
    found = {}
    for name, answer in whole.items():
        no_other = name == "causal-window" and cell.length <= causal_baseline.WINDOW
        if cell.length <= plan["causal"] and not no_other:
            found[name] = cell.said_by(answer, plan["causal_trials"])
    return found


def _records(
    name: str,
    kind: str,
    length: int,
    outcomes: list[Outcome],
    seed: int,
) -> Iterator[Record]:
    for trial, outcome in enumerate(outcomes):
        meta = {"tokens": length, "depth": round(measure.depth(trial), 2)}
        right = float(outcome.right)
        yield Record("needles", name, kind, "recall", right, seed, trial, meta)
        if outcome.address is not None:
            hit = float(outcome.address)
            yield Record("needles", name, kind, "address", hit, seed, trial, meta)


def _scores(cell: Cell, seed: int) -> Iterator[Record]:
    meta = {"tokens": cell.length}
    own, rivals = cell.scores
    for metric, values in (("own score", own), ("rival score", rivals)):
        for trial, value in enumerate(values):
            yield Record("needles", "memory", cell.kind, metric, value, seed, trial, meta)


def _costs(cell: Cell, seed: int) -> Iterator[Record]:
    first = cell.prompts[0]
    haystack = [segment for row, segment in enumerate(first.segments) if row not in first.rows]
    tokens = sum(map(len, haystack))
    median = sorted(cell.read_seconds)[len(cell.read_seconds) // 2]
    values = {
        "write_seconds": cell.write_seconds,
        "read_ms": 1e3 * median,
        "bytes_per_token": cell.bases[0].nbytes / tokens,
    }
    meta = {"tokens": cell.length}
    for metric, value in values.items():
        yield Record("needles", "memory", "cost", metric, value, seed, 0, meta)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """By length: recall of passkey and needle, seconds to encode and write, milliseconds to look
    up, bytes a token."""
    own = data[data["model"] == "memory"]
    recall = own[own["metric"] == "recall"]
    by_task = recall.pivot_table(index="tokens", columns="task", values="value")
    cost = own[own["task"] == "cost"]
    by_metric = cost.pivot_table(index="tokens", columns="metric", values="value")
    digits = {
        "passkey": 2,
        "needle": 2,
        "write_seconds": 1,
        "read_ms": 1,
        "bytes_per_token": 0,
    }
    wide = by_task.join(by_metric)[list(digits)]
    return wide.round(digits).reset_index()


def readers(data: pd.DataFrame) -> pd.DataFrame:
    """Recall by length (mean of both tasks) for every reader; NaN where a reader was not run."""
    recall = data[data["metric"] == "recall"]
    wide = recall.pivot_table(index="tokens", columns="model", values="value").round(2)
    rows = ["memory", "nearest", "oracle", "bm25", "linear"]
    order = [*rows, "causal", "causal-window", "llm", "llm-chat"]
    return wide[[name for name in order if name in wide]].reset_index()


more_tables = (readers,)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N1: recall far beyond the trained length; N2: cost of the store; N4: the linear read-out,
    untrained."""
    recall = data[data["metric"] == "recall"]
    found = [_n1(recall), _n2(data)]
    if (recall["model"] == "linear").any():
        found.append(_n4(recall))
    return found


def _n1(recall: pd.DataFrame) -> Verdict:
    own = recall[recall["model"] == "memory"]
    cells = own.groupby(["task", "tokens"])["value"]
    worst = cells.mean().min()
    trials = int(cells.size().min())
    low, _ = wilson(cells.sum().min(), trials)
    longest = int(recall["tokens"].max())
    return Verdict(
        "N1",
        "supported" if worst >= 0.95 else "qualified",
        f"worst cell to {longest:,} tokens: recall {worst:.2f} (n={trials}, Wilson from {low:.2f})",
    )


def _n2(data: pd.DataFrame) -> Verdict:
    cost = data[data["task"] == "cost"]
    long = cost[cost["tokens"] >= K].set_index(["metric", "tokens"])["value"]
    size = long["bytes_per_token"]
    recall = data[data["metric"] == "recall"]
    longest = int(recall["tokens"].max())
    return Verdict(
        "N2",
        "supported" if size.max() / size.iloc[0] < 1.2 else "qualified",
        f"bytes a token between {size.min():.0f} and {size.max():.0f} from 1K tokens on; one"
        f" look-up in {longest:,} tokens {long['read_ms'][longest]:.1f} ms",
    )


def _n4(recall: pd.DataFrame) -> Verdict:
    linear = recall[recall["model"] == "linear"]
    far = linear[linear["tokens"] >= 16 * K]["value"].mean()
    return Verdict(
        "N4",
        "refuted" if far <= 0.1 else "qualified",
        f"linear read-out of the same keys, untrained for it, from 16K tokens on: recall {far:.2f}",
    )
