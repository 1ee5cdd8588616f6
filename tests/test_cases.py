"""A case is a folder: `spec.yaml` and its overlays in; what is reported, and the bundle if there is one, out.

Adding a case adds no code; `make snapshots` rewrites what comes out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compiler import report
from compiler.compile import compile_spec
from compiler.render import render
from compiler.source import Source

if TYPE_CHECKING:
    from compiler.bundle import Bundle

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())


def sources(case: Path) -> list[Source]:
    files = [case / "spec.yaml", *sorted(case.glob("overlay-*.yaml"))]
    return [Source(file.name, file.read_bytes()) for file in files]


def nested(bundle: Bundle) -> dict[str, Any]:
    """The bundle as pytest-snapshot wants a folder: mappings in mappings."""
    tree: dict[str, Any] = {}
    for file in bundle.files:
        *folders, name = file.path.split("/")
        room = tree
        for folder in folders:
            room = room.setdefault(folder, {})
        room[name] = file.content
    return tree


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, snapshot: Any) -> None:
    snapshot.snapshot_dir = case
    spec = sources(case)
    compiled = compile_spec(spec)
    told = report.as_text(compiled.diagnostics, spec, colour=False)
    snapshot.assert_match(told, "report.txt")
    if compiled.plan is not None:
        snapshot.assert_match_dir(nested(render(compiled.plan)), "bundle")


def test_refused_cases_have_no_bundle() -> None:
    for case in CASES:
        refused = ": error: " in (case / "report.txt").read_text()
        assert refused != (case / "bundle").is_dir(), case.name
