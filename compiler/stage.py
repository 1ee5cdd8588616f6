"""The staged folder: all of the new bundle, and what is foreign in the old one, beside its place."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

from compiler.bundle import digests_of, mode_of
from compiler.left import Left, LeftFolder, is_for_two
from compiler.refusal import refusal
from compiler.stamp import stamp_of
from compiler.survey import FOLDER, Foreign, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from compiler.bundle import File, Parts

    _Made = dict[int, list[tuple[LeftFolder, bytes]]]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
# What link(2) answers for a file that cannot have a second name here.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV}
)
_CHUNK = 1 << 20


def write_parts(stage: int, where: str, parts: Parts, processes: int) -> Left:
    """Write all files as `Writer.write` does; of many folders, a second process writes some.

    Returns:
        What lies there then; it is not yet known until when.

    Raises:
        WriteRefused: The system would not; names the file and the cause.
        RuntimeError: The second process was ended by somebody.
    """
    making, count = _Making(stage, where, parts), len(parts.folders)
    if is_for_two(count, processes):
        from compiler.beside import Turns, beside  # noqa: PLC0415 - a small bundle is written before another process is there

        def second(wanted: Callable[[], None]) -> Generator[_Made, str, None]:
            yield making.made(turns, wanted)

        with Turns(count) as turns, beside(second) as other:
            above = parts.above()
            made = making.made(turns)
            made |= other.heard()
    else:
        above = parts.above()
        made = making.made([range(count)])
    each = [folder for first in sorted(made) for folder in made[first]]
    folders, listed = [left for left, _ in each], [listed for _, listed in each]
    return Left([Writer(stage, where).top(parts, above, listed), *folders], alone=True, until=0)


class _Making:
    """Makes the folders of a bundle, some at each turn."""

    def __init__(self, stage: int, where: str, parts: Parts) -> None:
        self._parts = parts
        self._writer = Writer(stage, where)

    def made(self, turns: Iterable[range], wanted: Callable[[], None] = lambda: None) -> _Made:
        """Of each folder of these turns what was left, and what the manifest says; by the first of its turn."""
        return {turn.start: [self._folder(index, wanted) for index in turn] for turn in turns}

    def _folder(self, index: int, wanted: Callable[[], None]) -> tuple[LeftFolder, bytes]:
        wanted()
        left = self._writer.folder(self._parts, index)
        return left, self._parts.listed(index, left.digests)


class Writer:
    """Writes files into a staged folder, with their exact modes whatever the umask."""

    def __init__(self, stage: int, where: str) -> None:
        """A writer into the open folder `stage`, which will be at the path `where` when it is published."""
        self._stage, self._where = stage, where
        self._made: set[str] = set()

    def folder(self, parts: Parts, index: int) -> LeftFolder:
        """Make and write the folder of this index; what is left then. Raises as `write` does."""
        (name, names, key), files = parts.folders[index], parts.files(index)
        digests, stamps = digests_of(files), self.write(files)
        return LeftFolder(
            name, names, key, digests, array("q", [stamp_of(os.lstat(name, dir_fd=self._stage)), *stamps])
        )

    def top(self, parts: Parts, above: Sequence[File], listed: Sequence[bytes]) -> LeftFolder:
        """Write the files that lie in no folder, the manifest last; what is left then. Raises as `write` does."""
        files = [*above, parts.last(listed)]
        stamps = self.write(files)
        return LeftFolder("", [file.path for file in files], bytes(32), digests_of(files), array("q", [0, *stamps]))

    def write(self, files: Iterable[File]) -> list[int]:
        """Write these, of which those of one folder are neighbours; the stamp of each: nobody else has seen it yet.

        Raises:
            WriteRefused: The system would not; names the file and the cause.
        """
        stamps = []
        here, folder, path = -1, None, ""
        try:
            for path, content, executable, _ in files:
                above, _, name = path.rpartition("/")
                if above != folder:
                    if here >= 0:
                        os.close(here)
                    here = -1
                    here, folder = make_folders(self._stage, above, self._made), above
                stamps.append(_write_file(here, name, content, mode_of(executable=executable)))
        except OSError as error:
            raise refusal("write", f"{self._where}/{path}", error) from error
        finally:
            if here >= 0:
                os.close(here)
        return stamps


def make_folders(top: int, path: str, made: set[str]) -> int:
    """Open the folder `path` below `top`, making what is missing of it; `made` remembers what is not."""
    if path in made or not path:
        return open_folder(top, path)
    above, _, name = path.rpartition("/")
    parent = make_folders(top, above, made) if above else top
    try:
        fresh = _make_folder(parent, name)
        made.add(path)
        here = os.open(name, FOLDER, dir_fd=parent)  # refuses whatever is no folder
    finally:
        if parent != top:
            os.close(parent)
    if fresh:
        _set_mode(here, 0o755)
    return here


def carry(old: int, stage: int, where: str, foreign: Iterable[Foreign]) -> None:
    """Give every foreign file of the open folder `old` a second name in `stage`.

    Raises:
        WriteRefused: One could be neither linked nor copied; names it and the cause.
    """
    made: set[str] = set()
    folders: list[str] = []
    path = ""
    try:
        for path, kind in foreign:
            if kind == "folder":
                _check_removable(old, path)
                os.close(make_folders(stage, path, made))
                folders.append(path)
            else:
                with suppress(FileNotFoundError):  # its owner has just removed it
                    _carry_one(old, stage, Foreign(path, kind), made)
        # Last and from the deepest: a folder may forbid writing, and writing changes its times.
        for path in reversed(folders):
            _like(old, stage, path)
    except OSError as error:
        raise refusal("carry over", f"{where}/{path}", error, "move it away") from error


def _write_file(folder: int, name: str, content: bytes, mode: int) -> int:
    handle = os.open(name, _NEW, mode, dir_fd=folder)
    try:
        write_all(handle, content)
        return stamp_of(_set_mode(handle, mode))
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write every byte, however few the system takes at a time."""
    written = os.write(handle, content)
    while written < len(content):
        written += os.write(handle, content[written:])


