"""The manifest of a bundle that lies on disk: which files the compiler made, as far as it can be believed."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST = "manifest.json"
_LARGEST = 1 << 28
_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
_MODE = re.compile(r"0[0-7]{3}").fullmatch


def read_manifest(folder: int) -> dict[str, str] | None:
    """Read which files the compiler made in an open folder, the manifest among them.

    Returns:
        The sha256 of each file by its path (empty for the manifest itself), or None when there is no
        manifest, or one that the compiler cannot have written.

    Raises:
        OSError: It is there but cannot be read.
    """
    try:
        handle = os.open(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or _is_odd(folder):
            return None
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return None
        return _parse(file.read())


def is_clean(path: str) -> bool:
    """Whether a path can only mean something below the folder it starts from."""
    return all(part not in {"", ".", ".."} for part in path.split("/")) and "\0" not in path


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that some path needs, without the topmost one."""
    folders = {path.rpartition("/")[0] for path in paths}
    for folder in tuple(folders):
        above = folder
        while above := above.rpartition("/")[0]:
            folders.add(above)
    return folders - {""}


def _is_odd(folder: int) -> bool:
    """Whether the manifest is no plain file: a link, a socket."""
    try:
        return not stat.S_ISREG(os.lstat(MANIFEST, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return True


def _parse(text: bytes) -> dict[str, str] | None:
    try:
        files = json.loads(text)["files"]
        owned = {path: _digest(path, entry) for path, entry in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not owned.keys().isdisjoint(folders_of(owned)):
        return None
    return {**owned, MANIFEST: ""}


def _digest(path: str, entry: dict[str, str]) -> str:
    """The digest of one entry, after every part of it was found sound."""
    path.encode()
    digest = entry["sha256"]
    if not is_clean(path) or path == MANIFEST or not _SHA256(digest) or not _MODE(entry["mode"]):
        raise ValueError(path)
    return digest
