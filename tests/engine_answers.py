"""What an emulated Docker engine is asked, and the kinds of answers that it has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Question(NamedTuple):
    """What is asked.

    Attributes:
        path: The path, without the version and what follows `?`.
        words: What the path holds, like the name of a container.
        query: What follows `?`.
        headers: By names in small letters.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    words: tuple[str, ...] = ()

    def yes(self, name: str) -> bool:
        """Whether something is asked for, as Docker reads it: https://github.com/moby/moby/blob/20.10/api/server/httputils/form.go"""
        return self.query.get(name, "").strip().lower() not in {"", "0", "no", "false", "none"}

    def document(self) -> dict[str, Any]:
        """The body, which is JSON.

        Raises:
            Refused: It is none.
        """
        try:
            document: dict[str, Any] = json.loads(self.body or b"{}")
        except ValueError:
            raise Refused(500, "unexpected EOF") from None
        return document


class Refused(Exception):  # noqa: N818 - named for what happened
    """The engine says no: with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Cut(Exception):  # noqa: N818 - named for what happened
    """The connection ends here."""


class Reply(NamedTuple):
    """A document, or nothing."""

    status: int
    document: Any = None


class Bytes(NamedTuple):
    """What is no JSON."""

    content: bytes
    headers: Mapping[str, str]


class Stream(NamedTuple):
    """An answer that comes in parts; an empty one only asks whether anybody listens."""

    parts: Iterator[bytes]
    kind: str = ""


class Hijacked(NamedTuple):
    """The connection becomes the streams of a process.

    Attributes:
        parts: What it says, as for Stream; None when that was not asked for.
        hear: Takes what is written to it; False ends the connection. None when that was not asked for.
        close: Told when nothing can be written to it any more.
        left: Told when it said something and nobody listened.
        status: Other than 200: what it says is why nothing became of it.
    """

    parts: Iterator[bytes] | None
    hear: Callable[[bytes], bool] | None = None
    close: Callable[[], None] = lambda: None
    left: Callable[[], None] = lambda: None
    status: int = 200


class Spoilt(NamedTuple):
    """Bytes in place of an answer; then the connection ends."""

    content: bytes


class Torn(NamedTuple):
    """An answer of which so many bytes are sent; then the connection ends."""

    answer: Answer
    size: int


Answer = Reply | Bytes | Stream | Hijacked | Spoilt | Torn
