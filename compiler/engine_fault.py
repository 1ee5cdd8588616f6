"""Whatever goes wrong between us and an engine, as words: at which step, what the cause was, what to do.

docker-py wraps what requests wraps what urllib3 wraps; the cause is below all of them.
"""

from __future__ import annotations

import docker.errors
import requests
import urllib3.exceptions

from compiler.clean import one_line

# What an answer leads to that is no JSON, or is not built as an engine's is.
_ODD_ANSWERS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
# What docker-py lets through: its own, requests' (which are OSErrors, too), urllib3's, and those.
FAILURES = (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError, *_ODD_ANSWERS)
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


class EngineFault(Exception):  # noqa: N818 - named for what happened; nothing here is a bug
    """A node could not be asked, or not to the end.

    Attributes:
        step: What was being done, like `connect`.
        cause: What was said, as one line.
        to_do: What the person who can mend it would do.
        unsure: True when the engine gave no answer: what was asked of it may have been done all the same.
    """

    def __init__(self, step: str, cause: str, to_do: str, *, unsure: bool = False) -> None:
        self.step = step
        self.cause = one_line(cause)
        super().__init__(f"{step}: {self.cause}")
        self.to_do = to_do
        self.unsure = unsure


def fault_of(step: str, error: BaseException, ssh_said: str = "", url: str = "") -> EngineFault:
    """The fault that a failure stands for."""
    cause, root = _cause(error)
    if ssh_said:
        cause = f"{cause} (ssh: {ssh_said})"
    return EngineFault(step, cause, _to_do(root, cause, url), unsure=not isinstance(error, docker.errors.APIError))


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


def _to_do(root: BaseException, cause: str, url: str) -> str:
    where = f" at {url}" if url else ""
    if isinstance(root, FileNotFoundError):
        return f"see whether Docker runs there: systemctl status docker; and whether its socket is the one{where}"
    if isinstance(root, PermissionError):
        return "be root, or in the group docker, on that engine"
    if isinstance(root, ConnectionRefusedError):
        return f"no engine listens{where}: see systemctl status docker, and the -H of dockerd"
    for words, to_do in _TO_DO.items():
        if words in cause.lower():
            return to_do
    return "try by hand: docker" + (f" -H {url}" if url else "") + " version"


# By what Docker says: moby daemon/create.go, volume/mounts/linux_parser.go, oci/devices_linux.go.
_TO_DO = {
    "no space left on device": "make room there: df -h; docker system df; docker image prune",
    "bind source path does not exist": "correct that path in the spec, or install there what it belongs to",
    "gathering device information": "see whether the driver runs there: npu-smi info; or leave that NPU out with npus",
}
