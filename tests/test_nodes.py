"""`compiler verify` against emulated engines: what each node says, what comparing them shows, and every fault."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters import DIGEST, IMAGE, Node, cluster, spec
from engine_faults import Cuts, Hangs, Says

from compiler import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_snapshot.plugin import Snapshot

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")


class Cluster:
    """Emulated nodes and the spec that names them."""

    def __init__(self, nodes: list[Node], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.nodes = nodes
        self.file = file
        self.capsys = capsys

    def verify(self, *options: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = cli.main(["verify", str(self.file), *options])
        told = self.capsys.readouterr()
        return code, told.out, told.err

    def judged(self, *options: str) -> dict[str, Any]:
        """What `--json` says; the exit code must agree with it."""
        code, out, err = self.verify("--json", *options)
        assert out, err
        document: dict[str, Any] = json.loads(out)
        assert code == (0 if document["passed"] else 1)
        return document

    def left(self) -> list[str]:
        """Containers of ours that are still there."""
        return [name for node in self.nodes for name in node.engine.containers if "-verify-" in name]


@pytest.fixture(params=[3])
def nodes(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cluster]:
    with cluster(request.param) as (made, text):
        file = tmp_path / "cluster.yaml"
        file.write_bytes(text)
        yield Cluster(made, file, capsys)


def across(document: dict[str, Any], *statuses: str) -> dict[str, list[str]]:
    """Id and nodes of what comparing the nodes found."""
    return {each["id"]: each["nodes"] for each in document["across"] if each["status"] in statuses}


def own(document: dict[str, Any], *statuses: str) -> set[tuple[str, str]]:
    """Node and id of the nodes' own checks that ended so."""
    return {
        (node["name"], check["id"])
        for node in document["nodes"]
        for check in node["checks"]
        if check["status"] in statuses
    }


# ---- A healthy cluster ---------------------------------------------------------------------------------


def test_a_healthy_cluster_passes_without_noise(nodes: Cluster) -> None:
    document = nodes.judged()
    assert document["passed"]
    assert document["format_version"] == 1
    assert own(document, "FAIL", "warn", "skip") == set()
    assert across(document, "FAIL", "warn", "skip") == {}
    assert across(document, "ok").keys() == {
        *("tls[nodes]", "driver[nodes]", "firmware[nodes]", "image[nodes]", "python[nodes]", "ray[nodes]"),
        *("vllm[nodes]", "mtu[nodes]", "docker[nodes]", "npu-address[nodes]", "clock[nodes]"),
    }
    assert nodes.left() == []


def test_what_is_asked_of_an_engine_changes_nothing_but_our_own_container(nodes: Cluster) -> None:
    nodes.verify()
    for node in nodes.nodes:
        changing = [asked for asked in node.engine.asked if not asked.startswith("GET ")]
        assert all("emulated-verify-" in asked or asked == "POST /containers/create" for asked in changing)
        assert changing[-1].startswith("DELETE ")


