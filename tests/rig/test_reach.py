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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from engine import Engine, engine

from compiler import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.rig, pytest.mark.usefixtures("sockets_left_by_docker_py")]
EMULATOR = Path(__file__).parent.parent / "emulator"
IMAGE = "rig/vllm-ascend:v1"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
# The tools know their state by a variable, and the host's root is read-only for them: /mnt/emulator is in memory.
# /sys is mounted anew, with the network that this is in, and gets its cgroups back: Docker needs them.
PREPARE = """
mkdir -p /mnt/cgroup
mount --rbind /sys/fs/cgroup /mnt/cgroup
mount -t sysfs sysfs /sys
mount --rbind /mnt/cgroup /sys/fs/cgroup
mkdir -p /mnt/emulator /mnt/shared/cache
mount --bind {shared} /mnt/shared/cache
cp {emulator}/hccn_tool {emulator}/npu-smi /mnt/emulator
echo 'npus=8' >/mnt/emulator/state
echo 'node={index}' >>/mnt/emulator/state
for tool in Ascend/driver/tools/hccn_tool bin/npu-smi; do
  cat >/usr/local/$tool <<'END'
#!/bin/bash
[[ -e /mnt/emulator ]] || {{ echo npu-smi 25.2.0 in a container && exit; }}
EMULATOR_STATE=/mnt/emulator/state exec bash "/mnt/emulator/${{0##*/}}" "$@"
END
  chmod 755 /usr/local/$tool
done
for npu in {{0..7}}; do echo "address_$npu=10.20.{index}.$((10 + npu))"; done >/etc/hccn.conf
echo 'package_version=25.2.0' >/usr/local/Ascend/driver/version.info
echo '{address} node-{index}' >/etc/hosts
mount -t tmpfs tmpfs /run
mkdir /run/sshd
ln -s {socket} /run/docker.sock
echo 60000-60015 >/proc/sys/net/ipv4/ip_local_reserved_ports
"""
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
    spec: Path
    shared: Path

    def state(self, node: int) -> Path:
        """The state of a node's emulated tools."""
        return self.engines[node].host("/mnt/emulator/state")


@contextmanager
def network() -> Iterator[tuple[str, str]]:
    """Two network namespaces with eth0 each, joined by a cable."""
    names = (f"rig{os.getpid()}-0", f"rig{os.getpid()}-1")
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        _ip("-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield names


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    shared = Path(tempfile.mkdtemp(prefix="rig-shared-"))
    model(shared / "tiny")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, shared)
        names = stack.enter_context(network())
        engines = []
        for index, name in enumerate(names):
            prepare = PREPARE.format(
                shared=shared, emulator=EMULATOR, index=index, address=ADDRESSES[index], socket="$SOCKET"
            )
            running = stack.enter_context(engine(("nsenter", f"--net=/run/netns/{name}", "--"), prepare))
            engines.append(running)
        engines[0].import_image(IMAGE, PROGRAMS, {"python3": PYTHON, "vllm": "#!/bin/bash\n"})
        engines[1].run("docker", "load", given=engines[0].run("docker", "save", IMAGE).stdout)
        spec = tmp_path_factory.mktemp("spec") / "rig.yaml"
        sockets = [running.socket for running in engines]
        spec.write_text(SPEC.format(image=IMAGE, addresses=ADDRESSES, sockets=sockets))
        yield Rig((engines[0], engines[1]), spec, shared)


