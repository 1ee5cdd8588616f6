"""What the tests share."""

from __future__ import annotations

import gc
import os
import signal
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from plans import A2, A3, two_nodes
from verify_host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Neither what this user compiled before nor how the tests were started may make a difference: a shell starts what runs
# in the background with SIGINT ignored, and so would be all that the tests start.
os.environ["COMPILER_CACHE_DIR"] = ""
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def a2(tmp_path: Path) -> Host:
    """A healthy Atlas A2 for verify.sh."""
    return Host(tmp_path, two_nodes(A2))


@pytest.fixture
def a3(tmp_path: Path) -> Host:
    """A healthy Atlas A3 for verify.sh."""
    return Host(tmp_path, two_nodes(A3, every_pair=False))


@pytest.fixture
def sockets_left_by_docker_py() -> Iterator[None]:
    """docker-py leaves the socket of a failed connection to the collector, which warns: it may here, unheard."""
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        for thread in set(threading.enumerate()) - before:  # of nodes that were given up
            if thread.is_alive():  # one that is just being made cannot be joined yet
                thread.join(10)
        gc.collect()
