"""YAML text to a tree of plain values, refusing whatever two YAML readers could read in two ways.

The events of the C parser are walked with a stack of our own: no recursion, one pass, no place kept. Of many
entries that are written alike one is (`compiler.alike`). Only when something must be told does `places` walk them all
once more.
"""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.diagnostics import Diagnostic, Place
from schema.scalar import REFUSED, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.scalar import Tree

MAX_BYTES = 64 * 1024 * 1024  # 100,000 nodes written one by one are 20 MiB
LONG = 1 << 14  # characters: 150 entries, about
MAX_DEPTH = 64  # the deepest legal spec is seven levels deep

_WORDS: dict[str, Scalar] = {
    word: Scalar(word, value)
    for words, value in (
        (("~", "null", "Null", "NULL", ""), None),
        (("true", "True", "TRUE"), True),
        (("false", "False", "FALSE"), False),
    )
    for word in words
}
_BOOLEANS_OF_YAML_1_1 = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.title(), word.upper())
)
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]*)?(?P<exponent>[eE][-+]?[0-9]+)?", re.ASCII)
_NUMBER_OF_YAML_1_1 = re.compile(
    r"[-+]?(?:0[0-9_]+|[0-9][0-9_]*_[0-9_]*|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)", re.ASCII
)
_MAX_DIGITS = 400  # int() and float() refuse or lose longer ones; no field wants one
_RANGE = re.compile(r"\[[0-9a-z]+:[0-9a-z]+")
_LINE_BREAKS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")


class Source(NamedTuple):
    """One file of the spec: its name, as the user gave it, and its bytes."""

    name: str
    content: bytes


