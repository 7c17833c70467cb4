"""SQLite under load in any of its journal modes, each commit durable, and its check.

    python -m recfs.testing.databases.sqlite --database FILE --notes DIR …    is one writer
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from recfs.testing.databases.load import Load, Told
from recfs.testing.databases.notes import Acknowledged, Notes
from recfs.testing.databases.rows import (
    ACCOUNTS,
    QUEUE_LENGTH,
    ROLLBACK_EVERY,
    Report,
    Share,
    digest,
    judge,
    moves,
    payload,
)

JournalMode = Literal["delete", "truncate", "wal"]
JOURNAL_MODES: tuple[JournalMode, ...] = ("delete", "truncate", "wal")

#: How long a writer waits for its turn, and in what steps: SQLite's own steps grow to 100 ms, in
#: which one busy writer starves another.
_PATIENCE_SECONDS = 60.0
_STEP_MS = 5

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows(
    writer INTEGER, number INTEGER, content TEXT NOT NULL, PRIMARY KEY (writer, number));
CREATE INDEX IF NOT EXISTS rows_by_content ON rows(substr(content, 1, 16));
CREATE TABLE IF NOT EXISTS accounts(
    writer INTEGER, account INTEGER, balance INTEGER NOT NULL, PRIMARY KEY (writer, account));
CREATE TABLE IF NOT EXISTS queue(
    writer INTEGER, number INTEGER, PRIMARY KEY (writer, number)) WITHOUT ROWID;
"""


def start_load(
    database: Path,
    notes: Path,
    *,
    journal_mode: JournalMode,
    writer: int = 0,
    seed: int = 0,
    mmap_bytes: int = 0,
) -> Load:
    """Start a process that writes to the file `database`, which it makes if need be."""
    arguments = ["--database", str(database), "--notes", str(notes), "--writer", str(writer)]
    arguments += ["--journal-mode", journal_mode, "--seed", str(seed), "--mmap", str(mmap_bytes)]
    return Load("recfs.testing.databases.sqlite", arguments, notes)


def check(
    database: Path,
    acknowledged: Acknowledged,
    *,
    seed: int = 0,
    attempted: Acknowledged | None = None,
) -> Report:
    """Open the database, as its owner would after a crash, and judge it.

    Opening rolls back a hot journal and recovers the WAL, so it changes the files.
    """
    shares: dict[int, Share] = {}
    problems: list[str] = []
    try:
        with closing(_open(database, create=False)) as connection:
            problems += _integrity(connection)
            shares = _shares(connection)
    except sqlite3.Error as error:
        # Before the first transaction there need be neither file nor table.
        if any(acknowledged.values()) or "no such table" not in str(error):
            problems.append(f"{database.name}: {error}")
    except FileNotFoundError:
        if any(acknowledged.values()):
            problems.append(f"{database.name} is missing")
    return judge(
        f"SQLite {database.name}",
        shares,
        acknowledged,
        seed=seed,
        attempted=attempted,
        problems=problems,
    )


def _open(database: Path, *, create: bool) -> sqlite3.Connection:
    if not create:
        database.stat()
    connection = sqlite3.connect(database, timeout=_STEP_MS / 1000, isolation_level=None)
    _execute(connection, "PRAGMA synchronous=FULL")
    return connection


