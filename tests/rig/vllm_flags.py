"""What the parser of `vllm serve` knows, as JSON: run by a Python that has a vLLM, with no program of ours.

Nothing is guessed: the parser is vLLM's own, built as `vllm serve` builds it on an Ascend NPU, and each of its
actions is asked for its type, through the closures that vLLM wraps round it.
"""

# ruff: noqa: SLF001 - argparse and vLLM keep what is asked here to themselves

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import enum
import importlib.util
import inspect
import json
import re
import sys
import types
import typing
from importlib import import_module
from typing import Any, NamedTuple

MARK = "\0"  # between a flag's help and the field that it was made of


def main() -> None:
    """Prints the release, every flag of its parser, and the keys of the mappings that flags take."""
    sys.argv = ["vllm", "--help=all"]  # as it stands when vLLM reads the docs of its fields, too
    with contextlib.redirect_stdout(sys.stderr):  # where vLLM logs
        on_npus()
        told = everything()
    sys.stdout.write(json.dumps(told, sort_keys=True) + "\n")


def everything() -> dict[str, Any]:
    """The release, its flags by their canonical names, and the keys of mappings by the names of their configs."""
    configs = _Configs()
    _, serve = parsers()
    flags = {name: _flag(action, configs) for action in serve._actions if (name := long_name(action))}
    return {"release": _release(), "flags": flags, "mappings": configs.told()}


def on_npus() -> None:
    """Lets vLLM find the platform that vllm-ascend brings, as far as its parser asks for one.

    https://github.com/vllm-project/vllm-ascend/blob/v0.18.0/vllm_ascend/platform.py: `pre_register_and_update`.
    """
    platforms = import_module("vllm.platforms")
    interface = import_module("vllm.platforms.interface")

    class Npu(interface.Platform):  # type: ignore[misc, name-defined]
        _enum = interface.PlatformEnum.OOT
        device_name = device_type = "npu"

        @classmethod
        def pre_register_and_update(cls, parser: argparse.ArgumentParser | None = None) -> None:
            quantization = parser and parser._option_string_actions.get("--quantization")
            if quantization and quantization.choices:
                quantization.choices.append("ascend")  # type: ignore[attr-defined]

    import_module("torch.utils.backend_registration").rename_privateuse1_backend("npu")  # as torch_npu does
    platforms._current_platform = Npu()


def parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of `vllm`, and the one of its subcommand `serve`."""
    try:
        flexible = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    except ModuleNotFoundError:  # before 0.12
        flexible = import_module("vllm.utils").FlexibleArgumentParser
    _mark_fields()
    whole = flexible(description="vLLM CLI")
    command = types.SimpleNamespace(name="serve")
    return whole, _subparser_init()(command, whole.add_subparsers(required=False, dest="subparser"))


def _subparser_init() -> Any:
    """The method of `vllm serve` that makes its parser, without the rest of its file: that imports the engine."""
    file = importlib.util.find_spec("vllm").submodule_search_locations[0] + "/entrypoints/cli/serve.py"  # type: ignore[union-attr, index]
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    method = next(
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "subparser_init"
    )
    method.returns = None
    for argument in method.args.args:
        argument.annotation = None
    names: dict[str, Any] = {
        **vars(import_module("vllm.entrypoints.openai.cli_args")),
        **dict.fromkeys(("DESCRIPTION", "VLLM_SUBCMD_PARSER_EPILOG", "VLLM_SERVE_PARSER_EPILOG"), ""),
        "show_filtered_argument_or_group_from_help": lambda *_: None,  # of 0.10, for `--help`
    }
    exec(compile(ast.Module([method], []), file, "exec"), names)  # noqa: S102 - vLLM's own code, as it came
    return names["subparser_init"]


def _mark_fields() -> None:
    """Makes vLLM's own `get_kwargs` write into each help which field of which config it is about."""
    arg_utils = import_module("vllm.engine.arg_utils")
    original = arg_utils.get_kwargs

    def get_kwargs(cls: type) -> dict[str, Any]:
        kwargs = original(cls)
        for field, given in kwargs.items():
            given["help"] += f"{MARK}{cls.__module__}{MARK}{cls.__qualname__}{MARK}{field}"
        return kwargs

    arg_utils.get_kwargs = get_kwargs


def long_name(action: argparse.Action) -> str:
    """The canonical name without its dashes; empty for the model, and for `--help`."""
    names = [option for option in action.option_strings if option.startswith("--")]
    return "" if not names or isinstance(action, argparse._HelpAction) else names[0][2:]


def _release() -> str:
    version = import_module("vllm.version").__version__
    return re.match(r"[0-9.]*[0-9](rc[0-9]+)?", version)[0]


class _Type(NamedTuple):
    """What a word is read as, and the config that a mapping is checked against."""

    kind: str
    optional: bool = False
    config: type | None = None


