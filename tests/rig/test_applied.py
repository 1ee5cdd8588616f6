"""`compiler plan`, `apply`, `status`, `logs` and `down` on real Docker engines and real Ray, and what may go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cluster import Rig, until
from hosts import child
from node import IMAGE, SSH, TLS, Node

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from contextlib import AbstractContextManager

pytestmark = [
    pytest.mark.rig,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and device nodes need root"),
]
QUICK = ("--yes", "--skip-verify")
SECRET = "canary-$ecret'\""  # noqa: S105 - it is looked for everywhere
BODY = {"Id", "Created", "State", "GraphDriver", "ExecIDs", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"}


def applied(rig: Rig, spec: Path, *more: str, code: int = 0, **environment: str) -> str:
    """What `apply` said, on both streams."""
    done = rig.compiler("apply", spec, *QUICK, *more, environment=environment)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def decided(rig: Rig, spec: Path, **environment: str) -> dict[str, Any]:
    """What `plan --json` says."""
    done = rig.compiler("plan", spec, "--json", environment=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verbs(decision: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["verb"] for each in decision["nodes"]} | {"service": decision["service"]["verb"]}


def nothing_to_do(rig: Rig, spec: Path) -> bool:
    return not decided(rig, spec)["changes"]


def serves(rig: Rig, spec: Path) -> bool:
    """`status` says so, and so does a question from outside."""
    done = rig.compiler("status", spec, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode == 0) == (document["serves"] and not document["wrong"]), done.stdout
    return done.returncode == 0 and rig.complete().status == 200


def small(rig: Rig, **more: Any) -> Path:
    """A spec with two NPUs of each node: their workers start sooner."""
    return rig.spec(**{"npus": 2, **more})


def ids(rig: Rig) -> list[str]:
    return [str(node.inspect("rig")["Id"]) for node in rig.nodes[:2]]


def nothing_left(rig: Rig) -> bool:
    return not any(node.containers or node.volumes for node in rig.nodes)


# ---- From nothing, and back -----------------------------------------------------------------------------------


def test_from_nothing_to_a_completion_and_back(rig: Rig) -> None:
    spec = rig.spec()
    planned = rig.compiler("plan", spec, "--detailed-exitcode")
    assert planned.returncode == 2, planned.stderr
    assert nothing_left(rig)

    # The whole of it, with verify.sh; this machine's own disk and memory may be small.
    done = rig.compiler("apply", spec, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rig serves: http://10.77.0.1:8000/v1" in done.stdout
    steps = dict(re.findall(r"(\w+) (\d+\.\d) s", done.stdout.partition("took")[2]))
    assert set(steps) == {"verify", "make", "head", "workers", "ray", "serve"}
    assert rig.complete().status == 200
    assert rig.ray().keys() == {"10.77.0.1", "10.77.0.2"}
    assert serves(rig, spec)

    before = ids(rig)
    again = rig.compiler("apply", spec, "--yes")
    assert (again.returncode, "Nothing to do." in again.stdout) == (0, True)
    assert rig.compiler("plan", spec, "--detailed-exitcode").returncode == 0
    assert ids(rig) == before
    assert {node.name: node.containers for node in rig.nodes[:2]} == {"node-0": {"rig"}, "node-1": {"rig"}}

    service = rig.compiler("logs", spec, "--service")
    assert "Application startup complete" in service.stdout
    both = rig.compiler("logs", spec).stdout
    assert {line.partition(" | ")[0] for line in both.splitlines()} == {"node-0", "node-1"}
    assert "ray-start: Ray runs on 10.77.0.2" in rig.compiler("logs", spec, "node-1", "--tail", "3").stdout

    down = rig.compiler("down", spec, "--yes")
    assert down.returncode == 0, down.stdout + down.stderr
    assert all(container[:12] in down.stdout for container in before)
    assert nothing_left(rig)
    assert rig.compiler("status", spec).returncode == 1
    assert "nothing of it is there" in rig.compiler("down", spec, "--yes").stdout


def test_compose_and_apply_make_the_same_containers(rig: Rig) -> None:
    """`docker inspect` tells no difference but Compose's own labels; and one finds the other's as planned."""
    spec = small(rig, env={"ODD": "a b$HOME'\"\\é"})
    bundle = rig.bundle(spec)
    for node in rig.nodes[:2]:
        node.compose(bundle, "up", "-d")
    composed = [inspected(node) for node in rig.nodes[:2]]
    decision = decided(rig, spec)
    assert verbs(decision) == {"node-0": "leave", "node-1": "leave", "service": "start"}
    for node in rig.nodes[:2]:
        node.compose(bundle, "down")
    applied(rig, spec, "--no-serve")
    assert [inspected(node) for node in rig.nodes[:2]] == composed


def inspected(node: Node) -> dict[str, Any]:
    """What Docker says of the container, without what is another one's for each container, and in one order."""
    found = {key: value for key, value in node.inspect("rig").items() if key not in BODY}
    labels = found["Config"]["Labels"]
    found["Config"]["Labels"] = {name: text for name, text in labels.items() if not name.startswith("com.docker.")}
    for key in ("SandboxID", "SandboxKey"):
        found["NetworkSettings"].pop(key)
    found["NetworkSettings"]["Networks"]["host"].pop("EndpointID")
    found["HostConfig"]["Mounts"].sort(key=lambda mount: mount["Target"])
    found["HostConfig"]["Ulimits"].sort(key=lambda limit: limit["Name"])
    found["Mounts"].sort(key=lambda mount: mount["Destination"])
    found["Config"]["Env"].sort()
    return found


