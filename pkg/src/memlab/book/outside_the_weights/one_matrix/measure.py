"""What a memory of fixed size brings back: texts written from its read-outs, by load, by cue,
beside slots.

An `Episode` is a memory with its questions; every way to read it is a function (model, episode, …)
→ latents, and `right` scores what the decoder writes from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from memlab import evaluation, results, runtime, weights
from memlab.book.outside_the_weights.one_matrix.model import FixedMemory
from memlab.book.outside_the_weights.one_matrix.training import SHORTEST, Segments, cue_of
from memlab.corpora import text, tokenization
from memlab.decoder import reading
from memlab.memories import KeyValue, KeyValueState, laws

LENGTHS = (3, 4, 5, 6, 8)  # cue tokens from … on: classes in which answers are counted
RIDGES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# ridges of reads that follow a first one: each cue is better than the last
LESS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SURE = 0.05  # an answer with less doubt counts as confirmed


def texts(
    split: str,
    count: int,
    limit: int = 64,
    share: float = 0.4,
    seed: int = 0,
) -> Segments:
    """Sentences of documentation in random order, none of which begins with the cue of another:
    cues have one answer.

    `count` whole sentences of 8 to `limit` tokens, or as many as there are. "train" has those on
    which a ridge is chosen, "dev" those on which all else is, "test" those that are reported.
    """
    lines = list(text.documentation(split))
    runtime.python_random(seed, "fixed texts", split).shuffle(lines)
    encode = tokenization.encoder(weights.tokenizer())
    chosen: list[tuple[int, ...]] = []
    beginnings: set[tuple[int, ...]] = set()  # of the chosen segments
    cues: set[tuple[int, ...]] = set()
    for start in range(0, len(lines), 1024):
        for segment in map(tuple, encode([" " + line for line in lines[start : start + 1024]])):
            if not SHORTEST <= len(segment) <= limit:
                continue
            own = {segment[:size] for size in range(1, len(segment) + 1)}
            cue = cue_of(segment, share)
            if cue in beginnings or cues & own:
                continue
            chosen.append(segment)
            beginnings |= own
            cues.add(cue)
            if len(chosen) == count:
                return tuple(chosen)
    return tuple(chosen)


@dataclass(frozen=True)
class Episode:
    """A memory's segments, what is asked of it, and both as encoded. Cue i asks for segment i."""

    segments: Sequence[tuple[int, ...]]
    cues: Sequence[tuple[int, ...]]
    latents: Float[Tensor, "pat latent"]
    keys: Float[Tensor, "pat key"]
    queries: Float[Tensor, "qry address"]

    @property
    def cosines(self) -> Float[Tensor, " qry"]:
        """How good the cues are: cosine of each cue's key with the stored one."""
        return (self.queries * self.keys[: len(self.queries)]).sum(1)


def episode(
    model: FixedMemory,
    segments: Segments,
    asked: int,
    share: float = 0.4,
    length: int = 0,
) -> Episode:
    """The memory of all `segments`, asked for the first `asked` by their first tokens: `length`, or
    a share."""
    cues = tuple(s[:length] if length else cue_of(s, share) for s in segments[:asked])
    latents, keys = reading.encode(model, segments)
    return Episode(segments, cues, latents, keys, _queries(model, cues))


@torch.no_grad()
def _queries(model: FixedMemory, cues: Sequence[Sequence[int]]) -> Tensor:
    return model.queries(*reading.encode(model, cues))


@torch.no_grad()
def linear(
    model: FixedMemory,
    ep: Episode,
    ridge: float,
    queries: Tensor | None = None,
) -> Tensor:
    """What the matrix of all segments returns for the cues (or for other queries)."""
    matrix = model.write(ep.latents, ep.keys, ridge)
    return model.read(matrix, ep.queries if queries is None else queries)


@torch.no_grad()
def error(
    model: FixedMemory,
    ep: Episode,
    ridge: float,
    queries: Tensor | None = None,
) -> Float[Tensor, " qry"]:
    """‖read − value‖ / ‖value‖ of each read-out, before it is trimmed to a latent; values without
    their mean."""
    queries = ep.queries if queries is None else queries
    values = model.centred(ep.latents)[: len(queries)]
    matrix = model.write(ep.latents, ep.keys, ridge)
    return (queries @ matrix - values).norm(dim=1) / values.norm(dim=1)


