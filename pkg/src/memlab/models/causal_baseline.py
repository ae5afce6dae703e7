"""The causal baseline of chapter 11: a stock Qwen2 model that holds its whole context in attention.

It has the size of the memory decoder and is trained on generic copying episodes only
(`corpora.copying_episodes`), none longer than `WINDOW` tokens and none with a phrase of the passkey
or needle tasks. It does not start from random weights: a copying circuit is set by hand before
training (`set_copying_start`), because the random start that we tried had not learned to copy when
its time was up. That favours the baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from memlab import runtime, weights
from memlab.corpora import needles
from memlab.corpora.copying_episodes import Mixture, batch, training_pool
from memlab.corpora.tokenization import BOS, EOS, PAD, SEP, encoder
from memlab.evaluation import greedy
from memlab.training import Log, Progress, Recipe, Watch, fit

WINDOW = 384  # the longest context of the training, in tokens
# (tokens, episodes, steps): short contexts first, because copying is learned there much faster
STAGES = {
    # a look at the curve, short of the gate
    "quick": ((64, 32, 80), (128, 16, 60), (WINDOW, 6, 60)),
    "full": ((64, 32, 120), (128, 16, 180), (WINDOW, 6, 400)),
}
STAGES["gpu"] = STAGES["full"]
MIXTURE = Mixture()


def causal_config(
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    feed: int = 384,
    vocabulary: int = 2048,
) -> Qwen2Config:
    """The config of the baseline: Qwen2 as it comes, tied embeddings, rotary base 10⁶; 1.12 M
    parameters."""
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=feed,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        max_position_embeddings=16_384,
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )


def causal_model(
    seed: int = 0,
    config: Qwen2Config | None = None,
    *,
    hand_set: bool = True,
) -> Qwen2ForCausalLM:
    """A model to train; its weights depend on `seed` alone. `hand_set` applies `set_copying_start`.

    What a block adds to the residual stream starts at a tenth of the usual size, so that the token
    itself (an embedding of length one) is not drowned before anything has been learned.
    """
    config = config if config is not None else causal_config()
    rng = runtime.generator(seed, "causal model")
    model = _built(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2:  # norms start at one and biases at zero
            continue
        std = config.hidden_size**-0.5 if "embed" in name else config.initializer_range
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std = std * 0.1
        nn.init.normal_(parameter, std=std, generator=rng)
    if hand_set:
        set_copying_start(model, runtime.generator(seed, "copying start"))
    return model


def _built(config: Qwen2Config) -> Qwen2ForCausalLM:
    with torch.random.fork_rng(devices=[]):  # the stock class draws from the global state
        return Qwen2ForCausalLM(config)


def _rope_base(config: Any) -> float:
    return float(config.rope_parameters["rope_theta"])


def _orthogonal(width: int, rng: torch.Generator) -> Float[Tensor, "width width"]:
    return torch.linalg.qr(torch.randn(width, width, generator=rng))[0]


@torch.no_grad()
def set_copying_start(model: Qwen2ForCausalLM, rng: torch.Generator) -> None:
    """Write a rough copying circuit into layers 0 and 1, in place; all of it stays trainable.

    Layer 0: heads 0, 1, 2 look one, two, three tokens back and note what they saw in subspaces of
    their own. Layer 1: all heads look for an earlier token whose predecessors (by that note) are
    the present tokens, and pass on that earlier token. This is an induction head (Olsson et al.
    2022). It favours the baseline.
    """
    width = model.config.hidden_size
    heads = model.config.num_attention_heads
    if heads < 4:
        raise ValueError(f"the hand-set start needs at least 4 heads, got {heads}")
    layers: Any = model.model.layers
    size = width // heads
    frequency = _rope_base(model.config) ** (-torch.arange(0, size, 2) / size)
    what = _orthogonal(width, rng)[:size]
    notes = _orthogonal(width, rng)
    through = _orthogonal(width, rng)
    parts = [slice(head * size, (head + 1) * size) for head in range(heads)]
    first = layers[0].self_attn
    for head, part in enumerate(parts[:3]):
        # constant queries and keys: rotary position makes them a filter for one offset
        _offset_filter(first, part.start, head + 1, frequency[:6])
        first.v_proj.weight[part] = what
        first.o_proj.weight[:, part] = 0.12 * notes[:, part]
    # pairs that hardly rotate: for content, not for place
    slow = [pair for pair in range(size // 2) if frequency[pair] < 2e-3]
    dims = [*slow, *(pair + size // 2 for pair in slow)]
    seen = [notes[:, part].T for part in parts[:2]]
    second = layers[1].self_attn
    for head, part in enumerate(parts):
        compared = [(what, seen[0])] * len(dims)
        if head >= 2:  # half of two heads compare the token before as well
            compared[1::2] = [(seen[0], seen[1])] * len(compared[1::2])
        rows = [part.start + dim for dim in dims]
        _match(second, part, rows, compared, rng)
        second.v_proj.weight[part] = through[part]
        second.o_proj.weight[:, part] = 0.3 * through[part].T


def _match(
    attention: Any,
    part: slice,
    rows: list[int],
    compared: list[tuple[Tensor, Tensor]],
    rng: torch.Generator,
) -> None:
    """Queries and keys of the head at `part`: noise, and in `rows` one direction each of what is
    compared, a pair for query and key."""
    size = part.stop - part.start
    width = attention.q_proj.weight.shape[1]
    order = torch.randperm(size, generator=rng)
    attention.q_proj.weight[part] = 0.01 * torch.randn(size, width, generator=rng)
    attention.k_proj.weight[part] = 0.01 * torch.randn(size, width, generator=rng)
    for row, direction, (query, key) in zip(rows, order, compared, strict=False):
        attention.q_proj.weight[row] = 2.5 * query[direction]
        attention.k_proj.weight[row] = 2.5 * key[direction]


def _offset_filter(
    attention: Any,
    start: int,
    offset: int,
    frequency: Tensor,
    strength: float = 5.7,
) -> None:
    """Biases that make the head at row `start` look `offset` tokens back, whatever the tokens
    are."""
    size = attention.head_dim
    count = len(frequency)
    half = start + size // 2
    low = slice(start, start + count)
    high = slice(half, half + count)
    attention.k_proj.bias[low] = strength
    attention.q_proj.bias[low] = strength * torch.cos(-offset * frequency)
    attention.q_proj.bias[high] = strength * torch.sin(-offset * frequency)
    attention.q_proj.weight[start : start + size] *= 0.1
    attention.k_proj.weight[start : start + size] *= 0.1


def train_causal(
    profile: str = "full",
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
    *,
    hand_set: bool = True,
    watch: Watch | None = None,
) -> tuple[Qwen2ForCausalLM, Log]:
    """Train the baseline from scratch; return it (float32, eval mode) with its log, a row every 50
    steps. `report` and `watch` are those of a `training.Progress`, or alike."""
    schedule = _schedule(profile)
    pool = training_pool(encoder(weights.tokenizer()), seed)
    model: Any = causal_model(seed, hand_set=hand_set)
    model.to(runtime.device())

    def batches(step: int) -> dict[str, Tensor]:
        made = batch(pool, *schedule[step], MIXTURE, seed, step)
        return {name: tensor.to(model.device) for name, tensor in made.items()}

    recipe = Recipe(
        steps=len(schedule),
        lr=3e-3,
        muon=3e-3,
        muon_bfloat16=False,
        warmup=0.05,
        decay=0.5,
        floor=0.03,
        betas=(0.9, 0.95),
    )
    watched = watch(batches) if watch else batches
    log = fit(model, watched, recipe, every=50, report=report)
    return model, log


def _schedule(profile: str) -> list[tuple[int, int]]:
    """Tokens and episodes of every step."""
    schedule: list[tuple[int, int]] = []
    for tokens, size, steps in STAGES[runtime.profile(profile)]:
        schedule += [(tokens, size)] * steps
    return schedule


def variant(
    model: Qwen2ForCausalLM,
    *,
    window: int | None = None,
    rope: str | None = None,
    factor: float = 1.0,
) -> Qwen2ForCausalLM:
    """The same weights under another stock config: sliding-window attention, or scaled positions.

    With `window`, every layer sees the last `window` tokens only (information can still travel that
    far once a layer). `rope` is "yarn" or "linear", with the factor by which the context is
    stretched beyond `WINDOW`.
    """
    if rope not in (None, "yarn", "linear"):
        raise ValueError(f"unknown rope scaling {rope!r}: expected yarn, linear or None")
    if window is not None and window < 1:
        raise ValueError(f"a window holds at least 1 token, got {window}")
    config = deepcopy(model.config)
    if window is not None:
        config.use_sliding_window = True
        config.sliding_window = window
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    if rope is not None and factor > 1:
        config.rope_parameters = {
            "rope_type": rope,
            "rope_theta": _rope_base(config),
            "factor": float(factor),
        }
        if rope == "yarn":
            config.rope_parameters["original_max_position_embeddings"] = WINDOW
    made: Any = _built(config)
    made.load_state_dict(model.state_dict())
    made.to(model.device).eval()
    return made  # type: ignore[no-any-return]


@torch.no_grad()
def answer(
    model: Qwen2ForCausalLM,
    prompt: needles.Prompt,
    tokenizer: PreTrainedTokenizerFast,
    max_new_tokens: int = 32,
    window: int | None = None,
) -> str:
    """What the model writes after [BOS] segments [SEP] cue, greedily, with stock `generate`.

    The whole prompt is the context; `window` limits attention to the last tokens instead (see
    `variant`).
    """
    used: Any = model if window is None else variant(model, window=window)
    ids = [BOS, *(token for segment in prompt.segments for token in segment), SEP, *prompt.cue]
    inputs = torch.tensor([ids], device=model.device)
    out = greedy(used, inputs, new=max_new_tokens, end=EOS, pad=PAD)
    return str(tokenizer.decode(out[0, len(ids) :].tolist(), skip_special_tokens=True))


def save(model: Qwen2ForCausalLM, folder: str | Path) -> None:
    """Write config and weights as float16 safetensors (2.2 MB), readable by any `from_pretrained`.
    ValueError, and nothing written, for weights that are too large for float16, or NaN."""
    # named_parameters has the tied head only once
    state = weights.as_float16(model.named_parameters())
    model.config.save_pretrained(folder)
    save_file(state, Path(folder) / "model.safetensors", metadata={"format": "pt"})


def load(folder: str | Path) -> Qwen2ForCausalLM:
    """A model written by `save`, in float32; ValueError if its weights are missing, damaged, cut
    off or not its own (see `weights.whole`)."""
    weights.check(Path(folder) / "model.safetensors")
    read = weights.whole(
        Qwen2ForCausalLM, folder, "the causal baseline", exact=True, dtype=torch.float32
    )
    # A model of our own: the weights of the other one may lie in the file, unaligned.
    model = _built(Qwen2Config.from_pretrained(folder))
    model.load_state_dict(read.state_dict())
    return model.float().eval()


def load_causal(rope: str | None = None, factor: float = 1.0) -> Qwen2ForCausalLM:
    """The shipped baseline in float32, on the GPU where there is one; with `rope` its positions are
    scaled as in `variant`."""
    model: Any = load(weights.folder("causal"))
    model.to(runtime.device())
    if rope is not None:
        return variant(model, rope=rope, factor=factor)
    return model  # type: ignore[no-any-return]


def make(
    profile: str,
    seed: int,
    folder: str | Path,
) -> Log:
    """Train the baseline from scratch and save it: the command behind the shipped weights."""
    with Progress("causal", len(_schedule(profile))) as progress:
        model, log = train_causal(profile, seed, progress.report, watch=progress.watch)
    save(model, folder)
    return log
