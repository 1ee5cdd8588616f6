"""One node's Docker engine, through docker-py: what it knows, and one container that is there for a while.

This is the one room that knows docker-py. Whatever goes wrong in it, in requests below it or in the
system, becomes an `EngineFault` that says at which step, what the cause was and what to do.
"""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import tarfile
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import docker
import docker.constants
import docker.errors
import docker.tls
import docker.types
import requests
import urllib3.exceptions

from compiler.forward import SshFailed, forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from compiler.forward import Forwarded
    from compiler.plan import Mount

# What an answer leads to that is no JSON, or is not built as an engine's is.
_ODD_ANSWERS = (ValueError, LookupError, TypeError, AttributeError)
# What docker-py lets through: its own, requests' (which are OSErrors, too), urllib3's, and those.
_FAILURES = (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError, *_ODD_ANSWERS)
MAX_OUTPUT = 16 << 20  # bytes that are read of one command; verify.sh says a few hundred thousand
SILENT_SECONDS = 300  # a command that says nothing for so long is given up; verify.sh's slowest check takes 150
SCRIPT = "/compiler-verify.sh"
_STDERR = 2


class EngineFault(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """A node could not be asked, or not to the end.

    Attributes:
        step: What was being done, like `connect`.
        cause: What was said, as one line.
        to_do: What the person who can mend it would do.
    """

    def __init__(self, step: str, cause: str, to_do: str) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = one_line(cause)
        self.to_do = to_do


class Holder(NamedTuple):
    """A container and the device nodes that it was given."""

    name: str
    running: bool
    devices: tuple[str, ...]
    labels: Mapping[str, str]


class Clock(NamedTuple):
    """How far a node's clock is ahead of this machine's, and how far that may be wrong; seconds."""

    ahead: float
    uncertainty: float


class Outcome(NamedTuple):
    """How a command in a container ended."""

    status: int
    out: str
    err: str


class Wanted(NamedTuple):
    """The container to make for a while.

    Attributes:
        name: Its name.
        image: The image reference.
        seconds: It ends by itself after so long, whatever becomes of us.
        labels: Its labels.
        devices: Device nodes, at the same path inside.
        mounts: Bind mounts; a missing source is an error.
        memory: Folders in memory, of its own.
        privileged: It has every device and capability.
        script: A bash script that lies at SCRIPT in it.
    """

    name: str
    image: str
    seconds: int
    labels: Mapping[str, str]
    devices: tuple[str, ...]
    mounts: tuple[Mount, ...]
    memory: tuple[str, ...]
    privileged: bool
    script: bytes


class Engine:
    """A connection to one engine."""

    def __init__(self, client: docker.DockerClient, way: Forwarded | None) -> None:
        self._client = client
        self._api: Any = client.api
        self._way = way

    def clock(self) -> Clock:
        """How far its clock is ahead of ours: it says its time while one question is under way."""
        with self._step("info"):
            before = time.time()
            told = str(self._api.info()["SystemTime"])
            after = time.time()
            return Clock(_seconds(told) - (before + after) / 2, (after - before) / 2)

    def version(self) -> str:
        """The version of the engine."""
        with self._step("version"):
            return str(self._api.version()["Version"])

    def image_id(self, reference: str) -> str | None:
        """The image's id, which is made of its content; None where the image is not there."""
        with self._step("inspect the image"):
            try:
                return str(self._api.inspect_image(reference)["Id"])
            except docker.errors.ImageNotFound:
                return None

    def containers(self) -> tuple[Holder, ...]:
        """All containers, running or not."""
        with self._step("list the containers"):
            return tuple(self._holders())

    def _holders(self) -> Iterator[Holder]:
        for each in self._api.containers(all=True):
            try:
                found = self._api.inspect_container(each["Id"])
            except docker.errors.NotFound:  # it ended meanwhile
                continue
            devices = found["HostConfig"].get("Devices") or ()
            yield Holder(
                str(found["Name"]).lstrip("/"),
                bool(found["State"]["Running"]),
                tuple(str(device["PathOnHost"]) for device in devices),
                dict(found["Config"].get("Labels") or {}),
            )

    @contextmanager
    def container(self, wanted: Wanted) -> Iterator[Inside]:
        """A container that runs nothing yet, removed at the end; what Docker refuses of it is left out and told."""
        refused: dict[str, str] = {}
        while True:
            made = None
            try:
                with self._step("create a container"):
                    config = _config(self._api, wanted, refused)
                    made = str(self._api.create_container_from_config(config, wanted.name)["Id"])
                with self._step("start a container"):
                    self._api.put_archive(made, "/", _archive(wanted.script))
                    self._api.start(made)
                break
            except EngineFault as fault:
                if made is not None:
                    self.remove(made)
                if not _named(fault.cause, _asked(wanted, refused), refused):
                    raise
        try:
            yield Inside(self, made, refused)
        finally:
            self.remove(made)

    def run(self, container: str, command: Sequence[str], heard: Callable[[str], None]) -> Outcome:
        """Runs a command in a container to its end; `heard` gets each line of its stderr at once."""
        with self._step("run a command"):
            made = self._api.exec_create(container, list(command))["Id"]
            out: list[bytes] = []
            err: list[bytes] = []
            line, size = b"", 0
            for stream, part in self._output(made):
                (err if stream == _STDERR else out).append(part)
                size += len(part)
                if size > MAX_OUTPUT:
                    raise EngineFault(
                        "run a command", f"it said more than {MAX_OUTPUT >> 20} MiB", "see what runs there"
                    )
                *lines, line = (line + part).split(b"\n") if stream == _STDERR else (line,)
                for each in lines:
                    heard(each.decode(errors="replace"))
            status = self._api.exec_inspect(made)["ExitCode"]
        told = (b"".join(parts).decode(errors="replace") for parts in (out, err))
        return Outcome(-1 if status is None else int(status), *told)

    def _output(self, made: str) -> Iterator[tuple[int, bytes]]:
        """The command's output as it comes, each part with the number of its stream.

        Asked without `Upgrade`, so that it is the body of an answer. docker-py asks with it and reads the bare
        socket then: what came along with the headers is lost. Each part begins with its stream, three zeros
        and its length: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
        """
        told = self._api._post_json(  # noqa: SLF001 - exec_start can only ask the other way
            self._api._url("/exec/{0}/start", made),  # noqa: SLF001
            data={"Tty": False, "Detach": False},
            stream=True,
            timeout=(self._api.timeout, SILENT_SECONDS),
        )
        try:
            self._api._raise_for_status(told)  # noqa: SLF001
            while header := told.raw.read(8):
                stream, length = struct.unpack(">BxxxL", header)
                part = told.raw.read(length)
                if len(part) < length:
                    raise EngineFault("run a command", "its output was cut off", "see whether the engine was restarted")
                yield stream, part
        except struct.error:
            raise EngineFault(
                "run a command", "its output is no stream of Docker's", "see what listens there"
            ) from None
        finally:
            told.close()

    def remove(self, container: str) -> None:
        """Removes it. It also ends and is removed by itself, so what goes wrong here is no news."""
        with self._step("remove a container"):
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code not in {404, 409}:  # gone, or being removed
                    raise

    @contextmanager
    def _step(self, step: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            said = self._way.said() if self._way else ""
            raise _fault(step, error, said) from error


class Inside:
    """A container that is there for a while.

    Attributes:
        refused: What Docker would not give it, a device or the source of a mount, and what it said.
    """

    def __init__(self, engine: Engine, container: str, refused: Mapping[str, str]) -> None:
        self.refused = refused
        self._engine = engine
        self._container = container

    def run(self, command: Sequence[str], heard: Callable[[str], None] = lambda _: None) -> Outcome:
        """Runs a command in it to its end.

        Raises:
            EngineFault: The engine did not do it, or its answer was cut off.
        """
        return self._engine.run(self._container, command, heard)

    def remove(self) -> None:
        """Removes it with all that runs in it, before its time.

        Raises:
            EngineFault: The engine did not do it.
        """
        self._engine.remove(self._container)


@contextmanager
def connected(url: str, seconds: float) -> Iterator[Engine]:
    """A connection to the engine at a `unix://`, `tcp://` or `ssh://` address; no answer may take more than `seconds`.

    With DOCKER_TLS_VERIFY set, `tcp://` is TLS with the files of DOCKER_CERT_PATH, as for Docker's own client.

    Raises:
        EngineFault: Nothing answers there, or it is no Docker engine.
    """
    with ExitStack() as stack:
        way = None
        try:
            if url.startswith("ssh://"):
                way = stack.enter_context(forwarded(url, seconds))
            elif url.startswith("unix://"):
                _knock(url.removeprefix("unix://"), seconds)
            client = docker.DockerClient(
                base_url=way.url if way else url,
                timeout=ceil(seconds),
                tls=_tls() if url.startswith("tcp://") else False,
                version=docker.constants.MINIMUM_DOCKER_API_VERSION,
            )
            stack.callback(client.close)
            # A proxy or certificates for the web (HTTP_PROXY, REQUESTS_CA_BUNDLE) are none for the rack. So the
            # version is asked for only now: version="auto" would do so before this can be said.
            api: Any = client.api
            api.trust_env = False
            api._version = api._retrieve_server_version()  # noqa: SLF001
        except SshFailed as failed:
            raise EngineFault("connect by ssh", str(failed), _by_ssh(url)) from failed
        except _FAILURES as error:
            raise _fault("connect", error, way.said() if way else "", url) from error
        yield Engine(client, way)


def _knock(path: str, seconds: float) -> None:
    """Raises what the system says of a socket where nobody is: docker-py would leave its own to the collector."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(seconds)
        knock.connect(path)


def _tls() -> docker.tls.TLSConfig | bool:
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return False
    folder = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
    paths = {name: os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key")}
    missing = [path for path in paths.values() if not os.path.exists(path)]
    if missing:
        to_do = "put them there, or set DOCKER_CERT_PATH; docker's own client looks there, too"
        raise EngineFault("connect with TLS", f"there is no {' and no '.join(missing)}", to_do)
    return docker.tls.TLSConfig(client_cert=(paths["cert"], paths["key"]), ca_cert=paths["ca"], verify=True)


def _config(api: Any, wanted: Wanted, refused: Mapping[str, str]) -> Any:
    """The container: the host's network, and an end of its own."""
    host = api.create_host_config(
        network_mode="host",
        auto_remove=True,
        privileged=wanted.privileged,
        devices=[f"{device}:{device}:rwm" for device in wanted.devices if device not in refused],
        mounts=[
            docker.types.Mount(each.target, each.source, type="bind", read_only=each.read_only)
            for each in wanted.mounts
            if each.source not in refused
        ],
        tmpfs=dict.fromkeys(wanted.memory, "mode=1777"),
        # Who holds an NPU is read in /proc of all processes of the host; that is all that these two are for.
        cap_add=["SYS_PTRACE"],
        security_opt=["apparmor=unconfined", "label=disable"],
    )
    return api.create_container_config(
        wanted.image,
        command=[str(wanted.seconds)],
        entrypoint=["sleep"],
        user="0",
        labels=dict(wanted.labels),
        host_config=host,
    )


def _asked(wanted: Wanted, refused: Mapping[str, str]) -> Iterable[str]:
    asked = {*wanted.devices, *(mount.source for mount in wanted.mounts)}
    return sorted(asked - set(refused), key=len, reverse=True)


def _named(cause: str, asked: Iterable[str], refused: dict[str, str]) -> bool:
    """Notes which path Docker refused; true when its words name one.

    As in `bind source path does not exist: /usr/local/dcmi` and `error gathering device information while
    adding custom device "/dev/davinci7": no such file or directory`.
    """
    for path in asked:
        if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w./-])", cause):
            refused[path] = cause
            return True
    return False


