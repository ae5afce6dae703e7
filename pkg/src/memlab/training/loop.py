"""One plain training loop for every model of the book: a schedule, a clip, AdamW or Muon, and
nothing hidden.

Large or distributed runs use the stock `transformers.Trainer` instead; `MemoryDecoder` follows its
contract.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from memlab import runtime

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

    def add(
        self,
        step: int,
        seconds: float,
        loss: Tensor,
    ) -> None:
        """Put down the loss after `step` steps and `seconds` seconds; of several, their mean."""
        mean = float(loss.detach().mean())
        self.rows.append(
            {
                "step": step,
                "seconds": seconds,
                "loss": mean,
            }
        )


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
        """Update every matrix that has a gradient, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = group["momentum"]
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - momentum)
                update = orthogonalised(p.grad.lerp(average, momentum))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "row col"], steps: int = 5) -> Float[Tensor, "row col"]:
    """Roughly U·Vᵀ of the matrix's singular value decomposition, by a quintic Newton-Schulz
    iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):  # x ← 3.4445 x − 4.775 (x xᵀ) x + 2.0315 (x xᵀ)² x
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315)
        x = torch.addmm(x, polynomial, x, beta=3.4445)
    return x.T if tall else x


def optimisers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices that are no embedding and AdamW for the
    rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if recipe.muon and p.ndim == 2 and not _is_embedding(name)]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = []
    decay = recipe.weight_decay
    if matrices and recipe.muon_bfloat16:
        made.append(
            torch.optim.Muon(
                matrices,
                lr=recipe.muon,
                momentum=0.95,
                weight_decay=decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    elif matrices:
        made.append(Muon(matrices, lr=recipe.muon, momentum=0.95, weight_decay=decay))
    if rest:
        made.append(torch.optim.AdamW(rest, lr=recipe.lr, betas=recipe.betas, weight_decay=decay))
    return made


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed", "wte", "wpe", "lm_head"))


def _descend(
    loss: Tensor,
    made: list[torch.optim.Optimizer],
    parameters: list[nn.Parameter],
    limit: float,
) -> None:
    """One step of all optimisers down the gradient of a loss, clipped to a norm of `limit`."""
    for optimiser in made:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, limit)
    for optimiser in made:
        optimiser.step()


def reports(
    step: int,
    steps: int,
    every: int,
) -> bool:
    """Whether the step (0 the first) is one after which a training reports: every `every` steps and
    after the last, never for 0."""
    done = step + 1
    return every > 0 and (done % every == 0 or done == steps)


def shuffled(
    count: int,
    batch: int,
    seed: int,
) -> Iterator[Int[Tensor, " row"]]:
    """Endless batches of row numbers: every epoch a new order, its remainder left out."""
    draw = runtime.generator(seed, "reciters", "order")
    while True:
        order = torch.randperm(count, generator=draw)
        yield from order[: count // batch * batch].split(batch)


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
    made = optimisers(model, recipe)
    base = [optimiser.param_groups[0]["lr"] for optimiser in made]
    parameters = [p for p in model.parameters() if p.requires_grad]
    log = Log()
    start = time.perf_counter()
    model.train()
    for step in range(recipe.steps):
        for optimiser, lr in zip(made, base, strict=True):
            optimiser.param_groups[0]["lr"] = lr * rate(step, recipe)
        with runtime.autocast(parameters[0].device.type, recipe.bfloat16):
            loss = model(**batches(step)).loss
        _descend(loss, made, parameters, recipe.clip)
        if reports(step, recipe.steps, every):
            log.add(step + 1, time.perf_counter() - start, loss)
            if report:
                model.eval()  # a report that looks at the model must not see its dropout
                report(step + 1, log.rows[-1])
                model.train()
    log.seconds = time.perf_counter() - start
    model.eval()
    return log
