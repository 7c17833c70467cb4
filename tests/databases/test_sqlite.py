from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recfs.testing.databases import sqlite
from recfs.testing.databases.load import LoadError
from recfs.testing.databases.scratch import Scratch
from recfs.testing.databases.sqlite import JOURNAL_MODES, JournalMode

MMAP = 64 << 20


def written(scratch: Scratch, rows: int = 200) -> tuple[Path, dict[int, int]]:
    """A database with some rows, stopped orderly, and what was acknowledged."""
    database = scratch.path / "rows.db"
    load = sqlite.start_load(database, scratch.path / "notes", journal_mode="wal", seed=5)
    load.wait_rows(rows)
    load.stop()
    acknowledged = load.acknowledged()
    assert sqlite.check(database, acknowledged, seed=5).clean
    return database, acknowledged


@pytest.mark.parametrize("mmap_bytes", [0, MMAP], ids=["read", "mmap"])
@pytest.mark.parametrize("journal_mode", JOURNAL_MODES)
def test_a_killed_load_loses_no_acknowledged_row(
    scratch: Scratch, journal_mode: JournalMode, mmap_bytes: int
) -> None:
    database = scratch.path / "rows.db"
    acknowledged: dict[int, int] = {}
    for rows in (50, 150):
        load = sqlite.start_load(
            database, scratch.path / "notes", journal_mode=journal_mode, mmap_bytes=mmap_bytes
        )
        load.wait_rows(rows)
        load.kill()
        acknowledged = load.acknowledged()
        assert acknowledged[0] >= rows
    # The second load went on behind what the first may have committed without noting it.
    report = sqlite.check(database, acknowledged)
    assert report.clean, report
    assert report.recovered in (report.acknowledged, report.acknowledged + 1)


@pytest.mark.parametrize("journal_mode", JOURNAL_MODES)
def test_two_writers_share_a_database(scratch: Scratch, journal_mode: JournalMode) -> None:
    database = scratch.path / "rows.db"
    loads = [
        sqlite.start_load(
            database, scratch.path / "notes", journal_mode=journal_mode, writer=writer
        )
        for writer in range(2)
    ]
    loads[0].wait_rows(200)
    for load in loads:
        load.stop()
    report = sqlite.check(database, loads[0].acknowledged())
    assert report.clean, report


def test_a_deleted_row_is_reported_lost(scratch: Scratch) -> None:
    database, acknowledged = written(scratch)
    _change(database, "DELETE FROM rows WHERE number IN (7, 100)")
    report = sqlite.check(database, acknowledged, seed=5)
    assert report.lost == ("0/7", "0/100")
    assert report.recovered == report.acknowledged - 2


def test_an_undone_update_is_reported(scratch: Scratch) -> None:
    database, acknowledged = written(scratch)
    _change(database, "UPDATE accounts SET balance = balance - 1 WHERE account = 3")
    assert "accounts" in str(sqlite.check(database, acknowledged, seed=5))


def test_an_older_copy_of_the_database_is_reported_lost(scratch: Scratch) -> None:
    database, acknowledged = written(scratch, 50)
    older = database.read_bytes()
    later = sqlite.start_load(database, scratch.path / "notes", journal_mode="wal", seed=5)
    later.wait_rows(acknowledged[0] + 50)
    later.stop()
    database.write_bytes(older)
    report = sqlite.check(database, later.acknowledged(), seed=5)
    assert report.lost[0] == f"0/{acknowledged[0] + 1}"
    assert len(report.lost) == later.rows() - acknowledged[0]
    assert not report.problems


def test_a_damaged_page_is_reported(scratch: Scratch) -> None:
    database, acknowledged = written(scratch)
    with database.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(bytes(4096))
    assert sqlite.check(database, acknowledged, seed=5).problems


def test_a_missing_database_is_reported(scratch: Scratch) -> None:
    database, acknowledged = written(scratch)
    database.unlink()
    report = sqlite.check(database, acknowledged, seed=5)
    assert len(report.lost) == acknowledged[0]
    assert report.problems == ("rows.db is missing",)


def test_a_missing_database_is_right_before_the_first_row(scratch: Scratch) -> None:
    assert sqlite.check(scratch.path / "rows.db", {0: 0}).clean


def test_a_load_that_the_database_refuses_says_why(scratch: Scratch) -> None:
    database = scratch.path / "rows.db"
    database.write_bytes(b"not a database, and longer than a header is" * 4)
    load = sqlite.start_load(database, scratch.path / "notes", journal_mode="delete")
    with pytest.raises(LoadError, match="file is not a database"):
        load.wait_rows(1)


def _change(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0
