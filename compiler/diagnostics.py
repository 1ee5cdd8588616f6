"""Diagnostics are data: what is wrong, on which path of the spec. Places are joined at the edge."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning"]
Path = tuple["str | int", ...]


class Place(NamedTuple):
    """Where in a file: `line` and `column` count from 1, `length` is what the caret underlines."""

    file: str
    line: int
    column: int
    length: int


class Diagnostic(NamedTuple):
    """One fault or warning.

    Attributes:
        severity: An error stops the compilation, a warning does not.
        code: Its stable name; `docs/diagnostics.md` has an entry for each.
        message: What is wrong, for the person who must mend it.
        path: Where in the merged spec, with `nodes` expanded; empty for the file as a whole.
        hint: What would be right; `{there}` in it stands for the place of `related`.
        at_key: The key itself is at fault, not its value.
        related: Another path that the hint speaks of.
        place: Set where the fault has no path, as in YAML that cannot be read.
        secret: The line may hold a secret and is not quoted.
    """

    severity: Severity
    code: str
    message: str
    path: Path = ()
    hint: str = ""
    at_key: bool = False
    related: Path = ()
    place: Place | None = None
    secret: bool = False


def error(code: str, path: Path, message: str, hint: str = "", **more: Any) -> Diagnostic:
    """An error on `path`; `more` are Diagnostic's other fields."""
    return Diagnostic("error", code, message, path, hint)._replace(**more)


def warning(code: str, path: Path, message: str, hint: str = "", **more: Any) -> Diagnostic:
    """A warning on `path`; `more` are Diagnostic's other fields."""
    return Diagnostic("warning", code, message, path, hint)._replace(**more)


def has_errors(diagnostics: tuple[Diagnostic, ...]) -> bool:
    """True when any of them stops the compilation."""
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


def path_text(path: Path) -> str:
    """The path as people write it: `nodes[1].address`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun: `1 node`, `2 nodes`."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"
