"""One node's Docker engine, through docker-py, with hands: what it does to containers when told to."""

from __future__ import annotations

import os
import select
import socket
from contextlib import ExitStack, contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING, Any

import docker
import docker.auth
import docker.constants
import docker.errors
import docker.tls
import docker.transport
import docker.utils

from compiler.engine_fault import FAILURES, EngineFault, fault_of
from compiler.engine_guest import archive
from compiler.engine_look import SILENT_SECONDS, Looking
from compiler.forward import SshFailed, forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.forward import Forwarded

_CONFLICT, _GONE = 409, {404, 409}  # gone, or being removed


class Held(EngineFault):
    """The name of a container to be made is somebody's."""


class Holding:
    """The connection that keeps a container alive."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def lost(self) -> bool:
        """True when the container has ended: nothing else is ever said on that connection."""
        readable, _, _ = select.select([self._connection], [], [], 0)
        return bool(readable)


class Engine(Looking):
    """A connection to one engine, for changing what is there."""

    def pull(self, reference: str, heard: Callable[[str], None]) -> None:
        """Pulls an image; `heard` gets what it says meanwhile."""
        with self._step("pull the image"):
            for line in self._pulled(reference):
                if "error" in line:
                    raise EngineFault("pull the image", str(line["error"]), _pull_by_hand(reference))
                heard(f"{line.get('status', '')} {line.get('progress', '')}".strip())

    def _pulled(self, reference: str) -> Iterator[Mapping[str, Any]]:
        """What a pull says. docker-py's own waits for ever: https://github.com/docker/docker-py/issues/2266 ."""
        repository, tag = docker.utils.parse_repository_tag(reference)
        registry, _ = docker.auth.resolve_repository_name(repository)
        credentials = docker.auth.get_config_header(self._api, registry)
        told = self._api._post(  # noqa: SLF001
            self._api._url("/images/create"),  # noqa: SLF001
            params={"fromImage": repository, "tag": tag or "latest"},
            headers={"X-Registry-Auth": credentials} if credentials else {},
            stream=True,
            timeout=(self._api.timeout, SILENT_SECONDS),
        )
        try:
            self._api._raise_for_status(told)  # noqa: SLF001
            yield from self._api._stream_helper(told, decode=True)  # noqa: SLF001
        finally:
            told.close()

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
        """Keeps a note as the labels of a volume; one of this name that is there already stays as it is."""
        with self._step("create a volume"):
            self._api.create_volume(name, labels=dict(labels))

    def forget(self, name: str) -> None:
        """Removes a note; one that is gone is no fault."""
        with self._step("remove a volume"), suppress(docker.errors.NotFound):
            self._api.remove_volume(name)

    def run_apart(self, container: str, command: Sequence[str]) -> None:
        """Starts a command in a container and leaves it to itself."""
        with self._step("start a command"):
            made = self._api.exec_create(container, list(command), stdout=False, stderr=False)["Id"]
            self._api.exec_start(made, detach=True)

    def _attached(self, container: str) -> Any:
        """A connection to its stdin and stdout. docker-py's own waits for ever for an engine that says nothing."""
        told = self._api._post(  # noqa: SLF001
            self._api._url("/containers/{0}/attach", container),  # noqa: SLF001
            params={"stdin": 1, "stdout": 1, "stream": 1},
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            stream=True,
        )
        return self._api._get_raw_response_socket(told)  # noqa: SLF001

    @contextmanager
    def held(self, container: str) -> Iterator[Holding]:
        """Starts a container and keeps its stdin open: made with StdinOnce, it ends when this connection does.

        So it ends with this process, however that ends: there is no lock that a kill leaves behind. It is attached to
        before it starts, or it would run on without anybody; with its stdout, or its end would not be noticed.
        """
        with ExitStack() as stack:
            stack.callback(self._let_go, container)
            with self._step("hold a container"):
                attached = self._attached(container)
            stack.callback(_hang_up, attached)
            self.start(container)
            yield Holding(getattr(attached, "_sock", attached))

    def _let_go(self, container: str) -> None:
        with suppress(EngineFault):  # without its holder it ends by itself
            self.remove(container)


def _hang_up(attached: Any) -> None:
    with suppress(*FAILURES):  # it is gone when the engine is
        getattr(attached, "_sock", attached).shutdown(socket.SHUT_RDWR)
        attached._response.close()  # noqa: SLF001 - closing the socket alone leaves it open


@contextmanager
def looking(url: str, seconds: float) -> Iterator[Looking]:
    """Like `connected`, for looking alone."""
    with _opened(url, seconds) as (client, way):
        yield Looking(client, way)


@contextmanager
def connected(url: str, seconds: float) -> Iterator[Engine]:
    """A connection to the engine at a `unix://`, `tcp://` or `ssh://` address; no answer may take more than `seconds`.

    With DOCKER_TLS_VERIFY set, `tcp://` is TLS with the files of DOCKER_CERT_PATH, as for Docker's own client.

    Raises:
        EngineFault: Nothing answers there, or it is no Docker engine.
    """
    with _opened(url, seconds) as (client, way):
        yield Engine(client, way)


class _OnePool(docker.transport.UnixHTTPAdapter):
    """Keeps one connection to a socket, where docker-py keeps one for each address that was asked for.

    Its `num_pools` is heeded for ssh:// alone: https://github.com/docker/docker-py/blob/7.1.0/docker/api/client.py
    """

    def get_connection(self, url: bytes | str, proxies: Any = None) -> Any:
        """The pool of them, whatever is asked for."""
        del url
        return super().get_connection("", proxies)


@contextmanager
def _opened(url: str, seconds: float) -> Iterator[tuple[docker.DockerClient, Forwarded | None]]:
    with ExitStack() as stack:
        way = None
        try:
            if url.startswith("ssh://"):
                way = stack.enter_context(forwarded(url, seconds))
            elif url.startswith("unix://"):
                _knock(url.removeprefix("unix://"), seconds)
            place = way.url if way else url
            client = docker.DockerClient(
                base_url=place,
                timeout=ceil(seconds),
                tls=_tls() if url.startswith("tcp://") else False,
                version=docker.constants.MINIMUM_DOCKER_API_VERSION,
            )
            stack.callback(client.close)
            # A proxy or certificates for the web (HTTP_PROXY, REQUESTS_CA_BUNDLE) are none for the rack. So the
            # version is asked for only now: version="auto" would do so before this can be said.
            api: Any = client.api
            api.trust_env = False
            if place.startswith("unix://"):
                api.mount("http+docker://", _OnePool(place.replace("unix://", "http+unix://"), ceil(seconds)))
            api._version = api._retrieve_server_version()  # noqa: SLF001
        except SshFailed as failed:
            raise EngineFault("connect by ssh", str(failed), _by_ssh(url)) from failed
        except FAILURES as error:
            raise fault_of("connect", error, way.said() if way else "", url) from error
        yield client, way


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
