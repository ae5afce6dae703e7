"""Measurements of associative memories on random patterns: one number beside each law of
memories/laws.py.

Every function is pure in (its arguments, seed). Keys and patterns have length one unless they are
signs; cues lie at a given cosine from what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
    units: int, load: float, seed: int, *, asked: int = 48, steps: int = 30
) -> dict[str, float]:
    """A binary network started at stored patterns: 2 · (share of signs that agree) − 1 where it
    rests, and its law."""
    patterns, memory = signs(round(load * units), units, seed), Hopfield(steps)
    queries = patterns[:asked]
    rest = memory.read(memory.write(memory.empty(units), patterns), queries)
    return {"overlap": float((rest * queries).mean()), "law": laws.hopfield_overlap(load)}


def perfect(units: int, times: float, seed: int) -> dict[str, float]:
    """Share of `times` · units / (2 ln units) stored patterns of which no sign flips in one
    step."""
    count = round(times * units / (2 * math.log(units)))
    stored, memory = signs(count, units, seed), Hopfield(steps=1, asynchronous=False)
    right = (memory.read(memory.write(memory.empty(units), stored), stored) == stored).all(1)
    return {
        "exact": _share(right),
        "patterns": float(count),
        "law": laws.hopfield_exact(units, count),
    }


def crowd(
    dim: int, sharpness: str, seed: int, *, most: int = 2**16, asked: int = 32
) -> dict[str, float]:
    """Patterns at which all others together get more of a softmax step's weight than the right one,
    for an exact cue.

    β is "d/2", "√d" or "8". The median over cues; NaN if `most` are not enough, by the law or by
    count. Ratios of softmax weights do not change as patterns are added, so one step over `most`
    holds the answer for fewer.
    """
    beta = SHARPNESS[sharpness](dim)
    law, memory, patterns = (
        laws.dense_capacity(dim, beta),
        DenseHopfield(beta),
        rows(most, dim, seed, "dense"),
    )
    if law > most / 2:
        return {"capacity": math.nan, "law": math.nan}
    weights = memory.weights(
        memory.write(memory.empty(dim, dtype=torch.float64), patterns), patterns[:asked]
    )
    others = (weights / weights[:, :asked].diagonal()[:, None]).fill_diagonal_(0).cumsum(1)
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
    items, ridge = round(load * width), laws.best_ridge(load, cosine) if ridge is None else ridge
    K, V = rows(items, width, seed, "keys", spectrum=keys), _values(items, seed)
    Q = cues(K, cosine, seed, spectrum=noise)
    if whiten:
        pool = rows(4096, width, seed, "pool", spectrum=keys)
        strength, directions = torch.linalg.eigh(pool.T @ pool / len(pool))
        K, Q = (functional.normalize(x @ directions / strength.sqrt(), dim=1) for x in (K, Q))
    memory = PseudoInverse(ridge)
    read = memory.read(memory.write(memory.empty(width, VALUE_DIM, dtype=torch.float64), K, V), Q)
    right, seen = torch.arange(items), float((Q * K).sum(1).mean())
    nearest = KeyValue().address(KeyValueState(K, V, right), Q)[1][:, 0]
    squares = torch.linalg.svdvals(K) ** 2
    gain = (squares / (squares + ridge) ** 2).sum() / width
    return {
        "error": _error(read, V),
        "identified": _share(torch.cdist(read, V).argmin(1) == right),
        "nearest key": _share(nearest == right),
        "seen": seen,
        "law": laws.read_error(load, min(seen, 1.0), ridge),
        "expected": math.sqrt((1 - seen) ** 2 + max(1 - seen**2, 0) * float(gain)),
    }


def believed(
    load: float, slots: int, scale: float, seed: int, *, noise: float = 0.1
) -> dict[str, float]:
    """Error of a Kanerva memory at new addresses, a component, beside the error that it states.

    Values come from a random matrix with components of standard deviation `scale`; the memory
    believes in 1.
    """
    draw = runtime.generator(seed, "calibration", slots)
    truth = scale * torch.randn(slots, 4 * VALUE_DIM, generator=draw, dtype=torch.float64)
    W, new = rows(round(load * slots), slots, seed, "addresses"), rows(256, slots, seed, "new")
    Z = W @ truth + noise * torch.randn(len(W), truth.shape[1], generator=draw, dtype=torch.float64)
    memory = Kanerva(noise)
    state = memory.write(memory.start(torch.zeros_like(truth)), W, Z)
    actual = (memory.read(state, new) - new @ truth).square().mean()
    law = math.sqrt(noise**2 * laws.resolvent(load, noise**2)[0])
    return {
        "actual": float(actual.sqrt()),
        "stated": float(memory.variance(state, new).mean().sqrt()),
        "law": law,
    }


def projection(share: float, dim: int, cosine: float, seed: int) -> dict[str, float]:
    """Larimar's read of cues, with patterns that span a `share` of all dimensions: cosine with the
    right pattern, length of what an unrelated query reads, and the largest difference that another
    first matrix M₀ makes."""
    patterns = rows(round(share * dim), dim, seed, "patterns")
    memory, cue = Larimar(), cues(patterns, cosine, seed)
    state = memory.write(memory.start(torch.eye(dim, dtype=torch.float64)), patterns)
    other = memory.write(memory.start(rows(dim, dim, seed, "other")), patterns)
    read = memory.read(state, cue)
    return {
        "cosine": float(functional.cosine_similarity(read, patterns).mean()),
        "law": laws.projected_cosine(cosine, share),
        "unrelated": float(
            memory.read(state, rows(256, dim, seed, "unrelated")).norm(dim=1).mean()
        ),
        "other M0": float((memory.read(other, cue) - read).abs().max()),
    }


def one_shot(
    load: float, slots: int, steps: int | None, seed: int, *, scale: float = 1.0
) -> dict[str, float]:
    """Relative error of Larimar's write and read in float32 (steps=None: solved exactly), whether
    it is a number, and the largest squared singular value of M, which is inverted to read. Patterns
    of length `scale`, 1.5 · slots wide."""
    patterns = scale * rows(round(load * slots), slots * 3 // 2, seed, "episode").float()
    memory = Larimar() if steps is None else PublishedLarimar(steps)
    state = memory.write(memory.start(torch.eye(slots, slots * 3 // 2)), patterns)
    found, known = (
        _error(memory.read(state, patterns), patterns),
        bool(torch.isfinite(state.memory).all()),
    )
    largest = float(torch.linalg.matrix_norm(state.memory.double(), 2)) ** 2 if known else math.nan
    return {"error": found, "largest": largest, "finite": float(math.isfinite(found))}


def never_written(
    load: float, dim: int, cosine: float, spectrum: float, seed: int
) -> dict[str, float]:
    """AUC of three scores for "this was never written": stored rows' cues against as many new rows'
    cues, and against mixtures of two stored rows. The residual of the projection, the distance of
    the nearest key, the read-out's length.
    """
    items = round(load * dim)
    K, new = (
        rows(items, dim, seed, "keys", spectrum=spectrum),
        rows(items, dim, seed, "new", spectrum=spectrum),
    )
    memory, V = PseudoInverse(), _values(items, seed)
    state = memory.write(memory.empty(dim, VALUE_DIM, dtype=torch.float64), K, V)
    mixed = functional.normalize(K + K.roll(1, 0), dim=1)
    asked = [
        cues(x, cosine, seed, name) for name, x in (("old", K), ("new", new), ("mixed", mixed))
    ]

    def scores(queries: Tensor) -> Sequence[Tensor]:
        return (
            memory.novelty(state, queries),
            1 - (queries @ K.T).amax(1),
            -memory.read(state, queries).norm(dim=1),
        )

    old, foreign, blend = map(scores, asked)
    names = ("residual", "nearest key", "length")
    return {
        "law": laws.novelty_auc(cosine, dim - items),
        **{name: evaluation.auc(b, a) for name, a, b in zip(names, old, foreign, strict=True)},
        **{
            f"{name}, mixture": evaluation.auc(b, a)
            for name, a, b in zip(names, old, blend, strict=True)
        },
    }


def forgetting(load: float, slots: int, seed: int, ridge: float = 1e-3) -> dict[str, float]:
    """A quarter of the rows written is forgotten one by one: largest difference to a memory that
    never had them, its relative read error for the rest, and the length of what is read at
    forgotten addresses, relative to a value."""
    W, V = rows(round(load * slots), slots, seed, "forget"), _values(round(load * slots), seed)
    memory, gone = Recursive(ridge), len(W) // 4
    state = memory.write(memory.empty(slots, VALUE_DIM), W, V)
    for row in range(gone):
        state = memory.forget(state, W[row : row + 1], V[row : row + 1])
    twin = memory.write(memory.empty(slots, VALUE_DIM), W[gone:], V[gone:])
    left, lost = memory.read(state, W[gone:]), memory.read(state, W[:gone])
    return {
        "difference": float((memory.read(twin, W) - memory.read(state, W)).abs().max()),
        "kept": _error(left, V[gone:]),
        "length": float(lost.norm() / V[:gone].norm()),
    }


def _values(count: int, seed: int) -> Tensor:
    return torch.randn(
        count, VALUE_DIM, generator=runtime.generator(seed, "values", count), dtype=torch.float64
    )


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _share(right: Tensor) -> float:
    return float(right.double().mean())
