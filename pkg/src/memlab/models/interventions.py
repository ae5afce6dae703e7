"""Attention weights of a stock model, read and replaced: what a model says when it looks where
another input looked.

A replacement goes in through transformers' own attention interface: within `attending(model,
weights)` every layer multiplies its values by the weights it is given instead of computing
softmax(QKᵀ). All else stays. It works for GPT-2, Llama, Qwen2 and whatever else uses that
interface; BLOOM does not, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

NAME = "memlab_given"  # our attention function in transformers' register
Weights = Sequence[Float[Tensor, "#poem #head token token"]]  # one tensor a layer, first to last


def _given(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, Tensor]:
    """An attention function in the sense of transformers that computes no scores: the layer's
    weights are handed in."""
    queries = query.shape[2]
    keys = key.shape[2]
    weights = module.memlab_weights[..., :queries, :keys].to(value)
    group = query.shape[1] // value.shape[1]  # a value head may serve several query heads
    mixed = weights @ value.repeat_interleave(group, dim=1)
    return mixed.transpose(1, 2), weights


def layers(model: Any) -> list[Any]:
    """The attention modules of a stock model, first to last; ValueError if there are none that take
    replacements."""
    found = [
        module
        for module in model.modules()
        if hasattr(module, "layer_idx") and hasattr(module, "scaling")
    ]
    if not found or "Bloom" in type(model).__name__:
        raise ValueError(
            "expected a model that uses transformers' attention interface (GPT-2, Llama, Qwen2),"
            f" got {type(model).__name__}"
        )
    return sorted(found, key=lambda module: module.layer_idx)


@contextmanager
def _implementation(model: Any, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.no_grad()
def attention(
    model: Any, ids: Int[Tensor, "poem seq"]
) -> list[Float[Tensor, "poem head token token"]]:
    """The attention weights that the model itself uses on these rows, one tensor a layer."""
    layers(model)
    with _implementation(model, "eager"):
        seen = model(ids.to(model.device), output_attentions=True, use_cache=False).attentions
    return list(seen)


@contextmanager
def attending(model: Any, weights: Weights) -> Iterator[None]:
    """Within it, layer l of the model uses `weights[l]`: of one input for all rows, or one for each
    row of the batch.

    Weights for longer rows are cut to the rows at hand (those of a causal model are the same for a
    shorter row). ValueError for another number of layers, a matrix that is not square, or a number
    of heads that does not fit.
    """
    from transformers import AttentionInterface

    found = layers(model)
    heads = model.config.num_attention_heads
    if len(weights) != len(found) or not all(_fits(w, heads) for w in weights):
        raise ValueError(
            f"expected {len(found)} tensors (row or 1, {heads} or 1, token, token), got "
            f"{[tuple(w.shape) for w in weights]}"
        )
    AttentionInterface.register(NAME, _given)
    for module, own in zip(found, weights, strict=True):
        # Not by setattr, which would make a parameter part of the model.
        module.__dict__["memlab_weights"] = own
    try:
        with _implementation(model, NAME):
            yield
    finally:
        for module in found:
            del module.__dict__["memlab_weights"]


def _fits(weights: Tensor, heads: int) -> bool:
    if weights.ndim != 4:
        return False
    _, own_heads, rows, columns = weights.shape
    return own_heads in (1, heads) and rows == columns


# ---- replacements --------------------------------------------------------------------------------


def average(weights: Weights) -> list[Tensor]:
    """The mean over all rows: one set of weights for every input."""
    return [w.mean(0, keepdim=True) for w in weights]


def uniform(weights: Weights) -> list[Tensor]:
    """Every token looks at itself and all before it alike: the same for every input, row and
    head."""
    lower = [torch.ones_like(w[:1, :1]).tril() for w in weights]
    return [ones / ones.sum(-1, keepdim=True) for ones in lower]


def taken(weights: Weights, rows: Int[Tensor, " row"]) -> list[Tensor]:
    """Row i gets the weights of row `rows[i]`: one number freezes all at one input, a permutation
    swaps them."""
    return [w[rows] for w in weights]


def movement(weights: Weights) -> float:
    """How far the weights move with the input: |P(x) − P(x′)| / |P(x)| over neighbouring rows, mean
    over layers.

    0 for weights that are the same for every input.
    """
    shares = [(w - w.roll(1, 0)).norm() / w.norm() for w in weights]
    return float(torch.stack(shares).mean())


@contextmanager
def without(weights: Tensor, index: Any) -> Iterator[None]:
    """Within it, `weights[index]` is zero: the row or column that a unit writes through, and the
    unit is gone."""
    kept = weights.data[index].clone()
    weights.data[index] = 0.0
    try:
        yield
    finally:
        weights.data[index] = kept


def restarted(model: Any) -> Any:
    """A new model that has nothing of the old one but its configuration and the bytes of its
    weights, in eval mode."""
    from safetensors.torch import load, save

    data = save({name: p.detach().cpu().clone() for name, p in model.state_dict().items()})
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced
        copy = type(model)(model.config)
    copy.load_state_dict(load(data))
    return copy.eval().to(model.device)


# ---- models whose attention does not move --------------------------------------------------------


class SameForAll(nn.Module):
    """A stock causal model whose attention weights are the same for every input, while it learns
    and after.

    `learnt` makes them parameters: softmax of one causal score matrix a layer and head. Otherwise
    they are uniform. Queries and keys are still there, and counted, but have no effect.
    """

    def __init__(
        self,
        model: Any,
        tokens: int,
        learnt: bool,
    ) -> None:
        super().__init__()
        self.model = model
        heads = model.config.num_attention_heads
        zeros = torch.zeros(len(layers(model)), 1, heads, tokens, tokens, device=model.device)
        self.scores = nn.Parameter(zeros) if learnt else nn.Buffer(zeros)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.scores.device

    def weights(self) -> list[Float[Tensor, "1 head token token"]]:
        """What every input gets, one tensor a layer."""
        ahead = torch.ones_like(self.scores[0, 0, 0]).triu(1).bool()
        return list(self.scores.masked_fill(ahead, -torch.inf).softmax(-1))

    def forward(self, input_ids: Int[Tensor, "poem seq"], **named: Any) -> Any:
        """The model's output under these weights."""
        with attending(self.model, self.weights()):
            return self.model(input_ids=input_ids, use_cache=False, **named)


def never_learnt(model: Any, scale: float = 1.0) -> Any:
    """The same model, whose queries and keys stay as they were drawn, times `scale`: no gradient
    will reach them.

    Its attention still moves with the input, but what moves it is chance. Returns the model.
    """
    for module in layers(model):
        fused = getattr(module, "c_attn", None)
        if fused is not None:
            _fix_left(fused, 2 * module.embed_dim, scale)
            continue
        for p in (*module.q_proj.parameters(), *module.k_proj.parameters()):
            p.data.mul_(scale)
            p.requires_grad_(False)
    return model


def _fix_left(
    layer: nn.Module,
    columns: int,
    scale: float,
) -> None:
    """Fix the first columns of a layer, times `scale`: GPT-2 keeps queries, keys and values side by
    side in one matrix."""
    for p in layer.parameters():
        moving = torch.ones_like(p)
        moving[..., :columns] = 0.0
        p.data.mul_(torch.where(moving > 0, 1.0, scale))
        p.register_hook(moving.mul)
