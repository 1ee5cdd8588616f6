"""What verify.sh is put together from: plain bash, the same for every node."""

from __future__ import annotations

import re

from compiler.packaged import packaged

# In the order of the script: what comes first is used by what comes later.
PARTS = (
    "start",
    "report",
    "ask",
    "network",
    "host",
    "model",
    "docker",
    "card",
    "npu",
    "fibre",
    "alike",
    "pod",
    "peers",
    "main",
)


def checks() -> tuple[str, ...]:
    """The text of each part of verify.sh, without its last line break."""
    return tuple(_part(name).rstrip("\n") for name in PARTS)


def _part(name: str) -> str:
    return packaged("templates", f"verify/{name}.sh").decode()


def known_names() -> tuple[str, ...]:
    """The names of all checks of verify.sh, in the order of its parts: each declares its source by name."""
    return tuple(
        dict.fromkeys(
            name for part in checks() for name in re.findall(r"^SOURCE\['?([\w.-]+)'?\]=", part, re.MULTILINE)
        )
    )
