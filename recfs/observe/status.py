"""The status of one mount: as JSON for programs, and as text for the person who was woken by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal

from recfs.observe.words import duration, moment, size

State = Literal["restoring", "importing", "serving", "read-only", "stopping", "dead", "silent"]

_MEANING: Mapping[str, str] = {
    "restoring": "rebuilding the directory from the journal; serves when that is done",
    "importing": "recording what the backing directory holds; serves when that is done",
    "serving": "",
    "read-only": "takes no more writes",
    "stopping": "unmounting; waits until everything is committed",
    "dead": "its daemon is gone without unmounting",
    "silent": "its daemon does not answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One mount at one moment.

    `reason` says why it is in `state`. Times are Unix seconds, latencies milliseconds, backlog and
    offsets bytes. `since` is when the daemon started. None: not known, or not the case.
    """

    volume: str
    mountpoint: str
    backing: str
    pid: int
    state: State
    reason: str = ""
    author: str = ""
    next_seq_no: int = 0
    committed_offset: int = 0
    backlog_bytes: int = 0
    appends: int = 0
    retries: int = 0
    last_error: str = ""
    retrying_since: float | None = None
    commit_p50_ms: float | None = None
    commit_p99_ms: float | None = None
    files: int = 0
    open_handles: int = 0
    since: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; its keys are a promise to scripts. Infinite numbers become None."""
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Status:
        """Read what a daemon answered; one of a later version may say more than this one knows."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})

    def to_text(self, now: float) -> str:
        """A few lines; the first says whether anything is wrong. `now` is in Unix seconds."""
        meaning = self.reason or _MEANING.get(self.state, "")
        lines = [f"{self.mountpoint}: {self.state}" + (f" ({meaning})" if meaning else "")]
        rows = [("volume", self.volume)]
        if self.state not in ("dead", "silent"):
            rows += [
                ("durability", self.waits(now)),
                ("commits", self._commits()),
                ("files", f"{self.files:,}, of which {self.open_handles:,} open"),
                ("writer", f"author {self.author or '?'}, next operation {self.next_seq_no:,}"),
            ]
        rows.append(("backing", self.backing))
        daemon = f"pid {self.pid}"
        if self.since is not None:
            daemon += f", since {moment(self.since)} ({duration(now - self.since)})"
        rows.append(("daemon", daemon))
        if self.last_error:
            rows.append(("last error", self.last_error))
        return "\n".join(lines + [f"  {name:<11} {text}" for name, text in rows])

    def waits(self, now: float) -> str:
        """What is not committed yet, and why, in words."""
        if self.retrying_since is not None:
            return (
                f"{size(self.backlog_bytes)} wait: the journal has taken nothing for "
                f"{duration(now - self.retrying_since)} ({self.retries:,} retries); syncs wait too"
            )
        if self.backlog_bytes:
            return f"{size(self.backlog_bytes)} on the way to the journal"
        return f"everything is committed, up to offset {self.committed_offset:,}"

    def _commits(self) -> str:
        text = f"{self.appends:,}"
        if self.commit_p50_ms is not None:
            text += f", half within {self.commit_p50_ms:.2f} ms"
        if self.commit_p99_ms is not None:
            text += f", 99 % within {self.commit_p99_ms:.2f} ms"
        return text
