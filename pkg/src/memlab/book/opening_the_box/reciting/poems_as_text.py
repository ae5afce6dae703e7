"""Poems as text before any causal language model with its tokenizer: teach, let recite, score.

The question is dynasty (where known), author and title, a line each, then an empty line; the answer
is the text, then the tokenizer's end mark. The loss counts the answer alone. Question and answer
are encoded apart, so that no token reaches across. The model may be a small one made here, a
checkpoint in a folder, or one from the hub, asked by name.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora import tokenization
from memlab.corpora.poems import Poem
from memlab.training import Batch, Log, Recipe, Watch, fit

SPECIAL = ("<pad>", "<unk>", "<end>")


# ---- poems ---------------------------------------------------------------------------------------


def prompt(poem: Poem) -> str:
    """The question that asks for a poem: dynasty where there is one, author and title on lines of
    their own."""
    lines = (poem.dynasty, poem.author, poem.title)
    return "\n".join(line for line in lines if line) + "\n\n"


def distinct(poems: Iterable[Poem], longest: int = 256) -> list[Poem]:
    """The first poem of every prompt, in order, if prompt and text have at most `longest`
    characters together.

    Where two poems share author and title no model can know which one is meant. ValueError if none
    is left.
    """
    first: dict[str, Poem] = {}
    for poem in poems:
        first.setdefault(prompt(poem), poem)
    kept = [poem for question, poem in first.items() if len(question) + len(poem.text) <= longest]
    if not kept:
        raise ValueError(
            f"expected poems of at most {longest} characters, got {len(first)} distinct ones, all"
            " longer"
        )
    return kept


def swapped(poems: Sequence[Poem], seed: int = 0) -> list[Poem]:
    """The same prompts in the same order, every text moved to another one (a random cycle): the
    control for pairs."""
    if len(poems) < 2:
        raise ValueError(f"expected at least 2 poems to swap, got {len(poems)}")
    draw = runtime.python_random(seed, "recital", "swapped")
    order = draw.sample(range(len(poems)), len(poems))
    donors = order[1:] + order[:1]
    texts = {own: poems[donor].text for own, donor in zip(order, donors, strict=True)}
    return [replace(poem, text=texts[i]) for i, poem in enumerate(poems)]


# ---- tokens --------------------------------------------------------------------------------------


def characters(poems: Iterable[Poem]) -> Any:
    """A tokenizer in which every character of these poems and their prompts is one token (others
    become <unk>). ValueError for half a character (a lone surrogate)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    poems = list(poems)
    tokenization.check([prompt(poem) + poem.text for poem in poems])
    letters = sorted({letter for poem in poems for letter in prompt(poem) + poem.text})
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *letters))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class Row:
    """A poem in tokens: the question, and the answer with the end mark."""

    question: list[int]
    answer: list[int]

    def __len__(self) -> int:
        """Tokens of question and answer."""
        return len(self.question) + len(self.answer)


def rows(tokenizer: Any, poems: Sequence[Poem]) -> list[Row]:
    """The poems in tokens of any tokenizer, in order; its marks, where they stand in a poem, are
    letters.

    ValueError if it has no end mark, if there are no poems, or for a poem without text: a model
    that says nothing would know it.
    """
    if tokenizer.eos_token_id is None or not poems:
        raise ValueError(
            f"expected poems and a tokenizer with an end mark (eos_token), got {len(poems)} poems"
            f" and {tokenizer.eos_token!r}"
        )
    encode = tokenization.encoder(tokenizer)
    questions = encode([prompt(poem) for poem in poems])
    answers = encode([poem.text for poem in poems])
    for poem, answer in zip(poems, answers, strict=True):
        if tokenization.is_blank(poem.text) or not answer:
            raise ValueError(
                f"expected a text in the tokenizer's tokens for every poem, got {poem.text!r} for"
                f" {poem.title!r}"
            )
    end = tokenizer.eos_token_id
    return [
        Row(question, [*answer, end]) for question, answer in zip(questions, answers, strict=True)
    ]


