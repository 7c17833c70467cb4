"""How long work tells how far it is: a bar on a terminal, a log line every few seconds elsewhere.

Amounts are bytes. The phases of one run follow each other: start, advance as often as one likes,
finish; a phase that fails is left without finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self, TextIO

from recfs.observe.logs import logger
from recfs.observe.words import duration, size

#: Seconds between two lines where there is no terminal.
LINE_SECONDS = 5.0


class Progress(Protocol):
    """What long work reports to."""

    def start(self, label: str, total_bytes: int | None) -> None:
        """A phase begins; `total_bytes` is None when nobody knows."""
        ...

    def advance(self, count: int) -> None: ...

    def finish(self) -> None:
        """The phase has done all that it had to do."""
        ...


class SilentProgress:
    """Tells nobody: the library's choice."""

    def start(self, label: str, total_bytes: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def finish(self) -> None:
        pass


class LineProgress:
    """Writes a log line when a phase begins, every `seconds`, and when it ends.

    A context manager only so that it can stand where a bar stands.
    """

    def __init__(
        self, *, seconds: float = LINE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._log = logger(__name__)
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, label: str, total_bytes: int | None) -> None:
        self._label, self._total, self._done = label, total_bytes, 0
        self._began = self._told = self._clock()
        if total_bytes is None:
            self._log.info(label)
        else:
            self._log.info(label, of=size(total_bytes))

    def advance(self, count: int) -> None:
        self._done += count
        now = self._clock()
        if now - self._told < self._seconds:
            return
        self._told = now
        rate = self._done / max(now - self._began, 1e-9)
        fields = {"done": size(self._done), "rate": f"{size(round(rate))}/s"}
        if self._total:
            fields["percent"] = f"{100 * self._done / self._total:.0f}"
            fields["left"] = duration(max(self._total - self._done, 0) / max(rate, 1e-9))
        self._log.info(self._label, **fields)

    def finish(self) -> None:
        took = self._clock() - self._began
        self._log.info(f"{self._label}: done", size=size(self._done), took=duration(took))


class BarProgress:
    """Draws a bar on a terminal. A context manager: leaving it gives the terminal back."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._phase = self._bars.add_task("", start=False, visible=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, label: str, total_bytes: int | None) -> None:
        self._bars.remove_task(self._phase)
        self._bars.start()
        self._phase = self._bars.add_task(label, total=total_bytes)

    def advance(self, count: int) -> None:
        self._bars.advance(self._phase, count)

    def finish(self) -> None:
        self._bars.update(self._phase, total=self._bars.tasks[-1].completed)
        # Log lines and the command's own output follow: nothing may redraw over them.
        self._bars.stop()
