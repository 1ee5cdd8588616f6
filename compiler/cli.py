"""The command line: the one room that prints, reads the user's files and picks exit codes."""

from __future__ import annotations

import gc
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
    from typing import Any, NoReturn

    from compiler.compile import Compiled, Judged, Purpose
    from compiler.memo import Known, Memo
    from compiler.places import Located
    from compiler.plan import Plan
    from compiler.renew import Renewal
    from compiler.source import Source
    from compiler.survey import Change

_ENOUGH = 128 * 2**20  # more than any spec may have; that it has too much is told when it is parsed
_MOST_KEPT = 200  # diagnostics: to tell more again takes as long as to find them again
_MAX_CONFIG = 16 * 2**20  # a config.json has a few KB; this is none


_held: list[object] = []  # until the process ends: to free a large cluster piece by piece takes longer than to end


def program() -> NoReturn:
    """Runs the command that this process was started for, and ends it.

    It ends at once, as mypy does (`mypy.util.hard_exit`): all is written, and what is in memory need not be freed.
    """
    code = main()
    if "threading" in sys.modules:  # Python waits for them
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue  # it has been told, if it can be told
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code: 0 done, 1 at fault, 2 usage, 3 a bug here, 130 interrupted."""
    if sys.stdout is None:  # closed by the caller: nobody wants to read what is said
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no such letter
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as above
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
    finally:
        gc.enable()  # for whoever calls this from a program


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
    from compiler.memo import Memo  # noqa: PLC0415

    spec = _Spec(options)
    memo = Memo(spec.inputs, "", spec.beside)
    known = spec.recalled(memo)
    if known is None:
        compiled = spec.compiled("render", memo.beside)
        _tell(compiled.diagnostics, spec.sources, options.format)
        if compiled.plan is None:
            return AT_FAULT
        known = _known(compiled.diagnostics, compiled.plan, spec.sources)
        memo.keep(known)
    if options.strict and known.warned:
        return AT_FAULT
    if options.format == "text":
        print(f"{options.spec}: {known.summary}")
    return DONE


def _render(options: argparse.Namespace) -> int:
    from compiler.memo import Memo  # noqa: PLC0415

    spec = _Spec(options)
    memo = Memo(spec.inputs, options.output, spec.beside)
    known = spec.recalled(memo)
    if known is None:
        return _rendered(options, spec, memo)
    if options.strict and known.warned:
        return AT_FAULT
    place = _place(options, known.name)
    if options.check or options.diff:
        return _tell_stale((), place, options)
    _tell_written(known, (), place, options)
    return DONE


def _rendered(options: argparse.Namespace, spec: _Spec, memo: Memo) -> int:
    """Renders in full: nothing is known that would spare it."""
    known = None if options.check or options.diff else memo.left()
    if known is None:
        return _made(options, spec, memo, None)
    from compiler.renew import renewing  # noqa: PLC0415

    with renewing(options.output, *known, _processes()) as renewal:
        return _made(options, spec, memo, renewal)


def _made(options: argparse.Namespace, spec: _Spec, memo: Memo, renewal: Renewal | None) -> int:
    judged = spec.judged("render", memo.beside)
    _tell(judged.diagnostics, spec.sources, options.format)
    subject = judged.sound
    if subject is None or (options.strict and judged.diagnostics):
        return AT_FAULT
    from functools import cache  # noqa: PLC0415

    from compiler.compile import planned  # noqa: PLC0415
    from compiler.render import render  # noqa: PLC0415
    from compiler.write import WriteRefused, compare, write_made  # noqa: PLC0415

    gc.disable()  # as for the compilation: what is made refers to nothing that refers to it
    name = subject.cluster.name
    place = _place(options, name)
    plan = cache(lambda: planned(subject))
    bundle = cache(lambda: render(plan()))
    try:
        if options.check or options.diff:
            return _tell_stale(compare(bundle(), options.output, contents=options.diff), place, options)
        written = write_made(
            name,
            bundle,
            options.output,
            renewal,
            force=options.force,
            lock_timeout=options.lock_timeout,
            processes=_processes(),
        )
    except WriteRefused as refused:
        return _refused(refused)
    known = _known(judged.diagnostics, plan(), spec.sources)
    _held[:] = subject, plan, bundle
    known.name, known.files = name, parts.size if (parts := bundle().parts) else 0
    memo.keep(known, written.left)
    _tell_written(known, written.changes, place, options)
    return DONE


def _processes() -> int:
    """How many may write a large bundle."""
    return os.cpu_count() or 1


def _place(options: argparse.Namespace, name: str) -> str:
    return f"{options.output.rstrip('/') or '/'}/{name}"


def _tell_written(known: Known, changes: Sequence[Change], place: str, options: argparse.Namespace) -> None:
    if not options.quiet and options.format == "text":
        print(f"{place}: {known.summary}; {_counted(changes, known.files)}")


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
        _tell(compiled.diagnostics, sources, options.format)  # who only looks at what runs has read the warnings before
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


class _Spec:
    """The files that a command was given, read.

    Attributes:
        inputs: The name and bytes of each that could be read.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.inputs, self._unreadable = _read([options.spec, *options.overlay])
        self.beside = _beside(options.spec)
        self._form = options.format if "format" in options else "text"

    @property
    def sources(self) -> list[Source]:
        """The files as the compilation takes them."""
        from compiler.source import Source  # noqa: PLC0415

        return [Source(*each) for each in self.inputs]

    def judged(self, purpose: Purpose, beside: Callable[[str], bytes]) -> Judged:
        """What is found in it, with nothing told yet."""
        from compiler.compile import Judged, judge_spec  # noqa: PLC0415

        if self._unreadable:
            return Judged(None, self._unreadable)  # type: ignore[arg-type]
        judged: Judged = _uncollected(judge_spec, self.sources, purpose, beside)
        return judged

    def compiled(self, purpose: Purpose, beside: Callable[[str], bytes]) -> Compiled:
        """The compilation, with nothing told yet."""
        from compiler.compile import Compiled, compile_spec  # noqa: PLC0415

        if self._unreadable:
            return Compiled(None, self._unreadable)  # type: ignore[arg-type]
        compiled: Compiled = _uncollected(compile_spec, self.sources, purpose, beside)
        return compiled

    def recalled(self, memo: Memo) -> Known | None:
        """What is known of it, told as it was the first time; None when it must be found out."""
        known = None if self._unreadable else memo.recall()
        if known is None:
            return None
        if self._form != "text":
            sys.stdout.write(known.told[self._form])
        elif known.warned:
            sys.stderr.write(known.told["colour" if coloured(sys.stderr) else "text"])
            say(known.told["count"])
        return known


