"""The rig itself is sound: what the tests of the executor stand on is there, and behaves as the real thing does."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from cluster import MACHINE, until
from node import IMAGE, SSH, TLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster import Rig

pytestmark = pytest.mark.rig
# The kernel keeps fifteen characters of `ray::RayWorkerWrapper`.
WORKER = "$(grep -lsx ray::RayWorkerW /proc/[0-9]*/comm | cut -d/ -f3)"


@contextmanager
def up(rig: Rig, spec: Path, environment: Mapping[str, str] | None = None) -> Iterator[Path]:
    """The spec's bundle, and its containers on the first two nodes by Docker Compose alone."""
    bundle = rig.bundle(spec)
    for node in rig.nodes[:2]:
        node.compose(bundle, "up", "-d", environment=environment)
    try:
        yield bundle
    finally:
        for node in rig.nodes[:2]:
            node.compose(bundle, "down", environment=environment)


def serve(rig: Rig, bundle: Path) -> None:
    """Starts serve.sh in the head's container; what it says goes to /tmp/serve.log there."""
    head = rig.nodes[0]
    head.docker("cp", bundle / head.name / "serve.sh", "rig:/tmp/serve.sh")
    head.docker("exec", "--detach", "rig", "bash", "-c", "exec bash /tmp/serve.sh >/tmp/serve.log 2>&1")


def log(rig: Rig) -> str:
    return rig.nodes[0].docker("exec", "rig", "bash", "-c", "cat /tmp/serve.log || true")


def serves(rig: Rig) -> bool:
    return rig.get("/health").status == 200


