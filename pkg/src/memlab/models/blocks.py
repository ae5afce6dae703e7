"""Stock transformers blocks taken apart: their matrices in one notation, and their passes recorded
inside the model.

GPT-2 (LayerNorm, GELU), Llama and Qwen2 (RMSNorm, RoPE, grouped heads, SwiGLU) and BLOOM (ALiBi,
its own GELU). Other classes are refused, because a block that looks alike may compute differently
(Gemma's norm adds one to its weight).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memlab.runtime import generator

Activation = Callable[[Tensor], Tensor]
ARCHITECTURES = ("gpt2", "llama", "qwen2", "bloom")
_CLASSES = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2", "bloom": "Bloom"}
# As GPT2Config spells it.
NO_DROPOUT: dict[str, Any] = {
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}


@dataclass(frozen=True)
class Norm:
    """LayerNorm (`centred`) or RMSNorm."""

    weight: Float[Tensor, " dim"]
    bias: Float[Tensor, " dim"] | None
    eps: float
    centred: bool

    def affine(
        self, Z: Float[Tensor, "token dim"]
    ) -> tuple[Float[Tensor, "flat flat"], Float[Tensor, " flat"]]:
        """N and n with vec(norm(Z)) = N vec(Z) + n; N depends on Z through one scale a token."""
        tokens, dim = Z.shape
        identity = torch.eye(dim, dtype=Z.dtype, device=Z.device)
        C = identity - (1 / dim if self.centred else 0.0)
        scale = ((Z @ C).square().mean(-1) + self.eps).rsqrt()
        N = torch.kron(scale.diag(), self.weight[:, None] * C)
        n = torch.zeros_like(Z[0]) if self.bias is None else self.bias
        return N, n.repeat(tokens)


@dataclass(frozen=True)
class Parts:
    """What a block is made of. Matrices act on rows from the right; grouped key-value heads are
    written out."""

    norms: tuple[Norm, Norm]
    value: Float[Tensor, "head dim inner"]
    value_bias: Float[Tensor, "head inner"]
    out: Float[Tensor, "head inner dim"]
    out_bias: Float[Tensor, " dim"]
    gate: tuple[Float[Tensor, "dim hidden"], Float[Tensor, " hidden"]]
    up: tuple[Float[Tensor, "dim hidden"], Float[Tensor, " hidden"]] | None
    down: tuple[Float[Tensor, "hidden dim"], Float[Tensor, " dim"]]
    sigma: Activation
    residual_after_norm: bool = False


def _linear(layer: Any) -> tuple[Tensor, Tensor]:
    """Weight (in × out) and bias of an nn.Linear, or of GPT-2's Conv1D, which stores the
    transpose."""
    weight = layer.weight if type(layer).__name__ == "Conv1D" else layer.weight.T
    bias = weight.new_zeros(weight.shape[1]) if layer.bias is None else layer.bias
    return weight, bias


def _norm(layer: Any) -> Norm:
    eps = getattr(layer, "variance_epsilon", None) or layer.eps
    centred = isinstance(layer, nn.LayerNorm)
    return Norm(layer.weight, layer.bias if centred else None, eps, centred)


def _gpt2(block: Any) -> Parts:
    """GPT-2: query, key and value side by side in one matrix."""
    heads = block.attn.num_heads
    W, b = _linear(block.attn.c_attn)
    out, out_bias = _linear(block.attn.c_proj)
    V = W.chunk(3, 1)[2]
    v = b.chunk(3)[2]
    return Parts(
        norms=(_norm(block.ln_1), _norm(block.ln_2)),
        value=V.unflatten(1, (heads, -1)).movedim(1, 0),
        value_bias=v.unflatten(0, (heads, -1)),
        out=out.unflatten(0, (heads, -1)),
        out_bias=out_bias,
        gate=_linear(block.mlp.c_fc),
        up=None,
        down=_linear(block.mlp.c_proj),
        sigma=block.mlp.act,
    )


def _llama(block: Any) -> Parts:
    """Llama and Qwen2: RMSNorm, SwiGLU; one value head serves a group of query heads; RoPE acts on
    scores only."""
    attention = block.self_attn
    inner = attention.head_dim
    group = attention.num_key_value_groups
    V, v = _linear(attention.v_proj)
    out, out_bias = _linear(attention.o_proj)
    return Parts(
        norms=(_norm(block.input_layernorm), _norm(block.post_attention_layernorm)),
        value=V.unflatten(1, (-1, inner)).movedim(1, 0).repeat_interleave(group, 0),
        value_bias=v.unflatten(0, (-1, inner)).repeat_interleave(group, 0),
        out=out.unflatten(0, (-1, inner)),
        out_bias=out_bias,
        gate=_linear(block.mlp.gate_proj),
        up=_linear(block.mlp.up_proj),
        down=_linear(block.mlp.down_proj),
        sigma=block.mlp.act_fn,
    )


def _bloom(block: Any) -> Parts:
    """BLOOM: query, key and value interleaved head by head; ALiBi acts on scores only."""
    attention = block.self_attention
    heads = attention.num_heads
    W, b = _linear(attention.query_key_value)
    out, out_bias = _linear(attention.dense)
    return Parts(
        norms=(_norm(block.input_layernorm), _norm(block.post_attention_layernorm)),
        value=W.unflatten(1, (heads, 3, -1))[:, :, 2].movedim(1, 0),
        value_bias=b.unflatten(0, (heads, 3, -1))[:, 2],
        out=out.unflatten(0, (heads, -1)),
        out_bias=out_bias,
        gate=_linear(block.mlp.dense_h_to_4h),
        up=None,
        down=_linear(block.mlp.dense_4h_to_h),
        sigma=block.mlp.gelu_impl,
        residual_after_norm=block.apply_residual_connection_post_layernorm,
    )


# How to read a block, and the name of its attention module.
_PARTS = {
    "GPT2Block": (_gpt2, "attn"),
    "LlamaDecoderLayer": (_llama, "self_attn"),
    "Qwen2DecoderLayer": (_llama, "self_attn"),
    "BloomBlock": (_bloom, "self_attention"),
}


def parts(block: nn.Module) -> Parts:
    """The parts of a stock block. Raises ValueError for a class that is not in the list."""
    kind = type(block).__name__
    if kind not in _PARTS:
        raise ValueError(f"expected a block of type {', '.join(_PARTS)}, got {kind}")
    read, _ = _PARTS[kind]
    return read(block)


@dataclass(frozen=True)
class Call:
    """One pass of one stock block: input, output, attention weights, and the other arguments the
    model gave it."""

    block: nn.Module
    X: Float[Tensor, "token dim"]
    Y: Float[Tensor, "token dim"]
    P: Float[Tensor, "head token token"]
    rest: tuple[Any, ...]
    named: dict[str, Any]

    @torch.no_grad()
    def output(self, X: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        """The stock block's own output at another X, under the same mask and positions."""
        return _run(self.block, X, self.rest, self.named)

    def at(self, X: Float[Tensor, "token dim"]) -> Call:
        """The same call made with another X."""
        return _observe(self.block, X, self.rest, self.named)


