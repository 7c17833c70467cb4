"""The embedded client keeps the contract of every journal client, over each fragment store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recfs.broker.stores import Store
from recfs.broker.stores.file import FileStore
from recfs.broker.stores.memory import MemoryStore
from recfs.clients.embedded import EmbeddedClient
from recfs.journal.model import JournalClient
from recfs.testing.contracts import check_client, check_store
from recfs.testing.faults import FaultyClient


def _fresh(tmp_path: Path) -> Path:
    path = tmp_path / str(len(list(tmp_path.iterdir())))
    path.mkdir()
    return path


@pytest.mark.parametrize("store", [None, MemoryStore])
async def test_the_embedded_client_keeps_the_contract(
    store: Callable[[], Store] | None, tmp_path: Path
) -> None:
    def make() -> JournalClient:
        return EmbeddedClient(_fresh(tmp_path), store=store() if store else None)

    await check_client(make)


async def test_a_client_with_no_faults_ordered_keeps_the_contract(tmp_path: Path) -> None:
    await check_client(lambda: FaultyClient(EmbeddedClient(_fresh(tmp_path))))


def test_the_file_store_keeps_the_contract(tmp_path: Path) -> None:
    check_store(lambda: FileStore(tmp_path / "root"))


def test_the_memory_store_keeps_the_contract() -> None:
    check_store(MemoryStore)
