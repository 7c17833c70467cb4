"""A process that writes to a database until it is told to stop, or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from recfs.testing.databases.notes import acknowledged


class LoadError(Exception):
    """A load ended by itself, or did not get as far as it should."""


class Load:
    """One writing process, `python -m MODULE ARGUMENTS`, with its notes in the directory `notes`.

    The process ends after the transaction under way on SIGTERM, and with exit code 1 and its reason
    on standard error (kept in `notes`) when the database refuses a transaction.
    """

    def __init__(self, module: str, arguments: Sequence[str], notes: Path) -> None:
        notes.mkdir(parents=True, exist_ok=True)
        self.notes = notes
        self._errors = notes / "errors"
        with self._errors.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._child.pid

    def acknowledged(self) -> dict[int, int]:
        """Writer -> number of its last acknowledged transaction."""
        return acknowledged(self.notes)

    def rows(self) -> int:
        return sum(self.acknowledged().values())

    def errors(self) -> str:
        """What the process wrote to standard error."""
        return self._errors.read_text(errors="replace").strip()

    def wait_rows(self, rows: int, patience_seconds: float = 120.0) -> None:
        """Wait until `rows` transactions are acknowledged. Raises LoadError when that fails."""
        deadline = time.monotonic() + patience_seconds
        while self.rows() < rows:
            if not self.running:
                raise LoadError(f"the load ended after {self.rows()} rows: {self.errors()}")
            if time.monotonic() > deadline:
                raise LoadError(f"only {self.rows()} of {rows} rows in {patience_seconds:.0f} s")
            time.sleep(0.01)

    def stop(self, patience_seconds: float = 60.0) -> None:
        """End after the transaction under way. Raises LoadError when the load had failed before."""
        self._child.terminate()
        try:
            code = self._child.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LoadError(f"the load did not stop within {patience_seconds:.0f} s") from None
        if code != 0:
            raise LoadError(f"the load ended with code {code}: {self.errors()}")

    def kill(self) -> None:
        """End it wherever it stands."""
        self._child.kill()
        self._child.wait(60)


class Told:
    """In the writing process: true once it was told to stop, or its parent is gone."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._told = False
        signal.signal(signal.SIGTERM, self._tell)
        # A Ctrl-C of the terminal is for the one who started the load.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _tell(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True

    def __bool__(self) -> bool:
        return self._told or os.getppid() != self._parent
