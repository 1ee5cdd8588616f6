"""What tells a file from the same file changed, without reading it."""

from __future__ import annotations

TYPE_CHECKING = False  # see compiler.cli_options
if TYPE_CHECKING:
    import os


def stamp_of(status: os.stat_result) -> int:
    """A hash of a file's inode, mode, size, and time of the last change of its bytes.

    Whoever restores that time changes the inode's own, which nobody can set: see `is_as_left`.
    """
    return hash((status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns))


def is_as_left(status: os.stat_result, stamp: int, until: int) -> bool:
    """Whether a file has this stamp still, and its inode has not changed since `until`; see `compiler.left`."""
    return stamp_of(status) == stamp and status.st_ctime_ns <= until
