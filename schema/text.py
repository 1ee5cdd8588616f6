"""The kinds of text in a spec, each with its grammar: what it may be, and what to say when it is not."""

from __future__ import annotations

import re
from typing import Annotated, Any

from schema.record import Pattern, Read, Shown
from schema.scalar import REFUSED, Scalar

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)
# What ipaddress takes for an address, and not for one of a special kind.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_UNICAST = re.compile(
    rf"(?!127\.|169\.254\.|0\.0\.0\.0$)(?:22[0-3]|2[01][0-9]|1[0-9]{{2}}|[1-9]?[0-9])(?:\.{_OCTET}){{3}}", re.ASCII
).fullmatch
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Variables of which a program gets another value than was exported, or none: bash keeps them for itself (each
# tried with bash 5.2), or the scripts that start Ray and vLLM do.
BASHS_OWN = frozenset(
    (  # noqa: SIM905 - words are easier to read
        "_ BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND "
        "BASH_EXECUTION_STRING BASH_LINENO BASH_MONOSECONDS BASH_SOURCE BASH_SUBSHELL BASH_TRAPSIG "
        "BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME "
        "GROUPS HISTCMD IFS LINENO OLDPWD OPTERR OPTIND PIPESTATUS PPID PS1 PS4 PWD RANDOM SECONDS "
        "SHELLOPTS SHLVL SRANDOM UID"
    ).split()
)
SCRIPTS_OWN = frozenset(
    (  # noqa: SIM905 - as above
        "address attach config container device devices gcs group head limit name node patience status vital word"
    ).split()
)
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?", re.ASCII)
_FLAG = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
# Docker counts bytes in 63 bits.
_SIZE = re.compile(r"[1-9][0-9]{0,17}b?|[1-9][0-9]{0,8}[kmg]b?", re.ASCII | re.IGNORECASE)
_DEVICE = re.compile(r"/dev(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", re.ASCII)
# distribution/reference: [domain[:port]/]path[:tag][@digest]
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_ONLY_HEX = re.compile(r"[0-9a-f]{64}(?::.*)?", re.ASCII)  # Docker takes it for an id
MAX_REPOSITORY = 255
_DOCKER = re.compile(r"(?:ssh|tcp)://[A-Za-z0-9@._:{}-]+|unix:///[^\x00-\x1f\x7f]+", re.ASCII)

# docker/cli reads an env file by lines of at most bufio.MaxScanTokenSize (64 KiB), newline included: tried
# with 20.10 and 28.2, where 65,535 bytes of NAME=VALUE pass and 65,536 are "token too long".
MAX_ENV_LINE = 64 * 1024 - 1


class Fault(ValueError):  # noqa: N818 - it is the spec's, not ours
    """A fault of a value, with the code that the docs explain it under; no code when it was told already."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def fault(code: str, message: str, hint: str = "") -> Fault:
    """A fault of a value."""
    return Fault(code, message, hint)


def told() -> Fault:
    """The value was refused when the file was read; there is nothing to add."""
    return Fault("", "told already", "")


def as_text(value: Any) -> str:
    """What was written, where text is wanted; a number or a boolean is the text it was written as."""
    if type(value) is str:
        return value
    if isinstance(value, Scalar):
        if value.value is None:
            raise fault("no-value", "has no value", 'give it one, or "" for the empty text')
        return value.text
    if value is REFUSED:
        raise told()
    raise fault("wrong-type", f"should be text, not {kind(value)}")


def kind(value: Any) -> str:
    """What a person would call this kind of value."""
    value = value.value if isinstance(value, Scalar) else value
    for types, name in (
        (bool, "a boolean"),
        (int | float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a mapping"),
    ):
        if isinstance(value, types):
            return name
    return "empty"


def shown(text: str) -> str:
    """The text in quotes, short and without control characters, for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004 - fits one line


def _clean(text: str) -> str:
    if odd := _CONTROL.search(text):
        message = f"holds the control character U+{ord(odd.group()):04X}"
        raise fault("control-character", message, "remove it: it would break the generated files")
    return text


def _matching(pattern: re.Pattern[str], code: str, what: str, hint: str) -> Read:
    def check(value: Any) -> str:
        text = as_text(value)
        if not pattern.fullmatch(text):
            raise fault(code, f"{shown(text)} is no {what}", hint)
        return text

    return Read(check)


def _text(value: Any) -> str:
    return _clean(as_text(value))


def _env_name(value: Any) -> str:
    text = as_text(value)
    if not _ENV_NAME.fullmatch(text):
        message = f"{shown(text)} is no environment variable name"
        raise fault("env-name", message, "letters, digits and _, no digit first")
    if text in BASHS_OWN or text in SCRIPTS_OWN:
        owner = "bash itself" if text in BASHS_OWN else "the scripts that start Ray and vLLM"
        message = f"{text} is a variable of {owner}, so its value would not reach Ray"
        raise fault("env-name", message, "take another name")
    return text


def _env_value(value: Any) -> str:
    text = as_text(value)
    for bad, name in (("\n", "a newline"), ("\0", "a NUL")):
        if bad in text:
            message = f"holds {name}, which docker's --env-file cannot carry"
            raise fault("env-value", message, "encode it, as base64 for one, or put it in a mounted file")
    if text.endswith("\r"):
        message = "ends in a carriage return, which docker's --env-file would cut off"
        raise fault("env-value", message, "remove it")
    if len(text.encode()) > MAX_ENV_LINE:
        message = f"is {len(text.encode())} bytes long; docker's --env-file reads lines below 64 KiB"
        raise fault("env-value", message, "put it in a mounted file")
    return text


def _image(value: Any) -> str:
    text = as_text(value)
    hint = "small letters, like quay.io/ascend/vllm-ascend:v0.11.0"
    if not _IMAGE.fullmatch(text) or _ONLY_HEX.fullmatch(text):
        raise fault("image", f"{shown(text)} is no image reference", hint)
    name = text.partition("@")[0].rpartition("/")
    if len(name[0] + name[1] + name[2].partition(":")[0]) > MAX_REPOSITORY:
        raise fault("image", f"its name is longer than {MAX_REPOSITORY} characters", hint)
    return text


def _ipv4(value: Any) -> str:
    text = as_text(value)
    if _UNICAST(text):  # the others are told apart to be told of
        return text
    if ":" in text and "." not in text:
        message = f"{shown(text)} is an IPv6 address; Ray 2.48 splits HOST:PORT at the first colon"
        raise fault("address", message, "give the node's IPv4 address")
    from ipaddress import AddressValueError, IPv4Address  # noqa: PLC0415 - a good one needs none of it

    try:
        address = IPv4Address(text)
    except AddressValueError:
        hint = "four numbers from 0 to 255, as `ip -4 addr` prints them, without the /24"
        raise fault("address", f"{shown(text)} is no IPv4 address", hint) from None
    for bad, why in (
        (address.is_loopback, "a loopback address: every node has it, and no other node can reach it"),
        (address.is_link_local, "a link-local address: it is not routed and may change"),
        (address.is_multicast, "a multicast address"),
        (address.is_unspecified, "no node's address"),
        (address == IPv4Address("255.255.255.255"), "the broadcast address"),
    ):
        if bad:
            raise fault("address", f"{text} is {why}", "give the address that the other nodes use")
    return text


def _absolute(value: Any) -> str:
    text = _clean(as_text(value))
    if not text.startswith("/"):
        raise fault("path", f"{shown(text)} is no absolute path", "begin it with /")
    parts = text.split("/")
    if ".." in parts or "." in parts:
        raise fault("path", f"{shown(text)} goes through `.` or `..`", "write the path itself")
    if not text.strip("/"):
        raise fault("path", "is the root folder", "name a folder below it")
    if "//" in text:  # Compose would take /a//b for /a/b, the rules would not
        raise fault("path", f"{shown(text)} holds two slashes in a row", "write one")
    return text


def _model(value: Any) -> str:
    text = as_text(value)
    if text.startswith("/"):
        return _absolute(value)
    if not _HUB_ID.fullmatch(text):
        hint = "a hub id like Qwen/Qwen3-235B-A22B, or an absolute path inside the container"
        raise fault("model", f"{shown(text)} is no model", hint)
    return text


def _docker(value: Any) -> str:
    text = as_text(value)
    if not _DOCKER.fullmatch(text):
        hint = "like ssh://root@{address}, tcp://{address}:2376 or unix:///var/run/docker.sock"
        raise fault("docker", f"{shown(text)} is no Docker endpoint", hint)
    odd = set(re.findall(r"\{[^}]*\}?|\}", text)) - {"{address}", "{name}"}
    if odd:
        message = f"{shown(text)} holds {min(odd)}, which stands for nothing"
        raise fault("docker", message, "{address} and {name} stand for the node's own")
    return text


def _whole(value: Any) -> int:
    if value is REFUSED:
        raise told()
    number = value.value if isinstance(value, Scalar) else value
    if type(number) is not int:
        text = value.text if isinstance(value, Scalar) else value
        what = shown(text) if isinstance(text, str) and text else kind(value)
        hint = _number_hint(value) if isinstance(value, str) else ""
        raise fault("wrong-type", f"should be a whole number, not {what}", hint)
    return number


def _number_hint(text: str) -> str:
    if text.isdecimal():
        return "write it without quotes"
    if text == "unlimited":
        return "-1 is unlimited"
    return "a plain number of seconds" if re.fullmatch(r"[0-9]+ ?[smh]", text) else ""


def _truth(value: Any) -> bool:
    if value is REFUSED:
        raise told()
    truth = value.value if isinstance(value, Scalar) else value
    if type(truth) is not bool:
        raise fault("wrong-type", f"should be true or false, not {kind(value)}")
    return truth


def _file_path(value: Any) -> str:
    text = _clean(as_text(value))
    if not text or text.endswith("/"):
        hint = "like models/qwen3/config.json, relative to the spec"
        raise fault("path", f"{shown(text)} is no path of a file", hint)
    return text


def _label(value: Any) -> str:
    text = as_text(value)
    if not _LABEL.fullmatch(text):
        near = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:63]
        meant = f"did you mean {near}? " if _LABEL.fullmatch(near) else ""
        hint = f"{meant}Small letters, digits and dashes, at most 63, no dash at an end"
        raise fault("name", f"{shown(text)} is no DNS label", hint)
    return text


