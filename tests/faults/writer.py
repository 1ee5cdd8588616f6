"""Forks a process for each write that a test wants to disturb: all is imported, so it does nothing but write.

A line on standard input names what is written and a root; the answer is the new process's id, which waits. The next
line lets it go; the answer is how it ended and what it said.
"""

import ctypes
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from small_bundles import in_parts, nodes

from compiler.bundle import Bundle
from compiler.exchange import flush
from compiler.write import WriteRefused, write

if TYPE_CHECKING:
    from compiler.left import Left

_OLD = {0: "old", 1: "old", 2: "old"}
# What lies there and what is written over it, and whether it is known that it does.
PAIRS: dict[str, tuple[Bundle, Bundle, bool]] = {
    "unknown": (nodes([0, 1, 2], "old"), nodes([1, 2, 3], "new"), False),
    "amended": (in_parts(_OLD), in_parts({1: "old", 2: "old", 3: "new"}), True),
    "replaced": (in_parts(_OLD), in_parts({1: "new", 2: "old", 3: "new"}), True),
}


def disturbed(new: Bundle, root: Path, left: "Left | None", gate: int) -> str:
    os.readv(gate, [bytearray(1)])  # not read, which the tests disturb
    try:
        write(new, root, left=left)
    except WriteRefused as refusal:
        return f"refused: {refusal.message}"
    except BaseException:  # noqa: BLE001  # whatever it is, it is a traceback that a user would have seen
        return f"traceback: {traceback.format_exc()!r}"
    return "done"


def main() -> None:
    flush(os.open("/", os.O_RDONLY))  # loads the C library's calls
    assert ctypes
    for line in sys.stdin:
        pair, root = line.split()
        old, new, is_known = PAIRS[pair]
        left = write(old, Path(root)).left if is_known else None  # it lies there already
        gate, go = os.pipe()
        answer, say = os.pipe()
        child = os.fork()
        if child == 0:
            # writev, because the tests disturb write.
            os.writev(say, [disturbed(new, Path(root), left, gate).encode()])
            os._exit(0)
        os.close(gate)
        os.close(say)
        print(child, flush=True)  # noqa: T201  # the answer
        sys.stdin.readline()
        with suppress(BrokenPipeError):  # it was killed while it waited
            os.write(go, b"!")
        _, status = os.waitpid(child, 0)
        said = os.read(answer, 1 << 16).decode()
        os.close(go)
        os.close(answer)
        print("killed" if os.WIFSIGNALED(status) else said, flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
