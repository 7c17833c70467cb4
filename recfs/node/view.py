"""The status of a mount, gathered from its parts when someone asks."""

from __future__ import annotations

import os
import time

import trio

from recfs.config import MountSettings
from recfs.journal.appender import LATENCY_BOUNDS
from recfs.observe.status import State, Status
from recfs.vfs.durability import Durability
from recfs.vfs.inodes import InodeTable


class StatusView:
    """Holds the parts that tell, as far as they exist yet."""

    def __init__(self, settings: MountSettings) -> None:
        self._settings = settings
        self._since = time.time()
        self._durability: Durability | None = None
        self.inodes: InodeTable | None = None
        self.state: State = "restoring"

    def follow(self, durability: Durability) -> None:
        self._durability = durability

    def now(self) -> Status:
        settings = self._settings
        durability = self._durability
        if durability is None:
            return Status(
                volume=settings.volume.url,
                mountpoint=str(settings.mountpoint),
                backing=str(settings.backing),
                pid=os.getpid(),
                state=self.state,
                since=self._since,
            )
        statistics = durability.appender.statistics()
        doubt = durability.doubt or durability.appender.error
        state, reason = self.state, ""
        if state == "serving" and doubt is not None:
            state, reason = "read-only", doubt.what
        elif state == "serving" and settings.read_only:
            state, reason = "read-only", "mounted with --read-only"
        fsm = durability.recorder.fsm
        return Status(
            volume=settings.volume.url,
            mountpoint=str(settings.mountpoint),
            backing=str(settings.backing),
            pid=os.getpid(),
            state=state,
            reason=reason,
            author=f"{durability.recorder.author:08x}",
            next_seq_no=fsm.next_seq_no,
            committed_offset=statistics.committed_offset,
            backlog_bytes=statistics.backlog_bytes,
            appends=statistics.appends,
            retries=statistics.retries,
            last_error=statistics.last_error,
            retrying_since=_unix(statistics.retrying_since),
            commit_p50_ms=_percentile(statistics.latency_buckets, 0.50),
            commit_p99_ms=_percentile(statistics.latency_buckets, 0.99),
            files=len(fsm.nodes),
            open_handles=self.inodes.open_handles if self.inodes is not None else 0,
            since=self._since,
        )


def _unix(at: float) -> float | None:
    """A moment of trio's clock in Unix seconds; None for never."""
    return time.time() - (trio.current_time() - at) if at else None


def _percentile(buckets: list[int], share: float) -> float | None:
    """Milliseconds that `share` of the commits stayed within: the bound of their bucket."""
    wanted = share * sum(buckets)
    if not wanted:
        return None
    seen = 0
    for bound, count in zip((*LATENCY_BOUNDS, float("inf")), buckets, strict=True):
        seen += count
        if seen >= wanted:
            return bound * 1000
    return None
