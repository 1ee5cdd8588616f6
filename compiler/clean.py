"""What others said, made fit for a line on a terminal."""

from __future__ import annotations

import re

# Control characters, those of Unicode that turn the direction of what follows (https://trojansource.codes), and halves
# of surrogate pairs, which JSON may hold and nothing can write.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")


def one_line(text: str, limit: int = 500) -> str:
    """What a daemon or a tool said, as one line that a terminal only shows."""
    line = _UNSEEN.sub(" ", _COLOUR.sub("", text)).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."
