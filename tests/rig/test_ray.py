"""The scripts that start things, with real Ray 2.48.0 on two emulated hosts of eight NPUs each.

Ray comes from a virtual environment that is made once, 700 MB: RIG_CACHE says where, else `.venv-ray`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hosts import Host, hosts
from plans import PORTS
from plans_scripts import cluster, script

from compiler.container import definition
from compiler.plan import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compiler.plan import Plan

pytestmark = [
    pytest.mark.rig,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and device nodes need root"),
]
RAY = "ray[default]==2.48.0"
NODES = """
import json, ray
ray.init(address="192.168.10.10:6379", log_to_driver=False, logging_level="ERROR")
alive = [node for node in ray.nodes() if node["Alive"]]
print(json.dumps({node["NodeManagerAddress"]: node["Resources"] for node in alive}))
"""
# Records its words and environment, asks Ray for what vLLM would ask, then serves for as long as it may.
VLLM = """#!/usr/bin/env python3
import json, os, ray, sys, time
ray.init(address="192.168.10.10:6379", log_to_driver=False, logging_level="ERROR")
group = ray.util.placement_group([{"NPU": 1}] * 16)
ray.get(group.ready(), timeout=30)
with open("/mnt/vllm.part", "w") as file:
    json.dump({"words": sys.argv, "environment": dict(os.environ)}, file)
os.rename("/mnt/vllm.part", "/mnt/vllm.json")
time.sleep(600)
"""


LISTENING = 'ss -ltnH | while read -r _ _ _ local _; do echo "${local##*:}"; done'
# Of Ray's head: the metrics of the autoscaler and of the dashboard, which a slow machine may go without.
METRICS = {44217, 44227}
# Ray's own workers; some idle ones stay for a while after a driver has gone.
WORKERS = set(range(PORTS.worker_first, PORTS.worker_last + 1))
SHORT = Timeouts(ray_start=60, ray_join=4, serve_ready=1800, stop=10)


@pytest.fixture(scope="module")
def ray() -> Path:
    """The folder of Ray's programs, installed when it is not there yet."""
    root = Path(__file__).parent.parent.parent
    home = Path(os.environ["RIG_CACHE"]) / "ray-2.48.0" if "RIG_CACHE" in os.environ else root / ".venv-ray"
    if not (home / "bin" / "ray").exists():
        subprocess.run((sys.executable, "-m", "venv", "--without-pip", home), check=True)
        pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python")
        subprocess.run((*pip, "install", "--quiet", RAY), check=True)
    return home / "bin"


@pytest.fixture
def pair(ray: Path) -> Iterator[tuple[Host, ...]]:
    """Two fresh hosts, on which nothing runs."""
    with hosts(("192.168.10.10", "192.168.10.11"), f"/mnt/bin:{ray}", ray.parent) as both:
        for host in both:
            place(host, "/mnt/bin/vllm", VLLM)
        yield both


def place(host: Host, file: str, text: str) -> None:
    """Write an executable file on a host."""
    write = 'mkdir -p "${1%/*}" && printf %s "$2" >"$1" && chmod +x "$1"'
    assert host.run("bash", "-c", write, "-", file, text).returncode == 0


def by_hand(host: Host, name: str, plan: Plan, node: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one script of one node on a host."""
    return host.run("bash", "-c", script(name, plan, plan.nodes[node]), name, *words)


def container(host: Host, log: Path, node: int, limit: int = 60, address: str = "") -> subprocess.Popen[bytes]:
    """Start a container's command as Docker does without `init`: as the first process of its namespace."""
    plan = cluster(timeouts=SHORT._replace(ray_start=limit, ray_join=limit))
    own = plan.nodes[node]
    command = definition(plan.container, plan.timeouts, own._replace(address=address or own.address)).command
    return host.start(log, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", *command)


def first_process(started: subprocess.Popen[bytes]) -> int:
    """The id of that first process: nsenter and unshare stand before it."""
    pid = started.pid
    for _ in ("nsenter", "unshare"):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])
    return pid


def until(seen: Callable[[], bool], seconds: float) -> None:
    """Wait for something; fail after that time."""
    end = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > end:
            pytest.fail(f"not seen in {seconds} s")
        time.sleep(0.1)


def nodes(host: Host) -> dict[str, dict[str, float]]:
    """What Ray counts on each living node, by its address."""
    asked = host.run("python3", "-c", NODES)
    assert asked.returncode == 0, asked.stdout
    resources: dict[str, dict[str, float]] = json.loads(asked.stdout.splitlines()[-1])
    return resources


def running(host: Host, name: str) -> list[str]:
    """The ids of the host's processes of that name, as the host sees them."""
    return re.findall(r"/proc/(\d+)/", host.run("bash", "-c", f"grep -lsx {name} /proc/[0-9]*/comm").stdout)


