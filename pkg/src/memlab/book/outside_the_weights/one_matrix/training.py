"""How the fixed-size memory is trained: from a memory decoder, in rungs that each mend what the one
before left broken.

    1. head: the wide key alone, encoder and decoder frozen; no text is written
    2. read-outs: everything, on texts written from what the matrix returns
    3. whitened: the whitening is set from a sample of keys, then more of rung 2

Larimar's historic address w = z M⁺ has no key: it gets as many steps of rung 2 as the three rungs
have together.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import getfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memlab import runtime, training, weights
from memlab.book.outside_the_weights.one_matrix.model import FixedMemory, FixedMemoryConfig
from memlab.corpora import memory_episodes, tokenization
from memlab.decoder import MemoryDecoder, pretrained

SHORTEST = 8  # tokens of a segment: a cue of 40 % then has three
# segments of a memory
FEWEST = 32
MOST = 512
ASKED = 96  # cues of a step
WRITTEN = 24  # texts of a step that are written from read-outs
CLEAN = 8  # and from clean latents
SAMPLE = 2048  # segments that the mean and the whitening are set from
BODY = training.Recipe(
    steps=1,
    lr=2e-3,
    muon=4e-3,
    muon_bfloat16=False,
    warmup=0.05,
    decay=0.9,
    floor=0.02,
)
HEAD = replace(BODY, lr=4e-3, muon=4e-3)  # a head from a random start
RUNGS = ("untrained", "head", "read-outs", "whitened, no step", "whitened")
# of a memory decoder's configuration: what a fixed memory sets itself
NEW_SETTINGS = (
    "model_type",
    "key_width",
    "reads",
    "text_config",
    "architectures",
    "dtype",
    "transformers_version",
)


@dataclass(frozen=True)
class Plan:
    """Steps of the three rungs."""

    head: int
    read_outs: int
    whitened: int

    @property
    def steps(self) -> int:
        """Steps of all rungs together."""
        return self.head + self.read_outs + self.whitened


PLANS = {
    "quick": Plan(30, 15, 30),
    "full": Plan(80, 200, 600),
    "gpu": Plan(2000, 3000, 10_000),
}
Segments = tuple[tuple[int, ...], ...]


def segments_of(seed: int = 0, limit: int = 64) -> Segments:
    """The training segments of `memory_episodes.pool` that have at least 8 tokens."""
    tokenizer = weights.tokenizer()
    encode = tokenization.encoder(tokenizer)
    pool = memory_episodes.pool(encode, len(tokenizer), limit=limit, seed=seed)
    return tuple(segment for segment in pool.segments if len(segment) >= SHORTEST)


def cue_of(segment: tuple[int, ...], share: float = 0.4) -> tuple[int, ...]:
    """The first `share` of the tokens, and no fewer than three."""
    return segment[: max(3, int(share * len(segment)))]


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill)


def _asked_with(
    segment: tuple[int, ...],
    rng: Any,
    vocabulary: int,
) -> tuple[int, ...]:
    """Three times in four a beginning; else the segment with wrong tokens behind it: a second read
    starts there."""
    kind = rng.random()
    if kind < 0.75:
        return cue_of(segment, rng.uniform(0.25, 0.6))
    wrong = rng.uniform(0.05, 0.35) if kind < 0.95 else 0.0
    cue = list(cue_of(segment))
    for token in segment[len(cue) :]:
        if rng.random() < wrong:
            token = rng.randrange(len(tokenization.SPECIAL), vocabulary)
        cue.append(token)
    return tuple(cue)


def batch(
    segments: Segments,
    step: int,
    latent_width: int,
    *,
    texts: bool,
    most: int = MOST,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The tensors of one step, a pure function of its arguments: one memory of 32 to `most`
    segments.

    stored_ids "pat seq"; cue_ids "cue seq", for the first of them; with `texts` also input_ids and
    labels "txt seq", the text_rows they stand in, and the noise for those at the end, which are
    written from clean latents.
    """
    rng = runtime.python_random(seed, "fixed memory", step)
    vocabulary = len(weights.tokenizer())
    most = min(most, len(segments))
    count = round(math.exp(rng.uniform(math.log(FEWEST), math.log(most))))
    stored = rng.sample(segments, count)
    cues = [_asked_with(segment, rng, vocabulary) for segment in stored[:ASKED]]
    made = {
        "stored_ids": _padded(stored, tokenization.PAD),
        "cue_ids": _padded(cues, tokenization.PAD),
    }
    if not texts:
        return made
    rows = [*range(min(len(stored), WRITTEN)), *range(len(stored) - CLEAN, len(stored))]
    inputs = [[tokenization.BOS, *stored[row], tokenization.EOS] for row in rows]
    targets = [[-100, *stored[row], tokenization.EOS] for row in rows]
    draw = runtime.generator(seed, "fixed noise", step)
    made["text_rows"] = torch.tensor(rows)
    made["input_ids"] = _padded(inputs, tokenization.PAD)
    made["labels"] = _padded(targets, -100)
    made["noise"] = 0.05 * torch.randn(CLEAN, latent_width, generator=draw)
    return made


