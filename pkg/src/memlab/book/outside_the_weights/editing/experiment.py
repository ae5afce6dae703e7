"""Section 10c, can a fact be changed? A world of made-up facts in the memory of a decoder; one fact
edited, then a thousand in a row, then some forgotten; with the decoder's own keys and those of a
pretrained sentence encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
    "quick": Setting(
        seeds=3,
        single=40,
        row=100,
        stops=(10, 100),
        forgotten=40,
        keys=("scratch",),
    ),
    "full": Setting(
        seeds=3,
        single=100,
        row=1000,
        stops=(10, 100, 1000),
        forgotten=200,
    ),
    "gpu": Setting(
        seeds=5,
        single=500,
        row=3000,
        stops=(10, 100, 1000, 3000),
        forgotten=500,
    ),
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit for each kind of key and seed; seeds change the facts, not the decoder."""
    at = SETTINGS[profile]
    for name, number in product(at.keys, range(seed, seed + at.seeds)):
        yield Unit(f"{name}, seed {number}", partial(_of_keys, at, name, number))


def _of_keys(
    at: Setting,
    name: str,
    seed: int,
) -> Iterator[Record]:
    memory = TextMemory(pretrained.shipped(), _keys(name))
    return of_memory(memory, at, name, seed)


def _keys(name: str) -> Encoder:
    if name == "scratch":
        return Once(OwnKeys(pretrained.shipped()))
    return Once(retrieval.open_encoder(retrieval.installed_encoder()))


def of_memory(
    memory: TextMemory,
    at: Setting,
    name: str,
    seed: int,
) -> Iterator[Record]:
    """All of one kind of key and one seed."""
    alone = corpus.stream(at.single, seed)
    row = corpus.stream(at.row, seed, neighbours=2, again=at.again)
    yield from measure.single(memory, alone, name, seed)
    for way in SEQUENCES:
        made = row if way == "replace" else row[: at.others]
        stops = [stop for stop in at.stops if stop <= len(made)]
        yield from measure.sequence(memory, made, name, seed, stops=stops, way=way)
    yield from measure.forgotten(memory, row, name, seed, at.forgotten)


def shares(data: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Means over seeds, weighted by how often was asked: a row a way and stop, a column a kind of
    probe."""
    rows = data[(data["mode"] == mode) & (data["metric"] == "right")]
    rows = rows.assign(hits=rows["value"] * rows["n"])
    sums = rows.pivot_table(
        ["hits", "n"], ["model", "way", "after"], "task", aggfunc="sum", sort=False
    )
    kinds = [kind for kind in corpus.KINDS if kind in sums["hits"]]
    wide = (sums["hits"] / sums["n"]).reindex(columns=kinds)
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
    forgetting = data[data["task"] == "forgotten"]
    gone = forgetting.pivot_table("value", "model", "metric", sort=False)
    erased = data[data["metric"] == "wrong row"]
    wrong = erased.pivot_table("value", "model", "way", sort=False)
    both = gone.join(wrong.add_prefix("wrong row, "))
    return both.round(3).rename_axis("keys").reset_index()


more_tables = (rows, losses)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N36: one edit; N37: many in a row; N38: forgetting; N39: what an edit in other words does."""
    key = "encoder" if "encoder" in set(data["model"]) else "scratch"
    seeds = f"({data[data['model'] == key]['seed'].nunique()} seeds)"
    alone = shares(data, "single").set_index(["keys", "way"]).loc[key]
    in_a_row = shares(data, "sequence").set_index(["keys", "way", "after"]).loc[key]
    lost = losses(data).set_index("keys").loc[key]
    return [
        _n36(alone, key, seeds),
        _n37(in_a_row, seeds),
        _n38(lost, seeds),
        _n39(in_a_row, lost, seeds),
    ]


def _n36(
    alone: pd.DataFrame,
    key: str,
    seeds: str,
) -> Verdict:
    replaced = alone.loc["replace"]
    stem = replaced["edit"]
    paraphrase = replaced["paraphrase"]
    neighbour = replaced["neighbour"]
    verdict = "refuted"
    if stem >= 0.95 and neighbour >= 0.95:
        verdict = "supported" if paraphrase >= 0.9 else "qualified"
    return Verdict(
        "N36",
        verdict,
        f"keys {key}: by stem {stem:.2f}, in other words {paraphrase:.2f},"
        f" neighbours {neighbour:.2f}; without erasing the old row"
        f" {alone.loc['add', 'edit']:.2f} {seeds}",
    )


def _last(in_a_row: pd.DataFrame, way: str) -> tuple[int, float]:
    """After how many edits was looked last, and the share of those in force that was right."""
    after = int(in_a_row.loc[way].index.max())
    return after, in_a_row.loc[way, after]["retention"]


def _n37(in_a_row: pd.DataFrame, seeds: str) -> Verdict:
    after, kept = _last(in_a_row, "replace")
    return Verdict(
        "N37",
        "supported" if kept >= 0.95 else "refuted",
        f"after {after} edits in a row {kept:.3f} of those in force are right {seeds}",
    )


def _n38(lost: pd.Series, seeds: str) -> Verdict:
    said = lost["still said"]
    others = lost["others right"]
    no_trace = lost["bytes as never written"] == 1
    return Verdict(
        "N38",
        "supported" if said <= 0.01 and others >= 0.95 and no_trace else "refuted",
        f"still said {said:.3f} of {lost['said before']:.2f}, others right {others:.3f} {seeds}",
    )


def _n39(
    in_a_row: pd.DataFrame,
    lost: pd.Series,
    seeds: str,
) -> Verdict:
    after, kept = _last(in_a_row, "reworded")
    verdict = "refuted"
    if kept >= 0.5:
        verdict = "supported" if kept >= 0.95 else "qualified"
    return Verdict(
        "N39",
        verdict,
        f"edits in other words: wrong row erased {lost['wrong row, reworded']:.2f}, retention "
        f"{kept:.2f} after {after} {seeds}",
    )
