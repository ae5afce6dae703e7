"""Many small models trained at once: M copies of one stock architecture in a single batched
computation.

A tiny model leaves a processor idle: most of a step's time is spent on calling things. So the
weights of M models are stacked on a new first axis, and `torch.func.vmap` runs the stock forward
pass over it. No model sees another: gradients, clipping and optimisers act on each alone, and tests
hold every one of them against `training.fit`. Llama, Qwen2 and GPT-2 can be stacked, best with
`attn_implementation="eager"` (fused attention would run one model at a time); BLOOM cannot, since
its own GELU does not know about vmap.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from memlab import runtime, training
from memlab.corpora.poems import Poems
from memlab.training.loop import Batch, Log, Recipe, reports, shuffled

Weights = Mapping[str, Tensor]
IGNORED = -100  # the label that a stock loss passes over


class StackedMuon(torch.optim.Optimizer):
    """`training.Muon` for stacked matrices (model, row, col): every model's matrix takes the step
    it would take alone.

    Matrices of one shape, of all models and all layers, are made orthogonal together.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every stack that has a gradient, in place."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, stacks in alike.items():
                keep = 1 - group["lr"] * group["weight_decay"]
                lr = group["lr"] * 0.2 * max(shape[1:]) ** 0.5
                self._update(stacks, group["momentum"], keep, lr)

    def _update(
        self,
        stacks: list[Any],
        momentum: float,
        keep: float,
        lr: float,
    ) -> None:
        ahead = []
        for p in stacks:
            average = self.state[p].setdefault("momentum", torch.zeros_like(p))
            average.lerp_(p.grad, 1 - momentum)
            ahead.append(p.grad.lerp(average, momentum))
        together = vmap(training.orthogonalised)(torch.cat(ahead))
        directions = together.split([len(p) for p in stacks])
        for p, direction in zip(stacks, directions, strict=True):
            p.mul_(keep).add_(direction, alpha=-lr)


def _optimisers(
    model: nn.Module,
    weights: Weights,
    recipe: Recipe,
) -> list[torch.optim.Optimizer]:
    """Muon and AdamW on the stacks, each for the parameters that `training.optimisers` would give
    it."""
    if recipe.muon and recipe.muon_bfloat16:
        raise ValueError(
            "expected a recipe with muon_bfloat16=False, the one Muon that can be stacked, got True"
        )
    made: list[torch.optim.Optimizer] = []
    decay = recipe.weight_decay
    for alone in training.optimisers(model, recipe):
        wanted = {id(p) for p in alone.param_groups[0]["params"]}
        own = [weights[name] for name, p in model.named_parameters() if id(p) in wanted]
        if isinstance(alone, training.Muon):
            made.append(StackedMuon(own, lr=recipe.muon, weight_decay=decay))
        else:
            made.append(
                torch.optim.AdamW(own, lr=recipe.lr, betas=recipe.betas, weight_decay=decay)
            )
    return made


@torch.no_grad()
def clip(gradients: Sequence[Tensor], limit: float) -> Float[Tensor, " model"]:
    """Scale every model's gradients to a norm of at most `limit`, in place, and return the norms
    they had."""
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])
    norms = squares.sum(0).sqrt()
    factor = (limit / (norms + 1e-6)).clamp(max=1.0)
    for g in gradients:
        ones = [1] * (g.ndim - 1)
        g.mul_(factor.view(-1, *ones))
    return norms


