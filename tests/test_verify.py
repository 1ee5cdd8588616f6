"""verify.sh, the real script, on a host whose NPUs are emulated: what it says about each possible fault."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from parts import part
from plans import A2, A3, CACHE, two_nodes
from verify_host import HERE, Host, render_verify

from compiler.plan import Mount

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED, FINE = {"FAIL"}, {"ok"}
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - how hccn_tool says that there is none
LISTENER = "   0: 00000000:{port:04X} 00000000:0000 {state}\n"


@pytest.fixture
def a2(tmp_path: Path) -> Host:
    return Host(tmp_path, two_nodes(A2))


@pytest.fixture
def a3(tmp_path: Path) -> Host:
    return Host(tmp_path, two_nodes(A3, every_pair=False))


def statuses(host: Host, *options: str) -> dict[str, str]:
    return {name: check["status"] for name, check in host.run("--json", *options).checks.items()}


def verdict(host: Host, check: str) -> tuple[str, str]:
    """The status of one check and what it saw."""
    result = host.run("--json", "--only", check).checks[check]
    return result["status"], result["seen"]


# ---- What a healthy node gets ------------------------------------------------------------------------


def test_healthy_a2_passes_without_a_warning(a2: Host) -> None:
    outcome = a2.run("--json")
    assert outcome.status == 0, outcome.out
    assert outcome.ids("warn", "FAIL") == set()
    assert outcome.ids("skip") == {"containers"}  # no docker on this host
    assert len([name for name in outcome.checks if name.startswith("ping[")]) == 64
    assert outcome.err == ("" if os.geteuid() == 0 else "verify.sh: not run as root: some answers will be refused\n")


def test_healthy_a3_passes_without_a_warning(a3: Host) -> None:
    outcome = a3.run("--json")
    assert outcome.status == 0, outcome.out
    assert outcome.ids("warn", "FAIL") == set()
    assert {f"ping[{npu}>node-1:{npu}]" for npu in range(16)} < set(outcome.checks)
    assert len([name for name in outcome.checks if name.startswith("ping[")]) == 16
    assert outcome.checks["super-pod[3]"]["seen"] == "super pod 0, server 4, SDID 16777219"


def test_lines_tell_the_same_as_json(a2: Host) -> None:
    a2.state["link.3"] = "DOWN"
    a2.state["lldp.5"] = "fibre"
    lines = a2.run()
    document = json.loads(a2.run("--json").out)
    assert lines.status == 1
    said = [line.split() for line in lines.out.decode().splitlines() if line.startswith(("ok", "warn", "FAIL", "skip"))]
    assert [(words[0], words[1]) for words in said] == [(check["status"], check["id"]) for check in document["checks"]]
    assert document["summary"] == {"ok": 165, "warn": 1, "FAIL": 1, "skip": 1}
    assert document["node"] == "node-0"
    assert document["cluster"] == "qwen3"
    assert document["format_version"] == 1
    assert all(
        check["expected"] and check["next"] for check in document["checks"] if check["status"] in {"warn", "FAIL"}
    )
    assert "\nfailed\n  link[3]\n" in lines.out.decode()
    assert "165 ok, 1 warn, 1 FAIL, 1 skip" in lines.out.decode()
    assert b"\x1b" not in lines.out


def test_nothing_on_the_host_changes(a2: Host) -> None:
    def listing() -> list[tuple[str, int, float]]:
        return [(str(path), path.lstat().st_mode, path.lstat().st_size) for path in sorted(a2.root.rglob("*"))]

    before = listing()
    a2.run()
    assert listing() == before
    told = {call.split()[2] for call in a2.log.read_text().splitlines() if " -s" in call}
    assert told == set()


# ---- The NPUs' own network ---------------------------------------------------------------------------

ONE_NPU_FAULTS = {
    "lldp": {"lldp.3": "silent"},
    "link": {"link.3": "DOWN"},
    "net_health": {"health.3": "Socket fail"},
    "netdetect": {"answer.netdetect.3": "Command execute failed!", "exit.netdetect.3": "1"},
    "gateway": {"answer.gateway.3": "Command execute failed!", "stream.gateway.3": "stderr"},
    "tls": {"tls.3": "broken"},
    "npu-address": {"vnic.3": "192.0.2.9"},
    "hccn.conf": {"ip.3": "192.0.2.9"},
    "super-pod": {"super_pods.3": "no"},
}


@pytest.mark.parametrize("check", ONE_NPU_FAULTS)
def test_a_fault_of_one_npu_fails_its_check_alone(a3: Host, check: str) -> None:
    a3.state |= ONE_NPU_FAULTS[check]
    outcome = a3.run("--json", "--skip", "ping,mount,device,port")
    assert outcome.ids("FAIL") == {f"{check}[3]"}
    assert outcome.status == 1


@pytest.mark.parametrize(
    ("health", "detect", "status", "seen"),
    [
        ("Success", "10.20.0.1", "ok", "Success"),
        ("Init", NO_ADDRESS, "ok", "Init: there is no address to probe"),
        ("Init", "10.20.0.1", "warn", "Init: 10.20.0.1 was not probed yet"),
        ("Socket failed", "10.20.0.1", "FAIL", "Socket failed"),
        ("Receive timeout", "10.20.0.1", "FAIL", "Receive timeout"),
        ("Unreachable", "10.20.0.1", "FAIL", "Unreachable"),
        ("Detect ip set", "10.20.0.1", "FAIL", "Detect ip set"),
    ],
)
def test_net_health(a2: Host, health: str, detect: str, status: str, seen: str) -> None:
    a2.state |= {"health.0": health, "netdetect.0": detect}
    assert verdict(a2, "net_health[0]") == (status, seen)


@pytest.mark.parametrize("spelling", ["addr", "address"])
@pytest.mark.parametrize(("address", "status"), [("10.20.0.1", "ok"), (NO_ADDRESS, "warn")])
def test_netdetect_in_both_spellings(a2: Host, spelling: str, address: str, status: str) -> None:
    a2.state |= {"netdetect_key": spelling, "netdetect": address}
    found, seen = verdict(a2, "netdetect[0]")
    assert found == status
    assert address in seen


def test_lldp_of_a_direct_fibre_is_a_warning(a2: Host) -> None:
    a2.state["lldp"] = "fibre"
    assert verdict(a2, "lldp[0]")[0] == "warn"


def test_no_gateway_is_a_warning(a2: Host) -> None:
    a2.state["gateway"] = "none"
    assert verdict(a2, "gateway[0]") == ("warn", "none")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_error_counts_on_either_stream_and_with_any_status(a2: Host, stream: str) -> None:
    a2.state |= {"answer.link.0": "Command execute failed!", "stream.link": stream, "exit.link": "0"}
    assert verdict(a2, "link[0]") == ("FAIL", "Command execute failed!")


@pytest.mark.parametrize("colon", ["", " "])
def test_the_npu_address_with_and_without_a_blank(a2: Host, colon: str) -> None:
    a2.state["colon"] = colon
    assert verdict(a2, "npu-address[2]") == ("ok", "10.20.0.12")


def test_another_npu_address_than_planned(a2: Host) -> None:
    a2.state["ip.2"] = "10.20.0.99"
    result = a2.run("--json", "--only", "npu-address").checks["npu-address[2]"]
    assert (result["status"], result["seen"], result["expected"]) == ("FAIL", "10.20.0.99", "10.20.0.12")


def test_an_npu_without_address(a2: Host) -> None:
    a2.state["ip.2"] = "none"
    status, seen = verdict(a2, "npu-address[2]")
    assert (status, "no ip was preset" in seen) == ("FAIL", True)


def test_a3_vnic_that_is_down(a3: Host) -> None:
    a3.state["vnic_link.2"] = "DOWN"
    assert verdict(a3, "npu-address[2]")[0] == "FAIL"


@pytest.mark.parametrize(("before", "status"), [(2, "ok"), (99, "FAIL")])
def test_busy_is_tried_again_but_not_for_ever(a2: Host, before: int, status: str) -> None:
    a2.state["busy"] = str(before)
    assert verdict(a2, "link[0]")[0] == status
    assert len(a2.log.read_text().splitlines()) == min(before + 1, 6)


def test_a_tool_that_hangs_is_given_up(a2: Host) -> None:
    a2.script.write_text(a2.script.read_text().replace("CALL_SECONDS=20", "CALL_SECONDS=1"))
    a2.state["delay.0"] = "30"
    started = time.monotonic()
    assert verdict(a2, "link[0]") == ("FAIL", "no answer within 1 s")
    assert time.monotonic() - started < 10


def test_ctrl_c_ends_it_at_once(a2: Host) -> None:
    a2.state["delay"] = "30"
    a2.run("--list")
    running = subprocess.Popen(
        ["bash", a2.script, "--only", "link"],
        env=a2.variables,
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    with running:
        while not a2.log.exists():
            time.sleep(0.05)
        started = time.monotonic()
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: hccn_tool is in a group of its own
        assert running.wait(15) == -signal.SIGINT
    assert time.monotonic() - started < 10


# ---- hccn.conf ---------------------------------------------------------------------------------------


def conf_of(host: Host) -> list[str]:
    return (host.root / "etc/hccn.conf").read_text().splitlines()


def test_hccn_conf_in_any_order_and_with_unknown_keys(a2: Host) -> None:
    a2.conf("# a comment", "xsfp_reset_max_times_0=3", *reversed(conf_of(a2)), "arp_1=-i eth0 -s 10.20.0.1 x")
    assert set(statuses(a2, "--only", "hccn.conf").values()) == FINE


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("address_3 = 10.20.0.13", "blanks in"),
        ("address_3=10.20.0.99", "address_3=10.20.0.99"),
        ("address_33=10.20.0.13", "address_3=, not there"),
        ("address_3=10.20.0.13\naddress_3=10.20.0.13", "2 lines"),
    ],
)
def test_a_wrong_line_in_hccn_conf(a2: Host, line: str, says: str) -> None:
    lines = conf_of(a2)
    lines[3] = line
    a2.conf(*lines)
    checks = a2.run("--json", "--only", "hccn.conf").checks
    assert {name for name, check in checks.items() if check["status"] == "FAIL"} == {"hccn.conf[3]"}
    assert says in checks["hccn.conf[3]"]["seen"]


def test_hccn_conf_and_device_agree_on_another_address_than_planned(a2: Host) -> None:
    lines = conf_of(a2)
    lines[3] = "address_3=10.20.0.99"
    a2.conf(*lines)
    a2.state["ip.3"] = "10.20.0.99"
    checks = a2.run("--json", "--only", "hccn.conf").checks
    assert (checks["hccn.conf[3]"]["status"], checks["hccn.conf[3]"]["expected"]) == ("FAIL", "10.20.0.13")


def test_no_hccn_conf_is_one_failure(a2: Host) -> None:
    (a2.root / "etc/hccn.conf").unlink()
    outcome = a2.run("--json", "--only", "hccn.conf")
    assert outcome.ids("FAIL") == {"hccn.conf[file]"}
    assert len(outcome.ids("skip")) == 8


def test_hccn_conf_elsewhere(a2: Host, tmp_path: Path) -> None:
    (a2.root / "etc/hccn.conf").rename(tmp_path / "conf")
    a2.environment["HCCN_CONF"] = str(tmp_path / "conf")
    assert set(statuses(a2, "--only", "hccn.conf").values()) == FINE


def test_a3_keeps_roce_addresses_in_hccn_conf_that_the_plan_does_not_know(a3: Host) -> None:
    a3.conf(*(f"address_{npu}=172.16.0.{npu}" for npu in range(16)))
    a3.state |= {f"ip.{npu}": f"172.16.0.{npu}" for npu in range(16)}
    assert set(statuses(a3, "--only", "hccn.conf").values()) == FINE


# ---- TLS, super pod, ping ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["dev_id:", "device "])
def test_tls_of_both_spellings_is_reported(a2: Host, key: str) -> None:
    a2.state |= {"tls_key": key, "tls": "1"}
    checks = a2.run("--json", "--only", "tls").checks
    assert checks["tls[0]"]["seen"] == "switch 1 (enabled)"
    assert checks["tls[same]"]["status"] == "ok"


def test_tls_that_differs_fails_the_node_alone(a2: Host) -> None:
    a2.state["tls.5"] = "1"
    outcome = a2.run("--json", "--skip", "ping")
    assert outcome.ids("FAIL") == {"tls[same]"}
    seen = outcome.checks["tls[same]"]["seen"]
    assert seen == "0 on NPU 0 1 2 3 4 6 7; 1 on NPU 5"


def test_tls_without_certificates_is_a_warning(a2: Host) -> None:
    a2.state["tls"] = "none"
    found = statuses(a2, "--only", "tls")
    assert found.pop("tls[same]") == "skip"
    assert set(found.values()) == {"warn"}


@pytest.mark.parametrize(
    ("state", "check"),
    [
        ({"super_pod.15": "7"}, "super-pod[id]"),
        ({"server.4": "9"}, "super-pod[server]"),
        ({"sdid.4": "16777216"}, "super-pod[sdid]"),
    ],
)
def test_super_pod_facts_must_fit_each_other(a3: Host, state: dict[str, str], check: str) -> None:
    a3.state |= state
    assert a3.run("--json", "--only", "super-pod").ids("FAIL") == {check}


def test_super_pod_without_npu_smi(a3: Host) -> None:
    (a3.root / "usr/local/bin/npu-smi").unlink()
    assert verdict(a3, "super-pod[0]") == ("FAIL", "no npu-smi here")
    a3.environment["NPU_SMI"] = str(HERE / "emulator/npu-smi")
    assert verdict(a3, "super-pod[0]")[0] == "ok"


@pytest.mark.parametrize("lost", ["1", "3"])
def test_a_pair_that_loses_packets_is_named(a2: Host, lost: str) -> None:
    a2.state["loss.2.10.20.1.15"] = lost
    outcome = a2.run("--json", "--only", "ping")
    assert outcome.ids("FAIL") == {"ping[2>node-1:5]"}
    assert outcome.status == 1


def test_packets_lost_while_the_address_is_resolved_are_forgiven(a2: Host) -> None:
    a2.state["first_loss.2.10.20.1.15"] = "1"
    status, seen = verdict(a2, "ping[2>node-1:5]")
    assert (status, "33.33%" in seen) == ("ok", True)


def test_a3_ping_with_a_plane_fault(a3: Host) -> None:
    a3.state["plane.2"] = "0x10"
    assert verdict(a3, "ping[2>node-1:2]") == ("FAIL", "0.00% packet loss, plane check 0x10")


def test_a3_ping_that_is_refused(a3: Host) -> None:
    a3.state["answer.hccs_ping.2"] = "The ip address you configured is invalid!"
    assert verdict(a3, "ping[2>node-1:2]")[0] == "FAIL"


# ---- The host ----------------------------------------------------------------------------------------


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


def no_driver_version(host: Host) -> None:
    host.write("usr/local/Ascend/driver/version.info", "ascendhal_version=7.35.23\n")


def no_cache(host: Host) -> None:
    (host.root / CACHE[1:]).rmdir()


def cache_is_a_file(host: Host) -> None:
    no_cache(host)
    host.write(CACHE[1:], "")


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


def held_npu(host: Host) -> None:
    docker(host, "/training /dev/davinci3 /dev/davinci_manager ", "/web ")


def held_by_ourselves(host: Host) -> None:
    docker(host, "/qwen3 /dev/davinci3 ")
    taken_port(host)


def docker(host: Host, *containers: str) -> None:
    """Docker, with these running containers: name and devices, as the script's format prints them."""
    lines = "".join(f"{line}\\n" for line in containers)
    host.tool("docker", f"if [[ $1 == ps ]]; then echo id; else printf '{lines}'; fi")


