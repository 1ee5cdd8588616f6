"""What lies at a bundle's place against what belongs there: changes, hand-made edits, foreign files."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler.manifest import MANIFEST, folders_of
from compiler.refusal import WriteRefused, refusal, shown
from compiler.stamp import stamp_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.bundle import Entry

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
# Larger than anything the compiler makes: such a file is somebody else's, and is not read.
_LARGEST = 1 << 26
# As git, only whether the owner may execute is told apart: a clone made under another umask is no change.
# But bits that hand a script to everybody, or run it as somebody else, are.
_TELLING_BITS = 0o7102


class Change(NamedTuple):
    """One file that writing the bundle changes.

    Attributes:
        path: Relative to the bundle's folder.
        kind: What happens to it; `mode` when only its permission bits change.
        old: Its bytes on disk when they were asked for; None when there is none, or what lies there is no plain file.
        new: Its bytes in the bundle when they were asked for; None when it is removed.
    """

    path: str
    kind: Literal["added", "changed", "removed", "mode"]
    old: bytes | None = None
    new: bytes | None = None


class Foreign(NamedTuple):
    """Something that the compiler did not make: its path in the bundle's folder, and what it is."""

    path: str
    kind: Literal["folder", "link", "file"]


class Survey:
    """What one walk through the folder found.

    Attributes:
        changes: What writing would change.
        edited: Files that are not as the compiler left them; replaced by force alone.
        blocked: What lies where not even force removes it, and what would help.
        foreign: Everything to be carried over, a folder before what is in it.
        stamps: Of each file that is as it should be, by path: taken before it was read.
        until: When the inode of any of those was last changed, in ns.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.edited: list[str] = []
        self.blocked: list[tuple[str, str]] = []
        self.foreign: list[Foreign] = []
        self.stamps: dict[str, int] = {}
        self.until = 0


def open_folder(top: int, path: str) -> int:
    """Open the folder `path` below `top`, following no link in any part of it.

    Raises:
        OSError: A part is missing, or is no folder.
    """
    here = os.open(".", FOLDER, dir_fd=top)
    for part in path.split("/") if path else ():
        try:
            below = os.open(part, FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def survey(top: int, where: str, wanted: Mapping[str, Entry], owned: Mapping[str, str]) -> Survey:
    """Walk the bundle's folder once.

    Args:
        top: A descriptor of the folder.
        where: Its path, for messages.
        wanted: What the new bundle's files are to be, by path.
        owned: The sha256 of each file that the compiler made, by path, from the old manifest.

    Raises:
        WriteRefused: Something could not be read, or a part of it is another filesystem.
    """
    walk = _Walk(top, where, wanted, owned)
    path = ""
    try:
        while walk.todo:
            path = walk.todo.pop()
            walk.visit(path)
    except OSError as error:
        at = "/".join(part for part in (where, path, str(error.filename or "")) if part)
        raise refusal("read", at, error) from error
    found = walk.found
    added = (Change(path, "added") for path in wanted.keys() - walk.seen)
    found.changes = sorted([*found.changes, *added], key=lambda change: change.path)
    return found


class _Walk:
    def __init__(self, top: int, where: str, wanted: Mapping[str, Entry], owned: Mapping[str, str]) -> None:
        self.top, self.where, self.wanted, self.owned = top, where, wanted, owned
        self.ours = folders_of(wanted) | folders_of(owned)
        self.device = os.fstat(top).st_dev
        self.todo = [""]
        self.turned: list[str] = []
        self.seen: set[str] = set()
        self.found = Survey()

    def visit(self, folder: str) -> None:
        here = open_folder(self.top, folder)
        try:
            if os.fstat(here).st_dev != self.device:
                raise WriteRefused(f"{shown(f'{self.where}/{folder}')} is a mount point", "unmount it first")
            prefix = f"{folder}/" if folder else ""
            with os.scandir(here) as entries:
                for entry in entries:
                    self.judge(here, entry, prefix + entry.name)
        finally:
            os.close(here)

    def judge(self, here: int, entry: os.DirEntry[str], path: str) -> None:
        if entry.is_dir(follow_symlinks=False):
            self.judge_folder(path)
        elif path in self.ours and path not in self.owned:
            self.block_folder(path, is_link=entry.is_symlink())
        elif path in self.wanted or path in self.owned:
            self.seen.add(path)
            plain = entry.is_file(follow_symlinks=False)
            self.judge_file(path, *(_digest(here, entry.name) if plain else (None, None)))
        else:
            self.carry(path, "link" if entry.is_symlink() else "file")

    def judge_folder(self, path: str) -> None:
        if path in self.wanted and path not in self.ours:
            self.block(path, "a folder where a file is needed", "move it away")
            self.seen.add(path)
            return
        if path in self.wanted:  # the old bundle had a folder here: it goes when all that is in it goes
            self.turned.append(f"{path}/")
        if path not in self.ours:
            self.carry(path, "folder")
        self.todo.append(path)

    def carry(self, path: str, kind: Literal["folder", "link", "file"]) -> None:
        if path.startswith(tuple(self.turned)):
            self.block(path, "in a folder where a file is needed", "move it away")
        self.found.foreign.append(Foreign(path, kind))

    def block_folder(self, path: str, *, is_link: bool) -> None:
        real = shown(os.path.realpath(f"{self.where}/{path}"))
        if is_link:
            self.block(path, "a link where a folder is needed", f"remove the link; it leads to {real}")
        else:
            self.block(path, "a file where a folder is needed", "move it away")

    def block(self, path: str, what: str, hint: str) -> None:
        self.found.blocked.append((f"{shown(path)} is {what}", hint))

    def judge_file(self, path: str, digest: str | None, status: os.stat_result | None) -> None:
        file = self.wanted.get(path)
        if file is not None and status is not None and digest == file.sha256:
            if (stat.S_IMODE(status.st_mode) ^ file.mode) & _TELLING_BITS:
                self.found.changes.append(Change(path, "mode"))
            else:
                self.found.stamps[path] = stamp_of(status)
                self.found.until = max(self.found.until, status.st_ctime_ns)
            return
        # The manifest cannot hold its own digest: the compiler made whichever one is valid.
        if path != MANIFEST and (digest is None or digest != self.owned.get(path)):
            self.found.edited.append(path)
        self.found.changes.append(Change(path, "removed" if file is None else "changed"))


def _digest(folder: int, name: str) -> tuple[str | None, os.stat_result | None]:
    """A plain file's sha256 in hex (None: far too long for one of ours), and its status before it was read."""
    content, status = read_plain(folder, name)
    return None if content is None else hashlib.sha256(content).hexdigest(), status


def read_plain(folder: int, name: str) -> tuple[bytes | None, os.stat_result | None]:
    """A plain file's bytes (None: far too many, or it is none), and its status before it was read.

    Raises:
        OSError: It is not there, or could not be read.
    """
    handle = os.open(name, _FILE, dir_fd=folder)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return None, None
        return read_all(handle, status.st_size), status
    finally:
        os.close(handle)


def read_all(handle: int, size: int) -> bytes:
    """Everything in an open file that is expected to hold `size` bytes."""
    content = os.read(handle, size + 1)
    if len(content) == size:
        return content
    pieces = [content]
    while piece := os.read(handle, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)
