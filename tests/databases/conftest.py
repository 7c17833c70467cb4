from __future__ import annotations

from collections.abc import Iterator

import pytest

from recfs.testing.databases.scratch import Scratch


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    """Open to other users, as pytest's own directories are not: PostgreSQL runs as `postgres`."""
    with Scratch() as scratch:
        yield scratch
