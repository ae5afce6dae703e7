"""Section 10b, does it understand the question? Facts of relations in real documentation, asked for
by stem and by question; keys that the decoder was trained with, BM25, a pretrained sentence
encoder, and what is taught to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from memlab.book.outside_the_weights.understanding import measure, told_or_not, tuning
from memlab.book.outside_the_weights.understanding.measure import FEWER, TUNED
from memlab.book.units import Unit, per_seed
from memlab.corpora import relations
from memlab.decoder import MemoryDecoder, pretrained
from memlab.results import Record, Verdict
from memlab.retrieval import Encoder, Index

FEW = 8  # memories of few rows, whose keys do not span the space
ORDER = (
    TUNED,
    FEWER,
    "encoder + adapter",
    "encoder",
    "encoder + bm25",
    "bm25",
    "scratch",
    "encoder + wrong pairs",
)
# what was to be reached on families that no training saw
ADDRESSED = 0.9
ANSWERED = 0.85


@dataclass(frozen=True)
class Setting:
    """Seeds, tokens, entities asked about in trained and held-out families, steps of the adapter
    (0: no encoder), and of tuning on all relations that may be trained on and on those of the table
    alone."""

    seeds: int
    tokens: int
    trained: tuple[int, int]
    held_out: tuple[int, int]
    adapt: int
    tune: tuple[int, int] = (240, 80)


SETTINGS = {
    "quick": Setting(
        seeds=3,
        tokens=2**16,
        trained=(1, 2),
        held_out=(3, 6),
        adapt=0,
    ),
    "full": Setting(
        seeds=3,
        tokens=2**16,
        trained=(2, 4),
        held_out=(4, 8),
        adapt=400,
    ),
    "gpu": Setting(
        seeds=5,
        tokens=2**20,
        trained=(3, 6),
        held_out=(6, 12),
        adapt=400,
    ),
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One unit a seed; seeds change facts, documentation and adapters, not the decoder."""
    at = SETTINGS[profile]

    def measured(number: int) -> Iterator[Record]:
        return of_seed(pretrained.shipped(), at, number)

    return per_seed(measured, seed, at.seeds)


def of_seed(
    model: MemoryDecoder,
    at: Setting,
    seed: int,
) -> Iterator[Record]:
    """All of one seed: questions of every part, packed segments, and what tells told from
    untold."""
    keys = measure.encoders(model, seed, at.adapt, at.tune)
    some = [name for name in ("scratch", "encoder", TUNED) if name in keys]
    if at.adapt and seed == 0:
        near = tuning.closest(keys["encoder"])
        yield Record(measure.NAME, "encoder", "lessons", "closest", near, seed)
    for part in relations.PARTS:
        entities = at.held_out if part == "held out" else at.trained
        exam = measure.Exam(model, part, seed, tokens=at.tokens, entities=entities)
        for name, index in _indexes(exam, keys).items():
            yield from measure.ask(exam, part, name, index, seed)
        if part == "held out" and seed == 0:  # beside the claims: one seed
            for name in some:
                yield from measure.pack_and_ask(exam, part, name, keys[name], seed)
    for name in some:
        yield from _told_or_not(model, at, seed, name, keys[name])


def _indexes(exam: measure.Exam, keys: dict[str, Encoder]) -> dict[str, Index]:
    indexes = {name: exam.index(encoder) for name, encoder in keys.items()}
    indexes["bm25"] = exam.index(None)
    if "encoder" in keys:
        indexes["encoder + bm25"] = exam.blend(keys["encoder"])
    return indexes


