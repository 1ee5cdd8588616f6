"""Plan to Bundle: every file, in memory. Templates see the Plan and nothing else."""

from __future__ import annotations

import hashlib
import json
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


def render(plan: Plan) -> Bundle:
    """Everything the cluster needs."""
    templates = _environment()
    files = [*_node_files(plan, templates), *_cluster_files(plan, templates)]
    files.append(_manifest(plan, files))
    return Bundle(plan.name, tuple(sorted(files)))


def _node_files(plan: Plan, templates: Environment) -> list[File]:
    files: list[File] = []
    forms: dict[object, tuple[tuple[str, Form, bool], ...]] = {}
    for node in plan.nodes:
        key = layout(node)
        if key not in forms:
            forms[key] = _forms(plan, node, templates)
        own = strings(node)
        made = [File(f"{node.name}/{name}", form.filled(own).encode(), exe) for name, form, exe in forms[key]]
        files += made
        files.append(_sums(node.name, made))
    return files


def _forms(plan: Plan, node: NodePlan, templates: Environment) -> tuple[tuple[str, Form, bool], ...]:
    open_node = symbolic(node)
    rooms = ("node", "head") if node.is_head else ("node",)
    forms = []
    for template in _in_rooms(templates, rooms):
        name = _output(template)
        text = templates.get_template(template).render(plan=plan, node=open_node, checks=checks())
        forms.append((name, Form(text), name.endswith(".sh")))
    container = definition(plan.container, plan.timeouts, open_node)
    forms.append(("docker-compose.yaml", Form(compose(container, plan.name, open_node.name)), False))
    return tuple(sorted(forms, key=lambda form: form[0]))


def _cluster_files(plan: Plan, templates: Environment) -> list[File]:
    facts = {"plan": plan, "picture": picture(plan), "version": __version__}
    return [
        File(_output(template), templates.get_template(template).render(facts).encode(), executable=False)
        for template in _in_rooms(templates, ("cluster",))
    ]


def _in_rooms(templates: Environment, rooms: Sequence[str]) -> list[str]:
    """The templates of these folders: the folder is the scope, so a new file needs no line of code."""
    return [name for name in templates.list_templates(extensions=["j2"]) if name.split("/")[0] in rooms]


def _output(template: str) -> str:
    return template.rpartition("/")[2].removesuffix(".j2")


def _sums(node: str, files: Sequence[File]) -> File:
    """What `sha256sum -c SHA256SUMS` reads, in the node's folder."""
    lines = [f"{_sha256(file.content)}  {file.path.rpartition('/')[2]}\n" for file in files]
    return File(f"{node}/SHA256SUMS", "".join(lines).encode(), executable=False)


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