def model(folder: Path) -> None:
    """A model with all its files."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard in shards:
        (folder / shard).write_bytes(bytes(100))
    index = {"metadata": {"total_size": 150}, "weight_map": {f"layer.{number}": shards[number] for number in (0, 1)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


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
    enter = ("nsenter", f"--target={rig.engines[1].process}", "--mount")
    subprocess.run((*enter, "mount", "--bind", other, "/mnt/shared/cache"), check=True)
    try:
        document = verified(rig, capfd, *MACHINE)
    finally:
        subprocess.run((*enter, "umount", "/mnt/shared/cache"), check=True)
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
    with rig.engines[1].host("/dev/davinci4").open("rb"):
        document = verified(rig, capfd, "--only", "processes")
    # The process is seen from both hosts: they share the machine's processes, but not its devices.
    assert ("node-1", "processes") in bad(document)
    (found,) = [check for check in document["nodes"][1]["checks"] if check["id"] == "processes"]
    assert str(os.getpid()) in found["seen"]


def test_a_way_that_is_blocked(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"rig{os.getpid()}-1"
    _ip("-n", name, "link", "set", "eth0", "down")
    try:
        document = verified(rig, capfd, "--only", "reach", "--node", "node-0")
    finally:
        _ip("-n", name, "link", "set", "eth0", "up")
    assert bad(document) == {("node-0", "reach[node-1]")}


def test_a_node_that_is_up_and_drops_what_comes(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"rig{os.getpid()}-1"
    _ip("-n", name, "route", "add", "blackhole", "10.77.0.1/32")
    try:
        document = verified(rig, capfd, "--only", "reach")
    finally:
        _ip("-n", name, "route", "del", "blackhole", "10.77.0.1/32")
    assert bad(document) == {("node-0", "reach[node-1]"), ("node-1", "reach[node-0]"), ("node-0", "reach[nodes]")}
    (found,) = [each for each in document["across"] if each["id"] == "reach[nodes]"]
    assert found["seen"].startswith("node-1 is up, and silent to these: 10.77.0.2 is silent: no answer within 3 s")


def test_an_engine_that_hangs_and_one_that_lacks_the_image(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    os.kill(rig.engines[1].process, signal.SIGSTOP)
    rig.engines[0].docker("tag", IMAGE, "kept")
    rig.engines[0].docker("rmi", IMAGE)
    try:
        began = time.monotonic()
        document = verified(rig, capfd, "--timeout", "6")
        assert time.monotonic() - began < 30
    finally:
        os.kill(rig.engines[1].process, signal.SIGCONT)
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


SSHD = """
ListenAddress 10.77.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
"""
# The client's own settings, where ssh looks for them: in an /etc that only it sees.
CLIENT = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
printf '%s\\n' "UserKnownHostsFile $FOLDER/known" "IdentityFile $FOLDER/$KEY" "IdentitiesOnly yes" >/etc/ssh/ssh_config
exec "$@"
"""


@contextmanager
def sshd(rig: Rig, folder: Path) -> Iterator[None]:
    """A real sshd on the first host, and keys for it."""
    for key in ("host", "client", "stranger"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key), check=True)
    (folder / "known").write_text(f"10.77.0.1 {(folder / 'host.pub').read_text()}")
    (folder / "unknown").write_text("")
    (folder / "conf").write_text(SSHD.format(folder=folder))
    enter = ("nsenter", f"--target={rig.engines[0].process}", "--mount", "--net", "--")
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen((*enter, "/usr/sbin/sshd", "-D", "-e", "-f", folder / "conf"), stderr=log)
    try:
        while b"listening" not in (folder / "log").read_bytes():
            assert daemon.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def test_a_node_behind_ssh(rig: Rig, tmp_path: Path) -> None:
    """Works with the known key; says why with another key, an unknown host, and a closed port; never asks."""
    folder = Path(tempfile.mkdtemp(prefix="rig-ssh-"))
    spec = tmp_path / "ssh.yaml"
    text = rig.spec.read_text()

    def verify(key: str = "client", url: str = "ssh://root@{address}") -> tuple[bool, str]:
        spec.write_text(text.replace(f"unix://{rig.engines[0].socket}", url))
        enter = (
            "nsenter",
            f"--net=/run/netns/rig{os.getpid()}-1",
            "unshare",
            "--mount",
            "bash",
            "-c",
            CLIENT,
            "client",
        )
        program = (sys.executable, "-m", "compiler", "verify", spec, "--json", "--only", "link", "--node", "node-0")
        done = subprocess.run(
            (*enter, *program),
            env={**os.environ, "FOLDER": str(folder), "KEY": key},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        return document["passed"], document["nodes"][0]["fault"]

    try:
        with sshd(rig, folder):
            assert verify() == (True, "")
            refused = verify(key="stranger")
            assert refused[1].startswith("connect by ssh: root@10.77.0.1: Permission denied (publickey")
            (folder / "known").rename(folder / "kept")
            assert verify() == (False, "connect by ssh: Host key verification failed.")
            (folder / "kept").rename(folder / "known")
            port = "ssh://root@{address}:23"
            assert verify(url=port) == (
                False,
                "connect by ssh: ssh: connect to host 10.77.0.1 port 23: Connection refused",
            )
        assert verify()[1] == "connect by ssh: ssh: connect to host 10.77.0.1 port 22: Connection refused"
    finally:
        shutil.rmtree(folder)
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
    stop = threading.Timer(5, os.kill, (rig.engines[1].process, signal.SIGSTOP))
    stop.start()
    try:
        code = cli.main(["verify", str(rig.spec), "--json", "--only", "link,tls", "--timeout", "15"])
    finally:
        stop.cancel()
        os.kill(rig.engines[1].process, signal.SIGCONT)
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
