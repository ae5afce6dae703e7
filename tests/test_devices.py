"""Models and memories on a device that is not the CPU: a GPU that is pretended (pretended_gpu.py),
in a process of its own; and where there is one, a real one. The cases stand in device_cases.py."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memlab import runtime

HERE = Path(__file__).parent
SOURCE = (HERE / "device_cases.py").read_text("utf-8")
CASES = re.findall(r'^@case\("(.*)"\)$', SOURCE, re.M)
MISTAKES = re.findall(r'^@mistake\("(.*)"\)$', SOURCE, re.M)


@pytest.fixture(scope="module")
def pretended() -> dict[str, Any]:
    """What the process that has the pretended device says."""
    path = os.pathsep.join([str(HERE.parent / "pkg" / "src"), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    script = [sys.executable, str(HERE / "device_cases.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", CASES)
def test_it_runs_on_a_pretended_gpu(name: str, pretended: dict[str, Any]) -> None:
    assert pretended["ended"][name] == ""


@pytest.mark.parametrize("name", MISTAKES)
def test_the_pretence_notices(name: str, pretended: dict[str, Any]) -> None:
    said = pretended["ended"][name]
    assert any(word in said for word in ("same device", "device type", "indices")), said


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_it_runs_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    importlib.import_module("device_cases").CASES[name]()


def test_each_public_model_of_the_package_belongs_to_a_case(pretended: dict[str, Any]) -> None:
    """A new one does not until somebody says how it is run on a device."""
    assert pretended["public models"] == sorted(pretended["models"])
    assert set(pretended["models"].values()) <= set(CASES)


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_that_emulates_bfloat16_is_not_asked_to(
    capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert runtime.fast_bfloat16() is fast
