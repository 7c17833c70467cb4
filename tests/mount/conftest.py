"""Real mounts. Whatever a test did, its log restores to exactly the tree that the backing has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .volumes import Host, check_restores_to_backing


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose volume is mounted; unmounted and checked afterwards."""
    host = Host(tmp_path)
    try:
        yield host
        for mount in host.mounts:
            if mount.running:
                mount.unmount()
                check_restores_to_backing(mount, tmp_path / "check")
                break
    finally:
        host.close()
