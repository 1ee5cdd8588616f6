"""The documents say what the program does: examples compile, messages and tables are real, links resolve.

`UPDATE_DOCS=1` rewrites what is made: the tables of docs/spec.md and the messages of docs/diagnostics.md.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
import spec_reference
from docs_text import (
    DOCUMENTS,
    ROOT,
    Block,
    anchors,
    blocks,
    completed,
    generated_parts,
    links,
    with_part,
)

from compiler import cli, report
from compiler.cli_options import parsed
from compiler.compile import Compiled, compile_spec
from compiler.jsonschema import schema
from compiler.render import render
from compiler.source import MAX_BYTES, Source
from compiler.write import compare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compiler.bundle import Bundle

UPDATE = "UPDATE_DOCS" in os.environ
GUIDE = ROOT / "examples" / "qwen3-235b.yaml"
SPEC_DOC = ROOT / "docs" / "spec.md"
DIAGNOSTICS_DOC = ROOT / "docs" / "diagnostics.md"
FIXES_DOC = ROOT / "docs" / "guide-fixes.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
BLOCKS = tuple(block for document in DOCUMENTS for block in blocks(document))
SPECS = tuple(
    block
    for block in BLOCKS
    if block.info[:1] == ("yaml",) and block.info[1:] not in (("accelerator",), ("catalogue",))
)

# Faults that are of a file and not of a spec: what shows each of them.
OF_A_FILE = {
    "not-utf-8": "name: qwen\n".encode("utf-16"),
    "too-large": b"#" * (MAX_BYTES + 1),
}
# `unreadable` is told by the command line, and nothing is known that leads to `invalid`.
OF_NO_BYTES = {"unreadable", "invalid"}


@cache
def guide_spec() -> str:
    return GUIDE.read_text(encoding="utf-8")


def base_spec() -> str:
    """The guide's spec with a model that fits anywhere, so that a part of a spec shows its own faults alone."""
    plain = guide_spec().replace("    enable-expert-parallel: true\n", "")
    return plain.replace("Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-32B")


def compiled(block: Block) -> Compiled:
    """What a block compiles to; marked with `reach`, for a command that reaches nodes."""
    return compile_spec(sources_of(block), "reach" if "reach" in block.info else "render")


def sources_of(block: Block) -> list[Source]:
    """The files that a block stands for: an overlay (`-f`) onto the guide's spec, else a part of a spec."""
    if "-f" in block.info:
        return [Source("cluster.yaml", base_spec().encode()), Source("overlay.yaml", block.text.encode())]
    return [Source("cluster.yaml", completed(block.text, base_spec()).encode())]


def codes_in(block: Block) -> set[str]:
    """The codes that a block is marked with."""
    return set(block.info[1:]) - {"-f", "reach"}


def codes_of(compiled: Compiled) -> set[str]:
    return {each.code for each in compiled.diagnostics}


# ---- Specs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", SPECS, ids=str)
def test_a_spec_shown_compiles_or_has_the_faults_it_is_marked_with(block: Block) -> None:
    assert codes_of(compiled(block)) == codes_in(block)


def test_the_tables_of_the_reference_are_the_models() -> None:
    tables = spec_reference.tables()
    written = SPEC_DOC.read_text(encoding="utf-8")
    if UPDATE:
        for name, table in tables.items():
            written = with_part(written, f"fields of {name}", table)
        SPEC_DOC.write_text(written, encoding="utf-8")
    assert generated_parts(written) == {f"fields of {name}": table for name, table in tables.items()}


def test_every_field_has_a_description_and_an_example() -> None:
    bare = [
        f"{path}.{name}"
        for path, room in spec_reference.rooms(schema())
        for name, field in room["properties"].items()
        if not field.get("description") or not field.get("examples")
    ]
    assert not bare


# ---- Diagnostics ---------------------------------------------------------------------------------------

# Each function that makes a diagnostic, and which of its arguments is the code.
_MAKERS = {
    "error": 0,
    "warning": 0,
    "_as_sure_as": 0,
    "fault": 0,
    "Located": 1,
    "_fault": 1,
    "_matching": 1,
    "_stop": 3,
}


