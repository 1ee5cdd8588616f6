"""Remove a folder that has served: what the compiler made goes, what is foreign moves to the new bundle."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from compiler.exchange import rename_to_free
from compiler.manifest import MANIFEST, folders_of, read_manifest
from compiler.stage import make_folders
from compiler.survey import open_folder, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

# How often a folder is gone through again because somebody still puts files into it.
_ROUNDS = 5


def discard(root: int, name: str) -> None:
    """Remove a staged folder that was never published: all of it is new, or a second name or a copy."""
    with _opened(root, name) as top:
        folders, todo = [], [""]
        while todo:
            folder = todo.pop()
            folders.append(folder)
            with _writable(top, folder) as here:
                for entry in _entries(here):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(_join(folder, entry.name))
                    else:
                        os.unlink(entry.name, dir_fd=here)
        _remove_folders(top, folders)
    os.rmdir(name, dir_fd=root)


def retire(root: int, name: str, new: int, replaced: AbstractSet[str]) -> None:
    """Remove the old bundle `name`, losing nothing that its manifest does not list.

    A foreign file that the new bundle (open as `new`) has already, as another name of the same file or as an
    equal copy, is unlinked; any other, having appeared since, is moved there. Where the new bundle has
    something else at its path, it gets a free name: `notes.kept`.

    The manifest goes last, so that a run killed in the middle leaves the next one as wise as this one.

    Raises:
        OSError: Something could not be removed or moved; it is still there.
    """
    with _opened(root, name) as top:
        owned = (read_manifest(top) or {}).keys() | replaced
        for attempt in range(_ROUNDS):
            try:
                _Retirement(top, new, owned).run()
                os.rmdir(name, dir_fd=root)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or attempt == _ROUNDS - 1:
                    raise
            else:
                return


class _Retirement:
    def __init__(self, old: int, new: int, owned: AbstractSet[str]) -> None:
        self.old, self.new, self.owned = old, new, owned
        self.ours = folders_of(owned)
        self.todo = [""]

    def run(self) -> None:
        folders = []
        while self.todo:
            folder = self.todo.pop()
            folders.append(folder)
            with _writable(self.old, folder) as here:
                for entry in _entries(here):
                    self.end(here, entry, _join(folder, entry.name))
        _remove_folders(self.old, folders)
        if MANIFEST in self.owned:
            _unlink_if_there(MANIFEST, self.old)

    def end(self, here: int, entry: os.DirEntry[str], path: str) -> None:
        is_folder = entry.is_dir(follow_symlinks=False)
        if path in self.owned and not is_folder:
            if path != MANIFEST:
                os.unlink(entry.name, dir_fd=here)
        elif is_folder and path in self.ours:
            self.todo.append(path)
        else:
            self.move(here, entry.name, path)

    def move(self, here: int, name: str, path: str) -> None:
        """Bring something foreign to the new bundle, if it is not there already."""
        there = make_folders(self.new, path.rpartition("/")[0], set())
        try:
            if not _try_rename(here, name, there, name):
                self.settle(here, there, name, path)
        finally:
            os.close(there)

    def settle(self, here: int, there: int, name: str, path: str) -> None:
        old, new = os.lstat(name, dir_fd=here), os.lstat(name, dir_fd=there)
        if stat.S_ISDIR(old.st_mode) and stat.S_ISDIR(new.st_mode):
            self.todo.append(path)
        elif os.path.samestat(old, new) or _is_equal(here, there, name, old, new):
            os.unlink(name, dir_fd=here)
        else:
            free = (f"{name}.kept{number or ''}" for number in count())
            next(kept for kept in free if _try_rename(here, name, there, kept))


def _is_equal(here: int, there: int, name: str, old: os.stat_result, new: os.stat_result) -> bool:
    """Whether two files or two links of one name are copies of each other."""
    if stat.S_ISLNK(old.st_mode) and stat.S_ISLNK(new.st_mode):
        return os.readlink(name, dir_fd=here) == os.readlink(name, dir_fd=there)
    if not stat.S_ISREG(old.st_mode) or (old.st_mode, old.st_size) != (new.st_mode, new.st_size):
        return False
    return _content(here, name) == _content(there, name)


def _content(folder: int, name: str) -> bytes:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        return read_all(handle, os.fstat(handle).st_size)
    finally:
        os.close(handle)


def _try_rename(old_folder: int, old: str, new_folder: int, new: str) -> bool:
    try:
        rename_to_free(old_folder, old, new_folder, new)
    except FileExistsError:
        return False
    return True


def _remove_folders(top: int, folders: list[str]) -> None:
    """Remove empty folders, each after those within it; the topmost is its own parent's business."""
    for folder in reversed(folders):
        if folder:
            above, _, name = folder.rpartition("/")
            with _writable(top, above) as here:
                os.rmdir(name, dir_fd=here)


def _unlink_if_there(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _entries(folder: int) -> list[os.DirEntry[str]]:
    """The whole listing before the first change: a changing folder may list an entry twice or not at all."""
    with os.scandir(folder) as entries:
        return list(entries)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@contextmanager
def _opened(root: int, name: str) -> Iterator[int]:
    folder = open_folder(root, name)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _writable(top: int, path: str) -> Iterator[int]:
    """A folder that is to be emptied, made writable for that when its mode forbids it."""
    with _opened(top, path) as folder:
        mode = os.fstat(folder).st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(folder, stat.S_IMODE(mode) | stat.S_IRWXU)
        yield folder
