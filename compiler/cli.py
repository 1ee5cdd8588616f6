"""The command line: the one room that prints, reads the user's files and picks exit codes."""

from __future__ import annotations

import io
import os
import sys

from compiler import __version__
from compiler.cli_options import DEFAULT_SPEC, every_command, parsed
from compiler.say import AT_FAULT, BUG, DONE, INTERRUPTED, USAGE, coloured, say

TYPE_CHECKING = False  # see compiler.cli_options
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from compiler.compile import Compiled, Purpose
    from compiler.plan import Plan
    from compiler.source import Source
    from compiler.survey import Change

_MAX_CONFIG = 16 * 2**20  # a config.json has a few KB; this is none


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code: 0 done, 1 at fault, 2 usage, 3 a bug here, 130 interrupted."""
    if sys.stdout is None:  # closed by the caller: nobody wants to read what is said
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no such letter
    try:
        options = parsed(sys.argv[1:] if arguments is None else arguments)
        code = _COMMANDS[options.command](options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        _silence_stdout()
        return AT_FAULT
    except OSError as fault:
        if fault.filename is not None:
            _report_bug()
            return BUG
        say(f"error: what was to be said could not be written: {fault.strerror or fault}")
        _silence_stdout()
        return AT_FAULT
    except Exception:  # noqa: BLE001 - whatever it is, it is ours
        _report_bug()
        return BUG
    else:
        return code


def _init(options: argparse.Namespace) -> int:
    from compiler.newfile import write_new  # noqa: PLC0415
    from compiler.packaged import packaged  # noqa: PLC0415
    from compiler.refusal import WriteRefused  # noqa: PLC0415

    try:
        write_new(options.file, packaged("templates", "spec/cluster.yaml"))
    except WriteRefused as refused:
        return _refused(refused)
    print(f"{options.file}: written. Edit it, then: compiler check {_word(options.file)}")
    return DONE


def _check(options: argparse.Namespace) -> int:
    compiled = _compiled(options)
    if compiled.plan is None or (options.strict and compiled.diagnostics):
        return AT_FAULT
    if options.format == "text":
        print(f"{options.spec}: {_summary(compiled.plan)}")
    return DONE


def _render(options: argparse.Namespace) -> int:
    compiled = _compiled(options)
    if compiled.plan is None or (options.strict and compiled.diagnostics):
        return AT_FAULT
    from pathlib import Path  # noqa: PLC0415

    from compiler.render import render  # noqa: PLC0415
    from compiler.write import WriteRefused, compare, write  # noqa: PLC0415

    plan = compiled.plan
    del compiled  # the plan has all that counts; the spec of a large cluster is large
    bundle = render(plan)
    root = Path(options.output)
    place = f"{options.output.rstrip('/') or '/'}/{bundle.name}"
    try:
        if options.check or options.diff:
            return _tell_stale(compare(bundle, root, contents=options.diff), place, options)
        changes = write(bundle, root, force=options.force, lock_timeout=options.lock_timeout)
    except WriteRefused as refused:
        return _refused(refused)
    if not options.quiet and options.format == "text":
        print(f"{place}: {_summary(plan)}; {_counted(changes, sum(1 for _ in bundle.paths))}")
    return DONE


def _explain(options: argparse.Namespace) -> int:
    from compiler import cli_explain  # noqa: PLC0415

    try:
        options.spec, line = cli_explain.targets_of(options.targets, DEFAULT_SPEC)
    except ValueError as unusable:
        say(f"error: {unusable}")
        return USAGE
    if line and len(options.targets) == 1 and not _is_there(options.spec):
        say(f"error: {line} comes from a spec, and {options.spec} is not here")
        say(f"  = hint: name the spec: compiler explain {_word(line)} SPEC")
        return AT_FAULT
    sources, compiled = _compiled_of(options, "render")
    if line:
        return cli_explain.explain_line(options, line, compiled, sources, _beside(options.spec))
    return cli_explain.explain(options, compiled, sources)


def _verify(options: argparse.Namespace) -> int:
    return _reach("verify", options)


def _discover(options: argparse.Namespace) -> int:
    sources, compiled = _compiled_from(options, "discover")
    return _on_nodes("discover", options, compiled, sources)


def _plan(options: argparse.Namespace) -> int:
    return _reach("plan", options)


def _apply(options: argparse.Namespace) -> int:
    return _reach("apply", options)


def _status(options: argparse.Namespace) -> int:
    return _reach("status", options)


def _logs(options: argparse.Namespace) -> int:
    return _reach("logs", options)


def _down(options: argparse.Namespace) -> int:
    return _reach("down", options)


def _reach(command: str, options: argparse.Namespace) -> int:
    """Runs a command on the nodes of the spec; what was found in the spec goes to stderr."""
    if getattr(options, "json", False):
        options.format = "text"  # on stderr: stdout is for the one document
    sources, compiled = _compiled_of(options, "reach")
    if compiled.plan is None or options.strict or command not in ("status", "logs", "down"):
        _tell(compiled, sources, options.format)  # who only looks at what runs has read the warnings before
    return _on_nodes(command, options, compiled, sources)


def _on_nodes(command: str, options: argparse.Namespace, compiled: Compiled, sources: Sequence[Source]) -> int:
    """Runs a command that reaches nodes, of a spec that stands."""
    if compiled.plan is None or (options.strict and compiled.diagnostics):
        return AT_FAULT
    try:
        if command == "discover":
            from compiler import cli_nodes  # noqa: PLC0415

            return cli_nodes.discover(options, compiled.plan, sources)
        return _runner(command)(options, compiled.plan)
    except ModuleNotFoundError as missing:
        return _without_docker(missing)


def _runner(command: str) -> Callable[[argparse.Namespace, Plan], int]:
    if command == "verify":
        from compiler import cli_nodes  # noqa: PLC0415

        return cli_nodes.verify
    if command in ("status", "logs"):
        from compiler import cli_status  # noqa: PLC0415

        return cli_status.status if command == "status" else cli_status.logs
    from compiler import cli_apply  # noqa: PLC0415

    return {"plan": cli_apply.plan, "apply": cli_apply.apply, "down": cli_apply.down}[command]


def _without_docker(missing: ModuleNotFoundError) -> int:
    """Compiling needs no docker-py, so it is not there for everyone."""
    if missing.name != "docker":
        raise missing
    say("error: reaching nodes needs docker-py, which is not installed")
    say("  = hint: `make install` in a checkout, else pip install 'ascend-cluster-compiler[apply]'")
    return AT_FAULT


def _schema(_: argparse.Namespace) -> int:
    from compiler.jsonschema import schema_text  # noqa: PLC0415

    sys.stdout.write(schema_text())
    return DONE


def _completion(options: argparse.Namespace) -> int:
    from compiler.completion import Command, script  # noqa: PLC0415

    def flags(parser: argparse.ArgumentParser) -> tuple[tuple[str, str], ...]:
        actions = [(action.option_strings, action.help or "") for action in parser._actions]  # noqa: SLF001
        return tuple((names[-1], does.partition(" (default")[0]) for names, does in actions if names)

    commands = tuple(Command(name, each.description or "", flags(each)) for name, each in every_command().items())
    sys.stdout.write(script(options.shell, commands))
    return DONE


def _compiled(options: argparse.Namespace, purpose: Purpose = "render") -> Compiled:
    """The compilation of the files that were named, with everything found told."""
    return _compiled_from(options, purpose)[1]


def _compiled_from(options: argparse.Namespace, purpose: Purpose) -> tuple[list[Source], Compiled]:
    sources, compiled = _compiled_of(options, purpose)
    _tell(compiled, sources, options.format)
    return sources, compiled


def _compiled_of(options: argparse.Namespace, purpose: Purpose) -> tuple[list[Source], Compiled]:
    """The compilation of the files that were named, with nothing told yet."""
    from compiler.compile import Compiled, compile_spec  # noqa: PLC0415

    sources, unreadable = _read([options.spec, *options.overlay])
    if unreadable:
        return sources, Compiled(None, unreadable)  # type: ignore[arg-type]
    return sources, compile_spec(sources, purpose, _beside(options.spec))


def _is_there(name: str) -> bool:
    return os.path.isfile(name)


def _read(names: Sequence[str]) -> tuple[list[Source], tuple[object, ...]]:
    from compiler.source import MAX_BYTES, Source  # noqa: PLC0415

    sources, unreadable = [], []
    for name in names:
        try:
            if name == "-":
                sources.append(Source("<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1)))
                continue
            with open(name, "rb") as file:
                sources.append(Source(name, file.read(MAX_BYTES + 1)))
        except OSError as fault:
            unreadable.append(_unreadable(name, fault))
    return sources, tuple(unreadable)


def _beside(spec: str) -> Callable[[str], bytes]:
    """Reads the files that a spec names: relative to it, or to here for one from standard input."""

    def read(path: str) -> bytes:
        import errno  # noqa: PLC0415
        import stat  # noqa: PLC0415

        name = os.path.join(os.path.dirname(spec), path)
        found = os.stat(name)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name)
        if found.st_size > _MAX_CONFIG:
            raise OSError(errno.EFBIG, "it is larger than 16 MiB", name)
        with open(name, "rb") as file:
            return file.read(_MAX_CONFIG)

    return read


def _unreadable(name: str, fault: OSError) -> object:
    from compiler.diagnostics import Place  # noqa: PLC0415
    from compiler.places import Located  # noqa: PLC0415

    hint = "`compiler init` writes a spec to begin with" if isinstance(fault, FileNotFoundError) else ""
    message = f"cannot be read: {fault.strerror or fault}"
    return Located("error", "unreadable", message, "", Place(name, 1, 1, 1), hint, secret=False)


def _tell(compiled: Compiled, sources: Sequence[Source], form: str) -> None:
    """Diagnostics for people go to stderr; those for programs are the result, and go to stdout."""
    from compiler import report  # noqa: PLC0415

    found = compiled.diagnostics
    if form == "json":
        sys.stdout.write(report.as_json(found))
    elif form == "github":
        sys.stdout.write(report.as_github(found))
    elif found:
        sys.stderr.write(report.as_text(found, sources, colour=coloured(sys.stderr)))
        say(report.count(found))


def _tell_stale(changes: Sequence[Change], place: str, options: argparse.Namespace) -> int:
    if not changes:
        if not options.quiet and options.format == "text":
            print(f"{place}: up to date")
        return DONE
    if options.diff:
        from compiler.diff import unified  # noqa: PLC0415

        sys.stdout.write(unified(changes, place, colour=coloured(sys.stdout)))
    else:
        for change in changes[:20]:
            say(f"{place}/{change.path}: {_STALE[change.kind]}")
        if len(changes) > 20:  # noqa: PLR2004
            say(f"and {len(changes) - 20} more")
    say(f"{place} is not what {options.spec} compiles to; render it again")
    return AT_FAULT


_STALE = {
    "added": "is missing",
    "changed": "is out of date",
    "removed": "is no longer made",
    "mode": "has the wrong mode",
}


def _counted(changes: Sequence[Change], files: int) -> str:
    if not changes:
        return f"{files} files, unchanged"
    kinds = [("added", "new"), ("changed", "changed"), ("mode", "with a new mode"), ("removed", "removed")]
    counts = [(sum(change.kind == kind for change in changes), word) for kind, word in kinds]
    return f"{files} files, " + ", ".join(f"{count} {word}" for count, word in counts if count)


def _summary(plan: Plan) -> str:
    return f"{plan.parallelism.text} on {plan.size_text}"


def _refused(refused: Exception) -> int:
    message, hint = refused.message, refused.hint  # type: ignore[attr-defined]
    say(f"error: {message}")
    if hint:
        say(f"  = hint: {hint}")
    return AT_FAULT


def _word(text: str) -> str:
    import shlex  # noqa: PLC0415

    return shlex.quote(text)


def _silence_stdout() -> None:
    """So that the interpreter's last flush finds somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug() -> None:
    import traceback  # noqa: PLC0415

    traceback.print_exc()
    say(f"\nThis is a bug in compiler {__version__}, not in your spec. Nothing was left half written.")
    say("Please report it with the lines above and the spec that shows it.")


_COMMANDS = {
    "init": _init,
    "check": _check,
    "render": _render,
    "explain": _explain,
    "verify": _verify,
    "discover": _discover,
    "plan": _plan,
    "apply": _apply,
    "status": _status,
    "logs": _logs,
    "down": _down,
    "schema": _schema,
    "completion": _completion,
}