def test_a_secret_reaches_the_container_and_nothing_else(rig: Rig) -> None:
    spec = small(rig, secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}})
    missing = applied(rig, spec, code=1)
    assert "MY_TOKEN: not set here" in missing
    assert nothing_left(rig)

    said = applied(rig, spec, MY_TOKEN=SECRET)
    said += rig.compiler("plan", spec, "--json", environment={"MY_TOKEN": SECRET}).stdout
    said += rig.compiler("status", spec, "--json").stdout
    changed = decided(rig, spec, MY_TOKEN="another")  # noqa: S106 - it is none
    assert [each["what"] for each in changed["nodes"][0]["reasons"]] == ["env.HF_TOKEN"]
    said += json.dumps(changed)
    for node in rig.nodes[:2]:
        found = node.inspect("rig")
        assert f"HF_TOKEN={SECRET}" in found["Config"]["Env"]
        found["Config"].pop("Env")
        said += json.dumps(found) + "".join(
            json.dumps(json.loads(node.docker("volume", "inspect", each))) for each in node.volumes
        )
    assert SECRET not in said
    assert json.dumps(SECRET)[1:-1] not in said
    unset = decided(rig, spec)
    assert (unset["changes"], "whether a secret changed cannot be told" in json.dumps(unset)) == (False, True)


# ---- Changes --------------------------------------------------------------------------------------------------


def test_changes_of_environment_service_and_nodes(rig: Rig) -> None:
    applied(rig, small(rig))
    first = ids(rig)

    environment = small(rig, env={"OMP_NUM_THREADS": "7"})
    decision = decided(rig, environment)
    assert verbs(decision) == {"node-0": "replace", "node-1": "replace", "service": "restart"}
    assert decision["nodes"][1]["reasons"] == [
        {"what": "env.OMP_NUM_THREADS", "old": None, "new": "7", "hidden": False}
    ]
    applied(rig, environment)
    second = ids(rig)
    assert not set(first) & set(second)
    assert serves(rig, environment)

    args = {"served-model-name": "tiny", "max-num-seqs": 30}
    served = small(
        rig, env={"OMP_NUM_THREADS": "7"}, serve={"model": "/root/.cache/tiny", "parallelism": "pipeline", "args": args}
    )
    decision = decided(rig, served)
    assert verbs(decision) == {"node-0": "leave", "node-1": "leave", "service": "restart"}
    assert [each["what"] for each in decision["service"]["reasons"]] == ["--max-num-seqs"]
    applied(rig, served)
    assert ids(rig) == second
    assert nothing_to_do(rig, served)


