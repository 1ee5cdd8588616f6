"""Jinja2 as the templates expect it: strict, and with no other logic than printing and looping."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined

import templates
from compiler import quote
from compiler.holes import through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2.bccache import Bucket


def names(rooms: Sequence[str]) -> list[str]:
    """The templates of these folders: the folder is the scope, so a new file needs no line of code."""
    return [name for name in environment().list_templates(extensions=["j2"]) if name.split("/")[0] in rooms]


def printed(name: str, **facts: object) -> str:
    """What a template makes of these facts."""
    return environment().get_template(name).render(facts)


@cache
def environment() -> Environment:
    """The templates, with a filter for each encoder."""
    made = Environment(
        loader=PackageLoader("templates", "."),
        bytecode_cache=_compiled(),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - these are shell scripts and Markdown; each value names its encoder
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in quote.ENCODERS:
        made.filters[name] = _filter(name)
    made.filters["words"] = lambda words: " ".join(through("sh", word) for word in words)
    made.filters["json"] = _json
    return made


def compile_all() -> None:
    """Compile every template, so that no run has to."""
    for name in environment().list_templates(extensions=["j2"]):
        environment().get_template(name)


def _compiled() -> FileSystemBytecodeCache | None:
    """Where compiled templates lie: beside the templates, as Python has it with modules; nowhere for those in a zip."""
    folder = f"{os.path.dirname(templates.__file__)}/__pycache__"
    return _Compiled(folder, f"%s.{sys.implementation.cache_tag}.jinja") if os.path.isdir(folder) else None


class _Compiled(FileSystemBytecodeCache):
    """Writes where Python would write, too; Jinja2 looks for itself whether what it reads is of this template."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template that was compiled, if that can be."""
        if sys.dont_write_bytecode:
            return
        try:
            super().dump_bytecode(bucket)
        except OSError:
            return  # the folder is not ours: it is compiled every time


def _filter(encoder: str) -> Any:
    return lambda value: through(encoder, value)


def _json(value: Any) -> str:
    """A string, or a list of strings or numbers, as JSON."""
    if isinstance(value, str):
        return through("json", value)
    if {*map(type, value)} == {int}:
        return str(list(value))  # as JSON writes it
    return f"[{', '.join(_json(each) if isinstance(each, str) else json.dumps(each) for each in value)}]"
