"""The published JSON Schema accepts what compiles and refuses what the compiler refuses of a spec's structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "schema" / "cluster.schema.json").read_text())
CASES = sorted(path for path in (ROOT / "tests" / "cases").iterdir() if not list(path.glob("overlay-*")))
# What each field may be by itself; the rules that compare fields are not JSON Schema's to hold.
STRUCTURAL = {
    "address", "computed-arg", "computed-env", "env-name", "image", "interface", "label-name", "missing-field",
    "name", "not-a-choice", "out-of-range", "path", "refused-accelerator", "unknown-accelerator", "unknown-key",
    "version", "vllm-flag", "wrong-length",
}  # fmt: skip


def accepted(spec: Path) -> bool:
    document: Any = YAML(typ="safe", pure=True).load(spec.read_text())
    return Draft202012Validator(SCHEMA).is_valid(document)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("spec", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_accepted(spec: Path) -> None:
    assert accepted(spec)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_every_case_is_judged_alike(case: Path) -> None:
    told = (case / "report.txt").read_text()
    errors = [line for line in told.splitlines() if ": error: " in line]
    codes = {line.rpartition("[")[2].rstrip("]") for line in errors}
    try:
        valid = accepted(case / "spec.yaml")
    except YAMLError:
        assert codes & {"yaml-syntax", "yaml-surprise", "duplicate-key"}
        return
    if codes & STRUCTURAL:
        assert not valid
    elif not codes:
        assert valid


def fields(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, field in node.get("properties", {}).items():
        found.append((f"{path}.{name}", field))
    for name, definition in node.get("$defs", {}).items():
        found += fields(definition, name)
    return found


@pytest.mark.parametrize(("path", "field"), fields(SCHEMA), ids=[path for path, _ in fields(SCHEMA)])
def test_every_field_has_a_description_and_an_example(path: str, field: dict[str, Any]) -> None:
    assert field.get("description"), path
    assert field.get("examples"), path
