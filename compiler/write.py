"""Put a Bundle on disk, whole or not at all, and never at the cost of a file that the compiler did not make.

The new bundle is staged in a hidden folder beside its place, with a second name for every foreign file of
the old one; flushed once; exchanged with the old one by one call; then the old one is retired.
`compiler.leftover` tells how the next run ends what a killed one began.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from compiler.bundle import Folder
from compiler.exchange import UNSUPPORTED, exchange, flush, rename_to_free
from compiler.left import Left, LeftFolder
from compiler.leftover import Place, recover
from compiler.lock import locked, reading
from compiler.manifest import MANIFEST, folders_of, is_clean, read_manifest
from compiler.refusal import WriteRefused, refusal, shown
from compiler.renew import Differs, Same, changes_between, renewing
from compiler.stage import Writer, carry, write_parts
from compiler.stamp import stamp_of
from compiler.survey import Change, Survey, open_folder, read_plain, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from compiler.bundle import Bundle, Parts
    from compiler.renew import Renewal

Root = str | os.PathLike[str]  # the output folder
T = TypeVar("T")
__all__ = ["Change", "WriteRefused", "compare", "renewing", "write", "write_made"]

_MOST_NAMED = 20


def compare(bundle: Bundle, root: Root, *, contents: bool = False) -> tuple[Change, ...]:
    """Tell what `write` would change in `root/<bundle.name>/`; with `contents`, the old and new bytes too. Reads only.

    Of permission bits only those count that git keeps (who owns it may execute) and those that endanger
    (writable by all, set-user-id), so that a clone made under another umask is no change.

    Raises:
        WriteRefused: What lies there is no bundle, or could not be read.
    """
    _check(bundle)
    path = os.fspath(root)
    try:
        top = _open_root(path)
    except FileNotFoundError:
        return tuple(_with_contents(_all_added(bundle), bundle, None) if contents else _all_added(bundle))
    except OSError as error:
        raise refusal("read", path, error) from error
    place = Place(top, path, bundle.name)
    with _refusing("read", place), reading(top, path, timeout=10.0):
        found = _survey(bundle, place)
        changes = found.changes if found else _all_added(bundle)
        if not contents:
            return tuple(changes)
        old = _open_old(place)
        try:
            return tuple(_with_contents(changes, bundle, old))
        finally:
            if old is not None:
                os.close(old)


class Written(NamedTuple):
    """What became of a write.

    Attributes:
        changes: What was changed; nothing was written when it is empty.
        left: What lies there now, of a bundle that comes in parts; None when it is not known.
    """

    changes: tuple[Change, ...]
    left: Left | None


def write(  # noqa: PLR0913 - who writes says how
    bundle: Bundle,
    root: Root,
    *,
    force: bool = False,
    lock_timeout: float = 10.0,
    processes: int = 1,
    left: Left | None = None,
) -> Written:
    """Make `root/<bundle.name>/` hold exactly the bundle, and whatever foreign files it held before.

    A killed run leaves the old bundle or the new one; the next run cleans up behind it.

    Args:
        bundle: The files; `manifest.json` is one of them and lists the others.
        root: The output folder; made if there is none.
        force: Replace files that were edited by hand since the compiler made them.
        lock_timeout: How many seconds to wait for another writer in the same `root`.
        processes: With more than one, a large bundle is written by two.
        left: What the last run left there, where that is known: what stays of it is not written again.

    Raises:
        WriteRefused: It could not be done, or not without losing something. The old bundle is whole.
    """
    _check(bundle)
    with renewing(os.fspath(root), bundle.name, left, processes) as renewal:
        return write_made(
            bundle.name, lambda: bundle, root, renewal, force=force, lock_timeout=lock_timeout, processes=processes
        )


def write_made(  # noqa: PLR0913 - as above
    name: str,
    make: Callable[[], Bundle],
    root: Root,
    renewal: Renewal | None,
    *,
    force: bool,
    lock_timeout: float,
    processes: int,
) -> Written:
    """Write the bundle of this name as `write` does, and have it made while a `renewal` copies what lies there."""

    @cache
    def made() -> Bundle:
        bundle = make()
        _check(bundle)
        return bundle

    path = os.fspath(root)
    try:
        if not os.path.islink(path):
            os.makedirs(path, mode=0o755, exist_ok=True)
        top = _open_root_of(renewal, path)
    except OSError as error:
        raise refusal("make the folder", path, error) from error
    place = Place(top, path, name)
    with _refusing("write", place), locked(top, path, timeout=lock_timeout):
        recover(place)
        renewed = _renewed(made, renewal, place, processes) if renewal else None
        return renewed or _write(made(), place, force=force, processes=processes)


def _check(bundle: Bundle) -> None:
    """Hold the rules that `render` keeps, because a breach of them would write outside the bundle."""
    if not (_is_sound(bundle.parts) if bundle.parts else _are_sound(list(bundle.paths))) or not _is_name(bundle.name):
        raise ValueError(f"bundle {bundle.name!r}: paths must be relative, clean and unique")


def _is_name(name: str) -> bool:
    return is_clean(name) and "/" not in name and not name.startswith(".")


def _is_sound(parts: Parts) -> bool:
    folders = [folder.name for folder in parts.folders]
    kinds = {id(folder.names): folder.names for folder in parts.folders}
    inside = all(_are_sound([*names, MANIFEST]) and "/" not in "".join(names) for names in kinds.values())
    return inside and "/" not in "".join(folders) and _are_sound([*folders, *parts.names])


def _are_sound(paths: Sequence[str]) -> bool:
    unique, parts = set(paths), {part for path in paths for part in path.split("/")}
    sound = len(unique) == len(paths) and MANIFEST in unique and unique.isdisjoint(folders_of(unique))
    return sound and all(map(is_clean, parts))


def _open_root(path: str) -> int:
    if os.path.islink(path):
        real = shown(os.path.realpath(path))
        raise WriteRefused(f"{shown(path)} is a link to {real}", f"name the folder itself: {real}")
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _open_root_of(renewal: Renewal | None, path: str) -> int:
    """The root; where a renewal has it open, as it has: then its second process holds a lock on it too."""
    top = _open_root(path)
    try:
        if renewal and os.path.samestat(os.fstat(top), os.fstat(renewal.root)):
            os.dup2(renewal.root, top, inheritable=False)
    except BaseException:
        os.close(top)
        raise
    return top


@contextmanager
def _refusing(doing: str, place: Place) -> Iterator[None]:
    """Close the place at the end; a fault of the system that nobody nearer could name is a refusal."""
    try:
        try:
            yield
        finally:
            os.close(place.root)
    except OSError as error:
        raise refusal(doing, place.path, error) from error


def _write(bundle: Bundle, place: Place, *, force: bool, processes: int) -> Written:
    found = _survey(bundle, place)
    if found and not found.changes:
        return Written((), _left_of(bundle, place, found))
    if found and found.edited and not force:
        raise WriteRefused(
            f"{shown(place.path)}: not as the compiler left it: {_listed(found.edited)}",
            "--force replaces what was edited by hand; --diff shows it",
        )
    try:
        left = _put(bundle, place, found, processes)
    except BaseException as error:
        _clean_up(place, error)
        raise
    _end(place, frozenset(found.edited if found else ()))
    return Written(tuple(found.changes if found else _all_added(bundle)), _until_now(left, place))


def _end(place: Place, replaced: AbstractSet[str] = frozenset()) -> None:
    """Remove the old bundle, also when Ctrl-C comes in the middle of it."""
    try:
        recover(place, replaced=replaced)
    except KeyboardInterrupt:
        recover(place, replaced=replaced)
        raise


def _renewed(made: Callable[[], Bundle], renewal: Renewal, place: Place, processes: int) -> Written | None:
    """Write a bundle over one that is as it was left; None when it is not, and nothing has been done."""
    if not _is_at(place, renewal.old):
        return None
    try:
        left = _amended(made, renewal, place) or _replaced(made(), renewal, place, processes)
        is_clean_end = left and renewal.empty()
    except Same:
        renewal.end()
        recover(place)
        return Written((), _until_now(renewal.left, place))
    except BaseException as error:
        renewal.end()
        _clean_up(place, error)
        raise
    if left is None:
        return None
    _end(place)
    return Written(changes_between(renewal.left, left), _until_now(left, place) if is_clean_end else None)


def _amended(made: Callable[[], Bundle], renewal: Renewal, place: Place) -> Left | None:
    """Publish the old bundle with what differs put in its place; None when that cannot be, or is not worth it."""

    def amend(name: str, stage: int) -> Left:
        renewal.into(name, stage)
        parts = made().parts
        if parts is None:
            raise Differs
        return renewal.amended(place.path, parts)

    try:
        return _publish(place, renewal.old, amend)
    except Differs:
        return None


def _replaced(bundle: Bundle, renewal: Renewal, place: Place, processes: int) -> Left | None:
    """Publish all anew, with no look at what the old one holds; None when it is not known to be as it was left."""
    as_left, parts = renewal.is_as_left, bundle.parts
    renewal.end()
    recover(place)
    if not as_left or parts is None:
        return None
    return _publish(place, renewal.old, lambda _, stage: write_parts(stage, place.path, parts, processes))


def _is_at(place: Place, folder: int) -> bool:
    """Whether an open folder lies at the bundle's place."""
    try:
        return os.path.samestat(os.fstat(folder), os.lstat(place.name, dir_fd=place.root))
    except FileNotFoundError:
        return False


