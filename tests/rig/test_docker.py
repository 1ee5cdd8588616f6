"""What a real Docker engine and the real Composes make of a bundle: the same bytes in every container."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hostile
import pytest
from engine import Engine, allowed_ulimits, compose, engine

from compiler.compile import compile_spec
from compiler.render import render
from compiler.source import Source
from schema.text import MAX_ENV_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compiler.plan import NodePlan, Plan

pytestmark = pytest.mark.rig

IMAGE = "rig/ascend:1"
PROGRAMS = ("bash", "cat", "env", "grep", "mkdir", "sleep", "tail", "timeout", "true")
# Ray as far as start.sh sees it: `ray start` tells what it was given and leaves two processes behind.
RAY = """#!/bin/bash
cat /proc/$$/environ >/root/.cache/environment
cat /proc/$$/cmdline >/root/.cache/words
gcs_server 1000 >/root/.cache/log 2>&1 &
raylet 1000 >/root/.cache/log 2>&1 &
"""
V1 = Path(__file__).parent.parent.parent / ".venv-compose-v1/bin/python"
WITHOUT_UNKNOWN = "/^ *bind:$/d; /^ *create_host_path: false$/d"
VALUES = 10_000
A_CONTAINER = 1000  # values of each: all of an environment is at most a quarter of the stack, 2 MiB
NOTHING: Mapping[str, str] = {}
SECRET = {"HF_TOKEN": "canary-$ecret'"}
SPEC = Path(__file__).parent.parent.parent / "examples/qwen3-235b.yaml"


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with engine() as running:
        programs = {name: name for name in PROGRAMS} | {"raylet": "sleep", "gcs_server": "sleep"}
        running.import_image(IMAGE, programs, {"ray": RAY, "python3": "#!/bin/bash\n"})
        yield running


class Node(NamedTuple):
    """One node of a bundle on disk."""

    plan: Plan
    node: NodePlan
    folder: Path

    def compose(
        self, docker: Engine, *words: str, check: bool = True, environment: Mapping[str, str] = NOTHING
    ) -> subprocess.CompletedProcess[bytes]:
        """Compose v2 in the node's folder."""
        return docker.run(compose(), *words, environment=environment, cwd=self.folder, check=check)

    def compose_v1(self, docker: Engine, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Compose 1.29.2, without the key that it does not know."""
        if not V1.exists():
            pytest.skip("Compose 1.29.2 is missing (`make .venv-compose-v1/.done`)")
        file = (self.folder / "docker-compose.yaml").read_bytes()
        known = subprocess.run(("sed", WITHOUT_UNKNOWN), input=file, capture_output=True, check=True).stdout
        command = ("-m", "compose", "--file", "-", *words)
        return docker.run(V1, *command, environment=SECRET, cwd=self.folder, given=known, check=check)


def bundle(docker: Engine, spec: Mapping[str, object] | bytes, name: str) -> Node:
    """The head of the spec's bundle, written out."""
    text = spec if isinstance(spec, bytes) else hostile.yaml(spec).encode()
    overlay = hostile.yaml({"container": {"ulimits": allowed_ulimits()}}).encode()
    plan, diagnostics, _ = compile_spec([Source("spec.yaml", text), Source("overlay.yaml", overlay)])
    assert plan is not None, diagnostics
    for file in render(plan).files:
        path = docker.folder / name / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    return Node(plan, plan.head, docker.folder / name / plan.head.name)


def spec(**more: object) -> dict[str, object]:
    """A cluster of one node, whose devices and mounts the engine's host has."""
    return {
        "version": 1,
        "name": "rig",
        "accelerator": "atlas-a2",
        "image": IMAGE,
        "cache": "/mnt/shared/cache",
        "nodes": [{"name": "node-0", "address": "192.168.10.10", "interface": "eth0"}],
        "serve": {"model": "m"},
        **more,
    }


def pairs(environment: bytes) -> dict[bytes, bytes]:
    split = (pair.partition(b"=") for pair in environment.split(b"\0"))
    return {name: value for name, sign, value in split if sign}


def planned(node: NodePlan) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value, _ in node.environment}


