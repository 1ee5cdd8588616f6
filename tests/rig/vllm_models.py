"""Writes schema/architectures.json: which architectures a release knows, and which of them can be a pipeline.

    python tests/rig/vllm_models.py 0.11.0 SITE            what vLLM 0.11.0 knows
    python tests/rig/vllm_models.py v0.11.0 SITE [SITE]    what vllm-ascend v0.11.0 registers on top of its vLLM
    python tests/rig/vllm_models.py --check 0.11.0 SITE    ... and asks vLLM itself, where this Python can import it

A SITE is a folder that holds the package `vllm`, or `vllm_ascend`. Sources are read, not run: so a release is read
without the libraries and the hardware that it needs. `--check` fails where vLLM's own inspection says otherwise.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parents[2] / "schema" / "architectures.json"
Known = dict[str, Any]
REGISTRY = "vllm.model_executor.models.registry"
MODELS = "vllm.model_executor.models"
ASCENDS = "vllm_ascend.models"


class Class(NamedTuple):
    """Where a class is defined."""

    module: str
    name: str


def main() -> None:
    """Adds one release to the file."""
    release, *folders = (word for word in sys.argv[1:] if word != "--check")
    sources = Sources(tuple(map(Path, folders)))
    listed = registered_by_ascend(sources) if release.startswith("v") else registered(sources)
    found = {name: sources.is_pipeline(where) for name, where in listed.items()}
    if "--check" in sys.argv:
        compare(found)
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"vllm": {}, "vllm_ascend": {}}
    FILE.write_text(json.dumps(with_release(known, release, found), indent=1) + "\n", encoding="utf-8")


def with_release(known: Known, release: str, found: dict[str, bool]) -> Known:
    """The file's content with this release: a letter for each release behind each name of vLLM's."""
    letters = {name: "p" if pipeline else "k" for name, pipeline in sorted(found.items())}
    if release.startswith("v"):
        rest = {name: models for name, models in known["vllm_ascend"].items() if name != release}
        ascend = {**rest, release: letters} if letters else rest
        return {**known, "vllm_ascend": {name: ascend[name] for name in sorted(ascend, key=numbers)}}
    before = known.get("releases", [])
    by_release = {each: {name: row[at] for name, row in known["vllm"].items()} for at, each in enumerate(before)}
    by_release[release] = letters
    after = sorted(by_release, key=numbers)
    names = sorted({name for each in by_release.values() for name in each})
    rows = {name: "".join(by_release[each].get(name, "-") for each in after) for name in names}
    return {
        "letters": "p: the release knows it, and it can be a pipeline; k: it cannot; -: the release does not know it",
        "releases": after,
        "vllm": {name: row for name, row in rows.items() if row.strip("-")},
        "vllm_ascend": known["vllm_ascend"],
    }


def numbers(release: str) -> tuple[int, ...]:
    """Its order: a candidate stands before the final release."""
    parts = [int(part) for part in re.findall(r"[0-9]+", release.partition("rc")[0])]
    candidate = release.partition("rc")[2]
    return (*parts[:3], int(candidate) if candidate else sys.maxsize, *parts[3:])


def registered(sources: Sources) -> dict[str, Class]:
    """What vLLM's registry lists: `"LlamaForCausalLM": ("llama", "LlamaForCausalLM")`."""
    found = {}
    for node in ast.walk(sources.tree(REGISTRY)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                    module, name = (str(part.value) for part in value.elts if isinstance(part, ast.Constant))
                    found[str(key.value)] = Class(module if "." in module else f"{MODELS}.{module}", name)
    return found


def registered_by_ascend(sources: Sources) -> dict[str, Class]:
    """What vllm-ascend registers: `register_model("X", "vllm_ascend.models.x:AscendX")`; the last one counts."""
    found = {}
    for node in ast.walk(sources.tree(ASCENDS) if sources.file(ASCENDS) else ast.Module([], [])):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "register_model":
            architecture, where = (str(word.value) for word in node.args if isinstance(word, ast.Constant))
            found[architecture] = Class(*where.split(":"))
    return found


class Sources:
    """Python files by the names of their modules."""

    def __init__(self, sites: tuple[Path, ...]) -> None:
        self._sites = sites
        self.tree = cache(self._tree)
        self.is_pipeline = cache(self._is_pipeline)

    def file(self, module: str) -> Path | None:
        """The file of a module, or None when no site has it."""
        for site in self._sites:
            path = site.joinpath(*module.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    return file
        return None

    def _tree(self, module: str) -> ast.Module:
        file = self.file(module)
        return ast.parse(file.read_text(encoding="utf-8")) if file else ast.Module([], [])

    def _is_pipeline(self, where: Class) -> bool:
        """As vLLM's `supports_pp` has it: the class says so, and its `forward` takes what the stage before sends."""
        family = self.family(where)
        forward = next((found for body in family if (found := forward_of(body))), None)
        return any(map(says_so, family)) and (forward is None or takes(forward, "intermediate_tensors"))

    def family(self, where: Class) -> list[ast.ClassDef]:
        """The class and the bases of it that a site has, nearest first."""
        defined = self.definition(where)
        if defined is None:
            return []
        here, body = defined
        bases = [self.family(Class(here, name)) for name in map(base_name, body.bases)]
        return [body, *(each for family in bases for each in family)]

    def definition(self, where: Class) -> tuple[str, ast.ClassDef] | None:
        """The class, and the module that defines it: imports and other names for it are followed.

        Of several, the last: what one `if` imports for other platforms stands before what the `else` does.
        """
        for node in reversed(list(ast.walk(self.tree(where.module)))):
            if isinstance(node, ast.ClassDef) and node.name == where.name:
                return where.module, node
            elsewhere = self._elsewhere(where, node)
            found = self.definition(elsewhere) if elsewhere else None
            if found:
                return found
        return None

    def _elsewhere(self, where: Class, node: ast.AST) -> Class | None:
        """Where this statement says that the class comes from, if it does."""
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if (alias.asname or alias.name) == where.name]
            return Class(self.absolute(where.module, node), names[0]) if names else None
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id != where.name:
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            return Class(where.module, node.value.id) if where.name in targets else None
        return None

    def absolute(self, module: str, node: ast.ImportFrom) -> str:
        """The module that an import names, from inside another one."""
        if not node.level:
            return node.module or ""
        file = self.file(module)
        package = module.split(".") if file and file.name == "__init__.py" else module.split(".")[:-1]
        return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def forward_of(body: ast.ClassDef) -> ast.FunctionDef | None:
    """The `forward` that this class itself defines; protocols only declare one."""
    if "Protocol" in map(base_name, body.bases):
        return None
    return next((node for node in body.body if isinstance(node, ast.FunctionDef) and node.name == "forward"), None)


def takes(function: ast.FunctionDef, name: str) -> bool:
    """True when an argument of this name can be given."""
    given = function.args
    return given.kwarg is not None or name in {each.arg for each in (*given.args, *given.kwonlyargs)}


def says_so(body: ast.ClassDef) -> bool:
    """True for a class with `supports_pp = True`: that is vLLM's interface `SupportsPP`, mostly."""
    for node in body.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "supports_pp" for target in targets):
                return isinstance(node.value, ast.Constant) and node.value.value is True
    return False


def base_name(base: ast.expr) -> str:
    """`X` of `X`, `X[T]`, `module.X` and `adapted(X)`."""
    if isinstance(base, ast.Subscript):
        return base_name(base.value)
    if isinstance(base, ast.Call) and base.args:
        return base_name(base.args[0])
    return base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""


def compare(read: dict[str, bool]) -> None:
    """Fails where vLLM's own inspection says otherwise; tells how many classes it could import."""
    from importlib import import_module  # noqa: PLC0415 - only with a vLLM

    registry: Any = import_module(REGISTRY)
    asked = {}
    for name, model in registry.ModelRegistry.models.items():
        try:
            asked[name] = registry.supports_pp(model.load_model_cls())
        except Exception as fault:  # noqa: BLE001 - a library that this Python has not, or a kernel for another device
            sys.stderr.write(f"{name}: {type(fault).__name__}: {str(fault)[:90]}\n")
    wrong = sorted(name for name, says in asked.items() if read.get(name) is not says)
    sys.stderr.write(f"{len(asked)} of {len(read)} asked, {len(wrong)} told otherwise: {wrong}\n")
    if wrong or set(registry.ModelRegistry.models) != set(read):
        sys.exit(1)


if __name__ == "__main__":
    main()
