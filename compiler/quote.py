"""One encoder for each language that a value is written in; templates use nothing else.

The rules are those of the readers: bash's quoting, Compose's interpolation of every string value in a
file (compose-go `template/template.go`: `$$` is a dollar), `docker run --env-file` (docker/cli
`pkg/kvfile/kvfile.go`: the whole line after `=`, literally).
"""

from __future__ import annotations

import json
import shlex


def sh(value: str) -> str:
    """A word of a shell command that expands to exactly `value`."""
    return shlex.quote(value)


def json_text(value: object) -> str:
    """`value` as JSON, ASCII only."""
    return json.dumps(value)
