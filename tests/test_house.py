"""The layers of the house: who may import whom, who prints, who writes, and that templates hold no logic."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("compiler/*.py"), *ROOT.glob("schema/*.py")])
TEMPLATES = sorted(ROOT.glob("templates/**/*.j2"))
WRITERS = {"exchange", "leftover", "lock", "memo", "newfile", "renew", "retire", "stage", "write"}
# A file and what it must not name; all else is free.
PRINTS = {"print", "input"}
TOUCHES = {
    "mkdir",
    "makedirs",
    "rename",
    "replace",
    "unlink",
    "rmdir",
    "link",
    "symlink",
    "fchmod",
    "chmod",
    "truncate",
}


def imported(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rooms(module: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(module)}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_keep_to_the_layers(module: Path) -> None:
    names = imported(module)
    assert not rooms(module) & {"ray", "rich"}
    if not module.stem.startswith("engine"):
        assert not rooms(module) & {"docker", "requests", "urllib3", "paramiko"}
    if module.parent.name == "schema":
        assert "compiler" not in rooms(module)
    if not module.stem.startswith("cli") and module.stem != "__main__":
        assert not {name for name in names if name.startswith(("compiler.cli", "argparse"))}
    if module.stem != "jinja":
        assert "jinja2" not in rooms(module)
    if module.stem not in ("source", "places"):
        assert "ruamel" not in rooms(module)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_only_the_command_line_prints_and_only_the_writers_write(module: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
    if module.stem not in ("cli", "cli_apply", "cli_nodes", "cli_status", "say"):
        assert not {call.id for call in calls if isinstance(call, ast.Name)} & PRINTS
    if module.stem not in WRITERS | {"survey", "manifest"}:
        on_os = {
            call.attr
            for call in calls
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "os"
        }
        assert not on_os & TOUCHES


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_print_and_loop_and_nothing_else(template: Path) -> None:
    tree = Environment(autoescape=False).parse(template.read_text())  # noqa: S701 - nothing is rendered
    logic = (nodes.If, nodes.CondExpr, nodes.Compare, nodes.BinExpr, nodes.UnaryExpr, nodes.Call, nodes.Assign)
    more = (nodes.Macro, nodes.Include, nodes.Import, nodes.Extends, nodes.AssignBlock, nodes.Test)
    found = [f"line {node.lineno}: {type(node).__name__}" for node in tree.find_all((*logic, *more))]
    found += [f"line {loop.lineno}: for ... if" for loop in tree.find_all(nodes.For) if loop.test is not None]
    assert not found


def loaded_after(arguments: list[str], tmp_path: Path) -> set[str]:
    program = (
        "import sys\n"
        "from compiler.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('|'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    return {name.split(".")[0] for name in done.stderr.strip().rpartition("\n")[2].split("|")}


def test_render_loads_neither_docker_nor_ray_nor_rich(tmp_path: Path) -> None:
    spec = str(ROOT / "examples" / "qwen3-235b.yaml")
    assert not loaded_after(["render", spec], tmp_path) & {"docker", "ray", "rich", "requests", "typer", "click"}


def test_version_loads_argparse_and_no_library(tmp_path: Path) -> None:
    loaded = loaded_after(["--version"], tmp_path)
    assert "argparse" in loaded
    assert not loaded & {"pydantic", "jinja2", "ruamel", "importlib_metadata", "dataclasses"}


def test_a_good_spec_waits_neither_for_pydantic_nor_for_jinja2(tmp_path: Path) -> None:
    spec = str(ROOT / "examples" / "qwen3-235b.yaml")
    assert not loaded_after(["check", spec], tmp_path) & {"pydantic", "pydantic_core", "jinja2"}
    assert not loaded_after(["render", spec], tmp_path) & {"pydantic", "pydantic_core"}
