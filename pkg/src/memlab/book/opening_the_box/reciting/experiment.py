"""Chapter 5, how well do language models recite? Families, sizes, epochs, alphabets, starts,
editions, real poems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from memlab import runtime
from memlab.book.opening_the_box.reciting import measure
from memlab.book.units import Unit
from memlab.results import Verdict

FAMILIES = ("gpt2", "llama", "qwen2", "bloom")
# (width, blocks, heads); with 4,096 words LARGE are models of about 1, 10 and 100 million weights
SMALL = ((4, 1, 2), (12, 1, 2), (32, 1, 4))
LARGE = ((128, 2, 4), (384, 5, 6), (768, 14, 12))
# (words in the alphabet, words of a poem, words of a title, width): 48 bits a poem, and equally
# many weights
ALPHABETS = ((16, 12, 3, 40), (256, 6, 2, 32))
# (source, kind of tokens)
CHINESE = ("tang300", "characters")
BYTES = ("tang300", "bytes")
ENGLISH = ("songs-poems", "characters")
PIECES = ("songs-poems", "pieces")
POEMS = {
    "poems": (64, 8, 64),
    "sizes": SMALL,
    "batch": 0,
    "verse": (),
}
PLANS: dict[str, dict[str, Any]] = {
    "quick": {
        **POEMS,
        "seeds": 3,
        "epochs": (25, 50, 100, 200),
    },
    "full": {
        **POEMS,
        "seeds": 5,
        "epochs": (25, 50, 100, 200, 400),
        "longest": {"tang300": 128},
        "real": (50, 100),
        "verse": (
            *product(FAMILIES, (16, 32, 64), (CHINESE,)),
            ("llama", 64, BYTES),
            ("llama", 64, PIECES),
            *product(("llama",), (16, 32), (ENGLISH,)),
            *product(FAMILIES, (64,), (ENGLISH,)),
        ),
    },
    "gpu": {
        "poems": (2000, 96, 4096),
        "sizes": LARGE,
        "batch": 125,
        "seeds": 1,
        "epochs": (25, 50, 100),
        "real": (50, 100, 200),
        "verse": (*product(FAMILIES, (64, 128, 384), (CHINESE, BYTES, ENGLISH, PIECES)),),
    },
}


def units(profile: str, seed: int) -> Iterator[Unit]:
    """One for each family × size × seed, for each seed of the side experiments, for each model on
    real poems."""
    plan = PLANS[profile]
    fast = profile == "gpu" and runtime.fast_bfloat16()
    yield from _courses(plan, seed, fast)
    for own in range(seed, seed + max(3, plan["seeds"])):
        yield from _side_experiments(own)
    yield from _verse(plan, seed)


def _courses(
    plan: dict[str, Any],
    seed: int,
    fast: bool,
) -> Iterator[Unit]:
    shared = {name: plan[name] for name in ("poems", "epochs", "batch")}
    course = partial(measure.course, **shared, bfloat16=fast)
    seeds = range(seed, seed + plan["seeds"])
    for own, family, size in product(seeds, FAMILIES, plan["sizes"]):
        yield Unit(f"{family} of width {size[0]}, seed {own}", partial(course, family, size, own))


def _side_experiments(seed: int) -> Iterator[Unit]:
    for muon, letters in product((0.0, 0.05), ALPHABETS):
        lesson = partial(measure.alphabet, seed, *letters, muon)
        yield Unit(f"{letters[0]} words, Muon {muon}, seed {seed}", lesson)
    yield Unit(f"four starts, seed {seed}", partial(measure.starts, seed))
    yield Unit(f"two editions, seed {seed}", partial(measure.editions, seed))


def _verse(plan: dict[str, Any], seed: int) -> Iterator[Unit]:
    for family, dim, (source, kind) in plan["verse"]:
        longest = plan.get("longest", {}).get(source, 256)  # characters; 256 in the paper
        sizes = {"longest": longest, "epochs": plan["real"]}
        lesson = partial(measure.real, family, dim, source, kind, seed, **sizes)
        yield Unit(f"{source} in {kind}, {family} of width {dim}", lesson)


# ---- what is printed -----------------------------------------------------------------------------


def _means(
    data: pd.DataFrame,
    rows: list[str],
    columns: str,
) -> pd.DataFrame:
    means = data.pivot_table("value", rows, columns, sort=False).round(2)
    return means.reset_index().rename_axis(None, axis=1)


def _recited(data: pd.DataFrame, task: str) -> pd.DataFrame:
    return data[(data.task == task) & (data.metric == "recited")]


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Share of poems recited by family, weights and epochs (the last four); means over seeds."""
    rows = _recited(data, "taught").astype({"epochs": int})
    last_four = sorted(set(rows.epochs))[-4:]
    late = rows[rows.epochs.isin(last_four)].astype({"weights": int})
    late["bits a weight"] = (late.poem_bits / late.weights).round(2)
    late["after"] = late.epochs.map("{} epochs".format)
    return _means(late, ["model", "weights", "bits a weight"], "after")


