"""The script that completes commands, flags and file names in a shell."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command of the program: its name, what it does, and its flags with theirs."""

    name: str
    does: str
    flags: tuple[tuple[str, str], ...]


def script(shell: str, commands: tuple[Command, ...]) -> str:
    """What the shell reads: `source <(compiler completion bash)`."""
    if shell == "fish":
        return _fish(commands)
    first = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return first + _bash(commands)


def _bash(commands: tuple[Command, ...]) -> str:
    names = " ".join(command.name for command in commands)
    cases = "".join(
        f"    {command.name}) words='{' '.join(flag for flag, _ in command.flags)}' ;;\n" for command in commands
    )
    return f"""\
_compiler() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  case ${{COMP_WORDS[1]}} in
{cases}  esac
  if ((COMP_CWORD == 1)); then
    words='{names} --help --version'
  elif [[ $word != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
    return
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o filenames -F _compiler compiler
"""


def _fish(commands: tuple[Command, ...]) -> str:
    lines = []
    for command in commands:
        lines.append(
            f"complete -c compiler -n __fish_use_subcommand -f -a {command.name} -d '{_plain(command.does)}'\n"
        )
        for flag, does in command.flags:
            lines.append(
                f"complete -c compiler -n '__fish_seen_subcommand_from {command.name}'"
                f" -l {flag.removeprefix('--')} -d '{_plain(does)}'\n"
            )
    return "".join(lines)


def _plain(text: str) -> str:
    return text.replace("\\", "").replace("'", "")
