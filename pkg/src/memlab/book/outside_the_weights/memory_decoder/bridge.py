"""Larimar's plan with pretrained parts: a segment → the latent of the book's memory decoder → a
bridge → input vectors of a language model that others have trained, which writes the segment out.

    scribe = Scribe.of(*frozen(checkpoints.installed_llm()))
    bridge = drawn_bridge(scribe, decoder, span=1, width=384, seed=0)
    align(bridge, scribe, decoder, segments)
    vectors, holds = bridge(latents)
    scribe.logits(vectors, holds, labels)      # where a text would stand, the vectors stand

The encoder and the language model stay what they are. Only the bridge is trained, by the gradient
of the loss of writing the segment, which flows through the language model.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from memlab import runtime, training, weights
from memlab.corpora import text, tokenization
from memlab.decoder import MemoryDecoder, reading
from memlab.evaluation import greedy_texts
from memlab.models import checkpoints

PLACE = "⟨row⟩"  # where the row stands in a prompt; its vectors or its tokens are put there
COPY = ("You copy text exactly as it is.", f"Copy:\n{PLACE}")  # what system and user say
ANSWER = ("Answer with a few words.", f"{PLACE}\n")  # and with a question behind it
LONGEST = 32  # tokens of the language model that a segment has at most
SHORTEST = 4  # tokens of the book's
NEVER = -1e4  # the score of a token of which no code is known
NEW = 24  # tokens that a reply may have
AT_ONCE = 16  # rows that are read together
BUCKETS = 8  # batches' worth of rows that are sorted by length, so that little is filled up
RATE = 6e-3


# ---- the language model --------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def frozen(name: str) -> tuple[Any, Any]:
    """A checkpoint of one's own (`checkpoints.load`) of whose weights none takes a gradient."""
    model, tokenizer = checkpoints.load(name)
    return model.requires_grad_(requires_grad=False), tokenizer


class Prompt(NamedTuple):
    """The tokens of a prompt before the place of the row, and those behind it."""

    before: list[int]
    behind: list[int]


def prompt(tokenizer: Any, system: str, user: str) -> Prompt:
    """What system and user say, in the model's own form of a chat up to where its reply begins;
    lines of their own where the tokenizer has none. A user who names no row has all before it."""
    if getattr(tokenizer, "chat_template", None) is None:
        start = tokenization.opening(tokenizer)
        whole = f"{system}\n{user}\n"
    else:
        start = []
        said = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        whole = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    before, _, behind = whole.partition(PLACE)
    encode = functools.partial(tokenizer, add_special_tokens=False, verbose=False)
    return Prompt([*start, *encode(before).input_ids], encode(behind).input_ids)