def _integrity(connection: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else [f"integrity_check: {line}" for line in found]


def _shares(connection: sqlite3.Connection) -> dict[int, Share]:
    shares: dict[int, Share] = {}
    for writer, number, content in connection.execute("SELECT writer, number, content FROM rows"):
        shares.setdefault(writer, Share()).rows[number] = digest(content)
    for writer, account, balance in connection.execute("SELECT * FROM accounts"):
        shares.setdefault(writer, Share()).balances[account] = balance
    for writer, number in connection.execute("SELECT * FROM queue ORDER BY number"):
        shares.setdefault(writer, Share()).queue.append(number)
    return shares


def _execute(
    connection: sqlite3.Connection, statement: str, values: Sequence[object] = ()
) -> sqlite3.Cursor:
    """Execute a statement; waits for whatever lock it needs that another writer holds.

    Within a transaction too: pages that spill out of the cache need the exclusive lock.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            # The low byte: SQLITE_BUSY has extended codes.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise


def _last(connection: sqlite3.Connection, writer: int) -> int:
    query = "SELECT coalesce(max(number), 0) FROM rows WHERE writer = ?"
    number: int = _execute(connection, query, (writer,)).fetchone()[0]
    return number


def _transaction(connection: sqlite3.Connection, seed: int, writer: int, number: int) -> None:
    _execute(connection, "BEGIN IMMEDIATE")
    content = payload(seed, writer, number)
    _execute(connection, "INSERT INTO rows VALUES (?, ?, ?)", (writer, number, content))
    for account, change in moves(number):
        _execute(
            connection,
            "UPDATE accounts SET balance = balance + ? WHERE writer = ? AND account = ?",
            (change, writer, account),
        )
    _execute(connection, "INSERT INTO queue VALUES (?, ?)", (writer, number))
    _execute(
        connection,
        "DELETE FROM queue WHERE writer = ? AND number = ?",
        (writer, number - QUEUE_LENGTH),
    )
    _execute(connection, "COMMIT")


def _sync_directory(directory: Path) -> None:
    """Make durable what a COMMIT in DELETE mode does last: the unlink of the rollback journal.

    With synchronous=FULL SQLite leaves that to a later sync. With EXTRA it syncs the directory, but
    takes the commit for durable when it cannot open it (`unixDelete` in os_unix.c), as is the case
    in the moment in which a mount dies.
    """
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _rolled_back(connection: sqlite3.Connection, seed: int, writer: int, number: int) -> None:
    """Writes more than the page cache holds, so that pages reach the files before the rollback."""
    _execute(connection, "BEGIN IMMEDIATE")
    content = payload(seed, writer, 16) * 16
    _execute(connection, "INSERT INTO rows VALUES (?, ?, ?)", (writer, -number, content))
    _execute(connection, "UPDATE accounts SET balance = -1 WHERE writer = ?", (writer,))
    _execute(connection, "DELETE FROM queue WHERE writer = ?", (writer,))
    _execute(connection, "ROLLBACK")


def _write(options: argparse.Namespace, notes: Notes, told: Told) -> None:
    seed, writer = options.seed, options.writer
    with closing(_open(options.database, create=True)) as connection:
        _execute(connection, f"PRAGMA journal_mode={options.journal_mode}")
        _execute(connection, f"PRAGMA mmap_size={options.mmap}")
        _execute(connection, "PRAGMA cache_size=-64")  # KiB: dirty pages spill within a transaction
        _execute(connection, "BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            _execute(connection, statement)
        for account in range(ACCOUNTS):
            _execute(
                connection, "INSERT OR IGNORE INTO accounts VALUES (?, ?, 0)", (writer, account)
            )
        _execute(connection, "COMMIT")
        if _last(connection, writer) == notes.last + 1:
            # An earlier load was killed between its COMMIT and its note.
            notes.note(notes.last + 1)
        while not told:
            number = notes.last + 1
            _transaction(connection, seed, writer, number)
            if options.journal_mode == "delete":
                _sync_directory(options.database.parent)
            notes.note(number)
            if number % ROLLBACK_EVERY == 0:
                _rolled_back(connection, seed, writer, number)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--journal-mode", choices=JOURNAL_MODES, required=True)
    parser.add_argument("--writer", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mmap", type=int, default=0)
    options = parser.parse_args()
    told = Told()
    try:
        _write(options, Notes(options.notes, options.writer), told)
    except (sqlite3.Error, OSError) as error:
        print(f"{options.database.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