def _check(models: Sequence[nn.Module]) -> None:
    """ValueError unless there is a model, and all have trainable weights of the same names and
    shapes."""
    shapes = [
        {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
        for model in models
    ]
    if not shapes or not shapes[0] or any(other != shapes[0] for other in shapes[1:]):
        raise ValueError(
            "expected one or more models to train, all of one architecture and size, got"
            f" {len(models)} of {len({str(shape) for shape in shapes})} shapes"
        )


def fit(
    models: Sequence[nn.Module],
    batches: Callable[[int], Batch],
    recipe: Recipe,
    *,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Log:
    """Train all `models` in place at once, each as `training.fit` would; they end in eval mode.

    `batches(step)` returns tensors with an axis for the models in front: [model, batch, seq]. A
    model must return a scalar `loss` and draw no random numbers (no dropout). Every `every` steps,
    and after the last, `report(step, row)` is called with the models up to date; the row's loss is
    the mean over models. ValueError for models of different shapes, or a recipe with Muon in
    bfloat16.
    """
    _check(models)
    stacks, buffers = stack_module_state(list(models))
    weights = {name: p.detach().requires_grad_() for name, p in stacks.items()}
    kind = next(iter(weights.values())).device.type
    losses_of = _losses(models[0], buffers)
    made = _optimisers(models[0], weights, recipe)
    base = [optimiser.param_groups[0]["lr"] for optimiser in made]
    log = Log()
    start = time.perf_counter()
    for step in range(recipe.steps):
        with runtime.autocast(kind, recipe.bfloat16):
            losses = losses_of(weights, batches(step))
        _differentiate(losses, weights, recipe.clip)
        for optimiser, lr in zip(made, base, strict=True):
            optimiser.param_groups[0]["lr"] = lr * training.rate(step, recipe)
            optimiser.step()
        if reports(step, recipe.steps, every):
            log.add(step + 1, time.perf_counter() - start, losses)
            if report:
                _write_back(models, weights)
                report(step + 1, log.rows[-1])
    log.seconds = time.perf_counter() - start
    _write_back(models, weights)
    return log


def _losses(model: nn.Module, buffers: Weights) -> Callable[[Weights, Batch], Tensor]:
    """The loss of every model, as a function of the stacked weights and a batch for each."""
    skeleton = copy.deepcopy(model).train()

    def one(
        own: Weights,
        state: Weights,
        batch: Batch,
    ) -> Tensor:
        return functional_call(skeleton, {**own, **state}, (), dict(batch)).loss

    def every_one(weights: Weights, batch: Batch) -> Tensor:
        return vmap(one)(weights, buffers, batch)

    return every_one


def _differentiate(
    losses: Tensor,
    weights: Weights,
    limit: float,
) -> None:
    """Put the gradients of all models, each clipped to a norm of `limit`, into their weights'
    `grad`."""
    gradients = torch.autograd.grad(losses.sum(), list(weights.values()))
    clip(gradients, limit)
    for p, gradient in zip(weights.values(), gradients, strict=True):
        p.grad = gradient


@torch.no_grad()
def _write_back(models: Sequence[nn.Module], weights: Weights) -> None:
    """Row i of every stack into model i."""
    for place, model in enumerate(models):
        for name, p in model.eval().named_parameters():
            p.copy_(weights[name][place])


def teach(
    models: Sequence[Any],
    poems: Sequence[Poems],
    recipe: Recipe,
    *,
    batch: int = 0,
    seeds: Sequence[int] | None = None,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Log:
    """Train model i on poems i, all at once: each ends as `stock.teach` would leave it, to
    rounding.

    All poems at every step, or shuffled batches of `batch` (`seeds`, by default all 0, fix their
    order). ValueError unless there is one set of poems a model, all of one number and length.
    """
    shapes = {(len(own), *own.ids.shape[1:], own.keys.shape[1]) for own in poems}
    if len(models) != len(poems) or len(shapes) != 1:
        raise ValueError(
            f"expected one set of poems a model, all of one number and length, got {len(models)}"
            f" models and {len(poems)} sets of {len(shapes)} shapes"
        )
    device = next(models[0].parameters()).device
    ids = torch.stack([own.ids for own in poems]).to(device)
    _, count, length = ids.shape
    is_key = torch.arange(length, device=device) < poems[0].keys.shape[1]
    labels = ids.masked_fill(is_key, IGNORED)
    whole = not 0 < batch < count
    rows = [shuffled(count, batch or 1, seed) for seed in seeds or [0] * len(models)]
    each = torch.arange(len(models), device=device)[:, None]

    def batches(_step: int) -> Batch:
        if whole:
            return {"input_ids": ids, "labels": labels}
        chosen = torch.stack([next(row) for row in rows]).to(device)
        return {"input_ids": ids[each, chosen], "labels": labels[each, chosen]}

    return fit(models, batches, recipe, every=every, report=report)
