"""Chapter 10a: can one matrix hold it? Texts written from a matrix of fixed size, rung by rung, by
load and by cue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch

from memlab.book.outside_the_weights.one_matrix import measure, tables, training
from memlab.book.outside_the_weights.one_matrix.model import FixedMemory
from memlab.book.units import Unit
from memlab.decoder import pretrained
from memlab.results import Record, Verdict

NAME = "one-matrix"
SEEDS = 3
LOADS = (16, 64, 128, 256, 384, 512, 1024)
ASKED = {"full": 150, "gpu": 512}
# for rungs below the last, and (to 1024) the shipped weights
FEW_LOADS = (64, 256, 512)
FEW = 100


def _counted(
    rung: str, ep: measure.Episode, said: list[str], seed: int, task: str, **at: Any
) -> Iterator[Record]:
    for length, (right, count) in measure.tally(ep, said).items():
        meta = {
            **at,
            "load": len(ep.keys),
            "tokens": length,
            "n": count,
        }
        yield Record(NAME, rung, task, "exact", right / count, seed, meta=meta)


def examine(
    model: FixedMemory,
    rung: str,
    loads: tuple[int, ...],
    asked: int,
    seed: int,
    *,
    last: bool,
    split: str = "test",
) -> Iterator[Record]:
    """All loads of a rung; of the last one also a second read, slots, slots of as many floats, and
    the whole error."""
    limit = model.config.segment_tokens
    stored = measure.texts(split, max(loads), limit, seed=seed)
    known = measure.texts("train", max(loads), limit, seed=seed)
    for load in loads:
        practice = measure.episode(model, known[:load], min(load, 256))
        ridge = measure.best_ridge(model, practice)
        ep = measure.episode(model, stored[:load], min(load, asked))
        said = measure.write(model, ep, measure.linear(model, ep, ridge))
        yield from _counted(rung, ep, said, seed, "once")
        if last or rung == "through the memory":
            better = measure.second_ridge(model, practice, ridge)
            second = measure.second_read(model, ep, said, better)
            yield from _counted(rung, ep, measure.write(model, ep, second), seed, "again")
            yield from _until_confirmed(model, rung, ep, said, seed)
        if last:
            yield from _slots(model, rung, ep, seed)
            meta = {"load": load, "ridge": ridge}
            for metric, value in measure.errors(model, ep, ridge).items():
                yield Record(NAME, rung, "read", metric, value, seed, meta=meta)


def _until_confirmed(
    model: FixedMemory,
    rung: str,
    ep: measure.Episode,
    said: list[str],
    seed: int,
) -> Iterator[Record]:
    """Right answers of reads until the memory confirms them, and how many it confirms."""
    found, doubts = measure.insist(model, ep, said)
    yield from _counted(rung, ep, found, seed, "insist")
    right = torch.tensor(measure.right(ep, found))
    sure = (doubts < measure.SURE).float()
    shares = {
        "sure": sure,
        "sure and right": sure * right,
        "right": right,
    }
    for metric, each in shares.items():
        meta = {"load": len(ep.keys), "n": len(each)}
        yield Record(NAME, rung, "doubt", metric, float(each.mean()), seed, meta=meta)


def _slots(
    model: FixedMemory,
    rung: str,
    ep: measure.Episode,
    seed: int,
) -> Iterator[Record]:
    """Right answers of slots: one a text, and as many as have the floats of the matrix."""
    yield from _counted(rung, ep, measure.write(model, ep, measure.slots(ep)), seed, "slots")
    for size, room in measure.rooms(model).items():
        if len(ep.keys) > room:
            said = measure.write(model, ep, measure.slots(ep, room))
            yield from _counted(rung, ep, said, seed, "slots", floats=size)


def of_seed(profile: str, seed: int) -> Iterator[Record]:
    """All rungs of one training, the loss of each step that was reported among the records."""
    plan = training.PLANS[profile]
    done = 0
    rungs = training.climb(pretrained.shipped(), plan, seed, report=training.progress)
    for rung, model, log in rungs:
        for row in log.rows:
            step = done + int(row["step"])
            meta = {"seconds": round(row["seconds"], 1)}
            yield Record(NAME, rung, "training", "loss", row["loss"], seed, step, meta)
        if log.rows:
            done += int(log.rows[-1]["step"])
        if rung != "whitened":
            yield from examine(model.eval(), rung, FEW_LOADS, FEW, seed, last=False)
            continue
        pretrained.remember(model, profile, seed, training.place(profile, seed))
        yield from examine(model.eval(), rung, LOADS, ASKED[profile], seed, last=True)


def old_way(profile: str, seed: int) -> Iterator[Record]:
    """Larimar's address through the memory, trained for as many steps."""
    plan = training.PLANS[profile]
    model, _ = training.historic(pretrained.shipped(), plan, seed, report=training.progress)
    yield from examine(model, "through the memory", FEW_LOADS, FEW, seed, last=False)