def slots(
    ep: Episode,
    room: int | None = None,
    seed: int = 0,
) -> Tensor:
    """The value of the nearest key. With `room`, the segments came in random order and only the
    last so many are kept, as first-in-first-out slots keep them."""
    count = len(ep.keys)
    came = torch.randperm(count, generator=runtime.generator(seed, "arrival", count))
    kept = came[-min(room or count, count) :]
    state = KeyValueState(ep.keys[kept], ep.latents[kept], torch.arange(len(kept)))
    return KeyValue().read(state, ep.queries)


def nearest_other(ep: Episode) -> Float[Tensor, " qry"]:
    """For each text that is asked for, the cosine of its key with the most similar key of another
    text."""
    cosines = ep.keys[: len(ep.cues)] @ ep.keys.T
    return cosines.fill_diagonal_(-1).max(1).values


def rooms(model: FixedMemory) -> dict[str, int]:
    """How many slots of a key and a latent have the floats of the matrix; or of the matrix and the
    Gram matrix KᵀK, which is needed to go on writing."""
    rows = model.config.key_width
    wide = model.config.latent_width
    slot = rows + wide
    return {"matrix": rows * wide // slot, "matrix and Gram": rows * (rows + wide) // slot}


def write(
    model: FixedMemory,
    ep: Episode,
    latents: Tensor,
) -> list[str]:
    """What the decoder writes after each cue."""
    asked = zip(ep.segments, ep.cues, strict=False)
    most = max(len(segment) - len(cue) for segment, cue in asked) + 2
    return reading.write_out(model, latents, ep.cues, weights.tokenizer(), max_new_tokens=most)


def right(ep: Episode, said: Sequence[str]) -> list[float]:
    """1 for each text that is the stored one to the letter, behind the cue that was given."""
    decode = weights.tokenizer().decode
    found = []
    for one, segment, cue in zip(said, ep.segments, ep.cues, strict=False):
        stored = str(decode(list(segment[len(cue) :])))
        found.append(float(evaluation.exact(one, stored)))
    return found


def _as_segments(
    model: FixedMemory,
    ep: Episode,
    said: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """Latents and queries of what was written, cue included, encoded as a segment would be."""
    tokenizer = weights.tokenizer()
    limit = model.config.segment_tokens
    whole = [str(tokenizer.decode(list(cue))) + one for cue, one in zip(ep.cues, said, strict=True)]
    ids = tokenization.encoder(tokenizer)(whole)
    segments = [row[:limit] or cue for row, cue in zip(ids, ep.cues, strict=True)]
    latents, keys = reading.encode(model, segments)
    return latents, model.queries(latents, keys)


def again(
    model: FixedMemory,
    ep: Episode,
    said: Sequence[str],
) -> Tensor:
    """Queries of a second read: what was written is the cue."""
    return _as_segments(model, ep, said)[1]


@torch.no_grad()
def doubts(
    model: FixedMemory,
    ep: Episode,
    said: Sequence[str],
    matrix: Tensor,
) -> Float[Tensor, " qry"]:
    """‖k M − v‖ / ‖v‖ for the key k and the centred latent v of each text that was written, cue
    included. With little ridge it is near 0 for a stored text, up to as many texts as rows, and
    about 1 for any other."""
    latents, queries = _as_segments(model, ep, said)
    values = model.centred(latents)
    return (queries @ matrix - values).norm(dim=1) / values.norm(dim=1)


def insist(
    model: FixedMemory,
    ep: Episode,
    said: Sequence[str],
) -> tuple[list[str], Float[Tensor, " qry"]]:
    """Read until the memory confirms what was read: each answer is the cue of the next read, which
    has a tenth of the ridge. Returns the answers with the least doubt, and their doubts.

    An answer that is sure is not asked again. Every ridge wants a matrix of its own, or the
    products of the keys.
    """
    exact = model.write(ep.latents, ep.keys, LESS[-1])
    best = list(said)
    last = list(said)
    least = doubts(model, ep, said, exact)
    for ridge in LESS:
        rows = (least >= SURE).nonzero().flatten().tolist()
        if not rows:
            break
        segments = [ep.segments[row] for row in rows]
        some = replace(ep, segments=segments, cues=[ep.cues[row] for row in rows])
        queries = again(model, some, [last[row] for row in rows])
        new = write(model, some, linear(model, ep, ridge, queries))
        for row, one, doubt in zip(rows, new, doubts(model, some, new, exact), strict=True):
            last[row] = one
            if doubt < least[row]:
                best[row] = one
                least[row] = doubt
    return best, least


def best_ridge(
    model: FixedMemory,
    ep: Episode,
    queries: Tensor | None = None,
) -> float:
    """The ridge with the smallest mean error, on an episode of training segments, for its cues or
    for other queries."""
    return min(RIDGES, key=lambda ridge: float(error(model, ep, ridge, queries).mean()))


def second_ridge(
    model: FixedMemory,
    ep: Episode,
    ridge: float,
) -> float:
    """The best ridge for a second read after a first one with `ridge`: where the first was right,
    the second cue is nearly the stored key, and needs less of it."""
    first = write(model, ep, linear(model, ep, ridge))
    return best_ridge(model, ep, again(model, ep, first))


def second_read(
    model: FixedMemory,
    ep: Episode,
    said: Sequence[str],
    ridge: float,
) -> Tensor:
    """What the matrix returns for what was written after the first read."""
    return linear(model, ep, ridge, again(model, ep, said))


def tally(ep: Episode, said: Sequence[str]) -> dict[int, tuple[float, int]]:
    """Right answers and answers, by class of cue length (its shortest cue, see LENGTHS)."""
    counts: dict[int, tuple[float, int]] = {}
    for cue, one in zip(ep.cues, right(ep, said), strict=True):
        length = max(shortest for shortest in LENGTHS if shortest <= len(cue))
        rights, answers = counts.get(length, (0.0, 0))
        counts[length] = (rights + one, answers + 1)
    return dict(sorted(counts.items()))


def errors(
    model: FixedMemory,
    ep: Episode,
    ridge: float,
) -> dict[str, float]:
    """Root mean squares over the cues of the error: measured; for stored keys; and by laws for cues
    of that quality.

    "law" is that of random keys, "simple law" √((1 − c²) g/(1 − g)), its case without ridge, for a
    load g < 1. "law, own keys" takes the singular values of the keys as they are. In all of them
    the noise has no preferred direction.
    """
    rows = model.config.key_width
    load = len(ep.keys) / rows
    cosine = float(ep.cosines.square().mean().sqrt().clamp(max=1))
    noise = 1 - cosine**2
    of_stored_keys = error(model, ep, ridge=1e-6, queries=ep.keys[: len(ep.cues)])
    found = {
        "error": _root_mean_square(error(model, ep, ridge)),
        "error, stored key": _root_mean_square(of_stored_keys),
        "law": laws.read_error(load, cosine, ridge),
    }
    if load < 1:
        found["simple law"] = (noise * load / (1 - load)) ** 0.5
    squares = torch.linalg.svdvals(ep.keys.double()) ** 2
    gain = float((squares / (squares + ridge) ** 2).sum()) / rows
    found["law, own keys"] = (noise * gain) ** 0.5
    found["cosine"] = cosine
    found["middle cosine"] = float(ep.cosines.median())
    return found


def _root_mean_square(numbers: Tensor) -> float:
    return float(numbers.square().mean().sqrt())


def recall(
    data: pd.DataFrame,
    task: str = "once",
    model: str | None = "whitened",
    by: tuple[str, ...] = ("load",),
    floats: str | None = None,
) -> pd.DataFrame:
    """Share of texts brought back to the letter, with Wilson bounds and n, over all seeds or by
    seed; of one rung, or of all (None, then by "model" too)."""
    rows = data[(data.metric == "exact") & (data.task == task)]
    rows = rows if model is None else rows[rows.model == model]
    if "floats" in rows:
        rows = rows[rows.floats.isna() if floats is None else rows.floats == floats]
    rows = rows.assign(right=rows.value * rows.n)
    sums = rows.groupby(list(by), as_index=False)[["right", "n"]].sum()
    counts = zip(sums.right.round(), sums.n, strict=True)
    bounds = [results.wilson(right, int(n)) for right, n in counts]
    low = [bound[0] for bound in bounds]
    high = [bound[1] for bound in bounds]
    return sums.assign(mean=sums.right / sums.n, low=low, high=high)
