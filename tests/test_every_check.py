"""Every check of verify.sh, by name: a fault with which it alone does not pass, in a run of all checks."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from plans import A2, A3, CACHE, two_nodes
from verify_host import Host, real

from compiler.checks import known_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLAPPING = "\\n".join(
    (
        "[devid 3]current time        : Wed Aug  2 03:09:26 2022",
        "[devid 3]link up count       : 4",
        "[devid 3]link down count     : 3",
        "[devid 3]link change records :",
        *(
            f"[devid 3]    Tue Aug  1 14:4{minute}:40 2022    LINK {way}"
            for minute in (3, 2, 1)
            for way in ("UP", "DOWN")
        ),
    )
)
LISTENER = "   0: 00000000:{port:04X} 00000000:0000 0A\n"


def state(**values: str) -> Callable[[Host], None]:
    """A fault of the emulated tools; `__` in a key is a dot."""

    def change(host: Host) -> None:
        host.state |= {key.replace("__", "."): value for key, value in values.items()}

    return change


def written(path: str, text: str) -> Callable[[Host], None]:
    return lambda host: host.write(path, text)


def gone(path: str) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        place = host.root / path
        place.unlink() if not place.is_dir() or place.is_symlink() else shutil.rmtree(place)

    return change


def docker(**answers: str) -> Callable[[Host], None]:
    return lambda host: host.docker.update(answers)


def cache_of_yesterday(host: Host) -> None:
    """The storage stamps files with its own time."""
    host.tool("mktemp", f'file=$({real("mktemp")} "$@") && {real("touch")} -d "1 hour ago" "$file" && echo "$file"')


def read_only_cache(host: Host) -> None:
    """Nothing can be made there, so the clock cannot be seen either: that is told as skipped."""
    host.tool("mktemp", "echo 'mktemp: failed to create file: Permission denied' >&2; exit 1")


def unreachable(host: Host) -> None:
    """An address that no route leads to: the kernel says so at once, and nothing leaves this machine."""
    text = host.script.read_text()
    assert text.count("  node-1 127.0.10.11\n") == 1
    host.script.write_text(text.replace("  node-1 127.0.10.11\n", "  node-1 255.255.255.255\n"))


def too_many_files(host: Host) -> None:
    text = host.script.read_text()
    assert "readonly LIMITS=(\n" in text
    host.script.write_text(text.replace("readonly LIMITS=(\n", "readonly LIMITS=(\n  nofile 2000000 2000000\n"))


FAULTS: dict[str, Callable[[Host], None]] = {
    "interface": written("sys/class/net/eth0/operstate", "down\n"),
    "address": lambda host: host.tool("ip", "echo '2: eth1    inet 192.168.10.10/24 scope global eth1'"),
    "hostname": lambda host: host.tool("getent", 'echo "127.0.1.1 STREAM $2"'),
    "reach": unreachable,
    "port": written("proc/net/tcp", "sl\n" + LISTENER.format(port=8000)),
    "reserved-ports": written("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    "memory": written("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 8388608 kB\n"),
    "ulimits": too_many_files,
    "disk": lambda host: setattr(host, "file_system", "4096 26214400 200000 nfs"),
    "clock": cache_of_yesterday,
    "cache": read_only_cache,
    "mount": gone("usr/local/dcmi"),
    "device": gone("dev/davinci3"),
    "model": gone(f"{CACHE[1:]}/huggingface"),
    "docker": docker(version="echo 'Cannot connect to the Docker daemon'; exit 1"),
    "image": docker(image="echo 'Error: No such image'; exit 1"),
    "containers": lambda host: host.containers.append('/training true "" "" /dev/davinci3 '),
    "driver": written("usr/local/Ascend/driver/version.info", "ascendhal_version=7.35.23\n"),
    "firmware": state(firmware__3="7.0.0"),
    "processes": state(processes__3="4711 python3"),
    "health": state(npu_health__3="Alarm"),
    "hbm": state(hbm__3="60000"),
    "lldp": state(lldp__3="silent"),
    "link": state(link__3="DOWN"),
    "flaps": state(answer__link_stat__3=FLAPPING),
    "optical": state(los__3="0x0 0xff"),
    "net_health": state(health__3="Socket fail"),
    "netdetect": state(netdetect__3="0.0.0.0"),  # noqa: S104 - how hccn_tool says that there is none
    "gateway": state(gateway__3="none"),
    "hccn.conf": lambda host: host.write(
        "etc/hccn.conf", (host.root / "etc/hccn.conf").read_text().replace("address_3=", "address_33=")
    ),
    "npu-address": state(vnic__3="192.0.2.9"),
    "tls": state(tls__3="broken"),
    "mtu": state(mtu__3="1500"),
    "speed": state(speed__3="100000"),
    "fec": state(fec__3="no"),
    "vnic": state(vnic_link__3="DOWN"),
    "hccs": state(hccs__3="NOK"),
    "super-pod": state(super_pod__3="7"),
    "ping": state(**{"loss.3.10.20.1.13": "3"}),
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    plan = two_nodes(A3, every_pair=False)
    return Host(tmp_path, plan)


def names(host: Host, *statuses: str) -> set[str]:
    return {check.partition("[")[0] for check in host.run("--json").ids(*statuses)}


def test_there_is_a_fault_for_each() -> None:
    assert set(FAULTS) == set(known_names())


def test_with_none_of_them_all_pass(host: Host) -> None:
    assert names(host, "warn", "FAIL", "skip") <= {"optical"}  # A3 does not say
    assert names(host, "ok") >= set(known_names()) - {"optical"}


# On A2 alone: the tool of A3 does not know it.
OF_A2 = {"optical"}


@pytest.mark.parametrize("name", FAULTS)
def test_it_alone_does_not_pass(name: str, host: Host, tmp_path: Path) -> None:
    if name in OF_A2:
        (tmp_path / "a2").mkdir()
        host = Host(tmp_path / "a2", two_nodes(A2, every_pair=False))
    FAULTS[name](host)
    assert names(host, "warn", "FAIL") == {name}
