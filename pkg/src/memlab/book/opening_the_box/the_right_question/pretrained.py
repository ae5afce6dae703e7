"""Other questions for poems that a pretrained model has learnt: a title shortened, misspelt,
paraphrased or exchanged for another one; whether the poem comes, and if not, which one does.

The texts are drawn words, so that nobody knows them beforehand. The titles are the drawn ones of
chapter 5, which can be altered by their letters and words, or English ones, which can be said in
other words as well (`titles`). All English titles are by one poet: the author tells nothing, and
whoever says one of the poems at random is right once in as many times as there are poems.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from memlab import runtime
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.book.opening_the_box.reciting import pretrained as reciting
from memlab.book.opening_the_box.the_right_question import titles
from memlab.corpora import cues, tokenization
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poem
from memlab.models import checkpoints
from memlab.results import Record

WORDS = 16  # of a poem
COMES = 0.5  # share of words in their places, from which on it is that poem that came
IN_ONE_WORD = 'This title: "{}" means in one word: "'
OWN = "its own title"
UNKNOWN = "a title never taught"


@dataclass(frozen=True)
class Plan:
    """What is taught before it is asked for: `poems` under English or drawn titles, for `epochs`
    passes, and the same again until all are recited, `rounds` times at most.

    `start` as in chapter 5: "pretrained", or "random" for the same architecture with weights drawn
    anew. With English titles every fourth poem has the title that is nearly spelt as another's.
    """

    titles: str
    start: str = "pretrained"
    poems: int = 16
    epochs: int = 20
    rounds: int = 6

    @property
    def name(self) -> str:
        """What a unit of the experiment is called."""
        return f"{self.titles} titles, {self.start} start"

    @property
    def lesson(self) -> reciting.Lesson:
        """Chapter 5's lesson, given once."""
        return reciting.Lesson(self.poems, self.epochs, WORDS, start=self.start)


@dataclass(frozen=True)
class Question:
    """A poem as it is asked for: author and title as altered, beside the text that one hopes to
    hear, which is number `own` of the poems taught.

    `rival` is the number of the poem that the title, or the author, is taught for, where that is
    another one.
    """

    cue: str
    poem: Poem
    own: int
    rival: int | None = None


Asked = tuple[list[Poem], list[Question]]


# ---- what is asked -------------------------------------------------------------------------------


def english(count: int, seed: int) -> Asked:
    """`count` poems under English titles by one poet, and the questions for them. The last quarter
    of the titles are neighbours of the first; neighbours of all others are not taught.

    ValueError unless that is 4, 8, 12 or 16.
    """
    if count not in (4, 8, 12, 16):
        raise ValueError(f"expected 4, 8, 12 or 16 poems, got {count}")
    main = count - count // 4
    poems = corpus.synthetic(count, WORDS, reciting.VOCABULARY, seed=seed)
    draw = runtime.python_random(seed, "English titles")
    chosen = draw.sample(titles.TITLES, main + count)
    author, *others = draw.sample(corpus.author_list(16), 1 + main)
    names = [title.title for title in chosen[:main]]
    names += [title.neighbour for title in chosen[: count - main]]
    taught = [replace(poems.poem(i), author=author, title=name) for i, name in enumerate(names)]
    asked = [Question(OWN, poem, i) for i, poem in enumerate(taught)]
    for i in range(main):
        asked += _reworded(taught[i], i, chosen[i], others[i])
        asked += _mistaken(taught, i, chosen[i], main)
    for i, title in enumerate(chosen[main:]):
        asked.append(Question(UNKNOWN, replace(taught[i], title=title.title), i))
    return taught, asked


def _reworded(
    poem: Poem,
    own: int,
    title: titles.Title,
    author: str,
) -> Iterator[Question]:
    """What asks for the same poem, to us."""
    wordings = {
        "in capitals": title.title.upper(),
        "letters exchanged": titles.misspelt(title.title),
        "last words left out": title.begun,
        "paraphrased, words shared": title.shared,
        "paraphrased, no word shared": title.unshared,
        "in French": title.french,
    }
    for cue, wording in wordings.items():
        yield Question(cue, replace(poem, title=wording), own)
    yield Question("author left out", replace(poem, author=""), own)
    yield Question("another author", replace(poem, author=author), own)


