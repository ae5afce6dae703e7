"""Chapter 12: what does it cost? Seconds and bytes of every stage of a memory over the length of a
text, beside BM25, attention over the same text, a linear memory and (where it is installed) a
sentence encoder; how far each stage is from what the machine could do; whole runs in a process of
their own; and Larimar's iteration beside its solution."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch

from memlab import runtime
from memlab.book.outside_the_weights.what_it_costs import measure, tables, whole_runs
from memlab.book.units import Unit
from memlab.decoder import pretrained
from memlab.results import Record, Verdict

K = 1024
M = 1024 * 1024
Facts = dict[str, float]  # by name, `tables.facts`
# whole: runs in a process of their own; store: tokens for which rows are drawn, since their text is
# not needed.
PLANS: dict[str, dict[str, Any]] = {
    "quick": {
        "lengths": (K, 4 * K, 16 * K, 64 * K),
        "attention": (K, 4 * K, 8 * K),
        "recall": (16 * K, 20),
        "whole": ((64 * K, "int8"), (256 * K, "int8")),
        "store": (),
        "meaning": 0,
        "shards": 0,
    },
    "full": {
        "lengths": (K, 4 * K, 16 * K, 64 * K, 256 * K, M),
        "attention": (K, 2 * K, 4 * K, 8 * K, 16 * K, 32 * K),
        "recall": (M, 100),
        "whole": ((64 * K, "int8"), (M, "int8"), (M, "float32"), (10 * M, "int8")),
        "store": (10 * M,),
        "meaning": 16 * K,
        "shards": 400_000,
    },
}
PLANS["gpu"] = {
    **PLANS["full"],
    "attention": (*PLANS["full"]["attention"], 64 * K, 128 * K),
    "shards": 0,
}


def records(
    task: str,
    system: str,
    found: measure.Costs,
    seed: int,
    **meta: Any,
) -> Iterator[Record]:
    """One record a number."""
    for metric, value in found.items():
        yield Record("what-it-costs", system, task, metric, float(value), seed, 0, meta)


def at_length(
    length: int,
    device: torch.device,
    seed: int,
) -> Iterator[Record]:
    """Every system that reads the text itself."""
    model: Any = pretrained.shipped().to(device)
    segments = measure.text(model, length, seed)
    for system, found in measure.costs_of_reading(model, segments):
        yield from records("length", system, found, seed, tokens=length)
    index = measure.words(measure.texts_of(segments))
    yield from records("length", "bm25", index, seed, tokens=length)


def by_meaning(
    length: int,
    device: torch.device,
    seed: int,
) -> Iterator[Record]:
    """The sentence encoder, where it is installed; otherwise a line that says so, and no record."""
    encoder = measure.sentence_encoder(device)
    if encoder is None:
        print(
            "what-it-costs: no sentence encoder is installed; its cost is left out", file=sys.stderr
        )
        return
    texts = measure.texts_of(measure.text(pretrained.shipped(), length, seed))
    found = measure.meaning(encoder, texts)
    yield from records("length", "sentences", found, seed, tokens=length)


def of_rows(
    length: int,
    device: torch.device,
    seed: int,
) -> Iterator[Record]:
    """The memory alone, with drawn rows in the place of a text."""
    model: Any = pretrained.shipped().to(device)
    for system, found in measure.drawn(model, length, seed):
        yield from records("length", system, found, seed, tokens=length)


def in_attention(
    lengths: tuple[int, ...],
    device: torch.device,
    seed: int,
) -> Iterator[Record]:
    """The causal transformer over contexts of these lengths."""
    for length, found in measure.attention(lengths, device):
        yield from records("length", "attention", found, seed, tokens=length)


def of_answers(
    seed: int,
    length: int,
    trials: int,
) -> Iterator[Record]:
    """Recall of pass keys and needles with float32 and int8 rows."""
    for kind, dtype, right in whole_runs.recall(pretrained.shipped(), length, trials, seed):
        for trial, one in enumerate(right):
            meta = {"tokens": length}
            yield Record("what-it-costs", dtype, kind, "recall", float(one), seed, trial, meta)


def once(
    task: str,
    system: str,
    stage: Callable[[], measure.Costs],
    seed: int,
    **meta: Any,
) -> Iterator[Record]:
    """What a function returns."""
    yield from records(task, system, stage(), seed, **meta)


def together(device: torch.device, seed: int) -> Iterator[Record]:
    """Each stage beside its limit, and Larimar's two ways."""
    model: Any = pretrained.shipped().to(device)
    for stage, found in measure.shares(model):
        yield from records("limit", stage, found, seed)
    for name, found in measure.historic():
        yield from records("historic", name, found, seed)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit a length, and one for each of the other questions."""
    plan = PLANS[profile]
    device = runtime.device("cuda" if profile == "gpu" else "cpu")
    for length in plan["lengths"]:
        yield Unit(f"{length} tokens", partial(at_length, length, device, seed))
    yield Unit("attention", partial(in_attention, plan["attention"], device, seed))
    yield Unit("limits", partial(together, device, seed))
    yield Unit("recall", partial(of_answers, seed, *plan["recall"]))
    if plan["meaning"]:
        yield Unit("sentence encoder", partial(by_meaning, plan["meaning"], device, seed))
    for length in plan["store"]:
        yield Unit(f"rows of {length} tokens", partial(of_rows, length, device, seed))
    for length, dtype in plan["whole"]:
        run = partial(whole_runs.in_a_child, length, dtype, seed)
        all_of_it = partial(once, "whole", dtype, run, seed, tokens=length)
        yield Unit(f"whole, {length} tokens, {dtype}", all_of_it)
    if plan["shards"] and runtime.cores() > 1:
        width = pretrained.shipped().config.key_width
        both = partial(whole_runs.sharded, plan["shards"], width)
        yield Unit("two processes", partial(once, "shards", "sharded", both, seed))


table = tables.stages
more_tables = (tables.systems, tables.meetings, tables.limits, tables.whole)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N2 and N40: what the paper says of the cost; N41 to N45: ours."""
    at = {name: float(value) for name, value in tables.facts(data).items()}
    return [judge(at) for judge in (_n2, _n40, _n41, _n42, _n43, _n44, _n45)]


