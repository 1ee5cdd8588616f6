"""An emulated Docker engine on a unix socket: the part of its API that reaching nodes needs, and its faults.

Paths, fields and status codes are those of https://docs.docker.com/reference/api/engine/version/v1.41/ ; an exec's
output is multiplexed as "Attach to a container" there says: stream, three zeros, length, bytes. What it
says of refused mounts and devices are the words of moby 20.10 (daemon/create.go, oci/devices_linux.go).
"""

from __future__ import annotations

import json
import re
import socketserver
import ssl
import struct
import tarfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What a command in a container is answered with: status, stdout, stderr.
Answer = tuple[int, str, str]
LOOK = """\
python 3.11.13
ray 2.48.0
vllm 0.11.0
vllm-ascend 0.11.0
program /usr/local/bin/vllm
npu-smi 0
| npu-smi 25.2.0                   Version: 25.2.0 |
"""


@dataclass
class Engine:
    """One engine, healthy until a test changes it.

    Attributes:
        socket: Where it listens; None, or TLS settings, stand for a free port of this machine.
        run: Answers a command that a container runs, by its words and the script that was put into the container.
        images: Reference and inspection of each image.
        missing: Paths of the host that are not there.
        ahead: Seconds that its clock is ahead.
        hang: A part of a path; questions with it get no answer for a while.
        cut: A part of a path; the connection is closed instead of an answer to questions with it.
        odd: What is said instead, by method and path.
        others: Containers that were there before.
        asked: Method and path of each question, in their order.
        over: Set when the engine ends: what hangs waits for it.
    """

    socket: Path | ssl.SSLContext | None
    run: Callable[[list[str], str], Answer]
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    ahead: float = 0.0
    hang: str = "\0"
    cut: str = "\0"
    odd: dict[str, object] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    execs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._server: _OnSocket | _OnPort
        if self.socket is None:
            self._server = _OnPort(("127.0.0.1", 0), _Handler)
        elif isinstance(self.socket, ssl.SSLContext):
            self._server = _OnPort(("127.0.0.1", 0), _Handler)
            self._server.socket = self.socket.wrap_socket(self._server.socket, server_side=True)
        else:
            self._server = _OnSocket(str(self.socket), _Handler)
        self._server.engine = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it is reached."""
        if isinstance(self._server, _OnPort):
            return f"tcp://127.0.0.1:{self._server.server_address[1]}"
        return f"unix://{self.socket}"


class _Server(socketserver.ThreadingMixIn):
    daemon_threads = True
    request_queue_size = 64
    engine: Engine

    def handle_error(self, *_: object) -> None:
        """Nothing: whoever asked has gone, as it may."""


class _OnSocket(_Server, socketserver.UnixStreamServer):
    pass


class _OnPort(_Server, socketserver.TCPServer):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing: a test shows what was asked when it fails."""

    def _handle(self) -> None:
        engine = self.server.engine
        url = urlsplit(self.path)
        path = re.sub(r"^/v1\.\d+", "", url.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        engine.asked.append(f"{self.command} {path}")
        if engine.cut in path:
            self.close_connection = True
            return
        if engine.hang in path:
            engine.over.wait(30)
        if (asked := f"{self.command} {path}") in engine.odd:
            self.say(200, engine.odd[asked])
            return
        for method, pattern, answer in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                answer(self, engine, match, parse_qs(url.query), body)
                return
        self.say(404, {"message": f"page not found: {path}"})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815 - the base class looks for these

    def say(self, status: int, document: object) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    # ---- What it knows ---------------------------------------------------------------------------------

    def version(self, _: Engine, *__: Any) -> None:
        self.say(200, {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})

    def info(self, engine: Engine, *_: Any) -> None:
        now = time.time() + engine.ahead
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        self.say(200, {"SystemTime": f"{stamp}.{int(now % 1 * 1e9):09d}Z", "ServerVersion": "20.10.24"})

    def image(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        found = engine.images.get(match[1])
        self.say(200 if found else 404, found or {"message": f"No such image: {match[1]}"})

    def listed(self, engine: Engine, *_: Any) -> None:
        self.say(200, [{"Id": each["Id"]} for each in engine.others])

    def container(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        found = [each for each in engine.others if each["Id"] == match[1]]
        self.say(200 if found else 404, found[0] if found else {"message": "No such container"})

    # ---- One container ---------------------------------------------------------------------------------

    def create(self, engine: Engine, _: re.Match[str], query: dict[str, list[str]], body: bytes) -> None:
        config = json.loads(body)
        for mount in config["HostConfig"]["Mounts"]:
            if mount["Source"] in engine.missing:
                cause = f"bind source path does not exist: {mount['Source']}"
                self.say(400, {"message": f'invalid mount config for type "bind": {cause}'})
                return
        name = query["name"][0]
        engine.containers[name] = config
        self.say(201, {"Id": name, "Warnings": []})

    def archive(self, engine: Engine, match: re.Match[str], _: Any, body: bytes) -> None:
        with tarfile.open(fileobj=BytesIO(body)) as archive:
            (entry,) = archive.getmembers()
            content = archive.extractfile(entry)
            assert content is not None
            engine.containers[match[1]]["script"] = content.read().decode()
        self.say(200, None)

    def start(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        for device in engine.containers[match[1]]["HostConfig"]["Devices"]:
            path = device["PathOnHost"]
            if path in engine.missing:
                cause = (
                    f'error gathering device information while adding custom device "{path}": no such file or directory'
                )
                self.say(500, {"message": cause})
                return
        self.say(204, None)

    def remove(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        found = engine.containers.pop(match[1], None)
        self.say(204 if found else 404, None if found else {"message": "No such container"})

    def exec_create(self, engine: Engine, match: re.Match[str], _: Any, body: bytes) -> None:
        made = f"{match[1]}-{len(engine.execs)}"
        engine.execs[made] = {"container": match[1], "command": json.loads(body)["Cmd"], "ExitCode": None}
        self.say(201, {"Id": made})

    def exec_start(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        """The connection becomes the command's streams; asked without Upgrade, the answer is 200 and no length."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
        this = engine.execs[match[1]]
        script = engine.containers[this["container"]]["script"]
        status, out, err = engine.run(this["command"], script)
        for stream, text in ((2, err), (1, out)):
            content = text.encode()
            for begin in range(0, len(content), 30_000):
                part = content[begin : begin + 30_000]
                self.wfile.write(struct.pack(">BxxxL", stream, len(part)) + part)
        this["ExitCode"] = status

    def exec_inspect(self, engine: Engine, match: re.Match[str], *_: Any) -> None:
        self.say(200, {"ExitCode": engine.execs[match[1]]["ExitCode"]})


ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET", "/version", _Handler.version),
    ("GET", "/info", _Handler.info),
    ("GET", "/images/(.+)/json", _Handler.image),
    ("GET", "/containers/json", _Handler.listed),
    ("GET", "/containers/([^/]+)/json", _Handler.container),
    ("POST", "/containers/create", _Handler.create),
    ("PUT", "/containers/([^/]+)/archive", _Handler.archive),
    ("POST", "/containers/([^/]+)/start", _Handler.start),
    ("DELETE", "/containers/([^/]+)", _Handler.remove),
    ("POST", "/containers/([^/]+)/exec", _Handler.exec_create),
    ("POST", "/exec/([^/]+)/start", _Handler.exec_start),
    ("GET", "/exec/([^/]+)/json", _Handler.exec_inspect),
)
