"""The rules of `serve.args`: each name is a flag of the image's vLLM, each value what this flag takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from compiler.diagnostics import error, warning
from compiler.flag_values import Fault, faults, inside, unknown_key
from compiler.flags import flags_of, having, keys_of, releases, releases_with, words
from schema.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from compiler.diagnostics import Diagnostic, Path
    from compiler.subject import Subject
    from schema.vllm_flag import VllmFlag

COMPUTED_ARGS = {
    **dict.fromkeys(
        ("tensor-parallel-size", "tp", "pipeline-parallel-size", "pp"), "say it with `serve.parallelism`"
    ),
    "distributed-executor-backend": "it is always ray",
    "port": "say it with `serve.port`",
    "host": "the API listens on every interface of the head, at `serve.port`",
    "uds": "the API listens at `serve.port`",
    "model": "say it with `serve.model`",
    "model-tag": "say it with `serve.model`",
    "config": "write its flags here, where they are checked",
    "num-gpus": "Ray would register GPUs instead of NPUs: github.com/vllm-project/vllm-ascend/issues/3114",
    "prefill-context-parallel-size": "it takes NPUs beside those of TP x PP, and vllm-ascend has it without PP alone",
    "api-key": "pass it as the secret VLLM_API_KEY, so that it stands in no file and no process list",
    **dict.fromkeys(
        ("nnodes", "node-rank", "master-addr", "master-port", "headless"),
        "Ray brings the nodes together; this flag is for vLLM without Ray",
    ),
    **dict.fromkeys(
        (
            "data-parallel-size", "dp", "data-parallel-size-local", "data-parallel-rank",
            "data-parallel-address", "data-parallel-rpc-port", "data-parallel-backend", "data-parallel-start-rank",
            "data-parallel-external-lb", "data-parallel-hybrid-lb", "data-parallel-multi-port-external-lb",
            "data-parallel-supervisor-port",
        ),
        "data parallelism over Ray hangs: github.com/vllm-project/vllm/issues/44878",
    ),
}  # fmt: skip
MAX_WORD = 128 * 1024 - 1  # MAX_ARG_STRLEN of Linux, less its NUL: execve(2)


class _Vllm(NamedTuple):
    """The image's vLLM: its release, or None when its flags are not known, and the flags that it may have."""

    release: str | None
    flags: Mapping[str, VllmFlag]

    def told(self, fault: Fault) -> Diagnostic:
        """The fault; a vLLM that is not known here may know better, so that it is a warning then."""
        path, message, hint, unknown = fault
        found = error("unknown-flag", path, message, hint, at_key=True) if unknown else None
        found = found or error("flag-type", path, message, hint)
        return found if self.release else found._replace(severity="warning")


def vllm_release(subject: Subject) -> str | None:
    """The release of vLLM in the image, where its flags are known."""
    vllm = subject.release.vllm if subject.release else None
    return vllm if vllm in releases() else None


def arguments_are_vllms(subject: Subject) -> Iterator[Diagnostic]:
    """Every flag exists in the image's vLLM, by its one name, and its value is of the flag's type."""
    release = vllm_release(subject)
    vllm = _Vllm(release, flags_of(release))
    args = subject.cluster.serve.args
    for name, value in args.items():
        path: Path = ("serve", "args", name)
        base, dot, _ = name.partition(".")
        if reason := COMPUTED_ARGS.get(base) or COMPUTED_ARGS.get(base.removeprefix("no-")):
            yield error("computed-arg", path, "may not be given by hand", reason, at_key=True)
        elif base == "hf-token" and isinstance(value, str):
            hint = "pass it as the secret HF_TOKEN: secrets: {HF_TOKEN: {from_env: HF_TOKEN}}"
            message = "is a secret, and this value would stand in the generated files"
            yield error("secret-in-arg", path, message, hint, at_key=True, secret=True)
        elif base == "served-model-name" and (not value or isinstance(value, bool | dict)):
            yield error("wrong-type", path, "should be the name that requests use")
        elif base not in vllm.flags:
            yield from _not_there(base, vllm, path)
        else:
            yield from _dotted(name, value, vllm, path) if dot else _plain(vllm.flags[name], value, vllm, path)
        if dot and base in args:
            hint = "write all of it in one of the two ways; {there} is the other one"
            message = f"{base} is given as a whole, too, and vLLM would drop one of the two"
            yield error("vllm-flag", path, message, hint, at_key=True, related=("serve", "args", base))
        yield from _words_can_be_passed(name, value, vllm.flags.get(name), path)


