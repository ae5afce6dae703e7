"""Weights as lists of numbers: what they say of a memory while the model that they belong to is
never run.

A box is a tiny language model. `displacement` reads one box against its own start. A crowd is many
boxes of one architecture, each of which learnt another half of the same poems: what a probe of
weights is fitted and tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from memlab import runtime, training
from memlab.corpora.poems import Poems
from memlab.evaluation import Reading
from memlab.training import Recipe


def flat(model: torch.nn.Module) -> Float[Tensor, " weight"]:
    """All weights as one list of numbers, tied ones once; a copy."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _named(model: torch.nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """The list cut up again: what `functional_call` puts in the place of the model's own
    weights."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    parts = weights.split([shape.numel() for shape in shapes.values()])
    named: dict[str, Tensor] = {}
    for (name, shape), part in zip(shapes.items(), parts, strict=True):
        named[name] = part.view(shape)
    return {**named, **dict(model.named_buffers())}


def _run(model: Any, weights: Tensor, **batch: Tensor) -> Any:
    # the other kernels know no vmap: they would fall back to a loop, with a warning
    with sdpa_kernel(SDPBackend.MATH):
        return functional_call(model, _named(model, weights), (), batch)


def _labels(poems: Poems) -> Tensor:
    """The loss counts the words of the body alone."""
    in_key = torch.arange(poems.ids.shape[1]) < poems.keys.shape[1]
    return poems.ids.masked_fill(in_key, -100)


def slopes(
    model: Any,
    weights: Float[Tensor, " weight"],
    poems: Poems,
) -> Float[Tensor, "poem weight"]:
    """The gradient of every poem's loss at `weights`. The model lends its architecture, not its
    weights."""

    def loss(
        own: Tensor,
        ids: Tensor,
        labels: Tensor,
    ) -> Tensor:
        return _run(model, own, input_ids=ids[None], labels=labels[None]).loss

    of_each = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=64)
    device = weights.device
    return of_each(weights, poems.ids.to(device), _labels(poems).to(device))


def displacement(
    slope: Float[Tensor, "*box poem weight"], moved: Float[Tensor, "*box weight"]
) -> Float[Tensor, "*box poem"]:
    """How far the way from start to now leads down each poem's loss, as the slope at the start has
    it: −slope · moved.

    High for what was learnt. The model as it is now is not run: its weights enter as numbers, less
    those of the start.
    """
    return -(slope @ moved[..., None])[..., 0].cpu()


@dataclass(frozen=True)
class Crowd:
    """M boxes: box m begins with the weights `start[m]` and learns the poems of `pool` where
    `member[m]`.

    `box` lends the architecture. ValueError unless every box learns equally many poems.
    """

    box: Any
    pool: Poems
    member: Bool[Tensor, "box poem"]
    start: Float[Tensor, "box weight"]

    def __post_init__(self) -> None:
        sizes = self.member.sum(1).unique().tolist()
        if self.member.shape != (len(self.start), len(self.pool)) or len(sizes) != 1:
            raise ValueError(
                "expected a row a box and a column a poem, each box with equally many poems, got"
                f" {tuple(self.member.shape)} for {len(self.start)} boxes, {len(self.pool)} poems,"
                f" {sizes}"
            )

    def learn(
        self,
        recipe: Recipe,
        *,
        look_at: Iterable[int] = (),
        report: Callable[[int, Float[Tensor, "box weight"]], None] | None = None,
    ) -> Float[Tensor, "box weight"]:
        """Train all boxes at once, each on its own poems, with AdamW and no clipping; return their
        weights.

        All weights are one matrix with a row a box, so that one optimiser treats each number as if
        it were alone. After each step of `look_at`, `report(step, weights)` is called.
        """
        weights = self.start.clone().requires_grad_()
        wanted = set(look_at)
        ids = self._own(self.pool.ids)
        labels = self._own(_labels(self.pool))
        losses = vmap(lambda own, x, y: _run(self.box, own, input_ids=x, labels=y).loss)
        optimiser = torch.optim.AdamW(
            [weights], lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
        )
        for step in range(recipe.steps):
            optimiser.param_groups[0]["lr"] = recipe.lr * training.rate(step, recipe)
            loss = losses(weights, ids, labels).sum()
            (weights.grad,) = torch.autograd.grad(loss, weights)
            optimiser.step()
            if report and step + 1 in wanted:
                report(step + 1, weights.detach().clone())
        return weights.detach()

    def _own(self, rows: Tensor) -> Tensor:
        """Rows of the pool by box: those of the poems that it learns."""
        return torch.stack([rows[own] for own in self.member]).to(self.start.device)

    @torch.no_grad()
    def read(self, weights: Float[Tensor, "box weight"]) -> Reading:
        """Every box reads every poem of the pool, learnt or not: `evaluation.Reading` with a row a
        box and poem."""
        ids = self.pool.ids.to(weights.device)
        start = self.pool.keys.shape[1] - 1

        def answer(own: Tensor) -> Tensor:
            return _run(self.box, own, input_ids=ids[:, :-1]).logits[:, start:]

        logits = vmap(answer)(weights).cpu().flatten(0, 1)
        words = self.pool.bodies.repeat(len(weights), 1)
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), words, reduction="none")
        return Reading(nll, logits.argmax(-1) == words)

    def slopes(self) -> Float[Tensor, "box poem weight"]:
        """`slopes` of every poem of the pool at each box's start."""
        same = bool((self.start == self.start[0]).all())
        starts = self.start[:1] if same else self.start
        found = vmap(lambda own: slopes(self.box, own, self.pool), chunk_size=64)(starts)
        return found.expand(len(self.start), -1, -1)


def crowd(
    pool: Poems,
    build: Callable[[int], Any],
    boxes: int,
    *,
    same: bool,
    seed: int = 0,
) -> Crowd:
    """`boxes` boxes, each to learn a random half of the pool: all from the start `build(0)`, or box
    m from `build(m)`.

    The halves depend on `seed` alone, not on `same`. ValueError for fewer than one box or two
    poems.
    """
    if boxes < 1 or len(pool) < 2:
        raise ValueError(
            f"expected at least 1 box and 2 poems, got {boxes} boxes and {len(pool)} poems"
        )
    draw = runtime.generator(seed, "crowds", "halves")
    half = len(pool) // 2
    halves = [torch.randperm(len(pool), generator=draw) < half for _ in range(boxes)]
    member = torch.stack(halves)
    first = build(0)
    if same:
        start = flat(first).repeat(boxes, 1)
    else:
        start = torch.stack([flat(build(m)) for m in range(boxes)])
    return Crowd(first, pool, member, start)
