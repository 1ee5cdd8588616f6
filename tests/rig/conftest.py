"""What the tests with real parts share: the emulated cluster is made once, and every test finds it empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cluster
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def standing_rig() -> Iterator[cluster.Rig]:
    with cluster.rig() as made:
        yield made


@pytest.fixture
def rig(standing_rig: cluster.Rig) -> Iterator[cluster.Rig]:
    """Nodes on which nothing is."""
    standing_rig.clear()
    yield standing_rig
    standing_rig.clear()
