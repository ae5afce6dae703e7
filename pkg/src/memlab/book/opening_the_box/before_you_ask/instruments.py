"""Instruments that look for a memory: by drawing answers, by the loss, and by linear probes of any
numbers.

None changes the model. The first group lets it answer, the second lets it read. A probe takes
features of whatever kind: activations of one model, or the weights of many (`weight_probes`), which
are then never run at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memlab import evaluation, runtime
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poems

# ---- by drawing answers --------------------------------------------------------------------------


def sampler(
    logits: Float[Tensor, "*row token"],
    temperature: float = 1.0,
    top_k: int = 0,
) -> Float[Tensor, "*row token"]:
    """ln p of every token as a sampler draws it: the `top_k` best logits (0: all) over
    `temperature`, normalised.

    Tokens left out have −inf; a tie at the border stays in. ValueError for a temperature that is
    not positive.
    """
    if not temperature > 0 or top_k < 0:
        raise ValueError(
            f"expected a positive temperature and top_k of at least 0, got {temperature} and"
            f" {top_k}"
        )
    if 0 < top_k < logits.shape[-1]:
        border = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < border, -math.inf)
    return (logits.double() / temperature).log_softmax(-1)


@torch.no_grad()
def answers(
    model: Any,
    poems: Poems,
    batch: int = 256,
) -> Float[Tensor, "poem word token"]:
    """The logits for every word of the bodies, the true words before it given: one forward pass,
    nothing drawn."""
    start = poems.keys.shape[1] - 1
    parts = []
    for ids in poems.ids.split(batch):
        logits = model(ids[:, :-1].to(model.device)).logits
        parts.append(logits[:, start:].float().cpu())
    return torch.cat(parts)


def word_chances(
    logits: Float[Tensor, "poem word token"],
    poems: Poems,
    temperature: float = 1.0,
    top_k: int = 0,
) -> Float[Tensor, "poem word"]:
    """ln p of every true word under the sampler, from `answers`; summed over a poem's words it is
    ln p_z."""
    log_p = sampler(logits, temperature, top_k)
    return log_p.gather(-1, poems.bodies[..., None])[..., 0]


def within(log_p: Float[Tensor, " poem"], tries: int) -> Float[Tensor, " poem"]:
    """The chance that one of `tries` independent answers, or more, is the poem: 1 − (1 − p_z)^n
    with p_z = e^log_p."""
    return -torch.expm1(tries * torch.log1p(-log_p.double().exp()))


def tries_needed(log_p: Float[Tensor, " poem"], chance: float = 0.5) -> Float[Tensor, " poem"]:
    """The smallest n for which a poem is (n, chance)-discoverable (Hayes et al. 2025); inf where it
    never comes.

    ValueError for a chance outside 0 … 1, both excluded.
    """
    if not 0 < chance < 1:
        raise ValueError(f"expected a chance between 0 and 1, got {chance}")
    p = log_p.double().exp()
    tries = (math.log1p(-chance) / torch.log1p(-p)).ceil().clamp(min=1)
    return torch.where(p > 0, tries, math.inf)


@torch.no_grad()
def draw_answers(
    model: Any,
    keys: Int[Tensor, "row key"],
    words: int,
    draw: torch.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
) -> Int[Tensor, "row word"]:
    """One sampled answer a key, each word from `sampler`; all randomness comes from `draw`."""
    said: list[Tensor] = []
    cache = None
    new = keys.to(model.device)
    for _ in range(words):
        out = model(new, past_key_values=cache, use_cache=True)
        p = sampler(out.logits[:, -1].float().cpu(), temperature, top_k).exp()
        word = torch.multinomial(p, 1, generator=draw)
        said.append(word)
        cache = out.past_key_values
        new = word.to(model.device)
    return torch.cat(said, 1)


def beginnings(log_p: Float[Tensor, " word"]) -> Float[Tensor, " length"]:
    """The chance that a drawn answer begins with exactly 0, 1, … S right words, from ln p of the S
    true words."""
    reached = torch.cat([torch.ones(1, dtype=torch.float64), log_p.double().cumsum(0).exp()])
    return reached - torch.cat([reached[1:], torch.zeros(1, dtype=torch.float64)])


def chi_square(
    counts: Int[Tensor, " category"],
    p: Float[Tensor, " category"],
    least: float = 5.0,
) -> tuple[float, int]:
    """Pearson's Σ (O − E)²/E and its degrees of freedom; categories that expect fewer than `least`
    are taken as one.

    ValueError where no two categories are left.
    """
    expected = p.double() * int(counts.sum())
    rare = expected < least
    group = torch.where(rare, 0, rare.logical_not().cumsum(0))
    if expected[rare].sum() < least:  # too few even together: they join the most common category
        group = torch.where(rare, group[expected.argmax()], group)
    none = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    seen = none.index_add(0, group, counts.double())
    wanted = none.index_add(0, group, expected)
    seen = seen[wanted > 0]
    wanted = wanted[wanted > 0]
    if len(wanted) < 2:
        raise ValueError(
            f"expected two categories with at least {least} answers each, got {len(wanted)}"
        )
    return float(((seen - wanted) ** 2 / wanted).sum()), len(wanted) - 1


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability of a larger χ² if the answers were drawn as expected: small where they were
    not."""
    shape = torch.tensor(degrees / 2, dtype=torch.float64)
    half = torch.tensor(statistic / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(shape, half))


