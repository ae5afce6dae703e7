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
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch

PROFILES = ("quick", "full", "gpu")
HERE_IN_OUR_REPOSITORY = "pkg/src/memlab/runtime.py"
UNLIMITED = 2**62  # bytes
MOST_THREADS = 1024
# Of a control group, version 2 and version 1: its limit, what it uses, and in memory.stat the
# cache of files, which gives way.
GROUP_2 = ("memory.max", "memory.current", ("active_file", "inactive_file"))
GROUP_1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_active_file", "total_inactive_file"),
)


class PeerFailed(RuntimeError):
    """Another process of the group failed in what all of them do together."""


def setting(name: str) -> str | None:
    """What an environment variable says; None if it is not set, or empty, or blank."""
    said = os.environ.get(name, "")
    return said if said.strip() else None


def path_setting(name: str) -> str | None:
    """What an environment variable says of a path, ~ and ~user expanded; None as for `setting`.

    Raises ValueError for a user without a home folder.
    """
    said = setting(name)
    if said is None or not said.startswith("~"):
        return said
    path = os.path.expanduser(said)
    if path.startswith("~"):
        raise ValueError(f"expected in {name} a path, got {said!r}, whose home folder is not known")
    return path


def profile(name: str | None = None) -> str:
    """Return `name`, or the profile that the environment variable MEMLAB_PROFILE asks for, or
    "quick".

    Raises ValueError for anything but "quick", "full" or "gpu".
    """
    chosen = name if name is not None else setting("MEMLAB_PROFILE") or "quick"
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


@contextlib.contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """A block in which what torch draws on the CPU follows from `seed`, as in the constructor of a
    model that takes no generator. The global state is afterwards as it was before, that of GPUs
    is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU as well
        yield


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
    """Whether this machine multiplies in bfloat16 faster than in float32: a GPU from Ampere on, or
    a CPU with AMX tiles.

    Elsewhere (a T4, plain AVX2) bfloat16 is emulated; on the CPU that is more than ten times
    slower.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


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
    wanted = str(count) if count is not None else setting("MEMLAB_THREADS") or "1"
    if not wanted.isdecimal() or not 1 <= int(wanted) <= MOST_THREADS:
        raise ValueError(f"expected a number of threads from 1 to {MOST_THREADS}, got {wanted!r}")
    torch.set_num_threads(int(wanted))
    return int(wanted)


def processes() -> int:
    """How many processes torchrun started (WORLD_SIZE); 1 without it. ValueError if that is no such
    number."""
    said = setting("WORLD_SIZE") or "1"
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(
            "expected in WORLD_SIZE, which torchrun sets, a number of processes of at least 1, "
            f"got {said!r}"
        )
    return int(said)


def _check_torchrun(count: int) -> None:
    """Raise ValueError unless the environment says what `count` processes need to find each
    other."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if setting(name) is None]
    if missing:
        raise ValueError(
            f"expected {', '.join(missing)} beside WORLD_SIZE={count}, as torchrun sets them, got "
            "nothing: start with torchrun, or unset WORLD_SIZE"
        )
    for name, most in (("RANK", count - 1), ("MASTER_PORT", 2**16 - 1)):
        said = setting(name) or ""
        if not said.isdecimal() or int(said) > most:
            raise ValueError(
                f"expected in {name}, which torchrun sets, a number from 0 to {most}, got {said!r}"
            )


def joined() -> bool:
    """Whether this process is in a group with others now; torchrun alone does not make it join."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()


