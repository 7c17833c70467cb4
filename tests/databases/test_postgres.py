from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recfs.testing.databases import postgres
from recfs.testing.databases.load import LoadError
from recfs.testing.databases.scratch import Scratch
from recfs.testing.databases.server import Server, ServerError

pytestmark = pytest.mark.postgres


@pytest.fixture
def server(scratch: Scratch) -> Iterator[Server]:
    """A new cluster, started."""
    server = Server(scratch.path / "data", scratch.path / "server")
    server.initdb()
    server.start()
    yield server
    server.close()


def written(server: Server, scratch: Scratch, rows: int = 200) -> dict[int, int]:
    """Load some rows and stop everything orderly."""
    load = postgres.start_load(server, scratch.path / "notes", seed=5)
    load.wait_rows(rows)
    load.stop()
    server.stop()
    return load.acknowledged()


def test_a_killed_server_loses_no_acknowledged_row(server: Server, scratch: Scratch) -> None:
    for rows in (400, 800):
        if not server.running:
            server.start()
        load = postgres.start_load(server, scratch.path / "notes")
        load.wait_rows(rows)
        server.kill()
        load.kill()
        report = postgres.check(server, load.acknowledged())
        assert report.clean, report
        assert report.acknowledged >= rows


def test_rows_that_go_missing_are_reported_lost(server: Server, scratch: Scratch) -> None:
    acknowledged = written(server, scratch)
    server.start()
    server.query("DELETE FROM rows WHERE (writer, number) IN ((2, 7), (3, 1))")
    server.query("UPDATE rows SET content = 'else' WHERE writer = 1 AND number = 3")
    server.stop()
    report = postgres.check(server, acknowledged, seed=5)
    assert report.lost == ("1/3 (changed)", "2/7", "3/1")
    assert report.recovered == report.acknowledged - 2


def test_an_update_and_a_delete_that_were_undone_are_reported(
    server: Server, scratch: Scratch
) -> None:
    acknowledged = written(server, scratch)
    server.start()
    server.query("UPDATE accounts SET balance = balance + 1 WHERE writer = 0 AND account = 2")
    server.query("INSERT INTO queue VALUES (1, 0)")
    server.stop()
    accounts, queue = postgres.check(server, acknowledged, seed=5).problems
    assert "writer 0: its accounts" in accounts
    assert "writer 1: its queue" in queue


def test_a_damaged_page_is_reported(server: Server, scratch: Scratch) -> None:
    acknowledged = written(server, scratch)
    server.start()
    [[path]] = server.query("SELECT pg_relation_filepath('rows_pkey')")
    server.stop()
    with (server.data / path).open("r+b") as file:
        file.seek(8192 + 4000)
        file.write(b"\xff\x00" * 64)
    assert postgres.check(server, acknowledged, seed=5).problems


def test_an_empty_cluster_is_clean_before_the_first_row(server: Server) -> None:
    server.stop()
    assert postgres.check(server, {0: 0}).clean


def test_a_load_whose_server_goes_away_says_so(server: Server, scratch: Scratch) -> None:
    load = postgres.start_load(server, scratch.path / "notes")
    load.wait_rows(10)
    server.kill()
    with pytest.raises(LoadError, match=r"writer-0: .*(connection|psql ended)"):
        load.wait_rows(1 << 40)


def test_a_server_that_cannot_start_says_why(scratch: Scratch) -> None:
    server = Server(scratch.directory("empty"), scratch.path / "server")
    with pytest.raises(ServerError, match="does not start: "):
        server.start()
    server.close()


def test_a_killed_server_leaves_no_process_and_no_shared_memory(server: Server) -> None:
    pid = server.pid
    shared = [
        line.split()[-1]
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if "/dev/shm/PostgreSQL." in line
    ]
    assert shared
    server.kill()
    assert not server.running
    assert not any(os.path.exists(path) for path in shared)
