"""docker-compose.yaml of a node: data written by ruamel.yaml, never text glued by a template.

Compose interpolates `$` in every value, so a dollar of ours is written twice; text that came from the
spec is a JSON string, which every Compose reads as exactly those bytes.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from compiler.holes import through

if TYPE_CHECKING:
    from compiler.container import Definition
    from compiler.plan import Mount, Secret

# Private-use characters, which ruamel.yaml writes plain: they hold the place of a text while YAML is made.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACE = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
# A key that some YAML reader takes for a number, a date or a boolean; PyYAML reads YAML 1.1.
_AMBIGUOUS = re.compile(r"[0-9].*|y|n|yes|no|on|off|true|false|null", re.IGNORECASE)

_HEADER = """\
Node {node} of the cluster {cluster}: `docker compose up -d` in this folder starts its part of Ray.
Generated from the cluster spec; edit the spec and render again.
A dollar is written twice here, since Compose replaces $NAME."""

_WHY = {
    "network_mode": "HCCL, Gloo and Ray speak to other nodes at this host's own address and ports",
    "init": "reaps dead workers, which would keep the NPUs' memory",
    "restart": "a Ray that died is told, not hidden by a restart",
    "shm_size": "Ray's object store; with less than about 10g it falls back to /tmp",
    "ulimits": "NPU memory is pinned; Ray holds a file per worker and connection",
    "devices": "the NPUs in use, then their management devices",
    "volumes": "a missing source is an error, never an empty folder made by root",
    "environment": "Ray reads it once, when it starts: a change needs a new container",
    "command": "starts Ray, then stays while Ray lives, so that the container's state is Ray's",
}


class _Texts:
    """Holds the texts of the spec apart while ruamel.yaml writes the structure around them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def place(self, text: str) -> str:
        """What stands for the text in the data that ruamel.yaml gets."""
        self.texts.append(through("compose", text))
        return f"{_OPEN}{len(self.texts) - 1}{_CLOSE}"

    def restored(self, yaml: str) -> str:
        """The written YAML with every text in its place, as a JSON string."""
        return _PLACE.sub(lambda match: self.texts[int(match[1])], yaml)


def compose(definition: Definition, cluster: str, node: str) -> str:
    """The file. Strings may be holes, and stay holes."""
    from ruamel.yaml.comments import CommentedMap  # noqa: PLC0415 - `check` writes no YAML

    texts = _Texts()
    service = CommentedMap(_service(definition, texts))
    for key, why in _WHY.items():
        if key in service:
            service.yaml_set_comment_before_after_key(key, before=why, indent=4)
    # The service is called like the cluster: two clusters' folders may share a name, and Compose v1 knows
    # a project by its folder alone.
    document = CommentedMap({"services": CommentedMap({_key(cluster): service})})
    header = _HEADER.format(node=node, cluster=cluster)
    return "".join(f"# {line}\n" for line in header.splitlines()) + texts.restored(_dumped(document))


def _key(name: str) -> str:
    """A name as a key, which every YAML reads as text."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted  # noqa: PLC0415

    return Quoted(name) if _AMBIGUOUS.fullmatch(name) else name


def _service(definition: Definition, texts: _Texts) -> dict[str, Any]:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted  # noqa: PLC0415

    place = texts.place
    return {
        "image": place(definition.image),
        "container_name": place(definition.name),
        "network_mode": "host",
        "init": definition.init,
        **({"privileged": True} if definition.privileged else {}),
        "restart": Quoted("no"),
        "shm_size": place(definition.shm_size),
        "stop_grace_period": f"{definition.stop_seconds}s",
        "ulimits": {_key(name): {"soft": soft, "hard": hard} for name, soft, hard in definition.ulimits},
        "devices": [place(f"{device}:{device}") for device in definition.devices],
        "volumes": [_volume(mount, texts) for mount in definition.mounts],
        "environment": {
            **{_key(name): place(value) for name, value in definition.environment},
            **{_key(secret.name): _passed(secret) for secret in definition.secrets},
        },
        "labels": {_key(name): place(value) for name, value in definition.labels},
        "command": _command(definition.command, texts),
    }


def _volume(mount: Mount, texts: _Texts) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": texts.place(mount.source),
        "target": texts.place(mount.target),
        **({"read_only": True} if mount.read_only else {}),
        "bind": {"create_host_path": False},
    }


def _passed(secret: Secret) -> str:
    """The value is the caller's, at start; Compose stops when there is none."""
    return f"${{{secret.from_env}:?set {secret.from_env} in the environment of docker compose}}"


def _command(words: tuple[str, ...], texts: _Texts) -> list[str]:
    """Bash's script as a block that reads like a file, every other word as a JSON string."""
    from ruamel.yaml.scalarstring import LiteralScalarString  # noqa: PLC0415

    return [LiteralScalarString(word.replace("$", "$$")) if "\n" in word else texts.place(word) for word in words]


def _dumped(document: object) -> str:
    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML()
    yaml.width = 1_000_000  # a folded string would be a different one to a reader's eye
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
