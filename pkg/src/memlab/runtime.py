"""Seeds, profiles, devices, provenance: the few things every experiment needs before it starts.

Nothing here touches a global random state, and importing the module does no work.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

PROFILES = ("quick", "full", "gpu")


def profile(name: str | None = None) -> str:
    """Return `name`, or the profile that the environment variable MEMLAB_PROFILE asks for, or
    "quick".

    Raises ValueError for anything but "quick", "full" or "gpu".
    """
    chosen = name if name is not None else os.environ.get("MEMLAB_PROFILE", "quick")
    if chosen not in PROFILES:
        raise ValueError(f"unknown profile {chosen!r}: expected one of {', '.join(PROFILES)}")
    return chosen


def derive_seed(seed: int, *scope: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every part of `scope`, the same on every
    machine."""
    text = "\x1f".join(str(part) for part in (seed, *scope))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *scope: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose: generator(0, "poems") and generator(0, "batches") are
    independent."""
    return torch.Generator().manual_seed(derive_seed(seed, *scope))


def python_random(seed: int, *scope: str | int) -> random.Random:
    """Like `generator`, for text that is made with Python's own random module."""
    return random.Random(derive_seed(seed, *scope))


def device(prefer: str | None = None) -> torch.device:
    """The device asked for, or CUDA where there is one, or the CPU. ValueError if torch knows no
    such device."""
    if prefer is not None:
        try:
            return torch.device(prefer)
        except RuntimeError:
            raise ValueError(f"expected a device such as cpu or cuda:0, got {prefer!r}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bfloat16() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32: a GPU, or a CPU with AMX
    tiles.

    Elsewhere (plain AVX2, for one) bfloat16 on the CPU is emulated and more than ten times slower.
    """
    return torch.cuda.is_available() or bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def autocast(kind: str, wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """A block in which torch multiplies in bfloat16 on devices of a kind ("cpu", "cuda") if it is
    `wanted`; one that changes nothing otherwise."""
    if wanted:
        return torch.autocast(kind, torch.bfloat16)
    return contextlib.nullcontext()


def cores() -> int:
    """How many processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def use_threads(count: int | None = None) -> int:
    """Let torch use `count` threads (default: MEMLAB_THREADS or one) and return that number.

    One is the default because results of a training run depend on the number of threads in the last
    digits.
    """
    wanted = str(count) if count is not None else os.environ.get("MEMLAB_THREADS", "1")
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"expected a number of threads of at least 1, got {wanted!r}")
    torch.set_num_threads(int(wanted))
    return int(wanted)


def processes() -> int:
    """How many processes torchrun started (WORLD_SIZE); 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group() -> Iterator[int]:
    """Join the processes that torchrun started for the length of the block; the number of this one,
    0 if alone."""
    if processes() == 1:
        yield 0
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank()
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def one_process_first() -> Iterator[None]:
    """Process 0 runs the block, then the others do: what it made and put into a file, they find."""
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    first = not joined or torch.distributed.get_rank() == 0
    if not first:
        torch.distributed.barrier()
    try:
        yield
    finally:  # the others wait, whatever happened here
        if joined and first:
            torch.distributed.barrier()


def cache_dir(*parts: str) -> Path:
    """A folder for things that can be made again (MEMLAB_CACHE or ~/.cache/memlab); it exists on
    return."""
    root = Path(os.environ.get("MEMLAB_CACHE", Path.home() / ".cache" / "memlab"))
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_sha256(path: str | Path) -> str:
    """Hex digest of a file, to name exactly which weights or which text a result used."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    try:
        out = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder,
            text=True,
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    said = out.stdout.strip()
    return said if out.returncode == 0 and said else "unknown"


def provenance(**extra: str | int | float) -> dict[str, str | int | float]:
    """Who made a result: command, commit, date, versions, device, threads, instruction set, plus
    `extra`."""
    import transformers

    on_gpu = torch.cuda.is_available()
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if command[0] == "__main__.py":
        command = ["python", "-m", "memlab", *command[1:]]
    return {
        "command": " ".join(command),
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **extra,
    }


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far, in bytes (0 where the system does not
    tell)."""
    try:  # Linux hands the other number on from the process that started this one
        with open("/proc/self/status") as file:
            peak_line = next(line for line in file if line.startswith("VmHWM"))
        return int(peak_line.split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Stopwatch:
    """`with Stopwatch() as watch: ...` then `watch.seconds`: wall seconds of the block."""

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start

    def lap(self) -> float:
        """Seconds since the last lap, or since the start."""
        now = time.perf_counter()
        before = getattr(self, "_lap", self._start)
        self._lap = now
        return now - before
