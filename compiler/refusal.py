"""WriteRefused: why a bundle was not written, in one line for the person who can mend it."""

from __future__ import annotations

import os


class WriteRefused(Exception):  # noqa: N818  # named for what happened; nothing here is a bug
    """The bundle was not written, or its old version not removed; what lies on disk is whole.

    Attributes:
        message: One line that names the path and the cause.
        hint: What would help, or None.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def shown(path: str) -> str:
    """A path as one printable line, whatever bytes its owner put into it."""
    return path if path.isprintable() else ascii(path)[1:-1]


def refusal(doing: str, path: str, error: OSError, hint: str | None = None) -> WriteRefused:
    """Turn what the system said about `path` into a refusal, as in `cannot write a/b: No space left`."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    return WriteRefused(f"cannot {doing} {shown(path)}: {cause}", hint)
