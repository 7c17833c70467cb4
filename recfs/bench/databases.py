"""Cases on databases: SQLite's commits, pgbench, and the restore of what PostgreSQL wrote.

A server runs only while it is measured, with its own defaults, so that no idle server's checkpoint
falls into another place's figure.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from recfs.bench.figures import Case, Group, Target
from recfs.bench.places import Place, PlaceName, Recfs
from recfs.testing.databases.mounted import run_recfs
from recfs.testing.databases.server import Server, ServerError

_MB = 1e6


class SqliteCommits(Case):
    """Transactions of one row in WAL mode with synchronous=FULL: each commit is one fdatasync."""

    name = "sqlite"
    what = "SQLite, WAL, synchronous=FULL"
    group: Group = "files"
    unit = "commits/s"
    target = Target(of_native=0.28)

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds

    def measure(self, place: Place) -> float:
        directory = place.directory / "sqlite"
        directory.mkdir()
        commits = 0
        with closing(sqlite3.connect(directory / "rows.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=wal")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE rows(number INTEGER PRIMARY KEY, content TEXT)")
            content = "x" * 100
            began = time.perf_counter()
            while (seconds := time.perf_counter() - began) < self._seconds:
                connection.execute("INSERT INTO rows(content) VALUES (?)", (content,))
                commits += 1
        place.settle()
        shutil.rmtree(directory)
        return commits / seconds


class PgbenchInit(Case):
    """`pgbench -i`: bulk load, vacuum, primary keys."""

    name = "pgbench-init"
    group: Group = "postgres"
    unit = "s"
    target = Target(of_native=2.5)
    less_is_better = True

    def __init__(self, *, scale: int) -> None:
        self.what = f"pgbench -i, scale {scale}"
        self._scale = scale

    def measure(self, place: Place) -> float:
        with _serving(place) as server:
            return _initialise(server, self._scale)


class Pgbench(Case):
    """pgbench's own transaction with `clients` clients, or its read-only one."""

    group: Group = "postgres"
    unit = "tps"

    def __init__(
        self, *, clients: int, scale: int, seconds: float, target: Target, read_only: bool = False
    ) -> None:
        self.name = f"pgbench-{'read' if read_only else clients}"
        self.what = f"pgbench, {clients} client{'s' if clients > 1 else ''}"
        self.what += ", read only" if read_only else ""
        self.target = target
        self._options = ["-n", "-c", str(clients), *(["-S"] if read_only else [])]
        self._read_only = read_only
        self._scale = scale
        self._seconds = max(1, round(seconds))

    def measure(self, place: Place) -> float:
        with _serving(place) as server:
            if server.query("SELECT to_regclass('pgbench_history')") == [[""]]:
                _initialise(server, self._scale)
            server.query("CHECKPOINT")
            if self._read_only:
                # Fills the server's buffers: what is measured is reading, not starting.
                self._run(server, 1)
            return self._run(server, self._seconds)

    def _run(self, server: Server, seconds: int) -> float:
        said = server.run("pgbench", [*self._options, "-T", str(seconds), "postgres"])
        found = re.search(r"^tps = ([0-9.]+) \((?:without|excluding)", said, re.MULTILINE)
        if found is None:
            raise ServerError(f"pgbench gives no figure: {said}")
        return float(found[1])


class Restore(Case):
    """`recfs restore` of the volume on which PostgreSQL ran; MB of log for each second."""

    name = "restore"
    what = "restore of a PostgreSQL log"
    group: Group = "postgres"
    unit = "MB/s"
    target = Target(absolute=150)
    places: tuple[PlaceName, ...] = ("recfs",)

    def __init__(self, *, scale: int) -> None:
        self._scale = scale

    def measure(self, place: Place) -> float:
        assert isinstance(place, Recfs), "only recfs has a log"
        if not (place.directory / "postgres").exists():
            with _serving(place) as server:
                _initialise(server, self._scale)
        place.settle()
        log_bytes = place.mount.log_bytes()
        output = place.mount.backing.with_name("restored")
        began = time.perf_counter()
        run_recfs("restore", place.volume, "-o", str(output))
        seconds = time.perf_counter() - began
        shutil.rmtree(output)
        return log_bytes / _MB / seconds


class Memory(Case):
    """The most memory that the daemon ever held, over all that ran on its mount so far."""

    what = "daemon's peak memory"
    unit = "MB"
    target = Target(absolute=150)
    less_is_better = True
    places: tuple[PlaceName, ...] = ("recfs",)

    def __init__(self, group: Group) -> None:
        self.name = f"memory-{group}"
        self.what = f"daemon's peak memory ({group})"
        self.group = group

    def measure(self, place: Place) -> float:
        assert isinstance(place, Recfs), "only recfs has a daemon worth measuring"
        return place.peak_memory() / _MB


@contextmanager
def _serving(place: Place) -> Iterator[Server]:
    """A server with its default settings on the place's cluster, made if need be."""
    server = Server(place.directory / "postgres", place.private, settings={})
    try:
        if not server.data.exists():
            server.initdb()
        server.start()
        yield server
        server.stop()
    finally:
        server.close()
    place.settle()


def _initialise(server: Server, scale: int) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    server.run("pgbench", ["-i", "-q", "-s", str(scale), "postgres"])
    return time.perf_counter() - began
