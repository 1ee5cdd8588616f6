"""docker-compose.yaml of a node: data, written as block YAML in which every text of the spec is a JSON string.

Compose interpolates `$` in every value, so a dollar of ours is written twice. ruamel.yaml would write the same bytes
in ten times the time, a tenth of a whole run; tests have it, PyYAML and Compose read what is written here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from compiler.holes import through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.container import Definition
    from compiler.plan import Mount, Secret

# A key that some YAML reader takes for a number, a date or a boolean; PyYAML reads YAML 1.1.
_AMBIGUOUS = re.compile(r"[0-9].*|y|n|yes|no|on|off|true|false|null", re.IGNORECASE)

_LONG = 128  # as ruamel.yaml has it

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


class _Script(str):
    """A script of ours that ends in a newline: a block that reads like a file."""

    __slots__ = ()


def compose(definition: Definition, cluster: str, node: str) -> str:
    """The file. Strings may be holes, and stay holes."""
    # The service is called like the cluster: two clusters' folders may share a name, and Compose v1 knows
    # a project by its folder alone.
    header = _HEADER.format(node=node, cluster=cluster).splitlines()
    lines = [f"# {line}" for line in header] + ["services:", _start("  ", _key(cluster))]
    for key, value in _service(definition).items():
        if key in _WHY:
            lines.append(f"    # {_WHY[key]}")
        lines += _entry(_start("    ", key), value, "    ")
    return "\n".join(lines) + "\n"


def _service(definition: Definition) -> dict[str, Any]:
    """The service: texts as they are to be written, in mappings and lists."""
    return {
        "image": _text(definition.image),
        "container_name": _text(definition.name),
        "network_mode": "host",
        "init": definition.init,
        **({"privileged": True} if definition.privileged else {}),
        "restart": '"no"',
        "shm_size": _text(definition.shm_size),
        "stop_grace_period": f"{definition.stop_seconds}s",
        "ulimits": {_key(name): {"soft": soft, "hard": hard} for name, soft, hard in definition.ulimits},
        "devices": [_text(f"{device}:{device}") for device in definition.devices],
        "volumes": [_volume(mount) for mount in definition.mounts],
        "environment": {
            **{_key(name): _text(value) for name, value in definition.environment},
            **{_key(secret.name): _passed(secret) for secret in definition.secrets},
        },
        "labels": {_key(name): _text(value) for name, value in definition.labels},
        "command": [_Script(word.replace("$", "$$")) if "\n" in word else _text(word) for word in definition.command],
    }


def _text(text: str) -> str:
    return through("compose", text)


def _key(name: str) -> str:
    """A name as a key that every YAML reads as text; the grammar of names admits nothing else that is ambiguous."""
    return f'"{name}"' if _AMBIGUOUS.fullmatch(name) else name


def _volume(mount: Mount) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": _text(mount.source),
        "target": _text(mount.target),
        **({"read_only": True} if mount.read_only else {}),
        "bind": {"create_host_path": False},
    }


def _passed(secret: Secret) -> str:
    """The value is the caller's, at start; Compose stops when there is none."""
    return f"${{{secret.from_env}:?set {secret.from_env} in the environment of docker compose}}"


def _start(indent: str, key: str) -> str:
    """How the entry of a key begins; a long one needs a mark, which no reader looks for beyond 1,024 characters."""
    return f"{indent}{key}:" if len(key) < _LONG else f"{indent}? {key}\n{indent}:"


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    """The lines of an entry of a mapping or a list that begins so."""
    if isinstance(value, dict) and value:
        yield start
        for key, each in value.items():
            yield from _entry(_start(f"{indent}  ", key), each, f"{indent}  ")
    elif isinstance(value, list) and value:
        yield start
        for each in value:
            yield from _item(each, f"{indent}  ")
    elif isinstance(value, _Script):
        yield f"{start} |"
        yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{start} {str(value).lower() if isinstance(value, bool) else value}"


def _item(value: Any, indent: str) -> Iterator[str]:
    """The lines of an entry of a list; a mapping begins on the line of the dash."""
    if not isinstance(value, dict):
        yield from _entry(f"{indent}-", value, indent)
        return
    _, first, *rest = _entry("", value, indent)
    yield f"{indent}- {first.lstrip()}"
    yield from rest
