"""Seeds, profiles, threads, provenance."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memlab import runtime


@pytest.mark.parametrize("name", ["quick", "full", "gpu"])
def test_profile_comes_from_the_argument_then_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLAB_PROFILE", "full")
    assert runtime.profile(name) == name
    assert runtime.profile() == "full"
    monkeypatch.delenv("MEMLAB_PROFILE")
    assert runtime.profile() == "quick"


@pytest.mark.parametrize("name", ["fast", "", "Quick", "quick "])
def test_an_unknown_profile_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = f"^unknown profile {name!r}: expected one of quick, full, gpu$"
    with pytest.raises(ValueError, match=sentence):
        runtime.profile(name)
    monkeypatch.setenv("MEMLAB_PROFILE", name)
    with pytest.raises(ValueError, match=sentence):
        runtime.profile()


@given(st.integers(-(2**40), 2**40), st.lists(st.text(max_size=5) | st.integers(0, 99), max_size=3))
def test_the_same_seed_and_scope_give_the_same_stream(seed: int, scope: list[str | int]) -> None:
    first, second = (torch.rand(4, generator=runtime.generator(seed, *scope)) for _ in range(2))
    assert torch.equal(first, second)
    assert 0 <= runtime.derive_seed(seed, *scope) < 2**63
    assert (
        runtime.python_random(seed, *scope).random() == runtime.python_random(seed, *scope).random()
    )


def test_streams_of_other_seeds_or_scopes_differ_and_seed_zero_is_a_seed() -> None:
    keys = [
        (0,),
        (1,),
        (-1,),
        (0, "poems"),
        (0, "batches"),
        (0, "poems", 1),
        (0, "poems1"),
        (1, "poems"),
    ]
    assert len({runtime.derive_seed(*key) for key in keys}) == len(keys)
    assert len({torch.rand((), generator=runtime.generator(*key)).item() for key in keys}) == len(
        keys
    )


def test_seeds_do_not_change_from_version_to_version() -> None:
    expected = int.from_bytes(hashlib.sha256(b"0\x1fpoems").digest()[:8], "big") // 2
    assert runtime.derive_seed(0, "poems") == expected


def test_no_global_random_state_moves(untouched_global_random_state: None) -> None:
    torch.rand(3, generator=runtime.generator(0, "x"))
    runtime.python_random(0, "x").random()
    runtime.provenance()


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert runtime.use_threads(2) == 2 == torch.get_num_threads()
        monkeypatch.delenv("MEMLAB_THREADS", raising=False)
        assert runtime.use_threads() == 1 == torch.get_num_threads()
        monkeypatch.setenv("MEMLAB_THREADS", "2")
        assert runtime.use_threads() == 2
        for wrong in ("0", "-1", "many", "1.5", ""):
            monkeypatch.setenv("MEMLAB_THREADS", wrong)
            with pytest.raises(
                ValueError, match=f"^expected a number of threads of at least 1, got '{wrong}'$"
            ):
                runtime.use_threads()
        with pytest.raises(ValueError, match="at least 1, got '0'"):
            runtime.use_threads(0)
    finally:
        torch.set_num_threads(before)


def test_device() -> None:
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device().type in ("cpu", "cuda")
    with pytest.raises(
        ValueError, match="^expected a device such as cpu or cuda:0, got 'toaster'$"
    ):
        runtime.device("toaster")


def test_cache_folder_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path / "deep" / "cache"))
    assert runtime.cache_dir("a", "b") == tmp_path / "deep" / "cache" / "a" / "b"
    assert runtime.cache_dir("a", "b").is_dir()


def test_file_digest(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (3 << 20) + b"y")
    assert runtime.file_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_provenance_says_who_what_when_and_on_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/memlab/__main__.py", "run", "needles"])
    made = runtime.provenance(profile="quick", seed=0)
    assert made["command"] == "python -m memlab run needles"
    assert made["torch"] == torch.__version__ and made["seed"] == 0 and made["profile"] == "quick"
    assert {"commit", "date", "python", "transformers", "device", "instructions", "threads"} <= set(
        made
    )
    assert str(made["date"]).endswith("+00:00")
    assert not any("/" in str(value) for value in made.values()), (
        "no folder of this machine belongs in a result"
    )


def test_provenance_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime.provenance()["commit"] == "unknown"


def test_stopwatch_and_peak_memory() -> None:
    with runtime.Stopwatch() as watch:
        sum(range(1000))
    assert 0 < watch.seconds < 5
    assert runtime.peak_memory_bytes() > 10_000_000 or sys.platform == "win32"
