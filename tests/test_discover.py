"""`compiler discover` against emulated engines: what is written into the spec, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters import IMAGE, Node, cluster

from compiler import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
HEAD = f"""\
version: 1
name: emulated
accelerator: atlas-a2
image: {IMAGE}
cache: /mnt/shared/cache   # NFS
serve: {{model: Qwen/Qwen3-235B-A22B, parallelism: pipeline}}
"""


class Spec:
    """A spec in a file, its nodes emulated."""

    def __init__(self, nodes: list[Node], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.nodes = nodes
        self.file = file
        self.capsys = capsys

    def write(self, text: str) -> str:
        """Writes the spec; NODE-0 and so on stand for how a node's engine is reached."""
        for index, node in enumerate(self.nodes):
            text = text.replace(f"ENGINE-{index}", node.engine.url)
        self.file.write_text(text)
        return text

    def discover(self, *options: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = cli.main(["discover", str(self.file), "-q", *options])
        told = self.capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Spec]:
    with cluster(3) as (nodes, _):
        yield Spec(nodes, tmp_path / "cluster.yaml", capsys)


BARE = f"""{HEAD}
nodes:
  - name: node-0     # the head
    address: 192.168.0.1
    docker: "ENGINE-0"

  - {{name: node-1, address: 192.168.0.2, docker: "ENGINE-1"}}   # the other
"""


def test_a_spec_without_addresses_gets_them_and_keeps_every_other_byte(spec: Spec) -> None:
    before = spec.write(BARE)
    code, _, err = spec.discover()
    assert (code, err) == (0, "")
    after = spec.file.read_text()
    facts = "interface: eth0", "npu_addresses: {first: 10.0.0.1}"
    assert after == before.replace(
        "    address: 192.168.0.1\n", f"    address: 192.168.0.1\n    {facts[0]}\n    {facts[1]}\n"
    ).replace(
        f'address: 192.168.0.2, docker: "{spec.nodes[1].engine.url}"',
        f'address: 192.168.0.2, {facts[0]}, docker: "{spec.nodes[1].engine.url}", '
        + facts[1].replace("10.0.0.1", "10.0.1.1"),
    )
    assert cli.main(["check", "--strict", str(spec.file)]) == 0
    spec.capsys.readouterr()
    assert spec.discover("--diff") == (0, "", "")


def test_diff_shows_it_and_writes_nothing(spec: Spec) -> None:
    before = spec.write(BARE)
    code, out, _ = spec.discover("--diff")
    assert code == 1
    assert "+    npu_addresses: {first: 10.0.0.1}\n" in out
    assert out.startswith(f"--- {spec.file}\n+++ {spec.file}\n")
    assert spec.file.read_text() == before


def test_wrong_addresses_are_put_right(spec: Spec) -> None:
    spec.write(BARE.replace('docker: "ENGINE-0"', 'docker: "ENGINE-0"\n    npu_addresses: [10.0.9.1, 10.0.9.1] # old'))
    assert spec.discover()[0] == 0
    assert "    npu_addresses: {first: 10.0.0.1} # old\n" in spec.file.read_text()


def test_an_interface_that_the_spec_has_is_left_alone(spec: Spec) -> None:
    spec.write(BARE.replace("nodes:\n", "defaults: {interface: bond0}\nnodes:\n"))
    assert spec.discover()[0] == 0
    assert "eth0" not in spec.file.read_text()


def test_a_node_that_is_not_there_is_told_and_the_others_are_written(spec: Spec) -> None:
    spec.write(BARE)
    spec.nodes[1].engine.__exit__()
    code, _, err = spec.discover()
    assert code == 1
    assert "node-1: connect: Connection refused" in err
    assert "  = hint: no engine listens" in err
    assert spec.file.read_text().count("npu_addresses") == 1


def test_an_npu_without_an_address_is_told(spec: Spec) -> None:
    spec.write(BARE)
    spec.nodes[1].said["npu-address[3]"] = {"seen": ""}
    code, _, err = spec.discover()
    assert code == 1
    assert "node-1: NPU 3 has no address" in err
    assert "hccn_tool -i 3 -ip -g" in err