def _until_now(left: Left | None, place: Place) -> Left | None:
    """What was left, when all is done: the last of it was done in the output folder."""
    return left and left._replace(until=os.fstat(place.root).st_ctime_ns)


def _left_of(bundle: Bundle, place: Place, found: Survey) -> Left | None:
    """What lies there, when that is the bundle already."""
    top = _open_old(place) if bundle.parts else None
    if bundle.parts is None or top is None:
        return None
    folders = []
    try:
        for folder in (Folder("", bundle.parts.names, bytes(32)), *bundle.parts.folders):
            paths = [f"{folder.name}/{name}".removeprefix("/") for name in folder.names]
            digests = bytes.fromhex("".join([bundle.entries[path].sha256 for path in paths]))
            own = stamp_of(os.lstat(folder.name, dir_fd=top)) if folder.name else 0
            stamps = array("q", [own, *(found.stamps[path] for path in paths)])
            folders.append(LeftFolder(folder.name, folder.names, folder.key, digests, stamps))
    finally:
        os.close(top)
    return Left(folders, alone=not found.foreign, until=found.until)


def _survey(bundle: Bundle, place: Place) -> Survey | None:
    """What writing the bundle at its place would change, and what stands in the way; None when nothing is there.

    Raises:
        WriteRefused: What stands in the way must be moved by hand.
    """
    old = _open_old(place)
    if old is None:
        return None
    try:
        owned = read_manifest(old)
        if owned is None and os.listdir(old):
            raise WriteRefused(
                f"{shown(place.path)} is not a bundle: it has no valid {MANIFEST}",
                "move it away, or write to another folder with -o",
            )
        found = survey(old, place.path, bundle.entries, owned or {})
    finally:
        os.close(old)
    if found.blocked:
        blocked = _listed([what for what, _ in found.blocked])
        raise WriteRefused(f"{shown(place.path)}: {blocked}", found.blocked[0][1])
    return found


