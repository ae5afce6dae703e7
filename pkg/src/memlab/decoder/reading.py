"""Reading with a memory: segments → rows in RAM, cues → rows found, rows → text. The steps that an
experiment times and swaps one by one (encode, write, address, write out), each a function of its
inputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from memlab import runtime
from memlab.corpora import tokenization
from memlab.decoder.encoder import unit_slots
from memlab.decoder.model import MemoryDecoder
from memlab.evaluation import greedy
from memlab.memories import KeyValue

Segments = Sequence[Sequence[int]]
AT_ONCE = 8192  # segments that `memorise` encodes before it writes their rows
JOINED = " | "  # between the segments of an answer that was written from several rows
CANDIDATES = 8  # nearest rows that the decoder looks at again (see `recognise`)


def _padded(
    rows: Segments,
    device: torch.device,
    *,
    left: bool = False,
) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = []
    mask = []
    for row in rows:
        empty = width - len(row)
        pad = [tokenization.PAD] * empty
        kept = [1] * len(row)
        ids.append([*pad, *row] if left else [*row, *pad])
        mask.append([0] * empty + kept if left else kept + [0] * empty)
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _fast(model: MemoryDecoder) -> Any:
    return runtime.autocast(model.device.type, runtime.fast_bfloat16())


@torch.no_grad()
def encode(
    model: MemoryDecoder,
    segments: Segments,
    *,
    batch: int = 256,
) -> tuple[Float[Tensor, "pat latent"], Float[Tensor, "pat key"]]:
    """Latents and keys of all segments, in their order, float32 in RAM, whatever device the model
    is on.

    Segments are encoded independently of each other, in batches of similar length; GPU memory does
    not grow with the length of the text. Raises ValueError for a segment that is empty or longer
    than the model takes.
    """
    sizes = [len(segment) for segment in segments]
    if sizes and (min(sizes) < 1 or max(sizes) > model.config.segment_tokens):
        raise ValueError(
            f"expected segments of 1 to {model.config.segment_tokens} tokens, "
            f"got lengths from {min(sizes)} to {max(sizes)}"
        )
    latents = torch.empty(len(segments), model.config.latent_width)
    keys = torch.empty(len(segments), model.config.key_width)
    order = sorted(range(len(segments)), key=sizes.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        ids, mask = _padded([segments[row] for row in rows], model.device)
        with _fast(model):
            some_latents, some_keys = model.encode(ids, mask)
        latents[rows] = some_latents.float().cpu()
        keys[rows] = some_keys.float().cpu()
    return latents, keys


def memorise(
    model: MemoryDecoder,
    segments: Segments,
    memory: Any = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """The state, in RAM, of a key–value memory that holds every segment, its latents in `dtype`; of
    a `Sharded` one each process encodes and keeps its share. Some thousand segments are encoded at
    a time, so that little RAM is needed beside the rows. ValueError, before encoding, if RAM cannot
    hold the rows."""
    memory = memory or KeyValue()
    config = model.config
    memory.check_capacity(len(segments), config.key_width, config.latent_width, dtype)
    mine = memory.share(len(segments))
    state = memory.empty(config.key_width, config.latent_width, capacity=len(mine), dtype=dtype)
    # Rows that are shared out are numbered by the write: one for all, so that row i is segment i.
    step = AT_ONCE if isinstance(memory, KeyValue) else max(len(mine), 1)
    for start in range(0, len(mine), step):
        some = [segments[row] for row in mine[start : start + step]]
        latents, keys = encode(model, some)
        state = memory.write(state, keys, latents)
    return state


@torch.no_grad()
def query_keys(model: MemoryDecoder, cues: Segments) -> Float[Tensor, "qry key"]:
    """Unit query keys of cues (token ids, cut to the length of a segment), float32 in RAM.
    ValueError if one is empty."""
    if not all(map(len, cues)) or not cues:
        raise ValueError(
            f"expected cues of at least 1 token, got lengths {[len(cue) for cue in cues]}"
        )
    ids, mask = _padded([cue[: model.config.segment_tokens] for cue in cues], model.device)
    return model.encode_keys(ids, mask).float().cpu()


def settled(
    model: MemoryDecoder,
    read_outs: Float[Tensor, "qry latent"],
    least: float = 0.3,
) -> Float[Tensor, "qry latent"]:
    """Mixtures of latents, as a linear memory returns them, in the form in which latents are
    stored: slots whose root mean square is below `least` of the fullest one's are emptied, all
    other numbers get mean zero, unit variance."""
    parts = read_outs.unflatten(1, (model.config.slots, -1))
    size = parts.square().mean(2, keepdim=True).sqrt()
    holds = size >= least * size.amax(1, keepdim=True)
    return unit_slots(parts, holds).flatten(1)


def write_out(
    model: MemoryDecoder,
    latents: Float[Tensor, "qry *read latent"],
    cues: Segments,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_new_tokens: int | None = None,
) -> list[str]:
    """What the decoder writes after each cue when it reads one latent or several: greedy, up to the
    end mark.

    An empty cue asks for the whole segment, or for all of them, one after the other, joined by " |
    "; a stem for the rest of the segment that begins so. At most `max_new_tokens` a segment, by
    default room for all it can hold. ValueError unless there is a cue a query.
    """
    if len(cues) != len(latents):
        raise ValueError(f"expected one cue a query, {len(latents)}, got {len(cues)}")
    reads = latents.shape[1] if latents.ndim == 3 else 1
    most = max_new_tokens or model.config.segment_tokens + 2
    prompts = [[tokenization.BOS, *cue] for cue in cues]
    texts = [[part] for part in _continued(model, latents, prompts, most)]
    more = [row for row, cue in enumerate(cues) if not cue]
    for _ in range(reads - 1 if more else 0):
        asked = [_so_far(prompts[row], texts[row]) for row in more]
        further = _continued(model, latents[more], asked, most)
        for row, part in zip(more, further, strict=True):
            texts[row].append(part)
    return [JOINED.join(tokenizer.batch_decode(parts, skip_special_tokens=True)) for parts in texts]


def _so_far(prompt: list[int], parts: list[list[int]]) -> list[int]:
    """The prompt that asks for what follows the parts that are written."""
    said = list(prompt)
    for part in parts:
        said += [*part, tokenization.SEP]
    return said


def _continued(
    model: MemoryDecoder,
    latents: Tensor,
    prompts: Segments,
    most: int,
) -> list[list[int]]:
    """The tokens that the decoder writes after each prompt, up to the end mark or the separator."""
    parts: list[list[int]] = []
    for start in range(0, len(prompts), 256):
        ids, mask = _padded(prompts[start : start + 256], model.device, left=True)
        out = greedy(
            model,
            ids,
            mask,
            new=most,
            end=[tokenization.EOS, tokenization.SEP],
            pad=tokenization.EOS,
            latents=latents[start : start + 256].to(model.device),
        )
        parts += [
            tokenization.until(row, (tokenization.EOS, tokenization.SEP))
            for row in out[:, ids.shape[1] :].tolist()
        ]
    return parts


@torch.no_grad()
def recognise(
    model: MemoryDecoder,
    latents: Float[Tensor, "qry read latent"],
    cues: Segments,
) -> Float[Tensor, "qry read"]:
    """Mean log-probability (nats a token) of each cue under the decoder that reads each of the
    query's latents.

    It tells whether a row that was found begins with the cue: near 0 if it does, far below where
    another row was returned because nothing better was there. Float32 in RAM. ValueError for an
    empty cue.
    """
    if len(cues) != len(latents) or not all(map(len, cues)):
        raise ValueError(
            f"expected a cue of at least 1 token for each of {len(latents)} queries, "
            f"got lengths {[len(cue) for cue in cues]}"
        )
    reads = latents.shape[1]
    asked = [cue for cue in cues for _ in range(reads)]
    flat = latents.flatten(0, 1)
    found = torch.empty(len(asked))
    for start in range(0, len(asked), 256):
        own = asked[start : start + 256]
        some = flat[start : start + 256].to(model.device)
        ids, _ = _padded([[tokenization.BOS, *cue] for cue in own], model.device)
        with _fast(model):
            logits = model(ids, latents=some).logits[:, :-1].float()
        said = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0].cpu()
        sizes = torch.tensor([len(cue) for cue in own])
        is_padding = torch.arange(said.shape[1]) >= sizes[:, None]
        said[is_padding] = 0
        found[start : start + 256] = said.sum(1) / sizes
    return found.view(len(cues), reads)
