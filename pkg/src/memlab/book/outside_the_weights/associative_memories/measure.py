"""Measurements of associative memories on random patterns: one number beside each law of
memories/laws.py.

Every function is pure in (its arguments, seed). Keys and patterns have length one unless they are
signs; cues lie at a given cosine from what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from memlab import evaluation, runtime
from memlab.corpora.patterns import cues, rows, signs
from memlab.memories import (
    DenseHopfield,
    Hopfield,
    Kanerva,
    KeyValue,
    KeyValueState,
    Larimar,
    PseudoInverse,
    PublishedLarimar,
    Recursive,
    laws,
)

VALUE_DIM = 64
SHARPNESS: dict[str, Callable[[int], float]] = {
    "d/2": lambda d: d / 2,
    "√d": math.sqrt,
    "8": lambda d: 8.0,
}


def settle(
    units: int,
    load: float,
    seed: int,
    *,
    asked: int = 48,
    steps: int = 30,
) -> dict[str, float]:
    """A binary network started at stored patterns: 2 · (share of signs that agree) − 1 where it
    rests, and its law."""
    patterns = signs(round(load * units), units, seed)
    memory = Hopfield(steps)
    queries = patterns[:asked]
    rest = memory.read(memory.write(memory.empty(units), patterns), queries)
    return {"overlap": float((rest * queries).mean()), "law": laws.hopfield_overlap(load)}


def perfect(
    units: int,
    times: float,
    seed: int,
) -> dict[str, float]:
    """Share of `times` · units / (2 ln units) stored patterns of which no sign flips in one
    step."""
    count = round(times * units / (2 * math.log(units)))
    stored = signs(count, units, seed)
    memory = Hopfield(steps=1, asynchronous=False)
    after = memory.read(memory.write(memory.empty(units), stored), stored)
    right = (after == stored).all(1)
    return {
        "exact": _share(right),
        "patterns": float(count),
        "law": laws.hopfield_exact(units, count),
    }


def crowd(
    dim: int,
    sharpness: str,
    seed: int,
    *,
    most: int = 2**16,
    asked: int = 32,
) -> dict[str, float]:
    """Patterns at which all others together get more of a softmax step's weight than the right one,
    for an exact cue.

    β is "d/2", "√d" or "8". The median over cues; NaN if `most` are not enough, by the law or by
    count. Ratios of softmax weights do not change as patterns are added, so one step over `most`
    holds the answer for fewer.
    """
    beta = SHARPNESS[sharpness](dim)
    law = laws.dense_capacity(dim, beta)
    if law > most / 2:
        return {"capacity": math.nan, "law": math.nan}
    memory = DenseHopfield(beta)
    patterns = rows(most, dim, seed, "dense")
    state = memory.write(memory.empty(dim, dtype=torch.float64), patterns)
    weights = memory.weights(state, patterns[:asked])
    own = weights[:, :asked].diagonal()[:, None]
    others = (weights / own).fill_diagonal_(0).cumsum(1)
    counts = (others < 1).sum(1) + 1.0
    middle = float(counts.median())
    return {"capacity": middle if middle < most else math.nan, "law": law}


def linear(
    load: float,
    width: int,
    cosine: float,
    ridge: float | None,
    seed: int,
    *,
    keys: float = 0.0,
    noise: float = 0.0,
    whiten: bool = False,
) -> dict[str, float]:
    """Relative error of a least-squares read, share of reads nearest to the right value, and the
    like for nearest keys.

    ridge=None is the best one for such cues. `keys` and `noise` are the spectra of keys and of the
    cues' noise; `whiten` divides keys and cues by the square root of the covariance of 4,096 other
    keys, and `seen` is the mean cosine of cue and key after that. `expected` is the error of cues
    of that quality if their noise were isotropic, from the keys' own singular values; `law` the
    same for isotropic keys.
    """
    if ridge is None:
        ridge = laws.best_ridge(load, cosine)
    items = round(load * width)
    K = rows(items, width, seed, "keys", spectrum=keys)
    V = _values(items, seed)
    Q = cues(K, cosine, seed, spectrum=noise)
    if whiten:
        pool = rows(4096, width, seed, "pool", spectrum=keys)
        K, Q = _whitened(pool, K, Q)
    read = _least_squares_read(K, V, Q, ridge)
    right = torch.arange(items)
    seen = float((Q * K).sum(1).mean())
    return {
        "error": _error(read, V),
        "identified": _share(torch.cdist(read, V).argmin(1) == right),
        "nearest key": _share(_nearest(K, V, Q) == right),
        "seen": seen,
        "law": laws.read_error(load, min(seen, 1.0), ridge),
        "expected": _isotropic_error(K, seen, ridge),
    }


def _whitened(pool: Tensor, *vectors: Tensor) -> list[Tensor]:
    """Unit rows after division by the square root of the covariance of `pool`."""
    strength, directions = torch.linalg.eigh(pool.T @ pool / len(pool))
    scale = strength.sqrt()
    return [functional.normalize(x @ directions / scale, dim=1) for x in vectors]


def _least_squares_read(
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    ridge: float,
) -> Tensor:
    memory = PseudoInverse(ridge)
    empty = memory.empty(keys.shape[1], values.shape[1], dtype=torch.float64)
    return memory.read(memory.write(empty, keys, values), queries)


def _nearest(
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
) -> Tensor:
    """The row of the nearest key of each query."""
    state = KeyValueState(keys, values, torch.arange(len(keys)))
    _, found = KeyValue().address(state, queries)
    return found[:, 0]


def _isotropic_error(
    keys: Tensor,
    seen: float,
    ridge: float,
) -> float:
    """The error of cues of a mean cosine `seen` whose noise has no preferred direction, from the
    keys' own singular values."""
    squares = torch.linalg.svdvals(keys) ** 2
    gain = (squares / (squares + ridge) ** 2).sum() / keys.shape[1]
    return math.sqrt((1 - seen) ** 2 + max(1 - seen**2, 0) * float(gain))