def differences(found: bytes, wanted: dict[bytes, bytes]) -> dict[bytes, tuple[bytes, bytes | None]]:
    got = pairs(found)
    return {name: (value, got.get(name)) for name, value in wanted.items() if got.get(name) != value}


@pytest.fixture(scope="module")
def values() -> list[str]:
    return hostile.corpus(hostile.ENV_VALUE, VALUES, 1)


@pytest.fixture(scope="module", params=range(0, VALUES, A_CONTAINER))
def node(request: pytest.FixtureRequest, docker: Engine, values: list[str]) -> Node:
    """A node with 1,000 hostile values in its environment."""
    some = values[request.param : request.param + A_CONTAINER]
    env = {f"V{request.param + number}": value for number, value in enumerate(some)}
    secrets = {"HF_TOKEN": {"from_env": "HF_TOKEN"}}
    return bundle(docker, spec(env=env, secrets=secrets), f"hostile-{request.param}")


def run_by_hand(docker: Engine, node: Node, *command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    words = ("run", "--rm", "--net=host", f"--env-file={node.folder / 'node.env'}", IMAGE, *command)
    return docker.run("docker", *words, environment=SECRET, check=check)


def test_docker_run_gives_the_planned_environment(docker: Engine, node: Node) -> None:
    found = run_by_hand(docker, node, "env", "-0").stdout
    assert differences(found, planned(node.node) | {b"HF_TOKEN": SECRET["HF_TOKEN"].encode()}) == {}


def test_compose_run_gives_the_planned_environment(docker: Engine, node: Node) -> None:
    found = node.compose(docker, "run", "--rm", "-T", "rig", "env", "-0", environment=SECRET).stdout
    assert differences(found, planned(node.node) | {b"HF_TOKEN": SECRET["HF_TOKEN"].encode()}) == {}


def test_compose_1_29_gives_the_planned_environment(docker: Engine, node: Node) -> None:
    found = node.compose_v1(docker, "run", "--rm", "-T", "rig", "env", "-0").stdout
    assert differences(found, planned(node.node) | {b"HF_TOKEN": SECRET["HF_TOKEN"].encode()}) == {}


def test_compose_up_gives_ray_the_planned_environment(docker: Engine, node: Node) -> None:
    node.compose(docker, "up", "-d", environment=SECRET)
    try:
        _until(docker, "Ray runs on 192.168.10.10")
        found = docker.host("/mnt/shared/cache/environment").read_bytes()
    finally:
        node.compose(docker, "down", environment=SECRET)
    assert differences(found, planned(node.node) | {b"HF_TOKEN": SECRET["HF_TOKEN"].encode()}) == {}


def test_ray_start_exports_the_planned_environment(docker: Engine, node: Node, tmp_path: Path) -> None:
    text, found = re.subn(
        rb"(?s)\nif grep -qsx raylet.*", b"\nexec env -0\n", (node.folder / "ray-start.sh").read_bytes()
    )
    assert found == 1
    (tmp_path / "exports.sh").write_bytes(text)
    mount = f"type=bind,source={tmp_path},target=/scripts"
    command = ("--env=HF_TOKEN", "--mount", mount, IMAGE, "bash", "/scripts/exports.sh")
    done = docker.run("docker", "run", "--rm", "--net=host", *command, environment=SECRET)
    assert differences(done.stdout, planned(node.node)) == {}


def test_no_file_holds_a_secret(node: Node) -> None:
    files = [file for file in node.folder.parent.rglob("*") if file.is_file()]
    assert len(files) > 8
    assert not [file for file in files if b"canary-$ecret" in file.read_bytes()]


def test_a_secret_that_is_not_set_stops_compose_before_anything_starts(docker: Engine) -> None:
    node = bundle(docker, spec(secrets={"HF_TOKEN": {"from_env": "HF_TOKEN"}}), "secret")
    for environment in ({}, {"HF_TOKEN": ""}):
        done = node.compose(docker, "up", "-d", check=False, environment=environment)
        assert done.returncode != 0
        assert b"set HF_TOKEN in the environment of docker compose" in done.stderr
        assert docker.docker("ps", "--all", "--quiet") == ""


def test_a_longest_line_is_what_docker_reads(docker: Engine) -> None:
    longest = "x" * (MAX_ENV_LINE - len("A="))
    node = bundle(docker, spec(env={"A": longest}), "longest")
    assert differences(run_by_hand(docker, node, "env", "-0").stdout, planned(node.node)) == {}
    file = node.folder / "node.env"
    file.write_bytes(file.read_bytes().replace(b"\nA=", b"\nA=x"))
    done = run_by_hand(docker, node, "env", "-0", check=False)
    assert (done.returncode != 0, b"token too long" in done.stderr) == (True, True)


@pytest.mark.parametrize("up", [Node.compose, Node.compose_v1], ids=["2", "1.29.2"])
def test_a_mistyped_source_is_an_error_and_makes_no_folder(
    docker: Engine, up: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    node = bundle(docker, spec(cache="/mnt/shared/cash"), "mistyped")
    done = up(node, docker, "up", "-d", check=False)
    assert done.returncode != 0
    assert b"bind source path does not exist: /mnt/shared/cash" in done.stderr
    assert not docker.host("/mnt/shared/cash").exists()
    node.compose(docker, "down")


def test_odd_paths_are_mounted_as_they_are(docker: Engine) -> None:
    paths = [
        "/mnt/a b",
        "/mnt/$HOME",
        "/mnt/a:b,c=d",
        "/mnt/'\"\\",
        "/mnt/é\U0001f680",
        "/mnt/~",
        "/mnt/ x ",
        "/mnt/#",
    ]
    for number, path in enumerate(paths):
        docker.host(path).mkdir()
        (docker.host(path) / "mark").write_text(str(number), encoding="ascii")
    mounts = [{"source": path, "target": f"/t{path}"} for path in paths]
    node = bundle(docker, spec(container={"mounts": mounts}), "paths")
    show = 'for path; do cat "/t$path/mark"; done'
    done = node.compose(docker, "run", "--rm", "-T", "rig", "bash", "-c", show, "bash", *paths)
    assert done.stdout.decode() == "01234567"


def test_the_example_starts_ray_and_ends_in_time(docker: Engine) -> None:
    docker.docker("tag", IMAGE, "quay.io/ascend/vllm-ascend:v0.11.0")
    node = bundle(docker, SPEC.read_bytes(), "example")
    name = node.plan.container.name
    node.compose(docker, "up", "-d")
    _until(docker, "Ray runs on 192.168.10.10", name)
    time.sleep(3)  # start.sh looks after Ray every two seconds
    assert docker.docker("inspect", "--format={{.State.Status}}", name) == "running\n"
    words = docker.host("/mnt/shared/cache/words").read_bytes().split(b"\0")
    assert words[2:-1] == [
        word.encode() for word in (*node.node.shape.ray_start[1:], "--node-ip-address", node.node.address)
    ]
    devices = docker.docker("exec", name, "bash", "-c", "echo /dev/davinci?")
    assert devices.split() == list(node.node.shape.npu_devices)
    began = time.monotonic()
    node.compose(docker, "down")
    assert time.monotonic() - began < 10
    assert docker.docker("ps", "--all", "--quiet") == ""


def test_a_ray_that_died_ends_the_container(docker: Engine) -> None:
    node = bundle(docker, spec(), "died")
    node.compose(docker, "up", "-d")
    _until(docker, "Ray runs on 192.168.10.10")
    docker.docker(
        "exec",
        "rig",
        "bash",
        "-c",
        "for p in /proc/[0-9]*; do grep -qx raylet $p/comm && kill ${p#/proc/}; done; true",
    )
    _until(docker, "Ray's raylet has died")
    assert docker.docker("wait", "rig") == "1\n"
    node.compose(docker, "down")


def _until(docker: Engine, said: str, container: str = "rig") -> None:
    """Waits until the container has said this."""
    deadline = time.monotonic() + 30
    while True:
        log = docker.run("docker", "logs", container)
        told = (log.stdout + log.stderr).decode(errors="replace")
        if said in told:
            return
        assert time.monotonic() < deadline, told[-2000:]
        time.sleep(0.1)
