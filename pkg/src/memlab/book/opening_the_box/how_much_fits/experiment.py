"""Chapter 6, how much fits? Boxes of a few thousand weights, filled until they overflow.

A setting is trained once and may belong to several designs, which say what is varied and what is
held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from memlab.book.opening_the_box.how_much_fits import measure
from memlab.book.opening_the_box.how_much_fits.measure import Setting
from memlab.book.units import Unit
from memlab.models import stock
from memlab.results import Record, Verdict

SEEDS = {"quick": 3, "full": 5, "gpu": 4}  # at most 3 where a run is long, 1 for the largest box
HELD = {
    "paper": "poems, epochs",
    "steps": "bits, steps",
    "bits": "bits, epochs",
    "edge": "bits, epochs (overfull)",
    "grown": "bits a weight, epochs",
}  # designs that vary the length of poems, by what they hold
LOADS = (8, 16, 24, 32, 36, 40, 44, 48, 56, 64, 96, 192)  # poems
LENGTHS = (4, 8, 16, 32, 64)  # words of a poem
WIDTHS = (4, 6, 8, 12, 16)
GROWN = ((6, 4), (11, 6), (16, 8), (29, 12), (45, 16))  # words and width


def designs(profile: str) -> dict[str, list[Setting]]:
    """Settings by what is varied: the poems, the box, the length (see HELD), the training; on a
    GPU, the scale."""
    if profile == "gpu":
        return _large()
    if profile == "full":
        return {
            **_small(LOADS, LENGTHS, WIDTHS, GROWN),
            "long": [Setting(96, layers=2, steps=steps) for steps in (250, 1000, 4000, 10000)],
            "linear": [
                Setting(n, dim=d, layers=2, steps=1000)
                for n, d in ((35, 4), (96, 8), (187, 12), (306, 16))
            ],
        }
    return _small((16, 32, 40, 48, 64, 96), (4, 16, 64), WIDTHS[:4], ((6, 4), (16, 8), (29, 12)))


def _small(
    loads: Sequence[int],
    lengths: Sequence[int],
    widths: Sequence[int],
    grown: Sequence[tuple[int, int]],
) -> dict[str, list[Setting]]:
    return {
        "load": [Setting(n) for n in loads],
        "size": [Setting(dim=d) for d in widths],
        "paper": [Setting(16, s) for s in lengths],
        "steps": [Setting(256 // s, s, batch=4 if s < 64 else 0) for s in lengths],
        "bits": [Setting(256 // s, s) for s in lengths],
        "edge": [Setting(768 // s, s) for s in lengths],
        "grown": [Setting(16, s, d) for s, d in grown],
    }


def _large() -> dict[str, list[Setting]]:
    """Poems of 64 words out of 2048."""
    sizes = [  # poems, width, blocks, steps, batch
        (550, 32, 1, 3000, 128),
        (1280, 64, 1, 6000, 128),
        (3200, 128, 1, 6000, 256),
        (7300, 128, 4, 6000, 512),
        (14600, 256, 2, 5000, 1024),
        (64000, 640, 2, 8000, 1024),
    ]
    scale = [
        Setting(n, 64, d, deep, steps, batch, 2048, d > 128) for n, d, deep, steps, batch in sizes
    ]
    cliff = [
        Setting(n, 64, 128, 4, 6000 * n // 7300, 512, 2048) for n in (2000, 4000, 5000, 6000, 7300)
    ]
    return {"scale": scale, "million": cliff}


def look(
    box: Any,
    at: Setting,
    seed: int,
    closely: bool,
) -> Iterator[tuple[str, str, float, dict[str, Any]]]:
    """Task, metric, value and coordinates of all that is read from one trained box; `closely` adds
    words and poems."""
    poems = at.draw(seed)
    reading, found = measure.examine(box, poems)
    for metric, value in found.items():
        yield "reading", metric, value, {}
    if closely:
        poem_bits = measure.poem_bits(reading, poems.vocabulary)
        lists = {
            "first words": measure.firsts(reading),
            "word": reading.right.double().mean(0),
            "poem": poem_bits[:200] / poems.bits_per_poem,
        }
        for task, values in lists.items():
            for place, share in enumerate(values, 1):
                yield task, "share", float(share), {"place": place}
    if at == Setting():
        for how, level, hurt in measure.sweep(box, poems, seed):
            for metric in ("memory ability", "bits"):
                yield "damage", metric, hurt[metric], {"how": how, "level": level}


def of_boxes(
    at: Setting,
    named: Sequence[str],
    seeds: Sequence[int],
) -> Iterator[Record]:
    """Train the boxes of a setting, one a seed, and read each; `named` are the designs it belongs
    to."""
    closely = bool({"load", "edge", "million"} & {*named})
    for seed, box in zip(seeds, at.train(seeds), strict=True):
        meta = {
            **asdict(at),
            "epochs": at.epochs,
            "weights": stock.size(box),
            "designs": " ".join(named),
        }
        for task, metric, value, more in look(box, at, seed, closely):
            yield Record("how-much-fits", "llama", task, metric, value, seed, meta=meta | more)


def _seeds(at: Setting, profile: str) -> int:
    """How many boxes of a setting are trained: see SEEDS."""
    seeds = SEEDS[profile]
    if at.dim > 256:
        return 1
    if at.steps >= 1000 and at.dim < 32:
        return min(3, seeds)
    return seeds


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit a setting, with all its seeds, beginning with `seed`."""
    named: dict[Setting, list[str]] = {}
    for design, settings in designs(profile).items():
        for at in settings:
            named.setdefault(at, []).append(design)
    for at, own in named.items():
        seeds = range(seed, seed + _seeds(at, profile))
        name = (
            f"{at.poems} poems of {at.words} words, width {at.dim}, {at.layers} blocks,"
            f" {at.epochs:.0f} epochs"
        )
        yield Unit(name, partial(of_boxes, at, own, seeds))


