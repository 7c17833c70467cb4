"""Operations in words and as JSON, for people who read a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from recfs.recoverylog.recoverylog_pb2 import Mark, RecordedOp

#: Numbers that are shown even when they are 0, and so not in the message.
_SHOWN_AT_ZERO = frozenset(("offset", "length", "size"))


def describe(op: RecordedOp) -> str:
    """Return what `op` does: "write fnode 7 offset 8192 length 8192". One line, printable."""
    action = op.WhichOneof("action")
    if action is None:
        return "no-op"
    words = [action]
    for name, value in _values(getattr(op, action)):
        words.append(name)
        words.append(_word(action, name, value))
    return " ".join(words)


def to_json(op: RecordedOp) -> dict[str, Any]:
    """Return `op` as JSON values. Bytes become text, those that are not UTF-8 as surrogate escapes
    (U+DC80 to U+DCFF; json.dumps writes them as \\udcXX); the payload of a write is not in it."""
    document: dict[str, Any] = {
        "seq_no": op.seq_no,
        "checksum": op.checksum,
        "author": op.author,
        "action": op.WhichOneof("action") or "no-op",
    }
    if op.recorded_at:
        document["recorded_at"] = op.recorded_at
    if op.more:
        document["more"] = True
    action = op.WhichOneof("action")
    if action is not None:
        document[action] = _fields(getattr(op, action))
    return document


def _fields(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in _values(message):
        if isinstance(value, bytes):
            document[name] = value.decode("utf-8", "surrogateescape")
        else:
            document[name] = _kind(value) if name == "kind" else value
    return document


def _values(message: Message) -> Iterator[tuple[str, Any]]:
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        present = message.HasField(field.name) if field.has_presence else bool(value)
        if present or field.name in _SHOWN_AT_ZERO:
            yield field.name, value


def _word(action: str, name: str, value: Any) -> str:
    if isinstance(value, bytes):
        # Quoted where blanks or bytes that do not print would spoil the line.
        text = value.decode("utf-8", "backslashreplace")
        return text if text.isprintable() and " " not in text and text else repr(value)[1:]
    if name == "kind":
        return _kind(value)
    if name == "mode" and action != "allocate":
        return f"{value:o}"
    if name == "content_crc32c":
        return f"{value:08x}"
    if isinstance(value, str):
        return value if value.isprintable() else repr(value)
    return str(value)


def _kind(value: int) -> str:
    known: dict[int, str] = {number: name.lower() for name, number in Mark.Kind.items()}
    return known.get(value, str(value))
