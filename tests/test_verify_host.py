"""verify.sh and the host: its network, memory, disk, clock, the shared cache, the model in it, and Docker."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_api import Engine
from parts import part
from plans import A2, CACHE, MODEL, two_nodes
from verify_host import DIGEST, REVISION, SHARDS, Host, lay_out_model, real, verdict

from compiler.plan import Mount, Peer, Ulimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from compiler.plan import Plan

NAMES = (
    "interface,address,hostname,reach,port,reserved-ports,memory,ulimits,disk,clock,cache,mount,device,model,docker,"
    "image,containers,driver"
)
LISTENER = "   0: 00000000:{port:04X} 00000000:0000 {state}\n"
BLOBS = f"huggingface/hub/models--{MODEL.replace('/', '--')}/blobs"
FIRST, LAST = sorted(SHARDS)
CONFIG_DIGEST = "fe7e5836a63d"


# ---- Each check by itself ----------------------------------------------------------------------------


def no_interface(host: Host) -> None:
    shutil.rmtree(host.root / "sys/class/net/eth0")


def interface_down(host: Host) -> None:
    host.write("sys/class/net/eth0/operstate", "down\n")


def address_on_another_interface(host: Host) -> None:
    host.tool("ip", "echo '2: eth1    inet 192.168.10.10/24 scope global eth1'")


def address_on_two_interfaces(host: Host) -> None:
    host.tool("ip", "printf '%s inet 192.168.10.10/24 x\\n' '2: eth0' '3: eth1'")


def second_address(host: Host) -> None:
    host.tool("ip", "printf '2: eth0    inet %s/24 x\\n' 192.168.10.10 192.168.10.99")


def other_route(host: Host) -> None:
    file = host.root / "proc/net/route"
    file.write_text(file.read_text().replace("eth0\t000AA8C0", "bond0\t000AA8C0"))


def loopback_hostname(host: Host) -> None:
    host.tool("getent", 'echo "127.0.1.1 STREAM $2"')


def no_getent(host: Host) -> None:
    (host.tools / "getent").unlink()


def little_memory(host: Host) -> None:
    host.write("proc/meminfo", "MemTotal: 8388608 kB\n")


def memory_in_use(host: Host) -> None:
    host.write("proc/meminfo", "MemTotal: 2113929216 kB\nMemAvailable: 4194304 kB\n")


def memory_in_use_by_ourselves(host: Host) -> None:
    memory_in_use(host)
    held_by_ourselves(host)


def an_old_kernel(host: Host) -> None:
    host.write("proc/meminfo", "MemTotal: 2113929216 kB\n")


def few_open_files(host: Host) -> None:
    host.write("proc/sys/fs/nr_open", "1048575\n")


def full_disk(host: Host) -> None:
    host.file_system = "1048576 10000000 500000 xfs"


def nearly_full_disk(host: Host) -> None:
    host.file_system = "1048576 10000000 500001 xfs"


def roomy_disk(host: Host) -> None:
    host.file_system = "1048576 1000000000 100000001 lustre"


def small_disk(host: Host) -> None:
    host.file_system = "4096 10485760 5242879 xfs"


def silent_disk(host: Host) -> None:
    host.file_system = "4096 0 0 fuseblk"


def other_docker_folder(host: Host) -> None:
    (host.root / "data/docker").mkdir(parents=True)
    host.docker["info"] = "echo 'WARNING: no swap limit support' >&2; echo /data/docker"


def clock_behind(host: Host) -> None:
    stamped(host, "+100 seconds")


def clock_ahead(host: Host) -> None:
    stamped(host, "-300 seconds")


def stamped(host: Host, when: str) -> None:
    """The storage stamps a new file with another time than this host has."""
    (host.tools / "mktemp").unlink()
    host.tool("mktemp", f'file=$({real("mktemp")} "$@") && {real("touch")} -d "{when}" "$file" && echo "$file"')


def squashed_root(host: Host) -> None:
    (host.tools / "mktemp").unlink()
    host.tool("mktemp", 'echo "mktemp: failed to create file via template: Permission denied" >&2; exit 1')


def no_driver_version(host: Host) -> None:
    host.write("usr/local/Ascend/driver/version.info", "ascendhal_version=7.35.23\n")


def no_mount(host: Host) -> None:
    shutil.rmtree(host.root / "usr/local/dcmi")


def no_device(host: Host) -> None:
    (host.root / "dev/davinci3").unlink()


def taken_port(host: Host) -> None:
    host.write("proc/net/tcp6", "sl\n" + LISTENER.format(port=8000, state="0A"))


def taken_range(host: Host) -> None:
    host.write("proc/net/tcp", "sl\n" + LISTENER.format(port=60007, state="0A"))


def taken_worker_ports(host: Host) -> None:
    taken = "".join(LISTENER.format(port=port, state="0A") for port in (10256, 10250))
    host.write("proc/net/tcp", f"sl\n{taken}")


def connection(host: Host) -> None:
    host.write("proc/net/tcp", "sl\n" + LISTENER.format(port=8000, state="01"))


def nothing_reserved(host: Host) -> None:
    host.write("proc/sys/net/ipv4/ip_local_reserved_ports", "\n")


def partly_reserved(host: Host) -> None:
    host.write("proc/sys/net/ipv4/ip_local_reserved_ports", "80,60000-60007\n")


def other_ephemeral_range(host: Host) -> None:
    nothing_reserved(host)
    host.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t59999\n")


def no_docker(host: Host) -> None:
    host.docker.clear()


def silent_docker(host: Host) -> None:
    host.docker["version"] = "echo; echo 'Cannot connect to the Docker daemon' >&2; exit 1"


def talkative_docker(host: Host) -> None:
    host.docker["version"] = "echo 'WARNING: Error loading config file: EOF' >&2; echo 28.2.2"


def no_image(host: Host) -> None:
    host.docker["image"] = "echo 'Error: No such image: vllm-ascend:v0.11.0' >&2; exit 1"


def warned_image(host: Host) -> None:
    host.docker["image"] = "echo WARNING: bad configuration; echo sha256:0123"


def held_npu(host: Host) -> None:
    host.containers = ['/training true "" "" /dev/davinci3 /dev/davinci_manager ', '/web true "" "" ']


def stopped_holder(host: Host) -> None:
    host.containers = ['/training false "" "" /dev/davinci3 ']


def held_by_ourselves(host: Host) -> None:
    host.containers = ['/qwen3 true "qwen3" "head" /dev/davinci3 ']
    taken_port(host)


def held_by_a_verification(host: Host) -> None:
    host.containers = ['/qwen3-verify-1a2b true "qwen3" "verify" /dev/davinci3 ']


def our_name_taken(host: Host) -> None:
    host.containers = ['/qwen3 false "" "" ']


def our_name_in_another_cluster(host: Host) -> None:
    host.containers = ['/qwen3 true "qwen2" "head" /dev/davinci7 ']


def one_that_is_gone(host: Host) -> None:
    held_npu(host)
    host.docker["inspect"] = "echo 'Error: No such object: 0123' >&2; echo '/web true \"\" \"\" '; exit 1"


def nothing_inspected(host: Host) -> None:
    held_npu(host)
    host.docker["inspect"] = "echo 'permission denied' >&2; exit 1"


def nothing_listed(host: Host) -> None:
    host.docker["ps"] = "echo 'permission denied' >&2; exit 1"


def no_model(host: Host) -> None:
    shutil.rmtree(host.root / CACHE[1:] / "huggingface")


def lost_shard(host: Host) -> None:
    (host.root / CACHE[1:] / BLOBS / LAST).unlink()


def cut_off_shard(host: Host) -> None:
    (host.root / CACHE[1:] / BLOBS / FIRST).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


HOST_CASES: list[tuple[Callable[[Host], None], str, str, str]] = [
    (no_interface, "interface", "FAIL", "eth0 does not exist"),
    (interface_down, "interface", "FAIL", "eth0 is down"),
    (address_on_another_interface, "address", "FAIL", "192.168.10.10 is on eth1"),
    (address_on_two_interfaces, "address", "FAIL", "192.168.10.10 is on eth0 eth1"),
    (other_route, "address", "FAIL", "192.168.10.10 is on bond0"),
    (second_address, "address", "warn", "eth0 has 192.168.10.10 and also 192.168.10.99"),
    (loopback_hostname, "hostname", "warn", "127.0.1.1"),
    (no_getent, "hostname", "skip", "no getent"),
    (little_memory, "memory", "warn", "8 GiB of memory"),
    (memory_in_use, "memory", "warn", "4 of 2016 GiB of memory are available"),
    (memory_in_use_by_ourselves, "memory", "ok", "2016 GiB of memory for 16 GiB of /dev/shm"),
    (an_old_kernel, "memory", "ok", "2016 GiB of memory for 16 GiB of /dev/shm"),
    (few_open_files, "ulimits", "FAIL", "nofile 1048576"),
    (full_disk, "disk", "FAIL", "488 GiB free, 95 % used at /var/lib/docker"),
    (nearly_full_disk, "disk", "warn", "488 GiB free, 94 % used at /var/lib/docker"),
    (roomy_disk, "disk", "ok", "97656 GiB free, 89 % used at /var/lib/docker"),
    (small_disk, "disk", "warn", "19 GiB free, 50 % used at /var/lib/docker"),
    (silent_disk, "disk", "skip", "no file system says how full it is"),
    (other_docker_folder, "disk", "ok", "50 GiB free, 50 % used at /data/docker"),
    (clock_behind, "clock", "warn", " s behind the clock that stamps files in /mnt/shared/cache (nfs)"),
    (clock_ahead, "clock", "FAIL", " s ahead of the clock that stamps files in /mnt/shared/cache (nfs)"),
    (squashed_root, "cache", "FAIL", "Permission denied"),
    (squashed_root, "clock", "skip", "no file could be made in /mnt/shared/cache"),
    (no_driver_version, "driver", "FAIL", "no version in"),
    (no_mount, "mount[/usr/local/dcmi]", "FAIL", "No such file"),
    (no_device, "device[/dev/davinci3]", "FAIL", "no such device"),
    (taken_port, "port[8000]", "FAIL", "in use: 8000"),
    (taken_range, "port[60000-60015]", "FAIL", "in use: 60007"),
    (taken_worker_ports, "port[10002-19999]", "warn", "in use: 10250 10256"),
    (connection, "port[8000]", "ok", "free for vLLM API"),
    (held_by_ourselves, "port[8000]", "skip", "while this cluster's own container qwen3 runs"),
    (nothing_reserved, "reserved-ports", "warn", "nothing is reserved"),
    (partly_reserved, "reserved-ports", "warn", "80,60000-60007 is reserved"),
    (other_ephemeral_range, "reserved-ports", "ok", "the kernel gives 60000-60015 to no one else"),
    (no_docker, "docker", "FAIL", "no docker here"),
    (silent_docker, "docker", "FAIL", "Cannot connect to the Docker daemon"),
    (talkative_docker, "docker", "ok", "28.2.2"),
    (no_docker, "image", "skip", "docker does not answer here"),
    (no_docker, "containers", "skip", "who holds the NPUs is unknown: docker does not answer here"),
    (no_docker, "disk", "ok", "50 GiB free, 50 % used at /var/lib/docker"),
    (no_image, "image", "FAIL", "No such image"),
    (warned_image, "image", "ok", "sha256:0123"),
    (held_npu, "containers", "FAIL", "held: /dev/davinci3 by training"),
    (stopped_holder, "containers", "ok", "no other running container"),
    (held_by_ourselves, "containers", "ok", "no other running container"),
    (held_by_a_verification, "containers", "ok", "no other running container"),
    (our_name_taken, "containers", "FAIL", "another container is called qwen3"),
    (our_name_in_another_cluster, "containers", "FAIL", "another container is called qwen3"),
    (one_that_is_gone, "containers", "ok", "no other running container"),
    (nothing_inspected, "containers", "skip", "who holds the NPUs is unknown: permission denied"),
    (nothing_listed, "containers", "skip", "who holds the NPUs is unknown: permission denied"),
    (no_model, "model", "warn", f"{MODEL} is not in {CACHE}"),
    (lost_shard, "model", "FAIL", f"1 of 2 are missing or empty: {LAST}"),
    (cut_off_shard, "model", "FAIL", "the weights have 1043 bytes"),
]
# What cannot be looked at, or fails, for the same reason.
TOGETHER: dict[Callable[[Host], None], set[str]] = {
    no_docker: {"docker", "image", "containers"},
    silent_docker: {"docker", "image", "containers"},
    squashed_root: {"cache", "clock"},
    held_by_ourselves: {"port[8000]"},
    memory_in_use_by_ourselves: {"port[8000]"},
}


@pytest.mark.parametrize(("change", "check", "status", "seen"), HOST_CASES)
def test_host(a2: Host, change: Callable[[Host], None], check: str, status: str, seen: str) -> None:
    change(a2)
    checks = a2.run("--json", "--only", NAMES).checks
    assert (checks[check]["status"], seen in checks[check]["seen"]) == (status, True), checks[check]
    others = {name for name, found in checks.items() if found["status"] != "ok" and name != check}
    assert others == TOGETHER.get(change, set()) - {check}


def test_a_healthy_host(a2: Host) -> None:
    outcome = a2.run("--json", "--only", NAMES)
    assert (outcome.status, outcome.ids("warn", "FAIL", "skip"), outcome.err) == (0, set(), said_to_others())
    seen = {name: check["seen"] for name, check in outcome.checks.items()}
    assert seen["docker"] == "20.10.24"
    assert seen["image"] == DIGEST
    assert seen["model"] == f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"
    assert seen["ulimits"] == "memlock unlimited, nofile 1048576"
    assert seen["disk"] == "50 GiB free, 50 % used at /var/lib/docker"
    assert seen["cache"] == f"{CACHE} is writable, on nfs, 50 GiB free"
    assert seen["reach[node-1]"] == "127.0.10.11 answers on 52367 52368 10002 60000"


def said_to_others() -> str:
    return "" if os.geteuid() == 0 else "verify.sh: not run as root: some answers will be refused\n"


def test_each_check_tells_its_source_and_how_to_see_it_by_hand(a2: Host) -> None:
    checks = a2.run("--json", "--only", f"{NAMES},cache[shared]", "--nonce", "abc").checks
    assert {check["source"].partition("://")[0] for check in checks.values()} == {"https"}
    assert "" not in {check["by_hand"] for check in checks.values()}
    assert checks["mount[/etc/hccn.conf]"]["by_hand"] == "stat -- /etc/hccn.conf"
    assert checks["reach[node-1]"]["by_hand"] == "timeout 3 bash -c '</dev/tcp/127.0.10.11/52367'"


def test_a_missing_cache_fails_the_cache_and_its_mount(a2: Host) -> None:
    shutil.rmtree(a2.root / CACHE[1:])
    outcome = a2.run("--json", "--only", NAMES)
    assert outcome.ids("FAIL") == {"cache", f"mount[{CACHE}]"}
    assert (outcome.ids("warn"), outcome.ids("skip")) == ({"model"}, {"clock"})


def test_a_cache_that_is_a_file(a2: Host) -> None:
    shutil.rmtree(a2.root / CACHE[1:])
    a2.write(CACHE[1:], "")
    status, seen = verdict(a2, "cache")
    assert (status, "Not a directory" in seen) == ("FAIL", True)


def test_real_file_systems_say_how_full_they_are(a2: Host) -> None:
    a2.run("--list")
    (a2.tools / "stat").write_text(f'#!/usr/bin/env bash\nexec {real("stat")} "$@"\n')
    environment = {**a2.variables, "PATH": str(a2.tools)}
    done = subprocess.run(
        ["bash", a2.script, "--only", "disk,cache"], env=environment, capture_output=True, text=True, check=False
    )
    free = shutil.disk_usage(a2.root).free >> 30
    found = {line.split()[1]: line for line in done.stdout.splitlines() if " GiB free" in line}
    assert set(found) == {"disk", "cache"}
    for line in found.values():
        figure = int(line.split(" GiB free")[0].split()[-1])
        assert abs(figure - free) <= 1 + free // 10  # others use this disk, too


def test_a_slow_storage_is_no_other_clock(a2: Host) -> None:
    a2.script.write_text(a2.script.read_text().replace("CLOCK_SECONDS=5", "CLOCK_SECONDS=1"))
    (a2.tools / "mktemp").unlink()
    a2.tool("mktemp", f'{real("mktemp")} "$@" && sleep 2.5')
    assert verdict(a2, "clock")[0] == "ok"


@pytest.mark.parametrize("reserved", ["60000-60015", "80,59000-61000", "60000-60007,60008-60015"])
def test_reserved_ports_in_any_form(a2: Host, reserved: str) -> None:
    a2.write("proc/sys/net/ipv4/ip_local_reserved_ports", f"{reserved}\n")
    assert verdict(a2, "reserved-ports")[0] == "ok"


def test_the_sysctl_line_keeps_what_is_reserved(a2: Host) -> None:
    partly_reserved(a2)
    advice = a2.run("--json", "--only", "reserved-ports").checks["reserved-ports"]["next"]
    assert advice == "sysctl -w net.ipv4.ip_local_reserved_ports=80,60000-60007,60000-60015"


def test_the_driver_version_of_new_drivers(a2: Host) -> None:
    a2.write("usr/local/Ascend/driver/version.info", "Version=7.35.23\npackage_version=26.0.rc1\n")
    assert verdict(a2, "driver") == ("ok", "26.0.rc1")


@pytest.mark.parametrize(
    ("limit", "status", "seen"),
    [
        (Ulimit("nofile", 1024, 1_048_577), "FAIL", "nofile 1048577"),
        (Ulimit("nofile", -1, -1), "FAIL", "nofile unlimited"),
        (Ulimit("nproc", 1024, 4_194_305), "warn", "nproc 4194305"),
        (Ulimit("nproc", 4_194_304, 4_194_304), "ok", "nproc 4194304"),
        (Ulimit("nproc", -1, -1), "ok", "nproc unlimited"),
        (None, "ok", "none is set"),
    ],
)
def test_limits(tmp_path: Path, limit: Ulimit | None, status: str, seen: str) -> None:
    plan = two_nodes(A2)
    container = plan.container._replace(ulimits=(limit,) if limit else ())
    host = Host(tmp_path, plan._replace(container=container))
    assert verdict(host, "ulimits") == (status, seen)


def test_limits_of_a_kernel_that_does_not_tell_its_own(a2: Host) -> None:
    shutil.rmtree(a2.root / "proc/sys")
    assert verdict(a2, "ulimits")[0] == "ok"


# ---- The real docker client --------------------------------------------------------------------------


def inspected(number: int, name: str, labels: dict[str, str] | None, *devices: str, running: bool) -> dict[str, object]:
    """A container, as the API of an engine shows it."""
    return {
        "Id": f"{number:064x}",
        "Name": f"/{name}",
        "State": {"Running": running},
        "Config": {"Labels": labels},
        "HostConfig": {"Devices": [{"PathOnHost": device, "PathInContainer": device} for device in devices]},
    }


OURS = {"ascend-cluster.name": "qwen3", "ascend-cluster.role": "head", "maintainer": "a b"}
RAN = inspected(1, "qwen3", OURS, "/dev/davinci0", running=True)
WEB = inspected(2, "web", {}, running=True)
BARE = inspected(3, "bare", None, running=True)
STOPPED = inspected(4, "stopped", {"maintainer": "x"}, "/dev/davinci1", running=False)
TRAINING = inspected(5, "training", {"maintainer": "x"}, "/dev/davinci1", "/dev/davinci_manager", running=True)
VERIFIED = inspected(6, "qwen3-verify-1", {**OURS, "ascend-cluster.role": "verify"}, "/dev/davinci2", running=True)
OTHER = inspected(7, "qwen3", {"ascend-cluster.name": 'qwen3 " \n'}, running=False)


@pytest.mark.parametrize(
    ("containers", "status", "seen"),
    [
        ([], "ok", "no other running container has these NPUs"),
        ([RAN, WEB, BARE, STOPPED, VERIFIED], "ok", "no other running container has these NPUs"),
        ([RAN, WEB, TRAINING], "FAIL", "held: /dev/davinci1 by training"),
        ([WEB, OTHER], "FAIL", "another container is called qwen3"),
    ],
)
def test_a_real_client(a2: Host, tmp_path: Path, containers: list[object], status: str, seen: str) -> None:
    """Its formats, and its words: only the engine behind it is emulated."""
    (tmp_path / "client").mkdir()
    (tmp_path / "client/docker").symlink_to(part("docker"))
    image = {"Id": DIGEST, "RepoDigests": ["registry.example/vllm-ascend@sha256:0123"]}
    a2.docker.clear()
    with Engine(tmp_path / "socket", run=lambda *_: (1, "", ""), others=containers) as engine:  # type: ignore[arg-type]
        engine.images["vllm-ascend:v0.11.0"] = image
        a2.environment = {
            "PATH": f"{a2.tools}:{tmp_path / 'client'}",
            "DOCKER_HOST": engine.url,
            "DOCKER_API_VERSION": "1.41",
            "HOME": str(tmp_path),
        }
        taken_port(a2)
        checks = a2.run("--json", "--only", "docker,image,containers,disk,port[8000]").checks
        assert (checks["docker"]["status"], checks["docker"]["seen"]) == ("ok", "20.10.24")
        assert (checks["image"]["status"], checks["image"]["seen"]) == ("ok", DIGEST)
        assert (checks["containers"]["status"], checks["containers"]["seen"]) == (status, seen)
        assert checks["port[8000]"]["status"] == ("skip" if RAN in containers else "FAIL")
        assert checks["disk"]["status"] == "ok"
        engine.images.clear()
        assert verdict(a2, "image")[0] == "FAIL"
    found, said = verdict(a2, "docker")
    assert (found, "Cannot connect to the Docker daemon" in said) == ("FAIL", True)


# ---- The other nodes ---------------------------------------------------------------------------------


def plan_with_peer(address: str) -> Plan:
    """Of two nodes; node-0 knows the other one at this address."""
    plan = two_nodes(A2)
    first, second = plan.nodes
    peer = Peer(second.name, address, (), ())
    return plan._replace(nodes=(first._replace(peers=(peer,)), second))


def test_an_address_without_a_way_to_it(tmp_path: Path) -> None:
    # No connection can be made to a broadcast address: the kernel says so at once, and sends nothing.
    host = Host(tmp_path, plan_with_peer("255.255.255.255"))
    outcome = host.run("--json", "--only", NAMES)
    assert outcome.ids("FAIL", "warn", "skip") == {"reach[node-1]"}
    assert outcome.checks["reach[node-1]"]["seen"] == "Network is unreachable: 52367 52368 10002 60000"


def test_a_worker_also_reaches_the_port_of_the_head(tmp_path: Path) -> None:
    host = Host(tmp_path, two_nodes(A2), node=1)
    assert verdict(host, "reach[node-0]") == ("ok", "127.0.10.10 answers on 52367 52368 10002 60000 6379")


def test_a_bash_that_cannot_connect(a2: Host) -> None:
    a2.script.write_text(a2.script.read_text().replace("/dev/tcp/$1", "/dev/pct/$1"))
    assert verdict(a2, "reach[node-1]") == ("skip", "this bash cannot connect: it was built without /dev/tcp")


def in_a_network_of_its_own(host: Host, setup: str, *options: str) -> tuple[dict[str, dict[str, str]], float]:
    """What verify.sh says in a new network namespace after `setup`, by id, and in how many seconds."""
    part("ip")
    part("unshare")
    host.run("--list")
    script = f"""{setup}
        exec env -i PATH="$TOOLS" VERIFY_ROOT="$VERIFY_ROOT" bash "$SCRIPT" --json {" ".join(options)}
    """
    started = time.monotonic()
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", script],
        env={
            **host.variables,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOOLS": str(host.tools),
            "SCRIPT": str(host.script),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return {check["id"]: check for check in json.loads(done.stdout)["checks"]}, time.monotonic() - started


ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root")
LINK = "ip link set lo up; ip link add eth0 type veth peer name eth9; ip link set eth9 up; ip link set eth0 up;"


@ROOT_ALONE
def test_a_firewall_that_drops_costs_seconds_and_not_minutes(tmp_path: Path) -> None:
    host = Host(tmp_path, plan_with_peer("192.0.2.11"))
    silence = "ip addr add 192.0.2.10/24 dev eth0; ip neigh add 192.0.2.11 lladdr 02:00:00:00:00:11 dev eth0"
    checks, seconds = in_a_network_of_its_own(host, f"{LINK} {silence}", "--only reach")
    assert checks["reach[node-1]"]["status"] == "warn"  # it may just be down
    assert checks["reach[node-1]"]["seen"] == "192.0.2.11 is silent: no answer within 3 s: 52367 52368 10002 60000"
    assert 3 <= seconds < 3 + 3


@ROOT_ALONE
def test_a_firewall_that_rejects_one_port(tmp_path: Path) -> None:
    host = Host(tmp_path, plan_with_peer("192.0.2.11"))
    reject = """ip addr add 192.0.2.11/24 dev eth0
        ip rule add pref 200 lookup local && ip rule del pref 0
        ip rule add pref 100 ipproto tcp dport 52368 unreachable
    """
    checks, _ = in_a_network_of_its_own(host, f"{LINK} {reject}", "--only reach")
    assert checks["reach[node-1]"]["status"] == "FAIL"
    assert checks["reach[node-1]"]["seen"] == "Network is unreachable: 52368"


@ROOT_ALONE
@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        ("prohibit", "FAIL", "Permission denied"),
        ("blackhole", "FAIL", "Invalid argument"),
        ("unreachable", "warn", "192.0.2.11 is silent: No route to host"),
        ("", "FAIL", "Network is unreachable"),
    ],
)
def test_routes_that_lead_nowhere(tmp_path: Path, route: str, status: str, said: str) -> None:
    host = Host(tmp_path, plan_with_peer("192.0.2.11"))
    setup = f"ip route add {route} 192.0.2.11" if route else ""
    checks, _ = in_a_network_of_its_own(host, f"{LINK} {setup}", "--only reach")
    assert checks["reach[node-1]"]["status"] == status
    assert checks["reach[node-1]"]["seen"] == f"{said}: 52367 52368 10002 60000"


@ROOT_ALONE
def test_on_a_real_kernel(a2: Host) -> None:
    """The interface, its address and a listening port as the kernel of a new network namespace shows them."""
    for name in ("proc", "sys"):
        shutil.rmtree(a2.root / name)
        (a2.root / name).symlink_to(f"/{name}")
    found = part("ip")
    part("unshare")
    network = """
        mount -t sysfs sysfs /sys
        ip link add eth0 type veth peer name eth9 && ip link set eth9 up && ip link set eth0 up
        ip addr add 192.168.10.10/24 dev eth0
        exec 3< <(exec python -c 'import socket, sys, time
server = socket.create_server(("192.168.10.10", 8000)); print(flush=True); time.sleep(60)')
        read -r -u 3 && server=$!
        for tools in without with; do
          [[ $tools == without ]] || ln -s "$IP" "$TOOLS/ip"
          env -i PATH="$TOOLS" VERIFY_ROOT="$VERIFY_ROOT" EMULATOR_STATE="$EMULATOR_STATE" \\
            bash "$SCRIPT" --only interface,address,port
        done
        kill "$server"
    """
    a2.run("--list")
    done = subprocess.run(
        ["unshare", "--net", "--mount", "bash", "-c", network],
        env={
            **a2.variables,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOOLS": str(a2.tools),
            "SCRIPT": str(a2.script),
            "IP": found,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    words = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    said = [(line[0], line[1], line[2]) for line in words if line and line[0] in {"ok", "FAIL", "warn"}]
    assert said.count(("ok", "interface", "eth0 is up")) == 2
    assert said.count(("ok", "address", "192.168.10.10 is on eth0 alone")) == 2
    assert said.count(("FAIL", "port[8000]", "in use: 8000")) == 2
    assert len(said) == 2 * 16


# ---- A cache that all nodes share --------------------------------------------------------------------

SHARED = ("--json", "--only", "cache[shared]", "--nonce", "4f2a")
MARK = ".verify-qwen3-4f2a"


def two_hosts(folder: Path, *, shared: bool = True) -> tuple[Host, Host]:
    """The head and the worker; their cache is one folder when it is shared."""
    plan = two_nodes(A2)
    hosts = []
    for number in range(2):
        (folder / str(number)).mkdir()
        hosts.append(Host(folder / str(number), plan, number))
    head, worker = hosts
    if shared:
        shutil.rmtree(worker.root / CACHE[1:])
        (worker.root / CACHE[1:]).symlink_to(head.root / CACHE[1:])
    return head, worker


def test_a_mark_that_the_head_leaves_is_found_and_forgotten(tmp_path: Path) -> None:
    head, worker = two_hosts(tmp_path)
    mark = head.root / CACHE[1:] / MARK
    others = sorted(mark.parent.rglob("*"))
    for _ in range(2):  # it may be run again
        outcome = head.run(*SHARED)
        assert (outcome.status, outcome.checks["cache[shared]"]["seen"]) == (0, "left a mark for the others")
        assert mark.read_text() == "node-0\n"
    outcome = worker.run(*SHARED)
    assert (outcome.status, outcome.checks["cache[shared]"]["seen"]) == (0, "the mark of node-0 is here")
    forgotten = worker.run("--forget", "4f2a")
    assert (forgotten.status, forgotten.out, forgotten.err) == (0, b"", "")
    assert sorted(mark.parent.rglob("*")) == others


def test_a_cache_of_its_own_lacks_the_mark(tmp_path: Path) -> None:
    head, worker = two_hosts(tmp_path, shared=False)
    assert head.run(*SHARED).status == 0
    outcome = worker.run("--json", "--only", NAMES, "--nonce", "4f2a")
    assert outcome.ids("warn", "FAIL", "skip") == {"cache[shared]"}
    assert outcome.checks["cache[shared]"]["seen"].startswith("no mark of node-0: ")


def test_a_mark_may_show_up_late(tmp_path: Path) -> None:
    head, worker = two_hosts(tmp_path)
    late = threading.Timer(0.5, (head.root / CACHE[1:] / MARK).write_text, ["node-0\n"])
    late.start()
    assert worker.run(*SHARED).status == 0
    late.join()


def test_the_mark_of_someone_else_counts_for_nothing(tmp_path: Path) -> None:
    head, worker = two_hosts(tmp_path)
    mark = head.root / CACHE[1:] / MARK
    mark.write_text("mallory\n")
    assert verdict(head, "cache[shared]", "--nonce", "4f2a")[0] == "FAIL"
    assert verdict(worker, "cache[shared]", "--nonce", "4f2a") == ("FAIL", "no mark of node-0: mallory")
    assert mark.read_text() == "mallory\n"


@pytest.mark.parametrize("there", [True, False])
def test_a_mark_is_not_written_through_a_link(a2: Host, tmp_path: Path, there: bool) -> None:  # noqa: FBT001
    victim = tmp_path / "victim"
    if there:
        victim.write_text("precious")
    link = a2.root / CACHE[1:] / MARK
    link.symlink_to(victim)
    assert verdict(a2, "cache[shared]", "--nonce", "4f2a")[0] == "FAIL"
    assert a2.run("--forget", "4f2a").status == 0
    assert not link.is_symlink()
    assert (victim.read_text() if victim.exists() else "") == ("precious" if there else "")


def test_no_mark_can_be_left_in_a_cache_that_is_gone(a2: Host) -> None:
    shutil.rmtree(a2.root / CACHE[1:])
    assert verdict(a2, "cache[shared]", "--nonce", "4f2a")[0] == "FAIL"


def test_forgetting_what_is_not_there(a2: Host) -> None:
    forgotten = a2.run("--forget", "4f2a")
    assert (forgotten.status, forgotten.out, forgotten.err) == (0, b"", "")
    (a2.root / CACHE[1:] / MARK / "folder").mkdir(parents=True)
    forgotten = a2.run("--forget", "4f2a")
    assert (forgotten.status, forgotten.err.startswith("verify.sh: the mark cannot be removed: ")) == (2, True)
    shutil.rmtree(a2.root / CACHE[1:])
    forgotten = a2.run("--forget", "4f2a")
    assert (forgotten.status, "No such file or directory" in forgotten.err) == (2, True)


def test_a_mark_that_was_never_taken_away_goes_after_an_hour(a2: Host) -> None:
    cache = a2.root / CACHE[1:]
    now = time.time()
    for name, age in ((".verify-qwen3-0ld", 4000), (".verify-qwen3-new", 3000), (".verify-other-0ld", 9000)):
        (cache / name).write_text("node-0\n")
        os.utime(cache / name, (now - age, now - age))
    victim = cache / "victim"
    victim.write_text("precious")
    hostile = cache / ".verify-qwen3-a\n1 victim"
    hostile.write_text("")
    os.utime(hostile, (now - 9000, now - 9000))
    assert verdict(a2, "cache[shared]", "--nonce", "4f2a")[0] == "ok"
    assert victim.read_text() == "precious"
    hostile.unlink()
    assert {file.name for file in cache.glob(".verify-*")} == {
        ".verify-qwen3-new",
        ".verify-other-0ld",
        ".verify-qwen3-4f2a",
    }


def test_only_with_a_nonce_is_the_mark_looked_for(a2: Host) -> None:
    assert b"cache[shared]" not in a2.run("--list").out
    assert b"cache[shared]" in a2.run("--list", "--nonce", "4f2a").out


# ---- The model ---------------------------------------------------------------------------------------


def host_with_model(folder: Path, model: str, model_folder: str = "") -> Host:
    """A host whose plan serves this model."""
    plan = two_nodes(A2)
    serve = plan.serve._replace(model=model, model_folder=model_folder)
    return Host(folder, plan._replace(serve=serve))


@pytest.fixture
def local(tmp_path: Path) -> tuple[Host, Path]:
    """A host with a model in a folder of its own, and that folder."""
    host = host_with_model(tmp_path, "/models/qwen3", "/srv/models/qwen3")
    lay_out_model(host.root / "srv/models/qwen3")
    return host, host.root / "srv/models/qwen3"


def no_config(model: Path) -> None:
    (model / "config.json").unlink()


def no_folder(model: Path) -> None:
    shutil.rmtree(model)


def empty_shard(model: Path) -> None:
    (model / FIRST).write_bytes(b"")


def no_shards(model: Path) -> None:
    for name in SHARDS:
        (model / name).unlink()


def no_index(model: Path) -> None:
    (model / "model.safetensors.index.json").unlink()


def old_weights(model: Path) -> None:
    no_weights(model)
    (model / "pytorch_model.bin").write_bytes(b"0" * 100)


def no_weights(model: Path) -> None:
    no_index(model)
    no_shards(model)
    (model / "empty.safetensors").write_bytes(b"")


def pointer_for_index(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def index_in_one_line(model: Path) -> None:
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps(json.loads(index.read_text()), separators=(",", ":")))


def index_without_size(model: Path) -> None:
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": json.loads(index.read_text())["weight_map"]}))
    (model / FIRST).write_bytes(b"0")


def quantized(model: Path) -> None:
    for name in SHARDS:
        (model / name).rename(model / f"quant_{name}")
    index = (model / "model.safetensors.index.json").rename(model / "quant_model.safetensors.index.json")
    index.write_text(index.read_text().replace('"model-', '"quant_model-'))


def method(name: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        (model / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": name}}, indent=2))

    return change


@pytest.mark.parametrize(
    ("change", "status", "seen"),
    [
        (method("fp8"), "FAIL", "weights in fp8"),
        (method("ascend"), "ok", ""),
        (lambda _: None, "ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (index_in_one_line, "ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (index_without_size, "ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (no_index, "ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (old_weights, "ok", f"1 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (quantized, "ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}"),
        (no_config, "FAIL", "config.json: No such file or directory"),
        (no_folder, "FAIL", "No such file or directory"),
        (empty_shard, "FAIL", f"1 of 2 are missing or empty: {FIRST}"),
        (no_shards, "FAIL", f"2 of 2 are missing or empty: {FIRST} {LAST}"),
        (no_weights, "FAIL", "no weights"),
        (pointer_for_index, "FAIL", "model.safetensors.index.json names no weights"),
    ],
)
def test_a_model_in_a_folder(
    local: tuple[Host, Path], change: Callable[[Path], object], status: str, seen: str
) -> None:
    host, model = local
    change(model)
    found, said = verdict(host, "model")
    assert (found, said.endswith(seen)) == (status, True), said


def test_what_is_shown_by_hand_is_a_command_whatever_the_name(tmp_path: Path) -> None:
    path = "/dev/a b&%$(touch canary)"
    plan = two_nodes(A2)
    shape = plan.nodes[0].shape._replace(devices=(path,))
    host = Host(tmp_path, plan._replace(nodes=(plan.nodes[0]._replace(shape=shape),)))
    check = host.run("--json", "--only", "device").checks[f"device[{path}]"]
    assert shlex.split(check["by_hand"])[-1].endswith(path)


def test_the_first_files_that_are_missing_are_named(local: tuple[Host, Path]) -> None:
    host, model = local
    names = {f"layer.{number}": f"model-{number:05}-of-00009.safetensors" for number in range(1, 10)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    first = " ".join(sorted(names.values())[:3])
    assert verdict(host, "model") == ("FAIL", f"9 of 9 are missing or empty: {first} ...")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_large_index_is_read_within_a_second_or_two(local: tuple[Host, Path], indent: int | None) -> None:
    host, model = local
    names = {
        f"model.layers.{number}.mlp.experts.{'a_name_that_is_quite_long_' * 2}.down_proj.weight_scale_inv": (
            f"model-{number // 340 + 1:05}-of-00118.safetensors"
        )
        for number in range(40_000)
    }
    index = json.dumps({"metadata": {"total_size": 118 * 5}, "weight_map": names}, indent=indent)
    (model / "model.safetensors.index.json").write_text(index)
    assert len(index) > 5_000_000
    for name in set(names.values()):
        (model / name).write_bytes(b"12345")
    started = time.monotonic()
    assert verdict(host, "model") == ("ok", f"118 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}")
    assert time.monotonic() - started < 5  # 0.2 s on a machine that has nothing else to do


def test_large_weights_are_told_in_gib(local: tuple[Host, Path]) -> None:
    host, model = local
    os.truncate(model / FIRST, 5 << 30)
    assert verdict(host, "model") == ("ok", f"2 shards, 5 GiB, config.json sha256 {CONFIG_DIGEST}")


def test_a_model_inside_the_image_cannot_be_looked_at(tmp_path: Path) -> None:
    host = host_with_model(tmp_path, "/opt/qwen3")
    assert verdict(host, "model") == ("skip", "/opt/qwen3 lies inside the image")


@pytest.mark.parametrize("folder", ["modelscope/hub/models/Qwen/Qwen2___5-7B", "modelscope/hub/Qwen/Qwen2.5-7B"])
def test_a_model_that_modelscope_downloaded(tmp_path: Path, folder: str) -> None:
    host = host_with_model(tmp_path, "Qwen/Qwen2.5-7B")
    assert verdict(host, "model") == ("warn", f"Qwen/Qwen2.5-7B is not in {CACHE}")
    lay_out_model(host.root / CACHE[1:] / folder)
    assert verdict(host, "model") == ("ok", f"2 shards, 0 MiB, config.json sha256 {CONFIG_DIGEST}")
    by_hand = host.run("--json", "--only", "model").checks["model"]["by_hand"]
    assert by_hand == f"ls -lL {CACHE}/{folder}"


def test_of_several_snapshots_the_main_one_counts(a2: Host) -> None:
    snapshots = a2.root / CACHE[1:] / BLOBS / "../snapshots"
    lay_out_model(snapshots / ("0" * 40))
    no_shards(snapshots / ("0" * 40))
    assert verdict(a2, "model")[0] == "ok"
    (snapshots / "../refs/main").write_text("0" * 40)
    assert verdict(a2, "model")[0] == "FAIL"
    (snapshots / "../refs/main").unlink()
    shutil.rmtree(snapshots / ("0" * 40))
    assert verdict(a2, "model")[0] == "ok"
    (snapshots / REVISION / "config.json").unlink()
    assert verdict(a2, "model")[0] == "warn"


# ---- Names are text ----------------------------------------------------------------------------------

HOSTILE = "/mnt/a b/$(touch canary)`touch canary`/'\"\\ * \u7f51;&%q"


def assert_no_canary(folder: Path) -> None:
    assert not list(folder.rglob("canary"))
    assert not Path("/canary").exists()


def test_hostile_paths_stay_text(tmp_path: Path) -> None:
    plan = two_nodes(A2)
    shape = plan.nodes[0].shape._replace(mounts=(Mount(HOSTILE, "/root/.cache", read_only=False),))
    node = plan.nodes[0]._replace(shape=shape)
    serve = plan.serve._replace(model="/models/m", model_folder=f"{HOSTILE}/m")
    host = Host(tmp_path, plan._replace(cache=HOSTILE, nodes=(node,), serve=serve))
    lay_out_model(host.root / HOSTILE[1:] / "m")
    words = ("--json", "--only", "cache,mount,clock,model", "--nonce", "4f2a")
    outcome = host.run(*words)
    assert (outcome.status, outcome.ids("warn", "FAIL", "skip")) == (0, set())
    assert outcome.checks[f"mount[{HOSTILE}]"]["status"] == "ok"
    assert outcome.checks["cache"]["seen"].startswith(f"{HOSTILE} is writable")
    assert host.run("--forget", "4f2a").status == 0
    assert_no_canary(tmp_path)


@pytest.mark.parametrize("check", ["model", "cache", "cache[shared]", "clock", f"mount[{HOSTILE}]"])
def test_a_command_by_hand_means_the_same_path(tmp_path: Path, check: str) -> None:
    plan = two_nodes(A2)
    serve = plan.serve._replace(model="/models/m", model_folder=f"{HOSTILE}/m")
    shape = plan.nodes[0].shape._replace(mounts=(Mount(HOSTILE, "/root/.cache", read_only=False),))
    node = plan.nodes[0]._replace(shape=shape)
    host = Host(tmp_path, plan._replace(cache=HOSTILE, nodes=(node,), serve=serve))
    lay_out_model(host.root / HOSTILE[1:] / "m")
    command = host.run("--json", "--only", check.partition("[")[0], "--nonce", "4f2a").checks[check]["by_hand"]
    show = "".join(
        f"{name}() {{ printf '%s\\n' \"$@\" >&2; }}\n" for name in ("ls", "df", "cat", "stat", "mktemp", "rm")
    )
    done = subprocess.run(["bash", "-c", show + command], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert HOSTILE in done.stderr
    assert_no_canary(tmp_path)


def test_hostile_files_of_a_model_stay_text(local: tuple[Host, Path], tmp_path: Path) -> None:
    host, model = local
    name = "a b$(touch canary)]`touch canary`'*\u7f51;&.safetensors"
    (model / name).write_bytes(b"12345")
    names = {"x[$(touch canary)]": name, "y": FIRST, "z": "../" + FIRST, "@": "-n.safetensors"}
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 5}, "weight_map": names}, ensure_ascii=False)
    )
    status, seen = verdict(host, "model")
    assert (status, seen) == ("FAIL", f"2 of 4 are missing or empty: -n.safetensors ../{FIRST}")
    assert_no_canary(tmp_path)


def test_what_docker_prints_stays_text(a2: Host, tmp_path: Path) -> None:
    a2.docker["version"] = "printf '%s\\n' '$(touch canary)`touch canary` \x1b[31m'"
    a2.containers = ['/a$(touch canary) true "$(touch canary)" "x y" /dev/davinci3 ']
    checks = a2.run("--json", "--only", "docker,containers").checks
    assert checks["docker"]["seen"] == "$(touch canary)`touch canary` ?[31m"
    assert checks["containers"]["status"] == "ok"
    assert_no_canary(tmp_path)