def _cluster_name(value: Any) -> str:
    name = _label(value)
    if len(name) == 1:
        message = f"{name} is too short: the containers are called so, and Docker wants two characters"
        raise fault("name", message, "take a longer one")
    return name


def _flag(value: Any) -> str:
    text = as_text(value)
    if not _FLAG.fullmatch(text):
        name, dot, keys = text.lstrip("-").partition(".")
        plain = name.replace("_", "-").lower() + dot + keys
        hint = f"did you mean {plain}?" if _FLAG.fullmatch(plain) else "like max-model-len"
        if re.fullmatch(r"-*O(?:[0-9.=].*)?", text):
            hint = "vLLM's -O is optimization-level: 3, and before vLLM 0.12 compilation-config: {level: 3}"
        raise fault("vllm-flag", f"{shown(text)} is no vLLM flag without its dashes", hint)
    return text


def pattern(expression: re.Pattern[str]) -> str:
    """The expression as JSON Schema has it: ECMA 262, anchored."""
    return f"^(?:{expression.pattern})$"


_SCALAR_SCHEMA = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]

Label = Annotated[
    str,
    Read(_label),
    Pattern(pattern(_LABEL)),
]
ClusterName = Annotated[str, Read(_cluster_name), Pattern(pattern(_CLUSTER))]
Interface = Annotated[
    str,
    _matching(
        _INTERFACE,
        "interface",
        "interface name",
        "run `ip addr` on the node; names look like eth0 or enp67s0f5",
    ),
    Pattern(pattern(_INTERFACE)),
]
Address = Annotated[str, Read(_ipv4), Pattern(r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")]
AbsolutePath = Annotated[str, Read(_absolute), Pattern("^/")]
FilePath = Annotated[str, Read(_file_path)]
Device = Annotated[
    str,
    _matching(_DEVICE, "device", "device node", "a path like /dev/davinci0"),
    Pattern(pattern(_DEVICE)),
]
Image = Annotated[
    str,
    Read(_image),
    Pattern(pattern(_IMAGE)),
]
Docker = Annotated[str, Read(_docker), Pattern("^(ssh|tcp|unix)://")]
Model = Annotated[str, Read(_model)]
Size = Annotated[
    str,
    _matching(_SIZE, "size", "size", "a number with k, m or g, like 16g"),
    Shown(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[1-9][0-9]{0,17}([bB]|[kKmMgG][bB]?)?$"},
                {"type": "integer"},
            ]
        }
    ),
]
EnvName = Annotated[
    str,
    Read(_env_name),
    Pattern(pattern(_ENV_NAME)),
]
EnvValue = Annotated[str, Read(_env_value), Shown({"anyOf": _SCALAR_SCHEMA})]
LabelKey = Annotated[
    str,
    _matching(_LABEL_KEY, "label-name", "label name", "letters, digits and . _ / -, as in team.example/owner"),
    Pattern(pattern(_LABEL_KEY)),
]
Text = Annotated[str, Read(_text), Shown({"anyOf": _SCALAR_SCHEMA})]
Flag = Annotated[
    str,
    Read(_flag),
    Pattern(pattern(_FLAG)),
]
Whole = Annotated[int, Read(_whole)]
Truth = Annotated[bool, Read(_truth)]
