"""`explain FILE:LINE`: the fields that a line is said to come from are those that change it, and no others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hostile
import pytest

from compiler import origin_line
from compiler.compile import compile_spec, nothing_beside
from compiler.diagnostics import path_text
from compiler.origin import origins
from compiler.origin_leaf import leaves
from compiler.origin_line import change
from compiler.origin_other import other_values, texts
from compiler.origin_told import told
from compiler.render import render, render_file, render_on_nodes
from compiler.source import Source
from schema.accept import accept
from schema.cluster import Cluster
from schema.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compiler.origin import Origins
    from compiler.origin_leaf import Leaf
    from compiler.origin_told import Told
    from compiler.plan import Plan
    from compiler.subject import Subject

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
GUIDE = ROOT / "examples" / "qwen3-235b.yaml"


class Spec(NamedTuple):
    """A spec that compiles."""

    sources: list[Source]
    subject: Subject
    plan: Plan

    def lines(self, path: str) -> list[str]:
        file = render_file(self.plan, path)
        assert file is not None, path
        return file.content.decode().split("\n")[:-1]

    def line(self, path: str, text: str) -> int:
        """The number of the only line that has the text in it."""
        own = (at for at, line in enumerate(self.lines(path), start=1) if text in line and "serve.lock" not in line)
        (number,) = own  # serve.sh notes its whole command in the lock, too
        return number

    def origins(self, path: str, line: int) -> Origins:
        return origins(self.subject, nothing_beside, self.plan, path, line)

    def told(self, target: str, *, as_json: bool = False) -> Told:
        return told(target, self.subject, self.plan, self.sources, nothing_beside, json=as_json)


def spec_of(*texts: bytes | str) -> Spec:
    names = ["spec.yaml", *(f"overlay-{number}.yaml" for number in range(1, len(texts)))]
    contents = [text.encode() if isinstance(text, str) else text for text in texts]
    sources = [Source(name, content) for name, content in zip(names, contents, strict=True)]
    compiled = compile_spec(sources)
    assert compiled.plan is not None, compiled.diagnostics
    assert compiled.subject is not None
    return Spec(sources, compiled.subject, compiled.plan)


def paths(found: Origins, *, direct: bool | None = None) -> list[str]:
    return [path_text(hit.leaf.path) for hit in found.hits if direct is None or hit.direct is direct]


@pytest.fixture(scope="module")
def guide() -> Spec:
    return spec_of(GUIDE.read_bytes())


# ---- What a reviewer asks --------------------------------------------------------------------------------

ASKED = (
    ("node-0/node.env", "HCCL_IF_IP=", ["nodes[0].address"], []),
    ("node-1/node.env", "VLLM_HOST_IP=", ["nodes[1].address"], []),
    ("node-0/node.env", "GLOO_SOCKET_IFNAME=", ["defaults.interface"], []),
    ("node-0/node.env", "ASCEND_RT_VISIBLE_DEVICES=0", [], ["accelerator", "defaults.npus"]),
    ("node-0/node.env", "HCCL_CONNECT_TIMEOUT=", [], ["env.HCCL_CONNECT_TIMEOUT"]),
    ("node-0/node.env", "HCCL_IF_BASE_PORT=", ["ports.hccl_base"], []),
    ("node-0/node.env", "docker-compose.yaml holds the same values", [], []),
    ("node-0/serve.sh", "--tensor-parallel-size", [], ["serve.parallelism", "accelerator", "defaults.npus"]),
    ("node-0/serve.sh", "--pipeline-parallel-size", [], ["nodes", "serve.parallelism"]),
    ("node-0/serve.sh", "--max-model-len", ["serve.args.max-model-len"], []),
    ("node-0/serve.sh", "--trust-remote-code", ["serve.args.trust-remote-code"], []),
    ("node-0/serve.sh", "--gpu-memory-utilization", ["serve.args.gpu-memory-utilization"], []),
    ("node-0/serve.sh", "--distributed-executor-backend", [], []),
    ("node-0/serve.sh", "set -euo pipefail", [], []),
    ("node-0/ask.sh", "url=http", ["serve.port"], []),
    ("node-0/docker-compose.yaml", "shm_size:", ["container.shm_size"], []),
    ("node-0/docker-compose.yaml", "soft: 1048576", [], ["container.ulimits.nofile"]),
    ("node-0/docker-compose.yaml", "/dev/davinci3:", [], ["accelerator", "defaults.npus"]),
    ("node-0/docker-compose.yaml", "/dev/davinci_manager:", [], ["accelerator"]),
    ("node-0/docker-compose.yaml", "network_mode:", [], []),
    ("node-0/docker-compose.yaml", "ascend-cluster.role:", [], ["nodes[0].role"]),
    ("node-1/ray-start.sh", "gcs=", ["nodes[0].address", "ports.ray"], ["nodes[0].role", "nodes[1].role"]),
    ("node-0/verify.sh", "readonly SHM_BYTES=", [], ["container.shm_size"]),
    ("node-0/verify.sh", "readonly EVERY_PAIR=", [], ["nodes"]),
    ("README.md", "The runbook", ["serve.model"], ["accelerator", "defaults.npus", "nodes", "serve.parallelism"]),
    ("README.md", "Image: ", ["image"], []),
    ("topology.svg", ">node-1<", ["nodes[1].name"], []),
)  # fmt: skip


@pytest.mark.parametrize(("path", "text", "direct", "others"), ASKED, ids=lambda each: str(each)[:30])
def test_a_line_comes_from(guide: Spec, path: str, text: str, direct: list[str], others: list[str]) -> None:
    found = guide.origins(path, guide.line(path, text))
    assert sorted(paths(found, direct=True)) == direct
    assert sorted(paths(found, direct=False)) == sorted(others)
    assert not found.untried


def test_the_answer_quotes_the_spec(guide: Spec) -> None:
    number = guide.line("node-0/node.env", "HCCL_IF_IP")
    written = GUIDE.read_text(encoding="utf-8").split("\n")
    at = written.index("    address: 192.168.10.10") + 1
    assert guide.told(f"node-0/node.env:{number}") == (
        (
            f"node-0/node.env:{number}: HCCL_IF_IP=192.168.10.10\n\n"
            f"spec.yaml:{at}:14: nodes[0].address: 192.168.10.10\n"
            f"   |\n{at} |     address: 192.168.10.10\n   |              ^^^^^^^^^^^^^\n"
        ),
        (),
        0,
    )


def test_the_answer_names_a_default_and_what_would_set_it(guide: Spec) -> None:
    path = "node-0/docker-compose.yaml"
    assert "\ncontainer.shm_size: not written; its default is 16g\n" in guide.told(f"{path}:15").text
    text = guide.told(f"node-0/node.env:{guide.line('node-0/node.env', 'HCCL_CONNECT_TIMEOUT')}").text
    assert "\n  env.HCCL_CONNECT_TIMEOUT: not written. Environment variables of every container.\n" in text
    assert "it is the compiler's own text" in guide.told(f"{path}:9").text


def test_what_is_near_comes_first_and_much_is_counted(guide: Spec) -> None:
    path = "node-0/docker-compose.yaml"
    text = guide.told(f"{path}:{guide.line(path, 'config-hash')}").text
    assert text.index("quay.io") < text.index("container.privileged: not written; its default is false")
    assert " more; --json lists them all\n" in text
    size = guide.told(f"node-0/serve.sh:{guide.line('node-0/serve.sh', '--tensor-parallel-size')}").text
    assert size.index("serve.parallelism: pipeline") < size.index("accelerator: atlas-a2") < size.index("defaults.npus")


def test_checksums_follow_from_the_whole(guide: Spec) -> None:
    for path in ("manifest.json", "node-1/SHA256SUMS"):
        assert "it follows from the whole spec" in guide.told(f"{path}:2").text
        assert json.loads(guide.told(f"{path}:2", as_json=True).text)["made_by"] == "whole"


def test_json_has_everything(guide: Spec) -> None:
    path = "node-0/serve.sh"
    number = guide.line(path, "--max-model-len")
    line = GUIDE.read_text(encoding="utf-8").split("\n").index("    max-model-len: 8192") + 1
    assert json.loads(guide.told(f"{path}:{number}", as_json=True).text) == {
        "format_version": 1,
        "file": path,
        "line": number,
        "text": "  --max-model-len 8192 \\",
        "made_by": "spec",
        "origins": [
            {
                "path": "serve.args.max-model-len",
                "value": 8192,
                "written": True,
                "direct": True,
                "other_nodes_too": False,
                "file": "spec.yaml",
                "line": line,
                "column": 20,
            }
        ],
        "untried": [],
        "notes": [],
    }


# ---- Overlays, ranges, many nodes ------------------------------------------------------------------------


def test_an_overlay_that_overrides_is_the_place() -> None:
    overlay = "serve:\n  args: {max-model-len: 4096}\nnodes:\n  - name: node-1\n    interface: bond7\n"
    spec = spec_of(GUIDE.read_bytes(), overlay)
    text = spec.told(f"node-0/serve.sh:{spec.line('node-0/serve.sh', '--max-model-len')}").text
    assert "\noverlay-1.yaml:2:25: serve.args.max-model-len: 4096\n" in text
    assert "spec.yaml" not in text
    number = spec.line("node-1/node.env", "GLOO_SOCKET_IFNAME")
    assert (
        "\noverlay-1.yaml:5:16: nodes[0].interface: bond7 for nodes[1]\n" in spec.told(f"node-1/node.env:{number}").text
    )
    assert paths(spec.origins("node-0/node.env", number)) == ["defaults.interface"]


def test_a_range_is_the_place_of_each_of_its_nodes() -> None:
    spec = spec_of((ROOT / "examples" / "sixteen-nodes.yaml").read_bytes())
    text = spec.told(f"node-05/node.env:{spec.line('node-05/node.env', 'HCCL_IF_IP')}").text
    assert 'nodes[1].address: 10.1.0.15 for nodes[5]\n   |\n20 |     address: "10.1.0.[11:25]"\n' in text


UNLIKE = """
version: 1
name: demo
accelerator: atlas-a2
image: quay.io/ascend/vllm-ascend:v0.11.0
cache: /mnt/cache
defaults: {{interface: eth0}}
nodes:
{nodes}
serve: {{model: some/model}}
"""


def test_what_nodes_cannot_change_alone_is_told_together() -> None:
    """One node with another number of NPUs than the rest is refused, yet their number makes the sizes."""
    nodes = "".join(f"  - {{name: n{at}, address: 10.0.0.{at + 1}, npus: [0, 1, 2, 3]}}\n" for at in range(12))
    spec = spec_of(UNLIKE.format(nodes=nodes))
    found = spec.origins("n0/serve.sh", spec.line("n0/serve.sh", "--tensor-parallel-size"))
    assert sorted(paths(found)) == ["nodes[0].npus", "serve.parallelism"]
    assert [hit.alike for hit in found.hits if hit.leaf.path[0] == "nodes"] == [True]
    assert not found.untried
    own = spec.origins("n7/verify.sh", spec.line("n7/verify.sh", "readonly NPUS="))
    assert paths(own) == ["nodes[7].npus"]


def test_one_of_many_nodes_is_found_and_the_others_are_counted_out() -> None:
    nodes = "".join(f"  - {{name: n{at}, address: 10.0.0.{at + 1}}}\n" for at in range(40))
    head = nodes.replace("address: 10.0.0.32}", "address: 10.0.0.32, env: {ONLY_HERE: x}}")
    spec = spec_of(UNLIKE.format(nodes=head))
    found = spec.origins("n0/serve.sh", spec.line("n0/serve.sh", "ONLY_HERE"))
    assert [(path_text(hit.leaf.path), hit.alike) for hit in found.hits if hit.leaf.written] == [
        ("nodes[31].env.ONLY_HERE", False),
        ("nodes[31].env", False),  # one more name would stand in the line too
    ]


def test_every_list_that_is_seen_whole_is_told_once() -> None:
    spec = spec_of((ROOT / "examples" / "deepseek-v3-a3.yaml").read_bytes())
    found = spec.origins("a3-0/verify.sh", spec.line("a3-0/verify.sh", "readonly NPU_ADDRESSES="))
    assert paths(found, direct=True) == ["nodes[0].npu_addresses"]
    (direct,) = [hit for hit in found.hits if hit.direct]
    assert len(direct.leaf.value) == 16


def test_who_is_the_head_is_told_where_it_is_said() -> None:
    nodes = "".join(f"  - {{name: n{at}, address: 10.0.0.{at + 1}, role: worker}}\n" for at in range(6))
    said = spec_of(UNLIKE.format(nodes=nodes.replace("10.0.0.4, role: worker", "10.0.0.4, role: head")))
    found = said.origins("n1/verify.sh", said.line("n1/verify.sh", "ROLE=worker HEAD=n3"))
    assert [(path_text(hit.leaf.path), hit.direct) for hit in found.hits] == [
        ("nodes[3].name", True),
        ("nodes[3].role", False),
    ]
    unsaid = spec_of(UNLIKE.format(nodes=nodes.replace("10.0.0.1, role: worker", "10.0.0.1")))
    found = unsaid.origins("n1/verify.sh", unsaid.line("n1/verify.sh", "ROLE=worker HEAD=n0"))
    assert [(path_text(hit.leaf.path), hit.alike) for hit in found.hits if hit.leaf.path[-1] == "role"] == [
        ("nodes[1].role", False),
        ("nodes[2].role", True),
    ]


# ---- On disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(guide: Spec, tmp_path: Path) -> Path:
    root = tmp_path / "anywhere" / guide.plan.name
    for file in render(guide.plan).files:
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / file.path).write_bytes(file.content)
    return root


def test_a_file_is_found_where_it_lies(guide: Spec, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = guide.told("node-0/node.env:3")
    assert alone.code == 0
    assert guide.told(f"{bundle}/node-0/node.env:3") == alone
    assert guide.told(f"no/such/{guide.plan.name}/node-0/node.env:3") == alone
    monkeypatch.chdir(bundle / "node-0")
    assert guide.told("node.env:3") == alone
    assert guide.told("../node-0/./node.env:3") == alone


def test_a_stale_file_is_told_and_its_line_found_again(guide: Spec, bundle: Path) -> None:
    newer = spec_of(GUIDE.read_bytes().replace(b"seed: 1024", b"seed: 1\n    block-size: 128"))
    path = "node-0/serve.sh"
    number = guide.line(path, "--max-model-len")
    said = newer.told(f"{bundle}/{path}:{number}")
    assert said.text.startswith(f"{path}:{number + 1}:   --max-model-len 8192 \\\n")
    assert said.notes == (
        (
            f"warning: {bundle}/{path} is not what spec.yaml compiles to: the spec has changed since; "
            f"the line is line {number + 1} now"
        ),
    )
    gone = newer.told(f"{bundle}/{path}:{guide.line(path, '--seed')}")
    assert (gone.text, gone.code) == ("", 1)
    assert gone.notes[0].endswith(f"it has no line like line {guide.line(path, '--seed')} any more")
    assert "render it again" in gone.notes[1]


def test_an_edited_file_is_told(guide: Spec, bundle: Path) -> None:
    file = bundle / "node-0" / "node.env"
    file.write_text(file.read_text() + "MINE=1\n")
    said = guide.told(f"{file}:3")
    assert said.code == 0
    assert said.notes == (
        f"warning: {file} is not what spec.yaml compiles to: it was edited, or another version made it",
    )
    assert guide.told(f"{file}:{len(guide.lines('node-0/node.env')) + 1}").code == 1


def refused(spec: Spec, target: str) -> str:
    said = spec.told(target)
    assert (said.text, said.code) == ("", 1)
    return said.notes[0]


def test_what_is_no_line_is_told(guide: Spec, bundle: Path) -> None:
    last = len(guide.lines("node-0/node.env"))
    assert guide.told(f"node-0/node.env:{last}").code == 0
    assert refused(guide, f"node-0/node.env:{last + 1}").endswith(f"has {last} lines, and no line {last + 1}")
    assert refused(guide, f"{bundle}/node-0/node.env:{last + 1}").endswith(f"has {last} lines, and no line {last + 1}")
    assert refused(guide, "node-0/none:1") == "error: spec.yaml makes no file node-0/none"
    assert refused(guide, "node-1/serve.sh:1") == "error: spec.yaml makes no file node-1/serve.sh"
    for odd in ("node-0/node.env", "node-0/node.env:", "node-0/node.env:0", "node-0/node.env:-1", ":3", "x:¹"):
        assert refused(guide, odd).endswith(" is no FILE:LINE"), odd
    assert "lies in no bundle" in refused(guide, f"{GUIDE}:3")
    assert guide.told("README.md:3").code == 0  # one lies here, but in no bundle
    other = spec_of((ROOT / "examples" / "sixteen-nodes.yaml").read_bytes())
    assert "is a file of the cluster qwen3-235b" in refused(other, f"{bundle}/node-0/node.env:3")
    for broken in ("{", "[]", "[" * 100_000):
        (bundle / "manifest.json").write_text(broken)
        assert "is no manifest of a bundle" in refused(guide, f"{bundle}/node-0/node.env:3")


# ---- Every field -----------------------------------------------------------------------------------------


def fields(model: type[Record]) -> Iterator[tuple[str, str]]:
    """Every field of a model and of those inside of it."""
    for name, field in model.fields.items():
        yield model.__name__, name
        for inner in inner_models(field.kind):
            yield from fields(inner)


def inner_models(kind: Any) -> Iterator[type[Record]]:
    if isinstance(kind, type) and issubclass(kind, Record):
        yield kind
    for part in (*getattr(kind, "__args__", ()), *([kind.__origin__] if hasattr(kind, "__metadata__") else [])):
        yield from inner_models(part)


def full(model: type[Record]) -> dict[str, Any]:
    """Every field as the schema's last example has it; what holds others, with all of theirs."""
    written = {}
    for name, field in model.fields.items():
        example = field.examples[-1]
        inner = list(inner_models(field.kind))
        if inner and isinstance(example, dict) and set(example) <= set(inner[0].fields):
            written[name] = full(inner[0])
        elif inner and isinstance(example, list) and isinstance(example[0], dict):
            written[name] = [full(inner[0])]
        elif inner and isinstance(example, dict):
            written[name] = {key: value if isinstance(value, int) else full(inner[0]) for key, value in example.items()}
        else:
            written[name] = example
    return written


