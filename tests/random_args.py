"""Values of vLLM's flags, by chance: what a flag takes and what vLLM should make of it, and what it does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostile import FRAGMENTS, LINE_BREAKS

from compiler.flags import keys_of, readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from schema.vllm_flag import VllmFlag

_NUMBERS = (0, 1, 2, 7, 128, 8192, 2**31 - 1, -1, 10**18)
_READABLE = ("8k", "8K", "1.5m", "0.25g", "2G", "7M", "12k")
# Keys, by how they begin, that a validator of vLLM's own takes only beside certain others.
_NEED_COMPANY = {
    "ECTransferConfig": ("ec_connector",),
    "KVTransferConfig": ("kv_connector",),
    "PoolerConfig": ("pooling_type", "seq_pooling_type", "tok_pooling_type"),
    "ProfilerConfig": ("profiler", "torch_profiler", "delay_iterations", "max_iterations"),
    "StructuredOutputsConfig": ("disable_",),
}


def right(flag: VllmFlag, release: str, rng: Random) -> Any:
    """A value that the flag takes."""
    if flag.bare and rng.random() < 0.3:
        return True
    if flag.several and rng.random() < 0.7:
        count = rng.randint(1, 4)
        return [_one(flag, release, rng, begins_with_dash=count == 1) for _ in range(count)]
    return _one(flag, release, rng)


def _one(flag: VllmFlag, release: str, rng: Random, *, begins_with_dash: bool = True) -> Any:
    if flag.choices:
        return rng.choice(flag.choices)
    if flag.kind in ("whole", "number", "readable", "readable-or-auto"):
        number = _number(flag, rng)
        return number if begins_with_dash or isinstance(number, str) else abs(number)
    if flag.kind in ("text", "text-or-mapping"):
        mapped = flag.kind == "text-or-mapping" and rng.random() < 0.5
        return {"a": {"b": 1}} if mapped else text(rng, begins_with_dash=begins_with_dash)
    made: dict[str, Callable[[], Any]] = {
        "switch": lambda: rng.random() < 0.5,
        "truth": lambda: rng.random() < 0.5,
        "mapping": lambda: mapping(flag, release, rng),
        "lora": lambda: mapping(flag, release, rng),
        "list": lambda: [rng.choice((1, "*", True, "a b", {"c": 0.5})) for _ in range(rng.randint(0, 3))],
        "json": lambda: {"a": [1, {"b": rng.choice((True, 0.25, "x"))}]},
    }
    return made[flag.kind]()


def _number(flag: VllmFlag, rng: Random) -> Any:
    """Also the ends of its range."""
    step = 1 if flag.kind != "number" else 0.125
    ends = [bound for bound in (flag.ge, flag.le) if bound is not None]
    ends += [flag.gt + step] if flag.gt is not None else []
    ends += [flag.lt - step] if flag.lt is not None else []
    free = [*_NUMBERS, *((0.5, 0.9, 1e-7, 3.0, 1e22) if flag.kind == "number" else ())]
    fitting = [number for number in free if _in_range(flag, number)]
    if flag.kind.startswith("readable") and rng.random() < 0.5:
        return rng.choice((*_READABLE, *(("auto",) if flag.kind == "readable-or-auto" else ())))
    value = rng.choice([*ends, *fitting])
    return value if flag.kind == "number" else int(value)


def _in_range(flag: VllmFlag, number: float) -> bool:
    low = flag.ge if flag.ge is not None else flag.gt
    high = flag.le if flag.le is not None else flag.lt
    return (low is None or number > low) and (high is None or number < high)


def mapping(flag: VllmFlag, release: str, rng: Random) -> dict[str, Any]:
    """With keys of the config that it is read as, where it is read as one."""
    if not flag.keys:
        return {"a": 1, "text": text(rng), "c": {"d": [True, 0.5]}}
    known = keys_of(release, flag.keys)
    if flag.kind == "lora":
        return {"name": text(rng), "path": text(rng)}
    alone = [key for key in known.values() if not key.name.startswith(_NEED_COMPANY.get(flag.keys, ("\0",)))]
    plain = [key for key in alone if key.kind in ("truth", "whole", "number", "text")]
    return {key.name: _one(key, release, rng) for key in rng.sample(plain, min(len(plain), rng.randint(0, 3)))}


def text(rng: Random, *, begins_with_dash: bool = True) -> str:
    """Hostile, but such as a word of a command can be."""
    made = "".join(rng.choice((*FRAGMENTS, *LINE_BREAKS)) for _ in range(rng.randint(1, 3)))
    if made == "--" or not made or (made.strip()[:1] == "{" and made.strip()[-1:] == "}"):
        return "plain"
    return made if begins_with_dash or not made.startswith("-") else f"x{made}"


def wrong(flag: VllmFlag, rng: Random) -> Any:
    """A value of a type that the flag does not take, or none of its choices."""
    if flag.choices:
        return rng.choice(("no-such-choice", -7, "AUTO ", True))
    kinds: dict[str, tuple[Any, ...]] = {
        "switch": ("maybe", 1, 0.5, ["x"]),
        "truth": ("maybe", 1, ["x"]),
        "whole": ("many", 1.5, "8k", True, {"a": 1}, "0x10"),
        "readable": ("many", 1.5, "8x", True, "1.5K", {"a": 1}, "k"),
        "readable-or-auto": ("many", 1.5, "8x", True, "1.5K", {"a": 1}, "automatic"),
        "number": ("many", True, {"a": 1}, "1,5", "90%"),
        "text": ({"a": 1}, 0.5, *(() if flag.bare else (True,))),
        "text-or-mapping": (True, "{no json}"),
        "lora": ("no-path", "a=b=c", "{no json}", True),
        "mapping": ("many", True, "{no json}", '"text"'),
        "list": ("many", True, "[no json"),
    }
    return rng.choice(kinds[flag.kind])


def parsed(flag: VllmFlag, value: Any) -> Any:
    """What vLLM's parser should make of the value."""
    if flag.several:
        return [_parsed_one(flag, item) for item in (value if isinstance(value, list) else [value])]
    return _parsed_one(flag, value)


def _parsed_one(flag: VllmFlag, value: Any) -> Any:
    if value is False and flag.kind == "switch" and not flag.negative:
        return flag.default or False
    if flag.optional and value in ("", "None"):
        return None
    if flag.kind.startswith("readable"):
        return -1 if value == "auto" else readable(value) if isinstance(value, str) else value
    if flag.kind == "text" and value is not True:
        return str(value)
    return value
