"""Replaced attention: against a forward pass by hand, its control in every architecture, and
nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from memlab import evaluation
from memlab.corpora import poems as corpus
from memlab.models import blocks, interventions, stock
from memlab.training import Recipe

POEMS = corpus.synthetic(6, 5, 16, authors=3, seed=1)
TOKENS = POEMS.ids.shape[1]


def model(architecture: str = "gpt2", layers: int = 2) -> Any:
    """Random weights so large that attention is far from uniform; Llama and Qwen2 with one value
    head for two."""
    return blocks.stock_model(
        architecture, 3, dim=12, heads=2, layers=layers, scale=0.3, head=True, vocab_size=20
    )


def by_hand(gpt2: Any, ids: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """GPT-2's logits, written out, with attention weights that are given."""
    body = gpt2.transformer
    x = body.wte.weight[ids] + body.wpe.weight[: ids.shape[1]]
    for block, P in zip(body.h, weights, strict=True):
        z = F.layer_norm(x, (12,), block.ln_1.weight, block.ln_1.bias, block.ln_1.eps)
        v = (z @ block.attn.c_attn.weight + block.attn.c_attn.bias)[..., 24:]
        heads = [P[:, h] @ v[..., 6 * h : 6 * h + 6] for h in range(2)]
        x = x + torch.cat(heads, -1) @ block.attn.c_proj.weight + block.attn.c_proj.bias
        z = F.layer_norm(x, (12,), block.ln_2.weight, block.ln_2.bias, block.ln_2.eps)
        z = F.gelu(z @ block.mlp.c_fc.weight + block.mlp.c_fc.bias, approximate="tanh")
        x = x + z @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
    return (
        F.layer_norm(x, (12,), body.ln_f.weight, body.ln_f.bias, body.ln_f.eps)
        @ gpt2.lm_head.weight.T
    )


def random_weights(rows: int, layers: int = 2, heads: int = 2) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(layers, rows, heads, TOKENS, TOKENS, generator=draw)
    return list(
        scores.masked_fill(torch.ones(TOKENS, TOKENS).triu(1).bool(), -torch.inf).softmax(-1)
    )


@pytest.mark.parametrize("rows", [1, 6])
def test_given_weights_against_a_forward_pass_by_hand(rows: int) -> None:
    gpt2, weights = model(), random_weights(rows)
    with interventions.attending(gpt2, weights):
        said = gpt2(POEMS.ids, use_cache=False).logits
    assert torch.allclose(said, by_hand(gpt2, POEMS.ids, weights), atol=1e-4)
    assert not torch.allclose(said, gpt2(POEMS.ids).logits, atol=0.1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_its_own_attention_changes_nothing(architecture: str) -> None:
    original = model(architecture)
    own, plain = interventions.attention(original, POEMS.ids), original(POEMS.ids).logits
    assert [tuple(w.shape) for w in own] == [(6, 2, TOKENS, TOKENS)] * 2
    assert interventions.movement(own) > 0.1, "or the test would see nothing"
    with interventions.attending(original, own):
        assert torch.allclose(original(POEMS.ids, use_cache=False).logits, plain, atol=1e-4)
    with interventions.attending(original, interventions.taken(own, torch.arange(6).roll(1))):
        assert not torch.allclose(original(POEMS.ids, use_cache=False).logits, plain, atol=0.1)


def test_grouped_value_heads_serve_their_queries() -> None:
    original, weights, seen = model("llama", layers=1), random_weights(1, layers=1), []
    attention = original.model.layers[0].self_attn
    handles = [
        layer.register_forward_hook(lambda _layer, given, made: seen.append((given[0], made)))
        for layer in (attention.v_proj, attention.o_proj)
    ]
    with interventions.attending(original, weights):
        original(POEMS.ids, use_cache=False)
    for handle in handles:
        handle.remove()
    (_, values), (mixed, _) = seen
    assert values.shape[-1] == 6 and mixed.shape[-1] == 12
    assert torch.allclose(
        mixed, torch.cat([weights[0][:, h] @ values for h in range(2)], -1), atol=1e-5
    )


def test_recorded_weights_are_the_eager_ones_whatever_the_model_runs_on() -> None:
    eager = model()
    wanted = eager(POEMS.ids, output_attentions=True).attentions
    eager.set_attn_implementation("sdpa")
    got = interventions.attention(eager, POEMS.ids)
    assert eager.config._attn_implementation == "sdpa"
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, wanted, strict=True))
    assert (
        torch.allclose(got[0].sum(-1), torch.ones(6, 2, TOKENS), atol=1e-5)
        and (got[0].triu(1) == 0).all()
    )


def test_shorter_rows_take_the_upper_left_corner() -> None:
    gpt2, weights = model(), random_weights(6)
    with interventions.attending(gpt2, weights):
        long, short = (
            gpt2(POEMS.ids, use_cache=False).logits,
            gpt2(POEMS.ids[:, :-2], use_cache=False).logits,
        )
    assert torch.allclose(long[:, :-2], short, atol=1e-5)


