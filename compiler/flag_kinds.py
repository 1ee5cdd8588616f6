"""What each kind of flag takes as its value, what that is called, and how a value that it does not take is mended."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TYPE_CHECKING

from compiler.flags import readable
from schema.text import kind, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.vllm_flag import Kind, VllmFlag


def fits(wanted: Kind, value: object) -> bool:
    """True when a value of this kind of flag may be so."""
    return _FITS[wanted](value)


def as_json(value: object) -> object:
    """A value as it is; text as the JSON that it holds; None when it holds none."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_TRUTHS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


def as_read_in_json(wanted: Kind, value: object) -> object:
    """A value inside a config as pydantic reads it there: `"30000"` is a number, `"off"` is false.

    vllm-ascend's own documents write `"kv_port": "30000"`; pydantic's rules are
    https://docs.pydantic.dev/latest/concepts/conversion_table/.
    """
    if wanted == "truth" and isinstance(value, str | int):
        return _TRUTHS.get(str(value).lower(), value)
    if wanted == "whole" and isinstance(value, float) and value.is_integer():
        return int(value)
    if wanted in ("whole", "number") and isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    return as_json(value) if wanted == "number" and _fits_number(as_json(value)) else value


def seen(value: object) -> str:
    """The value as the one who wrote it would call it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    return str(value) if isinstance(value, int | float) else kind(value)


def hint(flag: VllmFlag, value: object) -> str:
    """How a value that the flag does not take is mended, where that can be told."""
    if value is True:
        return "it needs a value"
    if isinstance(value, list):
        return "it takes one value" if flag.kind != "mapping" else ""
    if isinstance(value, float):
        whole = f"write {value:.0f}" if value.is_integer() else ""
        return "put it in quotes, so that each digit stays" if flag.kind == "text" else whole
    return _hint_for_text(flag, value) if isinstance(value, str) else ""


def _hint_for_text(flag: VllmFlag, text: str) -> str:
    if flag.kind in ("switch", "truth"):
        return f"write {text.lower()} without quotes" if text.lower() in ("true", "false") else ""
    if flag.kind.startswith("readable") and readable(text.lower()) is not None:
        return f"no fraction goes before a capital letter; {text.lower()} is {readable(text.lower())}"
    if flag.kind in ("whole", "number", "readable", "readable-or-auto"):
        return "write it without quotes" if _fits_number(as_json(text)) else ""
    return ""


def _fits_whole(value: object) -> bool:
    return type(value) is int


def _fits_number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def _fits_readable(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and readable(value) is not None)


def _fits_text(value: object) -> bool:
    return isinstance(value, str) or type(value) is int


def _fits_truth(value: object) -> bool:
    return isinstance(value, bool)


def _fits_lora(value: object) -> bool:
    if isinstance(value, str) and value.count("=") == 1 and "," not in value:
        return True
    return isinstance(as_json(value), dict)


def _fits_text_or_mapping(value: object) -> bool:
    if isinstance(value, str) and value.strip().startswith("{") and value.strip().endswith("}"):
        return isinstance(as_json(value), dict)
    return _fits_text(value) or isinstance(value, dict)


_FITS: dict[Kind, Callable[[object], bool]] = {
    "switch": _fits_truth,
    "truth": _fits_truth,
    "whole": _fits_whole,
    "readable": _fits_readable,
    "readable-or-auto": lambda value: _fits_readable(value) or str(value).lower() == "auto",
    "number": _fits_number,
    "text": _fits_text,
    "text-or-mapping": _fits_text_or_mapping,
    "lora": _fits_lora,
    "mapping": lambda value: isinstance(as_json(value), dict),
    "list": lambda value: isinstance(as_json(value), list),
    "json": lambda _: True,
}
WANTED: dict[Kind, str] = {
    "switch": "true or false",
    "truth": "true or false",
    "whole": "a whole number",
    "readable": "a whole number, or text like 8k",
    "readable-or-auto": "a whole number, text like 8k, or auto",
    "number": "a number",
    "text": "text",
    "text-or-mapping": "text or a mapping",
    "lora": "text like name=path, or a mapping",
    "mapping": "a mapping",
    "list": "a list",
}
