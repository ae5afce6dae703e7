"""Every script in pkg/benchmarks runs, at sizes that show nothing else; what needs no size is
checked as it stands."""

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
def script(
    request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
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
    assert out.count("\n") > len(found) > 1 and all(
        isinstance(value, float) for value in found.values()
    )
    assert re.match(
        r".*, 1 of \d+ cores, \w+, torch \d.*, 20\d\d-\d\d-\d\d, median of 1 rounds\n", out
    )


@pytest.mark.parametrize("script", ["memories"], indirect=True)
def test_the_historic_iteration_inverts_anew(script: ModuleType) -> None:
    """Written and read by its equations, where singular values (1 and 30) lie well inside the
    iteration's range."""
    rng = torch.Generator().manual_seed(0)
    initial, turn = (torch.linalg.qr(torch.randn(n, 6, generator=rng))[0].T for n in (12, 6))
    patterns = 30 * turn @ initial
    memory, query = script.historic_write(initial, patterns), torch.randn(3, 12, generator=rng)
    wide = patterns.double()
    wanted = torch.linalg.pinv(wide @ torch.linalg.pinv(initial.double())) @ wide
    assert torch.allclose(memory.double(), wanted, atol=1e-5)
    seen = query.double() @ torch.linalg.pinv(wanted) @ wanted
    assert torch.allclose(script.historic_read(memory, query).double(), seen, atol=1e-5)


@pytest.mark.parametrize("script", ["scan"], indirect=True)
def test_without_faiss_the_rest_still_runs(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert script.faiss_index(torch.eye(3), 1) is None
    assert "faiss is missing: pip install faiss-cpu" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["measure"], indirect=True)
def test_ratios_and_exponents(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(script.time, "process_time", lambda: clock[0])

    def takes(seconds: float) -> None:
        clock[0] += seconds

    assert script.compare(
        "this", lambda: takes(0.002), lambda: takes(0.01), rounds=3, repeat=4
    ) == pytest.approx(5)
    assert capsys.readouterr().out.split() == ["this", "2.000", "ms", "10.000", "ms", "5.00x"]
    assert script.growth("squares", [10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2)