def test_nothing_stays_behind_even_after_an_error() -> None:
    gpt2 = model()
    seal, before, plain = (
        evaluation.fingerprint(gpt2),
        gpt2.config._attn_implementation,
        gpt2(POEMS.ids).logits,
    )
    given = [torch.nn.Parameter(w) for w in random_weights(1)]
    with pytest.raises(KeyError), interventions.attending(gpt2, given):
        assert evaluation.fingerprint(gpt2) == seal, (
            "a parameter that is handed in is no part of the model"
        )
        raise KeyError
    assert gpt2.config._attn_implementation == before and torch.equal(gpt2(POEMS.ids).logits, plain)
    assert not any("memlab_weights" in vars(module) for module in gpt2.modules())


def test_what_does_not_fit_is_refused() -> None:
    gpt2 = model()
    for wrong in (random_weights(1, layers=1), random_weights(1, heads=3)):
        with (
            pytest.raises(
                ValueError, match=r"expected 2 tensors \(row or 1, 2 or 1, token, token\)"
            ),
            interventions.attending(gpt2, wrong),
        ):
            pass
    for other in (model("bloom"), torch.nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="attention interface"):
            interventions.layers(other)


def test_replacements() -> None:
    weights = random_weights(6)
    assert torch.allclose(
        interventions.average(weights)[1][0, 1], sum(weights[1][i, 1] for i in range(6)) / 6
    )
    assert torch.equal(interventions.taken(weights, torch.tensor([4]))[0], weights[0][4:5])
    even = interventions.uniform(weights)[0]
    assert even.shape == (1, 1, TOKENS, TOKENS)
    assert even[0, 0, 2].tolist() == pytest.approx([1 / 3] * 3 + [0] * (TOKENS - 3))
    assert interventions.movement([w[:1].expand(6, -1, -1, -1) for w in weights]) == 0
    assert interventions.movement(
        [
            torch.eye(2)[None, None].expand(2, -1, -1, -1)
            * torch.tensor([1.0, -1])[:, None, None, None]
        ]
    ) == pytest.approx(2)


def test_without_puts_back_what_it_took() -> None:
    W = torch.arange(6.0).view(2, 3)
    with pytest.raises(KeyError), interventions.without(W, (slice(None), 1)):
        assert W.tolist() == [[0, 0, 2], [3, 0, 5]]
        raise KeyError
    assert torch.equal(W, torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_copy_from_bytes_is_the_model(
    architecture: str, untouched_global_random_state: None
) -> None:
    original = stock.for_poems(architecture, POEMS, dim=8)
    copy = interventions.restarted(original)
    assert evaluation.fingerprint(copy) == evaluation.fingerprint(original) and not copy.training
    assert torch.equal(copy(POEMS.ids).logits, original(POEMS.ids).logits)
    assert not {p.data_ptr() for p in copy.parameters()} & {
        p.data_ptr() for p in original.parameters()
    }


@pytest.mark.parametrize("learnt", [False, True])
def test_attention_that_is_the_same_for_all(learnt: bool) -> None:
    twin = interventions.SameForAll(stock.for_poems("gpt2", POEMS, dim=8, seed=1), TOKENS, learnt)
    plain = twin(POEMS.ids).logits
    assert torch.allclose(
        twin.weights()[0][0, 0, 1], torch.tensor([0.5, 0.5] + [0.0] * (TOKENS - 2))
    )
    queries = {
        name: p.detach().clone() for name, p in twin.named_parameters() if "c_attn.weight" in name
    }
    stock.teach(twin, POEMS, Recipe(8, lr=1e-2))
    for name, p in twin.named_parameters():
        if name in queries:
            assert torch.equal(p[:, :16], queries[name][:, :16]), (
                "queries and keys do nothing and learn nothing"
            )
            assert not torch.equal(p[:, 16:], queries[name][:, 16:])
    assert (
        bool((twin.scores != 0).any()) == learnt
        and isinstance(twin.scores, torch.nn.Parameter) == learnt
    )
    assert not torch.equal(twin(POEMS.ids).logits, plain) and twin.device == twin.scores.device
    assert (twin.weights()[0].triu(1) == 0).all()
    other = POEMS.ids.clone()
    other[:, -1] = (other[:, -1] + 1) % 16
    assert torch.allclose(twin(other).logits[:, :-1], twin(POEMS.ids).logits[:, :-1], atol=1e-6), (
        "causal"
    )


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_queries_and_keys_that_never_learn_still_move(architecture: str) -> None:
    plain = stock.for_poems(architecture, POEMS, dim=8, layers=1)
    twin = interventions.never_learnt(
        stock.for_poems(architecture, POEMS, dim=8, layers=1), scale=20.0
    )
    loud = {name: p.detach().clone() for name, p in twin.named_parameters()}
    stock.teach(twin, POEMS, Recipe(8, lr=1e-2, muon=0.05, muon_bfloat16=False))
    for name, p in twin.named_parameters():
        old = dict(plain.named_parameters())[name]
        if "c_attn.weight" in name:
            assert torch.allclose(loud[name][:, :16], 20 * old[:, :16]) and torch.equal(
                loud[name][:, 16:], old[:, 16:]
            )
            assert torch.equal(p[:, :16], loud[name][:, :16]) and not torch.equal(
                p[:, 16:], loud[name][:, 16:]
            )
        elif "q_proj.weight" in name or "k_proj.weight" in name:
            assert torch.allclose(p, 20 * old) and not p.requires_grad
        elif name.endswith("weight"):
            assert not torch.equal(p, loud[name]), name
    assert interventions.movement(interventions.attention(twin, POEMS.ids)) > 0.1