def _uncollected(make: Callable[..., Any], *words: object) -> Any:
    """Makes many small objects, none of them garbage: the collector would walk them again and again."""
    gc.disable()
    try:
        return make(*words)
    finally:
        gc.freeze()
        gc.enable()


def _known(found: Sequence[Located], plan: Plan, sources: Sequence[Source]) -> Known:
    """What a later run may tell of this one."""
    from compiler import report  # noqa: PLC0415
    from compiler.memo import Known  # noqa: PLC0415

    if len(found) > _MOST_KEPT:
        return Known({}, _summary(plan), warned=True)
    told = {
        "text": report.as_text(found, sources, colour=False),
        "colour": report.as_text(found, sources, colour=True),
        "json": report.as_json(found),
        "github": report.as_github(found),
        "count": report.count(found),
    }
    return Known(told, _summary(plan), warned=bool(found))


def _compiled_from(options: argparse.Namespace, purpose: Purpose) -> tuple[list[Source], Compiled]:
    sources, compiled = _compiled_of(options, purpose)
    _tell(compiled.diagnostics, sources, options.format)
    return sources, compiled


def _compiled_of(options: argparse.Namespace, purpose: Purpose) -> tuple[list[Source], Compiled]:
    """The compilation of the files that were named, with nothing told yet."""
    spec = _Spec(options)
    return spec.sources, spec.compiled(purpose, spec.beside)


def _is_there(name: str) -> bool:
    return os.path.isfile(name)


def _read(names: Sequence[str]) -> tuple[list[tuple[str, bytes]], tuple[object, ...]]:
    inputs, unreadable = [], []
    for name in names:
        try:
            if name == "-":
                inputs.append(("<stdin>", sys.stdin.buffer.read(_ENOUGH)))
                continue
            with open(name, "rb") as file:
                inputs.append((name, file.read(_ENOUGH)))
        except OSError as fault:
            unreadable.append(_unreadable(name, fault))
    return inputs, tuple(unreadable)


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


def _tell(found: Sequence[Located], sources: Sequence[Source], form: str) -> None:
    """Diagnostics for people go to stderr; those for programs are the result, and go to stdout."""
    from compiler import report  # noqa: PLC0415

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