def _all_added(bundle: Bundle) -> list[Change]:
    return [Change(path, "added") for path in sorted(bundle.paths)]


def _with_contents(changes: list[Change], bundle: Bundle, old: int | None) -> Iterator[Change]:
    """The changes with the bytes before (`old` is the open bundle) and after."""
    told = {change.path for change in changes}
    new = {file.path: file.content for file in bundle.files if file.path in told}
    for change in changes:
        before = None if old is None or change.kind == "added" else _content(old, change.path)
        yield change._replace(old=before, new=new.get(change.path))


def _content(old: int, path: str) -> bytes | None:
    above, _, name = path.rpartition("/")
    folder = open_folder(old, above)
    try:
        plain = stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode)
        return read_plain(folder, name)[0] if plain else None
    finally:
        os.close(folder)


def _open_old(place: Place) -> int | None:
    """The folder at the bundle's place, None if nothing is there.

    Raises:
        WriteRefused: It is a link or no folder.
    """
    try:
        return os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place.root)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
    if os.path.islink(place.path):
        real = shown(os.path.realpath(place.path))
        raise WriteRefused(f"{shown(place.path)} is a link to {real}", f"write into {real}'s own folder")
    raise WriteRefused(f"{shown(place.path)} is not a folder", "move it away")


def _listed(things: list[str]) -> str:
    named = ", ".join(shown(thing) for thing in sorted(things)[:_MOST_NAMED])
    more = len(things) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _put(bundle: Bundle, place: Place, found: Survey | None, processes: int) -> Left | None:
    """Publish the bundle with what is foreign in the old one; what is left then, of a bundle in parts."""
    old, foreign = _open_old(place), found.foreign if found else []

    def fill(_: str, stage: int) -> Left | None:
        if old is not None:
            carry(old, stage, place.path, foreign)
        if bundle.parts:
            return write_parts(stage, place.path, bundle.parts, processes)._replace(alone=not foreign)
        Writer(stage, place.path).write(bundle.files)
        return None

    try:
        return _publish(place, old, fill)
    finally:
        if old is not None:
            os.close(old)


