"""A Bundle is what `render` makes and `write` puts on disk: files made one by one, never all in memory."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


class Halves(NamedTuple):
    """A bundle's files in two halves, which two processes can make at the same time; a file is in one of them.

    Attributes:
        first: Makes the first half.
        second: Makes the second half, perhaps in a copy of this process.
        noted: What the rest needs of the second half; asked where that was made.
        rest: The last files, from what was noted.
    """

    first: Callable[[], Iterator[File]]
    second: Callable[[], Iterator[File]]
    noted: Callable[[], Any]
    rest: Callable[[Any], Iterator[File]]


class Bundle:
    """Everything one cluster needs, whole.

    Attributes:
        name: The cluster's name, a DNS label: the bundle's folder is called like this.
        halves: The files in two halves, when there are many.
    """

    def __init__(
        self,
        name: str,
        paths: Callable[[], Iterator[str]],
        files: Callable[[], Iterator[File]],
        halves: Halves | None = None,
    ) -> None:
        self.name = name
        self.halves = halves
        self._paths = paths
        self._files = files

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
