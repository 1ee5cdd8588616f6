"""What the documents hold, as data: fenced blocks, links, and generated parts between two comments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCUMENTS = tuple(
    sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "generated").glob("*/README.md")])
)
_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<to>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<text>.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, its text, and where it stands."""

    document: Path
    line: int
    info: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """Every fenced block of a document."""
    text = document.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(document, line, tuple(match["info"].split()), match["text"])


def links(document: Path) -> Iterator[str]:
    """Every link that is no address of the web."""
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    for match in _LINK.finditer(prose):
        if "://" not in match["to"]:
            yield match["to"]


def anchors(document: Path) -> set[str]:
    """What `#...` may say of a document, as GitHub makes it of the headings."""
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", match["text"].lower()).strip().replace(" ", "-") for match in _HEADING.finditer(prose)
    }


def generated_parts(text: str) -> dict[str, str]:
    """What stands between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    found = re.finditer(r"<!-- (?P<name>[^>]+?) -->\n(?P<part>.*?)<!-- end of (?P=name) -->", text, re.DOTALL)
    return {match["name"]: match["part"] for match in found}


def with_part(text: str, name: str, part: str) -> str:
    """The text with another part between the comments of that name."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    return before + start + part + end + rest.partition(end)[2]


def completed(block: str, base: str) -> str:
    """A spec made of the block's sections and, for those that it leaves out, the base's."""
    sections = re.split(r"^(?=[a-z])", base, flags=re.MULTILINE)
    own = set(re.findall(r"^\"?([a-z]+)\"?:", block, re.MULTILINE))
    kept = [each for each in sections if not each.startswith("#") and each.partition(":")[0] not in own]
    return block + "".join(kept)