def _run(
    block: nn.Module,
    X: Tensor,
    rest: tuple[Any, ...],
    named: dict[str, Any],
) -> Tensor:
    Y = block(X[None], *rest, **named)
    if isinstance(Y, tuple):
        Y = Y[0]
    return Y.reshape(X.shape)


@torch.no_grad()
def _observe(
    block: nn.Module,
    X: Tensor,
    rest: tuple[Any, ...],
    named: dict[str, Any],
) -> Call:
    kept: list[Tensor | None] = []
    _, attention = _PARTS[type(block).__name__]

    def keep(
        _module: nn.Module,
        _args: Any,
        result: Any,
    ) -> None:
        kept.append(result[1])

    handle = getattr(block, attention).register_forward_hook(keep)
    try:
        Y = _run(block, X, rest, named)
    finally:
        handle.remove()
    if kept[0] is None:
        raise ValueError(
            'expected a model with attn_implementation="eager", got one that hides its attention'
        )
    return Call(block, X, Y, kept[0][0], rest, named)


@torch.no_grad()
def calls(model: nn.Module, inputs: Tensor) -> list[Call]:
    """Run a stock model on token ids (1-d) or embeddings (tokens × dim); return the pass of every
    block, first to last.

    Raises ValueError for a model in training mode, without eager attention, or without a block that
    we know.
    """
    found = [module for module in model.modules() if type(module).__name__ in _PARTS]
    if not found or model.training:
        raise ValueError(
            f"expected a model in eval mode with blocks of type {', '.join(_PARTS)}, got "
            f"{type(model).__name__} with {len(found)} of them, training={model.training}"
        )
    seen: list[tuple[nn.Module, Any, Any]] = []
    hooks = [
        block.register_forward_pre_hook(lambda *call: seen.append(call), with_kwargs=True)
        for block in found
    ]
    name = "inputs_embeds" if inputs.is_floating_point() else "input_ids"
    try:
        model(**{name: inputs[None]}, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return [_observe(block, args[0][0], args[1:], named) for block, args, named in seen]


def chain(stack: Sequence[Call]) -> Callable[[Tensor], Tensor]:
    """The function of the first block's input that the blocks compute together, under the recorded
    masks."""

    def together(X: Tensor) -> Tensor:
        for call in stack:
            X = call.output(X)
        return X

    return together


def double(model: nn.Module) -> nn.Module:
    """A copy in float64. Stock RMSNorms compute in float32 in any dtype: torch's own, in float64,
    takes their place."""
    twin = copy.deepcopy(model).double().eval()
    child: Any
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)
                norm.weight = nn.Parameter(child.weight)
                setattr(parent, name, norm)
    return twin


