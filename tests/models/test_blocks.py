"""Stock blocks taken apart: hand-written attention and norms, the stock model's own states, and
what is refused."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from torch import Tensor, nn

from memlab.models import blocks
from memlab.runtime import generator


def inputs(tokens: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, dim, generator=generator(seed, "test inputs"), dtype=torch.float64)


def causal(scores: Tensor) -> Tensor:
    return (scores + torch.full(scores.shape[-2:], -math.inf, dtype=scores.dtype).triu(1)).softmax(
        -1
    )


@pytest.mark.parametrize("architecture", blocks.ARCHITECTURES)
def test_calls_are_those_of_the_model(architecture: str) -> None:
    model = blocks.double(blocks.stock_model(architecture, dim=16, layers=3))
    ids = torch.tensor([3, 1, 4, 1, 5])
    stack = blocks.calls(model, ids)
    states = model(ids[None], output_hidden_states=True).hidden_states
    assert len(stack) == 3
    for layer, call in enumerate(stack):
        torch.testing.assert_close(call.X, states[layer][0], rtol=0, atol=0)
        assert call.P.shape == (4, 5, 5)
        torch.testing.assert_close(call.P.sum(-1), torch.ones(4, 5).to(call.P), rtol=0, atol=1e-6)
        assert float(call.P.triu(1).abs().max()) == 0, "a later token is seen"
        torch.testing.assert_close(call.output(call.X), call.Y, rtol=0, atol=0)
    torch.testing.assert_close(stack[0].Y, stack[1].X, rtol=0, atol=0)
    torch.testing.assert_close(blocks.chain(stack)(stack[0].X), stack[-1].Y, rtol=0, atol=0)


def test_a_gpt2_block_by_hand() -> None:
    """One head, one sentence of arithmetic a line, against the stock block and the parts."""
    [call] = blocks.calls(blocks.double(blocks.stock_model("gpt2", dim=4, heads=1)), inputs(3, 4))
    parts = blocks.parts(call.block)
    N = nn.functional.layer_norm(
        call.X, (4,), parts.norms[0].weight, parts.norms[0].bias, parts.norms[0].eps
    )
    by_hand = call.P[0] @ (N @ parts.value[0] + parts.value_bias[0]) @ parts.out[0] + parts.out_bias
    torch.testing.assert_close(by_hand, call.block.attn(N[None], attention_mask=call.rest[1])[0][0])
    attention = call.block.attn.c_attn
    Q, K, _ = (N @ attention.weight + attention.bias).chunk(3, -1)
    torch.testing.assert_close(call.P[0], causal(Q @ K.T / 2))


@pytest.mark.parametrize("heads", [2, 3, 4])
def test_alibi_is_active(heads: int) -> None:
    """BLOOM's scores carry a slope a head; without it the attention is another, with it ours by
    hand."""
    [call] = blocks.calls(
        blocks.double(blocks.stock_model("bloom", dim=12, heads=heads)), inputs(5, 12)
    )
    N = call.block.input_layernorm(call.X)
    Q, K, _ = call.block.self_attention.query_key_value(N).view(5, heads, 3, -1).permute(2, 1, 0, 3)
    scores = Q @ K.mT / math.sqrt(12 // heads)
    near = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / near) for i in range(near)]
    slopes += [2 ** (-4 * (2 * i + 1) / near) for i in range(heads - near)]
    alibi = torch.tensor(slopes, dtype=torch.float64)[:, None, None] * torch.arange(5)
    torch.testing.assert_close(call.P, causal(scores + alibi), rtol=0, atol=1e-6)
    assert float((call.P - causal(scores)).abs().max()) > 1e-3


def test_rope_is_active() -> None:
    """The same rows at other positions attend otherwise."""
    [call] = blocks.calls(blocks.double(blocks.stock_model("llama", dim=16)), inputs(5, 16))
    cos, sin = call.named["position_embeddings"]
    named = {**call.named, "position_embeddings": (torch.ones_like(cos), torch.zeros_like(sin))}
    still = blocks.Call(call.block, call.X, call.Y, call.P, call.rest, named).at(call.X)
    assert float((still.P - call.P).abs().max()) > 1e-3


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_heads_share_values(groups: int) -> None:
    parts = blocks.parts(blocks.stock_model("qwen2", dim=16, num_key_value_heads=groups).layers[0])
    assert parts.value.shape == (4, 16, 4) and parts.value_bias.shape == (4, 4)
    assert len({float(head.sum()) for head in parts.value}) == groups
    assert torch.equal(parts.value[0], parts.value[4 // groups - 1])
    assert float(parts.value_bias.abs().max()) > 0, "Qwen2 has biases on q, k and v"


def test_llama_has_no_bias_by_default() -> None:
    parts = blocks.parts(blocks.stock_model("llama", dim=16).layers[0])
    assert parts.up is not None
    biases = (parts.value_bias, parts.out_bias, parts.gate[1], parts.up[1], parts.down[1])
    assert not any(float(bias.abs().max()) for bias in biases)


@pytest.mark.parametrize(
    ("norm", "centred"), [(nn.LayerNorm(5), True), (nn.RMSNorm(5, eps=1e-3), False)]
)
def test_norm_affine_is_the_norm(norm: nn.Module, centred: bool) -> None:
    norm = norm.double().requires_grad_(False)
    norm.weight.copy_(inputs(1, 5)[0])
    bias = norm.bias.copy_(inputs(1, 5, 1)[0]) if centred else None
    Z = inputs(4, 5, 2)
    N, n = blocks.Norm(norm.weight, bias, norm.eps, centred).affine(Z)
    torch.testing.assert_close((N @ Z.reshape(-1) + n).reshape(4, 5), norm(Z))


def test_double_computes_as_the_stock_model_does() -> None:
    for architecture in blocks.ARCHITECTURES:
        model = blocks.stock_model(architecture, dim=16)
        twin, ids = blocks.double(model), torch.tensor([[1, 2, 3]])
        assert {p.dtype for p in twin.parameters()} == {torch.float64}
        assert {p.dtype for p in model.parameters()} == {torch.float32}, (
            "the original is left alone"
        )
        torch.testing.assert_close(twin(ids)[0].float(), model(ids)[0], rtol=1e-4, atol=1e-4)
        assert sum(p.numel() for p in twin.parameters()) == sum(
            p.numel() for p in model.parameters()
        )


def test_stock_models_are_reproducible_and_leave_the_global_state(
    untouched_global_random_state: None,
) -> None:
    for architecture in blocks.ARCHITECTURES:
        first, again = (
            blocks.stock_model(architecture, 3, dim=8, heads=2).state_dict() for _ in range(2)
        )
        assert all(torch.equal(first[name], again[name]) for name in first)
        other = blocks.stock_model(architecture, 4, dim=8, heads=2).state_dict()
        assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_head_can_be_asked_for() -> None:
    for architecture in blocks.ARCHITECTURES:
        model = blocks.stock_model(architecture, dim=8, heads=2, head=True)
        out = model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]]))
        assert out.logits.shape == (1, 2, 64) and float(out.loss) > 0


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown architecture 'gpt3': expected one of gpt2"):
        blocks.stock_model("gpt3")
    model = blocks.stock_model("gpt2", dim=8, heads=2)
    with pytest.raises(ValueError, match="training=True"):
        blocks.calls(model.train(), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="eager"):
        blocks.calls(
            blocks.stock_model("gpt2", dim=8, heads=2, attn_implementation="sdpa"),
            torch.tensor([1, 2]),
        )
    with pytest.raises(ValueError, match="with 0 of them"):
        blocks.calls(nn.Linear(2, 2), torch.tensor([1, 2]))
    config = transformers.GemmaConfig(
        vocab_size=8,
        hidden_size=8,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
        intermediate_size=8,
        num_hidden_layers=1,
    )
    with torch.random.fork_rng(devices=[]):
        gemma = transformers.GemmaModel(config)
    with pytest.raises(
        ValueError, match="expected a block of type GPT2Block.*got GemmaDecoderLayer"
    ):
        blocks.parts(gemma.layers[0])


def test_hooks_are_taken_off_again() -> None:
    model = blocks.stock_model("gpt2", dim=8, heads=2)
    blocks.calls(model, torch.tensor([1, 2]))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
