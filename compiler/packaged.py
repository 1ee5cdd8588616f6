"""Reads the files that come with the program: templates, and facts as data."""

from __future__ import annotations

import pkgutil


def packaged(package: str, path: str) -> bytes:
    """A file of one of our packages, also out of a zip.

    Raises:
        FileNotFoundError: There is no such file.
    """
    content = pkgutil.get_data(package, path)
    if content is None:  # a loader that keeps no data
        raise FileNotFoundError(f"{package}/{path}")
    return content
