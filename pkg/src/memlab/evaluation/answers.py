"""What did it remember? Scorers for answers as text, and measures of a model that was to learn poems.

An answerer is any function that takes questions and returns one answer each: a model, a search engine, a person. It
is scored here without a look inside; nothing in this module knows how a memory is built.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab import results
from memlab.corpora.poems import Poems

Answerer = Callable[[Sequence[str]], list[str]]
_EMPTY = set("a an and are as at be but by for from i in is it its my of on or our so that the their then there this "
             "to was we were what which who will with you your".split())
NO_ANSWER = ("not in the text", "the text does not say", "i do not know", "none", "nothing", "unknown")
GRID = ("model", "task", "tokens", "depth")


# ---- scorers of one answer -------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def exact(answer: str, target: str) -> bool:
    """Whether the answer is the target, letter by letter; only runs of white space count as one space."""
    return _plain(answer) == _plain(target)


def contains_number(answer: str, target: str) -> bool:
    """Whether the answer names the number as a whole: 1234567 is not in 99123456799, A1234567 or 1234567.5.

    An answer that lists many numbers contains each of them. ValueError if the target is no number.
    """
    number = _plain(target)
    if not re.fullmatch(r"\d+(?:[.,]\d+)*", number):
        raise ValueError(f"expected digits as target, got {target!r}")
    before, after = r"(?<![0-9A-Za-z_])(?<![0-9][.,])", r"(?![0-9A-Za-z_]|[.,][0-9])"
    return re.search(before + re.escape(number) + after, _plain(answer)) is not None


def _words(text: str) -> list[str]:
    """Words in lower case, a Chinese character being a word; no punctuation."""
    return re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’][^\W_\u3400-\u9fff]+)*", _plain(text).casefold())


def content_words(answer: str, target: str) -> float:
    """The share of the target's content words that occur in the answer, as whole words, in any order.

    Words such as "the" or "of" do not count unless the target has no others. ValueError for a target without words.
    """
    words = set(_words(target))
    wanted = words - _EMPTY or words
    if not wanted:
        raise ValueError(f"expected a target with at least one word, got {target!r}")
    return len(wanted & set(_words(answer))) / len(wanted)


def contains_value(answer: str, target: str) -> bool:
    """Whether the answer names the value as a whole, in any case of letters: "karo" is not in "karos" or "karo-2".

    Numbers are read as in `contains_number`. ValueError for an empty target.
    """
    wanted = _plain(target).casefold()
    if not wanted:
        raise ValueError(f"expected a value as target, got {target!r}")
    if re.fullmatch(r"\d+(?:[.,]\d+)*", wanted):
        return contains_number(answer, wanted)
    return re.search(rf"(?<![\w-]){re.escape(wanted)}(?![\w-])", _plain(answer).casefold()) is not None


def abstains(answer: str) -> bool:
    """Whether the answer says nothing, is a phrase of `NO_ANSWER`, or begins with one of several words."""
    said = " ".join(_words(answer))
    return not said or any(said == one or (" " in one and said.startswith(one + " ")) for one in NO_ANSWER)


def value_recall(answer: str, targets: Sequence[str]) -> float:
    """The share of values that the answer names (RULER's score); 1 means all of them, which is the strict score.

    Without targets nothing is the right answer: 1 if the answer abstains, or else 0.
    """
    if not targets:
        return float(abstains(answer))
    return sum(contains_value(answer, target) for target in targets) / len(targets)


def char_accuracy(answer: str, target: str) -> float:
    """The share of characters that are right in their place; what is missing or too much counts as wrong."""
    a, b = _plain(answer), _plain(target)
    return sum(x == y for x, y in zip(a, b, strict=False)) / max(len(a), len(b)) if a or b else 1.0


# ---- many answers ----------------------------------------------------------------------------------------------------


def memory_ability(answers: Sequence[str], targets: Sequence[str]) -> float:
    """The share of targets that are answered exactly, from beginning to end: Eq. (4) of Wang and Li.

    ValueError if there are none, or not as many answers as targets.
    """
    if len(answers) != len(targets) or not targets:
        raise ValueError(f"expected one answer a target, got {len(answers)} answers to {len(targets)} targets")
    return sum(map(exact, answers, targets)) / len(targets)


def auc(positive: Float[Tensor, " pos"], negative: Float[Tensor, " neg"]) -> float:
    """The probability that a random positive scores higher than a random negative; a tie counts one half.

    1 tells all apart, 0.5 is chance. ValueError if a side is empty or not a number.
    """
    if not len(positive) or not len(negative) or torch.cat([positive, negative]).isnan().any():
        raise ValueError(f"expected numbers on both sides, got {len(positive)} and {len(negative)}, NaN among them or "
                         "none at all")
    ranked, scores = negative.double().sort().values, positive.double().contiguous()
    below, upto = torch.searchsorted(ranked, scores), torch.searchsorted(ranked, scores, right=True)
    return float((below + upto).double().mean() / (2 * len(negative)))


def recall_table(data: pd.DataFrame, by: Sequence[str] = GRID) -> pd.DataFrame:
    """Mean recall with its 95 % Wilson interval and count, for every cell of a grid: columns `by`, mean, low, high, n.

    `data` holds one row a trial, its column `value` in 0 … 1; where there is a column `metric`, the rows "recall" are
    taken. Columns of `by` that `data` lacks are left out. ValueError if nothing is left, or a value is out of range.
    """
    rows = data[data["metric"] == "recall"] if "metric" in data else data
    present = [name for name in by if name in rows]
    if not len(rows) or not present:
        raise ValueError(f"expected recall rows with some of the columns {', '.join(by)}, got {len(rows)} rows with "
                         f"{', '.join(map(str, data.columns))}")
    if not rows["value"].between(0, 1).all():
        raise ValueError(f"expected recall between 0 and 1, got {rows['value'].min()} to {rows['value'].max()}")
    return results.summarise(rows, present)


# ---- a model and its poems -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What a model makes of poems that are put before it word by word: no sampling, one forward pass.

    `nll` is −ln p of every word given the key and the true words before it, in nats; `right`, whether that word was
    the model's first choice.
    """

    nll: Float[Tensor, "poem word"]
    right: Bool[Tensor, "poem word"]

    @property
    def recited(self) -> Bool[Tensor, " poem"]:
        """Whether every word was the first choice: exactly then greedy decoding recites the poem."""
        return self.right.all(1)

    @property
    def memory_ability(self) -> float:
        """The share of poems recited as a whole."""
        return float(self.recited.double().mean())

    @property
    def token_accuracy(self) -> float:
        """The share of words that were the first choice, the true words before them given."""
        return float(self.right.double().mean())

    @property
    def surprise(self) -> Float[Tensor, " poem"]:
        """−ln p of every poem as a whole, in nats: low for what is known."""
        return self.nll.double().sum(1)


@torch.no_grad()
def read(model: Any, poems: Poems, batch: int = 256) -> Reading:
    """Teacher forcing: the model sees key and body, and is judged on the body. On the CPU, whatever the model is on."""
    start, parts = poems.keys.shape[1] - 1, []
    for ids in poems.ids.split(batch):
        logits = model(ids[:, :-1].to(model.device)).logits[:, start:].float().cpu()
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, start + 1 :], reduction="none")
        parts.append((nll, logits.argmax(-1) == ids[:, start + 1 :]))
    nll, right = (torch.cat(part) for part in zip(*parts, strict=True))
    return Reading(nll, right)


