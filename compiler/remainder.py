"""What is left of a spec without its faulty parts, so that the rules can judge the rest in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from schema.scalar import REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from compiler.diagnostics import Path
    from schema.cluster import Cluster
    from schema.scalar import Tree

# Stand for what must be there, so that the other fields can be judged; nothing is said about these.
_PLACEHOLDERS: dict[Path, Any] = {
    ("version",): 1,
    ("name",): "placeholder",
    ("accelerator",): "atlas-a2",
    ("image",): "placeholder:1",
    ("cache",): "/placeholder",
    ("serve",): {"model": "placeholder"},
    ("serve", "model"): "placeholder",
}
_ROUNDS = 4  # what is dropped can uncover another fault, but not many times


class Remainder(NamedTuple):
    """A cluster of the sound parts, and for each of its nodes the index that the node had."""

    cluster: Cluster
    kept: tuple[int, ...]


def remainder(tree: Tree, faults: Sequence[ErrorDetails]) -> Remainder | None:
    """The sound parts of `tree`, or None when too little is left to judge."""
    from schema.accept import accept  # noqa: PLC0415 - see `load`
    from schema.cluster import Cluster  # noqa: PLC0415
    from schema.explain import faults_of  # noqa: PLC0415

    if not isinstance(tree, dict) or not isinstance(tree.get("nodes"), list):
        return None
    rest = _copied(tree)
    kept = list(range(len(rest["nodes"])))
    for _ in range(_ROUNDS):
        for fault in faults:
            _drop(rest, path_of(fault), missing=fault["type"] == "missing")
        kept = [index for index, node in zip(kept, rest["nodes"], strict=True) if node is not None]
        rest["nodes"] = [node for node in rest["nodes"] if node is not None]
        if not kept:
            return None
        try:
            return Remainder(accept(Cluster, rest), tuple(kept))
        except ValueError:
            faults = faults_of(Cluster, rest)
    return None


def path_of(fault: ErrorDetails) -> Path:
    """Where the fault is, without the marks that pydantic adds for unions (they begin with a NUL) and keys."""
    loc = fault["loc"][:-1] if is_of_a_key(fault) else fault["loc"]
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith("\0")))


def is_of_a_key(fault: ErrorDetails) -> bool:
    """True when the key of a mapping is at fault, and not its value."""
    return fault["loc"][-1:] == ("[key]",) and fault["type"] != "extra_forbidden"


def is_told(fault: ErrorDetails) -> bool:
    """True when the source was refused there already, and that was said."""
    return fault["type"] == "told" or fault["input"] is REFUSED


def _drop(tree: dict[str, Any], path: Path, *, missing: bool) -> None:
    """Takes the faulty part out of the tree."""
    if path in _PLACEHOLDERS:
        _put(tree, path, _PLACEHOLDERS[path])
        return
    if path[:1] == ("nodes",) and path[2:3] in ((), ("name",), ("address",)):
        if len(path) > 1:
            tree["nodes"][int(path[1])] = None  # a node cannot be judged without these
        return
    path = path[:-1] if missing else path
    owner: Any = tree
    for depth, part in enumerate(path):
        inside_nodes = depth == 1 and path[0] == "nodes"
        if isinstance(owner, list) and not inside_nodes:
            path = path[:depth]  # the whole list: its length means something
            break
        if owner is None or depth == len(path) - 1:
            break
        owner = _inside(owner, part)
    _take(tree, path)


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    if len(path) == 1:
        tree[str(path[0])] = value
    elif isinstance(tree.get(str(path[0])), dict):
        tree[str(path[0])][path[1]] = value


def _take(tree: Any, path: Path) -> None:
    if not path:
        return
    *above, last = path
    for part in above:
        tree = _inside(tree, part)
    if isinstance(tree, dict):
        tree.pop(last, None)


def _inside(tree: Any, part: str | int) -> Any:
    """What stands there, or None: another fault may have taken it out already."""
    if isinstance(tree, dict):
        return tree.get(part)
    return tree[part] if isinstance(tree, list) and isinstance(part, int) and part < len(tree) else None


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
