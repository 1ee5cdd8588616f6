"""verify.sh and the NPUs: their cards, their network, what they must share, on a host whose NPUs are emulated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plans import A2, two_nodes
from verify_host import HERE, TEMPLATES, Host, statuses, verdict

from schema.accelerator import Hbm

FINE = {"ok"}
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - how hccn_tool says that there is none
CARDS = "firmware,processes,health,hbm"
NETWORK = "lldp,link,flaps,optical,net_health,netdetect,gateway,hccn.conf,npu-address,tls,mtu,speed,fec"
NPUS = f"{CARDS},{NETWORK},vnic,hccs,super-pod"
BROKEN = "Command execute failed!"
NOT_HERE = "The command is not supported on this product."


def opens(host: Host, pid: int, file: str, *, name: str = "") -> None:
    """Lets a process of the host have a file open."""
    if name:
        host.write(f"proc/{pid}/comm", f"{name}\n")
    folder = host.root / f"proc/{pid}/fd"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(len(list(folder.iterdir())))).symlink_to(file)


# ---- What is alike for all checks --------------------------------------------------------------------


def test_a_healthy_a2(a2: Host) -> None:
    outcome = a2.run("--json", "--only", NPUS)
    assert (outcome.status, outcome.ids("warn", "FAIL", "skip")) == (0, set())
    assert {check["seen"] for name, check in outcome.checks.items() if name.startswith(("mtu[", "fec["))} == {
        "4200",
        "4200 on NPU 0 1 2 3 4 5 6 7",
        "rs FEC mode",
        "rs FEC mode on NPU 0 1 2 3 4 5 6 7",
    }


def test_a_healthy_a3(a3: Host) -> None:
    outcome = a3.run("--json", "--only", NPUS)
    assert (outcome.status, outcome.ids("warn", "FAIL")) == (0, set())
    assert outcome.ids("skip") == {f"optical[{npu}]" for npu in range(16)}
    assert outcome.checks["super-pod[3]"]["seen"] == "super pod 0, server 4, SDID 16777219"
    assert outcome.checks["hccs[3]"]["seen"] == "OK"


# What makes one check fail, and no other.
FAULTS_OF_A2 = {
    "firmware": {"firmware.5": "7.1.0.7.220"},
    "processes": {"processes.3": "4242 python3"},
    "health[3]": {"npu_health.3": "Critical"},
    "hbm[3]": {"hbm.3": "22283"},
    "lldp[3]": {"lldp.3": "silent"},
    "link[3]": {"link.3": "DOWN"},
    "flaps[3]": {"changes.3": ";".join(f"DOWN Wed Aug  2 1{hour}:00:00 2022" for hour in range(3))},
    "optical[3]": {"los.3": "0x0 0x1"},
    "net_health[3]": {"health.3": "Socket fail"},
    "netdetect[3]": {"answer.netdetect.3": BROKEN, "exit.netdetect.3": "1"},
    "gateway[3]": {"answer.gateway.3": BROKEN, "stream.gateway.3": "stderr"},
    "tls[3]": {"tls.3": "broken"},
    "tls[same]": {"tls.5": "1"},
    "mtu[3]": {"answer.mtu.3": BROKEN},
    "mtu[same]": {"mtu.5": "1500"},
    "speed[3]": {"answer.speed.3": BROKEN},
    "speed[same]": {"speed.5": "100000"},
    "fec[3]": {"answer.fec.3": BROKEN},
    "fec[same]": {"fec.5": "no"},
}
FAULTS_OF_A3 = {
    "firmware": {"firmware.5": "7.1.0.7.220"},
    "processes": {"processes.13": "4242 python3"},
    "health[13]": {"npu_health.13": "Alarm"},
    "hbm[13]": {"hbm.13": "22283"},
    "npu-address[3]": {"vnic.3": "192.0.2.9"},
    "hccn.conf[3]": {"ip.3": "192.0.2.9"},
    "vnic[3]": {"vnic_link.3": "DOWN"},
    "hccs[3]": {"hccs.3": "OK NOK OK"},
    "super-pod[3]": {"super_pods.3": "no"},
    "super-pod[id]": {"super_pod.15": "7"},
    "super-pod[server]": {"server.4": "9"},
    "super-pod[sdid]": {"sdid.4": "16777216"},
}


@pytest.mark.parametrize("check", FAULTS_OF_A2)
def test_a_fault_of_a2_fails_its_check_alone(a2: Host, check: str) -> None:
    a2.state |= FAULTS_OF_A2[check]
    outcome = a2.run("--json", "--only", NPUS)
    assert (outcome.status, outcome.ids("warn", "FAIL", "skip")) == (1, {check})


@pytest.mark.parametrize("check", FAULTS_OF_A3)
def test_a_fault_of_a3_fails_its_check_alone(a3: Host, check: str) -> None:
    a3.state |= FAULTS_OF_A3[check]
    outcome = a3.run("--json", "--only", NPUS, "--skip", "optical")
    assert (outcome.status, outcome.ids("warn", "FAIL", "skip")) == (1, {check})


@pytest.mark.parametrize("npu_smi", ["there", "missing"])
def test_every_check_says_why_and_how_to_see_it_by_hand(a3: Host, npu_smi: str) -> None:
    if npu_smi == "missing":
        (a3.root / "usr/local/bin/npu-smi").unlink()
    a3.state |= {"link": "DOWN", "optical": "absent", "npu_health": "Warning"}
    checks = a3.run("--json", "--only", f"{NPUS},ping").checks
    assert [name for name, check in checks.items() if not check["source"].startswith("https://")] == []
    assert [name for name, check in checks.items() if not check["by_hand"]] == []
    assert checks["optical[3]"]["by_hand"].endswith("hccn_tool -i 3 -optical -g")
    assert checks["mtu[same]"]["by_hand"].endswith("hccn_tool -i $i -mtu -g; done")
    assert "-i $((i / 2)) -c $((i % 2))" in checks["super-pod[id]"]["by_hand"]


def test_one_answer_serves_several_checks(a2: Host) -> None:
    assert a2.run("--only", NPUS).status == 0
    calls = a2.log.read_text().splitlines()
    assert len(calls) == len(set(calls))
    asked = a2.state_file.with_name("state.smi").read_text().splitlines()
    assert asked == [*(f"info -t board -i {card}" for card in range(8)), "info"]


def test_a_cluster_whose_spec_has_no_npu_addresses(tmp_path: Path) -> None:
    plan = two_nodes(A2)
    node = plan.nodes[0]._replace(npu_addresses=(), peers=())
    host = Host(tmp_path, plan._replace(nodes=(node,)))
    host.state["ip.3"] = "none"
    host.conf(*(line for line in conf_of(host) if not line.startswith("address_3=")))
    outcome = host.run("--json", "--only", "npu-address,hccn.conf")
    assert outcome.ids("FAIL") == {"npu-address[3]"}
    assert outcome.ids("warn") == {f"npu-address[{npu}]" for npu in range(8) if npu != 3}
    warned = outcome.checks["npu-address[2]"]
    assert (warned["seen"], warned["next"]) == ("10.20.0.12", "write it into the spec: compiler discover")


# ---- The cards ---------------------------------------------------------------------------------------


def test_firmware_that_differs_names_the_cards(a3: Host) -> None:
    a3.state["firmware.5"] = "7.1.0"
    assert verdict(a3, "firmware") == ("FAIL", "7.5.0.3.220 on card 0 1 2 3 4 6 7; 7.1.0 on card 5")


def test_firmware_that_cannot_be_read_is_a_warning(a2: Host) -> None:
    a2.state["firmware.5"] = "none"
    assert verdict(a2, "firmware") == ("warn", "7.5.0.3.220 on card 0 1 2 3 4 6 7; not readable on card 5")
    a2.state["firmware"] = "none"
    assert verdict(a2, "firmware") == ("warn", "not readable on card 0 1 2 3 4 5 6 7")


def test_without_npu_smi_the_cards_are_skipped(a2: Host) -> None:
    (a2.root / "usr/local/bin/npu-smi").unlink()
    found = statuses(a2, "--only", CARDS)
    assert found.pop("processes") == "ok"  # /proc can still be looked at
    assert set(found.values()) == {"skip"}


@pytest.mark.parametrize(
    ("health", "status", "seen"),
    [
        ("OK", "ok", "OK"),
        ("Warning", "warn", "Warning"),
        ("Alarm", "FAIL", "Alarm"),
        ("Critical", "FAIL", "Critical"),
        ("UNKNOWN", "FAIL", "UNKNOWN"),
        ("lost", "FAIL", "npu-smi does not show NPU 6"),
    ],
)
@pytest.mark.parametrize("accelerator", ["a2", "a3"])
def test_health(request: pytest.FixtureRequest, accelerator: str, health: str, status: str, seen: str) -> None:
    host: Host = request.getfixturevalue(accelerator)
    host.state["npu_health.6"] = health
    checks = host.run("--json", "--only", "health").checks
    assert (checks["health[6]"]["status"], checks["health[6]"]["seen"]) == (status, seen)
    assert {check["status"] for name, check in checks.items() if name != "health[6]"} == FINE


def test_a_driver_that_does_not_answer_npu_smi(a2: Host) -> None:
    a2.state["smi.info"] = "dcmi module initialize failed. ret is -8005"
    checks = a2.run("--json", "--only", "health,hbm").checks
    assert checks["health[6]"]["seen"] == "dcmi module initialize failed. ret is -8005"
    assert {checks[f"health[{npu}]"]["status"] for npu in range(8)} == {"FAIL"}
    assert {checks[f"hbm[{npu}]"]["status"] for npu in range(8)} == {"skip"}


def test_an_npu_smi_that_hangs_is_given_up_once(a2: Host) -> None:
    a2.script.write_text(a2.script.read_text().replace("CALL_SECONDS=20", "CALL_SECONDS=1"))
    a2.tool("slow", "sleep 30")
    a2.environment["NPU_SMI"] = str(a2.tools / "slow")
    started = time.monotonic()
    assert set(statuses(a2, "--only", "health,hbm").values()) == {"FAIL", "skip"}
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("used", "total", "percent", "status"),
    [
        ("3402", "65536", 90, "ok"),
        ("5120", "65536", 90, "ok"),
        ("5121", "65536", 90, "warn"),
        ("9319", "65536", 90, "warn"),
        ("9320", "65536", 90, "FAIL"),
        ("3402", "65536", 97, "ok"),  # an idle NPU is never too full, however much vLLM wants
        ("22283", "65536", 50, "warn"),
        ("2900", "32768", 90, "ok"),
        ("22283", "32768", 90, "FAIL"),
    ],
)
def test_hbm(tmp_path: Path, used: str, total: str, percent: int, status: str) -> None:
    plan, hbm = two_nodes(A2), Hbm(int(total), 0)
    serve = plan.serve._replace(memory_percent=percent)
    host = Host(tmp_path, plan._replace(serve=serve, hbm=hbm))
    host.state |= {"hbm.3": used, "hbm_total": total}
    found, seen = verdict(host, "hbm[3]")
    assert found == status
    assert seen.startswith(f"{used} of {total} MB used")
    host.state["hbm_blank"] = ""
    assert verdict(host, "hbm[3]") == (found, seen)


def test_an_npu_with_less_memory_than_planned_fails(a2: Host) -> None:
    a2.state |= {"hbm.3": "2900", "hbm_total": "32768"}
    check = a2.run("--json", "--only", "hbm").checks["hbm[3]"]
    assert (check["status"], check["seen"]) == ("FAIL", "an NPU of 32768 MB")
    assert "hbm_size: 32g" in check["next"]
    a2.state["hbm_total"] = "62432"  # some versions show what is usable
    assert verdict(a2, "hbm[3]")[0] == "ok"


def test_while_the_own_container_runs_its_use_is_no_fault(a2: Host) -> None:
    a2.script.write_text(a2.script.read_text().replace("OURS_RUNS=no", "OURS_RUNS=yes"))  # as docker would tell
    a2.state |= {"hbm": "60000", "processes": "4242 python3"}
    found = statuses(a2, "--only", CARDS)
    assert {name for name, status in found.items() if status == "skip"} == {
        "processes",
        *(f"hbm[{npu}]" for npu in range(8)),
    }
    assert set(found.values()) == {"ok", "skip"}


@pytest.mark.parametrize(("accelerator", "npu"), [("a2", 3), ("a3", 13)])
def test_processes_in_the_table_of_npu_smi(request: pytest.FixtureRequest, accelerator: str, npu: int) -> None:
    host: Host = request.getfixturevalue(accelerator)
    host.write("proc/77/comm", "VLLM::Worker\n")
    host.state[f"processes.{npu}"] = "4242 python3 -c;77 ;99 "
    assert verdict(host, "processes") == (
        "FAIL",
        f"NPU {npu}: process 4242 (python3 -c); NPU {npu}: process 77 (VLLM::Worker); NPU {npu}: process 99 (no name)",
    )


def test_processes_that_have_a_device_open(a2: Host) -> None:
    opens(a2, 77, "/var/log/messages", name="logger")
    opens(a2, 4242, "/dev/davinci_manager", name="python3")
    opens(a2, 55, "/dev/davinci33", name="other")
    assert verdict(a2, "processes") == ("ok", "no process uses the NPUs of this node")
    opens(a2, 4242, "/dev/davinci3")
    opens(a2, 4242, "/dev/davinci3")
    a2.state["processes.3"] = "4242 python3"
    assert verdict(a2, "processes") == ("FAIL", "NPU 3: process 4242 (python3)")
    (a2.root / "usr/local/bin/npu-smi").unlink()
    assert verdict(a2, "processes") == ("FAIL", "NPU 3: process 4242 (python3)")


def test_processes_on_other_npus_than_this_nodes(tmp_path: Path) -> None:
    plan = two_nodes(A2)
    first = plan.nodes[0]
    shape = first.shape._replace(npus=(4, 5), npu_devices=("/dev/davinci4", "/dev/davinci5"))
    node = first._replace(shape=shape, npu_addresses=first.npu_addresses[4:6], peers=())
    host = Host(tmp_path, plan._replace(nodes=(node,)))
    host.state["processes.3"] = "4242 python3"
    opens(host, 4242, "/dev/davinci3")
    assert verdict(host, "processes")[0] == "ok"
    opens(host, 4242, "/dev/davinci5")
    assert verdict(host, "processes") == ("FAIL", "NPU 5: process 4242 (no name)")


def test_processes_that_nobody_can_tell_of(a2: Host) -> None:
    shutil.rmtree(a2.root / "proc/1")
    opens(a2, 4242, "/dev/null")  # one's own processes alone, as without root
    assert verdict(a2, "processes")[0] == "ok"
    (a2.root / "usr/local/bin/npu-smi").unlink()
    assert verdict(a2, "processes")[0] == "skip"


def test_processes_of_a_real_kernel_that_come_and_go(a2: Host, tmp_path: Path) -> None:
    device = tmp_path / "device"
    a2.script.write_text(a2.script.read_text().replace("/dev/davinci3", str(device)))
    shutil.rmtree(a2.root / "proc")
    (a2.root / "proc").symlink_to("/proc")
    a2.tool("ip", "echo '2: eth0    inet 192.168.10.10/24 scope global eth0'")
    name = Path("/proc/self/comm").read_text().strip()
    with subprocess.Popen(["bash", "-c", "while :; do (exec true); done"]) as others:
        try:
            for _ in range(3):
                with device.open("w"):
                    outcome = a2.run("--json", "--only", "processes")
                assert outcome.checks["processes"]["seen"] == f"NPU 3: process {os.getpid()} ({name})"
                assert "No such" not in outcome.err
        finally:
            others.kill()


# ---- Cable and optical module ------------------------------------------------------------------------

NOW = datetime(2022, 8, 2, 15, 9, 26, tzinfo=UTC)


def changes(*ago: timedelta) -> str:
    """A link that went down so long ago, and came back ten seconds later; newest first."""
    records = [
        f"{state} {when:%a %b} {when.day:2d} {when:%H:%M:%S %Y}"
        for down in sorted(NOW - each for each in ago)[::-1]
        for state, when in (("UP", down + timedelta(seconds=10)), ("DOWN", down))
    ]
    return ";".join(records)


@pytest.mark.parametrize("key", ["devid", "device"])
@pytest.mark.parametrize(
    ("ago", "status", "downs"),
    [
        ([], "ok", ""),
        ([timedelta(hours=25), timedelta(days=2), timedelta(days=3)], "ok", ""),
        ([timedelta(hours=24, seconds=1)], "ok", ""),
        ([timedelta(hours=24)], "warn", "1 down in the last 24 hours; "),
        ([timedelta(minutes=1), timedelta(hours=23)], "warn", "2 down in the last 24 hours; "),
        ([timedelta(minutes=1), timedelta(hours=23), timedelta(days=9)], "warn", "2 down in the last 24 hours; "),
        ([timedelta(minutes=minutes) for minutes in (1, 2, 3)], "FAIL", "3 down in the last 24 hours; "),
        ([timedelta(days=-1)], "ok", ""),  # its clock was set back
    ],
)
def test_flaps(a2: Host, key: str, ago: list[timedelta], status: str, downs: str) -> None:
    a2.state |= {"changes.3": changes(*ago), "stat_key": key, "ups": "12", "downs": "11"}
    newest = f", last change {changes(*ago).split(';')[0][3:]}" if ago else ""
    assert verdict(a2, "flaps[3]") == (status, f"{downs}12 up, 11 down{newest}")


def test_the_link_that_never_changed(a2: Host) -> None:
    assert verdict(a2, "flaps[3]") == ("ok", "2 up, 1 down, last change Tue Aug  1 14:43:40 2022")
    a2.state["changes"] = ""
    assert verdict(a2, "flaps[3]") == ("ok", "2 up, 1 down")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (NOT_HERE, "skip"),
        ("Get invalid major cmd.", "skip"),
        (BROKEN, "warn"),
        ("[devid 3]current time        : Mit Aug  2 03:09:26 2022 CEST", "warn"),
        ("[devid 3]current time        : Wed Agu  2 03:09:26 2022", "warn"),
    ],
)
def test_flaps_that_cannot_be_read(a2: Host, answer: str, status: str) -> None:
    a2.state["answer.link_stat.3"] = answer
    assert verdict(a2, "flaps[3]") == (status, answer)


def test_times_are_counted_as_the_calendar_does() -> None:
    days = [
        datetime(year, month, day, tzinfo=UTC)
        for year in (1999, 2000, 2023, 2024, 2100)
        for month in range(1, 13)
        for day in (1, 28)
    ]
    times = sorted([*days, datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), datetime(2024, 8, 9, 8, 9, 8, tzinfo=UTC)])
    script = (
        'declare -A SOURCE BY_HAND; source "$0"; while IFS= read -r line; do seconds_of "$line"; echo "$VALUE"; done'
    )
    done = subprocess.run(
        ["bash", "-c", script, TEMPLATES / "verify/fibre.sh"],
        input="".join(f"{time:%a %b} {time.day:2d} {time:%H:%M:%S %Y}\n" for time in times),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = [int(line) for line in done.stdout.split()]
    assert [each - seconds[0] for each in seconds] == [(time - times[0]).total_seconds() for time in times]


@pytest.mark.parametrize(
    ("state", "status", "seen"),
    [
        ({}, "ok", "present, 47 C, Rx 0.8934 mW at least"),
        ({"power": "1.0010 0.0980 0.1200 NA"}, "ok", "present, 47 C, Rx 0.0980 mW at least"),
        ({"los": "0x1 0x0"}, "FAIL", "Tx Los Flag 0x1"),
        ({"los": "0x0 0xff"}, "FAIL", "Rx Los Flag 0xff"),
        ({"los": "0xf 0x10"}, "FAIL", "Tx Los Flag 0xf, Rx Los Flag 0x10"),
        ({"optical": "copper"}, "ok", "present, not supported"),
        ({"optical": "absent"}, "warn", "Optical module is not present, but the link is UP"),
        ({"optical": "not"}, "warn", "module not present, but the link is UP"),
        ({"optical": "absent", "link": "DOWN"}, "FAIL", "Optical module is not present"),
        ({"optical": "not", "link": "DOWN"}, "FAIL", "module not present"),
        ({"answer.optical": "Control link unreachable.", "link": "DOWN"}, "FAIL", "Control link unreachable"),
        ({"optical": "unsupported"}, "skip", NOT_HERE),
    ],
)
def test_optical(a2: Host, state: dict[str, str], status: str, seen: str) -> None:
    a2.state |= state
    assert verdict(a2, "optical[3]") == (status, seen)


# ---- What the NPUs must share ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "state", "status", "seen"),
    [
        ("mtu", {"mtu": "1500"}, "ok", "1500"),
        ("mtu", {"answer.mtu": "mtu: 9000"}, "ok", "9000"),
        ("mtu", {"answer.mtu": NOT_HERE}, "skip", NOT_HERE),
        ("mtu", {"answer.mtu": BROKEN}, "FAIL", BROKEN),
        ("speed", {"speed": "100000"}, "ok", "100000 Mb/s"),
        ("speed", {"speed": "Unknown"}, "warn", "Speed: Unknown!"),
        ("speed", {"answer.speed": NOT_HERE}, "skip", NOT_HERE),
        ("speed", {"answer.speed": BROKEN}, "FAIL", BROKEN),
        ("fec", {"fec": "no"}, "ok", "no FEC mode"),
        ("fec", {"fec": "auto"}, "ok", "auto FEC mode"),
        ("fec", {"fec": "none"}, "skip", "This device does not support switching fec mode."),
        ("fec", {"answer.fec": BROKEN}, "FAIL", BROKEN),
    ],
)
def test_settings_of_a_port(a2: Host, check: str, state: dict[str, str], status: str, seen: str) -> None:
    a2.state |= state
    checks = a2.run("--json", "--only", check).checks
    assert (checks[f"{check}[3]"]["status"], checks[f"{check}[3]"]["seen"]) == (status, seen)
    assert checks[f"{check}[same]"]["status"] == ("ok" if status == "ok" else "skip")


@pytest.mark.parametrize(
    ("check", "state", "seen"),
    [
        ("tls", {"tls.5": "1"}, "0 on NPU 0 1 2 3 4 6 7; 1 on NPU 5"),
        ("mtu", {"mtu.5": "1500"}, "4200 on NPU 0 1 2 3 4 6 7; 1500 on NPU 5"),
        ("speed", {"speed.5": "1", "speed.4": "Unknown"}, "200000 Mb/s on NPU 0 1 2 3 6 7; 1 Mb/s on NPU 5"),
        (
            "fec",
            {"fec.5": "no", "fec.6": "auto"},
            "rs FEC mode on NPU 0 1 2 3 4 7; no FEC mode on NPU 5; auto FEC mode on NPU 6",
        ),
    ],
)
def test_settings_that_differ_when_asked_for_alone(a2: Host, check: str, state: dict[str, str], seen: str) -> None:
    assert verdict(a2, f"{check}[same]")[0] == "ok"
    a2.state |= state
    assert verdict(a2, f"{check}[same]") == ("FAIL", seen)


# ---- HCCS --------------------------------------------------------------------------------------------


def test_vnic_says_what_its_address_does_not(a3: Host) -> None:
    a3.state["vnic_link.2"] = "DOWN"
    assert verdict(a3, "vnic[2]") == ("FAIL", "DOWN")
    assert verdict(a3, "npu-address[2]") == ("ok", "10.20.0.12")
    a3.state["answer.vnic.2"] = BROKEN
    assert verdict(a3, "vnic[2]") == ("FAIL", BROKEN)


@pytest.mark.parametrize(
    ("health", "status", "seen"),
    [
        ("OK", "ok", "OK"),
        ("OK OK OK", "ok", "OK"),
        ("NOK", "FAIL", "1 of 1 NOK"),
        ("NOK OK NOK", "FAIL", "2 of 3 NOK"),
        ("none", "skip", "This device does not support querying hccs."),
    ],
)
def test_hccs(a3: Host, health: str, status: str, seen: str) -> None:
    a3.state["hccs.7"] = health
    checks = a3.run("--json", "--only", "hccs").checks
    assert (checks["hccs[7]"]["status"], checks["hccs[7]"]["seen"]) == (status, seen)
    assert checks["hccs[6]"]["status"] == "ok"


def test_hccs_without_npu_smi(a3: Host) -> None:
    (a3.root / "usr/local/bin/npu-smi").unlink()
    assert verdict(a3, "hccs[7]") == ("skip", "no npu-smi here")


# ---- The NPUs' own network ---------------------------------------------------------------------------


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


def test_tls_without_certificates_is_a_warning(a2: Host) -> None:
    a2.state["tls"] = "none"
    found = statuses(a2, "--only", "tls")
    assert found.pop("tls[same]") == "skip"
    assert set(found.values()) == {"warn"}


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


def test_a_node_that_answers_no_ping_is_given_up_soon(a2: Host) -> None:
    a2.state |= {f"loss.{npu}.10.20.1.{10 + peer}": "3" for npu in range(8) for peer in range(8)}
    outcome = a2.run("--json", "--only", "ping")
    assert (len(outcome.ids("FAIL")), len(outcome.ids("skip"))) == (8, 56)
    assert outcome.checks["ping[7>node-1:7]"]["seen"] == "not tried: node-1 answered none of 8 pings before"
    assert len(a2.log.read_text().splitlines()) == 16


def test_one_npu_that_reaches_nobody_is_no_reason_to_give_up(a2: Host) -> None:
    a2.state |= {f"loss.0.10.20.1.{10 + peer}": "3" for peer in range(7)}
    outcome = a2.run("--json", "--only", "ping")
    assert (len(outcome.ids("FAIL")), outcome.ids("skip")) == (7, set())


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
