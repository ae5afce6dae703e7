"""Chapter 11, beside it: how far the causal baseline looks, by length: as it comes, through a
sliding window, and with its positions stretched by YaRN at test time.

The shipped weights are read, nothing is trained. `python -m memlab train causal` made them; the
loss of that training stands in the recorded file before the recall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
from transformers import Qwen2ForCausalLM

from memlab import evaluation, weights
from memlab.book.outside_the_weights.needles import measure
from memlab.book.units import Unit
from memlab.corpora import needles
from memlab.corpora.tokenization import encoder
from memlab.models import causal_baseline
from memlab.models.causal_baseline import WINDOW
from memlab.results import Record, Verdict

SPLIT = "test"  # the weights were chosen on the wordings of "dev"


@dataclass(frozen=True)
class Sweep:
    """One variant of the baseline at several lengths. Ten depths take turns: `trials` is a multiple
    of ten, for each kind of fact."""

    model: str  # causal, causal-window or causal-yarn
    lengths: tuple[int, ...]  # tokens of the prompt, its cue included
    trials: int
    source: str = "documentation"  # the haystack
    kinds: tuple[str, ...] = needles.KINDS


QUICK = (
    Sweep("causal", (WINDOW, 2 * WINDOW, 2048), 10),
    Sweep("causal-window", (2 * WINDOW,), 10),
    Sweep("causal-yarn", (2048,), 10),
)
# Long prompts get fewer trials: the cost grows with the square of the length.
FULL = (
    Sweep("causal", (128, 256, 384, 512, 768, 1024, 2048), 50),
    Sweep("causal-window", (384, 512, 1024, 2048), 50),
    Sweep("causal-yarn", (512, 768, 1024, 2048), 50),
    Sweep("causal", (128, 384, 1024, 2048), 50, "filler", ("passkey",)),
    Sweep("causal", (4096, 8192), 20),
    Sweep("causal-window", (4096,), 20),
    Sweep("causal-yarn", (4096, 8192), 20),
    Sweep("causal-yarn", (16_384,), 10),
)
PLANS = {
    "quick": QUICK,
    "full": FULL,
    "gpu": FULL,
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit a variant, haystack and length."""
    for sweep in PLANS[profile]:
        for tokens in sweep.lengths:
            name = f"{sweep.model}, {sweep.source}, {tokens} tokens"
            yield Unit(name, partial(recall, sweep, tokens, seed))


def recall(
    sweep: Sweep,
    tokens: int,
    seed: int = 0,
) -> Iterator[Record]:
    """Recall of every trial (0 or 1) by `measure.correct`, and for needles the share of the
    answer's content words, on the prompts of `needles.tasks_for`."""
    model = _variant(sweep.model, tokens)
    tokenizer = weights.tokenizer()
    for kind in sweep.kinds:
        for trial in range(sweep.trials):
            prompt = needles.tasks_for(
                kind, tokens, trial, seed, SPLIT, encoder(tokenizer), source=sweep.source
            )
            said = causal_baseline.answer(model, prompt, tokenizer)
            values = {"recall": float(measure.correct(prompt.fact, said))}
            if kind == "needle":
                values["words"] = evaluation.content_words(said, prompt.fact.answer)
            meta = {
                "tokens": tokens,
                "depth": round(prompt.depth, 2),
                "split": SPLIT,
                "haystack": sweep.source,
            }
            for metric, value in values.items():
                yield Record("causal-training", sweep.model, kind, metric, value, seed, trial, meta)


def _variant(name: str, tokens: int) -> Qwen2ForCausalLM:
    shipped = causal_baseline.load_causal()
    if name == "causal-window":
        return causal_baseline.variant(shipped, window=WINDOW)
    if name == "causal-yarn":
        return causal_baseline.variant(shipped, rope="yarn", factor=tokens / WINDOW)
    return shipped


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Recall of passkey and needle by variant, haystack and length; NaN where it was not asked."""
    found = data[data["metric"] == "recall"]
    wide = found.pivot_table(
        index=["model", "haystack", "tokens"],
        columns="task",
        values="value",
        sort=False,
    )
    return wide.round(2).reset_index()


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N7: does a model trained on short contexts collapse just beyond them?"""
    found = data[(data["metric"] == "recall") & (data["haystack"] == "documentation")]
    by_length = found.groupby(["model", "tokens"])["value"].mean()
    plain = by_length["causal"]
    stretched = by_length["causal-yarn"]
    both = plain.index.intersection(stretched.index)
    inside = plain[plain.index <= WINDOW].mean()
    beyond = plain[2 * WINDOW]
    farthest = both.max()
    evidence = (
        f"recall {inside:.2f} to {WINDOW} tokens, {beyond:.2f} at twice as many,"
        f" {plain[farthest]:.2f} at {farthest:,}; there {stretched[farthest]:.2f} with positions"
        " stretched by YaRN"
    )
    return [Verdict("N7", _collapse(inside, beyond, plain[farthest]), evidence)]


def _collapse(
    inside: float,
    beyond: float,
    far: float,
) -> str:
    """A collapse halves recall within an octave; a fade takes longer; a model that keeps nine
    tenths far away shows neither. These bars were written down on 2026-11-30, with the record of
    the same weights by another scorer in sight: they restate a verdict, they do not test it."""
    if beyond < inside / 2:
        return "supported"
    return "qualified" if far < 0.9 * inside else "refuted"