def test_the_container_is_what_was_planned_and_the_host_read_only(nodes: Cluster) -> None:
    seen = []
    nodes.nodes[1].before = lambda _: seen.append(dict(nodes.nodes[1].engine.containers))
    nodes.verify()
    ((made,),) = [list(each.values()) for each in seen[:1]]
    host, config = made.host, made.config
    assert host["NetworkMode"] == "host"
    assert host["AutoRemove"] is True
    assert {device["PathOnHost"] for device in host["Devices"]} == {
        *(f"/dev/davinci{npu}" for npu in range(8)),
        *("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
    }
    writable = [mount["Target"] for mount in host["Mounts"] if not mount.get("ReadOnly")]
    assert sorted(writable) == ["/host/mnt/shared/cache", "/host/root", "/host/var/log", "/root/.cache"]
    assert {"Source": "/", "Target": "/host"}.items() <= next(m for m in host["Mounts"] if m["Source"] == "/").items()
    assert config["Cmd"] == ["900"]
    assert config["Entrypoint"] == ["sleep"]


def test_the_mark_of_the_head_is_left_first_looked_for_by_all_and_taken_away_last(nodes: Cluster) -> None:
    order: list[tuple[str, str]] = []
    for node in nodes.nodes:
        node.before = lambda words, name=node.name: order.append((name, " ".join(words)))  # type: ignore[misc]
    nodes.verify()
    assert order[0][0] == "node-0"
    assert "--only=cache[shared]" in order[0][1]
    assert all("--nonce" in words for _, words in order[:-1])
    assert order[-1][0] == "node-0"
    assert order[-1][1].startswith("--forget")


# ---- What only comparing the nodes shows ---------------------------------------------------------------

UNLIKE: dict[str, tuple[dict[str, dict[str, str]], str]] = {
    "tls": ({"tls[3]": {"seen": "switch 1 (enabled)"}}, "switch 1 (enabled) on NPU 3"),
    "mtu": ({f"mtu[{npu}]": {"seen": "1500"} for npu in range(8)}, "1500 on NPU 0, 1, 2, 3, 4, 5, 6, 7"),
    "speed": ({"speed[0]": {"seen": "100000 Mb/s"}}, "100000 Mb/s on NPU 0"),
    "fec": ({"fec[0]": {"seen": "no FEC mode"}}, "no FEC mode on NPU 0"),
    "driver": ({"driver": {"seen": "25.0.rc1"}}, "25.0.rc1"),
    "firmware": ({"firmware": {"seen": "7.1.0"}}, "7.1.0"),
    "model": ({"model": {"seen": "117 shards"}}, "117 shards"),
}
COMMON = {
    **{f"speed[{npu}]": {"seen": "200000 Mb/s"} for npu in range(8)},
    **{f"fec[{npu}]": {"seen": "rs FEC mode"} for npu in range(8)},
    "model": {"seen": "118 shards"},
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_node_that_is_unlike_the_others_is_named_and_alone_fails(nodes: Cluster, name: str) -> None:
    for node in nodes.nodes:
        node.said |= COMMON
    assert nodes.judged()["passed"]
    said, seen = UNLIKE[name]
    nodes.nodes[2].said |= said
    document = nodes.judged()
    assert across(document, "FAIL", "warn") == {f"{name}[nodes]": ["node-2"]}
    (found,) = [each for each in document["across"] if each["status"] == "FAIL"]
    assert found["seen"] == seen
    assert found["expected"].startswith("the ")
    assert found["next"]


LOOKS = {
    "python": ("python 3.11.13", "python 3.11.9"),
    "ray": ("ray 2.48.0", "ray 2.47.1"),
    "vllm": ("vllm-ascend 0.11.0", "vllm-ascend 0.11.0rc1"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_an_image_with_other_versions_is_named(nodes: Cluster, name: str) -> None:
    nodes.nodes[1].look = nodes.nodes[1].look.replace(*LOOKS[name])
    assert across(nodes.judged(), "FAIL", "warn") == {f"{name}[nodes]": ["node-1"]}


def test_another_image_of_the_same_name_is_named(nodes: Cluster) -> None:
    nodes.nodes[1].engine.images[IMAGE] = {"Id": "sha256:cd", "RepoDigests": []}
    assert across(nodes.judged(), "FAIL", "warn") == {"image[nodes]": ["node-1"]}


def test_an_image_that_was_pulled_is_the_one_that_was_loaded(nodes: Cluster) -> None:
    nodes.nodes[1].engine.images[IMAGE] = {"Id": DIGEST, "RepoDigests": []}
    assert across(nodes.judged(), "FAIL", "warn") == {}


def test_an_npu_without_certificates_is_like_one_with_tls_off(nodes: Cluster) -> None:
    nodes.nodes[1].said |= {f"tls[{npu}]": {"status": "warn", "seen": "No certificate found"} for npu in range(8)}
    assert across(nodes.judged(), "FAIL") == {}
    for node in (nodes.nodes[0], nodes.nodes[2]):
        node.said |= {f"tls[{npu}]": {"seen": "switch 1 (enabled)"} for npu in range(8)}
    assert across(nodes.judged(), "FAIL") == {"tls[nodes]": ["node-1"]}


def test_an_address_that_two_npus_have(nodes: Cluster) -> None:
    nodes.nodes[2].said["npu-address[5]"] = {"seen": nodes.nodes[0].said["npu-address[1]"]["seen"]}
    document = nodes.judged()
    assert across(document, "FAIL", "warn") == {"npu-address[nodes]": ["node-0", "node-2"]}
    (found,) = [each for each in document["across"] if each["status"] == "FAIL"]
    assert found["seen"].endswith("on NPU 1 of node-0, NPU 5 of node-2")


def super_pod(node: Node, *, pod: int = 0, server: int, first: int) -> None:
    node.said |= {
        f"super-pod[{npu}]": {"seen": f"super pod {pod}, server {server}, SDID {first + npu}"} for npu in range(8)
    }


def as_a3(nodes: Cluster) -> None:
    document = json.loads(nodes.file.read_bytes())
    document["accelerator"] = "atlas-a3"
    for index, node in enumerate(nodes.nodes):
        document["nodes"][index]["npu_addresses"] = {"first": f"10.9.{index}.1"}
        super_pod(node, server=index, first=100 * index)
    nodes.file.write_text(json.dumps(document))


def test_a_healthy_super_pod_passes(nodes: Cluster) -> None:
    as_a3(nodes)
    document = nodes.judged()
    assert across(document, "FAIL", "warn") == {}
    assert {"super-pod[servers]", "super-pod[nodes]"} <= across(document, "ok").keys()


@pytest.mark.parametrize(
    ("change", "check", "who"),
    [
        ({"pod": 7, "server": 2, "first": 200}, "super-pod[pods]", ["node-2"]),
        ({"server": 1, "first": 200}, "super-pod[servers]", ["node-1", "node-2"]),
        ({"server": 2, "first": 107}, "super-pod[nodes]", ["node-1", "node-2"]),
    ],
)
def test_a_super_pod_that_does_not_fit(nodes: Cluster, change: dict[str, int], check: str, who: list[str]) -> None:
    as_a3(nodes)
    super_pod(nodes.nodes[2], **change)
    assert across(nodes.judged(), "FAIL", "warn") == {check: who}


def test_a_node_that_is_up_and_silent_to_others(nodes: Cluster) -> None:
    silent = {"status": "warn", "seen": "192.168.0.3 is silent", "expected": "an answer", "next": "see"}
    for node in nodes.nodes[:2]:
        node.said["reach[node-2]"] = dict(silent)
    assert across(nodes.judged(), "FAIL") == {"reach[nodes]": ["node-0", "node-1"]}
    stopped(nodes.nodes[2])
    assert across(nodes.judged(), "FAIL") == {}


@pytest.mark.parametrize(("ahead", "status"), [(0.5, "ok"), (20, "warn"), (-20, "warn"), (500, "FAIL")])
def test_a_clock_that_is_off(nodes: Cluster, ahead: float, status: str) -> None:
    nodes.nodes[2].engine.ahead = ahead
    found = across(nodes.judged(), status)
    assert found["clock[nodes]"] == (["node-0", "node-1", "node-2"] if status == "ok" else ["node-2"])


def test_a_driver_that_is_too_old_for_the_image(nodes: Cluster) -> None:
    for node in nodes.nodes:
        node.said["driver"] = {"seen": "24.1.rc3"}
    assert across(nodes.judged(), "warn") == {"driver[image]": ["node-0", "node-1", "node-2"]}
    for node in nodes.nodes:
        node.look = node.look.replace("vllm-ascend 0.11.0", "vllm-ascend 0.9.1")
    assert across(nodes.judged(), "warn") == {}


# ---- What a node's engine and image say ----------------------------------------------------------------


def container(name: str, device: str, *, running: bool = True, **labels: str) -> dict[str, Any]:
    return {
        "Id": name,
        "Name": f"/{name}",
        "State": {"Running": running},
        "HostConfig": {"Devices": [{"PathOnHost": device}]},
        "Config": {"Labels": labels},
    }


def held(node: Node) -> None:
    node.engine.adopt(container("training", "/dev/davinci3"))


def clash(node: Node) -> None:
    node.engine.adopt(container("emulated", "/dev/null", running=False))


def no_device(node: Node) -> None:
    node.engine.missing.add("/dev/davinci5")


def no_mount(node: Node) -> None:
    node.engine.missing.add("/usr/local/dcmi")


def look(old: str, new: str) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.look = node.look.replace(old, new)

    return change


OWN_CASES = [
    (held, "containers", "FAIL", "held: /dev/davinci3 by training"),
    (clash, "containers", "FAIL", "another container is called emulated"),
    (no_device, "container", "FAIL", "/dev/davinci5: start a container"),
    (no_mount, "container", "FAIL", "/usr/local/dcmi: "),
    (look("python 3.11.13", "python "), "python", "FAIL", "no python3"),
    (look("ray 2.48.0", "ray "), "ray", "FAIL", "no Ray"),
    (look("ray 2.48.0", "ray 2.49.2"), "ray", "FAIL", "2.49.2"),
    (look("ray 2.48.0", "ray 2.9.3"), "ray", "warn", "2.9.3"),
    (look("program /usr/local/bin/vllm", "program "), "vllm", "FAIL", "no program vllm"),
    (look("npu-smi 0\n", "npu-smi 1\n"), "npu-smi", "FAIL", "npu-smi 25.2.0"),
    (look("| npu-smi 25.2.0", "dcmi module initialize failed. ret is -8005"), "npu-smi", "FAIL", "-8005"),
]


@pytest.mark.parametrize(("change", "check", "status", "seen"), OWN_CASES)
def test_a_fault_of_engine_or_image_fails_its_check_alone(
    nodes: Cluster, change: Callable[[Node], None], check: str, status: str, seen: str
) -> None:
    change(nodes.nodes[1])
    document = nodes.judged()
    assert own(document, "FAIL", "warn") == {("node-1", check)}
    (found,) = [each for each in document["nodes"][1]["checks"] if each["id"] == check]
    assert found["status"] == status
    assert seen.removeprefix("/dev/davinci5: start a container") in found["seen"]
    assert found["expected"]
    assert found["next"]
    assert found["by_hand"]
    assert found["source"].startswith("https://")
    assert nodes.left() == []


def test_our_own_container_is_no_fault(nodes: Cluster) -> None:
    labels = {"ascend-cluster.name": "emulated", "ascend-cluster.role": "worker"}
    nodes.nodes[1].engine.adopt(container("emulated", "/dev/davinci3", **labels))
    assert nodes.judged()["passed"]
    script = [command for command in nodes.nodes[1].commands if "--progress" in command]
    assert "--running" in script[-1]


def test_what_docker_refuses_is_left_out_so_that_the_rest_can_be_looked_at(nodes: Cluster) -> None:
    for change in (no_device, no_mount):
        change(nodes.nodes[1])
    document = nodes.judged()
    checks = {check["id"] for check in document["nodes"][1]["checks"]}
    assert "link[0]" in checks


def test_without_its_image_a_node_says_what_it_can(nodes: Cluster) -> None:
    nodes.nodes[1].engine.images.clear()
    document = nodes.judged()
    assert own(document, "FAIL") == {("node-1", "image")}
    assert document["nodes"][1]["fault"] == "its image is missing: there is nothing to run the other checks in"
    assert document["nodes"][1]["to_do"].startswith(f"docker pull {IMAGE}")


# ---- Nodes that cannot be asked ------------------------------------------------------------------------


def stopped(node: Node) -> None:
    node.engine.__exit__()
    node.engine.socket.unlink()


def refusing(node: Node) -> None:
    node.engine.__exit__()


def cut(part: str) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.engine.faults.append(Cuts(part))

    return change


def hanging(part: str) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.engine.faults.append(Hangs(part))

    return change


def odd(asked: str, answer: object) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.engine.faults.append(Says(f"^{re.escape(asked)}$", document=answer))

    return change


def says(status: int, out: str, err: str) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        real = node.engine.run
        node.engine.run = lambda command, script: (
            (status, out, err) if "verify.sh" in command and "--forget" not in command else real(command, script)
        )

    return change


FAULTS = [
    (stopped, "connect: No such file or directory"),
    (refusing, "connect: Connection refused"),
    (cut("/version"), "connect: the connection was closed without an answer"),
    (cut("/info"), "info: the connection was closed without an answer"),
    (cut("/create"), "create a container: the connection was closed without an answer"),
    (cut("/archive"), "put files into a container: the connection was closed without an answer"),
    (cut("/start"), "start a container: the connection was closed without an answer"),
    (cut("/exec"), "run a command: the connection was closed without an answer"),
    (hanging("/version"), "connect: no answer in time"),
    (hanging("/info"), "info: no answer in time"),
    (hanging("/create"), "create a container: no answer in time"),
    (odd("GET /version", {}), "connect: "),
    (odd("GET /version", ["1.41"]), "connect: "),
    (odd("GET /info", {"SystemTime": "tomorrow"}), "info: it answered what no Docker engine does"),
    (odd("GET /info", []), "info: it answered what no Docker engine does"),
    (odd("GET /containers/json", [7]), "list the containers: it answered what no Docker engine does"),
    (odd(f"GET /images/{IMAGE}/json", None), "inspect the image: "),
    (odd(f"GET /images/{IMAGE}/json", {}), "inspect the image: it answered what no Docker engine does"),
    (odd("POST /containers/create", "no"), "create a container: it answered what no Docker engine does"),
    (says(2, "", "verify.sh: no hccn_tool: install the NPU driver\n"), "run verify.sh: verify.sh: no hccn_tool"),
    (says(0, "", ""), "run verify.sh: it ended with status 0 and said nothing"),
    (says(0, "{}", ""), "run verify.sh: {}"),
    (says(0, '{"format_version": 1, "checks": [{"id": "a", "status": "odd"}]}', ""), "run verify.sh: "),
    (says(1, "\x1b[31mred\x07", ""), "run verify.sh: red"),
]


@pytest.mark.parametrize(("change", "fault"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_node_that_cannot_be_asked_is_a_failure_and_not_the_end(
    nodes: Cluster, change: Callable[[Node], None], fault: str
) -> None:
    change(nodes.nodes[1])
    began = time.monotonic()
    document = nodes.judged("--timeout", "4")
    assert time.monotonic() - began < 15
    said = {node["name"]: node["fault"] for node in document["nodes"]}
    assert said["node-1"].startswith(fault)
    assert (said["node-0"], said["node-2"]) == ("", "")
    assert document["nodes"][1]["to_do"]
    assert not document["passed"]
    assert own(document, "FAIL") == set()


def test_without_the_head_nobody_looks_for_its_mark(nodes: Cluster) -> None:
    stopped(nodes.nodes[0])
    document = nodes.judged()
    assert across(document, "skip") == {"cache[shared]": ["node-1", "node-2"]}
    assert not any("--nonce" in " ".join(command) for node in nodes.nodes for command in node.commands)


def test_a_script_that_never_ends_is_given_up_and_its_container_removed(nodes: Cluster) -> None:
    over = nodes.nodes[2].engine.over
    nodes.nodes[2].before = lambda _: over.wait(30) and None
    document = nodes.judged("--timeout", "3")
    assert document["nodes"][2]["fault"].startswith("gave no answer within 3 s; it was at: ")
    assert not document["nodes"][0]["fault"]
    assert nodes.left() == []


def test_an_interrupt_ends_it_at_once_and_leaves_nothing(nodes: Cluster) -> None:
    started = threading.Event()

    def wait(_: list[str]) -> None:
        started.set()
        nodes.nodes[1].engine.over.wait(30)

    nodes.nodes[1].before = wait
    program = [sys.executable, "-m", "compiler", "verify", str(nodes.file), "--skip", "cache"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as running:
        assert started.wait(30)
        began = time.monotonic()
        os.kill(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert running.returncode == 130
    assert time.monotonic() - began < 10
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert nodes.left() == []


# ---- Many at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [64], indirect=True)
def test_sixty_four_nodes_are_asked_at_the_same_time(nodes: Cluster) -> None:
    """Each waits inside its script for all the others: in turn, or with one less at a time, none would ever end."""
    together = threading.Barrier(64)
    for node in nodes.nodes:
        node.before = lambda words: together.wait(60) if "--progress" in words else None  # type: ignore[assignment, return-value]
    assert nodes.judged()["passed"]


@pytest.mark.parametrize("nodes", [12], indirect=True)
def test_no_more_than_so_many_at_a_time(nodes: Cluster) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def count(_: list[str]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1

    for node in nodes.nodes:
        node.before = count
    assert nodes.judged("--parallel", "3")["passed"]
    assert 2 <= most <= 3


# ---- Using it ------------------------------------------------------------------------------------------


def test_only_and_skip_reach_the_script_and_our_own_checks(nodes: Cluster) -> None:
    document = nodes.judged("--only", "link,ray", "--skip", "link[3]")
    script = [command for command in nodes.nodes[1].commands if "--progress" in command][-1]
    assert "--only=link" in script
    assert any(word.startswith("--skip=") and word.endswith("link[3]") for word in script)
    assert {check["id"] for check in document["nodes"][0]["checks"]} == {
        "ray",
        *(f"link[{n}]" for n in range(8) if n != 3),
    }
    assert across(document, "ok").keys() == {"ray[nodes]"}


def test_strict_lets_warnings_fail(nodes: Cluster) -> None:
    nodes.nodes[2].engine.ahead = 20
    assert nodes.verify()[0] == 0
    assert nodes.verify("--strict")[0] == 1


def test_json_is_one_document_whatever_is_told_of_the_spec(nodes: Cluster) -> None:
    text = nodes.file.read_text().replace(IMAGE, "vllm-ascend:latest")
    nodes.file.write_text(text)
    code, out, err = nodes.verify("--json", "--format", "json")
    assert code == 1
    assert json.loads(out)["cluster"] == "emulated"
    assert "[image-not-pinned]" in err


def test_that_the_time_did_not_suffice_is_told_whatever_was_asked_for(nodes: Cluster) -> None:
    nodes.nodes[1].said["time"] = {"status": "FAIL", "seen": "1 of 9 checks were made in 8 s", "expected": "all"}
    assert own(nodes.judged("--only", "link", "--timeout", "12"), "FAIL") == {("node-1", "time")}
    assert "--seconds=8" in nodes.nodes[1].commands[-1]


def test_it_says_how_to_look_at_what_failed_again(nodes: Cluster) -> None:
    sick(nodes)
    assert nodes.verify()[2].splitlines()[-1] == f"once that is mended: compiler verify {nodes.file} --only tls,link"
    document = nodes.judged("--only", "tls,link")
    assert {check["id"].partition("[")[0] for check in document["nodes"][0]["checks"]} == {"tls", "link"}


def test_one_node_alone(nodes: Cluster) -> None:
    document = nodes.judged("--node", "node-2")
    assert [node["name"] for node in document["nodes"]] == ["node-2"]
    assert nodes.nodes[0].engine.asked == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "lnk"], "there is no check lnk: did you mean link?"),
        (["--skip", "rai"], "there is no check rai: did you mean ray?"),
        (["--node", "node-9"], "there is no node node-9"),
        (["--timeout", "0"], "argument --timeout: '0' is no whole number of at least 1"),
        (["--parallel", "many"], "argument --parallel: 'many' is no whole number of at least 1"),
    ],
)
def test_a_name_that_there_is_not_is_a_wrong_usage(nodes: Cluster, options: list[str], says: str) -> None:
    try:
        code, out, err = nodes.verify(*options)
    except SystemExit as ended:  # argparse ends the program by itself
        code, (out, err) = int(ended.code or 0), nodes.capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in err
    assert nodes.nodes[0].engine.asked == []


def test_a_spec_that_does_not_say_how_to_reach_its_nodes(nodes: Cluster) -> None:
    document = json.loads(nodes.file.read_bytes())
    del document["nodes"][1]["docker"]
    nodes.file.write_text(json.dumps(document, indent=1))
    code, out, err = nodes.verify()
    assert (code, out) == (1, "")
    assert "[no-docker]" in err
    assert "nodes[1]: node-1 does not say how its Docker is reached" in err


def test_without_docker_py_it_says_what_to_install(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "docker" or name == "compiler.engine"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("compiler.verify", "compiler.guest", "compiler.look"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "docker", None)
    code, _, err = nodes.verify()
    assert code == 1
    assert "pip install 'ascend-cluster-compiler[apply]'" in err


def test_progress_is_a_line_for_each_node_and_silence_when_asked(nodes: Cluster) -> None:
    stopped(nodes.nodes[2])
    _, _, err = nodes.verify()
    lines = err.splitlines()
    assert len(lines) == 3
    assert any("node-2: connect: No such file or directory" in line for line in lines)
    assert nodes.verify("-q")[2] == ""


# ---- What people read ----------------------------------------------------------------------------------


def sick(nodes: Cluster) -> None:
    for npu in range(8):
        fault = {"status": "FAIL", "seen": "DOWN", "expected": "UP", "next": "look at cable and switch port"}
        nodes.nodes[1].said[f"link[{npu}]"] = {
            **fault,
            "by_hand": f"hccn_tool -i {npu} -link -g",
            "source": "https://a",
        }
    nodes.nodes[0].said["tls[2]"] = {"seen": "switch 1 (enabled)", "by_hand": "hccn_tool -i 2 -tls -g"}
    nodes.nodes[1].said["hostname"] = {"status": "skip", "seen": "no getent here to resolve with"}
    stopped(nodes.nodes[2])


@pytest.mark.parametrize(("nodes", "columns"), [(3, 100), (64, 80)], indirect=["nodes"], ids=["few", "many"])
def test_the_table(nodes: Cluster, columns: int, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    sick(nodes)
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = nodes.verify()
    assert code == 1
    snapshot.snapshot_dir = Path(__file__).parent / "boards"
    out = out.replace(str(nodes.nodes[0].engine.socket.parent), "/run/engines")
    snapshot.assert_match(out, f"{len(nodes.nodes)}-nodes.txt")


def test_the_spec_helper_is_a_sound_spec(tmp_path: Path) -> None:
    with cluster(1) as (made, _):
        file = tmp_path / "one.yaml"
        file.write_bytes(spec(made))
        assert cli.main(["check", "--strict", str(file)]) == 0