# ---- by the loss ---------------------------------------------------------------------------------


def patchwork(poems: Poems, seed: int = 0) -> Poems:
    """Poems that nobody wrote, each word from another poem, at its own place: words and places as
    before, no text left.

    Every place takes one random cycle through all poems. ValueError for fewer than two poems.
    """
    if len(poems) < 2:
        raise ValueError(f"expected at least 2 poems to take words from, got {len(poems)}")
    draw = runtime.generator(seed, "observers", "patchwork")
    columns: list[Tensor] = []
    for words in poems.bodies.T:
        order = torch.randperm(len(poems), generator=draw)
        columns.append(torch.empty_like(words).index_put((order,), words[order.roll(1)]))
    return replace(poems, bodies=torch.stack(columns, 1))


def lineups(
    poems: Poems,
    fresh: Poems,
    seed: int = 0,
) -> dict[str, tuple[Poems, Poems]]:
    """Pairs of sets (learnt, not learnt) for `membership`; in the first three all stand under
    titles never learnt.

    "text": learnt texts against fresh ones. "places": patchwork of learnt texts against fresh ones:
    what words at their places alone betray. "item": learnt texts against their patchwork: what they
    do not. "pair": learnt pairs against the same texts under each other's learnt titles.
    """
    learnt = replace(poems, keys=fresh.keys)
    patched = patchwork(learnt, seed)
    return {
        "text": (learnt, fresh),
        "places": (patched, fresh),
        "item": (learnt, patched),
        "pair": (poems, corpus.swapped(poems, seed)),
    }


def membership(
    score: Callable[[Poems], Float[Tensor, " poem"]], sets: Mapping[str, tuple[Poems, Poems]]
) -> dict[str, float]:
    """How well a score that is high for what was learnt tells each line-up apart, as AUC; each set
    is scored once."""
    asked = {id(poems): poems for pair in sets.values() for poems in pair}
    known = {key: score(poems) for key, poems in asked.items()}
    return {name: evaluation.auc(known[id(a)], known[id(b)]) for name, (a, b) in sets.items()}


# ---- in the activations --------------------------------------------------------------------------


@torch.no_grad()
def states(model: Any, keys: Int[Tensor, "poem key"]) -> Float[Tensor, "poem dim"]:
    """The last layer's state at the last token of each key: all that the first word of the answer
    is made from."""
    output = model(keys.to(model.device), output_hidden_states=True)
    return output.hidden_states[-1][:, -1].float().cpu()