def test_a_node_added_and_one_removed(rig: Rig) -> None:
    two, three = small(rig, file="two.yaml"), small(rig, nodes=3, file="three.yaml")
    applied(rig, two)
    before = ids(rig)
    added = decided(rig, three)
    assert verbs(added) == {"node-0": "leave", "node-1": "leave", "node-2": "create", "service": "restart"}
    applied(rig, three)
    assert ids(rig) == before
    assert len(rig.ray()) == 3
    assert serves(rig, three)

    removed = decided(rig, two)
    assert verbs(removed) == {"node-0": "leave", "node-1": "leave", "node-2": "remove", "service": "restart"}
    applied(rig, two)
    assert (rig.node(2).containers, len(rig.ray())) == (set(), 2)
    assert serves(rig, two)
    assert nothing_to_do(rig, two)


def by_hand(rig: Rig) -> None:
    rig.nodes[1].docker("update", "--memory", "8g", "--memory-swap", "8g", "rig")


def stopped(rig: Rig) -> None:
    rig.nodes[1].docker("stop", "--time", "1", "rig")


def paused(rig: Rig) -> None:
    rig.nodes[1].docker("pause", "rig")


def removed(rig: Rig) -> None:
    rig.nodes[1].docker("rm", "--force", "rig")


def worker_killed(rig: Rig) -> None:
    rig.nodes[1].docker("kill", "rig")


def head_killed(rig: Rig) -> None:
    rig.nodes[0].docker("kill", "rig")


def daemon_restarted(rig: Rig) -> None:
    rig.nodes[1].engine.stop()
    rig.nodes[1].engine.start()


def raylet_killed(rig: Rig) -> None:
    kill = "for p in /proc/[0-9]*; do grep -qx raylet $p/comm && kill -9 ${p#/proc/}; done; true"
    rig.nodes[1].docker("exec", "rig", "bash", "-c", kill)
    until(lambda: rig.nodes[1].inspect("rig")["State"]["Status"] == "exited", 20)


WORKER = {"node-0": "leave", "node-1": "replace", "service": "restart"}


@pytest.fixture
def standing(standing_rig: Rig) -> tuple[Rig, Path]:
    """A cluster that serves: each of the tests that follow harms it, and leaves it repaired."""
    spec = small(standing_rig)
    applied(standing_rig, spec)
    return standing_rig, spec