def alphabets(data: pd.DataFrame) -> pd.DataFrame:
    """Share of poems of 48 bits recited after 60 epochs, by alphabet and optimiser; means over
    seeds."""
    rows = _recited(data, "alphabets").rename(columns={"words_each": "words a poem"})
    whole = ["alphabet", "words a poem", "weights"]
    return _means(rows.astype(dict.fromkeys(whole, int)), whole, "optimiser")


def starts(data: pd.DataFrame) -> pd.DataFrame:
    """Share of poems recited and of words right, before and after the lesson, by what the start had
    met."""
    rows = data[(data.task == "starts") & data.metric.isin(["recited", "words"])]
    when = rows.epochs.map(lambda epochs: " after" if epochs else " before")
    return _means(rows.assign(what=rows.metric + when), ["start"], "what")


def texts(data: pd.DataFrame) -> pd.DataFrame:
    """Poems as text, taught and never taught: shares recited under two conventions, and tokens
    right; at the end."""
    shown = data.metric.isin(["every character", "white space as one", "tokens"])
    rows = data[shown & ~data.task.str.match("titles")]
    last = rows.groupby(["model", "source", "tokenizer"]).epochs.transform("max")
    rows = rows[rows.epochs == last]
    weights = ", " + rows.weights.map("{:,.0f}".format)
    who = rows.model + weights.where(rows.weights.notna(), "")
    task = rows.task.str.removesuffix(", real")
    asked = task.where(rows.task != "editions", rows.get("edition"))
    named = rows.assign(asked=asked, model=who)
    return _means(named, ["source", "tokenizer", "model", "asked"], "metric")


more_tables = (alphabets, starts, texts)


# ---- verdicts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Taught:
    """Shares recited of what was taught, after some epochs: a row a family and seed, a column a
    width, smallest first."""

    early: pd.DataFrame  # 50 epochs
    paper: pd.DataFrame  # 100, as many as in the paper
    last: pd.DataFrame
    small: Any  # the widths
    middle: Any
    large: Any
    runs: str


def _taught(data: pd.DataFrame) -> _Taught:
    rows = _recited(data, "taught")
    shares = rows.pivot_table("value", ["model", "seed", "epochs"], "dim")
    end = shares.index.levels[2].max()
    early, paper, last = (shares.xs(epochs, level="epochs") for epochs in (50, 100, end))
    small, middle, large = shares.columns
    seeds = data[data.task == "taught"].seed.nunique()
    return _Taught(early, paper, last, small, middle, large, f"({seeds} seeds)")


def _t1(data: pd.DataFrame) -> Verdict:
    """The table of the paper: large models recite, small ones do not."""
    taught = _taught(data)
    large = taught.large
    do = min(taught.paper[large].min(), taught.last[large].min()) >= 0.9
    do_not = taught.last[taught.small].max() <= 0.1
    if not do:
        verdict = "refuted"
    elif do_not:
        verdict = "qualified"
    else:
        verdict = "supported"
    return Verdict(
        "T1",
        verdict,
        "after 100 epochs the largest "
        f"recite >= 0.9: {do}; the smallest <= 0.1, ever: {do_not} {taught.runs}",
    )


