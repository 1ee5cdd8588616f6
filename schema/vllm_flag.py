"""What one flag of `vllm serve` is: each entry of `vllm_flags.json` is one of these, in some releases of vLLM."""

from __future__ import annotations

from typing import Literal, NamedTuple

# What a word behind the flag is read as. `readable` numbers may end in k, m, g or t, and `-or-auto` may be `auto`;
# `switch` takes no word, `truth` is a word that Python's bool() reads, `lora` is NAME=PATH or a mapping.
Kind = Literal[
    "switch",
    "truth",
    "whole",
    "readable",
    "readable-or-auto",
    "number",
    "text",
    "text-or-mapping",
    "lora",
    "mapping",
    "list",
    "json",
]


class VllmFlag(NamedTuple):
    """A flag of `vllm serve`, or a key of a mapping that such a flag takes.

    Attributes:
        name: Its canonical name, without the dashes.
        kind: What its value is read as; with `several`, each of them.
        aliases: The other names that vLLM's parser knows it by, with their dashes.
        negative: A switch has a `--no-` form, too.
        optional: The word `None` stands for no value.
        several: `words` behind one flag, or the flag may `repeat`; empty when it takes one value.
        bare: It may stand without a value.
        choices: All values that are allowed; empty when there is no such list.
        ge: The least value.
        gt: What the value must be above.
        le: The greatest value.
        lt: What the value must be below.
        default: What holds without the flag, where vLLM says so in its parser.
        deprecated: What vLLM says about a flag that goes away.
        keys: The name of the config that a mapping is read as; empty when any key is allowed.
    """

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    negative: bool = False
    optional: bool = False
    several: Literal["", "words", "repeat"] = ""
    bare: bool = False
    choices: tuple[str | int, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    default: str | float | bool | None = None
    deprecated: str = ""
    keys: str = ""
