"""What a pretrained language model costs that reads a text whole, beside the memory and the word
index over the same text: seconds to read it and to write on, and bytes that have to be kept.

Lengths are counted in the model's own tokens. The book's tokenizer cuts the same text into more of
them, so all bytes and seconds here are of the same text and divided by the same tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from memlab.book.outside_the_weights.what_it_costs import measure
from memlab.book.outside_the_weights.what_it_costs.measure import Costs
from memlab.corpora import tokenization
from memlab.decoder import MemoryDecoder, pretrained, reading
from memlab.models import checkpoints
from memlab.results import Record

SLACK = 1.3  # more text than should be needed, in the book's tokens


def passage(
    decoder: MemoryDecoder,
    tokenizer: Any,
    length: int,
    seed: int = 0,
) -> tuple[reading.Segments, Tensor]:
    """A text of real documentation: as few of the decoder's segments as have `length` tokens of
    another tokenizer, and these tokens (1, length).

    ValueError for a length below that of a question, `measure.CUE`.
    """
    if length < measure.CUE:
        raise ValueError(f"expected at least {measure.CUE} tokens, got {length}")
    encode = tokenization.encoder(tokenizer)
    wanted = length
    while True:
        wanted = int(wanted * SLACK)
        segments = measure.text(decoder, wanted, seed)
        encoded = encode(measure.texts_of(segments))
        ids: list[int] = []
        for count, some in enumerate(encoded, 1):
            ids += some
            if len(ids) >= length:
                return segments[:count], torch.tensor([ids[:length]])


def kept_a_token(config: Any) -> int:
    """Bytes that a causal model of this config keeps for every token it has read, in float32: a key
    and a value for each key head of each layer."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    return 2 * int(config.num_hidden_layers) * int(keys) * int(width) * 4


def costs(
    model: Any,
    tokenizer: Any,
    length: int,
    seed: int = 0,
) -> Iterator[tuple[str, Costs]]:
    """By system, over one text of `length` tokens of the model: the model itself ("llm"), the
    memory by its parts as `measure.costs_of_reading` has them, and the word index ("bm25").

    "llm" `build` reads the text into the cache, `answer` is a question and the tokens of an answer
    behind it, `bytes` are those of the cache, `formula` what they should be. Everything is on the
    model's device.
    """
    decoder: Any = pretrained.shipped().to(model.device)
    segments, ids = passage(decoder, tokenizer, length, seed)
    texts = measure.texts_of(segments)
    found = measure.attending(model, ids.to(model.device))
    text = sum(len(one.encode()) for one in texts)
    yield "llm", {**found, "formula": kept_a_token(model.config) * length, "text": text}
    yield from measure.costs_of_reading(decoder, segments)
    yield "bm25", measure.words(texts)


def weight_bytes(model: Any) -> dict[str, int]:
    """Bytes of the weights of a model, those that are shared counted once ("llm"), and of the
    book's decoder with its encoder ("decoder")."""
    return {"llm": _bytes(model), "decoder": _bytes(pretrained.shipped())}


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


# ---- the pieces of the experiment ----------------------------------------------------------------


def at_length(length: int, seed: int) -> Iterator[Record]:
    """The costs of every system over a text of this length.

    Where the model has no place for so many tokens, one line to stderr says so and no record is
    made.
    """
    model, tokenizer = checkpoints.load_once(checkpoints.installed_llm())
    places = getattr(model.config, "max_position_embeddings", length)
    needed = length + measure.CUE + measure.NEW
    if needed > places:
        print(
            f"what-it-costs: {length} tokens left out: the model has {places} places, expected"
            f" {needed}",
            file=sys.stderr,
        )
        return
    for system, found in costs(model, tokenizer, length, seed):
        yield from _note("length", system, found, seed, tokens=length)


def of_weights(seed: int) -> Iterator[Record]:
    """The bytes of the weights of either reader."""
    model, _ = checkpoints.load_once(checkpoints.installed_llm())
    for system, size in weight_bytes(model).items():
        yield from _note("weights", system, {"bytes": size}, seed)


def _note(
    task: str,
    system: str,
    found: Costs,
    seed: int,
    **meta: Any,
) -> Iterator[Record]:
    for metric, value in found.items():
        yield Record("what-it-costs-pretrained", system, task, metric, float(value), seed, 0, meta)
