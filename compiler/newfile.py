"""Writes one file where there is none: the starter spec."""

from __future__ import annotations

import os

from compiler.refusal import WriteRefused, refusal, shown


def write_new(path: str, content: bytes) -> None:
    """Make the file, whole or not at all.

    Raises:
        WriteRefused: Something lies there already, or it could not be written.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        raise WriteRefused(f"{shown(path)} exists already", "name another file") from None
    except OSError as error:
        raise refusal("write", path, error) from error
    try:
        _write_all(file, content)
    except OSError as error:
        os.unlink(path)
        raise refusal("write", path, error) from error
    finally:
        os.close(file)


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
