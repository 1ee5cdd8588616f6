"""Did you mean: the one of a closed set of names that a mistyped one is nearest to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that `name` is probably a slip of, or None."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a fault needs it

    plain = {_plain(known): known for known in names}
    match = get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[match[0]] if match else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The hint, or the empty string when nothing is near."""
    match = nearest(name, names)
    return f"did you mean {match}?" if match else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").strip("_")
