"""Reading with a memory: segments → rows in RAM, cues → rows found, rows → text. The steps that an experiment times
and swaps one by one (encode, write, address, write out), each a function of its inputs alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from memlab import runtime
from memlab.corpora import tokens
from memlab.decoder import MemoryDecoder
from memlab.memories import KeyValue

Segments = Sequence[Sequence[int]]


def _padded(rows: Segments, device: torch.device, *, left: bool = False) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    pads = [[tokens.PAD] * (width - len(row)) for row in rows]
    ids = [[*pad, *row] if left else [*row, *pad] for row, pad in zip(rows, pads, strict=True)]
    mask = [[0] * len(pad) + [1] * len(row) if left else [1] * len(row) + [0] * len(pad)
            for row, pad in zip(rows, pads, strict=True)]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _fast(model: MemoryDecoder) -> Any:
    device = model.device.type
    return torch.autocast(device, torch.bfloat16) if runtime.fast_bfloat16() else contextlib.nullcontext()


@torch.no_grad()
def encode(model: MemoryDecoder, segments: Segments, *, batch: int = 256,
           ) -> tuple[Float[Tensor, "pat latent"], Float[Tensor, "pat key"]]:
    """Latents and keys of all segments, in their order, float32 in RAM, whatever device the model is on.

    Segments are encoded independently of each other, in batches of similar length; GPU memory does not grow with
    the length of the text. Raises ValueError for a segment that is empty or longer than the model takes.
    """
    sizes = [len(segment) for segment in segments]
    if sizes and (min(sizes) < 1 or max(sizes) > model.config.segment_tokens):
        raise ValueError(f"expected segments of 1 to {model.config.segment_tokens} tokens, "
                         f"got lengths from {min(sizes)} to {max(sizes)}")
    latents = torch.empty(len(segments), model.config.latent_width)
    keys = torch.empty(len(segments), model.config.key_width)
    order = sorted(range(len(segments)), key=sizes.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        ids, mask = _padded([segments[row] for row in rows], model.device)
        with _fast(model):
            some_latents, some_keys = model.encode(ids, mask)
        latents[rows], keys[rows] = some_latents.float().cpu(), some_keys.float().cpu()
    return latents, keys


def memorise(model: MemoryDecoder, segments: Segments, memory: Any = None) -> Any:
    """The state, in RAM, of a key–value memory that holds every segment; of a `Sharded` one each process encodes and
    keeps its share. ValueError, before encoding, if RAM cannot hold the rows."""
    memory, config = memory or KeyValue(), model.config
    memory.check_capacity(len(segments), config.key_width, config.latent_width)
    mine = memory.share(len(segments))
    latents, keys = encode(model, [segments[row] for row in mine])
    return memory.write(memory.empty(config.key_width, config.latent_width, capacity=len(mine)), keys, latents)


@torch.no_grad()
def query_keys(model: MemoryDecoder, cues: Segments) -> Float[Tensor, "qry key"]:
    """Unit query keys of cues (token ids, cut to the length of a segment), float32 in RAM. ValueError if one is empty.
    """
    if not all(map(len, cues)) or not cues:
        raise ValueError(f"expected cues of at least 1 token, got lengths {[len(cue) for cue in cues]}")
    ids, mask = _padded([cue[: model.config.segment_tokens] for cue in cues], model.device)
    return model.encode_keys(ids, mask).float().cpu()


def write_out(model: MemoryDecoder, latents: Float[Tensor, "qry latent"], cues: Segments,
              tokenizer: PreTrainedTokenizerFast, *, max_new_tokens: int = 50) -> list[str]:
    """What the decoder writes after each cue when it reads each latent: greedy, up to the end mark.

    An empty cue asks for the whole segment. ValueError unless there is one cue a latent.
    """
    if len(cues) != len(latents):
        raise ValueError(f"expected one cue a latent, {len(latents)}, got {len(cues)}")
    texts: list[str] = []
    for start in range(0, len(cues), 256):
        some = [[tokens.BOS, *cue] for cue in cues[start : start + 256]]
        ids, mask = _padded(some, model.device, left=True)
        out = model.generate(ids, latents=latents[start : start + 256].to(model.device), attention_mask=mask,
                             max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokens.EOS,
                             eos_token_id=tokens.EOS)
        texts += tokenizer.batch_decode(out[:, ids.shape[1]:], skip_special_tokens=True)
    return texts
