"""One writer at a time in an output folder, by a lock that dies with its process and leaves no file."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compiler.refusal import WriteRefused, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a filesystem answers that locks no folders. NFS, for one, makes of flock a lock that needs the file
# open for writing (flock(2), "NFS details"), which no folder can be.
_NO_FOLDER_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_LOCK_FILE = ".compiler.lock"
_PAUSE = 0.02


@contextmanager
def locked(root: int, where: str, *, timeout: float) -> Iterator[None]:
    """Hold the folder `root` (open; called `where`) against every other writer.

    Args:
        root: A descriptor of the folder.
        where: The folder's path, for the message.
        timeout: How many seconds to wait for another writer.

    Raises:
        WriteRefused: Another process still held it at the end; names it.
        OSError: The filesystem has no locks at all.
    """
    deadline = time.monotonic() + timeout
    held = _hold(root, where, deadline)
    try:
        yield
    finally:
        if held == root:
            fcntl.flock(root, fcntl.LOCK_UN)
        else:
            _remove(held, root)


@contextmanager
def reading(root: int, where: str, *, timeout: float) -> Iterator[None]:
    """Keep writers out of `root` while it is read, where the filesystem can without a file."""
    try:
        _wait(root, fcntl.LOCK_SH, where, time.monotonic() + timeout)
    except OSError as error:
        if error.errno not in _NO_FOLDER_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(root, fcntl.LOCK_UN)


def _hold(root: int, where: str, deadline: float) -> int:
    try:
        _wait(root, fcntl.LOCK_EX, where, deadline)
    except OSError as error:
        if error.errno not in _NO_FOLDER_LOCKS:
            raise
    else:
        return root
    while True:
        held = os.open(_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666, dir_fd=root)
        try:
            _wait(held, fcntl.LOCK_EX, where, deadline)
            current = _is_named(held, root)
        except BaseException:
            os.close(held)
            raise
        if current:
            return held
        os.close(held)


def _remove(held: int, root: int) -> None:
    """Remove the lock file while it is held: who waits for it sees that it is no longer the one named so."""
    try:
        os.unlink(_LOCK_FILE, dir_fd=root)
    finally:
        os.close(held)


def _is_named(held: int, root: int) -> bool:
    """Whether the lock file that we hold is still the one that others will find."""
    try:
        return os.path.samestat(os.fstat(held), os.lstat(_LOCK_FILE, dir_fd=root))
    except FileNotFoundError:
        return False


def _wait(held: int, kind: int, where: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(held, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise WriteRefused(
                    f"{shown(where)} is being written by {_holder(held)}",
                    "wait until it ends, or raise --lock-timeout",
                ) from None
            time.sleep(_PAUSE)
        else:
            return


def _holder(held: int) -> str:
    """The process that holds the lock, as Linux tells it (proc(5), /proc/locks)."""
    inode = str(os.fstat(held).st_ino)
    try:
        with open("/proc/locks", encoding="ascii") as locks:  # no pathlib for one line
            rows = [line.split() for line in locks]
    except OSError:
        rows = []
    for row in rows:
        # 1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF; one that only waits has an arrow second.
        if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode and int(row[4]) > 0:
            return f"process {row[4]}"
    return "another process"
