"""The paper's lesson for a model that others have pretrained: poems by author and title, read
before and after; and what the lesson cost the model elsewhere.

Every function is one piece of the experiment, independent of all others, and yields its records.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from memlab import runtime
from memlab.book.opening_the_box.reciting import measure, poems_as_text
from memlab.corpora import poems as corpus
from memlab.corpora import text, tokenization, verse
from memlab.corpora.poems import Poem
from memlab.models import checkpoints
from memlab.results import Record
from memlab.training import Progress, Recipe, low_rank

WORDS_A_STEP = 256  # of drawn poems: 16 poems of 16 words
VOCABULARY = 128
VERSE = "songs-poems"
VERSES_A_STEP = 9
RATE = 2e-4  # of all weights; corrections take ten times as much
ASKED = 16  # poems under other titles, and poems never taught, at most: asking takes long
WINDOW, WINDOWS = 256, 2  # tokens, and pieces, of a text that is read for what was forgotten
LICENCE = Path("/usr/share/common-licenses/GPL-3")


@dataclass(frozen=True)
class Lesson:
    """What is taught: `epochs` passes through `count` drawn poems of `words` words (0: English
    verse), under their own titles or `swapped` ones.

    `start` is "pretrained", or "random" for the same architecture with weights drawn anew. `rank`
    0 trains all weights; above that, low-rank corrections beside every linear map of the blocks.
    """

    count: int
    epochs: int
    words: int = 16
    swapped: bool = False
    start: str = "pretrained"
    rank: int = 0

    @property
    def name(self) -> str:
        """What a unit of the experiment is called."""
        what = f"{self.count} poems of {self.words} words" if self.count else "verse"
        said = [what, f"{self.epochs} epochs"]
        said += ["titles swapped"] * self.swapped
        said += ["random start"] * (self.start == "random")
        said += [f"rank {self.rank}"] * bool(self.rank)
        return ", ".join(said)

    @property
    def batch(self) -> int:
        """Poems a step: equally many words for poems of any length."""
        return WORDS_A_STEP // self.words if self.count else VERSES_A_STEP


@dataclass(frozen=True)
class Poems:
    """The poems of a lesson, the same under titles of others, and some that are never taught.
    `bits` is the entropy of a poem given its title; None for verse."""

    taught: Sequence[Poem]
    moved: Sequence[Poem]
    held: Sequence[Poem]
    bits: float | None


def poems_of(lesson: Lesson, seed: int) -> Poems:
    """The poems of a lesson. FileNotFoundError where verse is not installed."""
    bits = None
    if lesson.count:
        drawn = corpus.synthetic(lesson.count, lesson.words, VOCABULARY, seed=seed)
        # Of as many again, which share no title with those.
        fresh = corpus.synthetic(lesson.count, lesson.words, VOCABULARY, seed=seed, fresh=True)
        taught = [drawn.poem(i) for i in range(len(drawn))]
        held = [fresh.poem(i) for i in range(len(fresh))]
        bits = drawn.bits_per_poem
    else:
        found = poems_as_text.distinct(verse.collection(VERSE))
        taught = [poem for i, poem in enumerate(found) if i % 6]
        held = found[::6]
    moved = poems_as_text.swapped(taught, seed)
    if lesson.swapped:
        taught, moved = moved, taught
    return Poems(taught, moved[:ASKED], held[:ASKED], bits)


# ---- the lesson ----------------------------------------------------------------------------------


def pupil_of(lesson: Lesson, model: Any, seed: int) -> Any:
    """A model to teach: a copy of `model`, or one of its architecture with random weights, as its
    family draws them."""
    if lesson.start == "pretrained":
        return copy.deepcopy(model)
    with runtime.drawing_from(runtime.derive_seed(seed, "random start")):
        return type(model)(model.config).to(model.device).eval()


def _in_a_block(name: str) -> bool:
    return "head" not in name and "embed" not in name


def recipe(lesson: Lesson, poems: int) -> Recipe:
    """AdamW, the rate up over a tenth of the steps and down to 0 in a line."""
    steps = poems_as_text.steps(lesson.epochs, poems, lesson.batch)
    rate = RATE * (10 if lesson.rank else 1)
    return Recipe(steps, lr=rate, warmup=0.1, decay=1.0, betas=(0.9, 0.999))


def teach(
    lesson: Lesson,
    pupil: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    seed: int,
) -> int:
    """The lesson, in place, by its `recipe`. How many numbers were trained."""
    maps: dict[str, low_rank.LowRank] = {}
    if lesson.rank:
        draw = runtime.generator(seed, "corrections", lesson.rank)
        maps = low_rank.correct(pupil, lesson.rank, draw, _in_a_block)
    trained = sum(p.numel() for p in pupil.parameters() if p.requires_grad)
    plan = recipe(lesson, len(poems))
    with Progress(lesson.name, plan.steps) as progress:
        poems_as_text.teach(
            pupil,
            tokenizer,
            poems,
            plan,
            batch=lesson.batch,
            seed=seed,
            every=max(1, plan.steps // 10),
            report=progress.report,
            watch=progress.watch,
        )
    low_rank.fold(pupil, maps)
    return trained


# ---- what was forgotten --------------------------------------------------------------------------


def elsewhere() -> dict[str, str]:
    """Texts that no lesson holds: documentation of Python packages and, where the system has it, a
    licence, both of which a pretrained model may know; and words of this book, which it cannot."""
    texts = {"documentation": " ".join(text.documentation("test")[:100])}
    if LICENCE.is_file():
        texts["licence"] = LICENCE.read_text("utf-8")
    else:
        print(f"reciting: the licence left out: expected it at {LICENCE}", file=sys.stderr)
    modules = (poems_as_text, measure, corpus, tokenization, runtime, checkpoints)
    texts["this book's own words"] = "\n".join(map(_explained, modules))
    return texts


def _explained(module: ModuleType) -> str:
    """What a module says of itself and of all that it defines."""
    own = [part for part in vars(module).values() if _lives_in(part, module)]
    return "\n".join(part.__doc__ or "" for part in (module, *own))


def _lives_in(part: object, module: ModuleType) -> bool:
    return getattr(part, "__module__", "") == module.__name__


@torch.no_grad()
def bits_a_token(model: Any, tokenizer: Any, words: str) -> float:
    """What a token of the beginning of a text costs, in bits, those before it given, 256 at a time.
    ValueError for a text of less than two tokens."""
    (ids,) = tokenization.encoder(tokenizer)([words])
    if len(ids) < 2:
        raise ValueError(f"expected a text of at least 2 tokens, got {len(ids)}")
    lost = 0.0
    count = 0
    for part in torch.tensor(ids[: WINDOW * WINDOWS], device=model.device).split(WINDOW):
        guessed = len(part) - 1
        if guessed:
            lost += float(model(input_ids=part[None], labels=part[None]).loss) * guessed
            count += guessed
    return lost / count / math.log(2)


# ---- the pieces of the experiment ----------------------------------------------------------------


def _note(
    lesson: Lesson,
    task: str,
    seed: int,
    found: Mapping[str, float],
    **meta: Any,
) -> Iterator[Record]:
    about = {
        "source": "drawn words" if lesson.count else VERSE,
        "count": lesson.count,
        "words": lesson.words if lesson.count else 0,
        "titles": "swapped" if lesson.swapped else "own",
        "start": lesson.start,
        "rank": lesson.rank,
    }
    for metric, value in found.items():
        yield Record("reciting-pretrained", "llm", task, metric, value, seed, meta=about | meta)


def measured(lesson: Lesson, seed: int) -> Iterator[Record]:
    """A copy of the model that `installed_llm` names is taught, and asked: see `asked`; the model
    as it comes, where a lesson has no epochs.

    Where verse is not installed, one line to stderr says so and no record is made.
    """
    try:
        poems = poems_of(lesson, seed)
    except FileNotFoundError as missing:
        print(f"reciting: verse left out: {missing}", file=sys.stderr)
        return
    model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
    facts = {"epochs": lesson.epochs, "trained": 0, **_facts(model, tokenizer, poems)}
    if lesson.epochs:
        model = pupil_of(lesson, model, seed)
        with runtime.Stopwatch() as watch:
            facts["trained"] = teach(lesson, model, tokenizer, poems.taught, seed)
        yield from _note(lesson, "cost", seed, {"seconds": round(watch.seconds, 1)}, **facts)
    yield from asked(lesson, model, tokenizer, poems, seed, **facts)


def _facts(model: Any, tokenizer: Any, poems: Poems) -> dict[str, Any]:
    rows = poems_as_text.rows(tokenizer, poems.taught)
    facts: dict[str, Any] = {
        "weights": sum(p.numel() for p in model.parameters()),
        "tokens_each": round(sum(len(row.answer) for row in rows) / len(rows), 2),
    }
    return facts if poems.bits is None else {**facts, "poem_bits": poems.bits}


def asked(
    lesson: Lesson,
    model: Any,
    tokenizer: Any,
    poems: Poems,
    seed: int,
    **facts: Any,
) -> Iterator[Record]:
    """How a model answers for the poems taught, for the same under other titles and for others; and
    what a token of texts elsewhere costs it."""
    tasks = {"taught": poems.taught, "titles swapped": poems.moved, "never taught": poems.held}
    for task, some in tasks.items():
        score = poems_as_text.score(model, tokenizer, some)
        yield from _note(lesson, task, seed, measure.scored(score), **facts)
    for name, words in elsewhere().items():
        bits = bits_a_token(model, tokenizer, words)
        yield from _note(lesson, "elsewhere", seed, {"bits a token": bits}, text=name, **facts)
