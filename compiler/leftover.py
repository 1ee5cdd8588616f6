"""What a run leaves beside the bundle's place, from its first folder to a clean end, and how each ends.

A run stages in `.NAME.new-INODE`, INODE being the staged folder's own. Exchanged with the bundle, the same
name holds the old bundle, whose inode is another: so a run that was killed at any point tells the next one
whether it had published, by nothing that would have to be written down in time.

    .NAME.new         made and not yet named after its inode: empty
    .NAME.new-INODE   the staged folder when it has that inode: everything in it is a copy, it is discarded
                      else the old bundle after the exchange: it is retired
    .NAME.old-INODE   the old bundle, where the filesystem has no exchange: retired; or put back, when the
                      run ended before the new one took its place
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from compiler.exchange import is_taken, rename_to_free
from compiler.manifest import MANIFEST
from compiler.refusal import WriteRefused, refusal, shown
from compiler.retire import discard, retire
from compiler.survey import open_folder

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


class Leftover(NamedTuple):
    """A hidden folder of an earlier run: its name, and whether it is an old bundle or a staged one."""

    name: str
    is_old: bool


class Place(NamedTuple):
    """Where a bundle belongs: an open output folder, its path for messages, the bundle's name in it."""

    root: int
    root_path: str
    name: str

    @property
    def path(self) -> str:
        """The bundle's folder, for messages."""
        return f"{self.root_path}/{self.name}"

    def beside(self, name: str) -> str:
        """Another name in the same output folder, for messages."""
        return shown(f"{self.root_path}/{name}")


def find_leftovers(place: Place) -> list[Leftover]:
    """Every hidden folder of this bundle, old bundles first: they hold what cannot be made again."""
    ours = re.compile(rf"\.{re.escape(place.name)}\.(new|old)(?:-(\d+))?").fullmatch
    found = [match for name in os.listdir(place.root) if (match := ours(name))]
    leftovers = [Leftover(match[0], _is_old(place, match[0], match[1], match[2])) for match in found]
    return sorted(leftovers, key=lambda leftover: (not leftover.is_old, leftover.name))


def recover(place: Place, *, replaced: AbstractSet[str] = frozenset()) -> None:
    """End what an earlier run, or this one, has begun: a bundle is at its place, and nothing beside it.

    Args:
        place: The bundle's place, held by us.
        replaced: Paths in an old bundle that go though the compiler did not make them.

    Raises:
        WriteRefused: It could not be ended; nothing foreign is lost, and the next run tries again.
    """
    try:
        leftovers = find_leftovers(place)
    except OSError as error:
        hidden = f".{place.name}.new-* and .{place.name}.old-*"
        hint = "the bundle at its place is whole; the next run removes what such folders are left"
        raise refusal(f"look for {hidden} in", place.root_path, error, hint) from error
    for leftover in leftovers:
        try:
            _end(place, leftover, replaced)
        except OSError as error:
            hint = "the bundle at its place is whole; the next run removes this folder"
            raise refusal("remove", f"{place.root_path}/{leftover.name}", error, hint) from error


def _is_old(place: Place, name: str, kind: str, inode: str | None) -> bool:
    status = os.lstat(name, dir_fd=place.root)
    if not stat.S_ISDIR(status.st_mode):
        raise WriteRefused(f"{place.beside(name)} is not a folder", "move it away")
    return kind == "old" or (inode is not None and status.st_ino != int(inode))


def _end(place: Place, leftover: Leftover, replaced: AbstractSet[str]) -> None:
    if leftover.name == f".{place.name}.new":
        os.rmdir(leftover.name, dir_fd=place.root)
    elif not leftover.is_old:
        discard(place.root, leftover.name)
    else:
        try:
            rename_to_free(place.root, leftover.name, place.root, place.name)
        except FileExistsError:
            _retire(place, leftover.name, replaced)


def _retire(place: Place, name: str, replaced: AbstractSet[str]) -> None:
    try:
        new = open_folder(place.root, place.name)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise WriteRefused(f"{shown(place.path)} is not a folder", "move it away") from error
        raise
    try:
        if not is_taken(new, MANIFEST) and os.listdir(new):
            raise WriteRefused(f"{shown(place.path)} is not a bundle", f"its last one is {place.beside(name)}")
        retire(place.root, name, new, replaced)
    finally:
        os.close(new)