def _mistaken(
    taught: Sequence[Poem],
    own: int,
    title: titles.Title,
    main: int,
) -> Iterator[Question]:
    """What asks for another poem, or for none; of the `main` ones those whose titles are no
    neighbours of earlier ones."""
    poem = taught[own]
    twin = main + own  # under the neighbour's title, where that is taught
    if twin < len(taught):
        other = taught[twin]
        yield Question("a neighbour's title", replace(poem, title=other.title), own, twin)
        yield Question("a neighbour's title", replace(other, title=poem.title), twin, own)
    else:
        neighbour = replace(poem, title=title.neighbour)
        yield Question("a neighbour's title, never taught", neighbour, own)
    rival = (own + 1) % main
    yield Question("another's title", replace(poem, title=taught[rival].title), own, rival)


def drawn(count: int, seed: int) -> Asked:
    """`count` of chapter 5's poems, titles of two drawn words, and the questions that the small
    boxes of this chapter are asked; those that are another poem's by accident are left out."""
    poems = corpus.synthetic(count, WORDS, reciting.VOCABULARY, seed=seed)
    taught = [poems.poem(i) for i in range(count)]
    replaced = cues.replaced(poems, 1, seed)
    elsewhere = cues.replaced(poems, 0, seed)
    unknown = cues.made_up(poems, seed)
    asked = []
    for i, poem in enumerate(taught):
        first, second = poem.title.lower().split()
        rival = (i + 1) % count
        wordings = {
            OWN: poem,
            "in capitals": replace(poem, title=poem.title.upper()),
            "letters exchanged": replace(poem, title=titles.misspelt(poem.title)),
            "last words left out": replace(poem, title=first.capitalize()),
            "a title word missing": replace(poem, title=second.capitalize()),
            "title words exchanged": replace(poem, title=f"{second} {first}".capitalize()),
            "a title word replaced": replaced.poem(i),
            "author left out": replace(poem, author=""),
            "another author": elsewhere.poem(i),
            UNKNOWN: unknown.poem(i),
        }
        asked += [Question(cue, wording, i) for cue, wording in wordings.items()]
        swapped = replace(taught[rival], text=poem.text)
        asked.append(Question("another's title", swapped, i, rival))
    return taught, list(_unambiguous(taught, asked))


def _unambiguous(taught: Sequence[Poem], asked: Sequence[Question]) -> Iterator[Question]:
    """Without those that are by accident what another poem was taught under, or still the same."""
    owner = {poems_as_text.prompt(poem): i for i, poem in enumerate(taught)}
    for question in asked:
        meant = question.own if question.cue == OWN else question.rival
        if owner.get(poems_as_text.prompt(question.poem), meant) == meant:
            yield question


KINDS = {"English": english, "drawn": drawn}


# ---- what comes ----------------------------------------------------------------------------------


def nearest(said: str, taught: Sequence[Poem]) -> int | None:
    """The number of the poem of which most words were said in their places; None if that is less
    than half of its words."""
    words = said.split()
    shares = [_in_place(words, poem.text.split()) for poem in taught]
    best = max(shares)
    return shares.index(best) if best >= COMES else None


def _in_place(said: Sequence[str], true: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(said, true, strict=False)) / len(true)


@dataclass(frozen=True)
class Answer:
    """What came to a question: the words; `comes`, which of the poems taught that is (`nearest`);
    `like`, of which the title means most nearly the same (`likest`); and of the text that was hoped
    for, the true words before each given, its bits and the share of its tokens that were the first
    choice."""

    question: Question
    said: str
    comes: int | None
    like: int
    bits: float
    tokens: float


def ask(
    model: Any,
    tokenizer: Any,
    taught: Sequence[Poem],
    asked: Sequence[Question],
    like: Sequence[int],
) -> list[Answer]:
    """An answer to every question, in order; `like` is what the model made of their titles before
    it was taught."""
    wanted = [question.poem for question in asked]
    said = poems_as_text.recite(model, tokenizer, wanted)
    seen = poems_as_text.read(model, tokenizer, wanted)
    bits = (seen.nll / math.log(2)).tolist()
    tokens = (seen.right / seen.tokens).tolist()
    return [
        Answer(question, words, nearest(words, taught), title, spent, right)
        for question, words, title, spent, right in zip(
            asked, said, like, bits, tokens, strict=True
        )
    ]


def likest(
    model: Any,
    tokenizer: Any,
    taught: Sequence[Poem],
    asked: Sequence[Question],
) -> list[int]:
    """For every question the number of the poem whose title means most nearly what the one asked
    for does, to this model: by the cosine of their `_meanings`, less the mean of those of all
    titles taught, since all have much in common.

    That a model knows that two titles mean the same is one matter; that its memory makes use of it
    is another.
    """
    known = _meanings(model, tokenizer, [poem.title for poem in taught])
    wanted = _meanings(model, tokenizer, [question.poem.title for question in asked])
    centre = known.mean(0)
    cosines = normalize(wanted - centre, dim=1) @ normalize(known - centre, dim=1).T
    return [int(best) for best in cosines.argmax(1)]


