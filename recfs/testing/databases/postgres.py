"""PostgreSQL under load through several psql sessions, and its check.

    python -m recfs.testing.databases.postgres --sockets DIR --notes DIR …    is one load

A session pipes transactions into psql and takes the line that `\\warn` prints behind each COMMIT
as its acknowledgement: with ON_ERROR_STOP psql ends at the first statement that fails, and standard
error is not buffered.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from recfs.testing.databases.load import Load, Told
from recfs.testing.databases.notes import Acknowledged, Notes
from recfs.testing.databases.rows import (
    ACCOUNTS,
    QUEUE_LENGTH,
    ROLLBACK_EVERY,
    Report,
    Share,
    judge,
    moves,
    payload,
)
from recfs.testing.databases.server import Server, ServerError, binary

#: What a server says with FATAL though all is well: it is asked too early, or it is stopped while
#: a session of ours that has ended is not gone yet.
_HARMLESS = ("the database system is ", "due to administrator command")

_SCHEMA = """
CREATE TABLE rows(
    writer int, number int, content text NOT NULL, PRIMARY KEY (writer, number));
CREATE INDEX rows_by_content ON rows(substr(content, 1, 16));
CREATE INDEX rows_by_words ON rows USING gin (string_to_array(substr(content, 1, 16), 'a'));
CREATE TABLE accounts(
    writer int, account int, balance bigint NOT NULL, PRIMARY KEY (writer, account));
