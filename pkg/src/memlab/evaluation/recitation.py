"""A model and its poems: read word by word with the true words given, or recited freely from the
keys alone. And greedy decoding for a score, whatever model it is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab.corpora import tokenization
from memlab.corpora.poems import Poems
from memlab.evaluation.answers import Answerer


@dataclass(frozen=True)
class Reading:
    """What a model makes of poems that are put before it word by word: no sampling, one forward
    pass.

    `nll` is −ln p of every word given the key and the true words before it, in nats; `right`,
    whether that word was the model's first choice.
    """

    nll: Float[Tensor, "poem word"]
    right: Bool[Tensor, "poem word"]

    @property
    def recited(self) -> Bool[Tensor, " poem"]:
        """Whether every word was the first choice: exactly then greedy decoding recites the
        poem."""
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
def read(
    model: Any,
    poems: Poems,
    batch: int = 256,
) -> Reading:
    """Teacher forcing: the model sees key and body, and is judged on the body. On the CPU, whatever
    the model is on."""
    start = poems.keys.shape[1]
    nll = []
    right = []
    for ids in poems.ids.split(batch):
        words = ids[:, start:]
        # The output at a place is about the next word.
        logits = model(ids[:, :-1].to(model.device)).logits[:, start - 1 :].float().cpu()
        nll.append(F.cross_entropy(logits.transpose(1, 2), words, reduction="none"))
        right.append(logits.argmax(-1) == words)
    return Reading(torch.cat(nll), torch.cat(right))


def stored_bits(nll: Float[Tensor, "poem word"], vocabulary: int) -> float:
    """Bits that the model spares who wants to write the poems down: N · S · log2(V) − NLL / ln 2.

    The first term is the entropy of N poems of S words, each uniform on V, the second the length of
    their code under the model (`nll` in nats). It is negative for a model that is sure of the wrong
    words.
    """
    entropy = nll.numel() * math.log2(vocabulary)
    code_length = float(nll.double().sum()) / math.log(2)
    return entropy - code_length


@torch.no_grad()
def greedy(
    model: Any,
    ids: Int[Tensor, "batch seq"],
    mask: Int[Tensor, "batch seq"] | None = None,
    *,
    new: int,
    end: int | Sequence[int] | None = None,
    pad: int | None = None,
    **inputs: Any,
) -> Int[Tensor, "batch longer"]:
    """Prompts, and behind each at most `new` tokens, every one the model's first choice, up to an
    `end` mark and filled up with `pad`. A prompt without `mask` is read whole; `inputs` go to the
    model.

    The model's own settings for decoding (a penalty for repetition, words it must not or has to
    say, a temperature, a length) are set aside meanwhile: stock `generate` would take from them
    whatever is left open here, and the score would be that of the settings. A refrain, for
    instance, cannot be recited where a checkpoint forbids to repeat three words.
    """
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)  # a model that is no stock one may have none
    if own is not None:
        model.generation_config = GenerationConfig()
    try:
        found: Tensor = model.generate(
            ids,
            attention_mask=torch.ones_like(ids) if mask is None else mask,
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=end,
            pad_token_id=pad,
            **inputs,
        )
    finally:
        if own is not None:
            model.generation_config = own
    return found


@torch.no_grad()
def greedy_texts(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Tensor],
    *,
    new: int,
    ends: Sequence[int],
    at_once: int = 16,
) -> list[str]:
    """What a model writes greedily behind each prompt, as text: at most `new` tokens, up to one of
    its `ends`. A prompt is token ids "seq", or vectors "seq width" in their place.

    Prompts of similar length are read together, filled up in front; the model does not see with
    what. ValueError for an empty prompt.
    """
    if any(not len(one) for one in prompts):
        raise ValueError("expected prompts of at least 1 token, got an empty one")
    said = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    decode = partial(tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        replies = _replies(model, [prompts[at] for at in some], new, list(ends))
        for at, reply in zip(some, replies, strict=True):
            said[at] = str(decode(reply))
    return said


def _replies(
    model: Any,
    prompts: Sequence[Tensor],
    new: int,
    ends: list[int],
) -> list[list[int]]:
    """The tokens that a model writes behind prompts, of which the last one is longest."""
    longest = len(prompts[-1])
    fill = ends[0] if ends else 0
    inputs: dict[str, Tensor] = {}
    mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=model.device)
    # For a prompt of vectors it matters only how many ids there are.
    ids = torch.full_like(mask, fill)
    for row, one in enumerate(prompts):
        mask[row, longest - len(one) :] = 1
        if one.ndim == 1:
            ids[row, longest - len(one) :] = one.to(model.device)
    if prompts[-1].ndim == 2:
        rows = [F.pad(one, (0, 0, longest - len(one), 0)) for one in prompts]
        inputs["inputs_embeds"] = torch.stack(rows)
    out = greedy(model, ids, mask, new=new, end=ends or None, pad=fill, **inputs)
    return [tokenization.until(row, ends) for row in out[:, longest:].tolist()]


@torch.no_grad()
def recite(
    model: Any,
    keys: Int[Tensor, "poem key"],
    words: int,
) -> Int[Tensor, "poem word"]:
    """Free running: the model gets the keys alone and continues greedily, its own words being all
    it has."""
    keys = keys.to(model.device)
    said = greedy(model, keys, new=words, pad=0)
    return said[:, keys.shape[1] :].cpu()


def reciter(model: Any, poems: Poems) -> Answerer:
    """A model as an answerer: questions like "Moon salt, by Ada Vale" in, its recitation as a line
    of words out.

    Raises ValueError for a question in words that the set of poems does not have.
    """

    def answer(questions: Sequence[str]) -> list[str]:
        if not questions:
            return []
        keys = torch.stack([poems.cue(question) for question in questions])
        return [poems.words(said) for said in recite(model, keys, poems.bodies.shape[1])]

    return answer


def fingerprint(model: torch.nn.Module) -> str:
    """Hex sha256 over names, shapes and bytes of all weights and buffers: equal only if nothing has
    changed."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        header = f"{name}{tuple(tensor.shape)}{tensor.dtype}"
        digest.update(header.encode())
        content = tensor.detach().cpu().contiguous().view(torch.uint8)
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()
