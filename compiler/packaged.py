"""Reads the files that come with the program: templates, and facts as data."""

from __future__ import annotations

import importlib
import os
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


def packaged_names(package: str, folder: str) -> tuple[str, ...]:
    """What the files in a folder of one of our packages are called, sorted."""
    home = os.path.dirname(importlib.import_module(package).__file__ or "")
    try:
        return tuple(sorted(os.listdir(f"{home}/{folder}")))
    except OSError:  # in a zip
        from importlib.resources import files  # noqa: PLC0415 - takes as long to import as a spec to be compiled

        return tuple(sorted(file.name for file in files(package).joinpath(folder).iterdir()))