def codes_in_source() -> set[str]:
    return {
        argument.value
        for folder in ("compiler", "schema")
        for file in (ROOT / folder).glob("*.py")
        for argument in _code_arguments(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def _code_arguments(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = _MAKERS.get(name)
            if place is not None and len(node.args) > place:
                yield node.args[place]


def entries() -> dict[str, str]:
    """The text of each entry of the reference, by its code."""
    parts = re.split(r"^### (.+)\n", DIAGNOSTICS_DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_code_has_an_entry_and_every_entry_a_code() -> None:
    assert set(entries()) == codes_in_source()


@pytest.mark.parametrize("code", sorted(codes_in_source() - OF_NO_BYTES))
def test_every_code_is_produced_and_is_what_its_entry_says(code: str) -> None:
    made = (
        [compile_spec([Source("cluster.yaml", OF_A_FILE[code])])]
        if code in OF_A_FILE
        else [compiled(block) for block in SPECS if block.document == DIAGNOSTICS_DOC and code in codes_in(block)]
    )
    severities = {each.severity for each_made in made for each in each_made.diagnostics if each.code == code}
    assert len(severities) == 1
    assert entries()[code].startswith(f"\n*{severities.pop()}.* ")


def test_a_file_that_is_not_there_is_unreadable(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "[unreadable]" in capsys.readouterr().err


def test_the_messages_shown_are_the_real_ones() -> None:
    written = DIAGNOSTICS_DOC.read_text(encoding="utf-8")
    shown = re.compile(
        r"^(?P<head>```yaml (?P<info>[^\n]+)\n(?P<spec>.*?)^```\n)(\n```text\n.*?^```\n)?",
        re.MULTILINE | re.DOTALL,
    )

    def with_message(match: re.Match[str]) -> str:
        block = Block(DIAGNOSTICS_DOC, 0, ("yaml", *match["info"].split()), match["spec"])
        sources = sources_of(block)
        told = report.as_text(compiled(block).diagnostics, sources, colour=False)
        return f"{match['head']}\n```text\n{told}```\n"

    real = shown.sub(with_message, written)
    if UPDATE:
        DIAGNOSTICS_DOC.write_text(real, encoding="utf-8")
        written = real
    assert written == real


# ---- Links, commands, words ----------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    dead = []
    for link in links(document):
        path, _, anchor = link.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(link)
    assert not dead


def test_the_sessions_of_the_readme_are_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(GUIDE, tmp_path / "examples")
    broken = base_spec().replace("192.168.10.11", "192.168.10.10").replace("seed: 1024", "tensor-parallel-size: 8")
    (tmp_path / "broken.yaml").write_text(broken, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    sessions = [block.text for block in blocks(ROOT / "README.md") if block.info == ("console",)]
    assert sessions
    for session in sessions:
        for step in re.findall(r"^\$ compiler ((?:.+\n)(?:(?!\$ ).*\n)*)", session, re.MULTILINE):
            command, _, shown = step.partition("\n")
            cli.main(shlex.split(command))
            told = capsys.readouterr()
            assert told.out + told.err == shown


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert guide_spec() in [block.text for block in blocks(ROOT / "README.md")]


def commands_shown() -> list[tuple[str, ...]]:
    """Every line of a shell block, and every phrase in backquotes, that runs the compiler."""
    shells = (block for block in BLOCKS if block.info in {("sh",), ("console",)})
    lines = [line.removeprefix("$ ") for block in shells for line in block.text.splitlines()]
    for document in DOCUMENTS:
        lines += re.findall(r"`([^`\n]+)`", document.read_text(encoding="utf-8"))
    words = [_words(line) for line in lines]
    return sorted({command[1:] for command in words if command[:1] == ("compiler",) and len(command) > 1})


def _words(line: str) -> tuple[str, ...]:
    """A command line without its comment and without what the shell does with it."""
    try:
        words = shlex.split(line.removeprefix("python -m "), comments=True)
    except ValueError:
        return ()
    ends = (index for index, word in enumerate(words) if word in ("|", ">", "<", "&&", ";"))
    return tuple(words[: next(ends, len(words))])


@pytest.mark.parametrize("words", commands_shown(), ids=shlex.join)
def test_every_command_shown_parses(words: tuple[str, ...]) -> None:
    if words in (("--version",), ("-h",)):
        return
    parsed(words)  # to run them would write files


def test_every_target_named_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert named <= targets


def test_no_reminder_is_left_in_the_tree() -> None:
    words = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    skipped = {"dist", "generated"}
    left = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for folder in ROOT.iterdir()
        if not folder.name.startswith(".") and folder.name not in skipped
        for file in ([folder] if folder.is_file() else folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
        for match in words.finditer(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not left


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 250


# ---- The guide -----------------------------------------------------------------------------------------


@cache
def bundle_of(example: str) -> dict[str, str]:
    path = ROOT / "examples" / example
    compiled = compile_spec([Source(path.name, path.read_bytes())])
    assert compiled.plan is not None
    made: Bundle = render(compiled.plan)
    return {file.path: file.content.decode() for file in made.files}


def counterparts() -> list[tuple[str, str, str]]:
    """The guide's commands: each with the file that does its work, and the words to find there."""
    table = FIXES_DOC.read_text(encoding="utf-8").partition("## Each command of the guide")[2]
    rows = re.findall(r"^\| `((?:[^|]|\\\|)+)` \| `([^|]+)` \| `([^|]+)` \|$", table, re.MULTILINE)
    return [(guide.replace("\\", ""), file, words) for guide, file, words in rows]


@pytest.mark.parametrize(("command", "file", "words"), counterparts())
def test_each_command_of_the_guide_has_its_counterpart(command: str, file: str, words: str) -> None:
    assert words in bundle_of("qwen3-235b.yaml")[file], command


def test_the_table_names_every_command_of_the_guide() -> None:
    commands = {command for command, _, _ in counterparts()}
    for check in ("lldp", "link", "net_health", "netdetect", "gateway", "ip"):
        assert any(f"-{check} -g" in command for command in commands), check
    for start in ("cat /etc/hccn.conf", "hccn_tool -i 0 -ping", "docker run", "ip addr", "ray start --head"):
        assert any(command.startswith(start) for command in commands), start
    for start in ("ray start --address", "export ", "ray status", "ray list nodes", "vllm serve", "curl "):
        assert any(command.startswith(start) for command in commands), start


# The guide's two commands, flag by flag: https://github.com/vllm-project/vllm-ascend/blob/v0.11.0rc0/docs/source/tutorials/multi_node_ray.md
GUIDE_FLAGS = {
    ("--distributed-executor-backend", "ray"),
    ("--enable-expert-parallel",),
    ("--seed", "1024"),
    ("--max-model-len", "8192"),
    ("--max-num-seqs", "25"),
    ("--served-model-name", "qwen"),
    ("--trust-remote-code",),
    ("--gpu-memory-utilization", "0.9"),
}


@pytest.mark.parametrize(
    ("example", "sizes"),
    [
        ("qwen3-235b.yaml", {("--tensor-parallel-size", "8"), ("--pipeline-parallel-size", "2")}),
        ("qwen3-235b-tensor.yaml", {("--tensor-parallel-size", "16")}),
    ],
)
def test_the_served_command_is_the_guides(example: str, sizes: set[tuple[str, ...]]) -> None:
    script = bundle_of(example)["node-0/serve.sh"]
    command = shlex.split(script.rpartition("\nexec")[2].replace("\\\n", ""))
    assert command[:3] == ["vllm", "serve", "Qwen/Qwen3-235B-A22B"]
    flags: list[tuple[str, ...]] = []
    for word in command[3:]:
        if word.startswith("--"):
            flags.append((word,))
        else:
            flags[-1] = (*flags[-1], word)
    assert set(flags) == GUIDE_FLAGS | sizes
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_committed_bundle_is_what_the_example_compiles_to(example: Path) -> None:
    compiled = compile_spec([Source(example.name, example.read_bytes())])
    assert compiled.plan is not None
    assert compare(render(compiled.plan), ROOT / "generated") == ()


# ---- The rooms -----------------------------------------------------------------------------------------

THEIR_OWN_ROOM = {
    "pydantic": {"schema", "jsonschema"},
    "pydantic_core": {"schema", "load", "remainder"},
    "ruamel": {"source", "places"},
    "jinja2": {"jinja"},
    "docker": {"engine", "engine_fault", "engine_look"},
    "requests": {"engine_fault"},
    "urllib3": {"engine_fault"},
    "ray": set(),
}


def rooms() -> dict[str, tuple[set[str], set[str]]]:
    """Each room of compiler/ with its files, and the rooms that it may import."""
    table = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8").partition("| room |")[2]
    rows = re.findall(r"^\| ([a-z ]+) \| (`[^|]+) \| ([a-z, ]*)\|$", table, re.MULTILINE)
    return {
        room: (set(re.findall(r"`(\w+)`", files)), set(filter(None, may.strip().split(", "))))
        for room, files, may in rows
    }


def imports(file: Path) -> Iterator[tuple[str, ...]]:
    """The packages and modules that a file imports when it runs; those for its types alone do not count."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((*node.module.split("."), name.name) for name in node.names)
        pending.extend(ast.iter_child_nodes(node))


def test_the_rooms_are_all_files() -> None:
    listed = [file for files, _ in rooms().values() for file in files]
    assert sorted(listed) == sorted(file.stem for file in (ROOT / "compiler").glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("room", rooms())
def test_rooms_import_only_what_they_may(room: str) -> None:
    files, may = rooms()[room]
    allowed = files.union(*(rooms()[other][0] for other in may))
    every = set().union(*(each for each, _ in rooms().values()))
    found = {
        (file, module)
        for file in files
        for package, *rest in imports(ROOT / "compiler" / f"{file}.py")
        if package == "compiler"
        for module in rest[:1]
    }
    assert {(file, module) for file, module in found if module in every and module not in allowed} == set()


def test_other_peoples_packages_have_their_room() -> None:
    found = {
        (package, file.parent.name if file.parent.name == "schema" else file.stem)
        for folder in ("compiler", "schema")
        for file in (ROOT / folder).glob("*.py")
        for package, *_ in imports(file)
        if package in THEIR_OWN_ROOM
    }
    assert {(package, room) for package, room in found if room not in THEIR_OWN_ROOM[package]} == set()


def test_schema_imports_nothing_of_ours_but_itself() -> None:
    assert not [
        file.name
        for file in (ROOT / "schema").glob("*.py")
        for package, *_ in imports(file)
        if package in {"compiler", "templates"}
    ]


# ---- The recipes ---------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The packages, copied to where a recipe may change them."""
    for package in ("compiler", "schema", "templates"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run_copy(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "compiler", *words)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_accelerator_recipe_adds_one(copied: Path) -> None:
    [recipe] = [block for block in blocks(CONTRIBUTING) if block.info == ("yaml", "accelerator")]
    name = re.findall(r"^name: (.+)$", recipe.text, re.MULTILINE)[0]
    (copied / "schema" / "accelerators" / f"{name}.yaml").write_text(recipe.text, encoding="utf-8")
    spec = base_spec().replace("accelerator: atlas-a2", f"accelerator: {name}")
    (copied / "spec.yaml").write_text(spec, encoding="utf-8")
    done = run_copy(copied, "render", "spec.yaml", "-o", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert f'"{name}"' in run_copy(copied, "schema").stdout
    compose = (copied / "out" / "qwen3-235b" / "node-0" / "docker-compose.yaml").read_text(encoding="utf-8")
    assert "/dev/davinci3:" in compose
    assert "/dev/davinci4:" not in compose


def test_the_model_recipe_adds_one(copied: Path) -> None:
    [recipe] = [block for block in blocks(CONTRIBUTING) if block.info == ("yaml", "catalogue")]
    (copied / "schema" / "models" / "example-70b.yaml").write_text(recipe.text, encoding="utf-8")
    (copied / "spec.yaml").write_text(base_spec().replace("Qwen/Qwen3-32B", "example/Example-70B"), encoding="utf-8")
    done = run_copy(copied, "explain", "spec.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "example/Example-70B; 70.6 B parameters, bf16: 131.4 GiB" in done.stdout


def test_the_check_recipe_adds_one(copied: Path) -> None:
    [recipe] = [block for block in blocks(CONTRIBUTING) if block.info == ("bash", "check")]
    [line] = re.findall(r"`(IDS\+=\(\w+\))`", CONTRIBUTING.read_text(encoding="utf-8"))
    host, main = (copied / "templates" / "verify" / f"{part}.sh" for part in ("host", "main"))
    host.write_text(f"{host.read_text(encoding='utf-8')}\n{recipe.text}", encoding="utf-8")
    first = "  IDS+=(interface"
    assert main.read_text(encoding="utf-8").count(first) == 1
    main.write_text(main.read_text(encoding="utf-8").replace(first, f"  {line}\n{first}"), encoding="utf-8")
    (copied / "spec.yaml").write_text(base_spec(), encoding="utf-8")
    assert run_copy(copied, "render", "spec.yaml", "-o", "out").returncode == 0
    script = copied / "out" / "qwen3-235b" / "node-0" / "verify.sh"
    listed = subprocess.run(("bash", script, "--list"), capture_output=True, text=True, check=True).stdout
    assert "swappiness" in listed.split()
    clean = subprocess.run(("bash", "-n", script), capture_output=True, text=True, check=True)
    assert clean.stderr == ""


def test_the_output_recipe_adds_a_file_to_every_node(copied: Path) -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    name = re.findall(r"`templates/node/([^`/]+)\.j2`", text)[0]
    [template] = [block.text for block in blocks(CONTRIBUTING) if block.info == ("jinja",)]
    (copied / "templates" / "node" / f"{name}.j2").write_text(template, encoding="utf-8")
    (copied / "spec.yaml").write_text(base_spec(), encoding="utf-8")
    done = run_copy(copied, "render", "spec.yaml", "-o", "out")
    assert (done.returncode, done.stderr) == (0, "")
    made = copied / "out" / "qwen3-235b"
    texts = [(made / node / name).read_text(encoding="utf-8") for node in ("node-0", "node-1")]
    assert "192.168.10.10" in texts[0]
    assert "192.168.10.11" in texts[1]
    assert name in (made / "node-1" / "SHA256SUMS").read_text(encoding="utf-8")
