"""One plain training loop, and many small models trained in one batched computation
(`many_models`);
low-rank corrections of one that stays what it is (`low_rank`)."""

from memlab.training.loop import (
    Batch,
    Log,
    Muon,
    Recipe,
    fit,
    optimisers,
    orthogonalised,
    rate,
    shuffled,
)
from memlab.training.progress import Progress, Watch

__all__ = [
    "Batch",
    "Log",
    "Muon",
    "Progress",
    "Recipe",
    "Watch",
    "fit",
    "low_rank",
    "many_models",
    "optimisers",
    "orthogonalised",
    "rate",
    "shuffled",
]