HOST_CASES: list[tuple[Callable[[Host], None], str, str, str]] = [
    (no_interface, "interface", "FAIL", "eth0 does not exist"),
    (interface_down, "interface", "FAIL", "eth0 is down"),
    (address_on_another_interface, "address", "FAIL", "192.168.10.10 is on eth1"),
    (address_on_two_interfaces, "address", "FAIL", "192.168.10.10 is on eth0 eth1"),
    (other_route, "address", "FAIL", "192.168.10.10 is on bond0"),
    (second_address, "address", "warn", "eth0 has 192.168.10.10 and also 192.168.10.99"),
    (loopback_hostname, "hostname", "warn", "127.0.1.1"),
    (no_getent, "hostname", "skip", "no getent"),
    (little_memory, "memory", "warn", "8 GiB"),
    (no_driver_version, "driver", "FAIL", "no version in"),
    (cache_is_a_file, "cache", "FAIL", "Not a directory"),
    (no_mount, "mount[/usr/local/dcmi]", "FAIL", "No such file"),
    (no_device, "device[/dev/davinci3]", "FAIL", "no such device"),
    (taken_port, "port[8000]", "FAIL", "in use: 8000"),
    (taken_range, "port[60000-60015]", "FAIL", "in use: 60007"),
    (taken_worker_ports, "port[10002-19999]", "warn", "in use: 10250 10256"),
    (connection, "port[8000]", "ok", "free for vLLM API"),
    (held_by_ourselves, "port[8000]", "skip", "while this cluster's own container qwen3 runs"),
    (nothing_reserved, "reserved-ports", "warn", "nothing is reserved"),
    (partly_reserved, "reserved-ports", "warn", "80,60000-60007 is reserved"),
    (other_ephemeral_range, "reserved-ports", "ok", ""),
    (held_npu, "containers", "FAIL", "held: /dev/davinci3 by training"),
    (held_by_ourselves, "containers", "ok", "no other running container"),
]


