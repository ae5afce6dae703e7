"""Small stock language models that learn poems: four architectures behind one builder, one way to
train them all.

Poems are rows of token ids, key first (`corpora.poems.Poems.ids`). The loss counts the words of the
body alone: what a model is taught is to answer a key, not to invent one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from memlab import runtime
from memlab.corpora.poems import Poems
from memlab.training import Batch, Log, Recipe, fit, shuffled

FAMILIES = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2", "bloom": "Bloom"}
_DROPOUTS = {
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "bloom": ("hidden_dropout", "attention_dropout"),
}


def build(
    family: str,
    tokens: int,
    positions: int,
    *,
    dim: int = 32,
    layers: int = 2,
    heads: int = 2,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A stock causal language model in eval mode, tied, no dropout, its weights fixed by `seed`.

    GPT-2: LayerNorm, learnt positions, GELU. Llama and Qwen2: RMSNorm, RoPE, SwiGLU of 8/3 the
    width. BLOOM: LayerNorm, ALiBi, GELU. `options` go to the config. ValueError for an unknown
    family or a width that the heads do not divide.
    """
    import transformers

    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    if dim % heads or min(dim, layers, heads, tokens, positions) < 1:
        raise ValueError(
            f"expected positive sizes and a width that {heads} heads divide, got dim={dim}, "
            f"layers={layers}, tokens={tokens}, positions={positions}"
        )
    settings = {
        "vocab_size": tokens,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "tie_word_embeddings": True,
        **_special(family, positions, dim, heads),
        **options,
    }
    config = getattr(transformers, f"{FAMILIES[family]}Config")(**settings)
    return _initialised(family, config, seed).to(runtime.device())


def _special(
    family: str,
    positions: int,
    dim: int,
    heads: int,
) -> dict[str, Any]:
    """What only the config of this family takes: its names of the length and of the dropouts, the
    width of its feed-forward layer, its key-value heads."""
    length = "n_positions" if family == "gpt2" else "max_position_embeddings"
    special: dict[str, Any] = {length: positions}
    if family in ("llama", "qwen2"):
        special["intermediate_size"] = max(2, round(8 * dim / 3))
        # Qwen2 has 32 unless it is told: the CPU's fused kernel reads the first of them, the plain
        # formula raises.
        special["num_key_value_heads"] = heads
    return special | dict.fromkeys(_DROPOUTS.get(family, ()), 0.0)


def _initialised(
    family: str,
    config: Any,
    seed: int,
) -> Any:
    """A causal language model of this config in eval mode, its weights fixed by `seed`."""
    import transformers

    kind = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    # The constructor draws from the global random state, which is put back.
    with runtime.drawing_from(runtime.derive_seed(seed, "reciters", family)):
        model = getattr(transformers, FAMILIES[family] + kind)(config).eval()
    model.loss_type = "ForCausalLM"
    return model


def for_poems(
    family: str,
    poems: Poems,
    *,
    dim: int = 32,
    layers: int = 2,
    heads: int = 2,
    seed: int = 0,
    **options: Any,
) -> Any:
    """`build` with the vocabulary and the length that these poems need."""
    return build(
        family,
        poems.tokens,
        poems.ids.shape[1],
        dim=dim,
        layers=layers,
        heads=heads,
        seed=seed,
        **options,
    )


def teach(
    model: Any,
    poems: Poems,
    recipe: Recipe,
    *,
    batch: int = 0,
    seed: int = 0,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Log:
    """Train in place on the poems and return the log: all of them at every step, or shuffled
    batches of `batch`.

    `recipe.steps` is counted in batches. Every `every` steps `report(step, row)` is called, the
    model in eval mode.
    """
    device = model.device
    is_key = torch.arange(poems.ids.shape[1]) < poems.keys.shape[1]
    labels = poems.ids.masked_fill(is_key, -100).to(device)
    ids = poems.ids.to(device)
    whole = not 0 < batch < len(poems)
    rows = shuffled(len(poems), batch or 1, seed)

    def batches(_step: int) -> Batch:
        if whole:
            return {"input_ids": ids, "labels": labels}
        chosen = next(rows).to(device)
        return {"input_ids": ids[chosen], "labels": labels[chosen]}

    return fit(model, batches, recipe, every=every, report=report)


def size(model: torch.nn.Module) -> int:
    """Trainable numbers in a model, tied ones counted once: the P of "bits per parameter"."""
    different = {id(p): p for p in model.parameters()}
    return sum(p.numel() for p in different.values())
