"""One node's Docker engine, through docker-py: what it knows, and what it does to containers when told to.

The rooms called engine* are the only ones that know docker-py. Whatever goes wrong in it, in requests below it or in
the system, becomes an `EngineFault` that says at which step, what the cause was and what to do.
"""

from __future__ import annotations

import os
import shlex
import socket
import struct
import time
from contextlib import ExitStack, contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import docker
import docker.constants
import docker.errors
import docker.tls

from compiler import seen
from compiler.engine_fault import FAILURES, EngineFault, fault_of
from compiler.engine_guest import archive
from compiler.forward import SshFailed, forwarded
from compiler.plan import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.forward import Forwarded
    from compiler.seen import Image, Seen

MAX_OUTPUT = 16 << 20  # bytes that are read of one command; verify.sh says a few hundred thousand
SILENT_SECONDS = 300  # a command that says nothing for so long is given up; verify.sh's slowest check takes 150
_STDERR = 2
_NOT_FOUND, _CONFLICT, _GONE = 404, 409, {404, 409}  # gone, or being removed


class Clock(NamedTuple):
    """How far a node's clock is ahead of this machine's, and how far that may be wrong; seconds."""

    ahead: float
    uncertainty: float


class Outcome(NamedTuple):
    """How a command in a container ended."""

    status: int
    out: str
    err: str


class Held(EngineFault):
    """The name of a container to be made is somebody's."""


