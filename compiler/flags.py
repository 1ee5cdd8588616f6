"""vLLM's flags: what a release of vLLM knows, and a flag with its value as the words that this vLLM reads back.

The facts are `schema/vllm_flags.json`, taken from vLLM's own parsers by `tests/rig/vllm_flags.py`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from compiler.packaged import packaged
from schema.vllm_flag import VllmFlag

if TYPE_CHECKING:
    from collections.abc import Mapping

    Entries = Mapping[str, list[dict[str, Any]]]


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(packaged("schema", "vllm_flags.json"))
    return table


def releases() -> tuple[str, ...]:
    """The releases of vLLM whose flags are known, oldest first."""
    return tuple(_table()["releases"])


@cache
def flags_of(release: str | None) -> Mapping[str, VllmFlag]:
    """The flags of this release of vLLM; of one that is not known here, every flag that any release has."""
    return _of(release, _table()["flags"])


@cache
def keys_of(release: str | None, config: str) -> Mapping[str, VllmFlag]:
    """The keys of a config that a flag takes as a mapping; a flag names its own in `keys`."""
    return _of(release, _table()["mappings"][config])


def having(name: str, config: str = "") -> str:
    """Which releases have the flag, or a config's key, as a sentence has it: `0.13.0 and later have it`."""
    found, known = releases_with(name, config), releases()
    if len(found) < 2:  # noqa: PLR2004 - the rest is about several
        return f"{found[0]} has it" if found else ""
    return f"{found[0]} and later have it" if found[-1] == known[-1] else f"{found[0]} to {found[-1]} have it"


def releases_with(name: str, config: str = "") -> tuple[str, ...]:
    """The releases that have the flag, or the config's key, oldest first."""
    entries: Entries = _table()["mappings"][config] if config else _table()["flags"]
    spans = " ".join(each["in"] for each in entries.get(name, ()))
    return tuple(release for release in releases() if release in _among(spans))


def _of(release: str | None, entries: Entries) -> Mapping[str, VllmFlag]:
    if release not in releases():
        return {name: _widest(name, variants) for name, variants in entries.items()}
    here = ((name, each) for name, variants in entries.items() for each in variants if release in _among(each["in"]))
    return {name: _flag(name, each) for name, each in here}


@cache
def _among(spans: str) -> tuple[str, ...]:
    """The releases that `0.9.1-0.10.2 0.12.0` stands for."""
    names, found = _table()["releases"], []
    for span in spans.split():
        first, _, last = span.partition("-")
        found += names[names.index(first) : names.index(last or first) + 1]
    return tuple(found)


def _flag(name: str, entry: dict[str, Any]) -> VllmFlag:
    told: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items() if key != "in"
    }
    return VllmFlag(name, **told)


def _widest(name: str, variants: list[dict[str, Any]]) -> VllmFlag:
    """The newest variant, with the choices of all and no bound: it is asked when the release is not known."""
    known = [_flag(name, each) for each in variants]
    every = tuple(dict.fromkeys(choice for each in known for choice in each.choices))
    choices = every if all(each.choices for each in known) else ()
    return known[-1]._replace(choices=choices, ge=None, gt=None, le=None, lt=None)


def words(name: str, value: object, flag: VllmFlag | None) -> tuple[str, ...]:
    """The flag and its value as vLLM reads them back; none for a switch that is off and has no `--no-` form.

    A flag that is not known is taken for what its value looks like. Read with `vllm/utils/argparse_utils.py`:
    https://github.com/vllm-project/vllm/blob/v0.23.0/vllm/utils/argparse_utils.py
    """
    if "." in name:
        return _one(name, _inside_json(value))
    if isinstance(value, bool) and (flag is None or flag.kind == "switch" or flag.bare):
        off = (f"--no-{name}",) if flag is None or flag.negative else ()
        return (f"--{name}",) if value else off
    if isinstance(value, bool) and flag and flag.kind == "truth":
        return _one(name, "True") if value else (f"--{name}=",)  # bool("False") is true
    if isinstance(value, list) and (flag is None or flag.several) and len(value) > 1:
        if flag and flag.several == "repeat":
            return tuple(word for item in value for word in _one(name, _word(item)))
        return (f"--{name}", *(_word(item) for item in value))
    single = value[0] if isinstance(value, list) and len(value) == 1 and (flag is None or flag.several) else value
    return _one(name, _word(single))


def _one(name: str, word: str) -> tuple[str, ...]:
    """A word that begins with a dash would be taken for the next flag."""
    return (f"--{name}={word}",) if word.startswith("-") else (f"--{name}", word)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_PLAIN = re.compile(r"(?!(?:true|false|null|NaN|Infinity)$)[A-Za-z_/][\w./:@+-]*", re.ASCII)


def _inside_json(value: object) -> str:
    """A value behind a dotted name: vLLM takes the word for JSON, or for a number like 8k, before it is text."""
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


# The letters of `human_readable_int` in every release (later ones know t, too): small are decimal, capital binary.
_READABLE = re.compile(r"(?P<number>[0-9]{1,30})(?:(?P<part>\.[0-9]{1,30})?(?P<small>[kmg])|(?P<capital>[KMG]))")


def readable(text: str) -> int | None:
    """The number that vLLM reads in text like 8k, 1.5m or 2K; None when it reads none."""
    found = _READABLE.fullmatch(text)
    if not found:
        return None
    if found["capital"]:
        return int(found["number"]) * int(2 ** (10 * (1 + "KMG".index(found["capital"]))))
    return int(float(found["number"] + (found["part"] or "")) * 1000 ** (1 + "kmg".index(found["small"])))