def untrained(
    base: MemoryDecoder,
    *,
    key_width: int = 512,
    address: str = "keys",
    seed: int = 0,
) -> FixedMemory:
    """A fixed memory with encoder and decoder of `base` and a key head drawn from `seed`. It reads
    one latent at a time and so keeps the positions of the first alone."""
    values = base.config.to_dict()
    kept = {name: value for name, value in values.items() if name not in NEW_SETTINGS}
    text_config = deepcopy(base.config.text_config)
    config = FixedMemoryConfig(text_config, key_width, address=address, reads=1, **kept)
    state = base.state_dict()
    places = "decoder.transformer.wpe.weight"
    if places in state:
        # of the slots of all reads, then of the stretches of their texts
        rows = state[places]
        first = base.config.reads * config.slots
        stretch = rows[first : first + config.stretch]
        state[places] = torch.cat([rows[: config.slots], stretch])
        config.text_config.n_positions = len(state[places])
    state["rank"] = state["rank"][:1]
    with runtime.drawing_from(runtime.derive_seed(seed, "wide keys")):
        model = FixedMemory(config)
    model.load_state_dict(state, strict=False)
    return model.eval()


@torch.no_grad()
def settle(
    model: FixedMemory,
    segments: Segments,
    *,
    whiten: bool = False,
    seed: int = 0,
) -> None:
    """Set the mean of the latents, and with `whiten` the whitening, from a sample of training
    segments."""
    rng = runtime.python_random(seed, "sample")
    latents: list[Tensor] = []
    raw: list[Tensor] = []
    for _ in range(SAMPLE // 256):
        some = rng.sample(segments, min(256, len(segments)))
        ids = _padded(some, tokenization.PAD).to(model.device)
        some_latents, some_raw = model.sample(ids)
        latents.append(some_latents)
        raw.append(some_raw)
    model.mean.copy_(torch.cat(latents).mean(0))
    if whiten:
        model.encoder.wide.whiten(torch.cat(raw))


def climb(
    base: MemoryDecoder,
    plan: Plan,
    seed: int = 0,
    *,
    segments: Segments | None = None,
    key_width: int = 512,
    report: pretrained.Report | None = None,
    watch: training.Watch | None = None,
) -> Iterator[tuple[str, FixedMemory, training.Log]]:
    """The model after each rung, in place: look at it before asking for the next one. First comes
    "untrained", and after the whitening is set "whitened, no step". `report` and `watch` are those
    of a `training.Progress`, or alike."""
    segments = segments or segments_of(limit=base.config.segment_tokens)
    model = untrained(base, key_width=key_width, seed=seed).to(runtime.device())
    settle(model, segments)
    yield "untrained", model, training.Log()
    _train_only(model, "encoder.wide.")
    yield "head", model, _fit(model, segments, plan.head, 0, seed, report, watch, texts=False)
    _train_only(model)
    log = _fit(model, segments, plan.read_outs, plan.head, seed, report, watch)
    settle(model, segments)
    yield "read-outs", model, log
    settle(model, segments, whiten=True)
    yield "whitened, no step", model, training.Log()
    log = _fit(model, segments, plan.whitened, plan.head + plan.read_outs, seed, report, watch)
    settle(model, segments)
    yield "whitened", model, log


def historic(
    base: MemoryDecoder,
    plan: Plan,
    seed: int = 0,
    *,
    segments: Segments | None = None,
    key_width: int = 512,
    report: pretrained.Report | None = None,
) -> tuple[FixedMemory, training.Log]:
    """Larimar's address through the memory, w = z M⁺, trained with as many steps as all rungs of
    `climb`."""
    segments = segments or segments_of(limit=base.config.segment_tokens)
    model = untrained(base, key_width=key_width, address="latents", seed=seed).to(runtime.device())
    settle(model, segments)
    _train_only(model)
    log = _fit(model, segments, plan.steps, 0, seed, report)
    settle(model, segments)
    return model, log


def place(profile: str, seed: int) -> Path:
    """Where the last rung of a profile and seed is kept; the name changes with what the model is
    made from."""
    base = runtime.file_sha256(weights.folder("memory-decoder") / "model.safetensors")
    made_by: tuple[Any, ...] = (FixedMemory, memory_episodes, training.fit)
    files = [__file__, *(getfile(made) for made in made_by)]
    sources = [Path(file).read_text("utf-8") for file in files]
    made_from = runtime.derive_seed(seed, base, repr(PLANS[profile]), *sources)
    return runtime.cache_dir("fixed-memory") / f"{profile}-{seed}-{made_from:016x}"


def shipped() -> FixedMemory:
    """The weights that travel with the package (see their card)."""
    return pretrained.load(weights.folder("fixed-memory"), FixedMemory)  # type: ignore[no-any-return]


def make(
    profile: str,
    seed: int,
    folder: str | Path,
) -> training.Log:
    """All rungs above the shipped memory decoder, the last one saved: the command behind the
    shipped weights. A model that `remember` put into the cache is not trained again: its log is
    empty."""
    plan = PLANS[profile]
    found = place(profile, seed)
    if found.exists():
        pretrained.save(pretrained.load(found, FixedMemory), folder)
        return training.Log(
            [
                {
                    "step": plan.steps,
                    "seconds": 0.0,
                    "loss": 0.0,
                }
            ]
        )
    whole = training.Log()
    with training.Progress("fixed-memory", plan.steps) as shown:
        rungs = climb(pretrained.shipped(), plan, seed, report=shown.report, watch=shown.watch)
        for rung, model, log in rungs:
            shown.note(rung)
            _append(whole, log)
            if rung == RUNGS[-1]:
                pretrained.save(model, folder)
    return whole


def _append(whole: training.Log, log: training.Log) -> None:
    """Go on counting steps and seconds where `whole` ended."""
    steps = whole.rows[-1]["step"] if whole.rows else 0
    for row in log.rows:
        step = row["step"] + steps
        seconds = row["seconds"] + whole.seconds
        whole.rows.append(
            {
                **row,
                "step": step,
                "seconds": seconds,
            }
        )
    whole.seconds += log.seconds


def progress(step: int, row: dict[str, float]) -> None:
    """Say on stderr how far a training is."""
    loss = row["loss"]
    seconds = row["seconds"]
    print(f"fixed-memory: step {step}, loss {loss:.2f}, {seconds:.0f} s", file=sys.stderr)


def _train_only(model: FixedMemory, part: str = "") -> None:
    """Let gradients reach what belongs to `part`, but never the whitening."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(part) and ".whitening." not in name)


def _fit(
    model: FixedMemory,
    segments: Segments,
    steps: int,
    first: int,
    seed: int,
    report: pretrained.Report | None,
    watch: training.Watch | None = None,
    *,
    texts: bool = True,
) -> training.Log:
    def batches(step: int) -> dict[str, Tensor]:
        made = batch(segments, first + step, model.config.latent_width, texts=texts, seed=seed)
        return {name: tensor.to(model.device) for name, tensor in made.items()}

    start = BODY if texts else HEAD
    recipe = replace(start, steps=max(steps, 1), bfloat16=runtime.fast_bfloat16())
    watched = watch(batches) if watch else batches
    return training.fit(model, watched, recipe, every=25, report=report)
