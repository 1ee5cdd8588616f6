"""Hostile text for every field of a spec, and specs that hold it in all of their fields at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

# Each is one way to leave a quoted word, to be expanded, to be cut off, or to be taken for something else.
FRAGMENTS = (
    *("'", '"', "`", "$", "\\", "\\\\", "$$", "\\'", "'\\''", "'''", '"""', "''", '""', "$'", '$"'),
    *("\u2018", "\u2019", "\u201c", "\u201d", "\u00b4", "\u02bc"),
    *(
        "${X}",
        "$X",
        "${X:?no}",
        "${X:-y}",
        "$(touch canary)",
        "`touch canary`",
        "; touch canary;",
        "&& touch canary",
    ),
    *("| touch canary", "<(touch canary)", "$((1+1))", "<<EOF", "EOF", "PYTHON", ">canary", "2>&1", "&"),
    *(
        " ",
        "  ",
        "#",
        " #",
        "# x",
        "!",
        "!!",
        "!x",
        "%",
        "%s",
        "%n",
        "~",
        "~/",
        "*",
        "**",
        "?",
        "[a-z]",
        "{a,b}",
    ),
    *(
        "-",
        "--",
        "-x",
        "=",
        "==",
        "=x",
        ":",
        ": ",
        "|",
        ">",
        "<",
        "- ",
        "? ",
        "&a",
        "*a",
        "@",
        ",",
        "[",
        "]",
        "{",
        "}",
    ),
    *("{{ 7 * 7 }}", "{% raw %}", "{# x #}", "<b>&amp;", "]]>", "<!--", "-->", "```", "](javascript:x)"),
    *(
        "é",
        "\u0301",
        "e\u0301",
        "\u202e",
        "\u05d0",
        "\ufeff",
        "\u200b",
        "\u00a0",
        "\u3000",
        "\ue000",
        "\ue0010",
    ),
    *("\ue0000\ue001", "\uf8ff", "\ufffd", "\uffff", "\U0001f680", "\U0010ffff", "\U000e0001", "\ud7ff"),
    *("0", "1", "no", "null", "true", "0x1", "1e3", "1:30", "a", "A", "canary", "/", "//", ".", ".."),
)
LINE_BREAKS = ("\n", "\r", "\r\n", "\x85", "\u2028", "\u2029")
CONTROLS = tuple(chr(code) for code in (*range(1, 32), *range(0x7F, 0xA0)) if chr(code) not in "\n\r\x85")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def text(*more: str, most: int = 5) -> st.SearchStrategy[str]:
    """Text of fragments, single characters and `more`; now and then empty, now and then very long."""
    fragments = st.sampled_from((*FRAGMENTS, *more))
    characters = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
    short = st.lists(st.one_of(fragments, fragments, characters), max_size=most).map("".join)
    long = st.tuples(fragments, st.integers(100, 2000)).map(lambda pair: pair[0] * pair[1])
    return st.integers(0, 49).flatmap(lambda number: long if number == 0 else short)


PRINTABLE = text()
ENV_VALUE = text(*CONTROLS, "\x85", "\u2028", "\u2029", "\rx")
ARGUMENT = text(*CONTROLS, *LINE_BREAKS)
ANYTHING = text(*CONTROLS, *LINE_BREAKS, "\0")
PATH = PRINTABLE.map(lambda value: "/" + "/".join(part for part in f"{value}p".split("/") if part.strip(".")))

# What stands for itself in no YAML, and names that some YAML reader takes for something else than text.
LABELS = st.sampled_from(
    ("no", "y", "on", "null", "true", "1e3", "0x1f", "1-2-3", "2001-01-01", "007", "123", "a", "q" * 63)
) | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ENV_NAMES = st.sampled_from(
    (
        "NO",
        "y",
        "Y",
        "null",
        "True",
        "off",
        "Infinity",
        "nan",
        "__",
        "__x",
        "N" * 300,
        "http_proxy",
        "LC_ALL",
        "TMOUT",
    )
) | st.from_regex(r"H[A-Za-z0-9_]{0,12}_", fullmatch=True)
LABEL_NAMES = st.sampled_from(
    ("no", "Y", "null", "1_000", "1e3", "0x1F", "0o7", "0b1", "2001-01-01", "1.5", "a/b.c_d-e", "L" * 128)
) | st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,12}[A-Za-z0-9])?", fullmatch=True)
INTERFACES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", fullmatch=True)
IMAGES = st.sampled_from(
    (
        "a:1",
        "quay.io/ascend/vllm-ascend:v0.11.0",
        "localhost:5000/a.b__c--d/e:T_.-9",
        f"quay.io/ascend/vllm-ascend@sha256:{'0a' * 32}",
    )
)
TEXT_FLAGS = ("chat-template", "tokenizer", "revision", "response-role")
LIST_FLAGS = ("allowed-media-domains", "ignore-patterns", "middleware")
MAPPING_FLAGS = ("hf-overrides", "additional-config")