def _publish(place: Place, old: int | None, fill: Callable[[str, int], T]) -> T:
    """Have a folder filled and put it at its place by one call; the old one is then where it was staged."""
    name, stage = _stage(place)
    try:
        filled = fill(name, stage)
        flush(stage)
    finally:
        os.close(stage)
    if old is None:
        rename_to_free(place.root, name, place.root, place.name)
    else:
        _swap(place, name, old)
    return filled


def _stage(place: Place) -> tuple[str, int]:
    """Make the staged folder and name it after its inode (see `compiler.leftover`)."""
    fresh = f".{place.name}.new"
    os.mkdir(fresh, 0o755, dir_fd=place.root)
    stage = open_folder(place.root, fresh)
    try:
        name = f"{fresh}-{os.fstat(stage).st_ino}"
        os.fchmod(stage, 0o755)
        os.rename(fresh, name, src_dir_fd=place.root, dst_dir_fd=place.root)
    except BaseException:
        os.close(stage)
        raise
    return name, stage


def _swap(place: Place, name: str, old: int) -> None:
    try:
        exchange(place.root, name, place.name)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _swap_by_two_renames(place, name)
        return
    if not os.path.samestat(os.fstat(old), os.lstat(name, dir_fd=place.root)):
        # Somebody put another folder there since we looked: it goes back, whatever it is.
        exchange(place.root, name, place.name)
        raise WriteRefused(f"{shown(place.path)} was replaced while it was being written", "run it again")


def _swap_by_two_renames(place: Place, name: str) -> None:
    """Publish where names cannot be exchanged; a run killed between the two is undone by the next one."""
    retired = name.replace(".new-", ".old-")
    os.rename(place.name, retired, src_dir_fd=place.root, dst_dir_fd=place.root)
    rename_to_free(place.root, name, place.root, place.name)


def _clean_up(place: Place, error: BaseException) -> None:
    """After a failure: leave the old bundle at its place, and nothing beside it."""
    try:
        recover(place)
    except WriteRefused as left:
        if isinstance(error, WriteRefused):
            raise WriteRefused(f"{error.message}; {left.message}", left.hint) from error
        if isinstance(error, OSError):
            said = refusal("write", place.path, error)
            raise WriteRefused(f"{said.message}; {left.message}", left.hint) from error