class _Configs:
    """The configs that mappings are checked against, each with its keys."""

    def __init__(self) -> None:
        self._deep: dict[type, bool] = {}

    def remember(self, config: type, *, deep: bool) -> str:
        """Its name; when `deep`, vLLM reads the mappings in it from JSON, too."""
        self._deep[config] = deep or self._deep.get(config, False)
        return config.__name__

    def told(self) -> dict[str, Any]:
        """Their keys by their names."""
        told: dict[type, dict[str, Any]] = {}
        while rest := [config for config in self._deep if config not in told]:
            for config in rest:
                told[config] = {
                    key: _key(field, self if self._deep[config] else None) for key, field in fields(config).items()
                }
        return {config.__name__: keys for config, keys in told.items()}


def _flag(action: argparse.Action, configs: _Configs) -> dict[str, Any]:
    name = f"--{long_name(action)}"
    field = field_of(action)
    negative = isinstance(action, argparse.BooleanOptionalAction)
    hint = field.annotation if field else None
    read = _type(action)
    known: dict[str, Any] = {
        "aliases": [option for option in action.option_strings if option != name and option != f"--no-{name[2:]}"],
        "kind": _wanted(read, hint),
        "negative": negative,
        "optional": read.optional,
        "several": _several(action),
        "bare": action.nargs == "?",
        "choices": _choices(action, read),
        "default": _plain_default(action.default),
        "deprecated": _deprecated(action),
    }
    if config := read.config or (read.kind == "json" and _config(hint)):
        known["keys"] = configs.remember(config, deep=read.config is not None)
    if field and known["kind"] in ("whole", "readable", "readable-or-auto", "number") and not known["several"]:
        known |= _range(field.metadata) or _tried_range(*_config_field(action), whole=known["kind"] != "number")
    return _told(known)


def _told(known: dict[str, Any]) -> dict[str, Any]:
    """Without what is not so: no alias, no choices, not optional."""
    return {key: value for key, value in known.items() if value not in ([], "", None) and value is not False}


def _several(action: argparse.Action) -> str:
    if isinstance(action, argparse._AppendAction):
        return "repeat"
    if isinstance(action.nargs, int) and action.nargs > 0:
        raise ValueError(f"{action.option_strings} wants {action.nargs} words, and no spec can say so yet")
    return "words" if action.nargs in ("+", "*") else ""


def _wanted(read: _Type, hint: Any) -> str:
    """What vLLM wants of the field, where its parser would take any JSON, or any text."""
    hints = _hints(hint)
    if read.kind == "text-or-mapping" and hint and str not in hints:
        return "mapping"
    if read.kind != "json":
        return read.kind
    if any(_origin(each) is dict or dataclasses.is_dataclass(each) for each in hints):
        return "mapping"
    return "list" if any(_origin(each) in (list, tuple, set) for each in hints) else "json"


_KINDS: dict[Any, str] = {int: "whole", float: "number", str: "text", bool: "truth", None: "text", json.loads: "json"}
_NAMED_KINDS = {
    "human_readable_int": "readable",
    "human_readable_int_or_auto": "readable-or-auto",
    "union_dict_and_str": "text-or-mapping",
    "EngineArgs.add_cli_args.<locals>.<lambda>": "text",  # a backend's name, in small letters
}


def _type(action: argparse.Action) -> _Type:
    if action.nargs == 0:
        return _Type("switch")
    if type(action).__name__ == "LoRAParserAction":  # NAME=PATH, or JSON
        return _Type("lora", optional=True, config=import_module(type(action).__module__).LoRAModulePath)
    return _behind(action.type)


def _behind(reader: Any) -> _Type:
    """The type behind what argparse calls; a callable that is not known here is a reason to look."""
    name = getattr(reader, "__qualname__", "")
    if name.startswith(("optional_type.", "parse_type.")):
        inner = _behind(inspect.getclosurevars(reader).nonlocals["return_type"])
        return inner._replace(optional=inner.optional or name.startswith("optional_type."))
    if name.endswith("parse_dataclass"):
        return _Type("mapping", config=inspect.signature(reader).parameters["cls"].default)
    if name in _NAMED_KINDS:
        return _Type(_NAMED_KINDS[name])
    return _Type(_KINDS[reader])


def _choices(action: argparse.Action, read: _Type) -> list[Any]:
    """What the parser allows, sorted: numbers as numbers, and without the "None" of what is optional."""
    choices = [choice for choice in action.choices or () if choice != "None"]
    return sorted(choices) if read.kind == "whole" else sorted(map(str, choices))


def _plain_default(default: Any) -> Any:
    plain = default.value if isinstance(default, enum.Enum) else default
    return plain if type(plain) in (bool, int, float, str) and plain != argparse.SUPPRESS else None


_GOES = re.compile(r"[\[(]deprecated[\])]|deprecated:|is deprecated|has been replaced by", re.IGNORECASE)


