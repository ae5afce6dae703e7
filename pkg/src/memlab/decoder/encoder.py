"""A segment of text → what a memory stores of it: a latent vector that keeps the order of its
tokens, and a unit key.

A small transformer without a causal mask over the token embeddings that the decoder shares with it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm transformer block without a causal mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"the decoder's width must be a multiple of encoder_heads={heads}, got {width}"
            )
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(
        self, x: Float[Tensor, "batch seq width"], keep: Bool[Tensor, "batch seq"]
    ) -> Tensor:
        """The states after attention to the tokens of `keep` and the feed-forward layer, same
        shape."""
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b t (n h d) -> n b h t d", n=3, h=self.heads)
        # Written out for the same reason as `decoder.MemoryDecoderConfig.attention`.
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~keep[:, None, None], -1e4)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        x = x + self.out(rearrange(mixed, "b h t d -> b t (h d)"))
        return x + self.down(F.relu(self.up(self.norm2(x))))


class SegmentEncoder(nn.Module):
    """Token embeddings of a segment → a latent that keeps their order, and a unit key that does not
    need to."""

    def __init__(
        self,
        width: int,
        *,
        latent_width: int,
        key_width: int,
        slots: int,
        segment_tokens: int,
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.slots = slots
        self.segment_tokens = segment_tokens
        self.positions = nn.Parameter(torch.randn(segment_tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.to_latent = nn.Linear(segment_tokens // slots * width, latent_width // slots)
        self.to_weight = nn.Linear(width, 1)
        self.to_key = nn.Linear(2 * width, key_width)

    def states(self, embedded: Tensor, keep: Tensor) -> Tensor:
        """Contextual states "batch seq width" of a segment; ValueError if it has too many
        tokens."""
        if embedded.shape[1] > self.segment_tokens:
            raise ValueError(
                f"a segment holds at most {self.segment_tokens} tokens, got {embedded.shape[1]}"
            )
        x = embedded + self.positions[: embedded.shape[1]]
        for block in self.blocks:
            x = block(x, keep)
        return self.norm(x)

    def keys(
        self,
        embedded: Tensor,
        states: Tensor,
        keep: Tensor,
    ) -> Float[Tensor, "batch key"]:
        """A learned weighting of the tokens, of what they are in context and of what they are
        alone."""
        scores = self.to_weight(states).float().masked_fill(~keep[..., None], -1e4)
        weight = scores.softmax(1).to(states.dtype)
        in_context = (weight * states).sum(1)
        alone = (weight * embedded.to(states.dtype)).sum(1)
        # Embeddings have length one and states sqrt(width); the factor 5 lets both speak at the
        # start.
        pooled = torch.cat([in_context, 5 * alone], -1)
        return F.normalize(self.to_key(pooled).float(), dim=-1)

    def latents(self, states: Tensor, keep: Tensor) -> Float[Tensor, "batch latent"]:
        """Slot j sees tokens j·span … (j+1)·span − 1; the numbers of all slots that see a token
        have mean zero and unit variance together. The others are exactly zero: that is how a reader
        knows where the segment ends."""
        empty = self.segment_tokens - states.shape[1]
        states = F.pad(states * keep[..., None], (0, 0, 0, empty))
        keep = F.pad(keep, (0, empty))
        spans = rearrange(states, "b (slot span) d -> b slot (span d)", slot=self.slots)
        latent = self.to_latent(spans).float()
        seen = rearrange(keep, "b (slot span) -> b slot span", slot=self.slots)
        sees = seen.any(-1, keepdim=True)
        return rearrange(unit_slots(latent, sees), "b slot c -> b (slot c)")


def unit_slots(
    latent: Float[Tensor, "batch slot code"], holds: Bool[Tensor, "batch slot 1"]
) -> Float[Tensor, "batch slot code"]:
    """Mean zero and unit variance over the slots that hold something, together; the others exactly
    zero."""
    count = holds.sum(1, keepdim=True).clamp(min=1) * latent.shape[-1]
    mean = (latent * holds).sum((1, 2), keepdim=True) / count
    centred = (latent - mean) * holds
    variance = centred.square().sum((1, 2), keepdim=True) / count
    return centred * (variance + 1e-5).rsqrt()
