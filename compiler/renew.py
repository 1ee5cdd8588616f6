"""Renews a bundle of which little changes: all there is gets a second name, then what differs is put in its place.

What lies there is known by what the last run left, and by that alone: when anything is otherwise, in any way, the whole
folder is looked at instead. Of many folders a second process looks at them and gives the names, while the first one
still plans and prints what they are to hold; then both take the first names.
"""

from __future__ import annotations

import os
import stat
from array import array
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from compiler.bundle import digests_of
from compiler.left import Left, LeftFolder, is_for_two
from compiler.manifest import MANIFEST
from compiler.stage import Writer, make_folders
from compiler.stamp import is_as_left, stamp_of
from compiler.survey import FOLDER, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from compiler.beside import Second, Task
    from compiler.bundle import File, Parts

_DIFFERING = ".differs"  # no name of a node


class Differs(Exception):  # noqa: N818 - named for what is found; nothing here is a bug
    """The old bundle is not as it was left, its files cannot have second names, or too much differs."""


class Same(Exception):  # noqa: N818 - as above
    """The old bundle is the new one."""


class Renewal:
    """The renewal of one old bundle.

    Attributes:
        root: A descriptor of the output folder.
        old: A descriptor of the bundle's folder in it.
        left: What the last run left there.
    """

    def __init__(self, root: int, old: int, left: Left, processes: int) -> None:
        self.root, self.old, self.left = root, old, left
        self._folders = left.folders[1:]
        self._is_for_two = is_for_two(len(self._folders), processes)
        self._ending = ExitStack()
        self._stage = -1
        self._turns: Iterable[range] = ()
        self._second: Second | None = None
        self.end()

    def begin(self) -> None:
        """Let a second process look at a large bundle now, and do what is for it to do as soon as it is told."""

        def second(wanted: Callable[[], None]) -> Generator[object, str, None]:
            as_left = _is_as_left(self.old, self.left, wanted)
            name = yield as_left
            if as_left:
                yield _named(self.old, self.left, os.open(name, FOLDER, dir_fd=self.root), wanted)
                yield self._removed(wanted)

        self._begin(second)

    def _begin(self, task: Task) -> None:
        if not self._is_for_two:
            return
        from compiler.beside import Turns, beside  # noqa: PLC0415 - a small bundle needs none

        with suppress(OSError):  # where no process can be made, this one does it all
            self._turns = self._ending.enter_context(Turns(len(self._folders)))
            self._second = self._ending.enter_context(beside(task))

    def into(self, name: str, stage: int) -> None:
        """Give the names in this staged folder: its name in the output folder, and it itself, open."""
        self._stage = stage
        if self._second:
            self._second.say(name)

    @cached_property
    def is_as_left(self) -> bool:
        """Whether the old bundle is as it was left, in every way, and nothing foreign lies in it."""
        return _says_so(self._second) if self._second else _is_as_left(self.old, self.left)

    def amended(self, where: str, parts: Parts) -> Left:
        """The staged folder, with all of the old bundle that stays, made to hold these parts.

        Args:
            where: The path that it will have when published, for messages.
            parts: All of the new bundle.

        Returns:
            What is left then.

        Raises:
            Differs: It cannot be amended, or it would be no less work than to write it.
            Same: There is nothing to amend.
            WriteRefused: The system would not; names the file and the cause.
            RuntimeError: The second process was ended by somebody.
        """
        old = {folder.name: folder for folder in self._folders}
        stays = [_if_same(old.get(folder.name), folder.key) for folder in parts.folders]
        # To give second names and to take the first ones takes as long as to write.
        if not self.is_as_left or 2 * (len(stays) - stays.count(None)) < len(stays):
            raise Differs
        above = parts.above()
        listed = [parts.listed(index, each.digests) if each else b"" for index, each in enumerate(stays)]
        if None not in stays and len(stays) == len(old) and self._has_on_top([*above, parts.last(listed)]):
            raise Same
        fresh = {}
        with self._folder_for_what_differs() as differing:
            writer = Writer(differing, where)
            for index, each in enumerate(stays):
                if each is None:
                    fresh[index] = writer.folder(parts, index)
                    listed[index] = parts.listed(index, fresh[index].digests)
            top = Writer(self._stage, where).top(parts, above, listed)
            stamps = self._second.heard() if self._second else _named(self.old, self.left, self._stage)
            if stamps is None:
                raise Differs
            for goes in old.keys() - {each.name for each in stays if each}:
                _remove(self._stage, old[goes])
            for folder in fresh.values():
                os.rename(folder.name, folder.name, src_dir_fd=differing, dst_dir_fd=self._stage)
        named = dict(zip(old, stamps, strict=True))
        folders = [
            each._replace(stamps=array("q", [named[each.name], *each.stamps[1:]])) if each else fresh[index]
            for index, each in enumerate(stays)
        ]
        return Left([top, *folders], alone=True, until=0)

    @contextmanager
    def _folder_for_what_differs(self) -> Iterator[int]:
        """A folder in the staged one, open, for what is made before all names are given."""
        folder = make_folders(self._stage, _DIFFERING, set())
        try:
            yield folder
        finally:
            os.close(folder)
        os.rmdir(_DIFFERING, dir_fd=self._stage)

    def _has_on_top(self, files: Sequence[File]) -> bool:
        top = self.left.folders[0]
        return list(top.names) == [file.path for file in files] and top.digests == digests_of(files)

    def end(self) -> None:
        """Nothing more is done by a second process after this."""
        self._ending.close()
        self._turns, self._second = [range(len(self._folders))], None

    def empty(self) -> bool:
        """Empty the old bundle, when all that stays has second names; False when something is in the way.

        The manifest goes last, as in `compiler.retire`, which ends what is begun here.
        """

        def second(wanted: Callable[[], None]) -> Generator[object, str, None]:
            yield self._removed(wanted)

        if self._second:
            self._second.say("published")
        else:
            self._begin(second)
        is_empty = self._removed() and (self._second is None or _says_so(self._second))
        self.end()  # whatever is left, it is one process that deals with it
        if not is_empty:
            return False
        try:
            for name in sorted(self.left.folders[0].names, key=lambda name: name == MANIFEST):
                os.unlink(name, dir_fd=self.old)
        except OSError:
            return False
        return True

    def _removed(self, wanted: Callable[[], None] = lambda: None) -> bool:
        """Removes folders of the old bundle, at its turns, and no other file; False when something is in the way."""
        try:
            for turn in self._turns:
                for folder in self._folders[turn.start : turn.stop]:
                    wanted()
                    _remove(self.old, folder)
        except OSError:
            return False
        return True


