"""Plan to Bundle: every file, made when it is asked for. Templates see the Plan and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from compiler import __version__, quote
from compiler.bundle import Bundle, File, Folder, Parts, digests_of, file_of, mode_of
from compiler.checks import checks
from compiler.compose import compose
from compiler.container import definition
from compiler.holes import Form, Hole, Table, layout, strings, symbolic
from compiler.topology import picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compiler.plan import NodePlan, Plan

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
SUMS = "SHA256SUMS"
_COMPOSE = "docker-compose.yaml"


def render(plan: Plan) -> Bundle:
    """Everything the cluster needs."""
    rendering = _Rendering(plan)
    return Bundle(plan.name, rendering.paths, rendering.files, rendering.parts)


def render_file(plan: Plan, path: str) -> File | None:
    """One file of the bundle, made alone where it can be; None when the bundle has no such file."""
    folder, _, name = path.rpartition("/")
    if path == MANIFEST:
        made = list(render(plan).files)
    elif not folder:
        made = _cluster_files(plan, name)
    else:
        made = [file for node in plan.nodes if node.name == folder for file in _node_files(plan, node, name)]
    return next((file for file in made if file.path == path), None)


def render_on_nodes(plan: Plan, name: str) -> dict[str, bytes]:
    """The file of this name for each node that has one, by the node's name, and no other file."""
    kinds = _Kinds(plan, name)
    return {node.name: content for node in plan.nodes for content in kinds.of(node).contents(node)}


def _node_files(plan: Plan, node: NodePlan, only: str) -> list[File]:
    """This file of a node; the checksums need all the others."""
    kind = _Kind(plan, node, "" if only == SUMS else only)
    contents = kind.contents(node)
    return kind.files(node, contents, kind.digests(contents))


class _Rendering:
    """Goes through all files, as often as it is asked to; what they hash to is made on the first way and kept."""

    def __init__(self, plan: Plan) -> None:
        kinds = _Kinds(plan)
        self._plan = plan
        self._nodes = [(node, kinds.of(node)) for node in plan.nodes]
        self._digests: list[bytes] = []  # of each node's files
        self._entries: list[tuple[str, bytes]] = []  # in the manifest, of the files outside all nodes' folders

    def paths(self) -> Iterator[str]:
        """Of all files, in their order."""
        *above, manifest = self._names()
        yield from above
        for node, kind in self._nodes:
            prefix = f"{node.name}/"
            yield from [prefix + name for name in kind.names]
        yield manifest

    def files(self) -> Iterator[File]:
        """All files, the manifest last."""
        yield from self._above()
        digests = []
        for index in range(len(self._nodes)):
            made = self._below(index)
            yield from made
            digests.append(digests_of(made))
        self._digests = digests
        yield self._manifest([self._listed(index, own) for index, own in enumerate(digests)])

    def parts(self) -> Parts:
        """The same in parts."""
        folders = [Folder(node.name, kind.names, kind.key(node)) for node, kind in self._nodes]
        return Parts(self._names(), self._above, folders, self._below, self._listed, self._manifest)

    def _names(self) -> list[str]:
        return [*map(_output, _templates(("cluster",))), MANIFEST]

    def _above(self) -> list[File]:
        """The files outside all nodes' folders, but for the manifest."""
        made = _cluster_files(self._plan)
        self._entries = [
            (file.path, _listed(file.path, file.sha256, executable=file.executable).encode()) for file in made
        ]
        return made

    def _below(self, index: int) -> list[File]:
        """The files of a node."""
        node, kind = self._nodes[index]
        contents = kind.contents(node)
        return kind.files(node, contents, self._digests[index] if self._digests else kind.digests(contents))

    def _listed(self, index: int, digests: bytes) -> bytes:
        """The entries of a node's files in the manifest."""
        node, kind = self._nodes[index]
        return kind.listed(node, digests)

    def _manifest(self, listed: Sequence[bytes]) -> File:
        """The manifest: all files by their paths."""
        plan, entries = self._plan, self._entries.copy()
        tensor, pipeline, reason = plan.parallelism
        facts = {
            "format_version": MANIFEST_VERSION,
            "compiler_version": __version__,
            "name": plan.name,
            "spec_sha256": plan.spec_digest,
            "parallelism": {"tensor": tensor, "pipeline": pipeline, "reason": reason},
            "files": {},
        }
        # As json.dumps would write it; but Python's encoder that indents takes a second for ten thousand nodes.
        entries += [(f"{node.name}/", own) for (node, _), own in zip(self._nodes, listed, strict=True)]
        before, _, after = json.dumps(facts, indent=2).encode().rpartition(b"{}")
        told = b",\n".join([text for _, text in sorted(entries)])
        return file_of(MANIFEST, b"".join((before, b"{\n", told, b"\n  }", after, b"\n")))


class _Kinds:
    """A kind for all nodes that are rendered alike, made when the first of them is met."""

    def __init__(self, plan: Plan, only: str = "") -> None:
        self._plan = plan
        self._only = only
        self._made: dict[object, _Kind] = {}

    def of(self, node: NodePlan) -> _Kind:
        key = layout(node)
        if key not in self._made:
            self._made[key] = _Kind(self._plan, node, self._only)
        return self._made[key]