@dataclass(frozen=True)
class Scribe:
    """A frozen language model that is told to copy what stands in its prompt."""

    llm: Any
    tokenizer: Any
    copying: Prompt

    @classmethod
    def of(cls, llm: Any, tokenizer: Any) -> Scribe:
        """The scribe that a model with its tokenizer is. ValueError without an end mark."""
        if tokenizer.eos_token_id is None:
            raise ValueError("expected a tokenizer with an end mark (eos_token), got none")
        return cls(llm, tokenizer, prompt(tokenizer, *COPY))

    @property
    def table(self) -> Float[Tensor, "vocab width"]:
        """The token embeddings: all vectors that the model has ever had as input."""
        found: Tensor = self.llm.get_input_embeddings().weight
        return found

    @property
    def scale(self) -> float:
        """The root mean square of a number of them."""
        return float(self.table.square().mean().sqrt())

    def embedded(self, ids: Sequence[int]) -> Float[Tensor, "tok width"]:
        """The embeddings of some tokens."""
        return self.table[torch.tensor(list(ids), dtype=torch.long, device=self.table.device)]

    def logits(
        self,
        vectors: Float[Tensor, "row vec width"],
        holds: Bool[Tensor, "row vec"],
        labels: Int[Tensor, "row tok"],
    ) -> Float[Tensor, "row tok vocab"]:
        """What the model makes of the tokens of each row, the true ones before them given, where
        the vectors that hold something stand in its prompt; −100 in the labels is filling."""
        count = len(labels)
        behind = self.embedded(self.copying.behind).expand(count, -1, -1)
        ids = labels.clamp(min=0)
        inputs = torch.cat([vectors, behind, self.table[ids]], 1)
        seen = torch.cat(
            [
                holds.new_ones(count, len(self.copying.before)),
                holds,
                holds.new_ones(count, len(self.copying.behind)),
                labels != -100,
            ],
            1,
        ).long()
        places = (seen.cumsum(1) - 1).clamp(min=0)[:, len(self.copying.before) :]
        out = self.llm(
            inputs_embeds=inputs,
            attention_mask=seen,
            position_ids=places,
            past_key_values=self._opening(count),
            use_cache=True,
            logits_to_keep=ids.shape[1] + 1,
        )
        made: Tensor = out.logits[:, :-1]
        return made

    @torch.no_grad()
    def _opening(self, count: int) -> Any:
        """Keys and values of what stands before every row: read once, the same for all."""
        ids = torch.tensor([self.copying.before], device=self.table.device)
        cache = self.llm(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(count)
        return cache

    def sequence(self, asked: Prompt, vectors: Float[Tensor, "vec width"]) -> Tensor:
        """A prompt with some vectors at the place of the row, as input vectors "tok width"."""
        parts = [self.embedded(asked.before), vectors, self.embedded(asked.behind)]
        return torch.cat(parts)


# ---- the bridge ----------------------------------------------------------------------------------


class Bridge(nn.Module):
    """From a latent to input vectors of a language model, one for every `span` slots.

    A slot is looked up among the codes of the book's tokens, softly, and the vector is what stands
    beside the code: to begin with, the embedding that the language model itself has for the letters
    of that token. Transformer blocks over all slots add to it, at first nothing. With a span above
    1 a vector begins as the mean of those of its slots.

    All is counted in units of `scale`, the size of a number of the language model's own embeddings:
    a frozen model reads nothing from vectors many times as long, and a step of training would
    otherwise move them by more than their length.
    """

    def __init__(
        self,
        *,
        slots: int,
        code: int,
        vocabulary: int,
        to: int,
        scale: float = 1.0,
        span: int = 1,
        width: int = 384,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if slots % span:
            raise ValueError(f"expected a span that divides {slots} slots, got {span}")
        self.slots = slots
        self.span = span
        self.scale = scale
        self.scores = nn.Linear(code, vocabulary)
        self.words = nn.Linear(vocabulary, to, bias=False)
        self.enter = nn.Linear(code, width)
        self.places = nn.Parameter(torch.randn(slots, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(span * width, to)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        latents: Float[Tensor, "row latent"],
    ) -> tuple[Float[Tensor, "row vec to"], Bool[Tensor, "row vec"]]:
        """The vectors, and which of them hold something; those behind the last such one of the
        rows are left out."""
        codes = rearrange(latents, "row (slot code) -> row slot code", slot=self.slots)
        used = (codes != 0).any(-1).any(0).nonzero()
        end = self.span * (int(used.max()) // self.span + 1)
        codes = codes[:, :end]
        holds = (codes != 0).any(-1)
        with torch.autocast(codes.device.type, enabled=False):
            # Scores are large and close to each other: bfloat16 would take tokens for others.
            scores = self.scores(codes)
        words = self.words(scores.softmax(-1)) * holds[..., None]
        states = self.blocks(self.enter(codes) + self.places[:end], src_key_padding_mask=~holds)
        states = self.norm(states) * holds[..., None]
        groups = holds.unflatten(1, (-1, self.span))
        count = groups.sum(-1, keepdim=True).clamp(min=1)
        mean = words.unflatten(1, (-1, self.span)).sum(2) / count
        more = self.leave(states.unflatten(1, (-1, self.span)).flatten(2))
        return self.scale * (mean + more * self.leave.in_features**-0.5), groups.any(-1)


def spelled(scribe: Scribe, book: Any) -> Float[Tensor, "vocab width"]:
    """For every token of the book's tokenizer the embedding of its letters in the language model,
    of several tokens their mean; zeros for marks and for parts of a character."""
    letters = [str(book.decode([number])) for number in range(len(book))]
    encoded = tokenization.encoder(scribe.tokenizer)(letters)
    is_known = [
        number >= len(tokenization.SPECIAL) and "\ufffd" not in one
        for number, one in enumerate(letters)
    ]
    parts = [ids if known else [] for ids, known in zip(encoded, is_known, strict=True)]
    sizes = torch.tensor([len(ids) for ids in parts])
    owner = torch.arange(len(parts)).repeat_interleave(sizes)
    pieces = scribe.embedded([token for ids in parts for token in ids]).cpu()
    table = torch.zeros(len(parts), pieces.shape[1]).index_add_(0, owner, pieces)
    return table / sizes.clamp(min=1)[:, None]


@torch.no_grad()
def align(
    bridge: Bridge,
    scribe: Scribe,
    decoder: MemoryDecoder,
    segments: reading.Segments,
) -> None:
    """Set the look-up in closed form: linear discriminant analysis of the codes of the tokens of
    some segments, and beside each token what is `spelled`. Nothing is trained, and the language
    model reads nothing; each slot must hold one token."""
    if decoder.config.slots != decoder.config.segment_tokens:
        raise ValueError(
            f"expected a decoder with a slot a token, {decoder.config.segment_tokens}, got"
            f" {decoder.config.slots} slots"
        )
    latents, _ = reading.encode(decoder, segments)
    codes = latents.unflatten(1, (bridge.slots, -1))
    codes = codes[(codes != 0).any(-1)]
    tokens = torch.tensor([token for segment in segments for token in segment])
    counts = torch.bincount(tokens, minlength=bridge.scores.out_features)[:, None]
    sums = torch.zeros(len(counts), codes.shape[1]).index_add_(0, tokens, codes)
    means = sums / counts.clamp(min=1)
    within = torch.cov((codes - means[tokens]).T) + 1e-4 * torch.eye(codes.shape[1])
    directions = torch.linalg.solve(within, means.T).T
    bias = -0.5 * (directions * means).sum(1)
    bias[counts[:, 0] == 0] = NEVER
    bridge.scores.weight.copy_(directions)
    bridge.scores.bias.copy_(bias)
    bridge.words.weight.copy_(spelled(scribe, weights.tokenizer()).T / bridge.scale)


def drawn_bridge(
    scribe: Scribe,
    decoder: MemoryDecoder,
    *,
    span: int,
    width: int,
    seed: int,
) -> Bridge:
    """A bridge of random weights, drawn from `seed` alone, on the device of the language model: to
    be set by `align`, or by `restore`."""
    config = decoder.config
    with runtime.drawing_from(runtime.derive_seed(seed, "bridge", span)):
        bridge = Bridge(
            slots=config.slots,
            code=config.latent_width // config.slots,
            vocabulary=len(weights.tokenizer()),
            to=scribe.table.shape[1],
            scale=scribe.scale,
            span=span,
            width=width,
        )
    return bridge.to(scribe.table.device)


# ---- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Texts, their tokens in the book's tokenizer (what the encoder reads), and in the language
    model's, with its end mark behind (what it is to write)."""

    texts: tuple[str, ...]
    segments: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]

    def some(self, places: Sequence[int]) -> Rows:
        """The rows at some places."""
        return Rows(
            tuple(self.texts[place] for place in places),
            tuple(self.segments[place] for place in places),
            tuple(self.answers[place] for place in places),
        )

    def labels(self) -> Int[Tensor, "row tok"]:
        """The answers, filled up with −100."""
        longest = max(map(len, self.answers))
        return torch.tensor([[*one, *[-100] * (longest - len(one))] for one in self.answers])


def rows_of(texts: Sequence[str], scribe: Scribe, most: int) -> Rows:
    """The texts with at most `LONGEST` tokens of the language model and 4 to `most` of the
    book's."""
    segments = tokenization.encoder(weights.tokenizer())([" " + one for one in texts])
    answers = tokenization.encoder(scribe.tokenizer)(texts)
    end = int(scribe.tokenizer.eos_token_id)
    kept = [
        row
        for row, (segment, answer) in enumerate(zip(segments, answers, strict=True))
        if SHORTEST <= len(segment) <= most and len(answer) <= LONGEST
    ]
    return Rows(
        tuple(texts[row] for row in kept),
        tuple(tuple(segments[row]) for row in kept),
        tuple((*answers[row], end) for row in kept),
    )


def lessons(scribe: Scribe, most: int, *, generic: int, seed: int) -> Rows:
    """What a bridge is trained on: made-up sentences and the documentation of the standard
    library, of which the decoder has seen the like and no test holds any."""
    lines = [*text.generic_sentences(generic, seed), *text.documentation("train")]
    return rows_of(lines, scribe, most)


def rows_of_step(rows: Rows, step: int, batch: int, seed: int) -> Rows:
    """The rows of one step, of similar length: a function of its arguments alone."""
    rng = runtime.python_random(seed, "bridge", step)
    some = rng.sample(range(len(rows.texts)), min(BUCKETS * batch, len(rows.texts)))
    some.sort(key=lambda row: len(rows.segments[row]))
    start = rng.randrange(max(1, len(some) // batch)) * batch
    return rows.some(some[start : start + batch])


# ---- training ------------------------------------------------------------------------------------


class Written(NamedTuple):
    """The loss in nats a token, and the logits."""

    loss: Tensor
    logits: Tensor


class Bridged(nn.Module):
    """A bridge with the scribe behind it, as `training.fit` takes it. The scribe is no part of the
    module: neither an optimiser nor a state_dict sees it."""

    def __init__(self, bridge: Bridge, scribe: Scribe) -> None:
        super().__init__()
        self.bridge = bridge
        self.scribe = scribe

    def forward(self, latents: Tensor, labels: Tensor) -> Written:
        """The loss of writing the labels out of the latents."""
        vectors, holds = self.bridge(latents)
        logits = self.scribe.logits(vectors, holds, labels)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return Written(loss, logits)


def recipe(steps: int) -> training.Recipe:
    """AdamW, the rate up over a tenth of the steps of a part and down to a twentieth of it: every
    part begins anew, so that nothing but weights goes from one to the next."""
    return training.Recipe(
        steps, lr=RATE, warmup=0.1, decay=0.8, floor=0.05, bfloat16=runtime.fast_bfloat16()
    )


def train(
    bridge: Bridge,
    scribe: Scribe,
    decoder: MemoryDecoder,
    rows: Rows,
    *,
    steps: int,
    first: int = 0,
    batch: int = 8,
    seed: int = 0,
    name: str = "bridge",
) -> training.Log:
    """Train the bridge, in place, on the rows of the steps from `first` on."""
    device = scribe.table.device

    def batches(step: int) -> training.Batch:
        own = rows_of_step(rows, first + step, batch, seed)
        latents, _ = reading.encode(decoder, own.segments)
        return {"latents": latents.to(device), "labels": own.labels().to(device)}

    with training.Progress(name, steps) as progress:
        return training.fit(
            Bridged(bridge, scribe),
            progress.watch(batches),
            recipe(steps),
            every=max(1, steps // 20),
            report=progress.report,
        )


# ---- reading -------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """Of the tokens of each row, end mark included, the true ones before them given: how many
    there are, how many are the model's first choice, and −log2 p of all together."""

    tokens: Int[Tensor, " row"]
    right: Int[Tensor, " row"]
    bits: Float[Tensor, " row"]

    @property
    def exact(self) -> Bool[Tensor, " row"]:
        """Where every token is the first choice: exactly there the model, left to write alone,
        writes the row in its own tokens, and stops."""
        return self.right == self.tokens


Source = Callable[[Rows], list[Tensor]]  # the vectors "vec width" that stand for each of some rows


@torch.no_grad()
def read(scribe: Scribe, source: Source, rows: Rows) -> Reading:
    """What the scribe makes of rows if that source stands for them; in RAM."""
    device = scribe.table.device
    given = source(rows)
    found = []
    for start in range(0, len(given), AT_ONCE):
        end = min(start + AT_ONCE, len(given))
        vectors = nn.utils.rnn.pad_sequence(given[start:end], batch_first=True)
        sizes = torch.tensor([len(one) for one in given[start:end]], device=device)
        holds = torch.arange(vectors.shape[1], device=device) < sizes[:, None]
        labels = rows.some(range(start, end)).labels()
        logits = scribe.logits(vectors, holds, labels.to(device)).float().cpu()
        nats = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").double()
        right = (logits.argmax(-1) == labels).sum(1)
        found.append(Reading((labels != -100).sum(1), right, nats.sum(1) / math.log(2)))
    return Reading(*(torch.cat(part) for part in zip(*found, strict=True)))


def through(bridge: Bridge, decoder: MemoryDecoder, shift: int = 0) -> Source:
    """The vectors that a bridge makes of the latent of each row, or of that `shift` rows on (a
    control); slots hold something from the first on, so that no vector is empty before the last."""

    @torch.no_grad()
    def source(rows: Rows) -> list[Tensor]:
        latents, _ = reading.encode(decoder, rows.segments)
        device = bridge.places.device
        vectors, holds = bridge(latents.roll(-shift, 0).to(device))
        return [one[own] for one, own in zip(vectors, holds, strict=True)]

    return source


def as_tokens(scribe: Scribe, span: int | None = None) -> Source:
    """The tokens of each text themselves; with a span its first ones alone, as many as a bridge of
    that span has vectors for it."""

    def source(rows: Rows) -> list[Tensor]:
        found = []
        for segment, answer in zip(rows.segments, rows.answers, strict=True):
            most = LONGEST if span is None else -(-len(segment) // span)
            found.append(scribe.embedded(answer[:-1][:most]))
        return found

    return source


def as_book_tokens(scribe: Scribe) -> Source:
    """The tokens of the book, each as it is `spelled`: what the look-up of a bridge begins with,
    if it takes no slot for another."""
    table = spelled(scribe, weights.tokenizer()).to(scribe.table.device)

    def source(rows: Rows) -> list[Tensor]:
        return [table[torch.tensor(segment)] for segment in rows.segments]

    return source


def nothing(scribe: Scribe) -> Source:
    """No vector for any row."""
    return lambda rows: [scribe.embedded(()) for _ in rows.texts]


def replies(scribe: Scribe, given: Sequence[Tensor], questions: Sequence[str]) -> list[str]:
    """What the language model answers to each question where some vectors stand in front of it, in
    place of a text; where there are none, to the question alone."""
    system, user = ANSWER
    sequences = []
    for vectors, question in zip(given, questions, strict=True):
        asked = f"{user}{question}" if len(vectors) else question
        sequences.append(scribe.sequence(prompt(scribe.tokenizer, system, asked), vectors))
    return greedy_texts(
        scribe.llm, scribe.tokenizer, sequences, new=NEW, ends=[int(scribe.tokenizer.eos_token_id)]
    )


# ---- what is kept between the parts of a training ------------------------------------------------


def keep(bridge: Bridge, file: Path) -> None:
    """Write the weights of a bridge; an interrupted call leaves no half of a file behind."""
    part = file.with_suffix(f".{os.getpid()}")
    state = {name: one.detach().cpu().contiguous() for name, one in bridge.state_dict().items()}
    safetensors.torch.save_file(state, part)
    part.replace(file)


def restore(bridge: Bridge, file: Path) -> None:
    """Put the weights that `keep` wrote into a bridge of the same sizes. ValueError if the file is
    not whole."""
    weights.check(file)
    bridge.load_state_dict(safetensors.torch.load_file(file))