def _t2(data: pd.DataFrame) -> Verdict:
    """Size."""
    taught = _taught(data)
    paper = taught.paper
    steps = paper.diff(axis=1).iloc[:, 1:]
    rising = bool((steps >= -0.02).all(axis=None))
    apart = (paper[taught.large] - paper[taught.small] >= 0.5).all(axis=None)
    if not rising:
        verdict = "refuted"
    elif apart:
        verdict = "supported"
    else:
        verdict = "qualified"
    return Verdict(
        "T2",
        verdict,
        f"after 100 epochs no size recites less than the one below it: {rising}; the largest >="
        f" 0.5 more than the smallest: {apart} {taught.runs}",
    )


def _ahead(data: pd.DataFrame) -> bool:
    """Whether a start that met the texts recites none before the lesson, and leads after it."""
    rows = _recited(data, "starts")
    shares = rows.pivot_table("value", ["epochs", "seed"], "start")
    met = shares.filter(like="these").min(axis=1)
    clean = shares[["nothing", "other poems"]].max(axis=1)
    lead = (met - clean).drop(0)
    none_before = shares.loc[0].max(axis=None) <= 0.1
    return bool(none_before and lead.min() >= 0.3)


def _t3(data: pd.DataFrame) -> Verdict:
    """Pretraining."""
    return Verdict(
        "T3",
        "not testable here",
        "nothing here is pretrained; but a start that met the texts recites none "
        f"before the lesson and >= 0.3 more than a clean one after: {_ahead(data)}",
    )


def _t4(data: pd.DataFrame) -> Verdict:
    """Chinese: are poems of many different words harder?"""
    rows = _recited(data, "alphabets")
    shares = rows.pivot_table("value", ["optimiser", "seed"], "alphabet")
    gain = shares.diff(axis=1).iloc[:, -1]  # of the larger alphabet over the smaller
    easier = gain.min() >= -0.1
    flips = gain.loc["AdamW"].min() >= 0.5
    return Verdict(
        "T4",
        "refuted" if easier else "qualified",
        "equal bits and weights: 256 words are no harder than 16, "
        f"AdamW or Muon: {easier}; with AdamW easier by >= 0.5: {flips}",
    )


def _m1(data: pd.DataFrame) -> Verdict:
    """What counts as the poem."""
    rows = data[data.task == "editions"]
    shares = rows.groupby(["metric", "seed"]).value.mean()
    strict = shares["every character"].max()
    lenient = shares["white space as one"].min()
    layout = strict <= 0.6 and lenient >= 0.9
    return Verdict(
        "M1",
        "qualified" if layout else "supported",
        "the same recitations <= 0.6 by every character and "
        f">= 0.9 with white space as one: {layout}",
    )


def _s5(data: pd.DataFrame) -> Verdict:
    """A measure of ability, or of how long and what a model learnt."""
    taught = _taught(data)
    middle = taught.middle
    families = taught.paper[middle].groupby("seed")
    spread = (families.max() - families.min()).min()
    tied = taught.early[middle].max() <= 0.1
    pace = tied and spread >= 0.3 and taught.last[middle].min() >= 0.6
    ahead = _ahead(data)
    return Verdict(
        "S5",
        "qualified" if pace or ahead else "supported",
        "middle models tie at <= 0.1 (50 epochs), lie >= 0.3 apart (100), meet at >= 0.6"
        f" (end): {pace}; exposure counts as ability: {ahead} {taught.runs}",
    )


def verdicts(data: pd.DataFrame) -> list[Verdict]:
    """T1, T2: the table, size; T3: pretraining; T4: Chinese; M1: what counts as the poem; S5: a
    measure of ability."""
    return [_t1(data), _t2(data), _t3(data), _t4(data), _m1(data), _s5(data)]