@contextlib.contextmanager
def process_group(timeout: timedelta | None = None) -> Iterator[int]:
    """Join the processes that torchrun started for the length of the block; the number of this one,
    0 if alone.

    One that fails leaves the group at once, and the others, which wait for its part, get an error.
    For one that is silent they wait for `timeout` (default: torch's half an hour). ValueError if
    the environment does not say what torchrun says.
    """
    count = processes()
    if count == 1:
        yield 0
        return
    _check_torchrun(count)
    torch.distributed.init_process_group("gloo", timeout=timeout)
    try:
        yield torch.distributed.get_rank()
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def one_process_first() -> Iterator[None]:
    """Process 0 runs the block, then the others do: what it made and put into a file, they find.

    If process 0 fails, the others raise `PeerFailed` with what it said, and do not run the block.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        yield
        return
    failure: list[str | None] = [None]
    if torch.distributed.get_rank():
        torch.distributed.broadcast_object_list(failure, src=0)
        if failure[0] is not None:
            raise PeerFailed(f"process 0, which goes first, failed: {failure[0]}")
        yield
        return
    try:
        yield
    except BaseException as problem:
        failure[0] = f"{type(problem).__name__}: {problem}"
        raise
    finally:  # the others wait, whatever happened here
        torch.distributed.broadcast_object_list(failure, src=0)


@lru_cache
def _absolute(path: str) -> Path:
    """A path from where the process was when it first asked for it, wherever it has gone since."""
    return Path(path).absolute()


def cache_dir(*parts: str) -> Path:
    """A folder for things that can be made again (MEMLAB_CACHE or ~/.cache/memlab); it exists on
    return.

    A relative MEMLAB_CACHE starts from the working folder of the first call, and stays there.
    ValueError if there can be no such folder.
    """
    root = path_setting("MEMLAB_CACHE") or os.path.expanduser("~/.cache/memlab")
    if root.startswith("~"):
        raise ValueError(
            "expected in MEMLAB_CACHE a folder for what can be made again, got nothing, and this "
            "user has no home folder"
        )
    folder = _absolute(root).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(
            f"expected in MEMLAB_CACHE a folder that can be written to, got {root} "
            f"({problem.strerror}: {folder})"
        ) from problem
    return folder


def file_sha256(path: str | Path) -> str:
    """Hex digest of a file, to name exactly which weights or which text a result used."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    """What git says of the folder of this file; nothing if it fails, refuses, or is not there."""
    # GIT_DIR and its like would make it speak of another repository
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    try:
        out = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).resolve().parent,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout.strip() if out.returncode == 0 else ""


def _commit() -> str:
    """The commit of this project that the code comes from; "unknown" if it was installed: then the
    repository around it, if there is one, is somebody else's."""
    tracked = _git("ls-files", "--error-unmatch", "--full-name", "--", Path(__file__).name)
    if tracked != HERE_IN_OUR_REPOSITORY:
        return "unknown"
    return _git("describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def provenance(**extra: str | int | float) -> dict[str, str | int | float]:
    """Who made a result: command, commit, date, versions, device, threads, instruction set, plus
    `extra`. Of files outside of the working folder the command keeps the names alone: where
    somebody's folders lie is nobody's business."""
    import transformers

    on_gpu = torch.cuda.is_available()
    words = [Path(sys.argv[0]).name, *map(_without_folder, sys.argv[1:])]
    # A name of a file may be bytes that are no text.
    command = [os.fsencode(word).decode("utf-8", "backslashreplace") for word in words]
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


def _without_folder(word: str) -> str:
    """A word of a command, of an absolute path in it the last part alone."""
    option, equals, path = word.rpartition("=")
    return option + equals + Path(path).name if Path(path).is_absolute() else word


def _sizes(path: Path) -> dict[str, int]:
    """Lines such as `VmSize: 12 kB` or `active_file 4096`, in bytes; nothing of a file that is not
    there."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            name, *rest = line.split() or [""]
            if rest and rest[0].isdecimal():
                found[name.rstrip(":")] = int(rest[0]) * (1024 if rest[-1] == "kB" else 1)
    return found


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far, in bytes (0 where the system does not
    tell)."""
    # Linux hands the other number on from the process that started this one
    if peak := _sizes(Path("/proc/self/status")).get("VmHWM"):
        return peak
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory(root: str | Path = "/") -> int:
    """Bytes that this process can still allocate without swapping: the least of what the machine,
    the control groups around the process (containers, batch systems) and `ulimit` leave it.

    `root` is the folder with proc and sys. 2⁶² where nothing tells.
    """
    root = Path(root)
    left = [_left_on_machine(root), *_left_in_groups(root), *_left_to_process(root)]
    return max(0, min(left))


def _left_on_machine(root: Path) -> int:
    available = _sizes(root / "proc" / "meminfo").get("MemAvailable")
    if available is not None:
        return available
    if not hasattr(os, "sysconf"):
        return UNLIMITED
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all the RAM there is


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each control group that this process is in leaves, from its own up to the outermost."""
    mounted = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, group = line.partition(":")
        controllers, _, path = group.partition(":")
        if not controllers:  # version 2 has one hierarchy for all of them
            yield from _left_along(mounted, path, GROUP_2)
        elif "memory" in controllers.split(","):
            yield from _left_along(mounted / "memory", path, GROUP_1)


def _left_along(
    top: Path,
    path: str,
    files: tuple[str, str, tuple[str, str]],
) -> Iterator[int]:
    """What is left in the group at `path` and in those around it; inside of a container, the path
    may be one of the host, and the group lies at the top."""
    limit_file, used_file, caches = files
    own = top.joinpath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
    for folder in (own, *own.parents):
        limit = _number(folder / limit_file)
        if limit is not None:
            used = _number(folder / used_file) or 0
            stat = _sizes(folder / "memory.stat")
            yield limit - max(0, used - sum(stat.get(name, 0) for name in caches))
        if folder == top:
            return


def _number(path: Path) -> int | None:
    """The number in a file; None for "max", and if there is no such file."""
    try:
        said = path.read_text("utf-8").strip()
    except OSError:
        return None
    return int(said) if said.isdecimal() else None


def _left_to_process(root: Path) -> Iterator[int]:
    """What the limits of this process (`ulimit -v`, `ulimit -d`) leave."""
    try:
        import resource
    except ImportError:
        return
    used = _sizes(root / "proc" / "self" / "status")
    for limit, size in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - used.get(size, 0)


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
