"""`compiler verify` and `compiler discover` on two real engines, each on a host and a network of its own.

The hosts' hccn_tool and npu-smi are the emulators; everything else is real: Docker, the container, the script
on the host's root, the way between the nodes, the storage that they share.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from ascend import model, setup
from engine import Engine, engine
from network import ip, plugged, switch, unplugged
from sshd import keys, laptop, sshd

from compiler import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosts import Host

pytestmark = [pytest.mark.rig, pytest.mark.usefixtures("sockets_left_by_docker_py")]
IMAGE = "rig/vllm-ascend:v1"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PYTHON = r"""#!/bin/bash
case $2 in
  *python_version*) echo 3.11.13 ;;
  *"'ray'"*) echo 2.48.0 ;;
  *"'vllm'"*) echo 0.11.0 ;;
  *"'vllm-ascend'"*) echo 0.11.0 ;;
esac
"""
PROGRAMS = {name: name for name in ("bash", "chroot", "sleep", "timeout", "cat", "env", "mkdir", "sh", "flock", "grep")}
SPEC = """\
version: 1
name: rig
accelerator: atlas-a2
image: {image}
cache: /mnt/shared/cache
defaults: {{interface: eth0}}
nodes:
  - name: node-0 # the head
    address: {addresses[0]}
    docker: unix://{sockets[0]}
    npu_addresses: {{first: 10.20.0.10}}
  - name: node-1
    address: {addresses[1]}
    docker: unix://{sockets[1]}
    npu_addresses: {{first: 10.20.1.10}}
serve:
  model: /root/.cache/tiny
  parallelism: pipeline
"""


class Rig(NamedTuple):
    """Two hosts with an engine each, and the spec that names them."""

    engines: tuple[Engine, Engine]
    switch: str
    networks: tuple[str, str]
    spec: Path
    shared: Path

    def state(self, node: int) -> Path:
        """The state of a node's emulated tools."""
        return self.engines[node].host("/mnt/emulator/state")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    shared = Path(tempfile.mkdtemp(prefix="rig-shared-"))
    model(shared / "tiny")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, shared)
        where = stack.enter_context(switch())
        networks = [stack.enter_context(plugged(where, *each)) for each in enumerate(ADDRESSES)]
        engines = [
            stack.enter_context(engine(setup(index, ADDRESSES[index], shared), network=network, name=f"node-{index}"))
            for index, network in enumerate(networks)
        ]
        engines[0].import_image(IMAGE, PROGRAMS, {"python3": PYTHON, "vllm": "#!/bin/bash\n"})
        engines[1].run("docker", "load", given=engines[0].run("docker", "save", IMAGE).stdout)
        spec = tmp_path_factory.mktemp("spec") / "rig.yaml"
        sockets = [running.socket for running in engines]
        spec.write_text(SPEC.format(image=IMAGE, addresses=ADDRESSES, sockets=sockets))
        yield Rig((engines[0], engines[1]), where, (networks[0], networks[1]), spec, shared)