def believed(
    load: float,
    slots: int,
    scale: float,
    seed: int,
    *,
    noise: float = 0.1,
) -> dict[str, float]:
    """Error of a Kanerva memory at new addresses, a component, beside the error that it states.

    Values come from a random matrix with components of standard deviation `scale`; the memory
    believes in 1.
    """
    draw = runtime.generator(seed, "calibration", slots)
    truth = scale * torch.randn(slots, 4 * VALUE_DIM, generator=draw, dtype=torch.float64)
    W = rows(round(load * slots), slots, seed, "addresses")
    new = rows(256, slots, seed, "new")
    drawn = torch.randn(len(W), truth.shape[1], generator=draw, dtype=torch.float64)
    Z = W @ truth + noise * drawn
    memory = Kanerva(noise)
    state = memory.write(memory.start(torch.zeros_like(truth)), W, Z)
    actual = (memory.read(state, new) - new @ truth).square().mean()
    law = math.sqrt(noise**2 * laws.resolvent(load, noise**2)[0])
    return {
        "actual": float(actual.sqrt()),
        "stated": float(memory.variance(state, new).mean().sqrt()),
        "law": law,
    }


def projection(
    share: float,
    dim: int,
    cosine: float,
    seed: int,
) -> dict[str, float]:
    """Larimar's read of cues, with patterns that span a `share` of all dimensions: cosine with the
    right pattern, length of what an unrelated query reads, and the largest difference that another
    first matrix M₀ makes."""
    patterns = rows(round(share * dim), dim, seed, "patterns")
    memory = Larimar()
    cue = cues(patterns, cosine, seed)
    state = memory.write(memory.start(torch.eye(dim, dtype=torch.float64)), patterns)
    other = memory.write(memory.start(rows(dim, dim, seed, "other")), patterns)
    read = memory.read(state, cue)
    unrelated = memory.read(state, rows(256, dim, seed, "unrelated"))
    return {
        "cosine": float(functional.cosine_similarity(read, patterns).mean()),
        "law": laws.projected_cosine(cosine, share),
        "unrelated": float(unrelated.norm(dim=1).mean()),
        "other M0": float((memory.read(other, cue) - read).abs().max()),
    }