CREATE TABLE queue(writer int, number int, PRIMARY KEY (writer, number));
"""


def start_load(server: Server, notes: Path, *, writers: int = 4, seed: int = 0) -> Load:
    """Start a process that writes through `writers` sessions; makes the tables if need be.

    The server has to run.
    """
    _make_tables(server, writers)
    for writer, last in server.query("SELECT writer, max(number) FROM rows GROUP BY writer"):
        with closing(Notes(notes, int(writer))) as found:
            if found.last + 1 == int(last):
                # An earlier load was killed between a COMMIT and its note.
                found.note(int(last))
    arguments = ["--sockets", str(server.sockets), "--notes", str(notes)]
    arguments += ["--writers", str(writers), "--seed", str(seed)]
    return Load("recfs.testing.databases.postgres", arguments, notes)


def _make_tables(server: Server, writers: int) -> None:
    """Make the tables, unless they are there, and the accounts of `writers` writers."""
    statements = f"""
    INSERT INTO accounts SELECT writer, account, 0
      FROM generate_series(0, {writers - 1}) writer, generate_series(0, {ACCOUNTS - 1}) account
      ON CONFLICT DO NOTHING;
    """
    if server.query("SELECT to_regclass('queue')") == [[""]]:
        statements = _SCHEMA + statements
    server.run("psql", ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-c", statements])


def check(
    server: Server,
    acknowledged: Acknowledged,
    *,
    seed: int = 0,
    attempted: Acknowledged | None = None,
) -> Report:
    """Start the server (it must be stopped), let it recover, judge what it holds, stop it again.

    Looks for: a start and a stop without complaint, `pg_amcheck` over every table and index,
    data checksums of every page after the stop, and every acknowledged row.
    """
    shares: dict[int, Share] = {}
    problems: list[str] = []
    said_before = server.log.stat().st_size if server.log.exists() else 0
    try:
        # An autovacuum that gives way to the check says ERROR.
        server.start(autovacuum="off")
        problems += _amcheck(server)
        shares = _shares(server)
        server.stop()
        server.run("pg_checksums", ["--check", "-D", str(server.data)], connect=False)
    except ServerError as error:
        problems.append(str(error))
    finally:
        server.kill()
    said = server.log.read_bytes()[said_before:].decode(errors="replace").splitlines()
    # ERROR too: a query of ours met a page or a file that is not what it should be.
    problems += [
        f"server log: {line}"
        for line in said
        if any(word in line for word in (" PANIC: ", " FATAL: ", " ERROR: "))
        and not any(words in line for words in _HARMLESS)
    ]
    return judge(
        "PostgreSQL",
        shares,
        acknowledged,
        seed=seed,
        attempted=attempted,
        problems=problems,
    )


def _amcheck(server: Server) -> list[str]:
    try:
        server.run("pg_amcheck", ["--all", "--install-missing", "--heapallindexed"])
    except ServerError as error:
        return [str(error)]
    return []


def _shares(server: Server) -> dict[int, Share]:
    shares: dict[int, Share] = {}
    if server.query("SELECT to_regclass('queue')") == [[""]]:
        return shares
    for writer, number, found in server.query("SELECT writer, number, md5(content) FROM rows"):
        shares.setdefault(int(writer), Share()).rows[int(number)] = found
    for writer, account, balance in server.query("SELECT writer, account, balance FROM accounts"):
        shares.setdefault(int(writer), Share()).balances[int(account)] = int(balance)
    for writer, number in server.query("SELECT writer, number FROM queue ORDER BY number"):
        shares.setdefault(int(writer), Share()).queue.append(int(number))
    return shares


def _transaction(seed: int, writer: int, number: int) -> str:
    """The statements of one transaction, and the acknowledgement behind its COMMIT."""
    content = payload(seed, writer, number)
    statements = ["BEGIN", f"INSERT INTO rows VALUES ({writer}, {number}, '{content}')"]
    # In the order of the accounts, though no other session ever waits for them.
    for account, change in sorted(moves(number)):
        statements.append(
            f"UPDATE accounts SET balance = balance + {change}"
            f" WHERE writer = {writer} AND account = {account}"
        )
    statements.append(f"INSERT INTO queue VALUES ({writer}, {number})")
    statements.append(
        f"DELETE FROM queue WHERE writer = {writer} AND number = {number - QUEUE_LENGTH}"
    )
    statements.append("COMMIT")
    text = ";\n".join(statements) + f";\n\\warn committed {number}\n"
    if number % ROLLBACK_EVERY == 0:
        text += (
            f"BEGIN; INSERT INTO rows VALUES ({writer}, {-number}, '{content}');"
            f" UPDATE accounts SET balance = -1 WHERE writer = {writer};"
            f" DELETE FROM queue WHERE writer = {writer}; ROLLBACK;\n"
        )
    return text


class _Session(threading.Thread):
    """One writer: a psql process and its notes. `error` says why it ended early."""

    def __init__(self, options: argparse.Namespace, writer: int, told: Told) -> None:
        super().__init__(name=f"writer-{writer}")
        self.error = ""
        self._seed = options.seed
        self._writer = writer
        self._told = told
        self._notes = Notes(options.notes, writer)
        settings = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(options.sockets)]
        self._psql = subprocess.Popen(
            [binary("psql"), *settings, "-U", "postgres", "-d", "postgres"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> None:
        assert self._psql.stdin is not None
        assert self._psql.stderr is not None
        try:
            while not self._told and not self.error:
                number = self._notes.last + 1
                self._psql.stdin.write(_transaction(self._seed, self._writer, number))
                self._psql.stdin.flush()
                line = self._psql.stderr.readline().rstrip("\n")
                if line == f"committed {number}":
                    self._notes.note(number)
                else:
                    self.error = line or "psql ended"
            self._psql.stdin.close()
        except BrokenPipeError:
            self.error = "psql ended"
        # Behind a closed input psql ends, and whatever it still has to say comes to an end too.
        self.error += " ".join(["", *self._psql.stderr.read().split()]) if self.error else ""
        code = self._psql.wait()
        if code != 0 and not self.error:
            self.error = f"psql ended with code {code}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sockets", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    told = Told()
    sessions = [_Session(options, writer, told) for writer in range(options.writers)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    for session in sessions:
        if session.error:
            print(f"{session.name}: {session.error}", file=sys.stderr)
    return int(any(session.error for session in sessions))


if __name__ == "__main__":
    sys.exit(main())
