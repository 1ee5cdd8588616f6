"""Takes over what an old bundle has already: a second name for each file that stays, and no second copy.

Which files stay is known by what the last run left, and by that alone: whatever lies there otherwise, in any way, is
`Changed`, and the whole folder is looked at instead.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from compiler.stamp import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from compiler.bundle import Parts
    from compiler.left import Left, LeftFolder

MANY = 128  # folders for each of two processes, at least: to begin the second takes as long as to write so many
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Changed(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """Something is not as it was left."""


class Kept(NamedTuple):
    """What of an old bundle stays.

    Attributes:
        old: A descriptor of its folder.
        until: When it was left; see `compiler.left`.
        folders: By their indices in the new bundle, the folders of which every file stays.
        gone: The folders of which some files change, or all go; the topmost one is none of them.
    """

    old: int
    until: int
    folders: Mapping[int, LeftFolder]
    gone: Sequence[LeftFolder]


NOTHING = Kept(-1, 0, {}, ())


def kept_of(old: int, left: Left, parts: Parts) -> Kept:
    """What stays of an old bundle, when the new one comes in these parts.

    Raises:
        Changed: The old one is not as it was left: its own folder, or a folder that does not stay.
    """
    top, *folders = left.folders
    have = {folder.name: folder for folder in folders}
    if not left.alone or set(os.listdir(old)) != {*top.names, *have}:
        raise Changed
    stay = {}
    for index, folder in enumerate(parts.folders):
        before = have.get(folder.name)
        if before is not None and before.key == folder.key:
            stay[index] = have.pop(folder.name)
    kept = Kept(old, left.until, stay, list(have.values()))
    for name, stamp in zip(top.names, top.stamps[1:], strict=True):
        _check(kept, name, stamp)
    for gone in kept.gone:
        _check_all(kept, gone)
    return kept


def keep(kept: Kept, folder: LeftFolder, stage: int) -> int:
    """Give all files of a folder that stays second names in the open folder `stage`; the stamp of their new folder.

    Raises:
        Changed: It is not as it was left, or its files cannot have second names here.
    """
    _check_all(kept, folder)
    prefix = f"{folder.name}/"
    try:
        os.mkdir(folder.name, 0o755, dir_fd=stage)
        for name in folder.names:
            path = prefix + name
            os.link(path, path, src_dir_fd=kept.old, dst_dir_fd=stage, follow_symlinks=False)
        status = os.lstat(folder.name, dir_fd=stage)
    except OSError as error:
        raise Changed from error
    if stat.S_IMODE(status.st_mode) != 0o755:  # noqa: PLR2004 - the umask or an access list took something of it
        raise Changed
    return stamp_of(status)


def _check_all(kept: Kept, folder: LeftFolder) -> None:
    _check(kept, folder.name, folder.stamps[0], is_folder=True)
    prefix, stamps = f"{folder.name}/", folder.stamps[1:]
    for name, stamp in zip(folder.names, stamps, strict=True):
        _check(kept, prefix + name, stamp)


def _check(kept: Kept, path: str, stamp: int, *, is_folder: bool = False) -> None:
    """Hold that what has this path is as it was left; a folder so, that nothing was added to it, or taken out."""
    try:
        status = os.lstat(path, dir_fd=kept.old)
    except OSError as error:
        raise Changed from error
    if stamp_of(status) != stamp or (status.st_ctime_ns > kept.until and not is_folder):
        raise Changed


def release(kept: Kept, which: Iterable[int], wanted: Callable[[], None] = lambda: None) -> None:
    """Take the first names of what stays out of an old bundle: of the folders of these indices.

    Raises:
        OSError: Something is in the way; the rest is there still.
    """
    for index in which:
        wanted()
        remove(kept.old, kept.folders[index])


def remove(old: int, folder: LeftFolder) -> None:
    """Remove a folder with its files, and no other file.

    Raises:
        OSError: Something is in the way; the rest is there still.
    """
    here = os.open(folder.name, _FOLDER, dir_fd=old)
    try:
        for name in folder.names:
            os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(folder.name, dir_fd=old)
