"""How far a long training is, said on stderr while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from memlab.training.loop import Batch

LINES = 20  # of a whole training beside the first, where stderr is a file or a pipe
LINE = "{desc}: {n_fmt} of {total_fmt} steps, {elapsed} gone, {remaining} left{postfix}"

Batches = Callable[[int], Batch]
Watch = Callable[[Batches], Batches]


class Progress:
    """Steps done, time gone and time left: a bar on a terminal, 20 lines in a file or a pipe,
    nothing in a notebook.

    with Progress("causal", 700) as progress:
        fit(model, progress.watch(batches), recipe, every=50, report=progress.report)
    """

    def __init__(self, name: str, steps: int) -> None:
        whose = type(sys.stderr).__module__
        silent = sys.stderr is None or whose.startswith("ipykernel")
        below_a_bar = whose == "tqdm.contrib"  # what is printed goes above the bar of a whole run
        on_terminal = not silent and not below_a_bar and getattr(sys.stderr, "isatty", bool)()
        self._name = name
        self._steps = steps
        self._begun = 0
        self._loss = ""
        self._start = time.perf_counter()
        self._silent = silent
        self._lines = not silent and not on_terminal
        self._bar = tqdm(
            total=steps,
            desc=name,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not on_terminal,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        if problem is None and self._begun:
            self._show(self._begun)
        self._bar.close()

    def watch(self, batches: Batches) -> Batches:
        """The same batches; who asks for one begins a step, and has done those before. Several may
        be watched, one after the other."""

        def watched(step: int) -> Batch:
            self._show(self._begun)
            self._begun += 1
            return batches(step)

        return watched

    def report(self, step: int, row: Mapping[str, Any]) -> None:
        """The loss of a row of the log, said together with the steps."""
        self._loss = f"loss {row['loss']:.2f}"
        self._bar.set_postfix_str(self._loss, refresh=False)

    def note(self, text: str) -> None:
        """Say something beside the steps."""
        if not self._silent:
            tqdm.write(f"{self._name}: {text}", file=sys.stderr)

    def _show(self, done: int) -> None:
        self._bar.update(done - self._bar.n)
        if not self._lines or done * LINES // self._steps == (done - 1) * LINES // self._steps:
            return
        elapsed = time.perf_counter() - self._start
        line = tqdm.format_meter(
            done,
            self._steps,
            elapsed,
            prefix=self._name,
            bar_format=LINE,
            postfix=self._loss,
        )
        print(line, file=sys.stderr)
