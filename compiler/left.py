"""What a run left at a bundle's place: what tells later whether it lies there still, and what it is."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LeftFolder(NamedTuple):
    """A folder that was left.

    Attributes:
        name: Its name; empty for the bundle's own.
        names: Of its files.
        key: Of all that they follow from; see `compiler.bundle.Folder`.
        digests: Their sha256s, 32 bytes each.
        stamps: The folder's, then one of each file.
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


class Left:
    """All folders of a bundle, the topmost first.

    Attributes:
        names: Of the folders.
        kinds: For each folder, which of `files` it has.
        files: The names of the files of a folder, for each kind of them.
        keys: 32 bytes for each folder.
        digests: 32 bytes for each file.
        stamps: One for each folder and each file, a folder's own before those of its files.
        alone: Nothing foreign lay among them.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self.names: list[str] = []
        self.kinds: list[int] = []
        self.files: list[tuple[str, ...]] = []
        self.keys = bytearray()
        self.digests = bytearray()
        self.stamps = array("q")
        self.alone = alone
        self._known: dict[tuple[str, ...], int] = {}

    def add(self, folder: LeftFolder) -> None:
        """One more folder."""
        names = tuple(folder.names)
        if names not in self._known:
            self._known[names] = len(self.files)
            self.files.append(names)
        self.names.append(folder.name)
        self.kinds.append(self._known[names])
        self.keys += folder.key
        self.digests += folder.digests
        self.stamps.extend(folder.stamps)

    @property
    def count(self) -> int:
        """How many files there are."""
        return len(self.digests) // 32

    def folders(self) -> Iterator[LeftFolder]:
        """The folders, in their order."""
        file = stamp = 0
        for index, (name, kind) in enumerate(zip(self.names, self.kinds, strict=True)):
            names = self.files[kind]
            end = file + len(names)
            stamps = self.stamps[stamp : stamp + 1 + len(names)]
            key, digests = self.keys[32 * index : 32 * index + 32], self.digests[32 * file : 32 * end]
            yield LeftFolder(name, names, bytes(key), bytes(digests), stamps)
            file, stamp = end, stamp + 1 + len(names)