def stock_model(
    architecture: str,
    seed: int = 0,
    *,
    dim: int = 32,
    heads: int = 4,
    layers: int = 1,
    scale: float = 0.3,
    head: bool = False,
    **options: Any,
) -> Any:
    """A small stock model in eval mode with eager attention and weights drawn at random, biases and
    norms too.

    Matrices have standard deviation `scale`; vectors lie around 0 (biases) or 1 (norms), so that no
    term of the algebra is trivially zero. `head` adds the language-model head; `options` go to the
    config. Raises ValueError for an unknown architecture.
    """
    import transformers

    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}"
        )
    name = _CLASSES[architecture]
    settings = _settings(architecture, dim, heads) | {"num_hidden_layers": layers} | options
    config = getattr(transformers, f"{name}Config")(**settings)
    kind = "Model"
    if head:
        kind = "LMHeadModel" if architecture == "gpt2" else "ForCausalLM"
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that we replace
        model = getattr(transformers, name + kind)(config).eval().requires_grad_(False)
    model.loss_type = "ForCausalLM"
    _draw_weights(model, scale, generator(seed, "stock_model", architecture))
    return model


def _settings(
    architecture: str,
    dim: int,
    heads: int,
) -> dict[str, Any]:
    """The settings of a small model of this architecture, but for the number of its layers."""
    settings = {
        "vocab_size": 64,
        "hidden_size": dim,
        "num_attention_heads": heads,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attn_implementation": "eager",
    }
    if architecture == "gpt2":
        settings["n_positions"] = 64
    if architecture in ("llama", "qwen2"):
        settings["intermediate_size"] = 3 * dim
        settings["num_key_value_heads"] = max(1, heads // 2)
    return settings


@torch.no_grad()
def _draw_weights(
    model: nn.Module,
    scale: float,
    draw: torch.Generator,
) -> None:
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=draw)
        if p.ndim > 1:
            p.copy_(scale * noise)
        else:
            centre = 0.0 if name.endswith("bias") else 1.0
            p.copy_(0.2 * noise + centre)