def _archive(script: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo(SCRIPT.lstrip("/"))
        entry.size, entry.mode = len(script), 0o755
        archive.addfile(entry, io.BytesIO(script))
    return made.getvalue()


def _seconds(stamp: str) -> float:
    """Seconds since the epoch of a time like 2026-11-24T11:16:09.123456789Z."""
    parts = re.fullmatch(r"([\dT:-]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp)
    if parts is None:
        raise ValueError(f"{stamp!r} is no time")
    date, fraction, zone = parts.groups()
    return datetime.fromisoformat(date + zone.replace("Z", "+00:00")).timestamp() + float(fraction or 0)


def _fault(step: str, error: BaseException, ssh_said: str = "", url: str = "") -> EngineFault:
    cause, root = _cause(error)
    if ssh_said:
        cause = f"{cause} (ssh: {ssh_said})"
    return EngineFault(step, cause, _to_do(root, url))


_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


def _cause(error: BaseException) -> tuple[str, BaseException]:
    """What went wrong, below docker-py's, requests' and urllib3's wrappings of it; and the failure that says so."""
    if isinstance(error, docker.errors.APIError):
        return str(error.explanation or error), error
    chain: list[BaseException] = [error]
    for each in chain:  # it grows meanwhile
        inner = (each.__cause__, each.__context__, *each.args, getattr(each, "reason", None))
        chain += [one for one in inner if isinstance(one, BaseException) and one not in chain]
    for each in chain:
        if isinstance(each, OSError) and each.errno:
            return str(each.strerror or each), each
    if any(isinstance(each, _TIMEOUTS) for each in chain):
        return "no answer in time", error
    if any(isinstance(each, requests.ConnectionError | urllib3.exceptions.ProtocolError) for each in chain):
        return "the connection was closed without an answer", error
    if isinstance(error, _ODD_ANSWERS):
        return "it answered what no Docker engine does", error
    return str(error), error


def _to_do(root: BaseException, url: str) -> str:
    where = f" at {url}" if url else ""
    if isinstance(root, FileNotFoundError):
        return f"see whether Docker runs there: systemctl status docker; and whether its socket is the one{where}"
    if isinstance(root, PermissionError):
        return "be root, or in the group docker, on that engine"
    if isinstance(root, ConnectionRefusedError):
        return f"no engine listens{where}: see systemctl status docker, and the -H of dockerd"
    return "try by hand: docker" + (f" -H {url}" if url else "") + " version"


def _by_ssh(url: str) -> str:
    return f"try by hand: docker -H {url} version; the key and the host key must be known, nothing is asked here"


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def one_line(text: str, limit: int = 500) -> str:
    """What a daemon or a tool said, as one line that a terminal only shows."""
    line = _UNSEEN.sub(" ", text).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."