def units(profile: str, seed: int) -> Iterator[Unit]:
    """quick: the shipped weights. Otherwise each seed trained and looked at rung by rung, then the
    historic address."""
    if profile == "quick":
        loads = (*FEW_LOADS, 1024)
        yield Unit(
            "shipped", lambda: examine(training.shipped(), "whitened", loads, FEW, 0, last=True)
        )
        return
    yield from (Unit(f"seed {s}", partial(of_seed, profile, s)) for s in range(seed, seed + SEEDS))
    yield Unit(f"seed {seed}, through the memory", partial(old_way, profile, seed))


table = tables.table
more_tables = (tables.confirmed, tables.law)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N4 and N22: what Larimar's paper says of the store and of its address; N20, N21 and N23: what
    we add."""
    said = [_n4(data), _n20(data), _n21(data), _n23(data)]
    if len(measure.recall(data, "insist", "through the memory")):
        said.append(_n22(data))
    return said


def _mean(
    data: pd.DataFrame,
    task: str,
    rung: str = "whitened",
    floats: str | None = None,
) -> pd.Series:
    """Share of texts exact, by load."""
    return measure.recall(data, task, rung, floats=floats).set_index("load")["mean"]


def _seeds(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _n4(data: pd.DataFrame) -> Verdict:
    """The matrix can be a store."""
    held = _mean(data, "insist")
    return Verdict(
        "N4",
        "qualified" if held[256] >= 0.8 else "refuted",
        "texts exact, read until confirmed: "
        f"{held[256]:.3f} at E = K/2, {held[512]:.3f} at E = K, trained for it {_seeds(data)}",
    )


def _n20(data: pd.DataFrame) -> Verdict:
    """The error of a read follows the law of random keys."""
    read = tables.law(data)
    off = (read["error"] - read["law"]).loc[:511].abs().max()
    return Verdict(
        "N20",
        "supported" if off <= 0.03 else "refuted",
        f"error off the law for random keys by at most {off:.3f} below E = K {_seeds(data)}",
    )


def _n21(data: pd.DataFrame) -> Verdict:
    """The matrix holds more than slots of as many floats."""
    once = _mean(data, "once")
    held = _mean(data, "insist")
    few = _mean(data, "slots", floats="matrix")
    full = _mean(data, "slots")
    ahead = (once - few).dropna()
    verdict = "refuted"
    if ahead.min() > 0:
        verdict = "supported"
    elif ahead.max() > 0:
        verdict = "qualified"
    return Verdict(
        "N21",
        verdict,
        f"the matrix read once and slots of its floats: {once[512]:.3f} and {few[512]:.3f} at E"
        f" = K, {once[1024]:.3f} and {few[1024]:.3f} at E = 2K; read until confirmed, with KᵀK,"
        f" so floats of 512 slots: {held[512]:.3f} and {full[512]:.3f} at E = K {_seeds(data)}",
    )


def _n22(data: pd.DataFrame) -> Verdict:
    """Larimar's address through the memory is as good as a key."""
    held = _mean(data, "insist")
    low = _mean(data, "insist", "through the memory")
    return Verdict(
        "N22",
        "supported" if low[256] >= held[256] - 0.02 else "refuted",
        f"w = z M⁺ {low[64]:.3f} at K/8, {low[256]:.3f} at K/2, keys {held[256]:.3f}",
    )


def _n23(data: pd.DataFrame) -> Verdict:
    """The memory knows which of its answers are right."""
    told = tables.confirmed(data).loc[:512]
    sure_and_right = told["sure and right"].sum()
    precise = sure_and_right / max(1, told["sure"].sum())
    seen = sure_and_right / max(1, told["right"].sum())
    verdict = "qualified"
    if precise < 0.98:
        verdict = "refuted"
    elif seen >= 0.8:
        verdict = "supported"
    return Verdict(
        "N23",
        verdict,
        f"of confirmed answers {precise:.3f} are right, and {seen:.3f} of the right ones are"
        f" confirmed, up to E = K {_seeds(data)}",
    )
