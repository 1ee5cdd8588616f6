"""Forks a process for each write that a test wants to disturb: all is imported, so it does nothing but write.

A line on standard input names a root and a text; the answer is the new process's id, which waits. The next
line lets it go; the answer is how it ended and what it said.
"""

import ctypes
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from small_bundles import nodes

from compiler.exchange import flush
from compiler.write import WriteRefused, write

OLD, NEW = nodes([0, 1, 2], "old"), nodes([1, 2, 3], "new")


def disturbed(root: Path, gate: int) -> str:
    os.readv(gate, [bytearray(1)])  # not read, which the tests disturb
    try:
        write(NEW, root)
    except WriteRefused as refusal:
        return f"refused: {refusal.message}"
    except BaseException:  # noqa: BLE001  # whatever it is, it is a traceback that a user would have seen
        return f"traceback: {traceback.format_exc()!r}"
    return "done"


def main() -> None:
    flush(os.open("/", os.O_RDONLY))  # loads the C library's calls
    assert ctypes
    for line in sys.stdin:
        gate, go = os.pipe()
        answer, say = os.pipe()
        child = os.fork()
        if child == 0:
            # writev, because the tests disturb write.
            os.writev(say, [disturbed(Path(line.strip()), gate).encode()])
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
