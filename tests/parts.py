"""Programs that a test needs and that not every machine has: there the test is skipped, but in CI it fails."""

from __future__ import annotations

import os
import shutil

import pytest


def part(program: str) -> str:
    """Where the program is."""
    found = shutil.which(program)
    if found is None:
        missing = f"{program} is missing"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
