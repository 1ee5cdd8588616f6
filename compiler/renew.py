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
    from collections.abc import Callable, Mapping, Sequence

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
        folders: By their indices in the new bundle, the folders of which every file stays.
        gone: The folders of which some files change, or all go.
    """

    old: int
    folders: Mapping[int, LeftFolder]
    gone: Sequence[LeftFolder]


NOTHING = Kept(-1, {}, ())


def kept_of(old: int, left: Left, parts: Parts) -> Kept:
    """What stays of an old bundle, when the new one comes in these parts.

    Raises:
        Changed: The old one is not as it was left: its own folder, or a folder that does not stay.
    """
    top, *folders = left.folders()
    have = {folder.name: folder for folder in folders}
    if not left.alone or set(os.listdir(old)) != {*top.names, *have}:
        raise Changed
    for name, stamp in zip(top.names, top.stamps[1:], strict=True):
        check(old, name, stamp)
    stay = {}
    for index, folder in enumerate(parts.folders):
        before = have.get(folder.name)
        if before is not None and before.key == folder.key:
            stay[index] = have.pop(folder.name)
    for gone in have.values():
        _check_all(old, gone)
    return Kept(old, stay, list(have.values()))


class Keeper:
    """Gives the files of folders of an old bundle second names in a staged one; both are open folders."""

    def __init__(self, old: int, stage: int) -> None:
        self._old, self._stage = old, stage
        self._modes_are_ours = False

    def keep(self, folder: LeftFolder) -> None:
        """Keep all files of a folder.

        Raises:
            Changed: It is not as it was left, or its files cannot have second names here.
        """
        _check_all(self._old, folder)
        prefix = f"{folder.name}/"
        try:
            os.mkdir(folder.name, 0o755, dir_fd=self._stage)
            for name in folder.names:
                path = prefix + name
                os.link(path, path, src_dir_fd=self._old, dst_dir_fd=self._stage, follow_symlinks=False)
        except OSError as error:
            raise Changed from error
        if not self._modes_are_ours:  # what the umask or an access list does to one, it does to all
            if stat.S_IMODE(os.lstat(folder.name, dir_fd=self._stage).st_mode) != 0o755:  # noqa: PLR2004 - as above
                raise Changed
            self._modes_are_ours = True


def check(old: int, path: str, stamp: int) -> None:
    """Hold that what has this path is as it was left.

    Raises:
        Changed: It is not.
    """
    try:
        status = os.lstat(path, dir_fd=old)
    except OSError as error:
        raise Changed from error
    if stamp_of(status) != stamp:
        raise Changed


def _check_all(old: int, folder: LeftFolder) -> None:
    own, *stamps = folder.stamps
    check(old, folder.name, own)  # nothing was added, and it is no link
    prefix = f"{folder.name}/"
    for name, stamp in zip(folder.names, stamps, strict=True):
        check(old, prefix + name, stamp)


def release_all(kept: Kept, new: int, processes: int) -> dict[str, LeftFolder]:
    """Take the first names of all that stays, and what goes, out of an old bundle, when `new` has the second ones.

    Returns:
        The folders that stay by their names, with the stamps that they have now.

    Raises:
        OSError: Something is in the way; the rest is there still.
    """
    folders = list(kept.folders.values())
    half = len(folders) // 2 if processes > 1 and len(folders) >= 2 * MANY else len(folders)

    def second(wanted: Callable[[], None]) -> list[LeftFolder] | None:
        try:
            return [_released(kept.old, new, folder, wanted) for folder in folders[half:]]
        except OSError:
            return None

    for folder in kept.gone:
        _release(kept.old, folder)
    if half == len(folders):
        made = [_released(kept.old, new, folder) for folder in folders]
    else:
        from compiler.beside import beside  # noqa: PLC0415 - a small bundle has no halves

        with beside(second) as result:
            made = [_released(kept.old, new, folder) for folder in folders[:half]]
            others = result()
        if others is None:
            raise OSError("something was in the way of the second process")
        made += others
    return {folder.name: folder for folder in made}


def _released(old: int, new: int, folder: LeftFolder, wanted: Callable[[], None] = lambda: None) -> LeftFolder:
    """Releases a folder; the folder with the stamps that it has now, for to lose a name is a change."""
    wanted()
    _release(old, folder)
    prefix = f"{folder.name}/"
    own = os.lstat(folder.name, dir_fd=new)
    stamps = [stamp_of(os.lstat(prefix + name, dir_fd=new)) for name in folder.names]
    return folder._replace(stamps=[stamp_of(own), *stamps])


def _release(old: int, folder: LeftFolder) -> None:
    here = os.open(folder.name, _FOLDER, dir_fd=old)
    try:
        for name in folder.names:
            os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(folder.name, dir_fd=old)
