"""Log lines: `key=value` text or JSON, to stderr or to a file of bounded size.

A line is an event in words followed by fields:

    2026-11-21T07:55:28Z info    mount serves  volume=file:///srv/db1 mountpoint=/mnt/db

`logger` works without any set-up: it hands each event to the standard library's logger of the same
name, so a program that uses recfs as a library decides where its lines go. Packages below
`observe` use `logging.getLogger(__name__)` and its `extra`; their lines look the same.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import structlog

from recfs.errors import UsageError

#: A log file is turned over at this many bytes, and one older file is kept.
FILE_BYTES_MAX = 8 << 20

_Event = MutableMapping[str, Any]


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger `name`, under "recfs"; its methods take an event and, by keyword, fields."""
    if name.partition(".")[0] != "recfs":
        name = f"recfs.{name}"
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return bound


def configure(
    level: str = "info",
    form: str = "text",
    *,
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Send the log lines of this whole process to `file`, else to `stream`, else to stderr.

    `level` is one of debug, info, warning, error; other libraries are heard from warning up. `form`
    is "text" or "json". A file that cannot be opened raises UsageError.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(stream) if stream is not None else _StderrHandler()
    else:
        try:
            handler = logging.handlers.RotatingFileHandler(
                file, maxBytes=FILE_BYTES_MAX, backupCount=1, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise UsageError(
                f"log file {file}: {error.strerror}", "name another one with --log-file"
            ) from None
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                _add_time_and_level,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _as_json if form == "json" else _as_text,
            ],
        )
    )
    number = logging.getLevelName(level.upper())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(number if level == "debug" else max(number, logging.WARNING))
    logging.getLogger("recfs").setLevel(number)
    # A full disk or a closed pipe under the log is no reason to disturb the mount.
    logging.raiseExceptions = False


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now: while a progress bar is drawn, its lines go above the bar."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        pass  # the base class's constructor sets it


def _add_time_and_level(_logger: object, _name: str, event: _Event) -> _Event:
    record: logging.LogRecord = event["_record"]
    event["level"] = record.levelname.lower()
    event["logger"] = record.name
    # The record's own time, not that of formatting; in UTC, since hosts are compared.
    moment = datetime.fromtimestamp(record.created, UTC)
    event["time"] = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    return event


def _as_json(_logger: object, _name: str, event: _Event) -> str:
    ordered = {name: event.pop(name) for name in ("time", "level", "event", "logger")}
    return json.dumps({**ordered, **event}, default=str, ensure_ascii=True)


def _as_text(_logger: object, _name: str, event: _Event) -> str:
    what = str(event.pop("event"))
    head = f"{event.pop('time')} {event.pop('level'):<7} "
    head += what if what.isprintable() else json.dumps(what)
    event.pop("logger")
    trace = event.pop("exception", None)
    fields = as_fields(event)
    line = f"{head}  {fields}" if fields else head
    # Only a traceback may take more lines; an event or a field never forges a second entry.
    return line if trace is None else f"{line}\n{trace}"


def as_fields(fields: Mapping[str, object]) -> str:
    """`key=value` pairs; values that would be read otherwise are quoted as JSON."""
    return " ".join(f"{name}={_as_value(value)}" for name, value in fields.items())


def _as_value(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return json.dumps(text)