class Stop(Exception):  # noqa: N818 - it is no error of ours: it ends the reading of one file
    """The file cannot be read any further; the diagnostic says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def parse(source: Source) -> tuple[Tree, tuple[Diagnostic, ...]]:
    """The tree of a file, and everything about its YAML that is refused.

    A refused value is REFUSED in the tree, so that the rest can still be judged. A file that cannot
    be read to its end is REFUSED as a whole.
    """
    collecting = gc.isenabled()
    gc.disable()  # a tree of many small objects and no garbage: the collector would only walk it again
    reader = _Reader(source.name)
    try:
        text = decode(source)
        tree = _read_alike(source.name, text)
        return (reader.read(text), tuple(reader.faults)) if tree is None else (tree, ())
    except Stop as stop:
        return REFUSED, (*reader.faults, stop.diagnostic)
    finally:
        if collecting:
            gc.enable()


def _read_alike(name: str, text: str) -> Tree | None:
    """The tree of a text with many entries that are alike; None of any other, and of one with a fault."""
    if len(text) < LONG:
        return None
    from compiler.alike import folded, unfolded  # noqa: PLC0415 - of a short text all is parsed before this is there

    alike = folded(text)
    if alike is None:
        return None
    reader = _Reader(name)
    try:
        tree = reader.read(alike.text)
    except Stop:
        return None  # what stops here stops the whole text, and is told at its place there
    return None if reader.faults else unfolded(alike, tree, plain)


def decode(source: Source) -> str:
    """The text of a file.

    Raises:
        Stop: It is too large, not UTF-8, or holds a line break that YAML readers disagree about.
    """
    name, content = source
    if len(content) > MAX_BYTES:
        raise _stop(name, 1, 1, "too-large", f"the file is larger than {MAX_BYTES // 2**20} MiB")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _stop(name, 1, 1, "not-utf-8", "the file is UTF-16 (byte 0)", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = content[: fault.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"byte {fault.start} (0x{content[fault.start]:02x}) is not UTF-8"
        raise _stop(name, line, column, "not-utf-8", message, "save it as UTF-8") from None
    if (not text.isascii() or "\r" in text) and (odd := _LINE_BREAKS.search(text)):
        line = text.count("\n", 0, odd.start()) + 1
        column = odd.start() - text.rfind("\n", 0, odd.start())
        message = f"the character U+{ord(odd.group()):04X} is a line break to some YAML readers only"
        hint = f'remove it, or write it as "\\u{ord(odd.group()):04x}" in double quotes'
        raise _stop(name, line, column, "yaml-surprise", message, hint)
    return text


def plain(text: str) -> Tree:
    """What a plain scalar says; REFUSED when two YAML readers could read it in two ways."""
    if (word := _WORDS.get(text)) is not None:
        return word
    if text[0] in "0123456789+-":
        return _number(text)
    return REFUSED if text in _BOOLEANS_OF_YAML_1_1 else text


def _number(text: str) -> Tree:
    if text.count(".") > 1:  # an IPv4 address, mostly: a number has one point, in either YAML
        return text
    if _NUMBER_OF_YAML_1_1.fullmatch(text):
        return REFUSED
    if len(text) > _MAX_DIGITS or not (match := _NUMBER.fullmatch(text)):
        return text
    if match["fraction"] is None and match["exponent"] is None:
        return Scalar(text, int(text))
    return Scalar(text, float(text))


def events(text: str, name: str) -> Iterator[Any]:
    """The C parser's events.

    Raises:
        Stop: The text is not YAML.
    """
    from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415 - 30 ms that `--version` does not need
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        yield from iter(CParser(text).get_event, None)
    except YAMLError as fault:
        raise _syntax(fault, text, name) from None


def _stop(  # noqa: PLR0913, PLR0917 - a place has three parts
    name: str, line: int, column: int, code: str, message: str, hint: str = ""
) -> Stop:
    return Stop(Diagnostic("error", code, message, hint=hint, place=Place(name, line, column, 1)))


def _syntax(fault: Exception, text: str, name: str) -> Stop:
    """What the C parser says, in one line and at its place."""
    mark = getattr(fault, "problem_mark", None) or getattr(fault, "context_mark", None)
    problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or str(fault)
    if mark is None:  # a ReaderError knows an offset alone
        offset = min(getattr(fault, "position", 0) or 0, len(text))
        before = text.encode()[:offset].decode(errors="ignore")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    else:
        line, column = mark.line + 1, mark.column + 1
    context, opened = getattr(fault, "context", None), getattr(fault, "context_mark", None)
    if context and opened is not None and opened.line + 1 != line:
        context += f" that begins at line {opened.line + 1}"
    message = f"this is not YAML: {problem}" + (f" ({context})" if context else "")
    return _stop(name, line, column, "yaml-syntax", " ".join(message.split()), _syntax_hint(message, text, line))


def _syntax_hint(message: str, text: str, line: int) -> str:
    lines = text.splitlines()
    quoted = lines[line - 1] if line <= len(lines) else ""
    if "\t" in quoted[: len(quoted) - len(quoted.lstrip())]:
        return "indent with spaces, not with tabs"
    if "unexpected ':'" in message and _RANGE.search(quoted):
        return 'put text that holds a range in quotes, like "node-[02:63]"'
    return ""


class _Twice(Exception):  # noqa: N818 - it is no error of ours: it has the file read anew
    """A key stands twice in one mapping, and it was not noted where the first one is."""


class _Reader:
    """Walks the events of one file and builds its tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[Diagnostic] = []
        self._documents = 0
        self._lines: dict[int, dict[str, int]] | None = None  # of each mapping's keys, once they are wanted
        self._firsts: list[tuple[dict[str, Tree], str, Tree]] = []  # of two equal keys the first one stays

    def read(self, text: str) -> Tree:
        """The tree of the one document in `text`."""
        try:
            return self._read(text)
        except _Twice:
            self.faults.clear()
            self._documents, self._lines = 0, {}
        tree = self._read(text)
        for mapping, key, first in reversed(self._firsts):
            mapping[key] = first
        return tree

    def _read(self, text: str) -> Tree:
        from ruamel.yaml import events as are  # noqa: PLC0415 - see `events`

        scalar, alias, document = are.ScalarEvent, are.AliasEvent, are.DocumentStartEvent
        starts = are.MappingStartEvent, are.SequenceStartEvent
        ends = are.MappingEndEvent, are.SequenceEndEvent
        root: list[Tree] = []
        top: Any = root  # what is being filled,
        key: str | None = None  # of a mapping the key that waits for its value,
        above: list[tuple[Any, str | None]] = []  # and both for all that is around it
        for event in events(text, self.name):
            kind = type(event)
            if kind in ends:
                top, key = above.pop()
                continue
            if key is None and type(top) is dict:
                key = self._key(top, event)
                continue
            if kind is scalar:
                value = self._scalar(event)
            elif kind in starts:
                value = self._opened(event, len(above) + 1, {} if kind is starts[0] else [])
            elif kind is alias:
                value = self._refuse_alias(event)
            else:
                if kind is document:
                    self._refuse_document(event)
                continue
            if type(top) is list:
                top.append(value)
            else:
                top[key] = value
                key = None
            if kind in starts:
                above.append((top, key))
                top, key = value, None
        return root[0] if root else _WORDS[""]

    def _key(self, mapping: dict[str, Tree], event: Any) -> str:
        key: str | None = getattr(event, "value", None)
        if key is None:
            return self._refuse_key(event)
        if event.ctag is not None:
            self._refuse_tag(event)
        if key == "<<":
            self._fault(event, "yaml-surprise", "merge keys (`<<`) are not supported", "use `defaults`")
        if self._lines is not None:
            self._lines.setdefault(id(mapping), {}).setdefault(key, event.start_mark.line + 1)
        if key in mapping:
            self._refuse_twice(mapping, key, event)
        return key

    def _refuse_twice(self, mapping: dict[str, Tree], key: str, event: Any) -> None:
        if self._lines is None:
            raise _Twice
        first = f"it is there already at line {self._lines[id(mapping)][key]}"
        self._fault(event, "duplicate-key", f"the key {key!r} stands here twice; {first}", "keep one of them")
        self._firsts.append((mapping, key, mapping[key]))

    def _refuse_key(self, event: Any) -> str:
        """An alias, which stands for some text, or a collection."""
        if hasattr(event, "ctag"):
            mark = event.start_mark
            message = "a key must be plain text, not a mapping or a list"
            raise _stop(self.name, mark.line + 1, mark.column + 1, "yaml-surprise", message)
        self._refuse_alias(event)
        return ""

    def _refuse_alias(self, event: Any) -> Tree:
        hint = "write it out; `defaults` and overlays are there to say a thing once"
        self._fault(event, "yaml-surprise", f"the alias *{event.anchor} is not supported", hint)
        return REFUSED

    def _opened(self, event: Any, depth: int, made: Tree) -> Tree:
        self._refuse_tag(event)
        if depth > MAX_DEPTH:
            mark = event.start_mark
            message = f"nested deeper than {MAX_DEPTH} levels"
            raise _stop(self.name, mark.line + 1, mark.column + 1, "too-deep", message)
        return made

    def _scalar(self, event: Any) -> Tree:
        text: str = event.value
        if event.ctag is not None:
            self._refuse_tag(event)
            return REFUSED
        if event.style:  # quoted or a block: text, whatever it looks like
            return text
        value = plain(text)
        if value is REFUSED:
            self._refuse_plain(event, text)
        return value

    def _refuse_plain(self, event: Any, text: str) -> None:
        if text in _BOOLEANS_OF_YAML_1_1:
            meant = "true" if text.lower() in ("yes", "on") else "false"
            message = f"{text} is a boolean to some YAML readers and text to others"
            self._fault(event, "yaml-surprise", message, f'write {meant}, or "{text}" in quotes if it is text')
        else:
            message = f"{text} is one number to some YAML readers and another, or text, to others"
            self._fault(event, "yaml-surprise", message, f'write plain decimal, or "{text}" in quotes')

    def _refuse_tag(self, event: Any) -> None:
        if event.ctag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag {tag} is not supported"
            self._fault(event, "yaml-surprise", message, "remove it")

    def _refuse_document(self, event: Any) -> None:
        self._documents += 1
        if event.version or event.tags:
            self._fault(event, "yaml-surprise", "YAML directives (`%`) are not supported", "remove the line")
        if self._documents > 1:
            mark = event.start_mark
            message = "a second document starts here; a spec is one document"
            hint = "give an overlay as a file of its own, with -f"
            raise _stop(self.name, mark.line + 1, 1, "yaml-surprise", message, hint)

    def _fault(self, event: Any, code: str, message: str, hint: str = "") -> None:
        start, end = event.start_mark, event.end_mark
        length = max(1, end.column - start.column) if start.line == end.line else 1
        place = Place(self.name, start.line + 1, start.column + 1, length)
        self.faults.append(Diagnostic("error", code, message, hint=hint, place=place))