def _deprecated(action: argparse.Action) -> str:
    """What vLLM says about a flag that goes away: what to take instead and when, or just that."""
    parser = import_module("vllm.engine.arg_utils").FlexibleArgumentParser
    marked = getattr(action, "deprecated", False) or action in getattr(parser, "_deprecated", ())
    text = " ".join((action.help or "").split(MARK)[0].split())
    if not marked and not _GOES.search(text):
        return ""
    said = [each for each in re.split(r"(?<=\.)\s", text) if re.search(r"instead|removed|replaced", each)]
    return re.sub(r"^\W*deprecated\W*", "", " ".join(said), flags=re.IGNORECASE) or "deprecated"


class _Field(NamedTuple):
    """The field of a config that a flag sets: its type, and the bounds in its metadata."""

    annotation: Any
    metadata: tuple[Any, ...]


def field_of(action: argparse.Action) -> _Field | None:
    """The field that the flag's help was marked with; a few flags are made of none."""
    if MARK not in (action.help or ""):
        return None
    config, name = _config_field(action)
    return fields(config).get(name)


def _config_field(action: argparse.Action) -> tuple[Any, str]:
    _, module, path, name = (action.help or "").split(MARK)
    config: Any = import_module(module)
    for part in path.split("."):
        config = getattr(config, part)
    return config, re.split(r"\s", name)[0]


def fields(config: Any) -> dict[str, _Field]:
    """The fields that may be given: what pydantic made of them, else what the dataclass says."""
    known = getattr(config, "__pydantic_fields__", {})
    hints = {} if known else typing.get_type_hints(config, include_extras=True)
    mended = _mended(config)
    return {
        field.name: _Field(Any, ())
        if field.name in mended
        else _Field(known[field.name].annotation, tuple(known[field.name].metadata))
        if known
        else _Field(hints[field.name], ())
        for field in dataclasses.fields(config)
        if field.init and not field.name.startswith("_")
    }


def _mended(config: Any) -> set[str]:
    """The fields that take more than their type says: a validator looks at what was given before pydantic does."""
    decorators = getattr(config, "__pydantic_decorators__", None)
    validators = decorators.field_validators.values() if decorators else ()
    # vllm-ascend registers a method of its own when it starts, so that no type can list them all.
    own = {"quantization"}
    return own | {field for each in validators if each.info.mode in ("before", "plain") for field in each.info.fields}


def _range(metadata: tuple[Any, ...]) -> dict[str, Any]:
    bounds = {}
    for each in metadata:
        for bound in ("ge", "gt", "le", "lt"):
            value = getattr(each, bound, None)
            if isinstance(value, int | float):
                bounds[bound] = value
    return bounds


_ALONE = ("CacheConfig", "LoRAConfig", "ParallelConfig", "SchedulerConfig")  # others would ask the network for a model


def _tried_range(config: Any, name: str, *, whole: bool) -> dict[str, Any]:
    """The range that the config checks by itself, as it did before 0.12: found by making it with a few values."""
    if config.__name__ not in _ALONE or not _can_be(config, {}):
        return {}
    below, zero, one, two = (_can_be(config, {name: value}) for value in (-1, 0, 1, 2))
    bounds: dict[str, Any] = {}
    if one and not below:
        bounds = {"ge": 0} if zero else {"ge": 1} if whole else {"gt": 0}
    return {**bounds, **({"le": 1} if one and not two and not whole else {})}


def _can_be(config: Any, values: dict[str, Any]) -> bool:
    try:
        config(**values)
    except (ValueError, TypeError, ZeroDivisionError, AttributeError, RuntimeError):
        return False
    return True


def _key(field: _Field, configs: _Configs | None) -> dict[str, Any]:
    given = [hint for hint in _hints(field.annotation) if hint is not type(None)]
    known: dict[str, Any] = {"kind": "json"}
    if any(type(each).__name__.endswith("Validator") for each in field.metadata):
        return known
    if config := _config(field.annotation):
        if len(given) == 1:
            known = {"kind": "mapping", "keys": configs.remember(config, deep=True) if configs else ""}
    elif all(_origin(hint) is typing.Literal for hint in given):
        choices = [choice for hint in given for choice in typing.get_args(hint)]
        if len({type(choice) for choice in choices}) == 1 and type(choices[0]) in (int, str):
            known = {"kind": _KINDS[type(choices[0])], "choices": sorted(choices)}
    elif len(given) == 1 and (kind := {**_KINDS, list: "list", dict: "mapping"}.get(_origin(given[0]))):
        known = {"kind": kind, **(_range(field.metadata) if kind in ("whole", "number") else {})}
    return _told(known)


def _config(hint: Any) -> type | None:
    return next((each for each in _hints(hint) if dataclasses.is_dataclass(each)), None)  # type: ignore[return-value]


def _hints(hint: Any) -> list[Any]:
    """The types of a union, out of what annotates them."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _hints(parts[0])
    if origin in (typing.Union, types.UnionType):
        return [each for part in parts for each in _hints(part)]
    return [hint]


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


if __name__ == "__main__":
    main()