def bare() -> Cluster:
    """A cluster in which all that may be left out is."""
    must = {name for name, field in Cluster.fields.items() if field.is_required}
    return accept(Cluster, {name: value for name, value in full(Cluster).items() if name in must})


def test_every_field_of_the_schema_has_another_value() -> None:
    """A new field is covered without a line of code, or this says that it is not."""
    everything = full(Cluster)
    everything["nodes"].append({"name": "node-9", "address": "10.0.0.9", "npu_addresses": {"first": "10.9.0.1"}})
    met = set()
    for cluster in (accept(Cluster, everything), bare()):
        taken = texts(leaves(cluster))
        for leaf in leaves(cluster):
            if leaf.entry:
                continue
            others = list(other_values(leaf, cluster, taken))
            model: Any = cluster
            for step in leaf.path[:-1]:
                model = getattr(model, step) if isinstance(step, str) and isinstance(model, Record) else model[step]
            met.add((type(model).__name__, leaf.path[-1]))
            holds_others = isinstance(leaf.value, Record | list)  # each of which is a leaf of its own
            assert others or holds_others or leaf.path == ("version",), leaf
            for value, other in others:
                assert other != cluster or leaf.optional, (leaf, value)
    assert met == set(fields(Cluster))


# ---- An oracle: specs edited by hand, compiled from their text ---------------------------------------------

