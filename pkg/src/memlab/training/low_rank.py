"""Low-rank corrections of a model that stays what it is: a few trained numbers beside every linear
map, folded into its matrix afterwards.

Low-rank adaptation (LoRA) is by Hu et al. (2021): W stays what it is, and W + BA is used, with B
and A of few rows and columns. B starts at zero, so that training starts from the model as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LowRank(nn.Module):
    """A linear map and its correction: x (W + BA)ᵀ, of which A and B are trained."""

    def __init__(
        self,
        linear: nn.Linear,
        rank: int,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        wide = linear.in_features
        down = torch.randn(rank, wide, generator=draw) / math.sqrt(wide)
        self.down = nn.Parameter(down.to(linear.weight))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))

    def forward(self, x: Float[Tensor, "... wide"]) -> Float[Tensor, "... out"]:
        """See the class."""
        return self.linear(x) + x @ self.down.T @ self.up.T

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The map with its correction as one matrix."""
        self.linear.weight += self.up @ self.down
        return self.linear


def correct(
    model: nn.Module,
    rank: int,
    draw: torch.Generator,
    chosen: Callable[[str], bool],
) -> dict[str, LowRank]:
    """Freeze a model and put a correction of `rank` beside each linear map whose name is `chosen`;
    all of them by name. In place. ValueError if none is, or for a rank below 1."""
    if rank < 1:
        raise ValueError(f"expected a rank of at least 1, got {rank}")
    model.requires_grad_(False)
    maps = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and chosen(name):
            maps[name] = LowRank(part, rank, draw).to(part.weight.device)
    if not maps:
        raise ValueError(
            f"expected linear maps to correct in {type(model).__name__}, got none of such a name"
        )
    for name, low in maps.items():
        model.set_submodule(name, low)
    return maps


def fold(model: nn.Module, maps: Mapping[str, LowRank]) -> None:
    """Put the corrected matrices in the place of what `correct` put there: a model like any other
    again, all of whose weights may be trained."""
    for name, low in maps.items():
        model.set_submodule(name, low.folded())
    model.requires_grad_(True)
