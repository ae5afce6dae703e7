"""Shared by all tests. Do not import memlab here: the jaxtyping hook that checks its signatures
comes later."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

for name, value in {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "MEMLAB_PROFILE": "quick",
    "MEMLAB_CACHE": str(Path(__file__).resolve().parents[1] / ".cache"),
}.items():
    os.environ.setdefault(name, value)

import hypothesis  # noqa: E402  (after the environment, which numpy reads when it is first imported)

hypothesis.settings.register_profile(
    "book", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("book")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of this checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def no_windows() -> None:
    """Figures without a screen; not by an environment variable, which the kernels of the chapters
    would inherit."""
    import matplotlib

    matplotlib.use("Agg")


@pytest.fixture
def untouched_global_random_state() -> Iterator[None]:
    """Fails the test if it moved the global random state of numpy or torch.

    Python's own cannot be watched here: the type checks of the hook draw from it. test_architecture
    reads the code.
    """
    import numpy
    import torch

    def state() -> list[object]:
        kind, keys, *rest = numpy.random.get_state()
        return [kind, keys.tolist(), *rest, torch.get_rng_state().tolist()]

    before = state()
    yield
    assert state() == before, "a global random state moved"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing:
        import torch

        if not torch.cuda.is_available():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def tiny_bert() -> Callable[..., Path]:
    """Saves a BERT with random weights, and a vocabulary of its own, as any other checkpoint."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    def save(
        folder: Path,
        lines: Sequence[str],
        *,
        words: int,
        width: int,
        layers: int,
        inner: int,
        positions: int,
        longest: int,
    ) -> Path:
        core = BertWordPieceTokenizer(lowercase=True)
        core.train_from_iterator(lines, vocab_size=words, show_progress=False)
        BertTokenizerFast(
            tokenizer_object=core._tokenizer, model_max_length=longest
        ).save_pretrained(folder)
        config = BertConfig(
            vocab_size=core.get_vocab_size(),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=inner,
            max_position_embeddings=positions,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            BertModel(config).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def float32() -> Iterator[None]:
    """Models read in float32, whatever the machine is fast at: for modules that compare to the last
    digits."""
    from memlab import runtime

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "fast_bfloat16", lambda: False)
        yield


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Fails a test that waits for what never comes."""

    def late(*_: object) -> None:
        raise AssertionError("expected an answer at once, got none for 20 seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def told_in_a_fork() -> Callable[[Callable[[], object]], str]:
    """A function that does some work in a fork of this process, and returns what that raised:
    "done" if nothing."""
    return _told_in_a_fork


def _told_in_a_fork(work: Callable[[], object]) -> str:
    """What is raised when a fork of this process does that work; "done" if nothing is."""
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            said = "done"
        except BaseException as problem:
            said = f"{type(problem).__name__}: {problem}"
        os.write(out, said.encode())
        os._exit(0)
    os.close(out)
    os.waitpid(child, 0)
    with open(into, "rb") as file:
        return file.read().decode()