# What the examples leave out: the head in the middle, numbers of NPUs, variables over variables, all of `container`.
RICH = b"""
version: 1
name: rich
accelerator: atlas-a2
image: quay.io/ascend/vllm-ascend:v0.11.0
cache: /mnt/cache
defaults: {interface: eth0, env: {A: one, B: two}, labels: {team: x}}
env: {C: three, B: base, HCCL_BUFFSIZE: "300"}
secrets: {HF_TOKEN: {from_env: MY_TOKEN}, S2: {from_env: S2}}
nodes:
  - {name: w0, address: 10.0.0.1, role: worker, env: {D: four}, npus: [0, 1], npu_addresses: [10.1.0.1, 10.1.0.2]}
  - {name: h, address: 10.0.0.2, role: head, labels: {rack: r1}, npus: [4, 5], npu_addresses: {first: 10.1.1.1}}
  - {name: w1, address: 10.0.0.3, interface: eth1, npus: [0, 1], env: {A: own}}
serve:
  model: /models/m/x
  parallelism: {tensor: 2, pipeline: 3}
  port: 9000
  args: {seed: 3, hf-overrides: {a: {b: 1}}, allowed-origins: ["*", b]}
container:
  shm_size: 32g
  devices: [/dev/infiniband]
  mounts: [{source: /data/models, target: /models}, {source: /x, target: /y, read_only: false}]
  ulimits: {nofile: 65536, core: {soft: 0, hard: 1}}
ports: {ray: 7000, worker_range: [11000, 12000]}
"""
SPECS = {**{path.stem: path.read_bytes() for path in EXAMPLES}, "rich": RICH}