def listening(host: Host) -> set[int]:
    """The TCP ports on which something listens there."""
    return {int(port) for port in host.run("bash", "-c", LISTENING).stdout.split()}


def pinned(*, head: bool) -> set[int]:
    """The ports that the plan names for Ray, but for its workers'."""
    ports = (port for port in PORTS.listening() if port.first == port.last and (head or not port.head_only))
    return {port.first for port in ports} - {PORTS.serve} - METRICS


def test_by_hand_from_nothing_to_serving(pair: tuple[Host, ...], tmp_path: Path) -> None:
    head, worker = pair
    plan = cluster()
    for node, host in enumerate(pair):
        started = by_hand(host, "ray-start.sh", plan, node)
        assert started.returncode == 0, started.stdout
    counted = nodes(head)
    assert {address: found["NPU"] for address, found in counted.items()} == {
        "192.168.10.10": 8,
        "192.168.10.11": 8,
    }
    assert not any("GPU" in found for found in counted.values())
    until(lambda: listening(head) - METRICS - WORKERS == pinned(head=True), 30)
    until(lambda: listening(worker) - WORKERS == pinned(head=False), 30)

    again = by_hand(worker, "ray-start.sh", plan, 1)
    assert (again.returncode, "Ray runs in this container already" in again.stdout) == (1, True)

    serve = ("bash", "-c", script("serve.sh", plan, plan.head), "serve.sh")
    serving = head.start(tmp_path / "serve", *serve)
    until(lambda: head.run("test", "-e", "/mnt/vllm.json").returncode == 0, 60)
    vllm = json.loads(head.run("cat", "/mnt/vllm.json").stdout)
    assert vllm["words"][1:] == list(plan.serve.command[1:])
    assert {name: vllm["environment"][name] for name, _ in plan.head.shape.variables} == {
        variable.name: variable.value for variable in plan.head.environment
    }
    kept = head.run("cat", "/mnt/.config/vllm/ray_non_carry_over_env_vars.json")
    assert json.loads(kept.stdout) == ["HCCL_IF_IP", "VLLM_HOST_IP"]
    second = head.run(*serve)
    assert (second.returncode, "serves already" in second.stdout) == (1, True)
    [vllm_pid] = re.findall(r"process (\d+) of this container serves", second.stdout)
    head.run("rm", "/mnt/vllm.json")
    assert head.run("bash", "-c", f"kill {vllm_pid}").returncode == 0
    assert serving.wait(20) != 0
    head.start(tmp_path / "third", *serve)
    until(lambda: head.run("test", "-e", "/mnt/vllm.json").returncode == 0, 60)


def test_an_address_of_another_host_is_refused_at_once(pair: tuple[Host, ...], tmp_path: Path) -> None:
    head, worker = pair
    began = time.monotonic()
    by_script = by_hand(head, "ray-start.sh", cluster(), 1)
    by_container = container(worker, tmp_path / "container", 1, address="192.168.10.10")
    assert (by_script.returncode, by_container.wait(5)) == (1, 1)
    assert time.monotonic() - began < 5
    assert "this host does not own 192.168.10.11" in by_script.stdout
    assert "this host does not own 192.168.10.10" in (tmp_path / "container").read_text()
    assert not running(head, "raylet")


def test_ray_that_does_not_come_up_is_ended_whole(pair: tuple[Host, ...], tmp_path: Path) -> None:
    head, worker = pair
    head.start(
        tmp_path / "mute",
        "python3",
        "-c",
        "import socket, time\nmute = socket.create_server(('', 6379))\ntime.sleep(600)",
    )
    until(lambda: 6379 in listening(head), 10)
    by_script = by_hand(worker, "ray-start.sh", cluster(timeouts=SHORT._replace(ray_start=8)), 1)
    assert by_script.returncode == 1
    assert "failed with status 124" in by_script.stdout
    by_container = container(worker, tmp_path / "container", 1, limit=8)
    assert by_container.wait(30) == 1
    assert "failed with status 124" in (tmp_path / "container").read_text()
    assert not running(worker, "ray")


def test_containers_start_in_any_order_and_stop_when_told(pair: tuple[Host, ...], tmp_path: Path) -> None:
    head, worker = pair
    started = {host: tmp_path / name for host, name in ((worker, "worker"), (head, "head"))}
    processes = {worker: container(worker, started[worker], 1)}
    time.sleep(3)
    processes[head] = container(head, started[head], 0)
    until(lambda: all("Ray runs on" in log.read_text() for log in started.values()), 60)
    until(lambda: len(nodes(head)) == 2, 20)

    os.kill(first_process(processes[worker]), signal.SIGTERM)
    assert processes[worker].wait(5) == 0
    until(lambda: set(nodes(head)) == {"192.168.10.10"}, 10)
    os.kill(first_process(processes[head]), signal.SIGTERM)
    assert processes[head].wait(5) == 0


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_container_ends_when_its_ray_dies(pair: tuple[Host, ...], tmp_path: Path, name: str) -> None:
    head, _ = pair
    log = tmp_path / "head"
    process = container(head, log, 0)
    until(lambda: "Ray runs on" in log.read_text(), 60)
    [pid] = running(head, name)
    assert head.run("bash", "-c", f"kill -KILL {pid}").returncode == 0
    assert process.wait(8) == 1
    assert f"Ray's {name} has died" in log.read_text()


