"""What the tests share."""

from __future__ import annotations

import gc
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sockets_left_by_docker_py() -> Iterator[None]:
    """docker-py leaves the socket of a failed connection to the collector, which warns: it may here, unheard."""
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        for thread in set(threading.enumerate()) - before:  # of nodes that were given up
            thread.join(10)
        gc.collect()