def _plain(flag: VllmFlag, value: object, vllm: _Vllm, path: Path) -> Iterator[Diagnostic]:
    yield from map(vllm.told, faults(flag, value, path, vllm.release))
    yield from _goes_away(flag, vllm, path)


def _not_there(name: str, vllm: _Vllm, path: Path) -> Iterator[Diagnostic]:
    """A name that is no flag: another name of one, a slip, or a flag of another release."""
    other = _other_names(vllm.flags)
    if name in other:
        message = f"{name} is another name of {other[name].partition(':')[0]}"
        yield error("vllm-flag", path, message, f"write {other[name]}, so that it has one name", at_key=True)
        return
    hint = having(name)
    if not hint and (meant := nearest(name, [*vllm.flags, *other])):
        hint = f"did you mean {other.get(meant, meant)}?"
    hint = hint or "`vllm serve --help=all` in the image lists its flags"
    message = f"vLLM {vllm.release} has no" if vllm.release else "no vLLM known here has a"
    yield vllm.told(Fault(path, f"{message} flag --{name}", hint, unknown=True))


def _other_names(flags: Mapping[str, VllmFlag]) -> dict[str, str]:
    """What else vLLM's parser would take, and how a spec writes it."""
    other = {alias.lstrip("-"): flag.name for flag in flags.values() for alias in flag.aliases}
    return other | {f"no-{flag.name}": f"{flag.name}: false" for flag in flags.values() if flag.negative}


def _dotted(name: str, value: object, vllm: _Vllm, path: Path) -> Iterator[Diagnostic]:
    """`compilation-config.level: 3`: a key of a mapping, as vLLM's parser puts it together."""
    base, *keys = name.split(".")
    flag = vllm.flags[base]
    for depth, key in enumerate(keys):
        if flag.kind not in ("mapping", "text-or-mapping", "json"):
            message = f"--{'.'.join((base, *keys[:depth]))} takes no mapping, so {key} is no key of it"
            yield vllm.told(Fault(path, message, "", unknown=True))
            return
        if not flag.keys:
            return
        known = keys_of(vllm.release, flag.keys)
        if key not in known:
            yield vllm.told(unknown_key(key, flag.keys, path, vllm.release))
            return
        flag = known[key]
    yield from map(vllm.told, inside(flag, value, path, vllm.release))


def _goes_away(flag: VllmFlag, vllm: _Vllm, path: Path) -> Iterator[Diagnostic]:
    if not vllm.release or not flag.deprecated:
        return
    later = releases()[releases().index(vllm.release) + 1 :]
    gone = next((release for release in later if release not in releases_with(flag.name)), "")
    message = f"is deprecated in vLLM {vllm.release}" + (f", and {gone} has it no more" if gone else "")
    hint = "" if flag.deprecated == "deprecated" else f"vLLM says: {flag.deprecated}"
    yield warning("deprecated-flag", path, message, hint, at_key=True)


def _words_can_be_passed(name: str, value: object, flag: VllmFlag | None, path: Path) -> Iterator[Diagnostic]:
    """What no command line can carry to vLLM's parser, whatever the flag."""
    if isinstance(value, list) and not value and (flag is None or flag.several):
        yield error("wrong-length", path, "is an empty list", "leave the flag out, or give it a value")
        return
    command = words(name, value, flag)
    if any(len(word.encode()) > MAX_WORD for word in command):
        yield error("vllm-value", path, "is longer than the 128 KiB that a word of a command may have")
    if any(word.partition("=")[2] == "--" for word in command):
        yield error("vllm-value", path, "-- by itself is dropped by the parser of vLLM's Python", "take another word")
    for position, word in enumerate(command[1:] if isinstance(value, list) and len(value) > 1 else ()):
        if word.startswith("-") and not (flag and flag.several == "repeat"):
            message = f"{word!r} begins with a dash, so vLLM would take it for a flag"
            yield error("vllm-value", (*path, position), message, "vLLM has no way to pass it in a list")