@pytest.mark.parametrize(("change", "check", "status", "seen"), HOST_CASES)
def test_host(a2: Host, change: Callable[[Host], None], check: str, status: str, seen: str) -> None:
    change(a2)
    checks = a2.run("--json", "--skip", "ping,lldp,net_health,netdetect,gateway,tls,hccn.conf,npu-address").checks
    assert (checks[check]["status"], seen in checks[check]["seen"]) == (status, True), checks[check]
    others = {name for name, found in checks.items() if found["status"] in {"FAIL", "warn"} and name != check}
    assert others == set()


def test_a_missing_cache_fails_the_cache_and_its_mount(a2: Host) -> None:
    no_cache(a2)
    outcome = a2.run("--json", "--skip", "ping")
    assert outcome.ids("FAIL") == {"cache", f"mount[{CACHE}]"}


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


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root")
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


@pytest.mark.parametrize("form", [["-h"], ["--help"]])
def test_help(a2: Host, form: list[str]) -> None:
    outcome = a2.run(*form)
    assert outcome.status == 0
    assert outcome.out.startswith(b"Usage: verify.sh")


@pytest.mark.parametrize(
    "form",
    [["--nope"], ["extra"], ["--only"], ["--only", ""], ["--only", "links"], ["--skip", "link[99]"]],
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


def test_hostile_paths_stay_text(tmp_path: Path) -> None:
    path = "/mnt/a b/$(touch canary)`touch canary`/'\"\\ * \u7f51;&"
    plan = two_nodes(A2)
    shape = dataclasses.replace(plan.nodes[0].shape, mounts=(Mount(path, "/root/.cache", read_only=False),))
    node = dataclasses.replace(plan.nodes[0], shape=shape)
    host = Host(tmp_path, dataclasses.replace(plan, cache=path, nodes=(node,)))
    checks = host.run("--json", "--only", "cache,mount").checks
    assert checks[f"mount[{path}]"]["status"] == "ok"
    assert checks["cache"]["seen"].startswith(f"{path} is writable")
    assert not list(tmp_path.rglob("canary"))
    assert not Path("/canary").exists()


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
    alone = dataclasses.replace(plan.nodes[0], peers=())
    host = Host(tmp_path, dataclasses.replace(plan, nodes=(alone,)))
    assert host.run("--skip", "ping").status == 0
    assert b"ping[" not in host.run("--list").out
