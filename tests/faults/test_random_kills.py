"""A write is killed at a random moment, again and again: never is the bundle anything but the old or the new one."""

import os
import random
import signal
import time
from collections import Counter

from disturbed import judge, prepared, writers

KILLS = int(os.environ.get("SOAK_KILLS", "200"))
# Longer than a whole write of this bundle takes, so that kills fall before, during and after it.
LONGEST = 0.012


def test_random_kills() -> None:
    moments, found = random.Random(20), Counter[str]()
    with writers() as forks:
        for _ in range(KILLS):
            with prepared(over_old=True) as (root, foreign):
                process = forks.ready(root)
                forks.go()
                time.sleep(moments.uniform(0, LONGEST))
                os.kill(process, signal.SIGKILL)
                outcome = forks.outcome()
                found[f"{judge(root, foreign, outcome, may_be_absent=False)} bundle, {outcome}"] += 1
    print(f"{KILLS} kills: {dict(found)}")
    assert sum(count for what, count in found.items() if what.endswith("killed")) >= KILLS / 10