def select(
    data: pd.DataFrame,
    design: str,
    metric: str,
    by: str,
) -> pd.DataFrame:
    """One metric of a design's boxes: a row a seed, a column for each value of `by`."""
    rows = data[(data.task == "reading") & (data.metric == metric)]
    belongs = [design in named.split() for named in rows.designs]
    return rows[belongs].pivot_table("value", "seed", by)


def _range(values: pd.Series) -> str:
    ends = (f"{values.min():.2f}", f"{values.max():.2f}")
    return "–".join(dict.fromkeys(ends))


def table(data: pd.DataFrame) -> pd.DataFrame:
    """A row a design and setting, ranges over seeds; bits asked for and stored are per weight."""
    rows = data[data.task == "reading"].assign(design=data.designs.str.split()).explode("design")
    rows["place"] = rows.design.map(list(designs("full") | designs("gpu")).index)
    rows["design"] = rows.design.replace(HELD)
    rows["set"] = rows.poems.astype(str) + " × " + rows.words.astype(str)
    rows["epochs"] = rows.epochs.round().astype(int)
    keys = ["place", "words", "weights", "poems", "design", "set", "epochs", "metric"]
    wide = rows.groupby(keys).value.agg(_range).unstack()
    wide = wide.droplevel(["place", "words", "poems"])
    wide = wide.rename_axis(index={"set": "poems"}).reset_index()
    columns = ["design", "poems", "weights", "epochs", "asked", "memory ability", "stored"]
    return wide[columns].rename_axis(None, axis=1)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """S5, recitation as a measure of a model; S6, longer texts are remembered less well (where
    lengths were varied)."""
    said = [_s5(data)]
    lengths = [select(data, design, "memory ability", "words") for design in ("paper", "bits")]
    if all(found.size for found in lengths):
        said.append(_s6(data))
    return said


def _runs(data: pd.DataFrame) -> str:
    return f"({data.seed.nunique()} seeds)"


def _s5(data: pd.DataFrame) -> Verdict:
    """Recitation falls off a cliff while the bits stored still rise."""
    filled = "load" if data.designs.str.contains("load").any() else "million"
    score = select(data, filled, "memory ability", "poems")
    bits = select(data, filled, "bits", "poems")
    some = score.columns[score.min() >= 0.95]
    none = score.columns[score.max() <= 0.1]
    cliff = min(len(some), len(none)) > 0 and bool((bits[none.max()] > bits[some.max()]).all())
    return Verdict(
        "S5",
        "qualified" if cliff else "supported",
        "the same box, from 0.95 or more to 0.10 or less as"
        f" poems are added, while the bits stored rise in every seed: {cliff} {_runs(data)}",
    )


def _s6(data: pd.DataFrame) -> Verdict:
    """Longer poems are remembered less well, unless bits and epochs are held."""
    paper = select(data, "paper", "memory ability", "words")
    held = select(data, "bits", "memory ability", "words")
    falls = paper.iloc[:, 0].min() >= 0.95 and paper.iloc[:, -1].max() <= 0.1
    level = held.min(axis=None) >= 0.9
    verdict = "refuted"
    if falls:
        verdict = "qualified" if level else "supported"
    return Verdict(
        "S6",
        verdict,
        f"as poems grow, from 0.95 or more to 0.10 or less: {falls}; bits and epochs held,"
        f" 0.9 or more at every length: {level} {_runs(data)}",
    )