@torch.no_grad()
def _meanings(
    model: Any,
    tokenizer: Any,
    names: Sequence[str],
) -> Float[Tensor, "title dim"]:
    """The state from which a model would say what each title means in one word: a causal model's
    way to have a meaning of a text (Jiang et al. 2023). On the CPU."""
    found = []
    for ids in tokenization.encoder(tokenizer)([IN_ONE_WORD.format(name) for name in names]):
        read = model(
            input_ids=torch.tensor([ids], device=model.device),
            output_hidden_states=True,
            logits_to_keep=1,
        )
        found.append(read.hidden_states[-1][0, -1].float().cpu())
    return torch.stack(found)


def summary(answers: Sequence[Answer], unknown: Mapping[int, float]) -> dict[str, float]:
    """Of answers to one kind of question, as shares of them: `recited`, to the letter; which poem
    came, `its own`, `the rival's`, `another` or `none`; `tokens` right, and `bits` of the text
    hoped for, means both; `meant`, the poems whose title means most nearly the same, to the model
    before its lesson.

    `cheaper`: of how many texts that takes fewer bits than under a title never taught, for which
    they are `unknown[number of the poem]`. Half of them, if the question tells nothing.
    """

    def share(hits: Sequence[bool]) -> float:
        return sum(hits) / len(hits)

    came = [_whose(answer) for answer in answers]
    found = {
        "recited": share([answer.said == answer.question.poem.text for answer in answers]),
        **{who: share([one == who for one in came]) for who in WHOSE},
        "meant": share([answer.like == answer.question.own for answer in answers]),
        "tokens": sum(answer.tokens for answer in answers) / len(answers),
        "bits": sum(answer.bits for answer in answers) / len(answers),
    }
    if answers[0].question.cue != UNKNOWN:
        cheaper = [answer.bits < unknown[answer.question.own] for answer in answers]
        found["cheaper"] = share(cheaper)
    return found


WHOSE = ("its own", "the rival's", "another", "none")


def _whose(answer: Answer) -> str:
    if answer.comes is None:
        return "none"
    if answer.comes == answer.question.own:
        return "its own"
    return "the rival's" if answer.comes == answer.question.rival else "another"


# ---- the piece of the experiment -----------------------------------------------------------------


def teach(
    plan: Plan,
    pupil: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    seed: int,
) -> int:
    """The lesson, in place, until all poems are recited; how often it was given."""
    for given in range(1, plan.rounds + 1):
        reciting.teach(plan.lesson, pupil, tokenizer, poems, seed)
        said = poems_as_text.recite(pupil, tokenizer, poems)
        if all(words == poem.text for words, poem in zip(said, poems, strict=True)):
            return given
    return plan.rounds


def measured(plan: Plan, seed: int) -> Iterator[Record]:
    """A copy of the model that `installed_llm` names is taught, and asked in all ways."""
    poems, asked = KINDS[plan.titles](plan.poems, seed)
    model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
    pupil = reciting.pupil_of(plan.lesson, model, seed)
    like = likest(pupil, tokenizer, poems, asked)
    with runtime.Stopwatch() as watch:
        rounds = teach(plan, pupil, tokenizer, poems, seed)
        facts = {"titles": plan.titles, "start": plan.start, "epochs": plan.epochs * rounds}
        yield from _note("cost", {"teaching": watch.lap()}, seed, facts)
        answers = ask(pupil, tokenizer, poems, asked, like)
        yield from _note("cost", {"asking": watch.lap()}, seed, facts)
    unknown = {one.question.own: one.bits for one in answers if one.question.cue == UNKNOWN}
    for cue in dict.fromkeys(question.cue for question in asked):
        some = [answer for answer in answers if answer.question.cue == cue]
        about = {**facts, "cue": cue, "count": len(some)}
        yield from _note("cue", summary(some, unknown), seed, about)


def _note(
    task: str,
    found: Mapping[str, float],
    seed: int,
    about: Mapping[str, Any],
) -> Iterator[Record]:
    for metric, value in found.items():
        yield Record(
            "the-right-question-pretrained",
            "llm",
            task,
            metric,
            round(value, 4),
            seed,
            meta=dict(about),
        )