def _list_item(value: object) -> object:
    return value if not str(value).startswith("-") else f"x{value}"


SCALARS = st.one_of(st.booleans(), st.integers(-9, 9**20), st.floats(allow_nan=False, allow_infinity=False), ARGUMENT)
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ARGUMENT, inner, max_size=2))
# argparse of vLLM's Python drops a word that is -- by itself, wherever it stands.
WORDS = st.one_of(ARGUMENT.filter(lambda word: word != "--"), st.integers(-9, 9**20))


def arguments(most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Flags of vLLM, each with values of its type."""
    return st.builds(
        lambda texts, lists, mappings: {**texts, **lists, **mappings},
        st.dictionaries(st.sampled_from(TEXT_FLAGS), WORDS, max_size=most),
        st.dictionaries(
            st.sampled_from(LIST_FLAGS), st.lists(WORDS.map(_list_item), min_size=1, max_size=3), max_size=most
        ),
        st.dictionaries(st.sampled_from(MAPPING_FLAGS), st.dictionaries(ARGUMENT, NESTED, max_size=2), max_size=most),
    )


Spec = dict[str, Any]


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A spec that a cluster could have, with hostile text wherever text is free. Most of them compile."""
    npus, nodes = draw(st.sampled_from((1, 2, 8))), draw(st.integers(1, 4))
    names = draw(st.lists(LABELS, min_size=nodes, max_size=nodes, unique=True))
    env_names = draw(st.lists(ENV_NAMES, min_size=3, max_size=7, unique=True))
    parts = [dict.fromkeys(env_names[start::3]) for start in range(3)]
    envs = [{name: draw(ENV_VALUE) for name in part} for part in parts]
    mounts = draw(
        st.lists(st.tuples(PATH, PATH, st.booleans()), max_size=2, unique_by=lambda mount: mount[1].rstrip("/"))
    )
    return {
        "version": 1,
        "name": draw(LABELS.filter(lambda name: len(name) > 1)),
        "accelerator": "atlas-a2",
        "image": draw(IMAGES),
        "cache": draw(PATH),
        "env": envs[0],
        "secrets": draw(st.sampled_from(({}, {"HF_TOKEN": {"from_env": "HF_TOKEN"}, "no": {"from_env": "S_2"}}))),
        "defaults": {
            "interface": draw(INTERFACES),
            "env": envs[1],
            "labels": draw(st.dictionaries(LABEL_NAMES, PRINTABLE, max_size=3)),
            "npus": list(range(npus)),
            "docker": draw(st.sampled_from(("ssh://root@{address}", "unix:///run/$(touch canary)'{name}"))),
        },
        "nodes": [_node(draw, number, name, envs[2] if number else {}, npus) for number, name in enumerate(names)],
        "serve": {
            "model": draw(st.one_of(PATH, st.just("example/any-model"))),
            "parallelism": draw(st.sampled_from(("pipeline", "tensor"))),
            "args": {
                "served-model-name": draw(ARGUMENT.filter(lambda name: name not in ("", "--"))),
                **draw(arguments(2)),
            },
        },
        "container": {
            "npu_smi": draw(PATH),
            "mounts": [
                {"source": source, "target": f"/t{target}", "read_only": flag} for source, target, flag in mounts
            ],
        },
    }


def _node(draw: st.DrawFn, number: int, name: str, env: dict[str, str], npus: int) -> Spec:
    own = {
        "name": name,
        "address": f"192.168.{draw(st.integers(0, 9))}.{10 + number}",
        "npu_addresses": [f"10.20.{number}.{10 + npu}" for npu in range(npus)],
        "env": env,
        "labels": draw(st.dictionaries(LABEL_NAMES, PRINTABLE, max_size=2)),
    }
    return own | draw(st.fixed_dictionaries({}, optional={"interface": INTERFACES}))


# Every place of a spec that holds text; `=key` is a key itself.
PLACES: tuple[tuple[str | int, ...], ...] = (
    ("name",),
    ("accelerator",),
    ("image",),
    ("cache",),
    ("env", "=key"),
    ("env", "X"),
    ("secrets", "=key"),
    ("secrets", "HF_TOKEN", "from_env"),
    ("defaults", "interface"),
    ("defaults", "docker"),
    ("defaults", "labels", "=key"),
    ("defaults", "labels", "x"),
    ("nodes", 0, "name"),
    ("nodes", 0, "address"),
    ("nodes", 0, "role"),
    ("nodes", 0, "npu_addresses", 0),
    ("nodes", 0, "env", "=key"),
    ("nodes", 0, "env", "X"),
    ("nodes", 0, "=key"),
    ("serve", "model"),
    ("serve", "parallelism"),
    ("serve", "port"),
    ("serve", "args", "=key"),
    ("serve", "args", "tokenizer"),
    ("container", "shm_size"),
    ("container", "npu_smi"),
    ("container", "devices", 0),
    ("container", "ulimits", "=key"),
    ("container", "mounts", 0, "source"),
    ("container", "mounts", 0, "target"),
    ("=key",),
)
LEGAL = st.one_of(LABELS, ENV_NAMES, LABEL_NAMES, INTERFACES, IMAGES, st.just("10.1.2.3"), st.just("/dev/x"))


@st.composite
def broken_specs(draw: st.DrawFn) -> Spec:
    """A spec of which one to three texts are anything: legal elsewhere, or nowhere."""
    spec = draw(specs())
    for _ in range(draw(st.integers(1, 3))):
        _put(spec, draw(st.sampled_from(PLACES)), draw(st.one_of(ANYTHING, LEGAL)))
    return spec


def _put(
    tree: Any,
    path: tuple[str | int, ...],
    value: str,
) -> None:
    *above, last = path
    for part, below in zip(above, path[1:], strict=True):
        if isinstance(part, int):
            tree.extend([{}] if not tree else [])
        elif not isinstance(tree.get(part), dict | list):
            tree[part] = [] if isinstance(below, int) else {}
        tree = tree[part]
    if last == "=key":
        tree[value] = "x"
    elif isinstance(last, int):
        tree[last:] = [value]
    else:
        tree[last] = value


def yaml(spec: object, indent: str = "") -> str:
    """The spec as YAML that every reader takes for the same: flow style, a line for each entry, ASCII."""
    inner = indent + " "
    if isinstance(spec, str):
        return f'"{"".join(_escaped(character) for character in spec)}"'
    if isinstance(spec, dict):
        rows = [f"{_key(key)} {yaml(value, inner)}" for key, value in spec.items()]
        return f"{{\n{inner}" + f",\n{inner}".join(rows) + f"\n{indent}}}" if rows else "{}"
    if isinstance(spec, list):
        return (
            f"[\n{inner}" + f",\n{inner}".join(yaml(value, inner) for value in spec) + f"\n{indent}]" if spec else "[]"
        )
    return str(spec).lower() if isinstance(spec, bool) else str(spec)


def _key(key: str) -> str:
    """A key; libyaml looks only 1024 characters ahead for the colon of a simple one."""
    written = yaml(key)
    return f"{written}:" if len(written) < 1000 else f"? {written}\n :"


def _escaped(character: str) -> str:
    if " " <= character <= "~":
        return f"\\{character}" if character in '"\\' else character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


Drawn = TypeVar("Drawn")


def corpus(strategy: st.SearchStrategy[Drawn], count: int, number: int) -> list[Drawn]:
    """The `number`-th `count` examples of a strategy, the same ones on every machine and day."""
    made: list[Drawn] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(each: Drawn) -> None:
        made.append(each)

    run: Callable[[], None] = collect
    run()
    return made