def _make_folder(parent: int, name: str) -> bool:
    """Makes a folder; False when something of that name is there."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _set_mode(handle: int, mode: int) -> os.stat_result:
    """Gives what was just made its mode, where the umask or its folder gave it another; its status then."""
    status = os.fstat(handle)
    if stat.S_IMODE(status.st_mode) == mode:
        return status
    os.fchmod(handle, mode)
    return os.fstat(handle)


def _check_removable(old: int, path: str) -> None:
    """Refuse early a folder whose files could be carried over but not taken out of the old bundle."""
    status = os.lstat(path, dir_fd=old)
    if os.geteuid() in {0, status.st_uid}:
        return
    folder = open_folder(old, path)
    try:
        allowed = os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)
    finally:
        os.close(folder)
    if not allowed:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _carry_one(old: int, stage: int, entry: Foreign, made: set[str]) -> None:
    above, _, name = entry.path.rpartition("/")
    source, target = open_folder(old, above), -1
    try:
        target = make_folders(stage, above, made)
        if entry.kind == "link":
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            _link(source, target, name)
    finally:
        os.close(source)
        if target >= 0:
            os.close(target)


def _link(source: int, target: int, name: str) -> None:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(source, target, name)


def _copy(source: int, target: int, name: str) -> None:
    original = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    try:
        if not os.path.isfile(original):  # a descriptor
            raise OSError("it can be neither linked nor copied")
        copy = os.open(name, _NEW, 0o600, dir_fd=target)
        try:
            while piece := os.read(original, _CHUNK):
                write_all(copy, piece)
            _copy_metadata(original, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _like(old: int, stage: int, path: str) -> None:
    original, copy = open_folder(old, path), -1
    try:
        copy = open_folder(stage, path)
        _copy_metadata(original, copy)
    finally:
        os.close(original)
        if copy >= 0:
            os.close(copy)


def _copy_metadata(original: int, copy: int) -> None:
    """Owner (as far as we may), extended attributes (as far as there are), mode and times."""
    status = os.fstat(original)
    own = os.fstat(copy)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid) and os.geteuid() == 0:
        os.fchown(copy, status.st_uid, status.st_gid)
    if hasattr(os, "listxattr"):
        _copy_attributes(original, copy)
    os.fchmod(copy, status.st_mode & 0o7777)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_attributes(original: int, copy: int) -> None:
    try:
        for name in os.listxattr(original):
            os.setxattr(copy, name, os.getxattr(original, name))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA}:
            raise
