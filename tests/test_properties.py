"""Whatever text a spec holds, the bundle's readers get exactly that text, and nothing of it is ever run.

The readers are real: bash, shellcheck, sha256sum, YAML parsers. What Ray, vLLM and curl would be called with
is what the kernel says that their stand-ins were called with. SOAK=1 takes 10,000 specs, not 150.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hostile
import pytest
import yaml  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from compiler.checks import checks
from compiler.compile import compile_spec
from compiler.compose import compose
from compiler.container import definition
from compiler.jinja import environment as templates_of
from compiler.quote import sh
from compiler.render import render
from compiler.report import as_github, as_text
from compiler.source import Source
from schema.text import BASHS_OWN, SCRIPTS_OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compiler.compile import Compiled
    from compiler.plan import NodePlan, Plan

SOAK = bool(os.environ.get("SOAK"))
BATCH = 250 if SOAK else 150
BATCHES = 40 if SOAK else 1
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
TEMPLATES = Path(__file__).parent.parent / "templates"

# The kernel knows what a program was called with; it is written to the folder that the script was started in.
RECORD = '#!/bin/sh\ncat /proc/$$/cmdline >"${0##*/}.words"\ncat /proc/$$/environ >"${0##*/}.environment"\n'
STAND_INS = {
    "ray-start.sh": {"timeout": RECORD, "python3": "#!/bin/sh\n", "grep": "#!/bin/sh\nexit 1\n"},
    "serve.sh": {"vllm": RECORD, "timeout": "#!/bin/sh\n", "python3": "#!/bin/sh\n"},
    "ask.sh": {
        "curl": "#!/bin/sh\ncat >asked\necho '{}'\necho 200\n",
        "python3": "#!/bin/sh\ncat >/dev/null\n",
    },
    "verify.sh": {},
}
SECRETS = {"HF_TOKEN": "canary-secret", "no": "canary-secret", "S_2": "canary-secret"}


class Case(NamedTuple):
    """A spec, what was made of it, and where its bundle lies."""

    spec: hostile.Spec
    plan: Plan
    folder: Path

    def node(self, name: str) -> Path:
        return self.folder / name


def compiled(spec: hostile.Spec) -> Compiled:
    return compile_spec([source_of(spec)])


def source_of(spec: hostile.Spec) -> Source:
    return Source("spec.yaml", hostile.yaml(spec).encode())


@pytest.fixture(scope="module", params=range(BATCHES))
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """A batch of specs with hostile text in every field; all of them compile."""
    root = tmp_path_factory.mktemp("bundles")
    return [
        _case(spec, root / str(number))
        for number, spec in enumerate(hostile.corpus(hostile.specs(), BATCH, request.param))
    ]


def _case(spec: hostile.Spec, folder: Path) -> Case:
    plan, diagnostics, _ = compiled(spec)
    assert plan is not None, (diagnostics, spec)
    for file in render(plan).files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return Case(spec, plan, folder)


def nodes(cases: Sequence[Case]) -> Iterator[tuple[Case, NodePlan, Path]]:
    for case in cases:
        for node in case.plan.nodes:
            yield case, node, case.node(node.name)


def heads(cases: Sequence[Case]) -> Iterator[tuple[Case, NodePlan, Path]]:
    return (each for each in nodes(cases) if each[1].is_head)


def environment(node: NodePlan) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value, _ in node.environment}


class Bench:
    """Runs scripts where nothing is found on PATH but coreutils, bash and their stand-ins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for script, programs in STAND_INS.items():
            (root / script).mkdir()
            for name, program in programs.items():
                file = root / script / name
                file.write_text(program, encoding="ascii")
                file.chmod(0o755)

    def run(self, name: str, folder: Path, *words: str, text: str = "") -> bytes:
        """What the script printed; it must succeed, and leave no canary."""
        (folder / "home").mkdir(exist_ok=True)
        script = folder / name
        if text:
            script = folder / f"changed-{name}"
            script.write_text(text, encoding="utf-8", newline="")
        base = {"PATH": f"{self.root / name}:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        done = subprocess.run(
            ("/bin/bash", script, *words),
            cwd=folder,
            env=base | SECRETS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (script, done.stdout[-300:], done.stderr[-2000:])
        assert not any(path.name.startswith("canary") for path in folder.rglob("*"))
        return done.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def side_by_side(
    work: Callable[[tuple[Case, NodePlan, Path]], object], over: Iterator[tuple[Case, NodePlan, Path]]
) -> int:
    """Does the work two at a time, since most of the time goes into starting programs; says how often."""
    with ThreadPoolExecutor(2) as pool:
        return len(list(pool.map(work, over)))


def words(file: Path) -> list[bytes]:
    """What a stand-in was called with: after the shell that ran it, and itself."""
    return file.read_bytes().split(b"\0")[2:-1]


def told_environment(file: Path) -> dict[bytes, bytes]:
    split = (pair.partition(b"=") for pair in file.read_bytes().split(b"\0"))
    return {name: value for name, sign, value in split if sign}


@pytest.mark.parametrize("number", range(BATCHES))
def test_a_spec_compiles_or_is_refused_at_places_in_it(number: int) -> None:
    refused = 0
    for spec in hostile.corpus(hostile.broken_specs(), BATCH * 2, number):
        plan, diagnostics, _ = compiled(spec)
        source = source_of(spec)
        lines = source.content.decode().split("\n")
        for each in diagnostics:
            assert 1 <= each.place.line <= len(lines), (each, spec)
            assert 1 <= each.place.column <= len(lines[each.place.line - 1]) + 1, (each, spec)
        told = as_text(diagnostics, [source], colour=False)
        assert told.replace("\n", "").isprintable(), spec
        annotations = as_github(diagnostics).splitlines()
        assert [line[:2] for line in annotations] == ["::"] * len(diagnostics), spec
        if plan is None:
            refused += 1
            assert any(each.severity == "error" for each in diagnostics), spec
        else:
            render(plan)
    assert BATCH // 2 < refused < BATCH * 2  # else this tested one side alone


NO_BASH = re.compile(r"<<'PYTHON'.*?^PYTHON$|python3 -c '[^']*'|\{%.*?%\}|#[^\n]*", re.DOTALL | re.MULTILINE)
ASSIGNED = re.compile(r"^ *([a-z]\w*)\+?=|\bfor ([a-z]\w*)\b", re.MULTILINE)


def test_names_that_the_scripts_use_are_refused() -> None:
    """An exported variable that a script assigns to would reach Ray with the script's value."""
    used = set()
    for path in ("container/start.sh", "node/ray-start.sh.j2", "head/serve.sh.j2"):
        bash = NO_BASH.sub("", (TEMPLATES / path).read_text(encoding="utf-8"))
        used |= {name for pair in ASSIGNED.findall(bash) for name in pair if name}
    assert used == SCRIPTS_OWN


def test_names_that_bash_keeps_for_itself_are_refused() -> None:
    """A variable that bash has of itself arrives as exported and as inherited, or a spec may not set it."""
    value = "a b*'$x"
    told = subprocess.run(("/bin/bash", "-c", "compgen -v"), capture_output=True, text=True, check=True)
    names = set(told.stdout.split()) - BASHS_OWN
    assert len(names) > 10
    program = "set -euo pipefail; for word in x; do :; done; /bin/cat /proc/self/environ"
    for name in sorted(names):
        for before, given in (("", {name: value}), (f"export {name}={sh(value)}; ", {})):
            command = ("/bin/bash", "-c", before + program)
            done = subprocess.run(command, env=given, capture_output=True, check=False)
            assert f"{name}={value}".encode() in done.stdout.split(b"\0"), name


def test_forms_filled_are_what_each_node_rendered_alone_is(cases: list[Case]) -> None:
    templates = templates_of()
    shared = 0
    for case, node, folder in nodes(cases):
        plan = case.plan
        shared += sum(other.shape is node.shape for other in plan.nodes) > 1
        on_head = ("head/ask.sh", "head/serve.sh") if node.is_head else ()
        for template in ("node/node.env", "node/ray-start.sh", "node/verify.sh", *on_head):
            alone = templates.get_template(f"{template}.j2").render(plan=plan, node=node, checks=checks())
            assert (folder / template.partition("/")[2]).read_bytes() == alone.encode(), template
        alone = compose(definition(plan.container, plan.timeouts, node), plan.name, node.name)
        assert (folder / "docker-compose.yaml").read_bytes() == alone.encode()
    assert shared > BATCH // 20


def test_bash_reads_every_script(cases: list[Case]) -> None:
    scripts = [script for _, _, folder in nodes(cases) for script in folder.glob("*.sh")]
    loop = 'for script; do bash -n "$script" || echo "$script" >&2; done'
    done = subprocess.run(("bash", "-c", loop, "bash", *scripts), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def shellcheck(*words: str | Path) -> None:
    done = subprocess.run((SHELLCHECK, *words), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:3000]) == (0, "")


def test_shellcheck_finds_nothing(cases: list[Case]) -> None:
    """Of verify.sh all that differs between nodes, and the whole file a few times: it is long."""
    found = list(nodes(cases))
    shellcheck(*(folder / name for _, _, folder in found for name in ("ray-start.sh",)))
    shellcheck(*(folder / name for _, _, folder in heads(cases) for name in ("ask.sh", "serve.sh")))
    shellcheck(*(folder / "verify.sh" for _, _, folder in found[:2]))
    for _, _, folder in found:
        head, sign, _ = (folder / "verify.sh").read_bytes().partition(b"# ---- From here on")
        assert sign
        (folder / "verify-head").write_bytes(head)
    shellcheck("--exclude=SC2034", *(folder / "verify-head" for _, _, folder in found))  # unused without the rest


def test_checksums_hold(cases: list[Case]) -> None:
    loop = 'for folder; do (cd "$folder" && sha256sum --quiet -c SHA256SUMS) || echo "$folder" >&2; done'
    folders = [folder for _, _, folder in nodes(cases)]
    done = subprocess.run(("bash", "-c", loop, "bash", *folders), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ray_starts_with_the_planned_environment(cases: list[Case], bench: Bench) -> None:
    def start(each: tuple[Case, NodePlan, Path]) -> None:
        _, node, folder = each
        text = (folder / "ray-start.sh").read_bytes().decode()
        text, times = re.subn(r"^devices=\(.*\)$", "devices=(/dev/null)", text, flags=re.MULTILINE)
        assert times == 1
        bench.run("ray-start.sh", folder, text=text)
        assert told_environment(folder / "timeout.environment").items() >= environment(node).items()
        planned = [*node.shape.ray_start, f"--node-ip-address={node.address}"]
        assert words(folder / "timeout.words")[2:] == [word.encode() for word in planned]

    assert side_by_side(start, nodes(cases)) >= BATCH


def test_vllm_gets_the_planned_command(cases: list[Case], bench: Bench) -> None:
    def serve(each: tuple[Case, NodePlan, Path]) -> None:
        case, node, folder = each
        bench.run("serve.sh", folder)
        assert words(folder / "vllm.words") == [word.encode() for word in case.plan.serve.command[1:]]
        assert told_environment(folder / "vllm.environment").items() >= environment(node).items()

    assert side_by_side(serve, heads(cases)) == len(cases)


def test_a_question_names_the_served_model(cases: list[Case], bench: Bench) -> None:
    def ask(each: tuple[Case, NodePlan, Path]) -> None:
        case, _, folder = each
        text = (folder / "ask.sh").read_bytes().decode()
        name = case.plan.serve.served_name
        bench.run("ask.sh", folder, name[:300], text=text)
        asked = json.loads((folder / "asked").read_bytes())
        assert (asked["model"], asked["prompt"]) == (name, name[:300])

    assert side_by_side(ask, heads(cases)) == len(cases)


def test_verify_knows_the_planned_facts(cases: list[Case], bench: Bench) -> None:
    facts = '"$CLUSTER" "$NODE" "$ADDRESS" "$INTERFACE" "$CONTAINER" "$CACHE"'
    facts += ' "${NPUS[@]}" "${DEVICES[@]}" "${MOUNTS[@]}"'

    def look(each: tuple[Case, NodePlan, Path]) -> None:
        case, node, folder = each
        text = (folder / "verify.sh").read_bytes().decode()
        head, _, _ = text.partition("# ---- From here on")
        said = bench.run("verify.sh", folder, text=f"{head}\nprintf '%s\\0' {facts}\n")
        plan, kind = case.plan, node.shape
        known = [plan.name, node.name, node.address, node.interface, plan.container.name, plan.cache]
        known += [*kind.npu_words, *kind.devices, *kind.mount_sources]
        assert said.decode().split("\0")[:-1] == known

    assert side_by_side(look, nodes(cases)) >= BATCH
    for _, _, folder in heads(cases[:10]):
        assert b"link[0]" in bench.run("verify.sh", folder, "--list")


def env_file(content: bytes) -> dict[bytes, bytes | None]:
    """What `docker run --env-file` makes of a file: docker/cli pkg/kvfile/kvfile.go."""
    found: dict[bytes, bytes | None] = {}
    for number, raw in enumerate(content.split(b"\n")):
        line = raw.removeprefix(b"\xef\xbb\xbf") if not number else raw
        line = line.removesuffix(b"\r").lstrip(b" \t")
        line.decode()
        assert len(raw) < 64 * 1024
        if line and not line.startswith(b"#"):
            name, sign, value = line.partition(b"=")
            assert name
            assert not set(name) & set(b" \t")
            found[name] = value if sign else None
    return found


def test_docker_reads_the_planned_environment(cases: list[Case]) -> None:
    for _, node, folder in nodes(cases):
        passed = {secret.name.encode(): None for secret in node.shape.passed_secrets}
        assert env_file((folder / "node.env").read_bytes()) == environment(node) | passed


def _by_pyyaml(text: str) -> hostile.Spec:
    return yaml.load(text, yaml.CSafeLoader)  # type: ignore[no-any-return]


def _by_ruamel(text: str) -> hostile.Spec:
    return YAML(typ="safe").load(text)  # type: ignore[no-any-return]


@pytest.mark.parametrize("read", [_by_pyyaml, _by_ruamel], ids=["YAML 1.1", "YAML 1.2"])
def test_every_yaml_reads_the_planned_container(cases: list[Case], read: Callable[[str], hostile.Spec]) -> None:
    for case, node, folder in nodes(cases):
        document = read((folder / "docker-compose.yaml").read_bytes().decode())
        planned = definition(case.plan.container, case.plan.timeouts, node)
        [(name, service)] = document["services"].items()
        secrets = {each.name: service["environment"].pop(each.name) for each in planned.secrets}
        assert name == case.plan.name
        assert [_plain(word) for word in service["command"]] == list(planned.command)
        assert _plain_values(service["environment"]) == dict(planned.environment)
        assert _plain_values(service["labels"]) == dict(planned.labels)
        assert [_plain(each) for each in service["devices"]] == [f"{each}:{each}" for each in planned.devices]
        assert [
            (_plain(each["source"]), _plain(each["target"]), each.get("read_only", False), each["bind"])
            for each in service["volumes"]
        ] == [(*mount, {"create_host_path": False}) for mount in planned.mounts]
        assert (_plain(service["image"]), service["container_name"]) == (planned.image, planned.name)
        for secret in planned.secrets:
            assert secrets[secret.name].startswith(f"${{{secret.from_env}:?")


def test_ruamel_yaml_writes_the_same_bytes(cases: list[Case]) -> None:
    ruamel = YAML()
    ruamel.preserve_quotes = True
    ruamel.width = 1_000_000
    ruamel.indent(mapping=2, sequence=4, offset=2)
    for _, _, folder in [*nodes(cases)][:80]:
        text = (folder / "docker-compose.yaml").read_bytes().decode()
        written = io.StringIO()
        ruamel.dump(ruamel.load(text), written)
        assert unescaped(written.getvalue()).splitlines() == unescaped(text).splitlines()


def unescaped(text: str) -> str:
    """The text with what stands in double quotes read: there are several ways to escape, and one to lay out a line."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda match: _read(match[0]), text)


def _read(quoted: str) -> str:
    try:
        return repr(_by_pyyaml(quoted))
    except yaml.YAMLError:  # of a script, not of YAML
        return quoted


def _plain(value: str) -> str:
    """The value without Compose's doubled dollars; a single one would be replaced by something."""
    assert "$" not in value.replace("$$", "")
    return value.replace("$$", "$")


def _plain_values(values: dict[str, str]) -> dict[str, str]:
    return {name: _plain(value) for name, value in values.items()}


INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0001]")


def test_scripts_hold_nothing_that_hides_from_a_reader(cases: list[Case]) -> None:
    for case in cases:
        for script in (case.folder / "README.md", *case.folder.glob("*/*.sh"), *case.folder.glob("*/*.yaml")):
            if not script.name.startswith("changed-"):
                found = INVISIBLE.search(script.read_bytes().decode())
                assert not found or script.name == "README.md", (script, found)


def test_a_readme_has_the_same_blocks_whatever_its_values_are(cases: list[Case]) -> None:
    for case in cases:
        readme = (case.folder / "README.md").read_bytes().decode()
        assert not hostile.CONTROL.search(readme.replace("\n", "")), case.spec
        fences = [line for line in readme.split("\n") if line.lstrip(" ").startswith("```")]
        assert fences == ["```sh", "```"] * 9, case.spec
