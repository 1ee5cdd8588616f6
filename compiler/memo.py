"""What was compiled before, and what was written: while nothing has changed since, nothing is done again.

A small file for each spec in the user's cache folder. It says nothing that could be wrong: it is believed only while
the spec, the files it names and this program are what they were, byte for byte or by the system's own stamps, and so
is every file of the bundle. At any doubt all is done anew, and told as if there were no memo.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from array import array
from functools import cached_property
from itertools import accumulate, pairwise

from compiler.stamp import is_as_left

TYPE_CHECKING = False  # see compiler.cli_options
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from compiler.left import Left

    Inputs = Sequence[tuple[str, bytes]]  # the spec and its overlays: name and bytes
    Beside = Callable[[str], bytes]

VARIABLE = "COMPILER_CACHE_DIR"
_FEW = 1 << 16  # bytes
_MOST = 200  # memos in the folder; the oldest go
_LARGEST = 256 * 2**20  # bytes of all of them: that of ten thousand nodes has 4 MiB
_PACKAGES = ("compiler", "schema", "templates")


class Known:
    """What a command can tell without doing anything.

    Attributes:
        told: What was found in the spec, in each form: `text`, `colour`, `json`, `github`; `count` says how much. Empty
            when it was too much to be kept.
        warned: Something was found.
        summary: The parallelism and size of the cluster.
        name: The bundle's folder.
        files: How many files the bundle has.
    """

    def __init__(self, told: Mapping[str, str], summary: str, name: str = "", files: int = 0, *, warned: bool) -> None:
        self.told, self.warned, self.summary, self.name, self.files = told, warned, summary, name, files


class Memo:
    """The memo of a spec, and of the folder that its bundle is written to (empty: of neither, `check` writes none).

    Attributes:
        beside: Reads the files that the spec names, and notes what they held.
    """

    def __init__(self, inputs: Inputs, root: str, beside: Beside) -> None:
        self._inputs = inputs
        self._read = beside
        self._named: dict[str, str] = {}
        self._root = os.path.abspath(root) if root else ""
        self._place = [self._root, *(os.path.abspath(name) for name, _ in inputs)]
        self._file = f"{zlib.crc32(json.dumps(self._place).encode()):08x}.memo"

    @cached_property
    def _key(self) -> list[object]:
        """What must be as it was; OSError for a program that does not lie in folders, as one in a zip."""
        return [self._place, _program(), [[name, _short(content)] for name, content in self._inputs]]

    def beside(self, path: str) -> bytes:
        """The bytes of a file that the spec names.

        Raises:
            OSError: There is none.
        """
        self._named[path] = ""
        content = self._read(path)
        self._named[path] = _short(content)
        return content

    def recall(self) -> Known | None:
        """What is known; None when there is no memo, or anything is not as it was."""
        try:
            memo = self._memo
            if memo["key"] == self._key and self._names_the_same(memo["named"]) and self._holds(memo):
                return Known(**memo["known"])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass  # nothing is known
        self._named.clear()
        return None

    def left(self) -> tuple[str, Left] | None:
        """The bundle's name and what this program left of it, whatever the spec was; None when that is not known."""
        try:
            memo = self._memo
            if self._root and memo["key"][:2] == self._key[:2]:
                return memo["known"]["name"], _left(memo["left"])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass  # as above
        return None

    def keep(self, known: Known, left: Left | None = None) -> None:
        """Notes what is known, and what was left at the bundle's place; nothing, when it is not known what was."""
        if not known.told or (self._root and left is None):
            return
        try:
            folder = _folder(make=True)
            noted, parts = _noted(left) if left else (None, ())
            memo = {"key": self._key, "named": self._named, "known": vars(known), "left": noted}
            fresh = f"{folder}/{self._file}.{os.getpid()}"
            with open(fresh, "wb") as file:
                file.writelines((json.dumps(memo).encode(), b"\n", *parts))
            os.replace(fresh, f"{folder}/{self._file}")
            _prune(folder)
        except OSError:
            return  # a memo is only for speed

    @cached_property
    def _memo(self) -> Any:
        """What is known; of what was left, what is many bytes stands behind it as it is."""
        with open(f"{_folder()}/{self._file}", "rb") as file:
            memo = json.loads(file.readline())
            if memo["left"]:
                memo["left"] |= {name: file.read(size) for name, size in memo["left"]["sizes"].items()}
        return memo

    def _names_the_same(self, named: Mapping[str, str]) -> bool:
        for path in named:
            try:
                self.beside(path)
            except OSError:
                continue  # noted as one that is not there
        return named == self._named

    def _holds(self, memo: Mapping[str, object]) -> bool:
        """Whether the bundle lies there as it was left, and nobody is at work on it."""
        if not self._root:
            return True
        import fcntl  # noqa: PLC0415 - `check` needs no lock

        name = memo["known"]["name"]  # type: ignore[index]
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(root, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if any(each.startswith(f".{name}.") for each in os.listdir(root)):
                return False  # a run that was killed left something to be ended
            top = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            try:
                return _is_there(top, memo["left"])
            finally:
                os.close(top)
        finally:
            os.close(root)


def _is_there(top: int, noted: Any) -> bool:
    """Whether every file that was left lies there still; OSError when one is missing."""
    stamps, until, at = _stamps(noted), noted["until"], 0
    for folder, kind in zip(noted["names"], noted["kinds"], strict=True):
        if folder and not stat.S_ISDIR(os.lstat(folder, dir_fd=top).st_mode):
            return False
        prefix = f"{folder}/" if folder else ""
        for name in noted["files"][kind]:
            at += 1
            if not is_as_left(os.lstat(prefix + name, dir_fd=top), stamps[at], until):
                return False
        at += 1  # the next folder's own
    return True


def _noted(left: Left) -> tuple[dict[str, object], Sequence[bytes]]:
    """What was left, as JSON has it, and the bytes that stand behind that."""
    kinds: dict[tuple[str, ...], int] = {}
    stamps = array("q")
    for folder in left.folders:
        stamps.extend(folder.stamps)
    many = {
        "keys": b"".join([folder.key for folder in left.folders]),
        "digests": b"".join([folder.digests for folder in left.folders]),
        "stamps": stamps.tobytes(),
    }
    noted = {
        "names": [folder.name for folder in left.folders],
        "kinds": [kinds.setdefault(tuple(folder.names), len(kinds)) for folder in left.folders],
        "files": list(kinds),
        "alone": left.alone,
        "until": left.until,
        "sizes": {name: len(content) for name, content in many.items()},
    }
    return noted, tuple(many.values())


def _stamps(noted: Any) -> array[int]:
    stamps = array("q")
    stamps.frombytes(noted["stamps"])
    return stamps


def _left(noted: Any) -> Left:
    """What was left, from its note.

    Raises:
        ValueError: The note is broken; or KeyError, TypeError, IndexError.
    """
    from compiler.left import Left, LeftFolder  # noqa: PLC0415 - what is only recalled needs neither

    keys, digests, stamps, count = noted["keys"], noted["digests"], _stamps(noted), len(noted["names"])
    kinds = [tuple(names) for names in noted["files"]]
    names = [kinds[kind] for kind in noted["kinds"]]
    ends = [0, *accumulate(map(len, names))]
    if (len(keys), len(digests), len(stamps)) != (32 * count, 32 * ends[-1], ends[-1] + count):
        raise ValueError("a part of it is missing")
    files = list(pairwise(ends))
    rows = zip(
        noted["names"],
        names,
        [keys[at : at + 32] for at in range(0, len(keys), 32)],
        [digests[32 * first : 32 * end] for first, end in files],
        [stamps[first + index : end + index + 1] for index, (first, end) in enumerate(files)],
        strict=True,
    )
    return Left([LeftFolder(*row) for row in rows], noted["alone"], noted["until"])


def _short(content: bytes) -> str:
    """The bytes themselves when they are few, else their digest: hashlib takes longer to import than to be without."""
    if len(content) < _FEW:
        return content.decode("latin-1")
    from hashlib import sha256  # noqa: PLC0415

    return f"sha256:{sha256(content).hexdigest()}"


def _program() -> int:
    """What this program is made of: its own files by their stamps, Python, and the packages beside pydantic."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = [sys.version]
    folders = [f"{home}/{package}" for package in _PACKAGES]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        folders.append(entry.path)
                else:
                    status = entry.stat()
                    found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    # pip changes the folder that it installs into whenever it does.
    packages = [place for place in sys.path if os.path.isdir(f"{place}/pydantic")]
    found += [f"{place} {os.stat(place).st_mtime_ns}" for place in packages]
    return zlib.crc32("\n".join(sorted(found)).encode(errors="surrogateescape"))


def _folder(*, make: bool = False) -> str:
    """The folder of all memos.

    Raises:
        OSError: There is none, or others may write to it: then it could be told anything.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.environ.get(VARIABLE, f"{home}/ascend-cluster-compiler")
    if not os.path.isabs(folder):
        raise NotADirectoryError(folder)
    if make:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(folder)
    return folder


def _prune(folder: str) -> None:
    """Removes the oldest memos, when there are many or they are large; never the last one."""
    with os.scandir(folder) as entries:
        files = sorted(((entry.stat(), entry.path) for entry in entries), key=lambda each: -each[0].st_mtime_ns)
    size = 0
    for number, (status, path) in enumerate(files):
        size += status.st_size
        if number and (number >= _MOST or size > _LARGEST):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue  # another run was quicker
