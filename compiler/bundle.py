"""A Bundle is what `render` makes and `write` puts on disk: files made one by one, never all in memory."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


class File(NamedTuple):
    """One file of a bundle.

    Attributes:
        path: Where it lies, relative to the bundle's folder, with `/` between the parts.
        content: Its bytes.
        executable: True gives mode 0755, False 0644, whatever the umask.
        sha256: Of its bytes, in hex.
    """

    path: str
    content: bytes
    executable: bool
    sha256: str

    @property
    def mode(self) -> int:
        """The permission bits that the file gets on disk."""
        return mode_of(executable=self.executable)


class Entry(NamedTuple):
    """What the manifest says of a file: its sha256 in hex, and whether it is executable."""

    sha256: str
    executable: bool

    @property
    def mode(self) -> int:
        """The permission bits that the file gets on disk."""
        return mode_of(executable=self.executable)


def mode_of(*, executable: bool) -> int:
    """The permission bits of a file of a bundle."""
    return 0o755 if executable else 0o644


def file_of(path: str, content: bytes, *, executable: bool = False) -> File:
    """A file, its digest made."""
    return File(path, content, executable, sha256(content).hexdigest())


class Folder(NamedTuple):
    """A folder right below the bundle's own, whose files are made together.

    Attributes:
        name: Its name.
        names: Of its files, in their order.
        key: Of all that its files follow from: equal keys, equal bytes, while the program is the same.
    """

    name: str
    names: Sequence[str]
    key: bytes


class Parts(NamedTuple):
    """A bundle's files in parts that can be made one without the others, in any process.

    Attributes:
        names: Of the files that lie in no folder; the last is the manifest's.
        above: Makes those files, but for the manifest.
        folders: All folders, in their order.
        files: Makes the files of the folder of this index.
        listed: What the manifest says of the folder of this index, from what its files hash to: `digests_of` them.
        last: Makes the manifest, of what it says of each folder, in their order.
    """

    names: Sequence[str]
    above: Callable[[], Sequence[File]]
    folders: Sequence[Folder]
    files: Callable[[int], Sequence[File]]
    listed: Callable[[int, bytes], bytes]
    last: Callable[[Sequence[bytes]], File]

    @property
    def size(self) -> int:
        """How many files there are."""
        return len(self.names) + sum([len(folder.names) for folder in self.folders])


def digests_of(files: Iterable[File]) -> bytes:
    """The sha256 of each file, 32 bytes each."""
    return bytes.fromhex("".join([file.sha256 for file in files]))


class Bundle:
    """Everything one cluster needs, whole.

    Attributes:
        name: The cluster's name, a DNS label: the bundle's folder is called like this.
    """

    def __init__(
        self,
        name: str,
        paths: Callable[[], Iterator[str]],
        files: Callable[[], Iterator[File]],
        parts: Callable[[], Parts] | None = None,
    ) -> None:
        self.name = name
        self._paths = paths
        self._files = files
        self._parts = parts

    @cached_property
    def parts(self) -> Parts | None:
        """Its files in parts; None for a bundle that does not come so."""
        return self._parts() if self._parts else None

    @property
    def paths(self) -> Iterator[str]:
        """Of every file; `manifest.json` is one of them and lists the others."""
        return self._paths()

    @property
    def files(self) -> Iterator[File]:
        """Each file once, made anew on every way through; files of one folder follow each other."""
        return self._files()

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """What every file is to be, by its path; costs a way through all of them."""
        return {file.path: Entry(file.sha256, file.executable) for file in self.files}
