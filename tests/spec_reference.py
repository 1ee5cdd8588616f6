"""The tables of docs/spec.md, made of the JSON Schema, which is made of the models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from compiler.jsonschema import schema
from schema import text
from schema.explain import as_pydantic

if TYPE_CHECKING:
    from collections.abc import Iterator

# The kinds of text that have a grammar, by the pattern that the schema has for them.
_KINDS = {
    TypeAdapter(as_pydantic(kind)).json_schema()["pattern"]: name
    for kind, name in (
        (text.Label, "DNS label"),
        (text.Interface, "interface name"),
        (text.Address, "IPv4 address"),
        (text.AbsolutePath, "absolute path"),
        (text.Device, "device node"),
        (text.Image, "image reference"),
        (text.Docker, "Docker endpoint"),
        (text.EnvName, "variable name"),
        (text.LabelKey, "label name"),
        (text.Flag, "vLLM flag"),
    )
}
_PLAIN = {"boolean": "`true` or `false`", "number": "number"}
_SIZE = r"^[1-9][0-9]*[kKmMgG]?[bB]?$"


def tables() -> dict[str, str]:
    """A table for each room of the spec, by the room's path."""
    whole = schema()
    return {path: f"{room['description']}\n\n{_table(room, whole)}" for path, room in rooms(whole)}


def rooms(whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with named fields, by where it stands in a spec."""
    yield "the spec", whole
    yield from _rooms_below(whole, "", whole)


def _rooms_below(room: dict[str, Any], path: str, whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in room["properties"].items():
        for place, below in _mappings(field, f"{path}{name}", whole):
            if "properties" in below:
                yield place, below
                yield from _rooms_below(below, f"{place}.", whole)


def _mappings(field: dict[str, Any], path: str, whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in alternatives(field, whole):
        if each.get("type") == "array":
            yield from _mappings(each["items"], f"{path}[]", whole)
        elif named := _named(each):
            yield from _mappings(named[1], f"{path}.NAME", whole)
        elif "properties" in each:
            yield path, each


def alternatives(field: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
    """What a field may be, references followed; that it may be left out is no alternative."""
    if "$ref" in field:
        return [whole["$defs"][field["$ref"].rpartition("/")[2]]]
    if "type" not in field and ("anyOf" in field or "oneOf" in field):
        several = [*field.get("anyOf", ()), *field.get("oneOf", ())]
        return [found for each in several for found in alternatives(each, whole) if found != {"type": "null"}]
    return [field]


def _table(room: dict[str, Any], whole: dict[str, Any]) -> str:
    required = room.get("required", [])
    rows = ["| field | type | default | meaning | example |", "| --- | --- | --- | --- | --- |"]
    for name, field in room["properties"].items():
        default = "**required**" if name in required else _default(field)
        example = "<br>".join(_code(each) for each in field["examples"])
        cells = (f"`{name}`", _type(field, whole), default, field["description"], example)
        rows.append("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any]) -> str:
    if field.get("default") in (None, {}, []):
        return "none"
    return _code(field["default"])


def _type(field: dict[str, Any], whole: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_kind(each, whole) for each in alternatives(field, whole)))


def _kind(field: dict[str, Any], whole: dict[str, Any]) -> str:
    if "const" in field or "enum" in field:
        return ", ".join(_code(each) for each in field.get("enum", [field.get("const")]))
    kind = field["type"]
    if kind == "array":
        return f"list of {_type(field['items'], whole)}"
    if kind == "object":
        named = _named(field)
        return f"mapping of {_KINDS.get(named[0], 'text')}: {_type(named[1], whole)}" if named else "mapping"
    if isinstance(kind, list):
        return "any value"
    if kind in _PLAIN:
        return _PLAIN[kind]
    return _whole_number(field) if kind == "integer" else _text_kind(field)


def _named(field: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """For a mapping whose names are the user's: the pattern of the names, and what each holds."""
    for pattern, below in field.get("patternProperties", {}).items():
        return pattern, below
    below = field.get("additionalProperties")
    return (field.get("propertyNames", {}).get("pattern", ""), below) if isinstance(below, dict) else None


def _whole_number(field: dict[str, Any]) -> str:
    least, most = field.get("minimum", field.get("ge")), field.get("maximum", field.get("le"))
    if least is None:
        return "whole number"
    return f"whole number, {least} to {most}" if most is not None else f"whole number, {least} or more"


def _text_kind(field: dict[str, Any]) -> str:
    patterns = [field["pattern"]] if "pattern" in field else [each["pattern"] for each in field.get("anyOf", [])]
    if _SIZE in patterns:
        return "size"
    known = [_KINDS[each] for each in patterns if each in _KINDS]
    ranged = ", may hold a range" if len(patterns) > 1 else ""
    return f"{known[0]}{ranged}" if known else "text"


def _code(value: object) -> str:
    return f"`{_flow(value)}`"


def _flow(value: object) -> str:
    """The value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and value.lower() in ("true", "false", ""):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)