def stored_bits(nll: Float[Tensor, "poem word"], vocabulary: int) -> float:
    """Bits that the model spares who wants to write the poems down: N · S · log2(V) − NLL / ln 2.

    The first term is the entropy of N poems of S words, each uniform on V, the second the length of their code under
    the model (`nll` in nats). It is negative for a model that is sure of the wrong words.
    """
    return nll.numel() * math.log2(vocabulary) - float(nll.double().sum()) / math.log(2)


@torch.no_grad()
def recite(model: Any, keys: Int[Tensor, "poem key"], words: int) -> Int[Tensor, "poem word"]:
    """Free running: the model gets the keys alone and continues greedily, its own words being all it has."""
    keys = keys.to(model.device)
    said = model.generate(keys, attention_mask=torch.ones_like(keys), max_new_tokens=words, min_new_tokens=words,
                          do_sample=False, pad_token_id=0)
    return said[:, keys.shape[1] :].cpu()


def reciter(model: Any, poems: Poems) -> Answerer:
    """A model as an answerer: questions like "Moon salt, by Ada Vale" in, its recitation as a line of words out.

    Raises ValueError for a question in words that the set of poems does not have.
    """
    def answer(questions: Sequence[str]) -> list[str]:
        if not questions:
            return []
        keys = torch.stack([poems.cue(question) for question in questions])
        return [poems.words(said) for said in recite(model, keys, poems.bodies.shape[1])]

    return answer


def fingerprint(model: torch.nn.Module) -> str:
    """Hex sha256 over names, shapes and bytes of all weights and buffers: equal only if nothing has changed."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