class _Part(NamedTuple):
    """One file of a kind of nodes."""

    name: str
    form: Form
    executable: bool


class _Kind:
    """The files of all nodes of one layout; with `only`, the one file of that name, and no checksums.

    Attributes:
        names: Of its files; the checksums come last.
    """

    def __init__(self, plan: Plan, node: NodePlan, only: str = "") -> None:
        self._table = Table()
        self._parts = sorted(_parts(plan, symbolic(node), self._table, only), key=lambda part: part.name)
        self._sums = not only
        self.names = [part.name for part in self._parts] + [SUMS] * self._sums
        told = [(part.name, part.form.text, part.executable) for part in self._parts]
        self._own = hashlib.sha256(repr(told).encode())
        modes = [part.executable for part in self._parts] + [False] * self._sums
        # A node's name is a DNS label, and a file's is ours: neither holds what JSON would escape.
        listed = [
            _listed(f"<{len(modes)}>/{name}", f"<{index}>", executable=executable)
            for name, index, executable in sorted(zip(self.names, range(len(modes)), modes, strict=True))
        ]
        self._listing = _form_of_digests(",\n".join(listed))
        self._summing = _form_of_digests(
            "".join([f"<{index}>  {part.name}\n" for index, part in enumerate(self._parts)])
        )

    def key(self, node: NodePlan) -> bytes:
        """Of all that its files follow from: the text around its own strings, and those, none of which holds a NUL."""
        key = self._own.copy()
        key.update("\0".join(strings(node)).encode())
        return key.digest()

    def contents(self, node: NodePlan) -> list[bytes]:
        """The bytes of its files, but for the checksums."""
        encoded = self._table.encoded(strings(node))
        return [part.form.filled(encoded) for part in self._parts]

    def digests(self, contents: Sequence[bytes]) -> bytes:
        """The sha256 of each of its files, 32 bytes each, the checksums last."""
        own = b"".join([hashlib.sha256(content).digest() for content in contents])
        return own + hashlib.sha256(self._summed(own)).digest() if self._sums else own

    def files(self, node: NodePlan, contents: Sequence[bytes], digests: bytes) -> list[File]:
        """Its files."""
        hexed = digests.hex(" ", 32).split()
        made = [
            File(f"{node.name}/{part.name}", content, part.executable, digest)
            for part, content, digest in zip(self._parts, contents, hexed, strict=False)
        ]
        if self._sums:
            made.append(File(f"{node.name}/{SUMS}", self._summed(digests), executable=False, sha256=hexed[-1]))
        return made

    def listed(self, node: NodePlan, digests: bytes) -> bytes:
        """Its files' entries in the manifest."""
        return self._listing.filled([*_hexed(digests), node.name.encode()])

    def _summed(self, digests: bytes) -> bytes:
        """What `sha256sum -c SHA256SUMS` reads, in the node's folder."""
        return self._summing.filled(_hexed(digests))


def _hexed(digests: bytes) -> list[bytes]:
    return digests.hex(" ", 32).encode().split()


def _form_of_digests(text: str) -> Form:
    """Text with a hole for each number in angle brackets."""
    return Form(re.sub("<([0-9]+)>", lambda found: Hole(int(found[1])), text), lambda number, _: number)


def _listed(path: str, digest: str, *, executable: bool) -> str:
    """A file's entry in the manifest."""
    mode = mode_of(executable=executable)
    return f'    {quote.json_text(path)}: {{\n      "sha256": "{digest}",\n      "mode": "{mode:04o}"\n    }}'


def _parts(plan: Plan, node: NodePlan, table: Table, only: str) -> Iterator[_Part]:
    """Each file of a node whose strings are holes; or the only one that is wanted."""
    from compiler.jinja import printed  # noqa: PLC0415 - `check` needs no template

    for template in _templates(("node", "head") if node.is_head else ("node",), only):
        name = _output(template)
        text = printed(template, plan=plan, node=node, checks=checks())
        yield _Part(name, Form(text, table.slot), name.endswith(".sh"))
    if only in ("", _COMPOSE):
        container = definition(plan.container, plan.timeouts, node)
        yield _Part(_COMPOSE, Form(compose(container, plan.name, node.name), table.slot), executable=False)


def _cluster_files(plan: Plan, only: str = "") -> list[File]:
    from compiler.jinja import printed  # noqa: PLC0415 - as above

    wanted = _templates(("cluster",), only)
    facts = {"plan": plan, "picture": picture(plan), "version": __version__} if wanted else {}
    return [file_of(_output(name), printed(name, **facts).encode()) for name in wanted]


def _templates(rooms: Sequence[str], only: str = "") -> list[str]:
    from compiler.jinja import names  # noqa: PLC0415 - as above

    return [name for name in names(rooms) if only in ("", _output(name))]


def _output(template: str) -> str:
    return template.rpartition("/")[2].removesuffix(".j2")
