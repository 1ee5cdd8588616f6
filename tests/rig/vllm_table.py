"""What `vllm_flags.py` told of some releases, into `schema/vllm_flags.json`: one table for all of them.

    python tests/rig/vllm_table.py 0.11.0 0.23.0    # or: make flags RELEASES='0.11.0 0.23.0'

Each is installed and its parser is asked. Releases that are not named stay as the table has them. The pins of
`vllm-requirements.txt` serve 0.11.0, and 0.15 to 0.23; what others need in their place is said in CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from vllm_home import installed, python

HERE = Path(__file__).parent
TABLE = HERE.parent.parent / "schema" / "vllm_flags.json"
SECTIONS = ("flags", "mappings")


def main() -> None:
    """Writes the table anew, with what the releases named on the command line tell."""
    told = [asked(release) for release in sys.argv[1:]]
    TABLE.write_text(text(merged(TABLE.read_text(encoding="utf-8") if TABLE.exists() else "", told)), encoding="utf-8")


def asked(release: str) -> dict[str, Any]:
    """What this vLLM's own parser tells."""
    command = (python(), HERE / "vllm_flags.py")
    ran = subprocess.run(command, env=installed(release), stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def merged(table: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was told of each release: anew where it was told anew, else as the table has it; oldest first."""
    known = {release["release"]: release for release in [*(_apart(json.loads(table)) if table else ()), *told]}
    return sorted(known.values(), key=lambda release: _age(release["release"]))


def _age(release: str) -> tuple[int, ...]:
    """Sorts releases; a candidate stands before what it was a candidate of."""
    numbers = re.findall(r"[0-9]+", release)
    return (*map(int, numbers[:3]), *((-1, int(numbers[3])) if "rc" in release else (0, *map(int, numbers[3:]))))


def _apart(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The table, release by release: the way back of `text`."""
    names = table["releases"]

    def of(release: str, entries: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {key: value for key, value in each.items() if key != "in"}
            for name, variants in entries.items()
            for each in variants
            if release in among(each["in"], names)
        }

    mappings = {release: {name: of(release, keys) for name, keys in table["mappings"].items()} for release in names}
    return [
        {
            "release": release,
            "flags": of(release, table["flags"]),
            "mappings": {name: keys for name, keys in mappings[release].items() if keys},
        }
        for release in names
    ]


def among(spans: str, names: list[str]) -> list[str]:
    """The releases that `0.9.1-0.10.2 0.12.0` stands for."""
    found: list[str] = []
    for span in spans.split():
        first, _, last = span.partition("-")
        found += names[names.index(first) : names.index(last or first) + 1]
    return found


def text(told: list[dict[str, Any]]) -> str:
    """The table as it is committed: what one flag was in some releases is one line."""
    names = [release["release"] for release in told]
    flags = _together({release["release"]: release["flags"] for release in told}, names)
    configs = sorted({config for release in told for config in release["mappings"]})
    mappings = {
        config: _together({release["release"]: release["mappings"].get(config, {}) for release in told}, names)
        for config in configs
    }
    sections = [_lines("flags", flags), _section("mappings", [_lines(name, keys) for name, keys in mappings.items()])]
    releases = json.dumps(names)
    return f'{{\n"releases": {releases},\n' + ",\n".join(sections) + "\n}\n"


def _together(told: dict[str, dict[str, Any]], names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Each name with what it was, and in which releases, oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in sorted({name for entries in told.values() for name in entries}):
        seen: dict[str, list[str]] = {}
        for release in names:
            if name in told[release]:
                seen.setdefault(json.dumps(told[release][name], sort_keys=True), []).append(release)
        found[name] = [{"in": _spans(releases, names), **json.loads(entry)} for entry, releases in seen.items()]
    return found


def _spans(releases: list[str], names: list[str]) -> str:
    """The releases as spans of neighbours: the way back of `among`."""
    spans = []
    for _, run in groupby(enumerate(releases), key=lambda pair: names.index(pair[1]) - pair[0]):
        neighbours = [release for _, release in run]
        spans.append(neighbours[0] if len(neighbours) == 1 else f"{neighbours[0]}-{neighbours[-1]}")
    return " ".join(spans)


def _lines(title: str, entries: dict[str, list[dict[str, Any]]]) -> str:
    lines = []
    for name, variants in entries.items():
        lines.append(f"{json.dumps(name)}: [" + ",\n  ".join(map(json.dumps, variants)) + "]")
    return _section(title, lines)


def _section(title: str, lines: list[str]) -> str:
    return f"{json.dumps(title)}: {{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    main()
