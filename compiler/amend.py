"""A spec's text and what its nodes said to the text with those facts in it, every other byte as it was.

Only the words are decided here; `splice` puts them where the parser says that keys and values stand.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from compiler.diagnostics import Diagnostic, Place, error
from compiler.load import load
from compiler.outline import outline
from compiler.pattern import few_others, flow, said, strays, text_of, words_for
from compiler.ranges import expand
from compiler.source import Source, decode, parse
from compiler.splice import is_plain, put, spliced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compiler.diagnostics import Path
    from compiler.outline import Outline, Part
    from compiler.pattern import Words
    from schema.scalar import Tree

_BOM = b"\xef\xbb\xbf"
_FIELDS = ("interface", "npu_addresses")
_SHOWN = 3  # nodes that one message names
# A spec that is sound but for its nodes.
_SOUND = {
    "version": 1,
    "name": "sound",
    "accelerator": "atlas-a2",
    "image": "sound:1",
    "cache": "/sound",
    "serve": {"model": "sound"},
}


class Found(NamedTuple):
    """What one node said.

    Attributes:
        interface: What is to be written; None leaves what is there.
        npu_addresses: One for each NPU in use, in their order; None leaves what is there.
    """

    interface: str | None
    npu_addresses: tuple[str, ...] | None


class Amended(NamedTuple):
    """The spec's new bytes, and why entries stay as they were; paths and places are those of this file."""

    text: bytes
    refused: tuple[Diagnostic, ...]


class _Entry(NamedTuple):
    """One entry of `nodes`: where it stands, and the nodes that it stands for."""

    number: int
    part: Part
    nodes: dict[str, Tree]


def amend(source: Source, found: Mapping[str, Found]) -> Amended:
    """The spec with what was found, by the nodes' names. A file that the loader refuses stays as it is."""
    tree, faults = parse(source)
    written = tree.get("nodes") if isinstance(tree, dict) else None
    nodes, origins, misfits = expand(written if isinstance(written, list) else [])
    faults += tuple(fault._replace(path=_in_file(fault.path, origins)) for fault in misfits)
    if faults:
        return Amended(source.content, faults)
    told = {name: facts for name, facts in found.items() if facts != Found(None, None)}
    page = outline(decode(source), source.name)
    unfit = _unfit(told)
    edits, refused, known = [], list[Diagnostic](), set[str]()
    for entry in _entries(page, nodes, origins):
        known.update(entry.nodes)
        news, why = _news(entry, told, unfit)
        if news and not why and not is_plain(page, entry.part):
            why = [_written_oddly(entry)]
        if news and not why:
            edits += put(page, entry.part, news)
        refused += [_placed(each, entry, page, source.name) for each in why]
    foreign = {name: facts for name, facts in told.items() if name not in known}
    refused += _of_an_overlay(foreign, unfit, page, source.name)
    content = spliced(page, edits).encode()
    return Amended(_BOM + content if source.content.startswith(_BOM) else content, tuple(refused))


def _in_file(path: Path, origins: Sequence[int]) -> Path:
    return ("nodes", origins[int(path[1])], *path[2:])


def _entries(page: Outline, nodes: Sequence[Tree], origins: Sequence[int]) -> Iterator[_Entry]:
    if not nodes:
        return
    parts = page.pairs(page.root)["nodes"].value.parts
    members: list[dict[str, Tree]] = [{} for _ in parts]
    for node, origin in zip(nodes, origins, strict=True):
        name = text_of(node.get("name")) if isinstance(node, dict) else None
        if name is not None:
            members[origin][name] = node
    for index, (part, named) in enumerate(zip(parts, members, strict=True)):
        yield _Entry(index, part, named)


def _unfit(told: Mapping[str, Found]) -> dict[str, Diagnostic]:
    """Why the loader would not take what a node said, by the node's name: it is asked, with nothing else wrong."""
    nodes = [
        {
            "name": f"n{number}",
            "address": "10.0.0.1",
            **({} if facts.interface is None else {"interface": _printable(facts.interface)}),
            **(
                {}
                if facts.npu_addresses is None
                else {"npu_addresses": [_printable(each) for each in facts.npu_addresses]}
            ),
        }
        for number, facts in enumerate(told.values())
    ]
    if not nodes:
        return {}
    names = list(told)
    unfit: dict[str, Diagnostic] = {}
    for fault in load([Source("", json.dumps({**_SOUND, "nodes": nodes}).encode())]).diagnostics:
        name = names[int(fault.path[1])]
        message = f"{name} gave what no spec may say: {fault.message}"
        unfit.setdefault(name, error(fault.code, fault.path, message, fault.hint))
    return unfit


