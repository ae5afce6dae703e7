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

NAME, SEEDS = "one-matrix", 3
LOADS, ASKED = (16, 64, 128, 256, 384, 512, 1024), {"full": 150, "gpu": 512}
FEW_LOADS, FEW = (64, 256, 512), 100  # for rungs below the last, and (to 1024) the shipped weights


def _counted(
    rung: str, ep: measure.Episode, said: list[str], seed: int, task: str, **at: Any
) -> Iterator[Record]:
    for length, (right, count) in measure.tally(ep, said).items():
        meta = {**at, "load": len(ep.keys), "tokens": length, "n": count}
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
    stored, known = (
        measure.texts(name, max(loads), model.config.segment_tokens, seed=seed)
        for name in (split, "train")
    )
    for load in loads:
        practice = measure.episode(model, known[:load], min(load, 256))
        ridge = measure.best_ridge(model, practice)
        ep = measure.episode(model, stored[:load], min(load, asked))
        said = measure.write(model, ep, measure.linear(model, ep, ridge))
        yield from _counted(rung, ep, said, seed, "once")
        if last or rung == "through the memory":
            second = measure.second_read(
                model, ep, said, measure.second_ridge(model, practice, ridge)
            )
            yield from _counted(rung, ep, measure.write(model, ep, second), seed, "again")
            found, doubts = measure.insist(model, ep, said)
            yield from _counted(rung, ep, found, seed, "insist")
            right, sure = torch.tensor(measure.right(ep, found)), (doubts < measure.SURE).float()
            for metric, each in (
                ("sure", sure),
                ("sure and right", sure * right),
                ("right", right),
            ):
                yield Record(
                    NAME,
                    rung,
                    "doubt",
                    metric,
                    float(each.mean()),
                    seed,
                    meta={"load": load, "n": len(each)},
                )
        if not last:
            continue
        yield from _counted(rung, ep, measure.write(model, ep, measure.slots(ep)), seed, "slots")
        for size, room in measure.rooms(model).items():
            if load > room:
                yield from _counted(
                    rung,
                    ep,
                    measure.write(model, ep, measure.slots(ep, room)),
                    seed,
                    "slots",
                    floats=size,
                )
        for metric, value in measure.errors(model, ep, ridge).items():
            yield Record(
                NAME, rung, "read", metric, value, seed, meta={"load": load, "ridge": ridge}
            )


def of_seed(profile: str, seed: int) -> Iterator[Record]:
    """All rungs of one training, the loss of each step that was reported among the records."""
    done, plan = 0, training.PLANS[profile]
    for rung, model, log in training.climb(
        pretrained.shipped(), plan, seed, report=training.progress
    ):
        for row in log.rows:
            yield Record(
                NAME,
                rung,
                "training",
                "loss",
                row["loss"],
                seed,
                done + int(row["step"]),
                {"seconds": round(row["seconds"], 1)},
            )
        done += int(log.rows[-1]["step"]) if log.rows else 0
        last = rung == "whitened"
        if last:
            pretrained.remember(model, profile, seed, training.place(profile, seed))
        loads, asked = (LOADS, ASKED[profile]) if last else (FEW_LOADS, FEW)
        yield from examine(model.eval(), rung, loads, asked, seed, last=last)


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


table, more_tables = tables.table, (tables.confirmed, tables.law)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N4 and N22: what Larimar's paper says of the store and of its address; N20, N21 and N23: what
    we add."""

    def mean(task: str, rung: str = "whitened", floats: str | None = None) -> pd.Series:
        return measure.recall(data, task, rung, floats=floats).set_index("load")["mean"]

    once, held, few, full = (
        mean("once"),
        mean("insist"),
        mean("slots", floats="matrix"),
        mean("slots"),
    )
    seeds, read, told = (
        f"({data.seed.nunique()} seeds)",
        tables.law(data),
        tables.confirmed(data).loc[:512],
    )
    ahead, precise = (
        (once - few).dropna(),
        told["sure and right"].sum() / max(1, told["sure"].sum()),
    )
    off = (read["error"] - read["law"]).loc[:511].abs().max()
    seen = told["sure and right"].sum() / max(1, told["right"].sum())
    said = [
        Verdict(
            "N4",
            "qualified" if held[256] >= 0.8 else "refuted",
            "texts exact, read until confirmed: "
            f"{held[256]:.3f} at E = K/2, {held[512]:.3f} at E = K, trained for it {seeds}",
        ),
        Verdict(
            "N20",
            "supported" if off <= 0.03 else "refuted",
            f"error off the law for random keys by at most {off:.3f} below E = K {seeds}",
        ),
        Verdict(
            "N21",
            "supported" if ahead.min() > 0 else "qualified" if ahead.max() > 0 else "refuted",
            f"the matrix read once and slots of its floats: {once[512]:.3f} and {few[512]:.3f} at E"
            f" = K, {once[1024]:.3f} and {few[1024]:.3f} at E = 2K; read until confirmed, with KᵀK,"
            f" so floats of 512 slots: {held[512]:.3f} and {full[512]:.3f} at E = K {seeds}",
        ),
        Verdict(
            "N23",
            "refuted" if precise < 0.98 else "supported" if seen >= 0.8 else "qualified",
            f"of confirmed answers {precise:.3f} are right, and {seen:.3f} of the right ones are"
            f" confirmed, up to E = K {seeds}",
        ),
    ]
    if len(old := measure.recall(data, "insist", "through the memory")):
        low = old.set_index("load")["mean"]
        said.append(
            Verdict(
                "N22",
                "supported" if low[256] >= held[256] - 0.02 else "refuted",
                f"w = z M⁺ {low[64]:.3f} at K/8, {low[256]:.3f} at K/2, keys {held[256]:.3f}",
            )
        )
    return said
