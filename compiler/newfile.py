"""Writes a single file of the user's: the starter spec where there is none, a spec in the place of its old text."""

from __future__ import annotations

import os
import tempfile

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


def rewrite(path: str, before: bytes, after: bytes) -> None:
    """Put `after` in the place of `before`, whole or not at all; its mode, and a link to it, stay.

    Raises:
        WriteRefused: It is not `before` any more, or it could not be written.
    """
    real = os.path.realpath(path)
    try:
        with open(real, "rb") as file:
            mode, now = os.fstat(file.fileno()).st_mode & 0o7777, file.read()
        if now != before:
            raise WriteRefused(f"{shown(path)} was changed meanwhile", "run this again")
        _replace(real, after, mode)
    except OSError as error:
        raise refusal("write", path, error) from error


def _replace(path: str, content: bytes, mode: int) -> None:
    file, beside = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        try:
            _write_all(file, content)
            os.fchmod(file, mode)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
