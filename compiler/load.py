"""The spec's files to a Cluster: parsed, merged, validated; every fault told, none of them in pydantic's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.diagnostics import Diagnostic, error, has_errors
from compiler.overlay import Merged, merge
from compiler.remainder import Remainder, is_of_a_key, is_told, path_of, remainder
from compiler.source import parse
from schema.scalar import REFUSED, Scalar
from schema.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from compiler.diagnostics import Path
    from compiler.overlay import Entry
    from compiler.source import Source
    from schema.cluster import Cluster
    from schema.scalar import Tree


class Loaded(NamedTuple):
    """What was said, and what it takes to say where.

    Attributes:
        cluster: The spec, or None when it has faults.
        entries: For each node, its entry in each file.
        diagnostics: All faults of the text and of its structure.
        rest: The sound parts of a spec with faults, where enough is left to judge.
    """

    cluster: Cluster | None
    entries: list[Entry]
    diagnostics: tuple[Diagnostic, ...]
    rest: Remainder | None


def load(sources: Sequence[Source]) -> Loaded:
    """The cluster that the spec and its overlays describe."""
    parsed = [(source, *parse(source)) for source in sources]
    told = tuple(fault for _, _, faults in parsed for fault in faults)
    merged, faults = merge([(source, tree) for source, tree, _ in parsed])
    cluster, invalid, rest = _validate(merged)
    diagnostics = (*told, *faults, *invalid)
    if cluster is not None and has_errors(diagnostics):  # of the text alone, as a key that stands twice
        rest = Remainder(cluster, tuple(range(len(cluster.nodes))))
        cluster = None
    return Loaded(cluster, merged.entries, diagnostics, rest)


def _validate(merged: Merged) -> tuple[Cluster | None, tuple[Diagnostic, ...], Remainder | None]:
    from schema.accept import accept  # noqa: PLC0415 - `--help` needs none of it
    from schema.cluster import Cluster  # noqa: PLC0415

    if merged.tree is REFUSED:
        return None, (), None
    try:
        return accept(Cluster, merged.tree), (), None
    except ValueError:
        return None, *_explained(merged.tree)


def _explained(tree: Tree) -> tuple[tuple[Diagnostic, ...], Remainder | None]:
    """Every fault of a spec that has some, and what is sound of it."""
    from schema.cluster import Cluster  # noqa: PLC0415 - a good spec needs neither this
    from schema.described import described_schema  # noqa: PLC0415 - nor this
    from schema.explain import faults_of  # noqa: PLC0415 - nor this

    errors, schema = faults_of(Cluster, tree), described_schema()
    assert errors, "what was not accepted has a fault"  # noqa: S101 - a property proves it
    faults = [_translate(each, schema) for each in errors if not is_told(each)]
    return _without_echoes(faults), remainder(tree, errors)


def _without_echoes(faults: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """`frist` for `first` is one mistake: that `first` is missing goes without saying."""
    meant = {
        (*fault.path[:-1], fault.hint.removeprefix("did you mean ").removesuffix("?"))
        for fault in faults
        if fault.code == "unknown-key"
    }
    return tuple(fault for fault in faults if fault.code != "missing-field" or fault.path not in meant)


def _translate(fault: ErrorDetails, schema: Mapping[str, Any]) -> Diagnostic:
    """The fault in the words of the one who must mend the spec."""
    made = _made_of(fault, path_of(fault), fault["input"], schema)
    at_key = made.at_key or is_of_a_key(fault)
    return made._replace(at_key=at_key, secret=made.path[:1] == ("secrets",))


def _made_of(fault: ErrorDetails, path: Path, value: object, schema: Mapping[str, Any]) -> Diagnostic:  # noqa: PLR0911 - one a kind
    from schema.text import kind  # noqa: PLC0415 - see `_validate`

    context = fault.get("ctx", {})
    match fault["type"]:
        case "spec":
            return error(context["code"], path, context.get("message") or fault["msg"], context.get("hint", ""))
        case "extra_forbidden":
            return _unknown_key(path, schema)
        case "missing":
            return _missing(path, schema)
        case "model_type" | "model_attributes_type" if not path:
            hint = "`compiler init` writes one to begin with"
            return error("wrong-type", path, f"a spec is a mapping, and this is {kind(value)}", hint)
        case "model_type" | "dict_type" | "model_attributes_type":
            hint = _mapping_hint(path) or _empty_hint(value)
            return error("wrong-type", path, f"should be a mapping, not {kind(value)}", hint)
        case "list_type" | "tuple_type":
            hint = _LISTS.get(str(path[-1]), "") or _empty_hint(value)
            return error("wrong-type", path, f"should be a list, not {kind(value)}", hint)
        case "too_short" | "too_long":
            bound = context.get("min_length", context.get("max_length"))
            least = "at least" if fault["type"] == "too_short" else "at most"
            message = f"has {context['actual_length']} entries and needs {least} {bound}"
            return error("wrong-length", path, message)
        case "greater_than_equal" | "less_than_equal":
            bound, word = (context["ge"], "least") if "ge" in context else (context["le"], "most")
            number = value.text if isinstance(value, Scalar) else value
            return error("out-of-range", path, f"is {number} and must be at {word} {bound}")
        case _:
            return error("invalid", path, fault["msg"][:1].lower() + fault["msg"][1:])


_LISTS = {"npus": "like [0, 1, 2, 3]", "worker_range": "like [10002, 19999]"}


def _mapping_hint(path: Path) -> str:
    """How the mapping is written, where people are used to another form."""
    if path[:1] == ("secrets",) and len(path) > 1:
        return f"write {{from_env: {path[1]}}}; the value itself stands in no spec"
    if path[:2] == ("container", "mounts"):
        return "write {source: /on/the/host, target: /in/the/container}"
    return "write NAME: value" if path[-1:] in (("env",), ("labels",)) else ""


def _empty_hint(value: object) -> str:
    return "remove the key, or give it a value" if isinstance(value, Scalar) and value.value is None else ""


def _unknown_key(path: Path, schema: Mapping[str, Any]) -> Diagnostic:
    fields = sorted(_fields(schema, path[:-1]))
    key = str(path[-1])
    hint = did_you_mean(key, fields) or f"the fields here are {', '.join(fields)}"
    where = "the spec" if len(path) == 1 else _owner(path)
    return error("unknown-key", path, f"is no field of {where}", hint, at_key=True)


def _owner(path: Path) -> str:
    names = [part for part in path[:-1] if isinstance(part, str)]
    return "a node" if path[0] == "nodes" and names == ["nodes"] else f"`{names[-1]}`"


def _missing(path: Path, schema: Mapping[str, Any]) -> Diagnostic:
    field = _fields(schema, path[:-1]).get(str(path[-1]), {})
    examples = field.get("examples", [])
    written = f"{path[-1]}: {examples[0]}" if examples and not isinstance(examples[0], list | dict) else path[-1]
    described = str(field.get("description", "")).split("\n")[0]
    return error("missing-field", path, "is missing", f"add `{written}`. {described}".strip())


def _fields(schema: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The fields that the JSON Schema allows at a path."""
    found = [schema]
    for part in path:
        found = [below for each in found for below in _below(each, part, schema)]
    return {name: field for each in _resolved(found, schema) for name, field in each.get("properties", {}).items()}


def _below(node: Mapping[str, Any], part: str | int, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    below: list[Any] = []
    for each in _resolved([node], schema):
        if isinstance(part, int):
            below.append(each.get("items"))
        else:
            named = each.get("properties", {}).get(part)
            below += (
                [named] if named else [each.get("additionalProperties"), *each.get("patternProperties", {}).values()]
            )
    return [each for each in below if isinstance(each, dict)]


def _resolved(nodes: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nodes with references followed and alternatives side by side."""
    resolved: list[Mapping[str, Any]] = []
    for node in nodes:
        if "$ref" in node:
            name = str(node["$ref"]).rsplit("/", 1)[-1]
            resolved += _resolved([schema["$defs"][name]], schema)
        elif alternatives := node.get("anyOf") or node.get("oneOf"):
            resolved += _resolved(alternatives, schema)
        else:
            resolved.append(node)
    return resolved
