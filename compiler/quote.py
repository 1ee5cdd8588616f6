"""One encoder for each language that a value is written in; templates and emitters use nothing else.

The rules are those of the readers: bash's quoting; YAML's double-quoted scalars with Compose's
interpolation, which takes `$$` for a dollar in every value of a file
(compose-go `template/template.go`); the line of an env file as `docker run` reads it, literally
(docker/cli `pkg/kvfile/kvfile.go`); XML's text.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_json = json.JSONEncoder().encode  # what json.dumps calls, twice as fast for a short string
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


def text(value: str) -> str:
    """The value as it is: for names whose grammar admits nothing that any language could misread."""
    return value


# What an editor or a terminal obeys instead of showing it: control characters, and Unicode's invisible and
# direction-changing ones (https://trojansource.codes). A fixed list: Python's own grows with its version.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII).fullmatch  # what shlex.quote leaves as it is
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def sh(value: str) -> str:
    r"""A word of a bash command that expands to exactly `value`; the unseen is written `$'\342\200\256'`."""
    if _PLAIN_WORD(value):
        return value
    if (value.isascii() and value.isprintable()) or not _UNSEEN.search(value):
        return shlex.quote(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_UNSEEN.sub(_octal, escaped)}'"


def _octal(unseen: re.Match[str]) -> str:
    """Its bytes: bash reads them as they are, whatever the locale."""
    return _SHORT.get(unseen[0]) or "".join(f"\\{byte:03o}" for byte in unseen[0].encode())


def json_text(value: str) -> str:
    """A JSON string, ASCII only; Python reads it as a string of its own too."""
    return _json(value)


def yaml(value: str) -> str:
    r"""A double-quoted YAML scalar, ASCII only. JSON's, but YAML joins no surrogates: `\U0001f600` for them."""
    if value.isascii():
        return _json(value)
    parts = _ASTRAL.split(value)
    if len(parts) == 1:
        return _json(value)
    escaped = [_json(part)[1:-1] for part in parts]
    astral = [f"\\U{ord(char):08x}" for char in _ASTRAL.findall(value)]
    joined = "".join(part for pair in zip(escaped, [*astral, ""], strict=True) for part in pair)
    return f'"{joined}"'


def compose(value: str) -> str:
    """A value in a Compose file: `yaml`, and each dollar twice."""
    return yaml(value).replace("$", "$$")


def xml(value: str) -> str:
    """Text of an XML element or a quoted attribute."""
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        value = value.replace(char, entity)
    return value


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+.!|<>~&-])")


def markdown(value: str) -> str:
    """Text of a Markdown paragraph or table cell that shows `value` and nothing else."""
    return _MARKDOWN.sub(r"\\\1", value)


def code(value: str) -> str:
    """A Markdown code span that shows `value`; with backticks inside, the fence is longer than any of them."""
    longest = max((len(run) for run in re.findall("`+", value)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{value}{pad}{fence}"


ENCODERS: dict[str, Callable[[str], str]] = {
    "text": text,
    "sh": sh,
    "json": json_text,
    "compose": compose,
    "xml": xml,
    "markdown": markdown,
    "code": code,
}