OTHERS: dict[str, Any] = {
    "name": "other", "image": "other/image:v0.11.0", "cache": "/other", "interface": "other0", "address": "10.9.9.9",
    "first": "10.8.0.1", "docker": "ssh://other@{address}", "model": "Other/Model", "rack": "other",
    "from_env": "OTHER", "role": "worker", "parallelism": "tensor", "served-model-name": "other",
}  # fmt: skip


def edited(tree: Any, path: tuple[str | int, ...]) -> Any:
    """The tree with something else at the path."""
    if not path:
        return tree
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    step = path[0]
    if len(path) > 1:
        copy[step] = edited(tree[step], path[1:])
    elif isinstance(tree[step], bool):
        copy[step] = not tree[step]
    elif isinstance(tree[step], int | float):
        copy[step] = 0.5 if isinstance(tree[step], float) else tree[step] + 3
    else:
        copy[step] = OTHERS.get(str(step), "10.77.7.7" if isinstance(step, int) else f"{tree[step]}z")
    return copy


def plain_leaves(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if not isinstance(tree, dict | list):
        yield path
        return
    for step, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from plain_leaves(inner, (*path, step))


def bundle_of(tree: Any) -> dict[str, list[str]] | None:
    """Every file of a spec by its path, or None when the rules refuse it."""
    plan = compile_spec([Source("spec.yaml", json.dumps(tree).encode())]).plan
    return {file.path: file.content.decode().split("\n")[:-1] for file in render(plan).files} if plan else None


def counterpart(path: str, before: Plan, edit: dict[str, list[str]], after: Plan) -> list[str] | None:
    """The file where the edited spec has it: nodes may be called otherwise, and the head may be another."""
    folder, _, name = path.rpartition("/")
    index = next((at for at, node in enumerate(before.nodes) if node.name == folder), None)
    folders = [""] if index is None else [f"{after.nodes[index].name}/", f"{after.head.name}/"]
    return next((edit[each + name] for each in folders if each + name in edit), None)


@pytest.mark.parametrize("name", SPECS)
def test_a_line_that_an_edit_changes_comes_from_what_was_edited(name: str) -> None:
    spec = spec_of(SPECS[name])
    tree = spec.subject.cluster.said()
    before = bundle_of(tree)
    assert before == {file.path: file.content.decode().split("\n")[:-1] for file in render(spec.plan).files}
    dice = random.Random(name)  # noqa: S311 - it chooses what is tested
    files = [file for file in sorted(before or ()) if file != "manifest.json" and not file.endswith("SHA256SUMS")]
    edits = list(plain_leaves(tree))
    looked_at = 0
    for path in dice.sample(edits, min(len(edits), 12)):
        other = edited(tree, path)
        plan = compile_spec([Source("spec.yaml", json.dumps(other).encode())]).plan
        after = bundle_of(other)
        if plan is None or after is None:
            continue
        for file in dice.sample(files, min(len(files), 4)):
            new = {line.removesuffix(" \\") for line in counterpart(file, spec.plan, after, plan) or ()}
            lost = [at for at, line in enumerate(before[file], start=1) if line.removesuffix(" \\") not in new]
            for line in dice.sample(lost, min(len(lost), 1)):
                found = spec.origins(file, line)
                looked_at += 1
                assert any(told_for(hit.leaf.path, hit.alike, path) for hit in found.hits), (
                    file,
                    line,
                    path,
                    paths(found),
                )
    assert looked_at > 3


def told_for(hit: tuple[str | int, ...], alike: bool, path: tuple[str | int, ...]) -> bool:  # noqa: FBT001
    """Whether an origin speaks for a path: it is that, or the list that has it, or the same of another node."""
    if hit == path or (len(hit) == len(path) - 1 and path[: len(hit)] == hit):
        return True
    return alike and hit[:1] == path[:1] == ("nodes",) and hit[2:] == path[2:]


@pytest.mark.parametrize("name", SPECS)
def test_what_is_said_to_make_a_line_makes_it_another_when_compiled_anew(name: str) -> None:
    spec = spec_of(SPECS[name])
    taken = texts(leaves(spec.subject.cluster))
    dice = random.Random(name)  # noqa: S311 - as above
    files = [file.path for file in render(spec.plan).files if file.path.endswith((".env", ".yaml", ".sh", ".md"))]
    seen = [(file, at) for file in files for at, line in enumerate(spec.lines(file), start=1) if says(line, taken)]
    compiled = 0
    for file, at in dice.sample(seen, 8):
        old = [line.removesuffix(" \\") for line in spec.lines(file)]
        for hit in spec.origins(file, at).hits:
            if not hit.leaf.written or hit.alike or isinstance(hit.leaf.value, list | dict | Record):
                continue
            new = list(made_anew(spec, hit.leaf, file))
            compiled += len(new)
            assert not new or any(lines.count(old[at - 1]) != old.count(old[at - 1]) for lines in new), (file, at, hit)
    assert compiled > 3


def says(line: str, texts: set[str]) -> bool:
    return any(len(text) > 3 and text in line for text in texts)


def made_anew(spec: Spec, leaf: Leaf, path: str) -> Iterator[list[str]]:
    """The file, of every spec with another value in the leaf that the rules admit, compiled from text."""
    cluster = spec.subject.cluster
    for _, other in other_values(leaf, cluster, texts(leaves(cluster))):
        text = json.dumps(other.said())
        plan = compile_spec([Source("spec.yaml", text.encode())]).plan
        if plan is not None:
            edit = {file.path: file.content.decode().split("\n")[:-1] for file in render(plan).files}
            lines = counterpart(path, spec.plan, edit, plan)
            yield [line.removesuffix(" \\") for line in lines or ()]


def test_hostile_specs_are_explained() -> None:
    dice = random.Random(1)  # noqa: S311 - as above
    for spec in hostile.corpus(hostile.specs(), 10, 0):
        there = spec_of(hostile.yaml(spec))
        for file in dice.sample(list(render(there.plan).files), 3):
            line = dice.randint(1, file.content.count(b"\n"))
            said = there.told(f"{file.path}:{line}")
            assert said.code == 0, said.notes
            assert said.text.replace("\n", "").isprintable()
            assert "cannot change by itself" not in said.text


def test_one_file_alone_is_the_same_file() -> None:
    for example in EXAMPLES:
        plan = spec_of(example.read_bytes()).plan
        for file in render(plan).files:
            assert render_file(plan, file.path) == file
        for none in ("", "/", "none", f"{plan.head.name}/none", f"{plan.head.name}/", "none/node.env", "a/b/node.env"):
            assert render_file(plan, none) is None


# ---- Lines -----------------------------------------------------------------------------------------------


def became(before: str, after: str) -> list[int]:
    """The lines, from 0, that are not there any more; each text is a word a line."""
    old, new = before.split(), after.split()
    return [at for at in range(len(old)) if change(old, new, at)]


def test_lines_that_are_put_in_change_no_other() -> None:
    assert became("a b c", "a x b y c z") == []
    assert became("a b c", "a b c") == []


def test_lines_that_change_or_go_are_seen() -> None:
    assert became("a b c", "a x c") == [1]
    assert became("a b c", "b c") == [0]
    assert became("a b c", "") == [0, 1, 2]
    assert became("a b c d", "x c y d") == [0, 1]


def test_a_block_that_goes_begins_where_a_reader_would_say() -> None:
    entry = ["- type", "  source {}", "  bind:", "    create"]
    before = ["volumes:", *(line.format(at) for at in "123" for line in entry), "end"]
    after = ["volumes:", *(line.format(at) for at in "13" for line in entry), "end"]
    assert [at for at in range(len(before)) if change(before, after, at)] == [5, 6, 7, 8]
    pairs = "why X=1 why Y=2 why Z=3 end"
    assert became(pairs, "why X=1 why Z=3 end") == [2, 3]
    assert became(pairs, "why X=1 why Y=2 end") == [4, 5]


def test_a_flag_after_it_makes_a_line_no_other() -> None:
    assert change(["vllm \\", "  --seed 1"], ["vllm \\", "  --seed 1 \\", "  --port 1"], 1) is None


def test_a_large_file_is_looked_at_around_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = "".join(f"  - {{name: n{at}, address: 10.0.0.{at + 1}}}\n" for at in range(30))
    spec = spec_of(UNLIKE.format(nodes=nodes))
    asked = [(path, line) for path in ("README.md", "topology.svg", "n0/serve.sh") for line in range(5, 140, 27)]
    whole = [paths(spec.origins(path, line)) for path, line in asked]
    monkeypatch.setattr(origin_line, "_LARGE", 0)
    assert [paths(spec.origins(path, line)) for path, line in asked] == whole


def test_a_file_of_all_nodes_is_what_the_bundle_has() -> None:
    plan = compile_spec([Source("sixteen.yaml", (ROOT / "examples" / "sixteen-nodes.yaml").read_bytes())]).plan
    assert plan is not None
    whole = {file.path: file.content for file in render(plan).files}
    for name, holders in (("verify.sh", 16), ("serve.sh", 1), ("docker-compose.yaml", 16)):
        made = render_on_nodes(plan, name)
        assert len(made) == holders
        assert all(whole[f"{node}/{name}"] == content for node, content in made.items())
