"""verify.sh, the real script, on a host whose NPUs are emulated: what it says about each possible fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plans import A2, A3, two_nodes
from verify_host import HERE, Host, render_verify, statuses, verdict

# ---- What a healthy node gets ------------------------------------------------------------------------


def test_healthy_a2_passes_without_a_warning(a2: Host) -> None:
    outcome = a2.run("--json")
    assert outcome.status == 0, outcome.out
    assert outcome.ids("warn", "FAIL", "skip") == set()
    assert len([name for name in outcome.checks if name.startswith("ping[")]) == 64
    assert outcome.err == ("" if os.geteuid() == 0 else "verify.sh: not run as root: some answers will be refused\n")


def test_healthy_a3_passes_without_a_warning(a3: Host) -> None:
    outcome = a3.run("--json")
    assert outcome.status == 0, outcome.out
    assert outcome.ids("warn", "FAIL") == set()
    assert outcome.ids("skip") == {f"optical[{npu}]" for npu in range(16)}  # not every product tells it
    assert {f"ping[{npu}>node-1:{npu}]" for npu in range(16)} < set(outcome.checks)
    assert len([name for name in outcome.checks if name.startswith("ping[")]) == 16
    assert outcome.checks["super-pod[3]"]["seen"] == "super pod 0, server 4, SDID 16777219"


@pytest.mark.parametrize("name", ["a2", "a3"])
def test_every_check_tells_its_source_and_how_to_see_it_by_hand(name: str, request: pytest.FixtureRequest) -> None:
    host: Host = request.getfixturevalue(name)
    checks = host.run("--json", "--nonce", "4f2a").checks
    assert {check for check, told in checks.items() if not told["source"].startswith("https://")} == set()
    assert {check for check, told in checks.items() if not told["by_hand"]} == set()


def test_lines_tell_the_same_as_json(a2: Host) -> None:
    a2.state["link.3"] = "DOWN"
    a2.state["lldp.5"] = "fibre"
    lines = a2.run()
    document = json.loads(a2.run("--json").out)
    assert lines.status == 1
    said = [line.split() for line in lines.out.decode().splitlines() if line.startswith(("ok", "warn", "FAIL", "skip"))]
    assert [(words[0], words[1]) for words in said] == [(check["status"], check["id"]) for check in document["checks"]]
    fine = len(document["checks"]) - 2
    assert document["summary"] == {"ok": fine, "warn": 1, "FAIL": 1, "skip": 0}
    assert document["node"] == "node-0"
    assert document["cluster"] == "qwen3"
    assert document["format_version"] == 1
    assert all(
        check["expected"] and check["next"] for check in document["checks"] if check["status"] in {"warn", "FAIL"}
    )
    assert "\nfailed\n  link[3]\n" in lines.out.decode()
    assert f"{fine} ok, 1 warn, 1 FAIL, 0 skip" in lines.out.decode()
    assert b"\x1b" not in lines.out


def test_nothing_on_the_host_changes(a2: Host) -> None:
    def listing() -> list[tuple[str, int, float]]:
        return [(str(path), path.lstat().st_mode, path.lstat().st_size) for path in sorted(a2.root.rglob("*"))]

    before = listing()
    a2.run()
    assert listing() == before
    assert not [call for call in a2.log.read_text().splitlines() if "-s" in call.split()]


# ---- Using it ----------------------------------------------------------------------------------------


def test_list_runs_nothing(a2: Host) -> None:
    outcome = a2.run("--list", "--only", "link")
    assert outcome.out.decode().splitlines() == [f"link[{npu}]" for npu in range(8)]
    assert not a2.log.exists()


@pytest.mark.parametrize("form", [["--only", "link[3],tls"], ["--only=link[3]", "--only=tls"]])
def test_only_some(a2: Host, form: list[str]) -> None:
    assert set(statuses(a2, *form)) == {"link[3]", "tls[same]", *(f"tls[{npu}]" for npu in range(8))}


def test_skip_some(a2: Host) -> None:
    left = set(statuses(a2, "--only", "link,tls", "--skip", "tls,link[3]"))
    assert left == {f"link[{npu}]" for npu in range(8) if npu != 3}


def test_facts_are_what_the_node_itself_says(a2: Host) -> None:
    a2.state |= {"ip.2": "10.99.0.2", "ip.3": "none"}
    facts = json.loads(a2.run("--facts").out)
    addresses = [f"10.20.0.{10 + npu}" for npu in range(8)]
    addresses[2:4] = ["10.99.0.2", ""]
    assert facts == {
        "format_version": 1,
        "node": "node-0",
        "cluster": "qwen3",
        "interface": "eth0",
        "npu_addresses": addresses,
    }


def test_progress_is_a_line_for_each_check(a2: Host) -> None:
    outcome = a2.run("--json", "--progress", "--only", "link")
    said = [line for line in outcome.err.splitlines() if "/" in line]
    assert said == [f"{number}/8 link[{number - 1}]" for number in range(1, 9)]
    assert len(outcome.checks) == 8


def test_after_its_time_no_further_check_is_started_and_it_fails(a2: Host) -> None:
    a2.state["delay"] = "0.6"
    outcome = a2.run("--json", "--seconds", "1", "--only", "link,gateway")
    assert outcome.ids("FAIL") == {"time"}
    assert outcome.checks["time"]["seen"].endswith("of 16 checks were made in 1 s")
    assert 1 < len(outcome.checks) < 5
    assert outcome.status == 1


def test_what_this_clusters_own_container_holds_is_no_fault(a2: Host) -> None:
    a2.write("proc/net/tcp", "sl\n   0: 00000000:1F40 00000000:0000 0A\n")
    a2.docker = {}
    assert a2.run("--json", "--only", "port,hbm").ids("FAIL") == {"port[8000]"}
    assert a2.run("--json", "--only", "port,hbm", "--running").ids("skip") == {
        "port[8000]",
        *(f"hbm[{npu}]" for npu in range(8)),
    }


@pytest.mark.parametrize("form", [["-h"], ["--help"]])
def test_help(a2: Host, form: list[str]) -> None:
    outcome = a2.run(*form)
    assert outcome.status == 0
    assert outcome.out.startswith(b"Usage: verify.sh")


@pytest.mark.parametrize(
    "form",
    [
        ["--nope"],
        ["extra"],
        ["--only"],
        ["--only", ""],
        ["--only", "links"],
        ["--skip", "link[99]"],
        ["--seconds", "0"],
        ["--seconds"],
    ],
)
def test_wrong_usage(a2: Host, form: list[str]) -> None:
    outcome = a2.run(*form)
    assert (outcome.status, outcome.out) == (2, b"")
    assert outcome.err.startswith("verify.sh: ")


def test_without_hccn_tool(a2: Host) -> None:
    (a2.root / "usr/local/Ascend/driver/tools/hccn_tool").unlink()
    outcome = a2.run()
    assert (outcome.status, "no hccn_tool" in outcome.err) == (2, True)
    a2.environment["HCCN_TOOL"] = str(HERE / "emulator/hccn_tool")
    assert a2.run("--only", "link").status == 0
    del a2.environment["HCCN_TOOL"]
    (a2.tools / "hccn_tool").symlink_to(HERE / "emulator/hccn_tool")
    assert a2.run("--only", "link").status == 0


def test_on_another_node(a2: Host) -> None:
    a2.tool("ip", "echo '2: eth0    inet 192.168.10.11/24 scope global eth0'")
    outcome = a2.run()
    assert outcome.status == 2
    assert "no interface of this host owns 192.168.10.10, the address of node-0; it has: 192.168.10.11" in outcome.err


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (r'a "quoted" \\ back\\slash', 'a "quoted" \\ back\\slash'),
        (r"tab\there", "tab?here"),
        (r"\x1b[31mred\x07", "?[31mred?"),
        (r"\xff\xfe latin \xe9", "?? latin ?"),
        (r"\xe7\xbd\x91\xe7\xbb\x9c", "\u7f51\u7edc"),
        (r"\xed\xa0\x80 surrogate \xc2\x9b", "??? surrogate ??"),
        (r"two\nlines", "two; lines"),
        (r"nul\x00gone", "nulgone"),
        (r"$(touch canary) `id` *", "$(touch canary) `id` *"),
    ],
)
def test_json_holds_whatever_a_tool_prints(a2: Host, printed: str, seen: str) -> None:
    a2.state["answer.link.0"] = printed
    assert verdict(a2, "link[0]") == ("FAIL", seen)


def test_every_byte_gives_valid_json(a2: Host) -> None:
    for half in range(0, 256, 128):
        a2.state["answer.link.0"] = "".join(f"\\x{byte:02x}" for byte in range(half, half + 128))
        status, _ = verdict(a2, "link[0]")
        assert status == "FAIL"


# ---- The script itself -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[A2, A3], ids=["a2", "a3"])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("verify") / "verify.sh"
    file.write_text(render_verify(two_nodes(request.param)))
    return file


@pytest.mark.parametrize("command", ["bash -n", "shellcheck", "shfmt -d -i 2 -ci"])
def test_the_script_is_clean(script: Path, command: str) -> None:
    program, *options = command.split()
    found = shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
    assert found
    done = subprocess.run([found, *options, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_emulators_are_clean() -> None:
    tools = sorted((HERE / "emulator").iterdir())
    for command in ("shellcheck", "shfmt -d -i 2 -ci"):
        program, *options = command.split()
        found = shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
        assert found
        done = subprocess.run([found, *options, *tools], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_a_cluster_of_one_node_has_nothing_to_ping(tmp_path: Path) -> None:
    plan = two_nodes(A2)
    alone = plan.nodes[0]._replace(peers=())
    host = Host(tmp_path, plan._replace(nodes=(alone,)))
    assert host.run("--skip", "ping").status == 0
    assert b"ping[" not in host.run("--list").out
