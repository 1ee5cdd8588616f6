"""Plan to Bundle: every file, in memory. Templates see the Plan and nothing else."""

from __future__ import annotations

import hashlib
import json
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from compiler import __version__, quote
from compiler.bundle import Bundle, File
from compiler.checks import checks
from compiler.compose import compose
from compiler.container import definition
from compiler.holes import Form, layout, strings, symbolic, through
from compiler.topology import picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from compiler.plan import NodePlan, Plan

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
SUMS = "SHA256SUMS"
_COMPOSE = "docker-compose.yaml"
# YAML takes longest. Plans that differ in their nodes' own strings alone have the same form.
_composed = lru_cache(maxsize=16)(compose)


def render(plan: Plan) -> Bundle:
    """Everything the cluster needs."""
    templates = _environment()
    files = [*_node_files(plan, templates), *_cluster_files(plan, templates)]
    files.append(_manifest(plan, files))
    return Bundle(plan.name, tuple(sorted(files)))


def render_file(plan: Plan, path: str) -> File | None:
    """One file of the bundle, made alone where it can be; None when the bundle has no such file."""
    folder, _, name = path.rpartition("/")
    if path == MANIFEST:
        made = list(render(plan).files)
    elif not folder:
        made = _cluster_files(plan, _environment(), name)
    else:
        made = [file for node in plan.nodes if node.name == folder for file in _files_of(plan, node, name)]
    return next((file for file in made if file.path == path), None)


def render_on_nodes(plan: Plan, name: str) -> dict[str, bytes]:
    """The file of this name for each node that has one, by the node's name, and no other file."""
    made = _node_files(plan, _environment(), name)
    return {file.path.partition("/")[0]: file.content for file in made}


def _files_of(plan: Plan, node: NodePlan, only: str) -> list[File]:
    """This file of a node; the checksums need all the others."""
    own = strings(node)
    forms = _forms(plan, node, _environment(), "" if only == SUMS else only)
    made = [File(f"{node.name}/{name}", form.filled(own).encode(), exe) for name, form, exe in forms]
    return [_sums(node.name, made)] if only == SUMS else made


def _node_files(plan: Plan, templates: Environment, only: str = "") -> list[File]:
    files: list[File] = []
    forms: dict[object, tuple[tuple[str, Form, bool], ...]] = {}
    for node in plan.nodes:
        key = layout(node)
        if key not in forms:
            forms[key] = _forms(plan, node, templates, only)
        own = strings(node)
        made = [File(f"{node.name}/{name}", form.filled(own).encode(), exe) for name, form, exe in forms[key]]
        files += made
        if not only:
            files.append(_sums(node.name, made))
    return files


def _forms(plan: Plan, node: NodePlan, templates: Environment, only: str = "") -> tuple[tuple[str, Form, bool], ...]:
    """The form, name and mode of each file of a node; or of the only one that is wanted."""
    open_node = symbolic(node)
    rooms = ("node", "head") if node.is_head else ("node",)
    forms = []
    for template in _in_rooms(templates, rooms, only):
        name = _output(template)
        text = templates.get_template(template).render(plan=plan, node=open_node, checks=checks())
        forms.append((name, Form(text), name.endswith(".sh")))
    if only in ("", _COMPOSE):
        container = definition(plan.container, plan.timeouts, open_node)
        forms.append((_COMPOSE, Form(_composed(container, plan.name, open_node.name)), False))
    return tuple(sorted(forms, key=lambda form: form[0]))


def _cluster_files(plan: Plan, templates: Environment, only: str = "") -> list[File]:
    facts = {"plan": plan, "picture": picture(plan), "version": __version__}
    return [
        File(_output(template), templates.get_template(template).render(facts).encode(), executable=False)
        for template in _in_rooms(templates, ("cluster",), only)
    ]


def _in_rooms(templates: Environment, rooms: Sequence[str], only: str) -> list[str]:
    """The templates of these folders: the folder is the scope, so a new file needs no line of code."""
    found = (name for name in templates.list_templates(extensions=["j2"]) if name.split("/")[0] in rooms)
    return [name for name in found if only in ("", _output(name))]


def _output(template: str) -> str:
    return template.rpartition("/")[2].removesuffix(".j2")


def _sums(node: str, files: Sequence[File]) -> File:
    """What `sha256sum -c SHA256SUMS` reads, in the node's folder."""
    lines = [f"{_sha256(file.content)}  {file.path.rpartition('/')[2]}\n" for file in files]
    return File(f"{node}/{SUMS}", "".join(lines).encode(), executable=False)


def _manifest(plan: Plan, files: Sequence[File]) -> File:
    tensor, pipeline, reason = plan.parallelism
    manifest = {
        "format_version": MANIFEST_VERSION,
        "compiler_version": __version__,
        "name": plan.name,
        "spec_sha256": plan.spec_digest,
        "parallelism": {"tensor": tensor, "pipeline": pipeline, "reason": reason},
        "files": {file.path: {"sha256": _sha256(file.content), "mode": f"{file.mode:04o}"} for file in sorted(files)},
    }
    return File(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode(), executable=False)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _environment() -> Environment:
    """Jinja2 as the templates expect it: strict, and with no other logic than printing and looping."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - `check` needs no template

    environment = Environment(
        loader=PackageLoader("templates", "."),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - these are shell scripts and Markdown; each value names its encoder
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in quote.ENCODERS:
        environment.filters[name] = _filter(name)
    environment.filters["words"] = lambda words: " ".join(through("sh", word) for word in words)
    environment.filters["json"] = _json
    return environment


def _filter(encoder: str) -> Any:
    return lambda value: through(encoder, value)


def _json(value: Any) -> str:
    """A string, or a list of strings or numbers, as JSON."""
    if isinstance(value, str):
        return through("json", value)
    return f"[{', '.join(_json(each) if isinstance(each, str) else json.dumps(each) for each in value)}]"