def places(tokenizer: Any, poems: Sequence[Poem]) -> int:
    """How many positions a model needs for the longest of these poems, with room for one that does
    not stop in time."""
    return max(len(row) for row in rows(tokenizer, poems)) + 4


def collate(some: Sequence[Row], device: torch.device | str = "cpu") -> Batch:
    """Rows as one batch, filled up on the right: ids, attention mask, and labels that leave out
    question and filling.

    What it is filled with does not matter (here id 0): mask and labels pass over it by place and
    not by id, since many tokenizers fill with their end mark.
    """
    longest = max(len(row) for row in some)
    ids, labels, mask = torch.zeros(3, len(some), longest, dtype=torch.long)
    labels.fill_(-100)
    for i, row in enumerate(some):
        start = len(row.question)
        end = len(row)
        ids[i, :end] = torch.tensor(row.question + row.answer)
        labels[i, start:end] = ids[i, start:end]
        mask[i, :end] = 1
    return {
        "input_ids": ids.to(device),
        "attention_mask": mask.to(device),
        "labels": labels.to(device),
    }


# ---- teaching ------------------------------------------------------------------------------------


def steps(
    epochs: int,
    poems: int,
    batch: int,
) -> int:
    """How many batches `epochs` passes through the poems are; the last batch of a pass may be
    smaller."""
    return epochs * -(-poems // batch)


def _shuffled(
    encoded: Sequence[Row],
    batch: int,
    seed: int,
) -> Iterator[list[Row]]:
    """Endless batches, a new order at every pass; of every eight batches the long poems go
    together, to fill less."""
    draw = runtime.generator(seed, "recital", "order")
    while True:
        parts: list[list[int]] = []
        for some in torch.randperm(len(encoded), generator=draw).split(8 * batch):
            by_length = sorted(some.tolist(), key=lambda i: len(encoded[i]))
            parts += [by_length[at : at + batch] for at in range(0, len(by_length), batch)]
        for at in torch.randperm(len(parts), generator=draw).tolist():
            yield [encoded[i] for i in parts[at]]


def teach(
    model: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    recipe: Recipe,
    *,
    batch: int = 32,
    seed: int = 0,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
    watch: Watch | None = None,
) -> Log:
    """Train in place with the book's one loop, shuffled anew at every pass, and return the log;
    model on any device.

    `recipe.steps` counts batches: `steps(epochs, len(poems), batch)`. `watch` sees the batches go
    by, as `training.Progress` does.
    """
    if batch < 1:
        raise ValueError(f"expected batches of at least 1 poem, got {batch}")
    order = _shuffled(rows(tokenizer, poems), batch, seed)

    def batches(_step: int) -> Batch:
        return collate(next(order), model.device)

    watched = watch(batches) if watch else batches
    return fit(model, watched, recipe, every=every, report=report)


# ---- asking and scoring --------------------------------------------------------------------------


def _letters(text: str) -> str:
    """Letters and digits, with the marks above, below and beside them, which in Hindi are
    vowels."""
    normal = unicodedata.normalize("NFKC", text)
    return "".join(c for c in normal if c.isalnum() or unicodedata.category(c)[0] == "M")


def _same_letters(said: str, text: str) -> bool:
    letters = _letters(text)
    # Silence is no recitation of a poem without letters.
    return _letters(said) == letters if letters else evaluation.exact(said, text)


# When is a recitation the poem? The paper does not say; from strict to lenient.
CONVENTIONS: dict[str, Callable[[str, str], bool]] = {
    "every character": operator.eq,
    "white space as one": evaluation.exact,
    "letters alone": _same_letters,
}


@torch.no_grad()
def recite(
    model: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    batch: int = 64,
) -> list[str]:
    """What the model says to every prompt: greedy decoding up to its end mark, or two tokens beyond
    the text and its end mark, whatever else is in the batch.

    Prompts of one length are asked together, so nothing is filled up. The checkpoint's own settings
    for decoding, such as a penalty for repetition, are set aside: with them a refrain could not be
    recited.
    """
    encoded = rows(tokenizer, poems)
    said = [""] * len(poems)
    for part in _of_one_length(encoded, batch):
        asked = torch.tensor([encoded[i].question for i in part], device=model.device)
        longest = max(len(encoded[i].answer) for i in part) + 2
        end = tokenizer.eos_token_id
        out = evaluation.greedy(model, asked, new=longest, end=end, pad=end)
        answers = out[:, asked.shape[1] :].cpu()
        for i, answer in zip(part, answers, strict=True):
            own = answer[: len(encoded[i].answer) + 2]
            said[i] = tokenizer.decode(
                own, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
    return said


def _of_one_length(encoded: Sequence[Row], batch: int) -> Iterator[list[int]]:
    """Numbers of at most `batch` rows whose questions have one length; short questions first."""

    def lengths(i: int) -> tuple[int, int]:
        return len(encoded[i].question), len(encoded[i].answer)

    order = sorted(range(len(encoded)), key=lengths)
    for _, same in groupby(order, key=lambda i: len(encoded[i].question)):
        together = list(same)
        for start in range(0, len(together), batch):
            yield together[start : start + batch]


@dataclass(frozen=True)
class Score:
    """How well poems are known: shares of poems recited under each convention, and measures without
    recitation.

    `tokens`: share of answer tokens, end mark included, that are the first choice, the true ones
    before them given; `characters`: share of characters right in their place in the recitation.
    `bits`: what it takes to write a poem down with the model at hand, on average; `bits_per_token`,
    the same for a token of it.
    """

    recited: dict[str, float]
    tokens: float
    characters: float
    bits: float
    bits_per_token: float
    poems: int


@torch.no_grad()
def score(
    model: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    batch: int = 64,
) -> Score:
    """Ask for every poem and read every poem. The model is left as it was."""
    said = recite(model, tokenizer, poems, batch)
    seen = read(model, tokenizer, poems, batch)
    count = int(seen.tokens.sum())
    bits = float(seen.nll.sum()) / math.log(2)
    pairs = [(answer, poem.text) for answer, poem in zip(said, poems, strict=True)]

    def mean(judge: Callable[[str, str], float]) -> float:
        return sum(judge(*pair) for pair in pairs) / len(pairs)

    return Score(
        recited={name: mean(same) for name, same in CONVENTIONS.items()},
        tokens=int(seen.right.sum()) / count,
        characters=mean(evaluation.char_accuracy),
        bits=bits / len(pairs),
        bits_per_token=bits / count,
        poems=len(pairs),
    )


class Reading(NamedTuple):
    """Of the answer tokens of each poem, the true ones before them given: −ln p in nats, how many
    are the first choice, how many there are (end mark included)."""

    nll: Float[Tensor, " poem"]
    right: Int[Tensor, " poem"]
    tokens: Int[Tensor, " poem"]


@torch.no_grad()
def read(
    model: Any,
    tokenizer: Any,
    poems: Sequence[Poem],
    batch: int = 64,
) -> Reading:
    """Every poem read behind its question, in the order of the poems; on the CPU, whatever the
    model is on."""
    encoded = rows(tokenizer, poems)
    nll = torch.zeros(len(encoded), dtype=torch.float64)
    right, tokens = torch.zeros(2, len(encoded), dtype=torch.long)
    by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    for start in range(0, len(encoded), batch):
        part = by_length[start : start + batch]
        made = collate([encoded[i] for i in part], model.device)
        labels = made["labels"][:, 1:]
        out = model(input_ids=made["input_ids"], attention_mask=made["attention_mask"])
        logits = out.logits[:, :-1].float()
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        nll[part] = losses.double().sum(1).cpu()
        right[part] = (logits.argmax(-1) == labels).sum(1).cpu()
        tokens[part] = (labels != -100).sum(1).cpu()
    return Reading(nll, right, tokens)
