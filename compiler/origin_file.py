"""FILE:LINE as a person gives it to a line of the bundle: which file of it, and where the line stands in it today."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from compiler.origin_line import lines_of
from compiler.render import MANIFEST, render_file

if TYPE_CHECKING:
    from compiler.plan import Plan


class Line(NamedTuple):
    """A line of the bundle that the spec compiles to.

    Attributes:
        path: Its file, relative to the bundle's folder.
        number: From 1.
        notes: What lies on disk and is something else.
    """

    path: str
    number: int
    notes: tuple[str, ...] = ()


class NoLineError(Exception):
    """There is no such line.

    Attributes:
        message: Why not.
        hint: What would help, or empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def line_of(target: str, plan: Plan, spec: str) -> Line:
    """The line that FILE:LINE means in the bundle of `plan`, which `spec` compiles to.

    Raises:
        NoLineError: It means none.
    """
    file, _, digits = target.rpartition(":")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0  # noqa: PLR2004
    if not file or not number:
        raise NoLineError(f"{target!r} is no FILE:LINE", "as in generated/qwen3-235b/node-0/node.env:3")
    root = _root_of(file) if os.path.isfile(file) else ""
    if root:
        return _on_disk(file, number, root, plan, spec)
    path = _inside(file, plan)
    if os.path.isfile(file) and render_file(plan, path) is None:
        raise NoLineError(f"{file} lies in no bundle: there is no {MANIFEST} above it")
    return Line(path, _within(number, path, _fresh(path, plan, spec)))


def _inside(file: str, plan: Plan) -> str:
    """The path in the bundle of a file that is not on disk: what follows the bundle's folder, or all of it."""
    path = os.path.normpath(file).replace(os.sep, "/")
    below = f"/{path}".rpartition(f"/{plan.name}/")[2].removeprefix("/")
    return path if render_file(plan, path) else below  # a node may be called like the cluster


def _fresh(path: str, plan: Plan, spec: str) -> list[str]:
    made = render_file(plan, path)
    if made is None:
        raise NoLineError(
            f"{spec} makes no file {path}", f"`compiler render` writes them all, and {MANIFEST} lists them"
        )
    return lines_of(made.content)


def _within(number: int, file: str, lines: list[str]) -> int:
    if number > len(lines):
        raise NoLineError(f"{file} has {len(lines)} lines, and no line {number}")
    return number


def _on_disk(file: str, number: int, root: str, plan: Plan, spec: str) -> Line:
    manifest = _manifest(root)
    name, digest = manifest.get("name"), manifest.get("spec_sha256")
    if name != plan.name:
        hint = f"name that cluster's spec: compiler explain {file}:{number} SPEC"
        raise NoLineError(f"{file} is a file of the cluster {name}, and {spec} is that of {plan.name}", hint)
    path = os.path.relpath(os.path.abspath(file), root).replace(os.sep, "/")
    there, fresh = lines_of(_read(file)), _fresh(path, plan, spec)
    text = there[_within(number, file, there) - 1]
    if there == fresh:
        return Line(path, number)
    why = "the spec has changed since" if digest != plan.spec_digest else "it was edited, or another version made it"
    note = f"{file} is not what {spec} compiles to: {why}"
    places = [at for at, line in enumerate(fresh, start=1) if line == text]
    if not places:
        raise NoLineError(f"{note}; it has no line like line {number} any more", "render it again and ask about that")
    nearest = min(places, key=lambda at: abs(at - number))
    return Line(path, nearest, (note if nearest == number else f"{note}; the line is line {nearest} now",))


def _root_of(file: str) -> str:
    """The folder of the bundle that a file lies in; empty when it lies in none."""
    folder = os.path.dirname(os.path.abspath(file))
    while not os.path.isfile(os.path.join(folder, MANIFEST)):
        above = os.path.dirname(folder)
        if above == folder:
            return ""
        folder = above
    return folder


def _manifest(root: str) -> dict[str, object]:
    try:
        manifest = json.loads(_read(os.path.join(root, MANIFEST)))
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise NoLineError(f"{os.path.join(root, MANIFEST)} is no manifest of a bundle", "render it again")
    return manifest


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as fault:
        raise NoLineError(f"{file} cannot be read: {fault.strerror or fault}") from None