@pytest.mark.parametrize(
    ("harm", "wanted", "said"),
    [
        (by_hand, WORKER, "docker update.Memory"),
        (stopped, WORKER, "its container has exited with status 0"),
        (paused, WORKER, "paused"),
        (removed, WORKER | {"node-1": "create"}, "it has no container yet"),
        (worker_killed, WORKER, "its container has exited with status 137"),
        (raylet_killed, WORKER, "its container has exited with status 1"),
        (daemon_restarted, WORKER, "its container has exited"),
        (head_killed, {"node-0": "replace", "node-1": "replace", "service": "start"}, "137"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_harmed_is_seen_and_repaired(
    standing: tuple[Rig, Path], harm: Callable[[Rig], None], wanted: dict[str, str], said: str
) -> None:
    rig, spec = standing
    harm(rig)
    decision = decided(rig, spec)
    assert verbs(decision) == wanted
    assert said in json.dumps(decision)
    if harm is not by_hand:
        assert rig.compiler("status", spec).returncode == 1
    applied(rig, spec)
    assert serves(rig, spec)
    assert nothing_to_do(rig, spec)


def test_an_engine_that_is_dead_while_health_says_200(standing: tuple[Rig, Path]) -> None:
    rig, spec = standing
    before = ids(rig)
    rig.faults("engine-dead")
    assert rig.get("/health").status == 200
    status = rig.compiler("status", spec)
    assert (status.returncode, "does not serve: no completion" in status.stdout) == (1, True)
    assert verbs(decided(rig, spec)) == {"node-0": "leave", "node-1": "leave", "service": "restart"}
    rig.faults()
    applied(rig, spec)
    assert serves(rig, spec)
    assert ids(rig) == before


def test_an_engine_that_hangs_is_told_and_not_killed(standing: tuple[Rig, Path]) -> None:
    rig, spec = standing
    rig.faults("hang-completion")
    said = applied(rig, spec, code=1)
    assert "there is no completion: no answer within 30 s" in said
    assert "--restart" in said
    rig.faults()
    applied(rig, spec, "--restart")
    assert serves(rig, spec)


# ---- What stands in the way -----------------------------------------------------------------------------------


def test_a_foreign_container_with_our_name_or_npus_is_never_touched(rig: Rig) -> None:
    spec = small(rig)
    node = rig.node(1)
    for words in (("--name", "rig"), ("--name", "training", "--device=/dev/davinci1")):
        name = words[1]
        node.docker("run", "--detach", "--network=none", *words, "--entrypoint=sleep", IMAGE, "600")
        before = node.inspect(name)
        said = applied(rig, spec, code=1)
        assert f"in the way: node-1: {'a container called rig' if name == 'rig' else 'training'}" in said
        rig.compiler("down", spec, "--yes")
        assert node.inspect(name) == before
        assert rig.nodes[0].containers == set()
        node.docker("rm", "--force", name)


def test_an_image_that_is_missing_on_one_node_changes_nothing(rig: Rig) -> None:
    spec = small(rig)
    with rig.node(1).without_image():
        said = applied(rig, spec, code=1)
    assert "node-1: its image is missing, and pulling it failed" in said
    assert "docker save" in said
    assert nothing_left(rig)


def test_another_image_under_the_same_name_changes_nothing(rig: Rig) -> None:
    spec = small(rig)
    image = IMAGE
    node = rig.node(1)
    node.docker("tag", image, "rig/kept")
    node.docker("commit", "--change", "ENV X=1", node.docker("create", image).strip(), image)
    try:
        said = applied(rig, spec, code=1)
    finally:
        node.docker("tag", "rig/kept", image)
    assert f"node-1: {image} is another image there than on node-0" in said
    assert rig.nodes[0].containers == set()


def test_a_mount_that_is_missing_on_one_node_changes_nothing_that_runs(rig: Rig) -> None:
    applied(rig, small(rig), "--no-serve")
    before = ids(rig)
    (rig.node(0).engine.host("/mnt/extra")).mkdir()
    spec = small(rig, container={"mounts": [{"source": "/mnt/extra", "target": "/extra"}], "ulimits": ulimits(rig)})
    said = applied(rig, spec, "--no-serve", code=1)
    assert "node-1: create a container: " in said
    assert "bind source path does not exist: /mnt/extra" in said
    assert "nothing that ran was touched" in said
    assert ids(rig) == before
    assert rig.nodes[0].containers == {"rig"}
    assert not rig.node(1).engine.host("/mnt/extra").exists()


def ulimits(rig: Rig) -> Any:
    return json.loads(small(rig, file="limits.yaml").read_text())["container"]["ulimits"]


def test_a_check_that_fails_changes_nothing(rig: Rig) -> None:
    spec = small(rig)
    device = rig.node(1).engine.host("/dev/davinci1")
    device.rename(device.with_name("gone"))
    try:
        done = rig.compiler("apply", spec, "--yes")
    finally:
        device.with_name("gone").rename(device)
    assert done.returncode == 1
    assert "verify: node-1: device[/dev/davinci1]" in done.stderr
    assert not rig.node(0).containers | rig.node(1).containers


def test_two_applies_at_once(rig: Rig) -> None:
    """One holds the lock; the other says who, or waits."""
    spec = small(rig)
    with rig.spawned("apply", spec, *QUICK) as first:
        until(lambda: "rig-lock" in rig.nodes[0].containers, 20)
        refused = applied(rig, spec, code=1)
        waited = rig.compiler("apply", spec, *QUICK, "--lock-timeout", "60")
        first.communicate(timeout=60)
    assert f"(process {first.pid}) has had the lock since" in refused
    # What it was going to do, the first has done meanwhile.
    assert (first.returncode, waited.returncode) == (0, 1)
    assert "the nodes have changed since the plan was shown" in waited.stderr
    assert serves(rig, spec)
    assert "rig-lock" not in rig.nodes[0].containers


def test_killed_it_leaves_no_lock(rig: Rig) -> None:
    spec = small(rig)
    with rig.spawned("apply", spec, *QUICK) as killed:
        until(lambda: "rig-lock" in rig.nodes[0].containers, 20)
        killed.kill()
    until(lambda: "rig-lock" not in rig.nodes[0].containers, 10)
    applied(rig, spec)
    assert serves(rig, spec)


# ---- Cut off in the middle ------------------------------------------------------------------------------------


def step(name: str) -> re.Pattern[str]:
    return re.compile(rf"^{name} ", re.MULTILINE)


@pytest.mark.parametrize("at", ["verify", "make", "head", "workers", "ray", "serve"])
def test_ctrl_c_at_each_step(rig: Rig, at: str) -> None:
    """It ends soon, says how to go on, and the same command does."""
    spec = small(rig)
    options = ("--yes",) if at == "verify" else QUICK
    with rig.spawned("apply", spec, *options) as process:
        said = told_until(process, step(at))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert time.monotonic() - began < 10
    assert f"To go on: compiler apply {spec}" in rest
    assert "rig-lock" not in rig.nodes[0].containers
    applied(rig, spec)
    assert serves(rig, spec)
    assert rig.nodes[0].containers == rig.nodes[1].containers == {"rig"}


@pytest.mark.parametrize("at", ["service", "stop"])
def test_ctrl_c_while_the_old_is_taken_down(rig: Rig, at: str) -> None:
    applied(rig, small(rig))
    spec = small(rig, env={"OMP_NUM_THREADS": "7"})
    with rig.spawned("apply", spec, *QUICK) as process:
        said = told_until(process, step(at))
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    applied(rig, spec)
    assert serves(rig, spec)


def told_until(process: subprocess.Popen[str], pattern: re.Pattern[str], seconds: float = 90) -> str:
    """What it says on stderr until that."""
    said = ""
    deadline = time.monotonic() + seconds
    assert process.stderr is not None
    while not pattern.search(said):
        assert time.monotonic() < deadline, said
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("at", ["make", "stop", "ray"])
def test_a_node_that_is_cut_off_in_the_middle(rig: Rig, at: str) -> None:
    """The message names the node and the step; no hang; back again, the same command repairs."""
    applied(rig, small(rig))
    spec = small(rig, env={"OMP_NUM_THREADS": "7"})
    with rig.spawned("apply", spec, *QUICK, "--timeout", "20") as process:
        said = told_until(process, step(at))
        with rig.node(1).unplugged():
            out, rest = process.communicate(timeout=150)
    said += rest
    if process.returncode == 0:  # it was done with the node before the cable was out
        assert at == "make"
        return
    assert process.returncode == 1, out + said
    assert re.search(r"^error: \w+: node-1: ", said, re.MULTILINE), said
    assert f"goes on from here: compiler apply {spec}" in said
    applied(rig, spec)
    assert serves(rig, spec)


def test_a_daemon_that_hangs_is_a_fault_and_no_hang(rig: Rig) -> None:
    spec = small(rig)
    with rig.node(1).engine.frozen():
        began = time.monotonic()
        said = applied(rig, spec, "--timeout", "8", code=1)
        assert time.monotonic() - began < 15
    assert "in the way: node-1: connect: no answer in time" in said
    assert nothing_left(rig)


# ---- Failures of Ray and vLLM ---------------------------------------------------------------------------------


def test_a_service_that_dies_while_it_loads_is_explained(rig: Rig) -> None:
    spec = small(rig)
    rig.faults("die-at-load=EI0006")
    said = applied(rig, spec, code=1)
    assert "error: serve: node-0: serve.sh has ended before it served" in said
    assert re.search(r"^  cause +an NPU waited in vain for the link", said, re.MULTILINE)
    assert re.search(r"^  seen +node-0 serve.log: .*EI0006", said, re.MULTILINE)
    assert re.search(r"^  caught by +compiler verify .* --only ping,tls", said, re.MULTILINE)
    rig.faults()
    applied(rig, spec)
    assert serves(rig, spec)


def test_an_npu_that_ray_does_not_count_is_named(rig: Rig) -> None:
    spec = small(rig, timeouts={"ray_start": 30, "ray_join": 12, "serve_ready": 60, "stop": 5})
    applied(rig, spec, "--no-serve")
    bundle = rig.bundle(spec)
    rig.node(1).docker("rm", "--force", "rig")
    file = bundle / "node-1/docker-compose.yaml"
    file.write_text(file.read_text().replace('      - "/dev/davinci1:/dev/davinci1"\n', ""))
    rig.node(1).compose(bundle, "up", "-d")
    decision = decided(rig, spec)
    assert "devices./dev/davinci1" in json.dumps(decision)
    assert decision["nodes"][1]["by_hand"] is True
    applied(rig, spec, "--no-serve")
    assert {found["NPU"] for found in rig.ray().values()} == {2.0}


def test_a_worker_whose_port_is_taken_fails_with_its_log(rig: Rig, tmp_path: Path) -> None:
    spec = small(rig, timeouts={"ray_start": 30, "ray_join": 60, "serve_ready": 60, "stop": 5})
    listen = "import socket, time\nheld = socket.create_server(('', 6380))\nprint('held', flush=True)\ntime.sleep(300)"
    holder = rig.node(1).engine.on.start(tmp_path / "held", sys.executable, "-c", listen)
    try:
        until(lambda: "held" in (tmp_path / "held").read_text(), 10)
        began = time.monotonic()
        said = applied(rig, spec, code=1)
    finally:
        os.kill(child(holder.pid), signal.SIGKILL)
        holder.wait()
    assert time.monotonic() - began < 55  # it does not wait for all of ray_join once the container has ended
    assert "error: ray: node-1: " in said
    assert "What the logs say:" in said
    applied(rig, spec)
    assert serves(rig, spec)


# ---- Other ways there -----------------------------------------------------------------------------------------


def sshds(rig: Rig) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return rig.node(0).with_sshd(), rig.node(1).with_sshd()


def test_through_ssh(rig: Rig) -> None:
    spec = small(rig, docker=SSH)
    first, second = sshds(rig)
    with first, second:
        applied(rig, spec)
        assert serves(rig, spec)
        assert rig.compiler("down", spec, "--yes", "--no-wait").returncode == 0
    assert nothing_left(rig)


def test_killed_it_leaves_no_ssh(rig: Rig) -> None:
    spec = small(rig, docker=SSH)
    first, second = sshds(rig)
    with first, second:
        applied(rig, spec, "--no-serve")
        with rig.spawned("logs", spec, "--follow") as following:
            until(lambda: len(ways(following.pid)) == 2, 20)
            ssh = ways(following.pid)
            following.kill()
        until(lambda: not any(os.path.exists(f"/proc/{each}") for each in ssh), 10)


def ways(parent: int) -> list[str]:
    """The processes of ssh that a program has started."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    return [pid for each in threads for pid in each.read_text(encoding="ascii").split()]


def test_with_tls(rig: Rig) -> None:
    spec = small(rig, docker=TLS)
    authority, client = rig.authority()
    own, others = authority.issue("node-0", "10.77.0.1"), authority.issue("node-1", "10.77.0.2")
    with rig.node(0).with_tls(*own), rig.node(1).with_tls(*others):
        refused = applied(rig, spec, code=1)
        assert "in the way: node-0: connect" in refused
        applied(rig, spec, "--no-serve", **client)
        assert rig.compiler("down", spec, "--yes", "--no-wait", environment=client).returncode == 0
    assert nothing_left(rig)


def test_on_a_terminal_it_asks(rig: Rig) -> None:
    spec = small(rig)
    with rig.at_terminal("apply", spec, "--skip-verify", "--no-serve") as terminal:
        terminal.until("Apply this? [y/N]")
        terminal.type("n\n")
        assert terminal.ended() == 1
    assert nothing_left(rig)
    with rig.at_terminal("apply", spec, "--skip-verify", "--no-serve") as terminal:
        terminal.until("Apply this? [y/N]")
        terminal.type("y\n")
        assert terminal.ended(120) == 0, terminal.shown
    assert rig.nodes[0].containers == {"rig"}
    without = rig.compiler("apply", small(rig, env={"X": "1"}), "--skip-verify", given="")
    assert (without.returncode, "--yes says yes beforehand" in without.stderr) == (2, True)


def test_one_node_alone(rig: Rig) -> None:
    spec = small(rig)
    applied(rig, spec, "--no-serve")
    rig.node(1).docker("kill", "rig")
    said = applied(rig, spec, "--node", "node-1", "--no-serve")
    assert "node-1: started" in said
    changed = small(rig, env={"OMP_NUM_THREADS": "7"})
    refused = applied(rig, changed, "--node", "node-0", "--no-serve", code=1)
    assert "Ray starts anew on the head, so it must on node-1" in refused
