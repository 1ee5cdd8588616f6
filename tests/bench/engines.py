"""Emulated Docker engines in a process of their own: as many as asked for, with what runs on them, until stdin ends.

Prints the spec's path; then, for each line on stdin, a JSON document with what was asked of the engines since the last.
`slow SECONDS` makes every answer of one engine late.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from apply_cluster import rack
from engine_faults import Slow

MODEL = {"layers": 1_000_000, "attention_heads": 64, "kv_heads": 8, "experts": 0, "weights": "bf16"}
SERVE = {"model": "/root/.cache/models/large", "parallelism": "pipeline"}


def main(count: int) -> None:
    with rack(None, count) as made:  # type: ignore[arg-type]  # of pytest nothing is asked here
        made.loads = 0
        made.spec(model=MODEL, serve=SERVE)
        print(made.file, flush=True)
        for line in sys.stdin:
            if line.startswith("slow"):
                made.all[count // 2].engine.faults.append(Slow("", seconds=float(line.split()[1])))
            engines = [node.engine for node in made.all]
            told = {
                "requests": sum(len(engine.asked) for engine in engines),
                "connections": max(engine.door.most for engine in engines),
            }
            made.forget_asked()
            print(json.dumps(told), flush=True)


main(int(sys.argv[1]))
