"""Takes over what an old bundle has already: a second name for each file that stays, and no second copy.

Which files stay is known by what the last run left, and by that alone: whatever lies there otherwise, in any way, is
`Changed`, and the whole folder is looked at instead.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Literal, NamedTuple

from compiler.left import LeftFolder
from compiler.manifest import MANIFEST
from compiler.stamp import is_as_left, stamp_of
from compiler.survey import FOLDER, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from compiler.bundle import Parts
    from compiler.left import Left

MANY = 128  # folders for each of two processes, at least: to begin the second takes as long as to write so many


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
    if stamp_of(_status(kept, folder.name)) != folder.stamps[0]:  # something was added to it, or taken out
        raise Changed
    prefix, stamps = f"{folder.name}/", folder.stamps[1:]
    for name, stamp in zip(folder.names, stamps, strict=True):
        _check(kept, prefix + name, stamp)


def _check(kept: Kept, path: str, stamp: int) -> None:
    if not is_as_left(_status(kept, path), stamp, kept.until):
        raise Changed


def _status(kept: Kept, path: str) -> os.stat_result:
    try:
        return os.lstat(path, dir_fd=kept.old)
    except OSError as error:
        raise Changed from error


def empty(kept: Kept, top: LeftFolder, processes: int) -> bool:
    """Empty an old bundle of which most has second names in the new one; False when something is in the way.

    The manifest goes last, as in `compiler.retire`, which ends what is begun here.
    """
    try:
        for folder in kept.gone:
            _remove(kept.old, folder)
        if not _released(kept, processes):
            return False
        for name in sorted(top.names, key=lambda name: name == MANIFEST):
            os.unlink(name, dir_fd=kept.old)
    except OSError:
        return False
    return True


def _released(kept: Kept, processes: int) -> bool:
    """Releases all that is kept, half of much in a second process; False when something is in the way of that one."""
    which = list(kept.folders)
    if processes == 1 or len(which) < 2 * MANY:
        _release(kept, which)
        return True
    from compiler.beside import beside  # noqa: PLC0415 - a small bundle needs none

    def second(wanted: Callable[[], None]) -> bool:
        try:
            _release(kept, which[len(which) // 2 :], wanted)
        except OSError:
            return False
        return True

    with beside(second) as result:
        _release(kept, which[: len(which) // 2])
        done: bool = result()
    return done


def changes_between(before: Left, after: Left, kept: Kept) -> tuple[Change, ...]:
    """What changed between two bundles of which some folders are kept."""
    stay = {folder.name for folder in kept.folders.values()}
    old = {each.name: each for each in (before.folders[0], *kept.gone)}
    new = {each.name: each for each in after.folders if each.name not in stay}
    nothing = LeftFolder("", (), b"", b"", ())
    changes = []
    for folder in old.keys() | new.keys():
        then, now = old.get(folder, nothing), new.get(folder, nothing)
        for name in {*then.names, *now.names}:
            was, is_ = then.digest(name), now.digest(name)
            kind: Literal["added", "changed", "removed"] = (
                "added" if was is None else "removed" if is_ is None else "changed"
            )
            if was != is_:
                changes.append(Change(f"{folder}/{name}".removeprefix("/"), kind))
    return tuple(sorted(changes))


def _release(kept: Kept, which: Iterable[int], wanted: Callable[[], None] = lambda: None) -> None:
    """Takes the first names of what stays out of an old bundle: of the folders of these indices."""
    for index in which:
        wanted()
        _remove(kept.old, kept.folders[index])


def _remove(old: int, folder: LeftFolder) -> None:
    """Removes a folder with its files, and no other file; OSError when something is in the way."""
    here = os.open(folder.name, FOLDER, dir_fd=old)
    try:
        for name in folder.names:
            os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(folder.name, dir_fd=old)