@contextmanager
def renewing(root: str, name: str, left: Left | None, processes: int) -> Iterator[Renewal | None]:
    """While the block runs, the bundle that was left can be renewed; None when nothing was, or nothing lies there.

    Of a large one a second process begins at once to look at it.
    """
    with ExitStack() as opened:
        renewal = left and _opened(root, name, left, processes, opened)
        if renewal:
            renewal.begin()
        yield renewal


def _opened(root: str, name: str, left: Left, processes: int, opened: ExitStack) -> Renewal | None:
    try:
        top = os.open(root, FOLDER)
        opened.callback(_let_go, top)
        old = os.open(name, FOLDER, dir_fd=top)
        opened.callback(_let_go, old)
    except OSError:
        return None  # whoever writes there tells what it is
    renewal = Renewal(top, old, left, processes)
    opened.callback(renewal.end)
    return renewal


def _let_go(folder: int) -> None:
    with suppress(OSError):  # nothing was written through it that could be lost
        os.close(folder)


def _says_so(second: Second) -> bool:
    """Whether it says so; not, when somebody ended it."""
    try:
        return bool(second.heard())
    except RuntimeError:
        return False


def _if_same(folder: LeftFolder | None, key: bytes) -> LeftFolder | None:
    return folder if folder is not None and folder.key == key else None


def _is_as_left(old: int, left: Left, wanted: Callable[[], None] = lambda: None) -> bool:
    top, *folders = left.folders
    if not left.alone or set(os.listdir(old)) != {*top.names, *(folder.name for folder in folders)}:
        return False
    try:
        for folder in left.folders:
            wanted()
            if not _is_folder_as_left(old, folder, left.until):
                return False
    except OSError:
        return False  # something is missing
    return True


def _is_folder_as_left(old: int, folder: LeftFolder, until: int) -> bool:
    prefix = f"{folder.name}/" if folder.name else ""
    # When something was added to a folder, or taken out, it has another date.
    if prefix and stamp_of(os.lstat(folder.name, dir_fd=old)) != folder.stamps[0]:
        return False
    return all(
        is_as_left(os.lstat(prefix + name, dir_fd=old), stamp, until)
        for name, stamp in zip(folder.names, folder.stamps[1:], strict=True)
    )


def _named(old: int, left: Left, stage: int, wanted: Callable[[], None] = lambda: None) -> list[int] | None:
    """Gives all that was left a second name in the open folder `stage`.

    Returns:
        The stamp of each folder there; None when they cannot have second names there, as it seems.
    """
    try:
        return [_given(old, folder, stage, wanted) for folder in left.folders[1:]]
    except OSError:
        return None


def _given(old: int, folder: LeftFolder, stage: int, wanted: Callable[[], None]) -> int:
    """Gives all files of a folder second names in the open folder `stage`; the stamp of their new folder."""
    wanted()
    prefix = f"{folder.name}/"
    os.mkdir(folder.name, 0o755, dir_fd=stage)
    for name in folder.names:
        path = prefix + name
        os.link(path, path, src_dir_fd=old, dst_dir_fd=stage, follow_symlinks=False)
    status = os.lstat(folder.name, dir_fd=stage)
    if stat.S_IMODE(status.st_mode) != 0o755:  # noqa: PLR2004 - the umask or an access list took something of it
        raise PermissionError(folder.name)
    return stamp_of(status)


def _remove(top: int, folder: LeftFolder) -> None:
    """Removes a folder with its files, and no other file; OSError when something is in the way."""
    here = os.open(folder.name, FOLDER, dir_fd=top)
    try:
        for name in folder.names:
            os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(folder.name, dir_fd=top)


def changes_between(before: Left, after: Left) -> tuple[Change, ...]:
    """What changed between two bundles."""
    nothing = LeftFolder("", (), b"", b"", ())
    old, new = ({each.name: each for each in left.folders} for left in (before, after))
    changes = []
    for folder in old | new:
        then, now = old.get(folder, nothing), new.get(folder, nothing)
        if then.digests == now.digests and then.names == now.names:
            continue
        for name in {*then.names, *now.names}:
            was, is_ = then.digest(name), now.digest(name)
            kind: Literal["added", "changed", "removed"] = (
                "added" if was is None else "removed" if is_ is None else "changed"
            )
            if was != is_:
                changes.append(Change(f"{folder}/{name}".removeprefix("/"), kind))
    return tuple(sorted(changes))