def _verdict(
    claim: str,
    verdict: str,
    at: Facts,
) -> Verdict:
    return Verdict(claim, verdict, tables.SAID[claim].format(**at))


def _supported_if(holds: bool) -> str:
    return "supported" if holds else "qualified"


def _n2(at: Facts) -> Verdict:
    """A token costs the same bytes and seconds at every length."""
    same = at["bytes growth"] < 1.1 and at["build growth"] < 1.2
    return _verdict("N2", _supported_if(same), at)


def _n40(at: Facts) -> Verdict:
    """What is needed beside the rows does not grow with the text."""
    holds = at["working"] < at["text growth"] / 2
    return _verdict("N40", "qualified" if holds else "refuted", at)


def _n41(at: Facts) -> Verdict:
    """Encoding is by far the dearest stage."""
    return _verdict("N41", _supported_if(at["encode over rest"] >= 10), at)


def _n42(at: Facts) -> Verdict:
    """Attention is the dearer, and the more so the longer the text."""
    grows = at["dearer most"] > max(2, at["dearer least"])
    return _verdict("N42", _supported_if(grows), at)


def _n43(at: Facts) -> Verdict:
    """BM25 is the cheaper at every length."""
    return _verdict("N43", _supported_if(at["bm25 least"] > 1), at)


def _n44(at: Facts) -> Verdict:
    """Larimar's memory solved is faster and more exact than iterated."""
    faster = at["write ratio"] >= 5 and at["read ratio"] >= 500
    return _verdict("N44", _supported_if(faster and at["error"] <= 1e-5), at)


def _n45(at: Facts) -> Verdict:
    """Rows in int8 lose no answers."""
    kept = at["recall lost"] <= 0.01 and at["int8 bytes"] <= 64
    return _verdict("N45", _supported_if(kept), at)
