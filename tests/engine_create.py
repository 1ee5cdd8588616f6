"""Containers of an emulated Docker engine are made here: what is refused, and what is made of what was asked for."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import engine_images as images
import engine_shapes as shapes
from engine_answers import Refused, Reply
from engine_container import Container
from engine_volumes import volume

if TYPE_CHECKING:
    from engine_answers import Answer, Question
    from engine_api import Engine
    from engine_shapes import Document

POLICIES = ("", "no", "always", "on-failure", "unless-stopped")
UNKNOWN = ("Binds", "PortBindings", "VolumesFrom", "Links")


def create(engine: Engine, question: Question) -> Answer:
    """Makes one."""
    kind = question.headers.get("content-type", "")
    if not kind.startswith("application/json"):
        raise Refused(400, f"Content-Type specified ({kind}) must be 'application/json'")
    made = make(engine, question.query.get("name", "").lstrip("/"), question.document())
    return Reply(201, {"Id": made.id, "Warnings": []})


def make(engine: Engine, name: str, asked: Document) -> Container:
    """Makes a container.

    Raises:
        Refused: Docker would not.
    """
    if "Image" not in asked:
        raise Refused(400, "Config cannot be empty in order to create a container")
    host = _host(engine, asked.get("HostConfig") or {})
    image = images.found(engine.images, asked["Image"])
    if image is None:
        raise Refused(404, f"No such image: {asked['Image']}")
    config = _config(asked, image["Config"])
    if not [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]:
        raise Refused(400, "No command specified")
    config["Hostname"] = config["Hostname"] or engine.name
    with engine.world.changed:
        check_name(engine, name)
        made = Container(engine.world, name or secrets.token_hex(6), image["Id"], config, host, _mounts(engine, host))
        engine.world.containers[made.id] = made
        return made


def adopt(engine: Engine, partly: Document) -> Container:
    """A container that was there before, made of a part of its inspection."""
    config = {**shapes.CONFIG, "Image": "busybox", "Cmd": ["sleep", "inf"], **(partly.get("Config") or {})}
    host = {**shapes.HOST, **(partly.get("HostConfig") or {})}
    host["Devices"] = [
        {"PathInContainer": each["PathOnHost"], "CgroupPermissions": "rwm", **each} for each in host["Devices"] or ()
    ]
    more = {"id": partly["Id"]} if "Id" in partly else {}
    made = Container(engine.world, partly["Name"].lstrip("/"), f"sha256:{'0' * 64}", config, host, [], **more)
    with engine.world.changed:
        engine.world.containers[made.id] = made
        if partly["State"]["Running"]:
            engine.world.run(made)
        else:
            made.status = "exited"
    return made


def check_name(engine: Engine, name: str, prefix: str = "") -> None:
    """Raises when a container cannot be called so."""
    if name and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name):
        shown = f"/{name}" if prefix else name
        raise Refused(400, f"{prefix}Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    for each in engine.world.containers.values():
        if each.name == name:
            cause = f'The container name "/{name}" is already in use by container "{each.id}".'
            to_do = "You have to remove (or rename) that container to be able to reuse that name."
            raise Refused(409, f"{prefix}Conflict. {cause} {to_do}")


def _config(asked: Document, image: Document) -> Document:
    """What was asked for, and what the image has for the rest.

    https://github.com/moby/moby/blob/20.10/daemon/commit.go, merge
    """
    given = {key: asked[key] for key in (*shapes.CONFIG, *shapes.ONLY_WHEN_GIVEN) if asked.get(key) is not None}
    config = {**shapes.CONFIG, **given}
    own = {pair.partition("=")[0] for pair in config["Env"] or ()}
    more = [pair for pair in image["Env"] or () if pair.partition("=")[0] not in own]
    config["Env"] = [*(config["Env"] or ()), *more]
    config["Labels"] = {**(image["Labels"] or {}), **(config["Labels"] or {})}
    if not config["Entrypoint"]:
        config["Cmd"] = config["Cmd"] or image["Cmd"]
        config["Entrypoint"] = image["Entrypoint"]
    for key in ("User", "WorkingDir"):
        config[key] = config[key] or image[key]
    return config


def _host(engine: Engine, asked: Document) -> Document:
    _check_host(engine, asked)
    host = {**shapes.HOST, **{key: value for key, value in asked.items() if value is not None}}
    host["ShmSize"] = host["ShmSize"] or shapes.SHM_SIZE
    host["RestartPolicy"] = {"Name": "", "MaximumRetryCount": 0, **host["RestartPolicy"]}
    if host["SecurityOpt"] is None and (host["Privileged"] or "host" in (host["IpcMode"], host["PidMode"])):
        host["SecurityOpt"] = ["label=disable"]
    if host["Privileged"]:
        host["MaskedPaths"] = host["ReadonlyPaths"] = None
    if mounts := host.get("Mounts"):
        host["Mounts"] = [{key: value for key, value in mount.items() if value} for mount in mounts]
    return host


def _check_host(engine: Engine, asked: Document) -> None:
    if unknown := [key for key in UNKNOWN if asked.get(key)]:
        raise Refused(501, f"the emulated engine knows no {unknown[0]}")
    policy = (asked.get("RestartPolicy") or {}).get("Name", "")
    if policy not in POLICIES:
        raise Refused(400, f"invalid restart policy '{policy}'")
    if asked.get("AutoRemove") and policy not in ("", "no"):
        raise Refused(400, "can't create 'AutoRemove' container with restart policy")
    targets = set()
    for mount in asked.get("Mounts") or ():
        _check_mount(engine, mount)
        if mount["Target"] in targets:
            raise Refused(400, f"Duplicate mount point: {mount['Target']}")
        targets.add(mount["Target"])


def _check_mount(engine: Engine, mount: Document) -> None:
    if mount["Type"] == "bind":
        prefix, source = 'invalid mount config for type "bind"', mount["Source"]
        if not source.startswith("/"):
            raise Refused(400, f"{prefix}: invalid mount path: '{source}' mount path must be absolute")
        if source in engine.missing:
            raise Refused(400, f"{prefix}: bind source path does not exist: {source}")


def _mounts(engine: Engine, host: Document) -> list[dict[str, Any]]:
    """A container's mounts, as an inspection shows them; a volume that is not there is made."""
    shown = []
    for mount in host.get("Mounts") or ():
        kind, source, target = mount["Type"], mount["Source"], mount["Target"]
        more = {"Mode": "", "RW": not mount.get("ReadOnly"), "Propagation": "rprivate"}
        if kind == "volume":
            made = volume(engine.world, source, None)
            more = {"Name": source, "Driver": "local", **more, "Mode": "z", "Propagation": ""}
            source = made["Mountpoint"]
        shown.append({"Type": kind, "Source": source, "Destination": target, **more})
    return shown