def _told_or_not(
    model: MemoryDecoder,
    at: Setting,
    seed: int,
    name: str,
    encoder: Encoder,
) -> Iterator[Record]:
    """The scope by one kind of key: in a memory of all rows, and in `FEW` memories of few."""
    part = "held out"
    full = told_or_not.scope(
        model,
        encoder,
        part,
        seed,
        tokens=at.tokens,
        entities=at.held_out,
    )
    few = []
    for number in range(FEW):
        few_seed = 100 * (seed + 1) + number
        few.append(told_or_not.scope(model, encoder, part, few_seed, tokens=0))
    yield from told_or_not.records(name, "all", [full], seed)
    yield from told_or_not.records(name, "few", few, seed)


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Share of questions whose fact is found, by part, and by wording of the fact; share answered;
    share of stems."""
    columns: dict[str, dict[str, str]] = {
        "trained": {"part": "trained"},
        "new wording": {"part": "wording"},
        "new relation": {},
        "plain": {"kind": "plain"},
        "roundabout": {"kind": "roundabout"},
        "answered": {"metric": "answered"},
        "stem": {"ask": "stem"},
    }
    shares = {name: measure.shares(data, **at)["mean"] for name, at in columns.items()}
    wide = pd.DataFrame(shares)
    rows = [name for name in ORDER if name in wide.index]
    return wide.reindex(rows).round(2).rename_axis("keys").reset_index()


more_tables = (told_or_not.table,)


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """N30: questions find facts; N31: are answered; N32: not by keys from scratch; N33: the scope;
    N34: adapters; N35: many relations.

    The goal decides first. Where N30 misses it, its interval has to lie above BM25's; where N31
    does, the decoder may lose one in twenty of what was found. N34's interval has to lie above the
    plain encoder's; and so has N35's where it misses a goal."""
    found = Shares.of(data)
    if "encoder" not in found.new.index:
        return [_n32(found), _n33(found)]
    return [_n30(found), _n31(found), _n32(found), _n33(found), _n34(found), _n35(found)]


@dataclass(frozen=True)
class Shares:
    """What the verdicts rest on, by kind of key: questions on new relations whose fact is found
    (`new`, with intervals) or answered, stems whose fact is found, areas under the curve; and how
    many seeds there were, as text."""

    new: pd.DataFrame
    answered: pd.Series
    stems: pd.Series
    areas: pd.Series
    seeds: str

    @classmethod
    def of(cls, data: pd.DataFrame) -> Shares:
        """All of them from the records of a run."""
        return cls(
            new=measure.shares(data),
            answered=measure.shares(data, metric="answered")["mean"],
            stems=measure.shares(data, ask="stem")["mean"],
            areas=told_or_not.areas(data),
            seeds=f"({data['seed'].nunique()} seeds)",
        )


def _n30(found: Shares) -> Verdict:
    best = found.new.loc["encoder"]
    words = found.new.loc["bm25"]
    verdict = "qualified" if best["low"] > words["high"] else "refuted"
    return Verdict(
        "N30",
        "supported" if best["mean"] >= ADDRESSED else verdict,
        f"encoder {measure.span(best)}, goal {ADDRESSED}; BM25 {measure.span(words)} {found.seeds}",
    )


def _n31(found: Shares) -> Verdict:
    hits = found.new.loc["encoder", "mean"]
    said = found.answered["encoder"]
    verdict = "qualified" if said >= 0.95 * hits else "refuted"
    return Verdict(
        "N31",
        "supported" if said >= ANSWERED else verdict,
        f"answered in words {said:.2f}, goal {ANSWERED}; addressed {hits:.2f} {found.seeds}",
    )


def _n32(found: Shares) -> Verdict:
    stems = found.stems["scratch"]
    questions = found.new.loc["scratch", "mean"]
    return Verdict(
        "N32",
        "supported" if stems >= ADDRESSED and questions < 0.5 else "refuted",
        f"keys from scratch: stems {stems:.2f}, questions {questions:.2f} {found.seeds}",
    )


def _n33(found: Shares) -> Verdict:
    key = next(name for name in (TUNED, "encoder", "scratch") if name in found.new.index)
    stem = found.areas[key, "recognition", "stem", "untold"]
    near = found.areas[key, "nearest", "question", "untold"]
    verdict = "qualified" if stem >= 0.95 else "refuted"
    return Verdict(
        "N33",
        "supported" if min(stem, near) >= 0.95 else verdict,
        f"told from never told, AUC: stems recognised {stem:.2f}, questions by nearest key"
        f" ({key}) {near:.2f} {found.seeds}",
    )


def _n34(found: Shares) -> Verdict:
    plain = found.new.loc["encoder"]
    adapted = found.new.loc["encoder + adapter"]
    wrong = found.new.loc["encoder + wrong pairs"]
    gain = adapted["mean"] - plain["mean"]
    verdict = "qualified" if gain > 0 else "refuted"
    return Verdict(
        "N34",
        "supported" if adapted["low"] > plain["high"] else verdict,
        f"adapter {measure.span(adapted)}, {gain:+.2f}; paired wrongly {measure.span(wrong)}"
        f" {found.seeds}",
    )


def _n35(found: Shares) -> Verdict:
    plain = found.new.loc["encoder"]
    many = found.new.loc[TUNED]
    few = found.new.loc[FEWER]
    answered = found.answered[TUNED]
    verdict = "qualified" if many["low"] > plain["high"] else "refuted"
    return Verdict(
        "N35",
        "supported" if many["mean"] >= ADDRESSED and answered >= ANSWERED else verdict,
        f"taught {len(relations.TAUGHT)} {measure.span(many)}, answered {answered:.2f},"
        f" goals {ADDRESSED}, {ANSWERED}; taught {len(relations.TRAINED)} {measure.span(few)}"
        f" {found.seeds}",
    )
