"""The system calls that Python lacks: exchange two names, rename to a free name, flush one filesystem."""

from __future__ import annotations

import errno
import os
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

# renameat2 of rename(2) on Linux, renameatx_np of rename(2) on macOS: same arguments, other flags.
_NAME = "renameatx_np" if sys.platform == "darwin" else "renameat2"
_EXCHANGE = 2
_NO_REPLACE = 4 if sys.platform == "darwin" else 1
# The call's number in the kernel, for a C library older than its wrapper (glibc 2.28).
_NUMBERS = {"x86_64": 316, "aarch64": 276, "riscv64": 276}
UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def exchange(folder: int, one: str, other: str) -> None:
    """Exchange two names in `folder` at one instant: no moment at which either is missing.

    Raises:
        OSError: With an errno in `UNSUPPORTED` where the filesystem cannot.
    """
    _rename(folder, one, folder, other, _EXCHANGE)


def rename_to_free(old_folder: int, old: str, new_folder: int, new: str) -> None:
    """Rename, but never over anything.

    Raises:
        FileExistsError: `new` is taken.
        OSError: What else the system says.
    """
    try:
        _rename(old_folder, old, new_folder, new, _NO_REPLACE)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        # A few filesystems (NFS) cannot promise it; then looking first is the best there is.
        if is_taken(new_folder, new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)


def is_taken(folder: int, name: str) -> bool:
    """Whether anything at all, be it a dangling link, has this name."""
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def flush(folder: int) -> None:
    """Bring everything of the filesystem that holds `folder` to the disk: one call for all files."""
    call = getattr(_libc(), "syncfs", None)
    if call is None or call(folder) != 0:
        code = _errno() if call is not None else errno.ENOSYS
        if code != errno.ENOSYS:
            raise OSError(code, os.strerror(code))
        os.sync()


def _rename(old_folder: int, old: str, new_folder: int, new: str, flag: int) -> None:
    arguments = (old_folder, os.fsencode(old), new_folder, os.fsencode(new), flag)
    call = getattr(_libc(), _NAME, None)
    number = _NUMBERS.get(os.uname().machine) if sys.platform == "linux" else None
    if call is not None:
        result = call(*arguments)
    elif number is not None:
        result = _libc().syscall(number, *arguments)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if result != 0:
        code = _errno()
        raise OSError(code, os.strerror(code), old, None, new)


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # noqa: PLC0415  # only a run that writes pays for it

    return ctypes.CDLL(None, use_errno=True)


def _errno() -> int:
    import ctypes  # noqa: PLC0415

    return ctypes.get_errno()