class Engine:
    """A connection to one engine."""

    def __init__(self, client: docker.DockerClient, way: Forwarded | None) -> None:
        self._client = client
        self._api: Any = client.api
        self._way = way

    # ---- What it knows -------------------------------------------------------------------------------------

    def clock(self) -> Clock:
        """How far its clock is ahead of ours: it says its time while one question is under way."""
        before = time.time()
        _, told = self.facts()
        after = time.time()
        return Clock(told - (before + after) / 2, (after - before) / 2)

    def facts(self) -> tuple[str, float]:
        """Its version, and the time by its own clock, in seconds since the epoch."""
        with self._step("info"):
            told = self._api.info()
            return str(told["ServerVersion"]), seen.moment(str(told["SystemTime"]))

    def version(self) -> str:
        """The version of the engine."""
        with self._step("version"):
            return str(self._api.version()["Version"])

    def image(self, reference: str) -> Image | None:
        """The image, or None where it is not there."""
        with self._step("inspect the image"):
            try:
                return seen.image(self._api.inspect_image(reference))
            except docker.errors.ImageNotFound:
                return None

    def containers(self) -> tuple[Seen, ...]:
        """All containers, running or not."""
        with self._step("list the containers"):
            found = (self._inspected(each["Id"]) for each in self._api.containers(all=True))
            return tuple(each for each in found if each is not None)

    def container(self, name: str) -> Seen | None:
        """The container of this name or id, or None."""
        with self._step("inspect a container"):
            return self._inspected(name)

    def _inspected(self, name: str) -> Seen | None:
        try:
            return seen.container(self._api.inspect_container(name))
        except docker.errors.NotFound:  # of a list: it ended meanwhile
            return None

    def notes(self, cluster: str) -> Mapping[str, Mapping[str, str]]:
        """The labels of each volume that was made for a cluster, by the volume's name: they hold notes, and no data."""
        with self._step("list the volumes"):
            found = self._api.volumes(filters={"label": f"{LABEL_PREFIX}name={cluster}"})["Volumes"] or ()
            return {str(each["Name"]): dict(each.get("Labels") or {}) for each in found}

    # ---- What it does --------------------------------------------------------------------------------------

    def pull(self, reference: str, heard: Callable[[str], None]) -> None:
        """Pulls an image; `heard` gets what it says meanwhile."""
        with self._step("pull the image"):
            told = self._api.pull(reference, stream=True, decode=True)
            for line in told:
                if "error" in line:
                    raise EngineFault("pull the image", str(line["error"]), _pull_by_hand(reference))
                heard(f"{line.get('status', '')} {line.get('progress', '')}".strip())

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Makes a container and gives its id.

        Raises:
            Held: The name is taken.
            EngineFault: The engine did not do it; when it is `unsure`, it may have.
        """
        with self._step("create a container"):
            try:
                return str(self._api.create_container_from_config(dict(body), name)["Id"])
            except docker.errors.APIError as error:
                if error.status_code == _CONFLICT:
                    to_do = "remove or rename that container: it is never touched"
                    raise Held("create a container", str(error.explanation), to_do) from error
                raise

    def put(self, container: str, files: Mapping[str, bytes]) -> None:
        """Writes executable files into a container, by their absolute paths."""
        with self._step("put files into a container"):
            self._api.put_archive(container, "/", archive(files))

    def start(self, container: str) -> None:
        """Starts it; one that runs already is no fault."""
        with self._step("start a container"):
            self._api.start(container)

    def stop(self, container: str, seconds: int) -> None:
        """Tells it to end, and ends it after `seconds`; one that has ended or is gone is no fault."""
        with self._step("stop a container"), suppress(docker.errors.NotFound):
            self._api.stop(container, timeout=seconds)

    def rename(self, container: str, name: str) -> None:
        """Gives it another name."""
        with self._step("rename a container"):
            self._api.rename(container, name)

    def remove(self, container: str) -> None:
        """Removes it, running or not; one that is gone or being removed is no fault."""
        with self._step("remove a container"):
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code not in _GONE:
                    raise

    def note(self, name: str, labels: Mapping[str, str]) -> None:
        """Keeps a note as the labels of a volume, in place of the one that was there."""
        self.forget(name)
        with self._step("create a volume"):
            self._api.create_volume(name, labels=dict(labels))

    def forget(self, name: str) -> None:
        """Removes a note; one that is gone is no fault."""
        with self._step("remove a volume"), suppress(docker.errors.NotFound):
            self._api.remove_volume(name)

    # ---- Commands in a container ---------------------------------------------------------------------------

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

    def run_apart(self, container: str, command: Sequence[str]) -> None:
        """Starts a command in a container and leaves it to itself."""
        with self._step("start a command"):
            made = self._api.exec_create(container, list(command), stdout=False, stderr=False)["Id"]
            self._api.exec_start(made, detach=True)

    def _output(self, made: str) -> Iterator[tuple[int, bytes]]:
        """The command's output as it comes, each part with the number of its stream.

        Asked without `Upgrade`, so that it is the body of an answer. docker-py asks with it and reads the bare
        socket then: what came along with the headers is lost.
        """
        told = self._api._post_json(  # noqa: SLF001 - exec_start can only ask the other way
            self._api._url("/exec/{0}/start", made),  # noqa: SLF001
            data={"Tty": False, "Detach": False},
            stream=True,
            timeout=(self._api.timeout, SILENT_SECONDS),
        )
        return self._parts(told, "run a command")

    def _parts(self, told: Any, step: str) -> Iterator[tuple[int, bytes]]:
        """The parts of a stream; each begins with its number, three zeros and its length.

        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
        """
        try:
            self._api._raise_for_status(told)  # noqa: SLF001
            while header := told.raw.read(8):
                stream, length = struct.unpack(">BxxxL", header)
                part = told.raw.read(length)
                if len(part) < length:
                    raise EngineFault(step, "its output was cut off", "see whether the engine was restarted")
                yield stream, part
        except struct.error:
            raise EngineFault(step, "its output is no stream of Docker's", "see what listens there") from None
        finally:
            told.close()

    def log(self, container: str, *, last: int, follow: bool = False) -> Iterator[bytes]:
        """The last lines of what a container said, as they come; with `follow`, also what it says from now on."""
        asked = {"stdout": 1, "stderr": 1, "follow": int(follow), "tail": last}
        with self._step("read a log"):
            told = self._api._get(  # noqa: SLF001 - `logs` tells no stream from another and never gives up
                self._api._url("/containers/{0}/logs", container),  # noqa: SLF001
                params=asked,
                stream=True,
                timeout=(self._api.timeout, None if follow else self._api.timeout),
            )
            line = b""
            for _, part in self._parts(told, "read a log"):
                *lines, line = (line + part).split(b"\n")
                yield from lines
            if line:
                yield line

    def added(self, container: str, path: str, offset: int) -> bytes:
        """What a file in a container holds from `offset` on, at most 1 MiB; nothing when there is no such file."""
        words = ("bash", "-c", f"tail -c +{offset + 1} {shlex.quote(path)} 2>/dev/null | head -c 1048576")
        with self._step("read a file"):
            made = self._api.exec_create(container, list(words))["Id"]
            return b"".join(part for _, part in self._output(made))

    def size(self, container: str, path: str) -> int:
        """The bytes of a file in a container; 0 when there is no such file."""
        told = self.run(container, ("stat", "-c", "%s", path), lambda _: None)
        return int(told.out) if told.status == 0 and told.out.strip().isdigit() else 0

    @contextmanager
    def held(self, container: str) -> Iterator[None]:
        """Starts a container and keeps its stdin open: made with StdinOnce, it ends when this connection does.

        So it ends with this process, however that ends: there is no lock that a kill leaves behind.
        """
        with self._step("hold a container"):
            stdin = self._api.attach_socket(container, params={"stdin": 1, "stream": 1})
        try:
            self.start(container)
            yield
        finally:
            with suppress(*FAILURES):  # it is gone when the engine is
                stdin.close()
            with suppress(EngineFault):
                self.remove(container)

    @contextmanager
    def _step(self, step: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            said = self._way.said() if self._way else ""
            raise fault_of(step, error, said) from error


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
        except FAILURES as error:
            raise fault_of("connect", error, way.said() if way else "", url) from error
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


def _by_ssh(url: str) -> str:
    return f"try by hand: docker -H {url} version; the key and the host key must be known, nothing is asked here"


def _pull_by_hand(reference: str) -> str:
    return f"docker pull {reference}; where there is no internet, docker save it elsewhere and docker load it here"
