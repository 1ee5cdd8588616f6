"""The command line: which commands there are, and what each can be told."""

from __future__ import annotations

import argparse
import os
import sys

from compiler import __version__

TYPE_CHECKING = False  # as typing's, whose import takes longer than `--version` may
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_SPEC = "cluster.yaml"
_DEFAULT_OUTPUT = "generated"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for: `command` is its name; what else there is, is that command's own.

    Raises:
        SystemExit: The arguments make no sense, or ask for no more than help or the version.
    """
    first = arguments[0] if arguments else ""
    if first in _COMMANDS:
        return _parser([first]).parse_args(arguments)
    return _parser([] if first == "--version" else list(_COMMANDS)).parse_args(arguments)


def every_command() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command by its name, with all its flags."""
    return {
        name: _filled(argparse.ArgumentParser(description=_sentence(does)), add)
        for name, (does, add) in _COMMANDS.items()
    }


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """The program's parser with these commands; one alone has its flags, since nobody asks for the others'."""
    parser = argparse.ArgumentParser(
        prog="compiler",
        description="Compiles one reviewed spec of an Ascend cluster into everything that each node needs.",
        epilog="Exit codes: 0 done, 1 the spec or the cluster is at fault, 2 usage, 3 a bug here, 130 interrupted.",
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"compiler {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command", prog="compiler"
    )
    for name in names:
        does, add = _COMMANDS[name]
        asked = len(names) == 1
        command = commands.add_parser(
            name, help=does, description=_sentence(does), add_help=asked, formatter_class=_formatter
        )
        if asked:
            _filled(command, add)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=_columns() - 2)


def _columns() -> int:
    """As argparse would ask, but for the package that it imports for this, which takes as long as all else."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        return 80


def _filled(parser: argparse.ArgumentParser, add: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    add(parser)
    return parser


def _sentence(does: str) -> str:
    return f"{does[0].upper()}{does[1:]}."


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_SPEC,
        metavar="FILE",
        help="where to write it (default: %(default)s)",
    )


def _check(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)


def _render(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument(
        "-o",
        "--output",
        default=_DEFAULT_OUTPUT,
        metavar="DIR",
        help="the folder of all bundles (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if what lies there is not what would be written",
    )
    parser.add_argument("--diff", action="store_true", help="like --check, and show the difference")
    parser.add_argument(
        "--force", action="store_true", help="replace generated files although they were edited by hand"
    )
    parser.add_argument(
        "--lock-timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another render (default: %(default)g)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing when all is well")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", nargs="*", metavar="SPEC | FILE:LINE [SPEC]",
        help=f"the cluster spec (default: {DEFAULT_SPEC}); or a line of a generated file: where does it come from",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--overlay", action="append", default=[], metavar="OVERLAY",
        help="lay this file onto the spec; may be given several times, left to right",
    )  # fmt: skip
    parser.add_argument(
        "--what-if", action="append", default=[], metavar="KEY=VALUE[,...]",
        help="compare with other values, as tensor=16 or nodes=4,max-model-len=32k; may be given several times",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _schema(_: argparse.ArgumentParser) -> None:
    """It takes nothing."""


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="source what is printed")


def _verify(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--only", action="append", default=[], metavar="ID[,ID...]", help="make these checks alone")
    parser.add_argument("--skip", action="append", default=[], metavar="ID[,ID...]", help="leave these checks out")
    parser.add_argument("--json", action="store_true", help="print one JSON document with everything that was said")
    _add_reach(parser, seconds=900)


def _discover(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; show what would be; exit 1 if it is anything"
    )
    _add_reach(parser, seconds=180)


def _plan(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 when there is something to do")
    _add_wishes(parser)
    _add_reach(parser, seconds=300)


def _apply(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--skip-verify", action="store_true", help="do not run the nodes' verify.sh first")
    parser.add_argument(
        "--verify-timeout", type=_count, default=900, metavar="SECONDS",
        help="how long verifying one node may take (default: %(default)s)",
    )  # fmt: skip
    _add_wishes(parser)
    _add_consent(parser)
    _add_reach(parser, seconds=300)


def _status(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--watch", type=_count, nargs="?", const=5, default=0, metavar="SECONDS",
        help="look again every so many seconds, until Ctrl-C (5 when not said)",
    )  # fmt: skip
    _add_limits(parser, seconds=120)


def _logs(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="the nodes (default: all)")
    parser.add_argument("--service", action="store_true", help="show the log of serve.sh and vLLM, on the head")
    parser.add_argument("--follow", action="store_true", help="go on with what is said from now on, until Ctrl-C")
    parser.add_argument(
        "--tail", type=_count, default=100, metavar="N", help="how many of the last lines (default: %(default)s)"
    )  # fmt: skip
    _add_limits(parser, seconds=60)


def _down(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait until nobody holds the NPUs")
    _add_consent(parser)
    _add_reach(parser, seconds=300)


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spec",
        nargs="?",
        default=DEFAULT_SPEC,
        metavar="SPEC",
        help="the cluster spec (default: %(default)s)",
    )
    parser.add_argument(
        "-f", "--overlay", action="append", default=[], metavar="OVERLAY",
        help="lay this file onto the spec; may be given several times, left to right",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument(
        "--format",
        choices=("text", "json", "github"),
        default="text",
        help="how to tell what was found (default: %(default)s)",
    )


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-serve", action="store_true", help="stop when Ray is as planned; start no service")
    parser.add_argument("--restart", action="store_true", help="start the service anew, although it may run as planned")


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--lock-timeout", type=float, default=0.0, metavar="SECONDS",
        help="how long to wait for another who is at work (default: %(default)g)",
    )  # fmt: skip


def _add_reach(parser: argparse.ArgumentParser, *, seconds: int) -> None:
    parser.add_argument(
        "--node", action="append", default=[], metavar="NAME", help="this node alone; may be given several times"
    )  # fmt: skip
    _add_limits(parser, seconds=seconds)


def _add_limits(parser: argparse.ArgumentParser, *, seconds: int) -> None:
    parser.add_argument(
        "--parallel", type=_count, default=64, metavar="N", help="how many nodes at a time (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=_count, default=seconds, metavar="SECONDS",
        help="how long one node may take, for one step (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


# What each does, in a few words, and what gives its parser its flags.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "init": ("write a commented starter spec that compiles", _init),
    "check": ("validate a spec; write nothing", _check),
    "render": ("compile a spec's bundle into DIR/NAME/", _render),
    "explain": ("say why these sizes, what fits, and which line of a spec makes a generated line", _explain),
    "verify": ("run each node's verify.sh, and judge across the nodes", _verify),
    "discover": ("ask the nodes for their addresses, and write them into the spec", _discover),
    "plan": ("show what apply would do to each node, and why; change nothing", _plan),
    "apply": ("bring the cluster up as the spec says, until it answers a completion", _apply),
    "status": ("say what runs, what Ray sees, and whether it really serves", _status),
    "logs": ("show what nodes' containers said, or the service", _logs),
    "down": ("remove exactly what was made for this cluster", _down),
    "schema": ("print the JSON Schema of the spec", _schema),
    "completion": ("print the completion script of a shell", _completion),
}