def test_a_worker_without_head_gives_up_and_can_be_stopped(pair: tuple[Host, ...], tmp_path: Path) -> None:
    _, worker = pair
    assert container(worker, tmp_path / "short", 1, limit=3).wait(20) == 1
    assert "nothing answers at 192.168.10.10:6379 after 3 s" in (tmp_path / "short").read_text()
    waiting = container(worker, tmp_path / "long", 1)
    time.sleep(1)
    os.kill(first_process(waiting), signal.SIGTERM)
    assert waiting.wait(7) == 0


def test_serve_names_what_is_missing(pair: tuple[Host, ...]) -> None:
    head, worker = pair
    plan = cluster(timeouts=SHORT)
    without_ray = by_hand(head, "serve.sh", plan, 0)
    assert (without_ray.returncode, "Ray does not answer at 192.168.10.10:6379" in without_ray.stdout) == (
        1,
        True,
    )

    assert by_hand(head, "ray-start.sh", plan, 0).returncode == 0
    alone = by_hand(head, "serve.sh", plan, 0)
    assert alone.returncode == 1
    assert "node-1 (192.168.10.11): Ray has no nodes there" in alone.stdout
    assert "node-0 (" not in alone.stdout

    # What happens without ray-start.sh: a lost device is not an error to Ray, and --num-gpus is believed.
    assert worker.run("rm", "/dev/davinci7").returncode == 0
    start = (*plan.nodes[1].shape.ray_start, "--node-ip-address=192.168.10.11", "--num-gpus=1")
    assert worker.run(*start).returncode == 0
    wrong = by_hand(head, "serve.sh", plan, 0)
    assert wrong.returncode == 1
    assert "node-1 (192.168.10.11): Ray counts 7 NPU, planned are 8" in wrong.stdout
    assert "node-1 (192.168.10.11): Ray counts GPU" in wrong.stdout
    assert head.run("test", "-e", "/mnt/vllm.json").returncode == 1

    only_head = plan._replace(nodes=plan.nodes[:1])
    unplanned = by_hand(head, "serve.sh", only_head, 0)
    assert (
        unplanned.returncode,
        "192.168.10.11 is in Ray with 7 NPU, but not planned" in unplanned.stdout,
    ) == (1, True)


# Asks for NPUs as vLLM's `initialize_ray_cluster` does, and prints the node of each one; `h` is the head.
PLACED = """
import sys
import ray
from ray.cluster_utils import Cluster
nodes, npus = int(sys.argv[1]), int(sys.argv[2])
size = 80 * 2**20
of_head = {"num_cpus": 1, "resources": {"NPU": npus, "h": 1}, "object_store_memory": size, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=of_head)
for number in range(1, nodes):
    cluster.add_node(num_cpus=1, resources={"NPU": npus, str(number): 1}, object_store_memory=size)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
cluster.wait_for_nodes()
own = ["h", *map(str, range(1, nodes))]
names = {node["NodeID"]: name for node in ray.nodes() for name in own if name in node["Resources"]}
wanted = [{"NPU": 1.0} for _ in range(nodes * npus)]
wanted[0]["h"] = 0.001
group = ray.util.placement_group(wanted, strategy="PACK")
ray.get(group.ready(), timeout=60)
placed = ray.util.placement_group_table(group)["bundles_to_node_id"]
print("".join(names[placed[index]] for index in range(len(wanted))))
"""


@pytest.mark.parametrize(
    ("nodes", "npus", "placed"),
    [
        (2, 8, "h{8}1{8}"),
        # vLLM 0.12.0 to 0.20.2 take it that NPUs come node after node: known-bad, `scattered`.
        (2, 16, "h1{15}h{15}1"),
        (3, 8, "h(1{8}2{3}h2{5}|2{8}1{3}h1{5})h{6}"),
        # Which node is next to the head is up to Ray.
        (3, 4, "h{4}(1{4}2{4}|2{4}1{4})"),
    ],
)
def test_ray_hands_out_npus_node_after_node_only_up_to_sixteen(ray: Path, nodes: int, npus: int, placed: str) -> None:
    words = (ray / "python", "-c", PLACED, str(nodes), str(npus))
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=180)
    assert re.fullmatch(placed, done.stdout.split()[-1]), done.stdout
