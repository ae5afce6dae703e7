"""The lock of the one writer where it is another system's, or none."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memlab import locks


def opened(path: Path, **how: bool) -> locks.OneWriter:
    return locks.OneWriter(path, os.open(path, os.O_RDWR | os.O_CREAT, 0o666), **how)


def test_one_writer_at_a_time_and_readers_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = opened(path)
    with pytest.raises(
        ValueError, match=r"^expected no other writer of .*file, got one that has not closed it$"
    ):
        opened(path)
    path.read_bytes()
    first.close()
    first.close()
    opened(path).close()
    assert [each.name for each in tmp_path.iterdir()] == ["file"], "nothing lies beside it"


def test_what_is_refused_is_closed_again(tmp_path: Path) -> None:
    handles = len(os.listdir("/dev/fd"))
    with_lock = opened(tmp_path / "file")
    for _ in range(5):
        with pytest.raises(ValueError):
            opened(tmp_path / "file")
    with_lock.close()
    assert len(os.listdir("/dev/fd")) == handles


def test_a_file_system_without_locks_is_refused_or_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    said = "^expected a file system that can lock .*file, got No locks available"
    with pytest.raises(ValueError, match=said):
        opened(tmp_path / "file")
    with pytest.warns(UserWarning, match=said):
        writer = opened(tmp_path / "file", insist=False)
    with writer.turn():
        os.write(writer.handle, b"a")
    writer.close()


def test_a_fork_does_not_hold_what_its_dead_parent_had(tmp_path: Path) -> None:
    """The owner forks and is killed; its child lives on."""
    path = tmp_path / "file"
    until, over = os.pipe()
    told, tell = os.pipe()
    owner = os.fork()
    if owner == 0:
        os.close(over)
        writer = opened(path)
        if os.fork():
            os.write(tell, str(writer.handle).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        os.read(until, 1)  # the child waits for the end of the test
        os._exit(0)
    os.waitpid(owner, 0)
    assert int(os.read(told, 9)) > 2
    opened(path).close()
    for handle in (until, over, told, tell):
        os.close(handle)


def test_the_file_never_stands_where_a_standard_stream_was(tmp_path: Path) -> None:
    """In a process that was started without any; what others print must not go into the file."""
    path = tmp_path / "file"
    path.touch()
    program = (
        "import os\n"
        "from memlab import locks\n"
        f"path = locks.Path({str(path)!r})\n"
        "writer = locks.OneWriter(path, os.open(path, os.O_RDWR))\n"
        "with writer.turn():\n"
        "    os.write(writer.handle, b'%d' % writer.handle)\n"
        "for handle in (0, 1, 2):\n"
        "    try:\n"
        "        os.write(handle, b'printed')\n"
        "    except OSError:\n"
        "        pass\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program, "utf-8")
    command = f"{sys.executable} {script} <&- >&- 2>&-"
    source = Path(locks.__file__).parents[1]
    subprocess.run(["sh", "-c", command], env={**os.environ, "PYTHONPATH": str(source)}, check=True)
    assert int(path.read_bytes()) > 2


def test_windows_locks_a_byte_far_behind_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for its module: which byte is locked, and that no file needs to be so
    long."""
    owner: dict[int, int] = {}  # handle of each byte that is locked

    def locking(handle: int, mode: str, count: int) -> None:
        where = os.lseek(handle, 0, os.SEEK_CUR)
        if owner.get(where, handle) != handle or count != 1:
            raise PermissionError(errno.EACCES, "Permission denied")
        if mode == "lock":
            owner[where] = handle
        else:
            del owner[where]

    windows: Any = ModuleType("msvcrt")
    windows.LK_NBLCK, windows.LK_UNLCK, windows.locking = "lock", "unlock", locking
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    spec = importlib.util.spec_from_file_location("locks_of_windows", locks.__file__)
    assert spec and spec.loader
    there = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        spec.loader.exec_module(there)
        path = tmp_path / "file"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        writer = there.OneWriter(path, handle)
        with pytest.raises(ValueError, match="expected no other writer of"):
            there.OneWriter(path, os.open(path, os.O_RDWR))
        with writer.turn():
            os.write(handle, b"line\n")
        assert owner == {2**31 - 2: handle}
        writer.close()
    assert owner == {} and path.read_bytes() == b"line\n"
