"""Section 10c, can a fact be changed? A world of made-up facts in the memory of a decoder; one fact
edited, then a thousand in a row, then some forgotten; with the decoder's own keys and those of a
pretrained sentence encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pandas as pd

from memlab import retrieval
from memlab.book.outside_the_weights.editing import measure
from memlab.book.units import Unit
from memlab.corpora import edits as corpus
from memlab.decoder import Once, OwnKeys, TextMemory, pretrained
from memlab.results import Record, Verdict
from memlab.retrieval import Encoder

SEQUENCES = ("replace", "reworded", "add")


@dataclass(frozen=True)
class Setting:
    """Seeds, edits made alone, edits in a row, after how many of them to look, facts forgotten;
    which keys; how many of the edits in a row the other ways get, and the share that change a fact
    once more."""

    seeds: int
    single: int
    row: int
    stops: tuple[int, ...]
    forgotten: int
    keys: tuple[str, ...] = ("scratch", "encoder")
    others: int = 100
    again: float = 0.2


SETTINGS = {
    "quick": Setting(3, 40, 100, (10, 100), 40, ("scratch",)),
    "full": Setting(3, 100, 1000, (10, 100, 1000), 200),
    "gpu": Setting(5, 500, 3000, (10, 100, 1000, 3000), 500),
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit for each kind of key and seed; seeds change the facts, not the decoder."""
    at = SETTINGS[profile]
    for name, number in product(at.keys, range(seed, seed + at.seeds)):
        yield Unit(
            f"{name}, seed {number}",
            lambda name=name, number=number: of_memory(  # type: ignore[misc]
                TextMemory(pretrained.shipped(), _keys(name)), at, name, number
            ),
        )


def _keys(name: str) -> Encoder:
    if name == "scratch":
        return Once(OwnKeys(pretrained.shipped()))
    return Once(retrieval.open_encoder(retrieval.installed_encoder()))


def of_memory(memory: TextMemory, at: Setting, name: str, seed: int) -> Iterator[Record]:
    """All of one kind of key and one seed."""
    alone, row = (
        corpus.stream(at.single, seed),
        corpus.stream(at.row, seed, neighbours=2, again=at.again),
    )
    yield from measure.single(memory, alone, name, seed)
    for way in SEQUENCES:
        made = row if way == "replace" else row[: at.others]
        yield from measure.sequence(
            memory, made, name, seed, stops=[n for n in at.stops if n <= len(made)], way=way
        )
    yield from measure.forgotten(memory, row, name, seed, at.forgotten)


def shares(data: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Means over seeds, weighted by how often was asked: a row a way and stop, a column a kind of
    probe."""
    rows = data[(data["mode"] == mode) & (data["metric"] == "right")]
    rows = rows.assign(hits=rows["value"] * rows["n"])
    sums = rows.pivot_table(
        ["hits", "n"], ["model", "way", "after"], "task", aggfunc="sum", sort=False
    )
    wide = (sums["hits"] / sums["n"]).reindex(
        columns=[kind for kind in corpus.KINDS if kind in sums["hits"]]
    )
    return wide.reset_index().rename(columns={"model": "keys"}).astype({"after": int})


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Edits made alone: right answers by its stem, in other words, and about neighbours."""
    return shares(data, "single").drop(columns="after").round(2)


def rows(data: pd.DataFrame) -> pd.DataFrame:
    """Edits in a row: the same just after each of the last ones, and by stem for all earlier ones
    still in force."""
    return shares(data, "sequence").round(2)


def losses(data: pd.DataFrame) -> pd.DataFrame:
    """What forgetting leaves, and how many edits in a row erased the wrong sentence."""
    gone = data[data["task"] == "forgotten"].pivot_table("value", "model", "metric", sort=False)
    wrong = data[data["metric"] == "wrong row"].pivot_table("value", "model", "way", sort=False)
    return gone.join(wrong.add_prefix("wrong row, ")).round(3).rename_axis("keys").reset_index()


more_tables = (rows, losses)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N36: one edit; N37: many in a row; N38: forgetting; N39: what an edit in other words does."""
    key = "encoder" if "encoder" in set(data["model"]) else "scratch"
    seeds = f"({data[data['model'] == key]['seed'].nunique()} seeds)"
    one = shares(data, "single").set_index(["keys", "way"]).loc[key]
    row, gone = (
        shares(data, "sequence").set_index(["keys", "way", "after"]).loc[key],
        losses(data).set_index("keys"),
    )
    did, left = one.loc["replace"], gone.loc[key]
    last, end = (int(row.loc[way].index.max()) for way in ("replace", "reworded"))
    kept, other = row.loc["replace", last], row.loc["reworded", end]
    took = did["edit"] >= 0.95 and did["neighbour"] >= 0.95
    clean = (
        left["still said"] <= 0.01
        and left["others right"] >= 0.95
        and left["bytes as never written"] == 1
    )
    return [
        Verdict(
            "N36",
            "refuted" if not took else "supported" if did["paraphrase"] >= 0.9 else "qualified",
            f"keys {key}: by stem {did['edit']:.2f}, in other words {did['paraphrase']:.2f},"
            f" neighbours {did['neighbour']:.2f}; without erasing the old row"
            f" {one.loc['add', 'edit']:.2f} {seeds}",
        ),
        Verdict(
            "N37",
            "supported" if kept["retention"] >= 0.95 else "refuted",
            f"after {last} edits in a row {kept['retention']:.3f} of those in force are right"
            f" {seeds}",
        ),
        Verdict(
            "N38",
            "supported" if clean else "refuted",
            f"still said {left['still said']:.3f} of "
            f"{left['said before']:.2f}, others right {left['others right']:.3f} {seeds}",
        ),
        Verdict(
            "N39",
            (
                "supported"
                if other["retention"] >= 0.95
                else "qualified"
                if other["retention"] >= 0.5
                else "refuted"
            ),
            f"edits in other words: wrong row erased {left['wrong row, reworded']:.2f}, retention "
            f"{other['retention']:.2f} after {end} {seeds}",
        ),
    ]