def one_shot(
    load: float,
    slots: int,
    steps: int | None,
    seed: int,
    *,
    scale: float = 1.0,
) -> dict[str, float]:
    """Relative error of Larimar's write and read in float32 (steps=None: solved exactly), whether
    it is a number, and the largest squared singular value of M, which is inverted to read. Patterns
    of length `scale`, 1.5 · slots wide."""
    width = slots * 3 // 2
    patterns = scale * rows(round(load * slots), width, seed, "episode").float()
    memory = Larimar() if steps is None else PublishedLarimar(steps)
    state = memory.write(memory.start(torch.eye(slots, width)), patterns)
    error = _error(memory.read(state, patterns), patterns)
    largest = math.nan
    if bool(torch.isfinite(state.memory).all()):
        largest = float(torch.linalg.matrix_norm(state.memory.double(), 2)) ** 2
    return {
        "error": error,
        "largest": largest,
        "finite": float(math.isfinite(error)),
    }


def never_written(
    load: float,
    dim: int,
    cosine: float,
    spectrum: float,
    seed: int,
) -> dict[str, float]:
    """AUC of three scores for "this was never written": stored rows' cues against as many new rows'
    cues, and against mixtures of two stored rows. The residual of the projection, the distance of
    the nearest key, the read-out's length.
    """
    items = round(load * dim)
    K = rows(items, dim, seed, "keys", spectrum=spectrum)
    new = rows(items, dim, seed, "new", spectrum=spectrum)
    mixed = functional.normalize(K + K.roll(1, 0), dim=1)
    memory = PseudoInverse()
    empty = memory.empty(dim, VALUE_DIM, dtype=torch.float64)
    state = memory.write(empty, K, _values(items, seed))

    def scores(queries: Tensor) -> dict[str, Tensor]:
        return {
            "residual": memory.novelty(state, queries),
            "nearest key": 1 - (queries @ K.T).amax(1),
            "length": -memory.read(state, queries).norm(dim=1),
        }

    old = scores(cues(K, cosine, seed, "old"))
    foreign = scores(cues(new, cosine, seed, "new"))
    blend = scores(cues(mixed, cosine, seed, "mixed"))
    found = {"law": laws.novelty_auc(cosine, dim - items)}
    for name, score in old.items():
        found[name] = evaluation.auc(foreign[name], score)
    for name, score in old.items():
        found[f"{name}, mixture"] = evaluation.auc(blend[name], score)
    return found


def forgetting(
    load: float,
    slots: int,
    seed: int,
    ridge: float = 1e-3,
) -> dict[str, float]:
    """A quarter of the rows written is forgotten one by one: largest difference to a memory that
    never had them, its relative read error for the rest, and the length of what is read at
    forgotten addresses, relative to a value."""
    count = round(load * slots)
    gone = count // 4
    W = rows(count, slots, seed, "forget")
    V = _values(count, seed)
    memory = Recursive(ridge)
    state = memory.write(memory.empty(slots, VALUE_DIM), W, V)
    for row in range(gone):
        state = memory.forget(state, W[row : row + 1], V[row : row + 1])
    twin = memory.write(memory.empty(slots, VALUE_DIM), W[gone:], V[gone:])
    left = memory.read(state, W[gone:])
    lost = memory.read(state, W[:gone])
    apart = memory.read(twin, W) - memory.read(state, W)
    return {
        "difference": float(apart.abs().max()),
        "kept": _error(left, V[gone:]),
        "length": float(lost.norm() / V[:gone].norm()),
    }


def _values(count: int, seed: int) -> Tensor:
    draw = runtime.generator(seed, "values", count)
    return torch.randn(count, VALUE_DIM, generator=draw, dtype=torch.float64)


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _share(right: Tensor) -> float:
    return float(right.double().mean())
