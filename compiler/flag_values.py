"""Tells what is wrong with the value of one of vLLM's flags: its type, its range, and the keys of a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.flag_kinds import WANTED, as_json, as_read_in_json, fits, hint, seen
from compiler.flags import having, keys_of, readable
from schema.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from compiler.diagnostics import Path
    from schema.vllm_flag import VllmFlag

_SHOWN = 12  # of many choices


class Fault(NamedTuple):
    """What is wrong at `path`; the key itself is, when `unknown`."""

    path: Path
    message: str
    hint: str = ""
    unknown: bool = False


def faults(flag: VllmFlag, value: object, path: Path, release: str | None) -> Iterator[Fault]:
    """What this vLLM would refuse of the value, or read as something else than was meant."""
    if flag.several and isinstance(value, list):
        for position, item in enumerate(value):
            yield from _of_one(flag, item, (*path, position), release)
    elif not (flag.bare and isinstance(value, bool)):
        yield from _of_one(flag, value, path, release)


def _of_one(flag: VllmFlag, value: object, path: Path, release: str | None) -> Iterator[Fault]:
    if flag.optional and value == "None":
        return
    if not fits(flag.kind, value):
        message = f"should be {WANTED[flag.kind]}, not {seen(value)}"
        yield Fault(path, message, hint(flag, value))
    elif (given := _mapping(flag, value)) is not None:
        yield from _in_mapping(flag, given, path if isinstance(value, dict) else None, path, release)
    else:
        yield from _not_allowed(flag, value, path)


def inside(key: VllmFlag, value: object, path: Path, release: str | None) -> Iterator[Fault]:
    """The same for a value in JSON, where a number is no text and text no mapping."""
    plain = {"text": str, "mapping": dict, "list": list}.get(key.kind, object)
    if not isinstance(value, plain):
        yield Fault(path, f"should be {WANTED[key.kind]}, not {seen(value)}", hint(key, value))
    else:
        yield from _of_one(key, as_read_in_json(key.kind, value), path, release)


def unknown_key(key: str, config: str, path: Path, release: str | None) -> Fault:
    """That the mapping which is read as this config has no such key."""
    known = keys_of(release, config)
    message = f"vLLM {release} has no key {key!r} here" if release else f"no vLLM known here has a key {key!r} here"
    hint = having(key, config) or did_you_mean(key, known) or f"its keys are {_some(known)}"
    return Fault(path, message, hint, unknown=True)


def _in_mapping(
    flag: VllmFlag, given: Mapping[str, object], deeper: Path | None, path: Path, release: str | None
) -> Iterator[Fault]:
    """The faults of a mapping's keys; of one that is written as text, all of them stand where it does."""
    if flag.kind == "lora" and not {"name", "path"} <= set(given):
        yield Fault(path, "needs a name and a path", "like {name: sql, path: /root/.cache/sql-lora}")
    known = keys_of(release, flag.keys) if flag.keys else {}
    for key, item in given.items() if flag.keys else ():
        here = (*deeper, key) if deeper is not None else path
        if key in known:
            yield from inside(known[key], item, here, release)
        else:
            yield unknown_key(key, flag.keys, here, release)


def _mapping(flag: VllmFlag, value: object) -> Mapping[str, object] | None:
    """The value as a mapping, where the flag takes one: people also paste the JSON of vLLM's own documents."""
    if flag.kind not in ("mapping", "text-or-mapping", "lora"):
        return None
    read = as_json(value)
    return read if isinstance(read, dict) else None


def _not_allowed(flag: VllmFlag, value: object, path: Path) -> Iterator[Fault]:
    """What is of the right type and yet none of the choices, or out of range."""
    plain = value if flag.kind == "whole" else str(value)
    if flag.choices and plain not in flag.choices:
        names = [str(choice) for choice in flag.choices]
        hint = did_you_mean(str(value), names) if isinstance(plain, str) else ""
        yield Fault(path, f"{seen(value)} is none of its values", hint or f"they are {_some(names)}")
    number = readable(value) if isinstance(value, str) and flag.kind.startswith("readable") else value
    if type(number) in (int, float) and (bounds := _bounds(flag)) and not _in_bounds(flag, number):  # type: ignore[arg-type]
        yield Fault(path, f"should be {bounds}, not {value}")


def _in_bounds(flag: VllmFlag, number: float) -> bool:
    return (
        (flag.ge is None or number >= flag.ge)
        and (flag.gt is None or number > flag.gt)
        and (flag.le is None or number <= flag.le)
        and (flag.lt is None or number < flag.lt)
    )


def _bounds(flag: VllmFlag) -> str:
    bounds = (("at least", flag.ge), ("above", flag.gt), ("at most", flag.le), ("below", flag.lt))
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def _some(names: Mapping[str, object] | list[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