def _printable(text: str) -> str:
    """What is no address and no interface in any case does not get as far as a terminal."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


def _news(
    entry: _Entry, told: Mapping[str, Found], unfit: Mapping[str, Diagnostic]
) -> tuple[dict[str, Words], list[Diagnostic]]:
    """The words to write for each field that says something else, or why they cannot be written."""
    if bad := [unfit[name] for name in entry.nodes if name in unfit]:
        return {}, [each._replace(path=("nodes", entry.number, each.path[2])) for each in bad]
    news: dict[str, Words] = {}
    refused: list[Diagnostic] = []
    for field in _FIELDS:
        facts = {name: fact for name in entry.nodes if (fact := _fact(told, name, field)) is not None}
        if all(_says(entry.nodes[name], field, fact) for name, fact in facts.items()):
            continue
        words, why = _words(entry, field, facts, told)
        if why is not None:
            refused += [] if why.message in [each.message for each in refused] else [why]
        elif words is not None:
            news[field] = words
    return news, refused


def _fact(told: Mapping[str, Found], name: str, field: str) -> Any:
    return getattr(told[name], field) if name in told else None


def _says(node: Tree, field: str, fact: Any) -> bool:
    """True when the spec says the same already, in whatever form."""
    value = node.get(field) if isinstance(node, dict) else None
    if value is None:
        return False
    return bool(text_of(value) == fact if field == "interface" else said(value, len(fact)) == fact)


def _words(
    entry: _Entry, field: str, facts: Mapping[str, Any], told: Mapping[str, Found]
) -> tuple[Words | None, Diagnostic | None]:
    path: Path = ("nodes", entry.number, field)
    names, values = list(facts), list(facts.values())
    if silent := [name for name in entry.nodes if name not in facts]:
        return None, _half_known(path, entry, silent, _differing(entry, field, facts), told)
    words = words_for(values) if field == "npu_addresses" else values[0] if len(set(values)) == 1 else None
    if words is not None:
        return words, None
    odd = strays(values) if field == "npu_addresses" else few_others(values)
    return None, _out_of_line(path, entry, [names[index] for index in odd], told)


def _differing(entry: _Entry, field: str, facts: Mapping[str, Any]) -> str:
    """The first node that says something else than the spec."""
    return next(name for name, fact in facts.items() if not _says(entry.nodes[name], field, fact))


def _half_known(path: Path, entry: _Entry, silent: list[str], other: str, told: Mapping[str, Found]) -> Diagnostic:
    message = f"{other} differs from this entry, but nothing is known of {_named(silent)}, for which it stands too"
    hint = f"ask all {len(entry.nodes)} nodes of it, or split it and add {_own(entry, [other], told)}"
    return error("range", path, message, hint)


def _out_of_line(path: Path, entry: _Entry, odd: list[str], told: Mapping[str, Found]) -> Diagnostic:
    """No one text stands for all nodes of the entry; `odd` are those that spoil it, or all of them."""
    field = "interface" if path[-1] == "interface" else "NPU addresses"
    message = f"no one text says the {field} of all {len(entry.nodes)} nodes of this entry"
    if len(odd) == len(entry.nodes):
        return error("range", path, message, f"give each an entry of its own, like {_own(entry, odd[:1], told)}")
    differ = "differs" if len(odd) == 1 else "differ"
    hint = f"split the range there, and add {_own(entry, odd, told)}"
    return error("range", path, f"{message}: {_named(odd)} {differ} from the others", hint)


def _written_oddly(entry: _Entry) -> Diagnostic:
    message = "a key of this entry is written apart from its colon, so nothing is put beside it"
    return error("yaml-surprise", ("nodes", entry.number), message, "write `key: value`, without `?`")


def _of_an_overlay(
    foreign: Mapping[str, Found], unfit: Mapping[str, Diagnostic], page: Outline, file: str
) -> list[Diagnostic]:
    """Nodes that no entry of this file stands for."""
    nodes = page.pairs(page.root).get("nodes") if page.root.is_mapping else None
    place = _place(page, file, nodes.key if nodes else page.root)
    refused = [unfit[name]._replace(path=("nodes",), place=place) for name in foreign if name in unfit]
    if names := [name for name in foreign if name not in unfit]:
        entries = ", ".join(_entry_text({"name": name}, foreign[name]) for name in names)
        stand = "stands" if len(names) == 1 else "stand"
        message = f"{_named(names)} {stand} in no entry of this file, but in an overlay"
        refused.append(error("overlay", ("nodes",), message, f"write there: nodes: [{entries}]", place=place))
    return refused


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _own(entry: _Entry, names: Sequence[str], told: Mapping[str, Found]) -> str:
    """Entries for single nodes, as they may be written instead."""
    written = []
    for name in names[:_SHOWN]:
        node = entry.nodes[name]
        fields = node if isinstance(node, dict) else {}
        texts = {field: text for field in ("name", "address") if (text := text_of(fields.get(field))) is not None}
        interface = told[name].interface or text_of(fields.get("interface"))
        rest = fields.keys() - {"name", "address", *_FIELDS}
        more = " with the other fields of this entry" if rest else ""
        written.append(f"- {_entry_text(texts, told[name]._replace(interface=interface))}{more}")
    return ", ".join(written)


def _entry_text(texts: Mapping[str, str], facts: Found) -> str:
    fields: dict[str, Words | None] = {**texts, "interface": facts.interface}
    if facts.npu_addresses is not None:
        fields["npu_addresses"] = words_for([facts.npu_addresses])
    return f"{{{', '.join(f'{field}: {flow(words)}' for field, words in fields.items() if words is not None)}}}"


def _placed(fault: Diagnostic, entry: _Entry, page: Outline, file: str) -> Diagnostic:
    """The fault at the value that it speaks of, or where that would be written."""
    pairs = page.pairs(entry.part)
    pair = pairs.get(str(fault.path[-1])) or pairs["name"]
    return fault._replace(place=_place(page, file, pair.value if not pair.value.is_empty() else pair.key))


def _place(page: Outline, file: str, part: Part) -> Place:
    line = page.text.count("\n", 0, part.start) + 1
    end = min(part.end, page.line_end(part.start))
    return Place(file, line, page.column(part.start) + 1, max(1, end - part.start))
