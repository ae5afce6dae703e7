"""One plain training loop, and many small models trained in one batched computation
(`many_models`)."""

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
    "many_models",
    "optimisers",
    "orthogonalised",
    "rate",
    "shuffled",
]
