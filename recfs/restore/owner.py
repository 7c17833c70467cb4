"""Who writes a volume: owner marks, heartbeats, and the judgement whether a writer still lives.

Pure but for `here`, which reads what identifies this host and process. The judgement is advice
that spares an operator a mistake; what makes two writers harmless is the fence.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from recfs.errors import LiveWriterError, UsageError
from recfs.observe.registry import start_ticks
from recfs.recoverylog.events import Marked
from recfs.recoverylog.recoverylog_pb2 import Mark

#: The format of the extensions and of the owner mark. A log of a newer one is refused.
FORMAT = 1

#: A writer is taken for dead after this many heartbeat intervals of silence.
SILENT_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Owner:
    """The text of an owner mark, as JSON. `started` and `heartbeat` in seconds."""

    volume: str
    host: str
    pid: int
    process_start: int
    boot: str
    pid_namespace: str
    author: str
    started: float
    heartbeat: float
    format: int = FORMAT

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_text(text: str) -> Owner | None:
        """None when the text is not an owner's; UsageError when a newer recfs wrote it."""
        try:
            values = json.loads(text)
            if isinstance(values, dict) and int(values.get("format", 0)) > FORMAT:
                raise UsageError(
                    f"the volume was written by a newer recfs (format {values['format']}, "
                    f"this one knows {FORMAT})",
                    "upgrade recfs on this host",
                )
            # A whole number will do where a broken one is meant, as everywhere in JSON.
            found: dict[str, Any] = {
                field.name: float(values[field.name])
                if field.type == "float"
                else _exactly(values[field.name], field.type)
                for field in fields(Owner)
                if field.name in values
            }
            return Owner(**found)
        except (ValueError, TypeError, AttributeError, OverflowError):
            return None


def _exactly(value: object, kind: object) -> Any:
    if type(value).__name__ != kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value


def here(volume: str, author: int, heartbeat_seconds: float) -> Owner:
    """The owner that this process is."""
    return Owner(
        volume=volume or uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=start_ticks(os.getpid()) or 0,
        boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        pid_namespace=os.readlink("/proc/self/ns/pid"),
        author=f"{author:08x}",
        started=time.time(),
        heartbeat=heartbeat_seconds,
    )


@dataclass(slots=True)
class Ownership:
    """What the marks of a log say, as they are played."""

    owner: Owner | None = None
    seen_ns: int = 0
    clean: bool = False
    importing: bool = False

    def note(self, event: Marked) -> None:
        if event.at:
            self.seen_ns = event.at
        if event.kind in (Mark.OWNER, Mark.HEARTBEAT):
            # A heartbeat carries the owner too, so that the tail of a log alone tells who lives.
            owner = Owner.from_text(event.text)
            if owner is not None:
                self.owner = owner
                self.clean = False
        elif event.kind == Mark.CLEAN:
            self.clean = True
        elif event.kind == Mark.IMPORT_BEGIN:
            self.importing = True
        elif event.kind == Mark.IMPORT_END:
            self.importing = False

    def live_writer(self, me: Owner, now_ns: int) -> str:
        """Words on the live writer, or "" when there is none."""
        owner = self.owner
        if owner is None or self.clean:
            return ""
        age = max(0.0, (now_ns - self.seen_ns) / 1e9)
        who = f"host {owner.host}, pid {owner.pid}, author {owner.author}"
        if owner.boot == me.boot and owner.pid_namespace == me.pid_namespace:
            # The same kernel: the process table knows better than any clock.
            if owner.pid == me.pid or start_ticks(owner.pid) != owner.process_start:
                return ""
            return f"{who}, running here; last mark {age:.1f} s ago"
        if age > SILENT_INTERVALS * max(owner.heartbeat, 1.0):
            return ""
        return f"{who}; last mark {age:.1f} s ago"

    def refuse_live_writer(self, journal: str, me: Owner, now_ns: int) -> None:
        words = self.live_writer(me, now_ns)
        if words:
            raise LiveWriterError(
                f"volume {journal} has a live writer: {words}",
                "stop it (recfs umount), or fence it with --take-over",
            )
