"""Every script in pkg/benchmarks runs, at sizes that show nothing else; what needs no size is checked as it stands."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPTS = ("compact", "growth", "memories", "model", "scan")


@pytest.fixture
def script(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "pkg" / "benchmarks"))
    threads = torch.get_num_threads()
    before = set(sys.modules)
    yield importlib.import_module(request.param)
    torch.set_num_threads(threads)
    for name in {*SCRIPTS, "measure"} - before:  # short names, which nothing else should find
        sys.modules.pop(name, None)


@pytest.mark.parametrize("script", SCRIPTS, indirect=True, ids=SCRIPTS)
def test_a_benchmark_runs(script: ModuleType, capsys: pytest.CaptureFixture) -> None:
    found = script.main(["--tiny"])
    out = capsys.readouterr().out
    assert out.count("\n") > len(found) > 1 and all(isinstance(value, float) for value in found.values())
    assert re.match(r".*, 1 of \d+ cores, \w+, torch \d.*, 20\d\d-\d\d-\d\d, median of 1 rounds\n", out)


@pytest.mark.parametrize("script", ["memories"], indirect=True)
def test_the_historic_iteration_is_what_it_says(script: ModuleType) -> None:
    """It is the pseudo-inverse inside its range of singular values, and not outside: (1 − αs²)^(2^steps) is left."""
    left, _, right = torch.linalg.svd(torch.randn(6, 9, generator=torch.Generator().manual_seed(0)).double())
    values = torch.tensor([60.0, 30.0, 10.0, 5.0, 2.0, 1.5], dtype=torch.float64)
    matrix = left @ torch.diag(values) @ right[:6]
    assert torch.allclose(script.historic_inverse(matrix), torch.linalg.pinv(matrix), atol=1e-9)
    small = script.historic_inverse(0.1 * matrix)  # 0.15² · 5e-4 is too little for 15 steps
    residual = 1 - 0.1 * values * (right[:6] @ small @ left).diagonal()
    assert torch.allclose(residual, (1 - 5e-4 * (0.1 * values) ** 2) ** 2**15, atol=1e-6)
    assert not torch.isfinite(script.historic_inverse(2 * matrix)).all(), "σ_max² = 14400 > 4000: it diverges"


@pytest.mark.parametrize("script", ["scan"], indirect=True)
def test_without_faiss_the_rest_still_runs(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert script.faiss_index(torch.eye(3), 1) is None
    assert "faiss is missing: pip install faiss-cpu" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["measure"], indirect=True)
def test_ratios_and_exponents(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(script.time, "process_time", lambda: clock[0])

    def takes(seconds: float) -> None:
        clock[0] += seconds

    assert script.compare("this", lambda: takes(0.002), lambda: takes(0.01), rounds=3, repeat=4) == pytest.approx(5)
    assert capsys.readouterr().out.split() == ["this", "2.000", "ms", "10.000", "ms", "5.00x"]
    assert script.growth("squares", [10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2)
