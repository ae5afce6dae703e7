"""A memory decoder whose whole memory is one matrix of fixed size, and which is trained to live
with that.

    latents, keys = model.encode(segment_ids)              # (E, latent), (E, key)
    matrix = model.write(latents, keys)                    # (key, latent): M = K⁺ (V − mean)
    read = model.read(matrix, model.encode_keys(cue_ids))  # what `generate` takes as latents

What is read is the right latent only in part (memlab.memories.laws.read_error), so three things are
learned for it: a wide key, spread over as many directions as it has numbers; an encoder and a
decoder that stand the rest of the error. With address="latents" there are no keys: a cue is
addressed through the memory itself, w = z M⁺, as in Larimar (Das et al., arXiv 2403.11901).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    MemoryDecoderOutput,
    SegmentEncoder,
    unit_slots,
)
from memlab.memories import Larimar, PseudoInverse, check_rows

# a slot whose numbers have a smaller mean square than this counts against the segment being that
# long
EMPTY = 0.25
# tokens: a pooling starts with weights that fall by e over so many, the next over twice as many
FIRST_REACH = 0.75
# a state depends on all that follows, which a cue does not show; an embedding does not
STATE_SHARE = 0.3
NARROW = 32  # width of a key's residual
GROUPS = 4  # segments are encoded in so many groups of similar length: less is spent on padding
# weights of two terms of the training loss
SPREAD = 30.0
FIND = 0.2


class FixedMemoryConfig(MemoryDecoderConfig):
    """As for a memory decoder; `key_width` is also the number of rows of the matrix.

    poolings: how many weighted means of its tokens a key is made of. key_tokens: how many tokens it
    sees, the first ones. address: "keys" or "latents" (Larimar's). ridge: the λ of the reads in
    training.
    """

    model_type = "fixed-memory"

    def __init__(
        self,
        text_config: Any = None,
        key_width: int = 512,
        poolings: int = 4,
        key_tokens: int = 16,
        address: str = "keys",
        ridge: float = 0.01,
        **kwargs: Any,
    ) -> None:
        if address not in ("keys", "latents"):
            raise ValueError(f"address must be keys or latents, got {address!r}")
        if not (isinstance(poolings, int) and poolings > 0 and key_tokens > 0 and ridge > 0):
            raise ValueError(
                f"poolings, key_tokens and ridge must be positive, got {poolings!r}, {key_tokens!r}"
                f" and {ridge!r}"
            )
        self.poolings = poolings
        self.key_tokens = key_tokens
        self.address = address
        self.ridge = ridge
        super().__init__(text_config, key_width=key_width, **kwargs)


class WideKeys(nn.Module):
    """Tokens → a unit key: several learned poolings, a linear map with a small residual, and a
    whitening.

    A cue is the beginning of a text, so the key of the whole must hang on what stands there:
    poolings start that way.

    The whitening is a linear layer like any other but that no gradient reaches it: it starts as the
    identity and is set from the keys of a sample (`whiten`).
    """

    def __init__(
        self,
        width: int,
        keys: int,
        poolings: int,
        positions: int,
    ) -> None:
        super().__init__()
        self.weigh = nn.Linear(2 * width, poolings)
        reach = FIRST_REACH * 2 ** torch.arange(poolings, dtype=torch.float)
        self.early = nn.Parameter(-torch.arange(positions)[:, None] / reach)
        self.norm = nn.LayerNorm(2 * width * poolings)
        self.widen = nn.Linear(2 * width * poolings, keys)
        self.bend = nn.Linear(keys, NARROW)
        self.unbend = nn.Linear(NARROW, keys)
        self.whitening = nn.Linear(keys, keys).requires_grad_(False)
        nn.init.zeros_(self.unbend.weight)
        nn.init.eye_(self.whitening.weight)
        for layer in (self.unbend, self.whitening):
            nn.init.zeros_(layer.bias)

    def raw(
        self,
        embedded: Tensor,
        states: Tensor,
        keep: Tensor,
    ) -> Float[Tensor, "batch key"]:
        """Unit keys before the whitening."""
        words = 8 * embedded.to(states.dtype)
        tokens = torch.cat([STATE_SHARE * states, words], -1)  # lengths √width and one
        scores = (self.weigh(tokens) + self.early[: tokens.shape[1]]).float()
        scores = scores.masked_fill(~keep[..., None], -1e4)
        shares = scores.softmax(1).to(tokens.dtype)
        pooled = torch.einsum("bth,btd->bhd", shares, tokens).flatten(1)
        key = self.widen(self.norm(pooled))
        residual = self.unbend(F.gelu(self.bend(key)))
        return F.normalize((key + residual).float(), dim=-1)

    def forward(
        self,
        embedded: Tensor,
        states: Tensor,
        keep: Tensor,
    ) -> Float[Tensor, "batch key"]:
        """Unit keys."""
        white = self.whitening(self.raw(embedded, states, keep))
        return F.normalize(white.float(), dim=-1)

    @torch.no_grad()
    def whiten(self, raw: Float[Tensor, "sample key"], floor: float = 0.02) -> None:
        """Set the whitening to ZCA: x ↦ (x − mean) (C^½ + floor)⁻¹ with C the covariance of `raw`.

        In C's eigenbasis every direction is divided by its standard deviation, no smaller than
        about `floor`.
        """
        centre = raw.mean(0).double()
        off = raw.double() - centre
        strength, directions = torch.linalg.eigh(off.T @ off / len(raw))
        deviation = strength.clamp(min=0).sqrt()
        matrix = directions / (deviation + floor * strength.sum().sqrt()) @ directions.T
        self.whitening.weight.copy_(matrix)
        self.whitening.bias.copy_(-centre @ matrix)


class WideKeyEncoder(SegmentEncoder):
    """A segment encoder whose keys come from `WideKeys` and see the beginning alone: a cue that is
    as long has the very key of the text that it begins."""

    def __init__(self, width: int, config: FixedMemoryConfig) -> None:
        super().__init__(
            width,
            latent_width=config.latent_width,
            key_width=1,
            slots=config.slots,
            segment_tokens=config.segment_tokens,
            layers=config.encoder_layers,
            heads=config.encoder_heads,
        )
        del self.to_weight, self.to_key
        self.key_tokens = config.key_tokens
        self.wide = WideKeys(width, config.key_width, config.poolings, config.segment_tokens)

    def beginning(
        self,
        embedded: Tensor,
        states: Tensor,
        keep: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the first tokens alone; what stands behind them must not show in their states
        either."""
        if embedded.shape[1] <= self.key_tokens:
            return embedded, states, keep
        embedded = embedded[:, : self.key_tokens]
        keep = keep[:, : self.key_tokens]
        return embedded, self.states(embedded, keep), keep

    def keys(
        self,
        embedded: Tensor,
        states: Tensor,
        keep: Tensor,
    ) -> Float[Tensor, "batch key"]:
        """Unit keys as wide as the matrix has rows."""
        return self.wide(*self.beginning(embedded, states, keep))


def ridge_read(
    queries: Float[Tensor, "qry key"],
    keys: Float[Tensor, "pat key"],
    values: Float[Tensor, "pat value"],
    ridge: float,
) -> Float[Tensor, "qry value"]:
    """q (KᵀK + ridge)⁻¹ KᵀV with gradients, the smaller of both normal equations solved by Cholesky
    factors.

    The read of `PseudoInverse` in the inputs' own precision; a ridge of 1e-4 or more keeps float32
    safe.
    """
    if len(keys) <= keys.shape[1]:
        factor = _ridge_factor(keys @ keys.T, ridge)
        return (queries @ keys.T) @ torch.cholesky_solve(values, factor)
    factor = _ridge_factor(keys.T @ keys, ridge)
    return queries @ torch.cholesky_solve(keys.T @ values, factor)


def _ridge_factor(gram: Tensor, ridge: float) -> Tensor:
    """The Cholesky factor of gram + ridge."""
    diagonal = ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.cholesky(gram + diagonal)


class FixedMemory(MemoryDecoder):
    """Encoder and decoder around one matrix; what `MemoryDecoder` does, and write and read of the
    matrix."""

    config_class: Any = FixedMemoryConfig

    def __init__(self, config: FixedMemoryConfig) -> None:
        super().__init__(config)
        self.encoder: Any = WideKeyEncoder(int(config.text_config.hidden_size), config)
        self.register_buffer("mean", torch.zeros(config.latent_width))  # of the latents of a sample
        self.post_init()

    def pairs(
        self,
        latents: Float[Tensor, "pat latent"],
        keys: Float[Tensor, "pat key"],
    ) -> tuple[Float[Tensor, "row address"], Float[Tensor, "row latent"]]:
        """Addresses and centred values that the matrix is solved from. Larimar's M = W₀⁺Z stands
        for its own rows; up to `key_width` patterns its read-out is the projection on the patterns,
        which can then stand for themselves."""
        values = self.centred(latents)
        if self.config.address == "keys":
            return keys, values
        if len(values) > self.config.key_width:
            start = torch.eye(self.config.key_width, values.shape[1], device=values.device)
            values = Larimar().write(Larimar().start(start), values).memory
        return values / math.sqrt(self.config.latent_width), values

    def queries(
        self, latents: Float[Tensor, "qry latent"], keys: Float[Tensor, "qry key"]
    ) -> Float[Tensor, "qry address"]:
        """What a cue is addressed with: its key; or, without keys, its centred latent, about as
        long as a key."""
        if self.config.address == "keys":
            return keys
        return self.centred(latents) / math.sqrt(self.config.latent_width)

    def centred(self, latents: Float[Tensor, "pat latent"]) -> Float[Tensor, "pat latent"]:
        """Without the mean, where they lie: latents may wait in RAM for a model on a GPU."""
        return latents - self.mean.to(latents.device)

    def write(
        self,
        latents: Float[Tensor, "pat latent"],
        keys: Float[Tensor, "pat key"],
        ridge: float | None = None,
    ) -> Float[Tensor, "address latent"]:
        """The matrix: the least-squares map from addresses to centred latents, solved in
        float64; float32, where the addresses lie."""
        memory = PseudoInverse(ridge if ridge is not None else self.config.ridge)
        addresses, values = self.pairs(latents, keys)
        empty = memory.empty(addresses.shape[1], values.shape[1], device=addresses.device)
        return memory.solve(memory.write(empty, addresses, values))

    def read(
        self,
        matrix: Float[Tensor, "address latent"],
        queries: Float[Tensor, "qry address"],
    ) -> Float[Tensor, "qry latent"]:
        """q M as a latent that the decoder takes. ValueError unless matrix and queries are finite
        and as wide as each other."""
        check_rows("the matrix", matrix, self.config.latent_width)
        queries = queries.to(matrix)
        check_rows("queries", queries, len(matrix))
        return self.as_latent(queries @ matrix)

    def as_latent(self, read: Float[Tensor, "qry latent"]) -> Float[Tensor, "qry latent"]:
        """The mean is added, the length found and the rest set to zero, the numbers normalised as
        the encoder's are.

        A slot of a stored segment has numbers of mean square about one, an empty one only the
        error's. The length is where the sum of (mean square − EMPTY) over the slots from the first
        on is largest. ValueError for what is not finite or of another width.
        """
        check_rows("what is read", read, self.config.latent_width)
        slots = rearrange(
            read + self.mean.to(read.device), "b (slot c) -> b slot c", slot=self.config.slots
        )
        filled = slots.detach().square().mean(-1) - EMPTY
        longest = filled.cumsum(1).argmax(1, keepdim=True)
        holds = torch.arange(self.config.slots, device=read.device) <= longest
        return rearrange(unit_slots(slots, holds[..., None]), "b slot c -> b (slot c)")

    @torch.no_grad()
    def sample(self, ids: Int[Tensor, "batch seq"]) -> tuple[Tensor, Tensor]:
        """Latents, and keys before the whitening: what the mean and the whitening are set from."""
        embedded, keep = self._embed(ids, None)
        states = self.encoder.states(embedded, keep)
        raw = self.encoder.wide.raw(*self.encoder.beginning(embedded, states, keep))
        return self.encoder.latents(states, keep), raw

    def forward(  # type: ignore[override]
        self,
        input_ids: Int[Tensor, "txt seq"] | None = None,
        latents: Tensor | None = None,
        stored_ids: Int[Tensor, "pat stored"] | None = None,
        **more: Any,
    ) -> MemoryDecoderOutput:
        """As in `MemoryDecoder`; with `stored_ids` (training, see `training.batch`) the loss
        of a whole memory."""
        if stored_ids is None:
            return super().forward(input_ids, latents, **more)  # type: ignore[arg-type]
        return self._memory_loss(stored_ids, input_ids, **more)

    def _grouped(self, ids: Int[Tensor, "pat seq"]) -> tuple[Tensor, Tensor]:
        """`encode`, in groups of similar length."""
        sizes = (ids != self.config.text_config.pad_token_id).sum(1)
        order = sizes.argsort(stable=True)
        parts = [self.encode(ids[rows, : int(sizes[rows].max())]) for rows in order.chunk(GROUPS)]
        latents = torch.cat([part[0] for part in parts])
        keys = torch.cat([part[1] for part in parts])
        back = order.argsort()
        return latents[back], keys[back]

    def _memory_loss(
        self,
        stored_ids: Tensor,
        input_ids: Tensor | None,
        cue_ids: Tensor,
        labels: Tensor | None = None,
        text_rows: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> MemoryDecoderOutput:
        """Cue i asks for stored segment i. Loss: 1 − cosine of what is read; with texts, their
        cross-entropy, the first ones (without noise) written from read-outs; with keys, finding the
        own key and the spread of all keys."""
        latents, keys = self._grouped(stored_ids)
        cue_latents, cue_keys = self._grouped(cue_ids)
        asked = self.queries(cue_latents, cue_keys)
        own = self.queries(latents, keys)
        read = ridge_read(asked, own, latents - self.mean, self.config.ridge)
        # subtracted anew: gradients are then added in the order that the recorded training had
        wanted = (latents - self.mean)[: len(read)]
        loss = 1 - F.cosine_similarity(read, wanted, dim=1).mean()
        if self.config.address == "keys":
            loss = loss + FIND * self.address_loss(cue_keys, keys) + SPREAD * _overlap(keys)
        if input_ids is None or text_rows is None or noise is None:
            return MemoryDecoderOutput(loss=loss)
        from_read_outs = len(text_rows) - len(noise)
        clean = latents[text_rows[from_read_outs:]]
        clean = torch.where(clean != 0, clean + noise, clean)
        given = torch.cat([self.as_latent(read[text_rows[:from_read_outs]]), clean])
        output = super().forward(input_ids, given, labels=labels)
        assert output.loss is not None  # for mypy: there are labels
        return MemoryDecoderOutput(
            loss=loss + output.loss, logits=output.logits, reading_loss=output.loss
        )


def _overlap(keys: Float[Tensor, "pat key"]) -> Tensor:
    """Mean square of the cosines of different keys."""
    others = ~torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    return (keys @ keys.T)[others].square().mean()


AutoConfig.register(FixedMemoryConfig.model_type, FixedMemoryConfig, exist_ok=True)
AutoModel.register(FixedMemoryConfig, FixedMemory, exist_ok=True)
