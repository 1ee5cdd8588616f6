"""What a run left at a bundle's place: what tells later whether it lies there still, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 128  # folders for each of two processes, at least: to begin the second takes as long as to write so many


def is_for_two(folders: int, processes: int) -> bool:
    """Whether a second process is worth while for so many folders, where there may be so many processes."""
    return processes > 1 and folders >= 2 * MANY


class LeftFolder(NamedTuple):
    """A folder that was left.

    Attributes:
        name: Its name; empty for the bundle's own.
        names: Of its files.
        key: 32 bytes of all that they follow from; see `compiler.bundle.Folder`.
        digests: Their sha256s, 32 bytes each.
        stamps: The folder's, then one of each file; see `compiler.stamp`.
    """

    name: str
    names: Sequence[str]
    key: bytes
    digests: bytes
    stamps: Sequence[int]

    def digest(self, name: str) -> bytes | None:
        """The sha256 of a file of it; None when there was none of this name."""
        if name not in self.names:
            return None
        at = 32 * self.names.index(name)
        return self.digests[at : at + 32]


class Left(NamedTuple):
    """All folders of a bundle.

    Attributes:
        folders: The topmost first.
        alone: Nothing foreign lay among them.
        until: When the run had ended, in ns by the filesystem's clock: nothing of this has changed its inode since.
    """

    folders: Sequence[LeftFolder]
    alone: bool
    until: int
