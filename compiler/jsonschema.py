"""The JSON Schema of the spec, for editors and for tools that check a spec without this program.

Made of the pydantic models, with what only the text of a spec shows: an entry's ranges, the accelerators
that there are data files for, the names that are computed.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from compiler.arguments import COMPUTED_ARGS
from compiler.facts import accelerator, accelerator_names
from compiler.rules import COMPUTED_ENV
from schema.accelerator import Accelerator
from schema.described import described_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_RANGE = r"\[[0-9a-z]+:[0-9a-z]+(:[0-9]+)?\]"


def schema_text() -> str:
    """The schema as it is published, byte for byte."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema as data."""
    made: dict[str, Any] = described_schema(_InOrder)
    made = {"$schema": DIALECT, "title": "Cluster spec", **{key: made[key] for key in made if key != "title"}}
    names = [name for name in accelerator_names() if isinstance(accelerator(name), Accelerator)]
    made["properties"]["accelerator"] = _described(made["properties"]["accelerator"], {"enum": names})
    definitions = made["$defs"]
    for name, field in (
        ("Node", "name"),
        ("Node", "address"),
        ("Node", "interface"),
        ("FirstAddress", "first"),
    ):
        _allow_ranges(definitions[name]["properties"][field])
    _allow_ranges(definitions["Node"]["properties"]["npu_addresses"])
    for room in (made, definitions["Node"], definitions["NodeFields"]):
        _refuse_names(room["properties"]["env"], COMPUTED_ENV)
    _refuse_names(definitions["Serve"]["properties"]["args"], COMPUTED_ARGS)
    _drop_titles(made)
    _close(made)
    return made


class _InOrder(GenerateJsonSchema):
    """Keeps every key where the models and the examples have it."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:  # noqa: ARG002 - pydantic's signature
        """The value as it is."""
        return value


def _close(node: Any) -> None:
    """Says in JSON Schema's words what pydantic says in its own: bounds, and that no other name is admitted."""
    if isinstance(node, dict):
        for ours, theirs in (("ge", "minimum"), ("le", "maximum")):
            if ours in node:
                node[theirs] = node.pop(ours)
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _close(value)
    elif isinstance(node, list):
        for each in node:
            _close(each)


def _described(field: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    return {**kind, **{key: field[key] for key in ("description", "examples") if key in field}}


def _allow_ranges(node: Any) -> None:
    """Lets each pattern below also be text with a range in it."""
    if isinstance(node, dict):
        if "pattern" in node:
            node["anyOf"] = [{"pattern": node.pop("pattern")}, {"pattern": _RANGE}]
        for key in ("anyOf", "oneOf", "items"):
            _allow_ranges(node.get(key) if key != "anyOf" or "type" not in node else None)
    elif isinstance(node, list):
        for each in node:
            _allow_ranges(each)


def _refuse_names(field: dict[str, Any], names: dict[str, str]) -> None:
    field["propertyNames"] = {**field.get("propertyNames", {}), "not": {"enum": sorted(names)}}


def _drop_titles(node: Any) -> None:
    """Pydantic's titles are the fields' names again, in capitals."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("properties", "$defs"):
                for each in value.values():
                    each.pop("title", None)
                    _drop_titles(each)
            elif key not in ("examples", "default"):
                _drop_titles(value)
        if node.get("type") is not None and "properties" not in node and "$schema" not in node:
            node.pop("title", None)
    elif isinstance(node, list):
        for each in node:
            _drop_titles(each)
