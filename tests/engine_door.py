"""The door of an emulated Docker engine: HTTP/1.1 on a socket, a thread for each connection.

Small on purpose: 200 of them are opened in one process. The headers are those of Docker 20.10.24.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from engine_answers import Bytes, Cut, Hijacked, Question, Reply, Spoilt, Stream, Torn
from engine_shapes import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from engine_answers import Answer

RAW = "Content-Type: application/vnd.docker.raw-stream\r\n"
SERVER = f"Api-Version: 1.41\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Docker/{VERSION} (linux)\r\n"
# Seconds that a real process needs to say anything: docker-py loses what comes along with the head of such an answer.
BREATH = 0.02
NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Door:
    """Where an engine listens.

    Attributes:
        url: What clients are told; a port that is free is taken at first, and kept.
        opened: So many connections were opened.
        most: So many were open at the same time.
    """

    def __init__(self, place: Path | ssl.SSLContext | None, answer: Callable[[Question], Answer]) -> None:
        self.opened = self.most = 0
        self._answer = answer
        self._tls = place if isinstance(place, ssl.SSLContext) else None
        self._path = place if isinstance(place, Path) else None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = self._bound(0)
        self._port = 0 if self._path else self._listener.getsockname()[1]
        self._guard = threading.Thread()
        self.url = f"unix://{self._path}" if self._path else f"tcp://127.0.0.1:{self._port}"

    def _bound(self, port: int) -> socket.socket:
        if self._path is None:
            return socket.create_server(("127.0.0.1", port), backlog=64)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen(64)
        return listener

    @property
    def listens(self) -> bool:
        """It lets clients in."""
        return self._listener is not None

    @property
    def open_now(self) -> int:
        """So many connections are open."""
        return len(self._open)

    def open(self) -> None:
        """Lets clients in."""
        listener = self._listener = self._listener or self._bound(self._port)
        self._guard = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._guard.start()

    def close(self) -> None:
        """Lets nobody in any more, and ends the connections that there are, as the end of a process does."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with suppress(OSError):  # wakes the guard on Linux
            listener.shutdown(socket.SHUT_RDWR)
        with suppress(OSError), socket.socket(listener.family) as knock:  # and elsewhere
            knock.connect(listener.getsockname())
        if self._guard.is_alive():
            self._guard.join()
        listener.close()
        with self._lock:
            for each in self._open:
                with suppress(OSError):  # the client may have been faster
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if listener is self._listener:
                    raise
                return
            if listener is not self._listener:
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            self.opened += 1
            self.most = max(self.most, len(self._open) - self._left())
        try:
            # What goes wrong is that the client went away, as it may; or that it speaks no TLS.
            with suppress(OSError, Cut):
                if self._tls:
                    connection = self._secured(self._tls, connection)
                elif self._path is None:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection.makefile("rb") as asked:
                    _converse(connection, asked, self._answer)
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()

    def _left(self) -> int:
        """So many were closed by their clients, and are about to be here."""
        poll = select.poll()
        for each in self._open:
            poll.register(each, select.POLLRDHUP)
        return len(poll.poll(0))

    def _secured(self, tls: ssl.SSLContext, connection: socket.socket) -> socket.socket:
        secured = tls.wrap_socket(connection, server_side=True)  # it takes the other one over
        with self._lock:
            self._open.discard(connection)
            self._open.add(secured)
        return secured


def _converse(connection: socket.socket, asked: BinaryIO, answer: Callable[[Question], Answer]) -> None:
    """Answers questions until the connection ends."""
    while (question := _question(asked)) is not None:
        given = answer(question)
        limit = None
        if isinstance(given, Torn):
            given, limit = given
        _Sender(connection, limit).send(question, given, asked)
        if isinstance(given, Hijacked | Spoilt) or question.headers.get("connection", "").lower() == "close":
            return


def _question(asked: BinaryIO) -> Question | None:
    """The next question; None when there is none."""
    words = asked.readline(1 << 16).decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = {}
    while line := asked.readline(1 << 16).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    url = urlsplit(words[1])
    path = unquote(url.path)
    if path.startswith("/v1."):
        path = f"/{path.split('/', 2)[2]}"
    return Question(words[0], path, dict(parse_qsl(url.query)), headers, _body(asked, headers))


