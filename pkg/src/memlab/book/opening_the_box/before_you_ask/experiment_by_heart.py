"""Chapter 7: what a pretrained language model knows by heart of texts that many people copied,
beside the same words in another order and texts that it cannot have read.

The model is the one that MEMLAB_LLM names, or SmolLM2-135M-Instruct where its package is installed
(requirements-llm.txt).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch

from memlab import evaluation, runtime
from memlab.book.opening_the_box.before_you_ask import by_heart, known_texts
from memlab.book.units import Unit
from memlab.models import checkpoints
from memlab.results import Record, Verdict

NAME = "by-heart"
sources = checkpoints.sources  # which model is asked, for the record
# Passages of a text, and of the same words in another order.
SIZES = {"quick": (4, 2), "full": (24, 12), "gpu": (200, 100)}
ORDER = "in order"
SHUFFLED = "words shuffled"
DOCUMENTATION = "documentation"  # the model may have met it or not: in no line-up of the verdict
DRAWS = 1000  # of passages, for an interval


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One a text; the seed shuffles words."""
    for name in known_texts.TEXTS:
        yield Unit(name, partial(one_text, name, *SIZES[profile], seed))


def one_text(name: str, most: int, most_shuffled: int, seed: int) -> Iterator[Record]:
    """Every passage of a text, and of its words shuffled; nothing but a line where the text is not
    on this system."""
    words = known_texts.read(name)
    if words is None:
        return
    model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
    versions = {
        ORDER: (words, most),
        SHUFFLED: (known_texts.shuffled(words, seed), most_shuffled),
    }
    for version, (said, count) in versions.items():
        told = by_heart.passages(tokenizer, said, count)
        for index, found in enumerate(by_heart.read(model, told)):
            for metric, value in found.items():
                meta = {"version": version, "characters": len(words)}
                yield Record(NAME, "llm", name, metric, value, seed, index, meta)


# ---- what is printed -----------------------------------------------------------------------------

COLUMNS = {
    "bits": "bits",
    "bits, other opening": "other opening",
    "bits, no opening": "none",
    "first choices": "first choices",
    "run": "run",
    "found": "found",
    "recited": "recited",
}


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Each text: its passages; bits a token of a continuation behind its own opening, another's,
    and none; the share of first choices; how many tokens run right from the start; passages found
    in 10,000 tries, and recited. Means over passages."""
    rows = data[data.version == ORDER]
    wide = rows.pivot_table("value", "task", "metric", sort=False)
    made = wide[list(COLUMNS)].rename(columns=COLUMNS).round(2)
    made["run"] = made["run"].round(1)
    counts = rows[rows.metric == "bits"].groupby("task").size()
    made.insert(0, "passages", counts)
    return made.rename_axis("text").rename_axis(None, axis=1).reset_index()


def shuffled(data: pd.DataFrame) -> pd.DataFrame:
    """The same for the words of each text in another order."""
    return table(data.assign(version=data.version.map({SHUFFLED: ORDER, ORDER: SHUFFLED})))


def saved(data: pd.DataFrame) -> pd.DataFrame:
    """Each text: passages, bits a token behind the true opening, how many of them it saves against
    another passage's ("saved"), and the 95 % interval of that (normal, over passages)."""
    groups = _passages(data).groupby("task", sort=False)
    mean, wide = groups.spared.mean(), 1.96 * groups.spared.sem()
    parts = {
        "passages": groups.size(),
        "bits": groups.bits.mean(),
        "saved": mean,
        "low": mean - wide,
        "high": mean + wide,
    }
    return pd.DataFrame(parts).round(2).rename_axis("text").reset_index()


def lineups(data: pd.DataFrame) -> pd.DataFrame:
    """Which of two kinds of passages a reader takes for the known one: AUC of the bits that the
    opening saves, and of few bits, with bootstrap intervals (95 %, over passages)."""
    found = _passages(data)
    known = found[~found.task.isin([*known_texts.UNKNOWN, DOCUMENTATION])]
    of = partial(_of, found)
    pairs = {
        "famous texts, this book's own words": (known, of(known_texts.UNKNOWN[0])),
        "famous texts, documentation": (known, of(DOCUMENTATION)),
        "Bible: often quoted, chapters drawn": (
            of("Bible, often quoted"),
            of("Bible, chapters drawn"),
        ),
    }
    rows = []
    for name, (first, second) in pairs.items():
        if len(first) and len(second):
            by_saved = _auc_span(first.spared, second.spared)
            by_bits = _auc_span(-first.bits, -second.bits)
            rows.append((name, f"{len(first)}, {len(second)}", by_saved, by_bits))
    columns = ["line-up", "passages", "AUC by bits saved", "AUC by bits"]
    return pd.DataFrame(rows, columns=columns)


def _of(found: pd.DataFrame, name: str) -> pd.DataFrame:
    return found[found.task == name]


def _auc_span(first: pd.Series, second: pd.Series) -> str:
    """AUC and its interval as text, drawn anew in the same way each time."""
    a, b = (torch.tensor(one.to_numpy()) for one in (first, second))
    draw = runtime.generator(0, NAME, "bootstrap")
    again = torch.tensor(
        [
            evaluation.auc(
                a[torch.randint(len(a), (len(a),), generator=draw)],
                b[torch.randint(len(b), (len(b),), generator=draw)],
            )
            for _ in range(DRAWS)
        ]
    )
    low, high = again.quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{evaluation.auc(a, b):.2f} ({low:.2f}–{high:.2f})"


more_tables = (shuffled, saved, lineups)


# ---- verdicts ------------------------------------------------------------------------------------
# Fixed on 2026-11-30, before any recorded run.

LEAST = 20  # passages that are not recited, of texts that may be known


def _passages(data: pd.DataFrame) -> pd.DataFrame:
    rows = data[data.version == ORDER]
    wide = rows.pivot_table("value", ["task", "index"], "metric", sort=False).reset_index()
    return wide.assign(spared=wide["bits, other opening"] - wide["bits"])


def _s1(data: pd.DataFrame) -> Verdict:
    """Only a query, answered by recital, tells: not so, if among passages of which not even ten
    tokens come back the opening still spares more bits than in texts that nobody can have read."""
    found = _passages(data)
    unknown = found[found.task == known_texts.UNKNOWN[0]]
    known = found[~found.task.isin([*known_texts.UNKNOWN, DOCUMENTATION])]
    silent = known[known.run < 10]
    if len(unknown) < LEAST or len(silent) < LEAST:
        return Verdict.lacking("S1", "passages enough that are not recited")
    a, b = (torch.tensor(rows.spared.to_numpy()) for rows in (silent, unknown))
    told = evaluation.auc(a, b)
    last = known.recited.mean()
    said = (
        f"what a pretrained model read: {last:.2f} of {len(known)} passages recited; of the"
        f" {len(silent)} that do not begin to come back, the bits that the true opening spares"
        f" tell them from a text written after the model with AUC {told:.2f}"
    )
    # That one instrument finds nothing does not support that none does.
    return Verdict("S1", "qualified" if told >= 0.8 else "not testable here", said)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S1, only a query can tell, for what one pretrained model read before anybody here asked."""
    return [_s1(data)]
