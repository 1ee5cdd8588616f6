"""A write is killed at a random moment, again and again: the bundle is always the old or the new one."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress

import pytest
from disturbed import judge, prepared, writers
from writer import PAIRS

KILLS = int(os.environ.get("SOAK_KILLS", "1000"))
# A little longer than a whole write of this bundle takes: kills fall from its first call to its last.
LONGEST = 0.007


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("pair", PAIRS)
def test_random_kills(pair: str) -> None:
    moments = random.Random(20)  # noqa: S311  # no secret depends on it
    found = Counter[str]()
    with writers() as forks:
        for _ in range(KILLS):
            with prepared(pair, over_old=True) as (root, foreign):
                process = os.pidfd_open(forks.ready(pair, root))
                forks.go()
                time.sleep(moments.uniform(0, LONGEST))
                with suppress(ProcessLookupError):  # it was quicker
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                outcome = forks.outcome()
                os.close(process)
                found[f"{judge(pair, root, foreign, outcome, may_be_absent=False)} bundle, {outcome}"] += 1
    print(f"{KILLS} kills: {dict(found)}")  # noqa: T201  # for -rP
    assert sum(count for what, count in found.items() if what.endswith("killed")) >= KILLS / 10
