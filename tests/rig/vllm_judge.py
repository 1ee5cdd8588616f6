"""Asks the parser of `vllm serve`: run by a Python that has a vLLM, with `[{"words": ..., "names": ...}]` as input.

Prints what `vllm_flags.py` tells of this vLLM, and a verdict for each command: the values of the named flags as
they were parsed, or why the command was refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import vllm_flags

if TYPE_CHECKING:
    import argparse


def main() -> None:
    """Reads the commands, prints the verdicts."""
    commands = json.load(sys.stdin)
    sys.argv = ["vllm", "--help=all"]
    with contextlib.redirect_stdout(sys.stderr):  # where vLLM logs
        vllm_flags.on_npus()
        told = vllm_flags.everything()
        whole, serve = vllm_flags.parsers()
        names = {vllm_flags.long_name(action): action.dest for action in serve._actions}  # noqa: SLF001
        verdicts = [_verdict(whole, names, **command) for command in commands]
    sys.stdout.write(json.dumps({"told": told, "verdicts": verdicts}) + "\n")


def _verdict(parser: argparse.ArgumentParser, dests: dict[str, str], words: list[str], names: list[str]) -> Any:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = parser.parse_args(words[1:])  # without `vllm`
    except SystemExit:
        return {"refused": said.getvalue().splitlines()[-1]}
    except Exception as fault:  # noqa: BLE001 - a traceback is no way to take a command
        return {"refused": f"{type(fault).__name__}: {fault}"}
    return {"values": {name: _plain(getattr(parsed, dests[name])) for name in names}, "model": parsed.model_tag}


def _plain(value: Any) -> Any:
    """The value as JSON; of a config, each field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | None) else repr(value)


if __name__ == "__main__":
    main()
