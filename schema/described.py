"""What the docstring under each field of the records says, read when it is wanted: no good spec waits for it."""

from __future__ import annotations

import ast
import inspect
import itertools
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from schema import cluster
from schema.explain import model_of


def described_schema(schema_generator: type[GenerateJsonSchema] = GenerateJsonSchema) -> dict[str, Any]:
    """The JSON Schema of the spec, each field with its description."""
    made = model_of(cluster.Cluster).model_json_schema(schema_generator=schema_generator)
    for name, room in (("Cluster", made), *made["$defs"].items()):
        for field, about in descriptions(name).items():
            if field in room["properties"]:
                room["properties"][field] = _described(room["properties"][field], about)
    return made


def descriptions(model: str) -> dict[str, str]:
    """What the record of this name says of its fields, those that it inherits among them."""
    found: dict[str, str] = {}
    for kind in reversed(getattr(cluster, model).__mro__):
        found |= _written().get(kind.__name__, {})
    return found


@cache
def _written() -> dict[str, dict[str, str]]:
    classes = [each for each in ast.parse(inspect.getsource(cluster)).body if isinstance(each, ast.ClassDef)]
    return {each.name: dict(_of_fields(each.body)) for each in classes}


def _of_fields(body: list[ast.stmt]) -> list[tuple[str, str]]:
    return [
        (field.target.id, inspect.cleandoc(said.value.value))
        for field, said in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    ]


def _described(field: dict[str, Any], about: str) -> dict[str, Any]:
    """The field with its description where pydantic would have it: after its kind, before its examples."""
    own = {key: value for key, value in field.items() if key not in ("examples", "title")}
    return {**own, "description": about, **{key: field[key] for key in ("examples", "title") if key in field}}
