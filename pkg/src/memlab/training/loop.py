"""One plain training loop for every model of the book: a schedule, a clip, AdamW or Muon, and
nothing hidden.

Large or distributed runs use the stock `transformers.Trainer` instead; `MemoryDecoder` follows its
contract.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train. `warmup` and `decay` are shares of the steps; the rate falls linearly over the
    last `decay`.

    `muon` is the learning rate of Muon for the weight matrices inside the blocks; 0 trains
    everything with AdamW. `muon_bfloat16` takes torch's Muon; False takes the one below, much
    faster where bfloat16 is only emulated.
    """

    steps: int
    lr: float = 3e-3
    muon: float = 0.0
    warmup: float = 0.05
    decay: float = 0.5
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip: float = 1.0
    bfloat16: bool = False
    muon_bfloat16: bool = True


@dataclass
class Log:
    """What a run leaves behind: one row of metrics at every report, and the wall seconds it
    took."""

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def rate(step: int, recipe: Recipe) -> float:
    """The share of the learning rate at a step: up over the warm-up, flat, then linearly down to
    `floor`."""
    done = step / recipe.steps
    up = min(1.0, (step + 1) / max(1.0, recipe.warmup * recipe.steps))
    down = min(1.0, (1 - done) / recipe.decay) if recipe.decay else 1.0
    return up * (recipe.floor + (1 - recipe.floor) * down)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose step is made orthogonal (Jordan et al. 2024), for matrices only, in
    float32.

    `torch.optim.Muon` with `match_rms_adamw` does the same, but always in bfloat16, which a
    processor without such instructions only emulates: there it takes twenty times as long as this.
    A test compares the two.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalised(p.grad.lerp(average, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "row col"], steps: int = 5) -> Float[Tensor, "row col"]:
    """Roughly U·Vᵀ of the matrix's singular value decomposition, by a quintic Newton-Schulz
    iteration."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def optimisers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices that are no embedding and AdamW for the
    rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if recipe.muon and p.ndim == 2 and not _is_embedding(name)]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        decay = recipe.weight_decay
        made.append(
            torch.optim.Muon(
                matrices,
                lr=recipe.muon,
                momentum=0.95,
                weight_decay=decay,
                adjust_lr_fn="match_rms_adamw",
            )
            if recipe.muon_bfloat16
            else Muon(matrices, lr=recipe.muon, momentum=0.95, weight_decay=decay)
        )
    if rest:
        made.append(
            torch.optim.AdamW(
                rest, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
            )
        )
    return made


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed", "wte", "wpe", "lm_head"))


def fit(
    model: nn.Module,
    batches: Callable[[int], Batch],
    recipe: Recipe,
    *,
    every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Log:
    """Train `model` in place on `batches(step)` and return the log; the model ends in eval mode.

    `model(**batch)` must return an object with a scalar `loss`, as every transformers model does.
    Every `every` steps `report(step, row)` is called with the model in eval mode. ValueError if
    nothing is to be trained.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"expected a model with parameters to train, got {type(model).__name__} without any"
        )
    made, log, start = optimisers(model, recipe), Log(), time.perf_counter()
    base = [optimiser.param_groups[0]["lr"] for optimiser in made]
    parameters = [p for p in model.parameters() if p.requires_grad]
    kind = parameters[0].device.type
    model.train()
    for step in range(recipe.steps):
        for optimiser, lr in zip(made, base, strict=True):
            optimiser.param_groups[0]["lr"] = lr * rate(step, recipe)
        amp: Any = (
            torch.autocast(kind, torch.bfloat16) if recipe.bfloat16 else contextlib.nullcontext()
        )
        with amp:
            output = model(**batches(step))
        for optimiser in made:
            optimiser.zero_grad(set_to_none=True)
        output.loss.backward()
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimiser in made:
            optimiser.step()
        if every and ((step + 1) % every == 0 or step + 1 == recipe.steps):
            row = {
                "step": step + 1,
                "seconds": time.perf_counter() - start,
                "loss": float(output.loss.detach()),
            }
            log.rows.append(row)
            if report:
                model.eval()  # a report that looks at the model must not see its dropout
                report(step + 1, row)
                model.train()
    log.seconds = time.perf_counter() - start
    model.eval()
    return log
