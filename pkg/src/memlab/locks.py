"""One writer at a time: an advisory lock on a file or folder that is open for writing.

The lock lies on the file or folder itself, so that nothing lies beside it or stays behind; the
system gives it back when the process ends, however it ends. Readers need none. Whoever writes past
this module, an editor or a copying program, is not held up by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)  # what systems say of a lock that is taken
# Windows locks bytes, and nobody else can read those: one that no file of ours ever has.
_FAR = 2**31 - 2


def _take(handle: int) -> bool:
    """Lock what is open, without waiting; False if somebody else did, OSError where nobody can."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _HELD:
            return False
        raise
    return True


def _give_back(handle: int) -> None:
    if sys.platform == "win32":
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _not_a_standard_one(handle: int) -> int:
    """The handle, or another one of the same where it is 0, 1 or 2: a process that was started with
    its standard output closed would print into the file."""
    taken = []
    while 0 <= handle <= 2:
        taken.append(handle)
        handle = os.dup(handle)
    for one in taken:
        os.close(one)
    return handle


# Those of this process: a fork of it lets go of its copies at once, or the lock would outlive the
# process that took it.
_OPEN: weakref.WeakSet[OneWriter] = weakref.WeakSet()


def _let_go() -> None:
    for writer in list(_OPEN):
        if writer.handle >= 0:
            os.close(writer.handle)
            writer.handle = -1


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(after_in_child=_let_go)


class OneWriter:
    """The only writer of a file or folder, from its making to its `close`, for the threads of one
    process."""

    handle = -1  # of what is open; negative once it is closed

    def __init__(
        self,
        path: Path,
        handle: int,
        *,
        shared: bool = False,
        insist: bool = True,
    ) -> None:
        """Take over the open `handle` of what lies at the absolute `path`.

        What is `shared` (a pipe) is not locked, and its path is not watched. ValueError if somebody
        else writes; and, unless `insist` is off, which warns, on file systems that cannot lock.
        """
        self.path = path
        self.handle = _not_a_standard_one(handle)
        self._process = os.getpid()
        self._shared = shared
        self._turn = threading.RLock()
        if shared:
            return
        _OPEN.add(self)
        try:
            self._lock(insist)
            self.check()  # what was opened may have been replaced before it was locked
        except BaseException:
            self.close()
            raise

    def _lock(self, insist: bool) -> None:
        try:
            mine = _take(self.handle)
        except OSError as problem:
            said = f"expected a file system that can lock {self.path}, got {problem.strerror}"
            if insist:
                raise ValueError(said) from None
            warnings.warn(f"{said}: see to it that nobody else writes to it", stacklevel=4)
            return
        if not mine:
            raise ValueError(
                f"expected no other writer of {self.path}, got one that has not closed it"
            )

    def check(self) -> None:
        """ValueError if the writer was closed, or if what it opened is no longer at its path."""
        if self.handle < 0:
            raise ValueError(f"expected an open writer of {self.path}, got one that was closed")
        if self._shared:
            return
        try:
            same = os.path.samestat(os.stat(self.path), os.fstat(self.handle))
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"expected {self.path} as it was when it was opened, got nothing at that path"
            ) from None
        if not same:
            raise ValueError(
                f"expected {self.path} as it was when it was opened, got another at that path"
            )

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """A block in which this thread alone writes. ValueError as `check`, and in a fork of the
        process that opened the writer."""
        if os.getpid() != self._process:  # before the threads' lock, which nobody frees in a fork
            raise ValueError(
                f"expected the process that opened {self.path} for writing, got a fork of it"
            )
        with self._turn:
            self.check()
            yield

    def close(self) -> None:
        """Let others write; a second time it does nothing."""
        if self.handle < 0:
            return
        with self._turn:
            handle, self.handle = self.handle, -1
            if handle < 0:
                return
            try:
                if not self._shared:
                    with contextlib.suppress(OSError):  # where nothing was locked
                        _give_back(handle)  # by hand: a fork's copy of the handle would keep it
            finally:
                os.close(handle)

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise ValueError(
            f"expected one writer of {self.path}, got a copy of it: open it where it is needed"
        )
