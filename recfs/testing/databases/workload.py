"""A database with its load: begun in one directory, killed, judged in another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from recfs.testing.databases import postgres, sqlite
from recfs.testing.databases.load import Load
from recfs.testing.databases.notes import acknowledged
from recfs.testing.databases.rows import Report
from recfs.testing.databases.server import Server
from recfs.testing.databases.sqlite import JournalMode


class Workload(ABC):
    """A database under load. `notes` is a directory outside the file system under test."""

    def __init__(self, name: str, notes: Path, seed: int) -> None:
        self.name = name
        self.seed = seed
        self._notes = notes
        self._load: Load | None = None

    @abstractmethod
    def start(self, directory: Path) -> None:
        """Make the database in a directory of its own in `directory`, or go on with it."""

    @abstractmethod
    def check(self, directory: Path) -> Report:
        """Open the database as after a crash and judge it by the notes."""

    @property
    def load(self) -> Load:
        """The writing process. The workload has to be started."""
        assert self._load is not None, f"{self.name} is not started"
        return self._load

    def rows(self) -> int:
        """How many transactions were acknowledged so far."""
        return sum(acknowledged(self._notes).values())

    def kill(self) -> None:
        """SIGKILL database and load where they stand. Idempotent."""
        if self._load is not None:
            self._load.kill()


class SqliteWorkload(Workload):
    """SQLite in one of its journal modes, one writer."""

    def __init__(
        self, notes: Path, *, journal_mode: JournalMode = "wal", seed: int = 0, mmap_bytes: int = 0
    ) -> None:
        super().__init__(f"SQLite ({journal_mode})", notes, seed)
        self._journal_mode = journal_mode
        self._mmap_bytes = mmap_bytes

    def start(self, directory: Path) -> None:
        database = self._database(directory)
        database.parent.mkdir(exist_ok=True)
        self._load = sqlite.start_load(
            database,
            self._notes,
            journal_mode=self._journal_mode,
            seed=self.seed,
            mmap_bytes=self._mmap_bytes,
        )

    def check(self, directory: Path) -> Report:
        return sqlite.check(self._database(directory), acknowledged(self._notes), seed=self.seed)

    def _database(self, directory: Path) -> Path:
        return directory / "sqlite" / f"{self._journal_mode}.db"


class PostgresWorkload(Workload):
    """PostgreSQL through several sessions."""

    def __init__(self, notes: Path, *, seed: int = 0, writers: int = 4) -> None:
        super().__init__("PostgreSQL", notes, seed)
        self._writers = writers
        self._server: Server | None = None

    def start(self, directory: Path) -> None:
        self._server = self._make_server(directory)
        if not self._server.data.exists():
            self._server.initdb()
        self._server.start()
        self._load = postgres.start_load(
            self._server, self._notes, writers=self._writers, seed=self.seed
        )

    def check(self, directory: Path) -> Report:
        server = self._make_server(directory)
        try:
            return postgres.check(server, acknowledged(self._notes), seed=self.seed)
        finally:
            server.close()

    def _make_server(self, directory: Path) -> Server:
        return Server(directory / "postgres", self._notes.with_name(f"{self._notes.name}-server"))

    def kill(self) -> None:
        # The server first: the load ends by itself then, at a place it did not choose.
        if self._server is not None:
            self._server.close()
            self._server = None
        super().kill()