def _body(asked: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return asked.read(int(headers.get("content-length", "0")))
    chunks = []
    while size := int(asked.readline(), 16):
        chunks.append(asked.read(size))
        asked.readline()
    asked.readline()
    return b"".join(chunks)


class _Sender:
    """Sends one answer, or its first `limit` bytes."""

    def __init__(self, connection: socket.socket, limit: int | None) -> None:
        self._connection = connection
        self._limit = limit

    def send(self, question: Question, answer: Answer, asked: BinaryIO) -> None:
        """Sends it."""
        if isinstance(answer, Hijacked):
            self._hijacked(question, answer, asked)
        elif isinstance(answer, Stream):
            self._stream(answer)
        elif isinstance(answer, Spoilt):
            self._send(answer.content)
        elif isinstance(answer, Bytes):
            named = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            self._whole(HTTPStatus.OK, named, answer.content, body=question.method != "HEAD")
        elif isinstance(answer, Reply):
            content = b"" if answer.document is None else json.dumps(answer.document).encode() + b"\n"
            named = "Content-Type: application/json\r\n" if content else ""
            self._whole(answer.status, named, content, body=question.method != "HEAD")

    def _whole(self, status: int, headers: str, content: bytes, *, body: bool) -> None:
        length = "" if status in NO_BODY else f"Content-Length: {len(content)}\r\n"
        phrase = HTTPStatus(status).phrase
        self._send(f"HTTP/1.1 {status} {phrase}\r\n{SERVER}{headers}{length}\r\n".encode() + (content if body else b""))

    def _stream(self, answer: Stream) -> None:
        kind = f"Content-Type: {answer.kind}\r\n" if answer.kind else ""
        self._send(f"HTTP/1.1 200 OK\r\n{SERVER}{kind}Transfer-Encoding: chunked\r\n\r\n".encode())
        for part in answer.parts:
            if part:
                self._send(b"%x\r\n%s\r\n" % (len(part), part))
            elif self._left():
                raise Cut
        self._send(b"0\r\n\r\n")

    def _hijacked(self, question: Question, answer: Hijacked, asked: BinaryIO) -> None:
        """Both directions at a time; asked with `Upgrade`, the answer is 101."""
        status = HTTPStatus(answer.status)
        if question.headers.get("upgrade") and status == HTTPStatus.OK:
            self._send(f"HTTP/1.1 101 UPGRADED\r\n{RAW}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
            time.sleep(BREATH)
        else:
            self._send(f"HTTP/1.1 {status} {status.phrase}\r\n{RAW}\r\n".encode())
        if answer.parts is None:
            self._hear(answer, asked)
            return
        if answer.hear:
            threading.Thread(target=self._hear, args=(answer, asked), daemon=True).start()
        try:
            for part in answer.parts:
                if not part and self._hung_up():
                    break
                self._send(part)
        except OSError:
            answer.left()
            raise
        finally:
            with suppress(OSError):  # it may be gone already
                self._connection.shutdown(socket.SHUT_RDWR)

    def _hear(self, answer: Hijacked, asked: BinaryIO) -> None:
        """Passes on what is written, to its end."""
        try:
            with suppress(OSError, ValueError):  # a connection that was reset, or closed here
                while (content := asked.read1(1 << 16)) and answer.hear and answer.hear(content):  # type: ignore[attr-defined]
                    pass
        finally:
            answer.close()

    def _send(self, content: bytes) -> None:
        if self._limit is not None:
            content, self._limit = content[: self._limit], max(0, self._limit - len(content))
        if content:
            self._connection.sendall(content)
        if self._limit == 0:
            raise Cut

    def _hung_up(self) -> bool:
        """Whether the client has gone from a Unix socket; of one that only says nothing more, this is not told."""
        poll = select.poll()
        poll.register(self._connection, 0)
        return bool(poll.poll(0))

    def _left(self) -> bool:
        """Whether the client has gone: while it waits for an answer it says nothing, so it can only be its end."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))
