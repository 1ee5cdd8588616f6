"""What every command says alike: exit codes, and lines on stderr."""

from __future__ import annotations

import os
import sys

DONE, AT_FAULT, USAGE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
CHANGES = 2  # of `plan --detailed-exitcode`


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def coloured(stream: object) -> bool:
    """True when colours are wanted there."""
    terminal = bool(getattr(stream, "isatty", bool)())
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
