"""A decoder that reads an external memory: encoder → memory → decoder, behind the Hugging Face
contract.

A segment of text (a sentence, at most `segment_tokens` tokens) becomes one latent vector and one
unit key. The memory, which is not part of the model, stores both (`memlab.memories.KeyValue`, in
ordinary RAM). A cue becomes a query key; the latent that the memory returns is turned into a short
prefix of the decoder, any stock causal language model, which then writes the segment out. This is
Larimar's plan (Das et al., arXiv 2403.11901) with three changes: keys and values are separate, the
address is the nearest key, and a latent keeps the order of its tokens.

    latents, keys = model.encode(segment_ids)          # (batch, latent), (batch, key)
    queries = model.encode_keys(cue_ids)               # (batch, key)
    tokens = model.generate(cue_ids, latents=latents)  # stock `generate` of the decoder
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import ModelOutput

from memlab import runtime
from memlab.decoder.encoder import SegmentEncoder

ADDRESS_WEIGHT = 0.4  # of the loss of addressing beside that of reading
# What stock `generate` takes from the ids of the prompt alone, without what lies in front of them.
_BLIND = (
    "assistant_model",
    "inputs_embeds",
    "past_key_values",
    "position_ids",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "token_healing",
)
_LENGTHS = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}  # the second wins
_SIZES = (
    "latent_width",
    "key_width",
    "slots",
    "segment_tokens",
    "reads",
    "encoder_layers",
    "encoder_heads",
)


class MemoryDecoderConfig(PreTrainedConfig):
    """Sizes of the encoder and of what it stores; `text_config` is the config of any stock causal
    language model.

    `latent_width` numbers per segment, split over `slots` prefix positions that each see
    `segment_tokens / slots` consecutive tokens; keys have `key_width` numbers and length one. The
    decoder takes up to `reads` latents at once, and writes their segments with the token
    `separator` between. `attention` is the kernel that the stock model uses: the fused ones'
    backward pass in bfloat16 is many times slower on CPUs.
    """

    model_type = "memory-decoder"
    sub_configs = {"text_config": AutoConfig}
    # parts of the loss, a number each: no predictions that Trainer could join
    keys_to_ignore_at_inference = ["reading_loss", "address_loss"]

    @property
    def stretch(self) -> int:
        """Positions of one segment in the text: its tokens, the mark before it and the one behind
        it."""
        return self.segment_tokens + 2

    def __init__(
        self,
        text_config: Any = None,
        latent_width: int = 1024,
        key_width: int = 128,
        slots: int = 64,
        segment_tokens: int = 64,
        reads: int = 2,
        encoder_layers: int = 2,
        encoder_heads: int = 4,
        attention: str = "eager",
        sharpness: float = 20.0,
        separator: int = 3,
        **kwargs: Any,
    ) -> None:
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config if text_config is not None else tiny_text_config()
        self.latent_width = latent_width
        self.key_width = key_width
        self.slots = slots
        self.segment_tokens = segment_tokens
        self.reads = reads
        self.encoder_layers = encoder_layers
        self.encoder_heads = encoder_heads
        self.attention = attention
        self.sharpness = sharpness
        self.separator = separator
        self._check_sizes()
        tied = bool(getattr(self.text_config, "tie_word_embeddings", False))
        kwargs.setdefault("tie_word_embeddings", tied)
        super().__init__(**kwargs)

    def _check_sizes(self) -> None:
        for name in _SIZES:
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a positive whole number, got {size!r}")
        for name in ("latent_width", "segment_tokens"):
            size = getattr(self, name)
            if size % self.slots:
                raise ValueError(f"{name} must be a multiple of slots={self.slots}, got {size}")
        positions = getattr(self.text_config, "max_position_embeddings", None)
        need = self.reads * (self.slots + self.stretch)
        if positions is not None and positions < need:
            raise ValueError(
                f"the decoder must hold at least {need} positions for {self.reads} segments, got"
                f" {positions}"
            )


def tiny_text_config(
    vocabulary: int = 2048,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    positions: int = 260,
) -> GPT2Config:
    """The stock GPT-2 config that the book's decoder uses by default."""
    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_positions=positions,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="relu",
        initializer_range=0.06,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


