"""What theory expects of each memory: capacity, error and novelty as functions of load, cue and
ridge.

Load g is stored items per dimension: patterns per unit, pairs per component of the key. `cosine` c
is the quality of a cue: q = c k + √(1 − c²) n with n a random direction. Limits of many dimensions;
chapter 9 derives and tests them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from memlab.memories.checks import as_count

ROUNDING = 1e-6  # by which a measured cosine may be beyond 1
LARGEST_BETA = 700.0  # beyond it e^β is no number


def _check_load(load: float) -> None:
    if not 0 <= load < math.inf:
        raise ValueError(f"expected a finite load >= 0, got {load}")


def _cosine(measured: float) -> float:
    """The cosine that rounding has made of a measured one."""
    if not abs(measured) <= 1 + ROUNDING:
        raise ValueError(f"expected a cosine from -1 to 1, got {measured}")
    return max(-1.0, min(float(measured), 1.0))


def _check_beta(beta: float) -> None:
    if not abs(beta) <= LARGEST_BETA:
        raise ValueError(f"expected a beta of at most {LARGEST_BETA:g}, got {beta}")


def _hopfield_curve() -> tuple[Tensor, Tensor]:
    """Load and overlap along y = overlap / √(2 · variance of the noise), beyond the fold at the
    critical load: the first, 0.138 patterns a unit (Amit, Gutfreund, Sompolinsky, 1985)."""
    y = torch.linspace(1.0, 6.0, 50_001, dtype=torch.float64)
    bell = 2 / math.sqrt(math.pi) * torch.exp(-(y**2))
    root = torch.erf(y) / y - bell
    load = root**2 / 2
    fold = int(load.argmax())
    return load[fold:], torch.erf(y[fold:])


def hopfield_overlap(load: float) -> float:
    """Mean of x ξ where a network that started at a stored pattern ξ comes to rest; 0 beyond the
    limit.

    With y = m / √(2 α r): m = erf(y) and √(2α) = erf(y)/y − (2/√π) e^(−y²), replica-symmetric, no
    temperature.
    """
    _check_load(load)
    loads, overlaps = _hopfield_curve()
    if load > float(loads[0]):
        return 0.0
    place = torch.searchsorted(-loads, -load).clamp(max=len(loads) - 1)
    return float(overlaps[int(place)])


def hopfield_exact(units: int, patterns: int) -> float:
    """Share of random patterns of which no unit flips: (1 − Φ(−√((N − 1)/(P − 1))))^N, crosstalk
    taken as Gaussian.

    With P = N / (2 ln N) it goes to 1 as N grows, slowly: about 1 − 1/√(4π ln N).
    """
    as_count("units", units, 1)
    if as_count("patterns", patterns) < 2:
        return 1.0
    square = (units - 1) / (patterns - 1)
    wrong = 0.5 * math.erfc(math.sqrt(square / 2))
    return (1 - wrong) ** units


def mean_weight(dim: int, beta: float) -> float:
    """E e^(β u·v) for random unit vectors u and v: what a stored pattern adds to the sum under a
    softmax. ValueError for less than two dimensions, or a β whose exponential is no number."""
    as_count("dim", dim, 2)
    _check_beta(beta)
    s = torch.linspace(-1, 1, 20_003, dtype=torch.float64)[1:-1]
    log = (dim - 3) / 2 * torch.log1p(-(s**2))  # of the density of s = u·v, but for a constant
    weighted = torch.logsumexp(log + beta * s, 0)
    total = torch.logsumexp(log, 0)
    return math.exp(float(weighted - total))


def dense_capacity(
    dim: int,
    beta: float,
    cosine: float = 1.0,
) -> float:
    """Patterns at which all others together weigh as much as the right one, e^(βc) / E e^(β u·v) of
    them."""
    _check_beta(beta)
    cosine = _cosine(cosine)
    return 1 + math.exp(beta * cosine) / mean_weight(dim, beta)


def resolvent(load: float, ridge: float) -> tuple[float, float]:
    """m = tr (KᵀK + ridge)⁻¹ / key for random unit keys, and m + ridge · m′ (Marchenko and Pastur).

    m solves ridge · m² + (ridge + g − 1) m = 1; the second is tr (G − ridge · G²) / key, the gain
    for noise.
    """
    if not (0 <= load < math.inf and 0 < ridge < math.inf):
        raise ValueError(f"expected load >= 0 and ridge > 0, both finite, got {load} and {ridge}")
    b = 1 - load - ridge
    root = math.sqrt(b * b + 4 * ridge)
    m = (b + root) / (2 * ridge) if b > 0 else 2 / (root - b)
    slope = -m * (1 + m) / root
    return m, max(m + ridge * slope, 0.0)


def read_error(
    load: float,
    cosine: float = 1.0,
    ridge: float = 1e-8,
) -> float:
    """‖read − value‖ / ‖value‖ of a linear memory with random unit keys and independent values.

    err² = (1 − c m/(1 + m))² + (c²/(1 + m)² + 1 − c²) (m + ridge m′). As ridge → 0 it is √((1−c)² +
    (1−c²) g/(1−g)) below load 1 and, for exact cues, √(1 − 1/g) above.
    """
    cosine = _cosine(cosine)
    m, gain = resolvent(load, ridge)
    missing = 1 - cosine * m / (1 + m)
    noise = cosine**2 / (1 + m) ** 2 + 1 - cosine**2
    return math.sqrt(missing**2 + noise * gain)


def best_ridge(load: float, cosine: float) -> float:
    """g (1 − c²) / c²: the cues' own noise, seen over all pairs, is the ridge of the best linear
    read (times 1/c)."""
    _check_load(load)
    cosine = _cosine(cosine)
    if cosine**2 == 0:
        raise ValueError(f"expected a cosine other than 0, got {cosine}: no ridge is large enough")
    return load * (1 - cosine**2) / cosine**2


def projected_cosine(cosine: float, share: float) -> float:
    """Cosine of a cue's projection with what it stands for, where random patterns span a `share` of
    all dimensions."""
    cosine = _cosine(cosine)
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0 to 1, got {share}")
    if cosine == 0:
        return 0.0
    kept_noise = (1 - cosine**2) * share
    return cosine / math.sqrt(cosine**2 + kept_noise)


def novelty_auc(cosine: float, free: int) -> float:
    """Chance that a random query's residual is larger than that of a cue, `free` dimensions being
    unwritten.

    Both residuals are lengths of Gaussian vectors of `free` components, one shrunk by √(1 − c²):
    their ratio squared has Fisher's F distribution. 0.5 for free = 0, where nothing is outside.
    """
    cosine = _cosine(cosine)
    if free < 1 or cosine == 0:
        return 0.5
    # The incomplete beta function, by x = sin².
    upper = math.asin(math.sqrt(1 / (2 - cosine**2)))
    edge = 1e-9
    angles = torch.linspace(edge, math.pi / 2 - edge, 200_001, dtype=torch.float64)
    log_density = (free - 1) * torch.log(torch.sin(2 * angles))
    density = torch.exp(log_density)
    return float(density[angles <= upper].sum() / density.sum())