def test_a_range_that_the_nodes_fit_is_written_as_one(spec: Spec) -> None:
    folder = spec.nodes[0].engine.url.removesuffix("/0")
    entry = f'  - {{name: "node-[0:2]", address: "192.168.0.[1:3]", interface: eth0, docker: "{folder}/[0:2]"}}\n'
    spec.write(f"{HEAD}nodes:\n{entry}")
    assert spec.discover()[0] == 0, spec.capsys.readouterr()
    assert 'npu_addresses: {first: "10.0.[0:2].1"}' in spec.file.read_text()


def test_a_range_that_the_nodes_do_not_fit_is_refused_at_its_place(spec: Spec) -> None:
    folder = spec.nodes[0].engine.url.removesuffix("/0")
    entry = f'  - {{name: "node-[0:2]", address: "192.168.0.[1:3]", interface: eth0, docker: "{folder}/[0:2]"}}\n'
    before = spec.write(f"{HEAD}nodes:\n{entry}")
    for npu in range(8):
        spec.nodes[1].said[f"npu-address[{npu}]"] = {"seen": f"10.7.7.{npu + 1}"}
    code, _, err = spec.discover()
    assert code == 1
    assert f"{spec.file}:8:" in err
    assert "NPU addresses of all 3 nodes of this entry" in err
    assert spec.file.read_text() == before


def test_an_overlay_that_is_right_is_no_fault_and_one_that_is_wrong_is_told(spec: Spec) -> None:
    before = spec.write(BARE.replace("nodes:\n", "defaults: {interface: eth0}\nnodes:\n"))
    overlay = spec.file.with_name("overlay.yaml")
    overlay.write_text("nodes: [{name: node-0, npu_addresses: {first: 10.0.0.1}}]\n")
    assert spec.discover("--node", "node-0", "-f", str(overlay))[0] == 0
    assert spec.file.read_text() == before
    overlay.write_text("nodes: [{name: node-0, npu_addresses: {first: 10.0.9.1}}]\n")
    code, _, err = spec.discover("--node", "node-0", "-f", str(overlay))
    assert code == 1
    assert "node-0: an overlay says other NPU addresses than the node" in err


def test_one_node_alone(spec: Spec) -> None:
    spec.write(BARE)
    assert spec.discover("--node", "node-1")[0] == 0
    assert spec.nodes[0].engine.asked == []
    assert spec.file.read_text().count("npu_addresses") == 1


def test_a_spec_that_changes_meanwhile_is_not_overwritten(spec: Spec) -> None:
    spec.write(BARE)
    spec.nodes[1].before = lambda _: spec.file.write_text("# mine\n")
    code, _, err = spec.discover()
    assert code == 1
    assert "was changed meanwhile" in err
    assert spec.file.read_text() == "# mine\n"


def test_its_mode_and_a_link_to_it_stay(spec: Spec) -> None:
    spec.write(BARE)
    real = spec.file.rename(spec.file.with_name("real.yaml"))
    real.chmod(0o640)
    spec.file.symlink_to(real)
    assert spec.discover()[0] == 0
    assert spec.file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "npu_addresses" in real.read_text()
    assert sorted(file.name for file in spec.file.parent.iterdir()) == ["cluster.yaml", "real.yaml"]


def test_a_spec_with_other_faults_is_refused_before_anyone_is_asked(spec: Spec) -> None:
    spec.write(BARE.replace("version: 1", "version: 1\nport: 8000"))
    code, _, err = spec.discover()
    assert code == 1
    assert "[unknown-key]" in err
    assert spec.nodes[0].engine.asked == []


def test_the_standard_input_cannot_be_written_into(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec.write(BARE)
    with spec.file.open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file})())
        assert cli.main(["discover", "-"]) == 2
    assert "name its file" in spec.capsys.readouterr().err
    assert text == spec.file.read_text()