@dataclass
class MemoryDecoderOutput(ModelOutput):
    """Loss (if labels came), logits of the text positions, and the two parts of the loss."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    reading_loss: Tensor | None = None
    address_loss: Tensor | None = None


class MemoryDecoder(PreTrainedModel):
    """Encoder and decoder; the memory between them is passed in as tensors (`latents`) and owned by
    the caller."""

    config_class = MemoryDecoderConfig
    base_model_prefix = "memory_decoder"
    main_input_name = "input_ids"
    # The loss is a mean: Trainer has to divide it by its accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: MemoryDecoderConfig) -> None:
        super().__init__(config)
        self.decoder = AutoModelForCausalLM.from_config(
            config.text_config, attn_implementation=config.attention
        )
        width = self.decoder.get_input_embeddings().weight.shape[1]
        self.encoder = SegmentEncoder(
            width,
            latent_width=config.latent_width,
            key_width=config.key_width,
            slots=config.slots,
            segment_tokens=config.segment_tokens,
            layers=config.encoder_layers,
            heads=config.encoder_heads,
        )
        self.to_prefix = nn.Linear(config.latent_width // config.slots, width, bias=False)
        self.prefix_positions = nn.Parameter(torch.randn(config.slots, width) * 0.02)
        self.rank = nn.Parameter(torch.randn(config.reads, width) * 0.02)
        self._takes_positions = "position_ids" in inspect.signature(self.decoder.forward).parameters
        self.supports_gradient_checkpointing = self.decoder.supports_gradient_checkpointing
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As usual, with weights in memory of their own: where the file is mapped they lie
        unaligned, and the same product of the same numbers may be rounded differently there."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's own start for the encoder; the decoder starts as its class says."""

    def get_input_embeddings(self) -> nn.Module:
        """The one token table: encoder, decoder and (where the decoder ties it) output layer share
        it."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Another token table, for encoder and decoder."""
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        """The decoder's output layer."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Another output layer of the decoder."""
        self.decoder.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """Stock `resize_token_embeddings` of the decoder, whose token table is the only one;
        returns that table."""
        table = self.decoder.resize_token_embeddings(*args, **kwargs)
        self.config.text_config.vocab_size = self.decoder.config.get_text_config().vocab_size
        return table

    @property
    def generation_config(self) -> Any:
        """The settings of `generate`, which are the decoder's."""
        return self.decoder.generation_config

    @generation_config.setter
    def generation_config(self, settings: Any) -> None:
        """Other settings for the decoder."""
        self.decoder.generation_config = settings

    def _embed(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.get_input_embeddings()(ids), self._kept(ids, mask)

    def _kept(self, ids: Tensor, mask: Tensor | None) -> Bool[Tensor, "batch seq"]:
        """Where no padding is; without a mask it is known by its number."""
        padding = self.config.text_config.pad_token_id
        if mask is not None:
            _check_mask(ids, mask)
            return mask.bool()
        if padding is not None:
            return ids != padding
        return torch.ones_like(ids, dtype=torch.bool)

    def encode(
        self,
        segment_ids: Int[Tensor, "batch seq"],
        attention_mask: Tensor | None = None,
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch key"]]:
        """What the memory stores for each segment: its latent and its unit key. Padding is
        skipped."""
        embedded, keep = self._embed(segment_ids, attention_mask)
        states = self.encoder.states(embedded, keep)
        return self.encoder.latents(states, keep), self.encoder.keys(embedded, states, keep)

    def encode_keys(
        self,
        cue_ids: Int[Tensor, "batch seq"],
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "batch key"]:
        """Unit query keys of cues, made by the same encoder as the stored keys."""
        embedded, keep = self._embed(cue_ids, attention_mask)
        states = self.encoder.states(embedded, keep)
        return self.encoder.keys(embedded, states, keep)

    def prefix(
        self,
        latents: Float[Tensor, "batch *read latent"],
    ) -> tuple[Float[Tensor, "batch read slot width"], Bool[Tensor, "batch read slot"]]:
        """Larimar's W_M: a read-out becomes input embeddings in front of the text, a slot each; and
        which slots hold something. Slots behind the last such one of the batch are left out.

        ValueError for latents of another width, or more of them than `reads`.
        """
        if latents.ndim == 2:
            latents = latents[:, None]
        most = self.config.reads
        width = self.config.latent_width
        if latents.ndim != 3 or not 1 <= latents.shape[1] <= most or latents.shape[2] != width:
            raise ValueError(
                f"expected 1 to {most} latents of width {width}, got shape"
                f" {tuple(latents.shape[1:])}"
            )
        parts = rearrange(
            latents.to(self.to_prefix.weight.dtype),
            "b read (slot c) -> b read slot c",
            slot=self.config.slots,
        )
        holds = (parts != 0).any(-1)
        used = holds.any(0).any(0).nonzero()
        end = int(used.max()) + 1 if len(used) else 1
        rank = self.rank[: latents.shape[1], None]
        embedded = self.to_prefix(parts[:, :, :end]) + self.prefix_positions[:end] + rank
        return embedded, holds[:, :, :end]

    def _with_prefix(
        self,
        ids: Tensor,
        latents: Tensor,
        mask: Tensor | None,
    ) -> dict[str, Tensor]:
        if len(latents) != len(ids):
            raise ValueError(f"expected latents for each of {len(ids)} texts, got {len(latents)}")
        embeds, keep = self._embed(ids, mask)
        mask = keep.to(ids.dtype)
        prefix, holds = self.prefix(latents)
        in_front = prefix.flatten(1, 2).to(embeds.dtype)
        seen_in_front = holds.flatten(1).to(mask.dtype)
        inputs = {
            "inputs_embeds": torch.cat([in_front, embeds], 1),
            "attention_mask": torch.cat([seen_in_front, mask], 1),
        }
        if self._takes_positions:
            reads, end = holds.shape[1:]
            firsts = torch.arange(reads, device=ids.device)[:, None] * self.config.slots
            slots = (firsts + torch.arange(end, device=ids.device)).flatten()
            places = self._places(ids, mask.long())
            inputs["position_ids"] = torch.cat([slots.expand(len(ids), -1), places], 1)
        return inputs

    def _places(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Positions of the text: each segment of an answer has a stretch of its own, so that a
        token lies as far behind the slot that it is copied from in the second segment as in the
        first. Padding is not counted."""
        count = (mask.cumsum(1) - 1).clamp(min=0)
        separators = (ids == self.config.separator) & mask.bool()
        number = separators.cumsum(1).clamp(max=self.config.reads - 1)
        last_separator = torch.where(separators, count, 0).cummax(1).values
        within = count - last_separator
        return self.config.reads * self.config.slots + number * self.config.stretch + within

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"],
        latents: Float[Tensor, "batch *read latent"] | None = None,
        attention_mask: Tensor | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        segment_ids: Tensor | None = None,
        cue_ids: Tensor | None = None,
        noise: Tensor | None = None,
        context_ids: Tensor | None = None,
        read_rows: Int[Tensor, "batch read"] | None = None,
        **_: Any,
    ) -> MemoryDecoderOutput:
        """Logits of the text; with `segment_ids` and `cue_ids` (training) the loss of reading and
        of addressing.

        `read_rows` says which segments each text is written from; without it, text i from segment
        i. Without `latents` and `segment_ids` the output is that of the bare decoder. labels: −100
        is ignored.
        """
        address = None
        if segment_ids is not None:
            latents, keys = self.encode(segment_ids)
            if cue_ids is not None:
                address = self.address_loss(self.encode_keys(cue_ids), keys, context_ids)
            if noise is not None:
                latents = torch.where(latents != 0, latents + noise.to(latents.dtype), latents)
            if read_rows is not None:
                latents = latents[read_rows]
        logits = self._logits(input_ids, latents, attention_mask)
        reading = None
        if labels is not None:
            reading = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        loss = reading
        if reading is not None and address is not None:
            loss = reading + ADDRESS_WEIGHT * address
        losses = {"loss": loss, "reading_loss": reading, "address_loss": address}
        return MemoryDecoderOutput(logits=logits, **losses)

    def _logits(
        self,
        ids: Tensor,
        latents: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:
        if latents is None:
            keep = self._kept(ids, mask)
            if mask is None and not keep.all():
                mask = keep.to(ids.dtype)
            return self.decoder(input_ids=ids, attention_mask=mask, use_cache=False).logits
        inputs = self._with_prefix(ids, latents, mask)
        return self.decoder(**inputs, use_cache=False).logits[:, -ids.shape[1] :]

    def address_loss(
        self,
        queries: Tensor,
        keys: Tensor,
        context_ids: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of finding the own key among the keys of the same context (InfoNCE).

        The sharpness is fixed: learned, it grows until a small lead over the few keys of an episode
        costs nothing, and small leads do not last among many keys. Without `context_ids` the whole
        batch is one context.
        """
        scores = (queries @ keys.t() * self.config.sharpness).float()
        if context_ids is not None:
            scores = scores.masked_fill(context_ids[:, None] != context_ids[None], -1e4)
        return F.cross_entropy(scores, torch.arange(len(queries), device=keys.device))

    @torch.no_grad()
    def generate(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        latents: Float[Tensor, "batch *read latent"] | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs: Int[Tensor, "batch seq"] | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """The decoder's stock `generate`, with read-outs in front of the prompt; returns prompt and
        new tokens, or an object that holds them (`return_dict_in_generate`).

        Everything is counted in tokens of the text, the prompt's and the new ones, and what is
        padding in the prompt, on either side, is known by its number unless `attention_mask` says
        it. Without a prompt (`input_ids`, or `inputs`) each answer begins with the start mark. Only
        a separator in the prompt opens the next stretch of positions: let it stop at `separator`,
        and ask for the next segment behind it. ValueError for what goes around the embeddings that
        a prefix consists of, such as an assistant model.
        """
        if inputs is not None and input_ids is not None:
            raise ValueError("expected prompts as input_ids or as inputs, got both")
        ids = inputs if input_ids is None else input_ids
        if latents is None:
            kwargs["generation_config"] = generation_config
            return self.decoder.generate(inputs=ids, attention_mask=attention_mask, **kwargs)
        asked = _Asked(kwargs, generation_config, self.generation_config)
        asked.refuse(_BLIND)
        ids = (asked.start(len(latents)) if ids is None else ids).to(self.device)
        if attention_mask is None:
            attention_mask = asked.mask(ids, self.config.text_config)
        return self._behind_prefix(ids, latents.to(self.device), attention_mask, asked)

    def _behind_prefix(
        self,
        ids: Tensor,
        latents: Tensor,
        mask: Tensor,
        asked: _Asked,
    ) -> Any:
        _check_mask(ids, mask)
        mask = mask.to(self.device).bool().long()
        # New tokens go behind the last column: a row that is filled up on the right moves there.
        order = mask.argsort(dim=1, stable=True)
        prompts = ids.gather(1, order)
        made = self._with_prefix(prompts, latents, mask.gather(1, order))
        settled = asked.settled(made["inputs_embeds"].shape[1])
        found = self.decoder.generate(input_ids=prompts, **made, **settled)
        rows = found if isinstance(found, Tensor) else found.sequences
        rows[:, : ids.shape[1]] = ids.repeat_interleave(len(rows) // len(ids), 0)
        return found


@dataclass(frozen=True)
class _Asked:
    """What a call of `generate` asks for: its own arguments come first, then the config that it was
    given, then the model's."""

    arguments: dict[str, Any]
    given: GenerationConfig | None
    own: GenerationConfig

    def of(self, name: str) -> Any:
        """One setting, None where nobody asks for anything."""
        if name in self.arguments:
            return self.arguments[name]
        given = getattr(self.given, name, None)
        return given if given is not None else getattr(self.own, name, None)

    def refuse(self, names: Sequence[str]) -> None:
        """ValueError if one of these is asked for."""
        for name in names:
            if self.of(name) is not None and self.of(name) is not False:
                raise ValueError(f"expected latents or {name}, got both")

    def start(self, count: int) -> Int[Tensor, "batch 1"]:
        """As many prompts that hold the start mark alone."""
        mark = self.of("bos_token_id")
        if mark is None:
            raise ValueError("expected prompts or a start mark (bos_token_id), got neither")
        return torch.full((count, 1), int(mark))

    def mask(self, ids: Tensor, config: Any) -> Int[Tensor, "batch seq"]:
        """What is no padding, as stock `generate` tells it: an end mark that is padding as well
        cannot be told apart, and counts as text."""
        ends = _numbers(self.of("eos_token_id"), getattr(config, "eos_token_id", None))
        padding = _numbers(self.of("pad_token_id"), getattr(config, "pad_token_id", None)) - ends
        return (~torch.isin(ids, ids.new_tensor(sorted(padding)))).long()

    def settled(self, embedded: int) -> dict[str, Any]:
        """The arguments of stock `generate` with which lengths count the text alone: it takes
        `embedded` off them when it gets ids and embeddings."""
        moved = {
            name: self.of(name) + embedded
            for name, stronger in _LENGTHS.items()
            if self.of(name) is not None and self.of(stronger) is None
        }
        if self.given is None:
            return self.arguments | moved
        settings = deepcopy(self.given)
        for name, length in moved.items():
            setattr(settings, name, length)
        others = {name: one for name, one in self.arguments.items() if name not in moved}
        return others | {"generation_config": settings}


def _check_mask(ids: Tensor, mask: Tensor) -> None:
    if mask.shape != ids.shape:
        raise ValueError(
            f"expected a mask of the ids' shape {tuple(ids.shape)}, got {tuple(mask.shape)}"
        )


def _numbers(*marks: Any) -> set[int]:
    """The token ids among marks, each of which is one id, several, or none."""
    found: set[int] = set()
    for mark in marks:
        if mark is not None:
            found |= set(torch.as_tensor(mark).flatten().tolist())
    return found


def align_positions(model: MemoryDecoder) -> None:
    """Start a decoder with learned absolute positions so that prefix slot j sits where its tokens
    will be written.

    Sinusoids of the same clock for slots and text, a mark for every read-out and its stretch of the
    text, and equal query and key maps in the first layer: attention then begins near the slot that
    holds the next token instead of having to discover it. All weights stay trainable; decoders
    without such positions (RoPE, ALiBi) are left as they are.
    """
    transformer: Any = getattr(model.decoder, "transformer", None)
    if not hasattr(transformer, "wpe") or not hasattr(transformer, "wte"):
        return
    table = transformer.wpe.weight
    width = table.shape[1]
    times, owner = _positions(model.config, len(table))
    clock = torch.exp(-torch.arange(0, width, 2) / width * math.log(200.0))
    angles = times[:, None] * clock
    sinusoids = torch.cat([angles.sin(), angles.cos()], 1)
    with torch.no_grad():
        marks = torch.randn(model.config.reads, width)
        table.copy_(0.3 * sinusoids + 0.2 * marks[owner])
        first = transformer.h[0].attn.c_attn.weight
        first[:, width : 2 * width] = first[:, :width]
        transformer.wte.weight.normal_(std=width**-0.5)
        model.to_prefix.weight.mul_(0.5)


def _positions(config: MemoryDecoderConfig, count: int) -> tuple[Tensor, Tensor]:
    """The place within its segment that each of `count` positions stands for, slots first and the
    text behind them, and the number of that segment."""
    span = config.segment_tokens / config.slots
    centres = torch.arange(config.slots) * span + (span - 1) / 2
    slot_owner = torch.arange(config.reads).repeat_interleave(config.slots)
    rest = torch.arange(count - len(slot_owner))
    text_owner = (rest // config.stretch).clamp(max=config.reads - 1)
    within = (rest - text_owner * config.stretch).float()
    times = torch.cat([centres.repeat(config.reads), within])
    return times, torch.cat([slot_owner, text_owner])


def new_decoder(config: MemoryDecoderConfig | None = None, seed: int = 0) -> MemoryDecoder:
    """An untrained model whose start depends on `seed` alone; the global random state is left
    untouched."""
    with runtime.drawing_from(seed):
        model = MemoryDecoder(config if config is not None else MemoryDecoderConfig())
        align_positions(model)
    return model


AutoConfig.register(MemoryDecoderConfig.model_type, MemoryDecoderConfig, exist_ok=True)
AutoModel.register(MemoryDecoderConfig, MemoryDecoder, exist_ok=True)
