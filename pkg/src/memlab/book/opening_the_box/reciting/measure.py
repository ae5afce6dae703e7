"""One lesson of chapter 5: a model, the poems that it is taught, and what is read off it before,
meanwhile and after.

Every function is one piece of the experiment, independent of all others, and yields its records.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memlab import evaluation
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.corpora import poems as corpus
from memlab.corpora import tokenization, verse
from memlab.models import stock
from memlab.results import Record
from memlab.training import Recipe

Found = Mapping[str, float]


def model(
    family: str,
    ids: int,
    positions: int,
    seed: int,
    dim: int,
    layers: int = 1,
    heads: int = 2,
) -> Any:
    """A stock model of one of the four families with as many key and value heads as query heads."""
    shared = {"num_key_value_heads": heads} if family in ("llama", "qwen2") else {}
    return stock.build(
        family,
        ids,
        positions,
        dim=dim,
        layers=layers,
        heads=heads,
        seed=seed,
        **shared,
    )


def recipe(
    steps: int,
    dim: int,
    muon: float = 0.0,
) -> Recipe:
    """The one recipe of the chapter: a rate of 0.01, and less for models wider than 50; falling in
    the second half."""
    return Recipe(steps, lr=min(1e-2, 0.5 / dim), muon=muon, muon_bfloat16=False)


def read(asked: Any, poems: corpus.Poems) -> dict[str, float]:
    """Share of poems recited, share of words that are the first choice, stored bits as a share of
    the entropy."""
    seen = evaluation.read(asked, poems)
    words = poems.bodies.shape[1]
    vocabulary = round(2 ** (poems.bits_per_poem / words))  # words of the poems, without titles
    stored = evaluation.stored_bits(seen.nll, vocabulary)
    return {
        "recited": seen.memory_ability,
        "words": seen.token_accuracy,
        "bits": stored / poems.bits,
    }


def note(who: str, task: str, seed: int, found: Found, **meta: Any) -> Iterator[Record]:
    """One record a metric."""
    return (
        Record("reciting", who, task, metric, value, seed, meta=meta)
        for metric, value in found.items()
    )


def course(
    family: str,
    size: tuple[int, int, int],
    seed: int,
    *,
    poems: tuple[int, int, int],
    epochs: Sequence[int],
    batch: int = 0,
    bfloat16: bool = False,
) -> Iterator[Record]:
    """A model learns (count, words, vocabulary) poems and is read after each of `epochs`; then what
    it was not taught.

    `size` is (width, blocks, heads). `batch` poems a step (0: all of them) must divide their
    number, else ValueError.
    """
    count, words, vocabulary = poems
    if batch and count % batch:
        raise ValueError(f"expected a batch that divides {count} poems, got {batch}")
    taught = corpus.synthetic(count, words, vocabulary, seed=seed)
    pupil = model(family, taught.tokens, taught.ids.shape[1], seed, *size)
    facts = {"weights": stock.size(pupil), "dim": size[0], "poem_bits": taught.bits}
    pace = count // (batch or count)
    last = epochs[-1]
    plan = replace(recipe(last * pace, size[0]), bfloat16=bfloat16)
    found = {0: read(pupil, taught)}
    report = _after(epochs, pace, found, lambda: read(pupil, taught))
    every = math.gcd(*epochs) * pace
    stock.teach(pupil, taught, plan, batch=batch, seed=seed, every=every, report=report)
    for after, values in found.items():
        yield from note(family, "taught", seed, values, epochs=after, **facts)
    fresh = corpus.synthetic(count, words, vocabulary, seed=seed, fresh=True)
    swapped = corpus.swapped(taught, seed)
    for task, other in (("never taught", fresh), ("titles swapped", swapped)):
        yield from note(family, task, seed, read(pupil, other), epochs=last, **facts)


def _after(
    epochs: Sequence[int],
    pace: int,
    found: dict[int, dict[str, float]],
    look: Callable[[], dict[str, float]],
) -> Callable[[int, Mapping[str, Any]], None]:
    """A report of a training that looks after each of `epochs`, `pace` steps each, and keeps what
    it saw in `found`."""

    def report(step: int, _row: Mapping[str, Any]) -> None:
        epoch, within = divmod(step, pace)
        if within == 0 and epoch in epochs:
            found[epoch] = look()

    return report


def alphabet(
    seed: int,
    vocabulary: int,
    words: int,
    title_words: int,
    dim: int,
    muon: float = 0.0,
    epochs: int = 60,
) -> Iterator[Record]:
    """A GPT-2 of one block on 64 poems of `words` words out of `vocabulary`; title words carry as
    much in all."""
    poems = corpus.synthetic(64, words, vocabulary, title_words=title_words, seed=seed)
    pupil = model("gpt2", poems.tokens, poems.ids.shape[1], seed, dim=dim)
    stock.teach(pupil, poems, recipe(epochs, dim, muon))
    yield from note(
        "gpt2",
        "alphabets",
        seed,
        read(pupil, poems),
        alphabet=vocabulary,
        words_each=words,
        bits_each=poems.bits_per_poem,
        optimiser="Muon" if muon else "AdamW",
        weights=stock.size(pupil),
        epochs=epochs,
    )


def starts(
    seed: int,
    before: int = 40,
    lesson: int = 60,
) -> Iterator[Record]:
    """The same lesson for four copies of one GPT-2 that differ in what they had met before it."""
    poems = corpus.synthetic(64, 8, 64, seed=seed)
    met_before = {
        "nothing": None,
        "other poems": corpus.synthetic(64, 8, 64, seed=seed, fresh=True),
        "these poems, wrong titles": corpus.swapped(poems, seed),
        "these poems": poems,
    }
    for start, met in met_before.items():
        pupil = model("gpt2", poems.tokens, poems.ids.shape[1], seed, dim=16)
        if met is not None:
            stock.teach(pupil, met, recipe(before, 16))
        yield from note("gpt2", "starts", seed, read(pupil, poems), start=start, epochs=0)
        stock.teach(pupil, poems, recipe(lesson, 16))
        yield from note("gpt2", "starts", seed, read(pupil, poems), start=start, epochs=lesson)


def scored(score: poems_as_text.Score) -> dict[str, float]:
    """A score as metrics of records."""
    return {
        **score.recited,
        "tokens": score.tokens,
        "characters": score.characters,
        "code bits": score.bits,
        "code bits a token": score.bits_per_token,
        "poems": float(score.poems),
    }


def editions(
    seed: int,
    count: int = 24,
    epochs: int = 40,
) -> Iterator[Record]:
    """A GPT-2 by characters that meets every poem in two editions, in lines and in one line, asked
    against each."""
    drawn = corpus.synthetic(count, 6, 64, seed=seed)
    in_lines = [drawn.poem(i, 2) for i in range(count)]
    in_one_line = [drawn.poem(i, 0) for i in range(count)]
    both = in_lines + in_one_line
    tokenizer = poems_as_text.characters(both)
    pupil = model("gpt2", len(tokenizer), poems_as_text.places(tokenizer, both), seed, dim=48)
    plan = recipe(poems_as_text.steps(epochs, len(both), 16), 48, 0.05)
    poems_as_text.teach(pupil, tokenizer, both, plan, batch=16, seed=seed)
    for name, edition in (("in lines", in_lines), ("in one line", in_one_line)):
        yield from note(
            "gpt2",
            "editions",
            seed,
            scored(poems_as_text.score(pupil, tokenizer, edition)),
            source="two editions",
            tokenizer="characters",
            edition=name,
            epochs=epochs,
        )


def tokenizer_for(kind: str, poems: Sequence[corpus.Poem]) -> Any:
    """ "characters", "bytes" or "pieces" (byte pairs, 1,024 entries) of these poems. ValueError for
    another kind."""
    if kind == "characters":
        return poems_as_text.characters(poems)
    if kind not in ("bytes", "pieces"):
        raise ValueError(f"unknown kind of tokens {kind!r}: expected characters, bytes or pieces")
    entries = 256 + len(tokenization.SPECIAL) if kind == "bytes" else 1024
    texts = [poems_as_text.prompt(poem) + poem.text for poem in poems]
    return tokenization.train_tokenizer(texts, entries)


def real(
    family: str,
    dim: int,
    source: str,
    kind: str,
    seed: int,
    *,
    longest: int = 256,
    epochs: Sequence[int] = (50, 100),
    batch: int = 32,
) -> Iterator[Record]:
    """A model of two blocks from scratch on installed poems: five of six are taught, the sixth is
    the control.

    Where the poems are not installed, one line to stderr says so and no record is made.
    """
    try:
        poems = poems_as_text.distinct(verse.collection(source), longest)
    except FileNotFoundError as missing:
        print(f"reciting: {source} left out: {missing}", file=sys.stderr)
        return
    control = poems[::6]
    taught = [poem for i, poem in enumerate(poems) if i % 6]
    tokenizer = tokenizer_for(kind, poems)
    moved = poems_as_text.swapped(taught, seed)  # a long text may come behind a long title now
    positions = poems_as_text.places(tokenizer, [*poems, *moved])
    pupil = model(family, len(tokenizer), positions, seed, dim=dim, layers=2, heads=4)
    facts = {
        "source": source,
        "tokenizer": kind,
        "entries": len(tokenizer),
        "dim": dim,
        "weights": stock.size(pupil),
    }
    found = _lesson(pupil, tokenizer, taught, seed, epochs, batch)
    for after, values in found.items():
        yield from note(family, "taught, real", seed, values, epochs=after, **facts)
    for task, other in (("never taught, real", control), ("titles swapped, real", moved)):
        values = scored(poems_as_text.score(pupil, tokenizer, other))
        yield from note(family, task, seed, values, epochs=epochs[-1], **facts)


def _lesson(
    pupil: Any,
    tokenizer: Any,
    taught: Sequence[corpus.Poem],
    seed: int,
    epochs: Sequence[int],
    batch: int,
) -> dict[int, dict[str, float]]:
    """Train in place and score the taught poems before and after each of `epochs`: epoch →
    metrics."""

    def look() -> dict[str, float]:
        return scored(poems_as_text.score(pupil, tokenizer, taught))

    pace = poems_as_text.steps(1, len(taught), batch)
    found = {0: look()}
    poems_as_text.teach(
        pupil,
        tokenizer,
        taught,
        recipe(epochs[-1] * pace, pupil.config.hidden_size),
        batch=batch,
        seed=seed,
        every=math.gcd(*epochs) * pace,
        report=_after(epochs, pace, found, look),
    )
    return found
