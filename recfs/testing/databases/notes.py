"""Which transactions were acknowledged, noted outside the file system under test.

Each writer notes a transaction's number in a file of its own, only after its COMMIT returned. A
writer's transactions are numbered from 1 in the order in which it commits them and one is under way
at a time, so the last note tells everything: all before it are acknowledged, and one beyond it may
have been committed without its writer learning of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

#: Writer -> number of its last acknowledged transaction (0: none).
Acknowledged = Mapping[int, int]


class Notes:
    """The notes of one writer: a line "NUMBER UNIX_NS" for each acknowledged transaction."""

    def __init__(self, directory: Path, writer: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"writer-{writer}"
        self.last = _lines(path)[-1][0] if path.exists() and _lines(path) else 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def note(self, number: int) -> None:
        """The transaction is committed. The note outlives the writer, not a crash of this host."""
        assert number == self.last + 1, f"transaction {number} noted after {self.last}"
        os.write(self._file, b"%d %d\n" % (number, time.time_ns()))
        self.last = number

    def close(self) -> None:
        os.close(self._file)


def acknowledged(directory: Path, until_ns: int | None = None) -> dict[int, int]:
    """What the writers noted in `directory`; with `until_ns` (Unix ns), up to that moment only."""
    found = {}
    for path in directory.glob("writer-*"):
        lines = _lines(path)
        if until_ns is not None:
            lines = [line for line in lines if line[1] <= until_ns]
        found[int(path.name.partition("-")[2])] = lines[-1][0] if lines else 0
    return found


def _lines(path: Path) -> list[tuple[int, int]]:
    # The last line may be under way: only what a newline ends counts.
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [(int(number), int(at)) for number, at in map(bytes.split, whole.splitlines())]