def verified(rig: Rig, capfd: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """What `verify --json` says; whatever happened, nothing of ours is left on the nodes."""
    code = cli.main(["verify", str(rig.spec), "--json", *options])
    out, err = capfd.readouterr()
    assert out, err
    document: dict[str, Any] = json.loads(out)
    assert code == (0 if document["passed"] else 1)
    assert not list(rig.shared.glob(".verify*"))
    return document


def bad(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Node and id of all that failed or warns."""
    own = {
        (node["name"], check["id"])
        for node in document["nodes"]
        for check in node["checks"]
        if check["status"] in {"FAIL", "warn"}
    }
    across = {
        (node, each["id"])
        for each in document["across"]
        for node in each["nodes"]
        if each["status"] in {"FAIL", "warn"}
    }
    return own | across


def nothing_left(rig: Rig) -> bool:
    return not any(running.docker("ps", "--all", "--quiet").split() for running in rig.engines)


# This machine's own disk and memory are not what is tested.
MACHINE = ("--skip", "disk,memory")


def test_a_healthy_cluster_passes(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    document = verified(rig, capfd, *MACHINE)
    assert bad(document) == set()
    assert document["passed"], [(node["name"], node["fault"]) for node in document["nodes"]]
    by_id = {check["id"]: check for check in document["nodes"][1]["checks"]}
    assert by_id["cache[shared]"]["status"] == "ok"
    assert by_id["reach[node-0]"]["status"] == "ok"
    assert by_id["ping[0>node-0:0]"]["status"] == "ok"
    assert by_id["image"]["seen"].startswith("sha256:")
    assert nothing_left(rig)


def test_storage_that_only_looks_shared_is_found(rig: Rig, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(rig.shared, other)
    node = rig.engines[1].on
    assert node.run("mount", "--bind", str(other), "/mnt/shared/cache").returncode == 0
    try:
        document = verified(rig, capfd, *MACHINE)
    finally:
        assert node.run("umount", "/mnt/shared/cache").returncode == 0
    assert bad(document) == {("node-1", "cache[shared]")}


def test_tls_that_is_on_on_one_node_alone(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    before = rig.state(1).read_text()
    rig.state(1).write_text(f"{before}tls=1\n")
    try:
        document = verified(rig, capfd, "--only", "tls")
    finally:
        rig.state(1).write_text(before)
    assert bad(document) == {("node-1", "tls[nodes]")}


def test_a_device_and_a_mount_that_are_missing(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    device, folder = (rig.engines[1].host(path) for path in ("/dev/davinci3", "/usr/local/dcmi"))
    device.rename(device.with_name("gone"))
    folder.rename(folder.with_name("gone"))
    try:
        document = verified(rig, capfd, "--only", "container,device,mount")
    finally:
        device.with_name("gone").rename(device)
        folder.with_name("gone").rename(folder)
    assert bad(document) == {
        ("node-1", "container"),
        ("node-1", "device[/dev/davinci3]"),
        ("node-1", "mount[/usr/local/dcmi]"),
    }
    assert nothing_left(rig)


def test_an_npu_that_another_container_has(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("run", "--detach", "--name", "training", "--network=none", "--device=/dev/davinci2", IMAGE, "sleep", "600")
    rig.engines[0].docker(*words)
    try:
        document = verified(rig, capfd, "--only", "containers")
    finally:
        rig.engines[0].docker("rm", "--force", "training")
    assert bad(document) == {("node-0", "containers")}


def test_a_process_that_holds_an_npu(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    node = rig.engines[1].on
    held = node.run("bash", "-c", "sleep 600 </dev/davinci4 >/dev/null 2>&1 & echo $!").stdout.strip()
    try:
        document = verified(rig, capfd, "--only", "processes")
    finally:
        node.run("kill", held)
    assert bad(document) == {("node-1", "processes")}
    (found,) = [check for check in document["nodes"][1]["checks"] if check["id"] == "processes"]
    assert held in found["seen"]


def test_a_way_that_is_blocked(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    with unplugged(rig.switch, 1):
        document = verified(rig, capfd, "--only", "reach", "--node", "node-0")
    assert bad(document) == {("node-0", "reach[node-1]")}


def test_a_node_that_is_up_and_drops_what_comes(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    ip(rig.networks[1], "route", "add", "blackhole", "10.77.0.1/32")
    try:
        document = verified(rig, capfd, "--only", "reach")
    finally:
        ip(rig.networks[1], "route", "del", "blackhole", "10.77.0.1/32")
    assert bad(document) == {("node-0", "reach[node-1]"), ("node-1", "reach[node-0]"), ("node-0", "reach[nodes]")}
    (found,) = [each for each in document["across"] if each["id"] == "reach[nodes]"]
    assert found["seen"].startswith("node-1 is up, and silent to these: 10.77.0.2 is silent: no answer within 3 s")


def test_an_engine_that_hangs_and_one_that_lacks_the_image(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    rig.engines[0].docker("tag", IMAGE, "kept")
    rig.engines[0].docker("rmi", IMAGE)
    try:
        began = time.monotonic()
        with rig.engines[1].frozen():
            document = verified(rig, capfd, "--timeout", "6")
        assert time.monotonic() - began < 30
    finally:
        rig.engines[0].docker("tag", "kept", IMAGE)
    faults = [node["fault"] for node in document["nodes"]]
    assert faults[0].startswith("its image is missing")
    assert faults[1] == "connect: no answer in time"


def test_ctrl_c_leaves_no_container(rig: Rig) -> None:
    before = rig.state(1).read_text()
    rig.state(1).write_text(f"{before}delay=5\n")
    program = [sys.executable, "-m", "compiler", "verify", str(rig.spec), "--only", "link"]
    try:
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            while not rig.engines[1].docker("ps", "--quiet").split():
                time.sleep(0.1)
            time.sleep(1)
            os.kill(running.pid, signal.SIGINT)
            _, err = running.communicate(timeout=60)
    finally:
        rig.state(1).write_text(before)
    assert running.returncode == 130, err
    assert nothing_left(rig)


def test_a_node_behind_ssh(rig: Rig, tmp_path: Path) -> None:
    """Works with the known key; says why with another key, an unknown host, and a closed port; never asks."""
    folder = Path(tempfile.mkdtemp(prefix="rig-ssh-"))
    keys(folder, ADDRESSES[0])
    spec = tmp_path / "ssh.yaml"
    text = rig.spec.read_text()

    def verify(client: Host, url: str = "ssh://root@{address}") -> tuple[bool, str]:
        spec.write_text(text.replace(f"unix://{rig.engines[0].socket}", url))
        program = (sys.executable, "-m", "compiler", "verify", spec, "--json", "--only", "link", "--node", "node-0")
        done = subprocess.run(
            (*client.enter, *program), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        return document["passed"], document["nodes"][0]["fault"]

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        client = stack.enter_context(laptop(rig.networks[1], folder))
        with sshd(rig.engines[0].on, ADDRESSES[0], folder):
            assert verify(client) == (True, "")
            (folder / "used").unlink()
            (folder / "used").symlink_to("stranger")
            refused = verify(client)
            assert refused[1].startswith("connect by ssh: root@10.77.0.1: Permission denied (publickey")
            (folder / "known").rename(folder / "kept")
            assert verify(client) == (False, "connect by ssh: Host key verification failed.")
            (folder / "kept").rename(folder / "known")
            assert verify(client, "ssh://root@{address}:23") == (
                False,
                "connect by ssh: ssh: connect to host 10.77.0.1 port 23: Connection refused",
            )
        assert verify(client)[1] == "connect by ssh: ssh: connect to host 10.77.0.1 port 22: Connection refused"
    assert nothing_left(rig)


def test_killed_its_containers_end_by_themselves(rig: Rig) -> None:
    before = rig.state(1).read_text()
    rig.state(1).write_text(f"{before}delay=5\n")
    program = [sys.executable, "-m", "compiler", "verify", str(rig.spec), "--only", "link", "--timeout", "8"]
    try:
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            while not rig.engines[1].docker("ps", "--quiet").split():
                time.sleep(0.1)
            running.kill()
    finally:
        rig.state(1).write_text(before)
    deadline = time.monotonic() + 20
    while not nothing_left(rig):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_engine_that_is_killed_meanwhile(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """The node that loses its engine is named; the other is judged as ever."""
    before = rig.state(1).read_text()
    rig.state(1).write_text(f"{before}delay=1\n")
    stop = threading.Timer(5, rig.engines[1].freeze)
    stop.start()
    try:
        code = cli.main(["verify", str(rig.spec), "--json", "--only", "link,tls", "--timeout", "15"])
    finally:
        stop.cancel()
        rig.engines[1].thaw()
        rig.state(1).write_text(before)
    document = json.loads(capfd.readouterr().out)
    assert code == 1
    assert document["nodes"][0]["fault"] == ""
    assert document["nodes"][1]["fault"]
    deadline = time.monotonic() + 30
    while not nothing_left(rig):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_discover_writes_what_the_nodes_say(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    whole = rig.spec.read_text()
    lacking = whole.replace("defaults: {interface: eth0}\n", "").replace("    npu_addresses: {first: 10.20.1.10}\n", "")
    rig.spec.write_text(lacking)
    try:
        assert cli.main(["discover", str(rig.spec), "--diff"]) == 1
        shown = capfd.readouterr().out
        assert "+    npu_addresses: {first: 10.20.1.10}\n" in shown
        assert rig.spec.read_text() == lacking
        assert cli.main(["discover", str(rig.spec)]) == 0, capfd.readouterr()
        written = rig.spec.read_text()
        assert cli.main(["discover", str(rig.spec)]) == 0
        assert rig.spec.read_text() == written
    finally:
        rig.spec.write_text(whole)
    assert written.count("    interface: eth0\n") == 2
    assert "  - name: node-0 # the head\n" in written
    assert [line for line in written.splitlines() if line not in lacking.splitlines()] == [
        "    interface: eth0",
        "    interface: eth0",
        "    npu_addresses: {first: 10.20.1.10}",
    ]
    assert nothing_left(rig)
