"""How far a training is: a bar on a terminal, a few lines in a file, nothing in a notebook, and the
same training in all of them."""

from __future__ import annotations

import contextlib
import io
import re
import sys

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from memlab.training import Progress, Recipe, fit, progress

LINE = re.compile(r"box: (\d+) of (\d+) steps, \d\d:\d\d gone, (?:\d\d:\d\d|\?) left(.*)")


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        """Always."""
        return True


def kernel_stream() -> io.StringIO:
    """A stream as the kernel of a notebook has it, told by where its class comes from."""
    return type("OutStream", (Terminal,), {"__module__": "ipykernel.iostream"})()


def asked(steps: int, problem: Exception | None = None) -> None:
    """Batches are asked for, losses reported every tenth step; then it may fail."""
    with Progress("box", steps) as shown:
        batches = shown.watch(lambda step: {"x": torch.tensor(step)})
        for step in range(steps):
            assert batches(step) == {"x": torch.tensor(step)}
            if step % 10 == 9:
                shown.report(step + 1, {"loss": 1 / (step + 1)})
        if problem:
            raise problem


@pytest.mark.parametrize("steps", [1, 3, 20, 21, 399, 1000])
def test_in_a_file_there_are_some_twenty_lines(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    asked(steps)
    lines = [LINE.fullmatch(line) for line in stream.getvalue().splitlines()]
    assert all(lines)
    done = [int(line[1]) for line in lines if line]
    assert done[0] == 0 and done[-1] == steps and done == sorted(set(done))
    assert len(done) == min(steps, progress.LINES) + 1
    assert max(after - before for before, after in zip(done, done[1:], strict=False)) <= (
        -(-steps // progress.LINES)
    )
    assert {line[2] for line in lines if line} == {str(steps)}
    assert steps < 10 or lines[-1] and lines[-1][3] == f", loss {1 / (steps // 10 * 10):.2f}"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    asked(100)
    said = stream.getvalue()
    assert "\rbox: 100%" in said and "100/100" in said and "loss 0.01" in said
    assert LINE.search(said) is None


def test_below_the_bar_of_a_whole_run_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with tqdm(total=2, desc="run", file=stream) as bar:
        with contextlib.redirect_stderr(DummyTqdmFile(stream)):
            asked(20)
        bar.update()
    assert "box: 20 of 20 steps" in stream.getvalue() and "box: 100%" not in stream.getvalue()


@pytest.mark.parametrize("stream", [kernel_stream(), None])
def test_nothing_is_said_in_a_notebook_or_where_nobody_could_hear(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    asked(100)
    with Progress("box", 1) as shown:
        shown.note("untrained")
    assert capsys.readouterr().out == ""
    assert stream is None or stream.getvalue() == ""


def test_a_training_that_fails_is_not_said_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    with pytest.raises(OSError, match="full"):
        asked(20, OSError("full"))
    assert "box: 19 of 20" in stream.getvalue() and "20 of 20" not in stream.getvalue()


def test_a_note_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    with Progress("box", 3) as shown:
        shown.note("untrained")
    assert stream.getvalue().startswith("box: untrained\n")


class Line(nn.Module):
    """One weight that should become 3."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> object:
        loss = ((self.weight * x - 3 * x) ** 2).mean()
        return type("Output", (), {"loss": loss})()


def test_who_looks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())

    def batches(step: int) -> dict[str, Tensor]:
        return {"x": torch.tensor([1.0 + step])}

    alone, watched = Line(), Line()
    fit(alone, batches, Recipe(30), every=10)
    assert stream.getvalue() == ""
    with Progress("box", 30) as shown:
        fit(watched, shown.watch(batches), Recipe(30), every=10, report=shown.report)
    assert torch.equal(alone.weight, watched.weight) and alone.weight != 0
    assert "box: 30 of 30 steps" in stream.getvalue()
