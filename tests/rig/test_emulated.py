"""The emulated engine (tests/engine_api.py) against a real one: asked the same, they say the same.

Ids, times, process ids and the folder that all lies in are made alike first; the rest is compared to the letter.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import re
import signal
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import engine as real
import engine_api as emulated
import pytest
from engine_faults import full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engine_container import Container

pytestmark = pytest.mark.rig
IMAGE = "rig/ascend:1"
STAYS = "trap 'exit 3' TERM; while sleep 0.1; do :; done"
SAYS = "echo out; sleep 0.1; echo err >&2; exit 5"
COMMANDS = {"echo o; exit 4": (4, "o\n", ""), "echo e >&2": (0, "", "e\n"), "echo $MINE": (0, "mine\n", "")}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
LOCK: dict[str, Any] = {
    "Cmd": ["cat"],
    "OpenStdin": True,
    "StdinOnce": True,
    "AttachStdin": True,
    "HostConfig": {"AutoRemove": True},
}
# What is told of how the disk and the network are made, and differs between any two machines.
OWN = {
    *("GraphDriver", "SandboxID", "SandboxKey", "NetworkID", "EndpointID", "Hostname"),
    *("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"),
}


class OnSocket(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        """Connects."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


class Side:
    """One of the two engines.

    Attributes:
        root: The folder that it says all lies in.
        said: What it said, question by question.
    """

    def __init__(self, path: Path, root: str) -> None:
        self.root = root
        self.said: list[object] = []
        self._path = path

    def _asked(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, str, bytes]:
        with contextlib.closing(OnSocket(self._path)) as connection:
            raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            kind = {"Content-Type": "application/json"} if raw and not isinstance(body, bytes) else {}
            connection.request(method, f"/v1.41{path}", raw, {**kind, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Asks, and notes what was said; a document is given back as it was."""
        status, kind, content = self._asked(method, path, body, headers)
        document = self._document(content)
        self.said.append((f"{method} {_plain(path)}", status, kind, self._alike(document)))
        return document

    def tell(self, path: str, wanted: Callable[[Any], object]) -> None:
        """Asks until it says what is wanted, and notes that."""
        deadline = time.monotonic() + 10
        while True:
            status, _, content = self._asked("GET", path, None, {})
            document = self._document(content)
            if wanted(document):
                break
            assert time.monotonic() < deadline, (path, status, content)
            time.sleep(0.05)
        self.said.append((f"GET {_plain(path)}", status, self._alike(document)))

    def until_gone(self, name: str) -> None:
        """Waits until there is no such container."""
        self.tell(f"/containers/{name}/json", lambda said: "message" in said)

    def create(self, name: str, script: str = STAYS, **config: Any) -> Any:
        """Makes a container that runs a script."""
        host = {"NetworkMode": "host", **config.pop("HostConfig", {})}
        body = {"Image": IMAGE, "Cmd": ["bash", "-c", script], "HostConfig": host, **config}
        return self.ask("POST", f"/containers/create?name={quote(name)}", body)

    def run(self, name: str, script: str = STAYS, **config: Any) -> Any:
        """Makes and starts it."""
        made = self.create(name, script, **config)
        self.ask("POST", f"/containers/{name}/start")
        return made

    def execute(self, container: str, script: str, *, apart: bool = False, **more: Any) -> str:
        """Runs a script in a container."""
        asked = {"Cmd": ["bash", "-c", script], "AttachStdout": True, "AttachStderr": True, **more}
        made = str(self.ask("POST", f"/containers/{container}/exec", asked)["Id"])
        self.ask("GET", f"/exec/{made}/json")
        self.ask("POST", f"/exec/{made}/start", {"Detach": apart, "Tty": False})
        return made

    def attach(self, name: str, wanted: str, **headers: str) -> socket.socket:
        """The connection to a container's streams, once it is made; notes the head of the answer."""
        attached = socket.socket(socket.AF_UNIX)
        attached.settimeout(10)
        attached.connect(str(self._path))
        named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        attached.sendall(f"POST /v1.41/containers/{name}/attach?{wanted} HTTP/1.1\r\nHost: x\r\n{named}\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += attached.recv(1)
        self.said.append(said)
        return attached

    def heard(self, attached: socket.socket, size: int = 0) -> None:
        """Notes what comes next: so many bytes, or all to the end."""
        said = b""
        while (not size or len(said) < size) and (part := attached.recv(1 << 16)):
            said += part
        self.said.append(said)

    def _document(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            return content

    def _alike(self, document: Any, key: str = "") -> Any:
        if key in OWN:
            return type(document).__name__
        if key in {"Pid", "Created"} and isinstance(document, int):
            return document > 0
        if isinstance(document, dict):
            return {name: self._alike(value, name) for name, value in document.items()}
        if isinstance(document, list):
            return [self._alike(each) for each in document]
        if isinstance(document, str):
            return _plain(document.replace(self.root, "/ROOT"))
        return _plain(document.decode("latin-1")) if isinstance(document, bytes) else document


def _plain(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    text = re.sub(r"\b(?!0001)\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"\b(Up |)(Less than a second|\d+ seconds?)( ago|)", r"\1A WHILE\3", text)


# ---- The two -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker() -> Iterator[real.Engine]:
    with real.engine() as running:
        programs = ("bash", "cat", "sleep", "true")
        running.import_image(IMAGE, dict(zip(programs, programs, strict=True)), {})
        yield running


def begun(container: Container) -> None:
    """What the containers of these tests do."""
    container.ends_with = 3
    if SAYS in container.words:
        container.say("out\n")
        container.say("err\n", stream=2)
        container.end(5)


def differences(mine: Any, its: Any, path: str = "") -> Iterator[str]:
    """Where two of them are not alike."""
    if isinstance(mine, dict) and isinstance(its, dict):
        for key in mine.keys() | its.keys():
            yield from differences(mine.get(key, "missing"), its.get(key, "missing"), f"{path}.{key}")
    elif isinstance(mine, list | tuple) and isinstance(its, list | tuple) and len(mine) == len(its):
        for each, other in zip(mine, its, strict=True):
            yield from differences(each, other, f"{path}/{mine[0] if isinstance(mine, tuple) else ''}")
    elif mine != its:
        yield f"{path}: {mine!r} is {its!r} there"


class Both(NamedTuple):
    """The engines, and how each is asked."""

    docker: real.Engine
    fake: emulated.Engine
    sides: tuple[Side, Side]

    def compare(self, scenario: Callable[[Side], object]) -> None:
        """Lets both go through the same."""
        for side in self.sides:
            scenario(side)
        ours, theirs = (side.said for side in self.sides)
        found = list(differences(ours, theirs))
        assert not found, "\n".join(found)


@pytest.fixture
def both(docker: real.Engine, tmp_path: Path) -> Iterator[Both]:
    image = json.loads(docker.docker("inspect", IMAGE))[0]
    images = {IMAGE: {"Id": image["Id"], "Config": image["Config"]}}
    place = tmp_path / "fake"
    with emulated.Engine(
        place, lambda words, _: COMMANDS[words[-1]], images, started=begun, absent={"nosuch"}, missing={"/none"}
    ) as fake:
        sides = (Side(place, "/var/lib/docker"), Side(docker.socket, str(docker.folder / "data-root")))
        yield Both(docker, fake, sides)
    docker.empty()


# ---- Containers ----------------------------------------------------------------------------------------


def refusals(side: Side) -> None:
    side.create("taken")
    side.create("taken")
    for name in ("b/c", "-x", "x"):
        side.create(name)
    side.create("other", Image="nope:2")
    side.create("other", Cmd=None)
    side.create("other", HostConfig={"Mounts": [{"Type": "bind", "Source": "/none", "Target": "/m"}]})
    side.create("other", HostConfig={"Mounts": [{"Type": "bind", "Source": "none", "Target": "/m"}]})
    side.create("other", HostConfig={"Mounts": [{"Type": "bind", "Source": "/mnt", "Target": "/m"}] * 2})
    side.create("other", HostConfig={"RestartPolicy": {"Name": "odd"}})
    side.create("other", HostConfig={"RestartPolicy": {"Name": "always"}, "AutoRemove": True})
    side.ask("POST", "/containers/create?name=other", b"{}", **{"Content-Type": "text/plain"})
    side.ask("POST", "/containers/create?name=other", b"{", **{"Content-Type": "application/json"})
    side.ask("POST", "/containers/create?name=other", b"{}", **{"Content-Type": "application/json"})
    for method, path in (
        *(("POST", each) for each in ("start", "stop", "restart", "kill", "rename?name=bb", "wait", "exec")),
        *(("GET", each) for each in ("json", "logs?stdout=1", "logs", "archive?path=/")),
    ):
        side.ask(method, f"/containers/none/{path}", {"Cmd": ["true"]} if path == "exec" else None)
    side.ask("DELETE", "/containers/none")
    side.ask("GET", "/containers/json?filters=" + quote('{"odd": ["x"]}'))
    side.ask("GET", "/containers/json?filters=" + quote("{"))
    side.ask("GET", "/odd")


FULL: dict[str, Any] = {
    "Env": ["PATH=/bin", "B"],
    "Labels": {"ascend-cluster.name": "q"},
    "User": "0",
    "StopTimeout": 30,
    "AttachStdout": True,
    "HostConfig": {
        "Devices": [{"PathOnHost": "/dev/davinci0", "PathInContainer": "/dev/davinci0", "CgroupPermissions": "rwm"}],
        "Mounts": [{"Type": "bind", "Source": "/mnt/shared/cache", "Target": "/root/.cache", "ReadOnly": False}],
        "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}],
        "ShmSize": 1 << 30,
        "Init": True,
        "Tmpfs": {"/tmp": "mode=1777"},  # noqa: S108
        "SecurityOpt": ["label=disable"],
        "RestartPolicy": {"Name": "no"},
    },
}


def life(side: Side) -> None:
    side.create("head", **FULL)
    side.ask("GET", "/containers/head/json")
    side.ask("GET", "/containers/json?all=1")
    side.ask("POST", "/containers/head/start")
    side.ask("POST", "/containers/head/start")
    side.ask("GET", "/containers/head/json")
    side.ask("GET", "/containers/json")
    side.ask("DELETE", "/containers/head")
    side.create("next", HostConfig={"Privileged": True, "Mounts": [{"Type": "volume", "Source": "v1", "Target": "/v"}]})
    side.ask("GET", "/containers/next/json")
    side.ask("GET", "/containers/json?all=1")
    for name in ("next", "head", "a/a", "old"):
        side.ask("POST", f"/containers/head/rename?name={quote(name)}")
    side.ask("POST", "/containers/next/rename?name=head")
    side.ask("POST", "/containers/old/stop?t=5")
    side.ask("POST", "/containers/old/stop?t=5")
    side.ask("GET", "/containers/old/json")
    side.ask("POST", "/containers/old/wait")
    side.ask("POST", "/containers/old/kill")
    side.ask("POST", "/containers/old/restart?t=5")
    side.ask("POST", "/containers/old/kill?signal=SIGODD")
    side.ask("POST", "/containers/old/kill?signal=SIGWINCH")
    side.ask("POST", "/containers/old/kill")
    side.tell("/containers/old/json", lambda said: not said["State"]["Running"])
    side.ask("GET", "/containers/json?all=1&filters=" + quote('{"label": ["ascend-cluster.name=q"]}'))
    side.ask("GET", "/containers/json?all=1&filters=" + quote('{"name": ["^/head$"], "status": ["created"]}'))
    side.ask("DELETE", "/containers/old?v=1")
    side.ask("DELETE", "/containers/head?force=1")


def starts(side: Side) -> None:
    device = {"PathOnHost": "/none", "PathInContainer": "/none", "CgroupPermissions": "rwm"}
    side.run("device", HostConfig={"Devices": [device]})
    side.ask("GET", "/containers/device/json")
    side.run("program", Cmd=["nosuch"])
    side.tell("/containers/program/json", lambda said: said["State"]["Error"])
    side.run("gone", Cmd=["nosuch"], HostConfig={"AutoRemove": True})
    side.until_gone("gone")


def ends(side: Side) -> None:
    side.run("auto", HostConfig={"AutoRemove": True})
    side.ask("POST", "/containers/auto/stop?t=5")
    side.until_gone("auto")
    side.run("short", SAYS)
    side.ask("POST", "/containers/short/wait")
    side.ask("GET", "/containers/short/json")
    side.run("forced")
    side.ask("DELETE", "/containers/forced?force=1")
    side.ask("GET", "/containers/forced/json")


def logs(side: Side) -> None:
    side.create("says", SAYS)
    side.ask("GET", "/containers/says/logs?stdout=1&follow=1")
    side.ask("POST", "/containers/says/start")
    side.ask("GET", "/containers/says/logs?stdout=1&stderr=1&follow=1")
    side.ask("POST", "/containers/says/wait")
    both = "stdout=1&stderr=1"
    for asked in (both, "stdout=1", "stderr=1", f"{both}&tail=1", f"{both}&tail=0", f"{both}&tail=x", ""):
        side.ask("GET", f"/containers/says/logs?{asked}")
    for asked in ("timestamps=1", "since=1", "since=9999999999", "since=x", "until=1"):
        side.ask("GET", f"/containers/says/logs?{both}&{asked}")


def locks(side: Side) -> None:
    side.attach("none", "stdin=1&stream=1", **UPGRADE).close()
    for headers in (UPGRADE, {}):
        side.create("lock", **LOCK)
        holder = side.attach("lock", "stdin=1&stream=1", **headers)
        side.ask("POST", "/containers/lock/start")
        holder.sendall(b"me\n")
        side.tell("/containers/lock/logs?stdout=1", bool)
        holder.close()
        side.until_gone("lock")
    side.create("lock", **LOCK)
    side.attach("lock", "stdin=1&stream=1", **UPGRADE).close()
    time.sleep(0.5)
    side.ask("POST", "/containers/lock/start")
    side.until_gone("lock")
    side.create("lock", **LOCK)
    with side.attach("lock", "stdin=1&stdout=1&stream=1", **UPGRADE) as holder:
        side.ask("POST", "/containers/lock/start")
        holder.sendall(b"me\n")
        side.heard(holder, 11)
        side.ask("DELETE", "/containers/lock?force=1")
        side.heard(holder)
    side.run("lock", **LOCK)
    with side.attach("lock", "stdin=1&stream=1", **UPGRADE):
        side.attach("lock", "stdin=1&stream=1", **UPGRADE).close()
        side.until_gone("lock")


def files(side: Side) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("x.sh")
        entry.size, entry.mode = 3, 0o755
        archive.addfile(entry, io.BytesIO(b"abc"))
    kind = {"Content-Type": "application/x-tar"}
    side.create("head")
    for path in ("?path=/", "?path=/none", "?path=/x.sh", ""):
        side.ask("PUT", f"/containers/head/archive{path}", made.getvalue(), **kind)
    side.ask("PUT", "/containers/head/archive?path=/", b"no tar" * 500, **kind)
    with tarfile.open(fileobj=io.BytesIO(side.ask("GET", "/containers/head/archive?path=/x.sh"))) as archive:
        side.said[-1] = [(each.name, each.size, each.mode & 0o777) for each in archive]
    for path in ("?path=/none", ""):
        side.ask("GET", f"/containers/head/archive{path}")
        side.ask("HEAD", f"/containers/head/archive{path}")
    side.ask("HEAD", "/containers/head/archive?path=/x.sh")


def commands(side: Side) -> None:
    side.create("head")
    side.ask("POST", "/containers/head/exec", {"Cmd": ["true"]})
    side.ask("POST", "/containers/head/start")
    side.ask("POST", "/containers/head/exec", {"Cmd": []})
    for script in COMMANDS:
        made = side.execute("head", script, Env=["MINE=mine"])
        side.tell(f"/exec/{made}/json", lambda said: not said["Running"])
        side.ask("POST", f"/exec/{made}/start", {"Detach": False})
    side.execute("head", "echo o; exit 4", AttachStdout=False)
    side.execute("head", "echo o; exit 4", apart=True)
    side.ask("GET", "/exec/none/json")
    side.ask("POST", "/exec/none/start", {"Detach": False})
    side.tell("/containers/head/json", lambda said: not said["ExecIDs"])
    side.execute("head", "x", Cmd=["nosuch"])
    made = side.execute("head", "x", Cmd=["nosuch"], apart=True)
    side.ask("GET", f"/exec/{made}/json")


def volumes(side: Side) -> None:
    side.ask("POST", "/volumes/create", {"Name": "m1", "Labels": {"a": "1"}})
    side.ask("POST", "/volumes/create", {"Name": "m1", "Labels": {"a": "2"}})
    for name in ("x", "bad/name"):
        side.ask("POST", "/volumes/create", {"Name": name})
    side.ask("POST", "/volumes/create", {"Name": "m2"})
    side.ask("GET", "/volumes/m1")
    side.ask("GET", "/volumes/none")
    for asked in ('{"label": ["a=1"]}', '{"label": ["a"]}', '{"label": ["b"]}', '{"name": ["m2"]}', '{"odd": ["x"]}'):
        side.ask("GET", "/volumes?filters=" + quote(asked))
    side.create("uses", HostConfig={"Mounts": [{"Type": "volume", "Source": "m1", "Target": "/v"}]})
    side.ask("DELETE", "/volumes/m1")
    side.ask("DELETE", "/volumes/m1?force=1")
    side.ask("DELETE", "/containers/uses")
    for name in ("m1", "m1", "m1?force=1", "m2"):
        side.ask("DELETE", f"/volumes/{name}")


@pytest.mark.parametrize("scenario", [refusals, life, starts, ends, logs, locks, files, commands, volumes])
def test_both_say_the_same(both: Both, scenario: Callable[[Side], None]) -> None:
    both.compare(scenario)


# ---- Itself and images: here it tells less, and nothing else -------------------------------------------


def less(mine: Any, its: Any, path: str = "") -> None:
    """Raises unless all that is told here is told there, and is of the same type."""
    assert type(mine) is type(its), path
    if isinstance(mine, dict):
        assert mine.keys() <= its.keys(), path
        for key in mine.keys() - OWN:
            if key == "Warnings" and mine[key] is None:  # what there is to warn of is the real machine's own
                assert its[key] is None or all(type(each) is str for each in its[key]), path
            else:
                less(mine[key], its[key], f"{path}.{key}")
    elif isinstance(mine, list) and mine and its:
        less(mine[0], its[0], f"{path}[0]")


@pytest.mark.parametrize("path", ["/version", "/info", "/images/json", f"/images/{IMAGE}/json", "/_ping"])
def test_what_it_tells_of_itself_and_of_images(both: Both, path: str) -> None:
    mine, its = (side.ask("GET", path) for side in both.sides)
    less(mine, its)


def test_an_image_that_is_not_there(both: Both) -> None:
    def scenario(side: Side) -> None:
        for name in ("none", "none:1", "quay.io/a/b:1"):
            side.ask("GET", f"/images/{name}/json")

    both.compare(scenario)


# ---- Pulls, from a registry on the loopback ------------------------------------------------------------


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """Knows `team/vllm:v1`, and `team/torn:v1` whose layer is lost.

    https://github.com/distribution/distribution/blob/main/docs/content/spec/api.md
    """

    protocol_version = "HTTP/1.1"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as _archive:
        _archive.addfile(tarfile.TarInfo("hello"))
    layer = gzip.compress(tar.getvalue())

    @classmethod
    def config(cls, name: str) -> bytes:
        """What a container of an image is like."""
        layers = {"type": "layers", "diff_ids": [digest(cls.tar.getvalue())]}
        config = {"Env": ["PATH=/bin", f"NAME={name}"], "Cmd": ["cat"]}
        return json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": layers}).encode()

    @classmethod
    def manifest(cls, name: str) -> bytes:
        """What an image is made of."""
        kind = "application/vnd.docker"
        layer = {"mediaType": f"{kind}.image.rootfs.diff.tar.gzip", "size": len(cls.layer)}
        config = {"mediaType": f"{kind}.container.image.v1+json", "size": len(cls.config(name))}
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{kind}.distribution.manifest.v2+json",
                "config": {**config, "digest": digest(cls.config(name))},
                "layers": [{**layer, "digest": digest(b"lost" if name == "team/torn" else cls.layer)}],
            }
        ).encode()

    def do_GET(self) -> None:
        """Answers."""
        parts = self.path.split("/")
        name, (kind, wanted) = "/".join(parts[2:-2]), parts[-2:]
        blobs = {digest(each): each for each in (self.layer, self.config(name))}
        if self.path == "/v2/":
            self._say(200, b"{}")
        elif kind == "manifests" and name != "team/none" and wanted in ("v1", digest(self.manifest(name))):
            self._say(200, self.manifest(name), "application/vnd.docker.distribution.manifest.v2+json")
        elif wanted in blobs:
            self._say(200, blobs[wanted], "application/octet-stream")
        else:
            code, said = (
                ("MANIFEST", "manifest unknown") if kind == "manifests" else ("BLOB", "blob unknown to registry")
            )
            error = {"code": f"{code}_UNKNOWN", "message": said, "detail": {"Tag": wanted}}
            self._say(404, json.dumps({"errors": [error]}).encode())

    do_HEAD = do_GET  # noqa: N815

    def _say(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", digest(content))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_pulls(both: Both, registry: str) -> None:
    """How often a layer tells of its progress is a matter of luck: the lines around it are compared, and its keys."""
    manifest = digest(Registry.manifest("team/vllm"))
    known = {"Id": digest(Registry.config("team/vllm")), "RepoDigests": [f"{registry}/team/vllm@{manifest}"]}
    both.fake.registry = {f"{registry}/team/{name}": known for name in ("vllm:v1", f"vllm@{manifest}")}
    both.fake.registry[f"{registry}/team/torn:v1"] = "unknown blob"
    for tag in ("v1", "v1", manifest):
        asked = f"/images/create?fromImage={registry}/team/vllm&tag={quote(tag)}"
        mine, its = (lines(side.ask("POST", asked)) for side in both.sides)
        assert (mine[0], mine[-2:]) == (its[0], its[-2:])
        assert {tuple(line) for line in mine} == {tuple(line) for line in its}
    mine, its = (side.ask("GET", f"/images/{registry}/team/vllm:v1/json") for side in both.sides)
    assert [mine[key] for key in ("Id", "RepoTags", "RepoDigests")] == [
        its[key] for key in ("Id", "RepoTags", "RepoDigests")
    ]
    mine, its = (side.ask("POST", f"/images/create?fromImage={registry}/team/torn&tag=v1") for side in both.sides)
    assert lines(mine)[-1] == lines(its)[-1]
    mine, its = (side.ask("POST", f"/images/create?fromImage={registry}/team/none&tag=v9") for side in both.sides)
    assert mine == its
    assert both.sides[0].said[-1] == both.sides[1].said[-1]
    both.docker.docker("rmi", f"{registry}/team/vllm:v1")


# ---- When it goes wrong --------------------------------------------------------------------------------


def test_what_a_death_leaves(both: Both) -> None:
    def before(side: Side) -> None:
        side.run("head")
        side.create("next")
        side.ask("POST", "/volumes/create", {"Name": "m1", "Labels": {"a": "1"}})
        side.create("lock", **LOCK)
        holders.append(side.attach("lock", "stdin=1&stream=1", **UPGRADE))
        side.ask("POST", "/containers/lock/start")
        side.run("auto", HostConfig={"AutoRemove": True})

    def afterwards(side: Side) -> None:
        with holders.pop(0) as holder:
            side.heard(holder)
        side.ask("GET", "/containers/head/json")
        side.ask("GET", "/containers/next/json")
        side.until_gone("lock")
        side.until_gone("auto")
        side.ask("GET", "/volumes/m1")
        side.ask("DELETE", "/volumes/m1")

    holders: list[socket.socket] = []
    both.compare(before)
    both.fake.die()
    both.docker.stop(signal.SIGKILL)
    both.fake.come_back()
    both.docker.start()
    both.compare(afterwards)


def test_what_fails_on_a_full_disk(tmp_path: Path) -> None:
    small = 'mkdir "${SOCKET%/*}/data-root"; mount -t tmpfs -o size=40m tmpfs "${SOCKET%/*}/data-root"'
    with real.engine(small) as docker:
        docker.import_image(IMAGE, {"bash": "bash", "sleep": "sleep"}, {})
        identity = json.loads(docker.docker("inspect", IMAGE))[0]["Id"]
        place = tmp_path / "fake"
        with emulated.Engine(place, lambda *_: (0, "", ""), {IMAGE: {"Id": identity}}) as fake:
            sides = (Side(place, "/var/lib/docker"), Side(docker.socket, str(docker.folder / "data-root")))
            for side in sides:
                side.create("before")
            with contextlib.suppress(OSError), docker.on.path(str(docker.folder / "data-root/fill")).open("wb") as fill:
                while True:
                    fill.write(bytes(1 << 16))
            fake.faults.append(full())
            mine, its = (on_full_disk(side) for side in sides)
            assert mine == its


def on_full_disk(side: Side) -> list[tuple[int, str]]:
    """The statuses, and the words that matter."""
    side.said.clear()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = 1 << 18
        archive.addfile(entry, io.BytesIO(bytes(1 << 18)))
    side.create("head")
    side.ask("POST", "/containers/before/start")
    side.ask("POST", "/containers/before/rename?name=other")
    side.ask("PUT", "/containers/before/archive?path=/", made.getvalue())
    side.ask("GET", "/containers/json?all=1")
    side.ask("DELETE", "/containers/before")
    told: list[Any] = side.said
    return [(each[1], "no space left on device" if "no space left on device" in str(each[3]) else "") for each in told]
