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
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memlab.runtime import generator

Activation = Callable[[Tensor], Tensor]
ARCHITECTURES = ("gpt2", "llama", "qwen2", "bloom")
NO_DROPOUT: dict[str, Any] = {
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}  # as GPT2Config spells it


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
        C = torch.eye(dim, dtype=Z.dtype) - (1 / dim if self.centred else 0.0)
        scale = ((Z @ C).square().mean(-1) + self.eps).rsqrt()
        n = torch.zeros_like(Z[0]) if self.bias is None else self.bias
        return torch.kron(scale.diag(), self.weight[:, None] * C), n.repeat(tokens)


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


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (in × out) and bias of an nn.Linear, or of GPT-2's Conv1D, which stores the
    transpose."""
    weight: Tensor = layer.weight if type(layer).__name__ == "Conv1D" else layer.weight.T  # type: ignore[assignment,union-attr]
    return weight, weight.new_zeros(weight.shape[1]) if layer.bias is None else layer.bias  # type: ignore[return-value]


def _norm(layer: Any) -> Norm:
    eps = getattr(layer, "variance_epsilon", None) or layer.eps
    centred = isinstance(layer, nn.LayerNorm)
    return Norm(layer.weight, layer.bias if centred else None, eps, centred)


def _gpt2(block: Any) -> Parts:
    heads, (W, b), (out, bias) = (
        block.attn.num_heads,
        _linear(block.attn.c_attn),
        _linear(block.attn.c_proj),
    )
    V, v = W.chunk(3, 1)[2], b.chunk(3)[2]
    return Parts(
        (_norm(block.ln_1), _norm(block.ln_2)),
        V.unflatten(1, (heads, -1)).movedim(1, 0),
        v.unflatten(0, (heads, -1)),
        out.unflatten(0, (heads, -1)),
        bias,
        _linear(block.mlp.c_fc),
        None,
        _linear(block.mlp.c_proj),
        block.mlp.act,
    )


def _llama(block: Any) -> Parts:
    """Llama and Qwen2: RMSNorm, SwiGLU; one value head serves a group of query heads; RoPE acts on
    scores only."""
    att, mlp, inner = block.self_attn, block.mlp, block.self_attn.head_dim
    (V, v), (out, bias) = _linear(att.v_proj), _linear(att.o_proj)
    group = att.num_key_value_groups
    return Parts(
        (_norm(block.input_layernorm), _norm(block.post_attention_layernorm)),
        V.unflatten(1, (-1, inner)).movedim(1, 0).repeat_interleave(group, 0),
        v.unflatten(0, (-1, inner)).repeat_interleave(group, 0),
        out.unflatten(0, (-1, inner)),
        bias,
        _linear(mlp.gate_proj),
        _linear(mlp.up_proj),
        _linear(mlp.down_proj),
        mlp.act_fn,
    )


def _bloom(block: Any) -> Parts:
    """BLOOM: query, key and value interleaved head by head; ALiBi acts on scores only."""
    att, mlp = block.self_attention, block.mlp
    (W, b), (out, bias), heads = _linear(att.query_key_value), _linear(att.dense), att.num_heads
    return Parts(
        (_norm(block.input_layernorm), _norm(block.post_attention_layernorm)),
        W.unflatten(1, (heads, 3, -1))[:, :, 2].movedim(1, 0),
        b.unflatten(0, (heads, 3, -1))[:, 2],
        out.unflatten(0, (heads, -1)),
        bias,
        _linear(mlp.dense_h_to_4h),
        None,
        _linear(mlp.dense_4h_to_h),
        mlp.gelu_impl,
        block.apply_residual_connection_post_layernorm,
    )


_PARTS = {
    "GPT2Block": (_gpt2, "attn"),
    "LlamaDecoderLayer": (_llama, "self_attn"),
    "Qwen2DecoderLayer": (_llama, "self_attn"),
    "BloomBlock": (_bloom, "self_attention"),
}


def parts(block: nn.Module) -> Parts:
    """The parts of a stock block. Raises ValueError for a class that is not in the list."""
    if type(block).__name__ not in _PARTS:
        raise ValueError(
            f"expected a block of type {', '.join(_PARTS)}, got {type(block).__name__}"
        )
    return _PARTS[type(block).__name__][0](block)


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


def _run(block: nn.Module, X: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    Y = block(X[None], *rest, **named)
    return (Y[0] if isinstance(Y, tuple) else Y).reshape(X.shape)


@torch.no_grad()
def _observe(block: nn.Module, X: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Call:
    kept: list[Tensor | None] = []
    attention = getattr(block, _PARTS[type(block).__name__][1])
    handle = attention.register_forward_hook(lambda _module, _args, result: kept.append(result[1]))
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
    try:
        model(
            **{"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs[None]},
            use_cache=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return [_observe(block, args[0][0], args[1:], named) for block, args, named in seen]


def chain(stack: Sequence[Call]) -> Callable[[Tensor], Tensor]:
    """The function of the first block's input that the blocks compute together, under the recorded
    masks."""
    return lambda X: reduce(lambda Z, call: call.output(Z), stack, X)


def double(model: nn.Module) -> nn.Module:
    """A copy in float64. Stock RMSNorms compute in float32 in any dtype: torch's own, in float64,
    takes their place."""
    twin = copy.deepcopy(model).double().eval()
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)  # type: ignore[arg-type]
                norm.weight = nn.Parameter(child.weight)  # type: ignore[arg-type]
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
    grouped = {"intermediate_size": 3 * dim, "num_key_value_heads": max(1, heads // 2)}
    kind, extra = {
        "gpt2": ("GPT2", {"n_positions": 64}),
        "llama": ("Llama", grouped),
        "qwen2": ("Qwen2", grouped),
        "bloom": ("Bloom", {}),
    }[architecture]
    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": 64,
            "hidden_size": dim,
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "attn_implementation": "eager",
            **extra,
            **options,
        }
    )
    suffix = ("LMHeadModel" if kind == "GPT2" else "ForCausalLM") if head else "Model"
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that we replace
        model = getattr(transformers, kind + suffix)(config).eval().requires_grad_(False)
    model.loss_type = "ForCausalLM"
    draw = generator(seed, "stock_model", architecture)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=draw)
        p.copy_(
            scale * noise if p.ndim > 1 else 0.2 * noise + (0.0 if name.endswith("bias") else 1.0)
        )
    return model