def test_a_healthy_cluster_passes_verify(rig: Rig) -> None:
    done = rig.compiler("verify", rig.spec(), "--strict", *MACHINE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_alone_makes_a_cluster_that_serves(rig: Rig) -> None:
    with up(rig, rig.spec()) as bundle:
        until(lambda: "Ray runs on" in rig.nodes[0].engine.run("docker", "logs", "rig").stderr.decode(), 60)
        until(lambda: len(rig.ray()) == 2, 60)
        assert {address: found["NPU"] for address, found in rig.ray().items()} == {"10.77.0.1": 8, "10.77.0.2": 8}
        serve(rig, bundle)
        until(lambda: serves(rig), 120)
        assert "Ray is as planned: 2 nodes, 16 NPU" in log(rig)
        head = rig.nodes[0].engine.on
        asked = head.run("bash", "-c", f"exec -a ask bash {bundle}/node-0/ask.sh")
        assert (asked.returncode, asked.stdout) == (0, "16 NPUs on 10.77.0.1, 10.77.0.2\n")
        reply = rig.complete()
        assert (reply.status, json.loads(reply.text)["choices"][0]["text"]) == (200, " 16 NPUs on 10.77.0.1, 10.77.0.2")
    assert [node.containers for node in rig.nodes] == [set()] * len(rig.nodes)


def test_a_worker_that_was_killed_shows_in_a_completion_alone(rig: Rig) -> None:
    with up(rig, rig.spec(npus=1)) as bundle:
        serve(rig, bundle)
        until(lambda: serves(rig), 120)
        assert rig.complete().status == 200
        worker = rig.nodes[1]
        worker.docker("exec", "rig", "bash", "-c", f"kill -KILL {WORKER}")
        assert rig.get("/health").status == 200
        failed = rig.complete()
        assert failed.status == 500
        assert json.loads(failed.text)["error"]["message"].startswith("EngineCore encountered an issue.")
        assert rig.get("/health").status == 200
        assert "ActorDiedError" in log(rig)


def test_the_stand_in_answers_as_vllm_does(rig: Rig) -> None:
    spec = rig.spec(npus=1, secrets={"VLLM_API_KEY": {"from_env": "VLLM_API_KEY"}})
    with up(rig, spec, {"VLLM_API_KEY": "sesame"}) as bundle:
        serve(rig, bundle)
        until(lambda: serves(rig), 120)
        key = ("--header", "Authorization: Bearer sesame")
        assert rig.complete() == (401, '{"error": "Unauthorized"}')
        assert json.loads(rig.get("/v1/models", *key).text)["data"][0]["id"] == "tiny"
        unknown = rig.complete("huge", *key)
        assert unknown.status == 404
        assert json.loads(unknown.text)["error"]["message"] == "The model `huge` does not exist."
        rig.faults("hang-completion")
        assert rig.get("/v1/completions", *key, "--json", '{"prompt": "x"}', seconds=1).status == 0
        rig.faults("engine-dead", "ends-when-dead")
        assert rig.complete("tiny", *key).status == 500
        until(lambda: not serves(rig), 20)


def test_loading_that_fails_says_why(rig: Rig) -> None:
    rig.faults("slow-load=1", "die-at-load=EI0006")
    with up(rig, rig.spec(npus=1)) as bundle:
        serve(rig, bundle)
        until(lambda: "RuntimeError: Engine core initialization failed." in log(rig), 120)
        assert "EI0006: [PID: " in log(rig)
        assert rig.get("/health").status == 0


def test_an_engine_with_tls(rig: Rig) -> None:
    made, client = rig.authority()
    stranger, _ = rig.authority("stranger")
    spec = rig.spec(docker=TLS)
    words = ("verify", spec, "--only", "link", "--node", "node-0", "--json")
    with rig.nodes[0].with_tls(*made.issue("server", "10.77.0.1")):
        assert rig.compiler(*words, environment=client).returncode == 0
        plain = rig.compiler(*words)
        assert (plain.returncode, json.loads(plain.stdout)["nodes"][0]["checks"]) == (1, [])
    for wrong in (
        made.issue("late", "10.77.0.1", days=-0.5),
        made.issue("other", "10.77.0.2"),
        stranger.issue("server", "10.77.0.1"),
    ):
        with rig.nodes[0].with_tls(*wrong):
            refused = json.loads(rig.compiler(*words, environment=client).stdout)["nodes"][0]
        assert "certificate" in refused["fault"].lower(), refused


def test_an_engine_behind_ssh(rig: Rig) -> None:
    spec = rig.spec(docker=SSH)
    with rig.nodes[0].with_sshd():
        done = rig.compiler("verify", spec, "--only", "link", "--node", "node-0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_that_is_cut_off_and_one_whose_engine_is_killed(rig: Rig) -> None:
    words = ("verify", rig.spec(), "--only", "link", "--json", "--timeout", "4")
    with rig.nodes[1].unplugged():
        faults = [node["fault"] for node in json.loads(rig.compiler(*words).stdout)["nodes"]]
        assert (faults[0], faults[1] != "") == ("", True)
        assert rig.nodes[1].docker("ps", "--quiet") == ""
    other = ("run", "--detach", "--net=none", "--name=other", "--stop-signal=KILL", IMAGE, "tail", "-f", "/dev/null")
    rig.nodes[0].docker(*other)
    rig.nodes[0].engine.stop(signal.SIGKILL)
    assert "Connection refused" in json.loads(rig.compiler(*words).stdout)["nodes"][0]["fault"]
    rig.nodes[0].engine.start()
    assert rig.nodes[0].inspect("other")["State"]["Running"] is False
    assert rig.compiler(*words).returncode == 0


def test_one_more_node(rig: Rig) -> None:
    spec = rig.spec(nodes=3, docker=rig.unix)
    done = rig.compiler("verify", spec, "--strict", *MACHINE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ctrl_c_at_a_terminal(rig: Rig) -> None:
    state = rig.nodes[1].engine.host("/mnt/emulator/state")
    before = state.read_text()
    state.write_text(f"{before}delay=5\n")
    try:
        with rig.at_terminal("verify", rig.spec(), "--only", "link") as shown:
            shown.until("link")
            until(lambda: rig.nodes[1].containers, 20)
            shown.type("\x03")
            assert shown.ended() == 130, shown.shown
    finally:
        state.write_text(before)
    assert [node.containers for node in rig.nodes] == [set()] * len(rig.nodes)