@dataclass(frozen=True)
class Probe:
    """A linear reading of standardised features: `(x − mean) / scale · weights + offset`."""

    mean: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]
    weights: Float[Tensor, "feature target"]
    offset: Float[Tensor, " target"]

    def __call__(
        self, features: Float[Tensor, "example feature"]
    ) -> Float[Tensor, "example target"]:
        """What the probe reads in each example."""
        return (features.double() - self.mean) / self.scale @ self.weights + self.offset


def ridge(
    features: Float[Tensor, "example feature"],
    targets: Float[Tensor, "example target"],
    strength: float = 1.0,
) -> Probe:
    """Least squares on standardised features with the penalty `strength` · (number of features) ·
    |weights|².

    Solved with as many unknowns as there are examples or features, whichever is less. A constant
    feature counts for nothing. ValueError for a strength that is not positive.
    """
    if not strength > 0:
        raise ValueError(f"expected a positive strength, got {strength}")
    x = features.double()
    y = targets.double()
    mean = x.mean(0)
    scale = x.std(0, correction=0)
    scale = scale.where(scale > 1e-9 * (1 + mean.abs()), torch.ones_like(scale))
    offset = y.mean(0)
    x = (x - mean) / scale
    y = y - offset
    count, width = x.shape
    penalty = strength * width
    if count < width:
        gram = x @ x.T + penalty * torch.eye(count, dtype=x.dtype)
        weights = x.T @ torch.linalg.solve(gram, y)
    else:
        gram = x.T @ x + penalty * torch.eye(width, dtype=x.dtype)
        weights = torch.linalg.solve(gram, x.T @ y)
    return Probe(mean, scale, weights, offset)


def left_out(
    features: Float[Tensor, "example feature"],
    targets: Float[Tensor, "example target"],
    folds: int = 2,
    strength: float = 1.0,
) -> Float[Tensor, "example target"]:
    """What a ridge probe reads in each example when it was fitted without that example's fold
    (example i: i mod folds).

    ValueError for fewer than two folds or fewer examples than folds.
    """
    if not 2 <= folds <= len(features):
        raise ValueError(f"expected 2 to {len(features)} folds, got {folds}")
    fold = torch.arange(len(features)) % folds
    read = torch.zeros(targets.shape, dtype=torch.float64)
    for k in range(folds):
        out = fold == k
        probe = ridge(features[~out], targets[~out], strength)
        read[out] = probe(features[out])
    return read


def label_auc(
    features: Float[Tensor, "example feature"],
    labels: Bool[Tensor, "example target"],
    folds: int = 2,
    strength: float = 1.0,
) -> float:
    """How well left-out examples' labels are told apart: AUC within a fold, the mean over folds and
    targets."""
    read = left_out(features, labels.double(), folds, strength)
    fold = torch.arange(len(features)) % folds
    found: list[float] = []
    for k in range(folds):
        for score, label in zip(read[fold == k].T, labels[fold == k].T, strict=True):
            if label.any() and not label.all():
                found.append(evaluation.auc(score[label], score[~label]))
    return sum(found) / len(found)


def word_auc(
    features: Float[Tensor, "poem feature"],
    bodies: Int[Tensor, "poem word"],
    embeddings: Float[Tensor, "token dim"],
    folds: int = 2,
) -> Float[Tensor, " word"]:
    """How well word 1, 2, … of left-out poems is read off: the share of wrong words that it
    outranks, by place.

    The probe guesses the word's embedding; words are ranked by their product with the guess. One
    half is chance.
    """
    table = embeddings.double() - embeddings.double().mean(0)
    found: list[Tensor] = []
    for words in bodies.T:
        scores = left_out(features, embeddings[words], folds) @ table.T
        true = scores.gather(1, words[:, None])
        below = (scores < true).double().sum(1)
        ties = (scores == true).double().sum(1) - 1
        found.append((below + ties / 2).mean())
    return torch.stack(found) / (len(table) - 1)
