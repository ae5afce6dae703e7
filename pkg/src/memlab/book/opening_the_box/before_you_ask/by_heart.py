"""What a language model knows by heart: passages of a text, read behind their own opening, behind
another's, and behind none.

A passage is 100 tokens: an opening and a continuation of 50 each (Carlini and colleagues 2023,
Section 3). All is read off forward passes. Greedy decoding goes on with the text exactly as long as
the true token is the first choice, from the first one on; and what a sampler would say in n tries
has a closed form (Hayes and colleagues 2025).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from memlab.book.opening_the_box.before_you_ask import instruments
from memlab.corpora import tokenization
from memlab.evaluation import Reading

HALF = 50  # tokens of an opening, and of a continuation
TRIES = 10_000
BATCH = 8  # passages at a time: logits are the largest thing here
Found = dict[str, float]


def passages(
    tokenizer: Any,
    words: str,
    most: int,
) -> Int[Tensor, "passage token"]:
    """At most `most` passages of a text, evenly spread from its beginning to its end, without
    overlap. ValueError for a text of less than two passages, which could not be swapped."""
    (ids,) = tokenization.encoder(tokenizer)([words])
    count = min(most, len(ids) // (2 * HALF))
    if count < 2:
        raise ValueError(f"expected a text of at least {4 * HALF} tokens, got {len(ids)}")
    last = len(ids) - 2 * HALF
    starts = [round(i * last / (count - 1)) for i in range(count)]
    return torch.tensor([ids[start : start + 2 * HALF] for start in starts])


@torch.no_grad()
def continued(
    model: Any,
    openings: Int[Tensor, "passage opening"],
    endings: Int[Tensor, "passage token"],
) -> Reading:
    """Endings read behind openings, which have the same length: −ln p of every token of an ending,
    and whether it is the first choice."""
    nll: list[Tensor] = []
    right: list[Tensor] = []
    place = openings.shape[1] - 1
    for first, then in zip(openings.split(BATCH), endings.split(BATCH), strict=True):
        ids = torch.cat([first, then], 1)[:, :-1].to(model.device)
        logits = model(ids).logits[:, place:].float().cpu()
        nll.append(F.cross_entropy(logits.transpose(1, 2), then, reduction="none"))
        right.append(logits.argmax(-1) == then)
    return Reading(torch.cat(nll), torch.cat(right))


def _run(right: Sequence[bool]) -> int:
    """How many are right from the start."""
    return next((place for place, one in enumerate(right) if not one), len(right))


def read(model: Any, told: Int[Tensor, "passage token"]) -> list[Found]:
    """What each passage gives.

    "bits": a token of the continuation costs so much behind its own opening; "bits, other opening":
    behind that of another passage of the text; "bits, no opening": behind one token. "first
    choices": the share of tokens that are; "run": how many are from the start; "recited": all are.
    "found": sampled at temperature 1, the continuation comes in 10,000 tries as often as not.
    """
    openings = told[:, :HALF]
    endings = told[:, HALF:]
    own = continued(model, openings, endings)
    other = continued(model, openings.roll(1, 0), endings)
    none = continued(model, openings[:, -1:], endings)
    found = instruments.within(-own.surprise, TRIES) >= 0.5
    to_bits = 1 / (HALF * math.log(2))
    return [
        {
            "bits": float(own.surprise[i]) * to_bits,
            "bits, other opening": float(other.surprise[i]) * to_bits,
            "bits, no opening": float(none.surprise[i]) * to_bits,
            "first choices": float(own.right[i].double().mean()),
            "run": float(_run(own.right[i].tolist())),
            "recited": float(own.recited[i]),
            "found": float(found[i]),
        }
        for i in range(len(told))
    ]
