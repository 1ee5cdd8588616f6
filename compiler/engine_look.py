"""One node's Docker engine, as far as it is only looked at: there is nothing here that could change a node.

The rooms called engine* are the only ones that know docker-py. Whatever goes wrong in it, in requests below it or in
the system, becomes an `EngineFault` that says at which step, what the cause was and what to do.
"""

from __future__ import annotations

import io
import struct
import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import docker.errors

from compiler import seen
from compiler.engine_fault import FAILURES, EngineFault, fault_of
from compiler.plan import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from compiler.forward import Forwarded
    from compiler.seen import Image, Seen

MAX_OUTPUT = 16 << 20  # bytes that are read of one command; verify.sh says a few hundred thousand
SILENT_SECONDS = 300  # a command that says nothing for so long is given up; verify.sh's slowest check takes 150
MOST_ADDED = 1 << 20  # bytes of a file that are read at a time
_MAX_FILE = 200_000  # bytes
_STDERR = 2
_STATUS_SECONDS, _LOOK_SECONDS = 5, 0.05  # the engine notes the status a moment after the output has ended


# Each is given the file as $0. While they look it grows, and may be moved away.
_LAST_LINES = """
found=$(stat --format='%i %s' "$0") && set -- $found &&
  echo "$1 $(($2 - $(head --bytes="$2" "$0" | tail --lines={lines} | wc --bytes)))"
"""
_ADDED = """
stat --format=%i "$0" && tail --bytes=+{first} "$0" | head --bytes={most}
"""


class Place(NamedTuple):
    """A place in a file: which one, by its inode, and how many bytes are before it."""

    file: int
    offset: int


class Clock(NamedTuple):
    """How far a node's clock is ahead of this machine's, and how far that may be wrong; seconds."""

    ahead: float
    uncertainty: float


class Outcome(NamedTuple):
    """How a command in a container ended."""

    status: int
    out: str
    err: str


class _Chunks(io.RawIOBase):
    """A stream that comes in chunks, as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end."""
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        size = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


class Looking:
    """A connection to one engine, for looking at it: `compiler plan` has no other."""

    def __init__(self, client: docker.DockerClient, way: Forwarded | None) -> None:
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

    # ---- What is said and done in a container, by commands that only look ------------------------------------

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
            status = self._status(made)
        told = (b"".join(parts).decode(errors="replace") for parts in (out, err))
        return Outcome(status, *told)

    def _status(self, made: str) -> int:
        """How a command ended whose output has: unless that was cut off, and the command goes on."""
        deadline = time.monotonic() + _STATUS_SECONDS
        while (status := self._api.exec_inspect(made)["ExitCode"]) is None:
            if time.monotonic() > deadline:
                raise EngineFault("run a command", "its output was cut off", "see whether the engine was restarted")
            time.sleep(_LOOK_SECONDS)
        return int(status)

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

    def last_lines(self, container: str, path: str, lines: int) -> Place | None:
        """Where the last lines of a file in a container begin; None when there is no such file."""
        with self._step("read a file"):
            told = self._read(container, _LAST_LINES.format(lines=lines), path).split()
            return Place(*map(int, told)) if told else None

    def added(self, container: str, path: str, place: Place) -> tuple[Place, bytes]:
        """What a file in a container holds from that place on, at most MOST_ADDED bytes, and where that ends.

        When another file has its name now, the place is the begin of that one.
        """
        with self._step("read a file"):
            told = self._read(container, _ADDED.format(first=place.offset + 1, most=MOST_ADDED), path)
            file, _, text = told.partition(b"\n")
            if not file or int(file) == place.file:
                return place._replace(offset=place.offset + len(text)), text
            return Place(int(file), 0), b""

    def _read(self, container: str, script: str, path: str) -> bytes:
        made = self._api.exec_create(container, ["bash", "-c", script, path], stderr=False)["Id"]
        return b"".join(part for _, part in self._output(made))

    def folder(self, container: str, path: str) -> dict[str, str]:
        """The files right in a folder of a container, also of one that has ended: name and text, each from its end."""
        with self._step("read files"):
            try:
                chunks, _ = self._api.get_archive(container, path)
            except docker.errors.NotFound:
                return {}
            found, size = {}, 0
            with tarfile.open(fileobj=_Chunks(chunks), mode="r|") as tar:
                for entry in tar:
                    if entry.isfile() and (file := tar.extractfile(entry)):
                        name = entry.name.rpartition("/")[2]
                        found[name] = file.read()[-_MAX_FILE:].decode(errors="replace")
                        size += entry.size
                    if size > MAX_OUTPUT:
                        break
            return found

    @contextmanager
    def _step(self, step: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            said = self._way.said() if self._way else ""
            raise fault_of(step, error, said) from error
