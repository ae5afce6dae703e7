"""One module per recorded experiment, named after its chapter.

Each module has `run(profile, seed)`, an iterator of records; `table(data)`, the DataFrame that is printed;
and `verdicts(data)`, one line for every claim it bears on. The command line, the chapters and the recorded
results all call these three.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pandas as pd

from memlab import results, runtime


def names() -> list[str]:
    """The experiments there are, as the command line spells them."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(name: str) -> ModuleType:
    """The module of an experiment; ValueError with the list of names if there is none."""
    if name not in names():
        raise ValueError(f"unknown experiment {name!r}: expected one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def run(name: str, profile: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Run an experiment and return its records as a DataFrame."""
    runtime.use_threads()
    return results.frame(find(name).run(runtime.profile(profile), seed))
