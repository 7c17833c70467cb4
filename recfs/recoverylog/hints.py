"""Hints: which files live at some point of a log, and which segments hold their operations.

Three forms: `FSMHints`, protobuf bytes, and the JSON that Gazette keeps in Etcd. Each is read into
the first, which a FSM starts from. recfs itself prefers the state (state.py) that its hints carry
in an extension field; the rest serves Gazette's tools, and logs that Gazette wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from recfs.errors import DamageError
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.segment import Segment, SegmentSet, check_journal_name

_ATTEMPT = "restore without hints: the log itself is enough"


@dataclass(slots=True)
class FnodeSegments:
    """A live file and the segments, ascending, of its operations. No `log`: that of the hints."""

    fnode: int
    segments: list[Segment]


@dataclass(slots=True)
class FSMHints:
    """`properties` maps paths to contents of small files that Gazette keeps outside of fnodes."""

    log: str
    live_nodes: list[FnodeSegments] = field(default_factory=list)
    properties: dict[bytes, bytes] = field(default_factory=dict)

    def flatten(self) -> tuple[list[int], SegmentSet]:
        """Return the live fnodes, ascending, and all their segments with their logs filled in.

        Raises DamageError if the hints are not consistent.
        """
        if not self.log:
            raise _damage("they name no log", self.log)
        fnodes: list[int] = []
        segments = SegmentSet()
        for node in self.live_nodes:
            if not node.segments or node.segments[0].first_seq_no != node.fnode:
                raise _damage(f"fnode {node.fnode} has no segment that begins with it", self.log)
            if fnodes and fnodes[-1] >= node.fnode:
                raise _damage(f"fnode {node.fnode} stands behind {fnodes[-1]}", self.log)
            fnodes.append(node.fnode)
            for segment in node.segments:
                named = segment.copy()
                named.log = segment.log or self.log
                segments.add(named)
        if len(segments) and segments[-1].log != self.log:
            raise _damage(f"the last segment is of log {segments[-1].log!r}", self.log)
        return fnodes, segments

    def validate(self) -> None:
        """Raise DamageError unless a Gazette tool would take these hints."""
        wrong = check_journal_name(self.log)
        if wrong is not None:
            raise _damage(f"the log's name {wrong}", self.log)
        for node in self.live_nodes:
            for segment in node.segments:
                if segment.log == self.log:
                    raise _damage(f"fnode {node.fnode} repeats the log's name", self.log)
        self.flatten()

    # Protobuf

    def to_message(self) -> pb.FSMHints:
        message = pb.FSMHints(log=self.log)
        for node in self.live_nodes:
            live = message.live_nodes.add(fnode=node.fnode)
            for each in node.segments:
                live.segments.add(
                    author=each.author,
                    first_seq_no=each.first_seq_no,
                    first_offset=each.first_offset,
                    first_checksum=each.first_checksum,
                    last_seq_no=each.last_seq_no,
                    last_offset=each.last_offset,
                    log=each.log,
                )
        for path, content in self.properties.items():
            message.properties.add(path=path, content=content)
        return message

    @classmethod
    def from_message(cls, message: pb.FSMHints) -> FSMHints:
        return cls(
            message.log,
            [
                FnodeSegments(live.fnode, [_segment(each) for each in live.segments])
                for live in message.live_nodes
            ],
            {each.path: each.content for each in message.properties},
        )

    # JSON

    def to_json(self) -> str:
        """Return Gazette's JSON. Bytes of paths that are not UTF-8 become surrogate escapes."""
        return json.dumps(
            {
                "log": self.log,
                "live_nodes": [
                    {
                        "fnode": node.fnode,
                        "segments": [_non_zero(_fields(each)) for each in node.segments],
                    }
                    for node in self.live_nodes
                ],
                "properties": [
                    _non_zero({"path": _text(path), "content": _text(content)})
                    for path, content in self.properties.items()
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> FSMHints:
        """Raises DamageError if `text` is not the JSON of hints."""
        try:
            document = json.loads(text)
            return cls(
                _typed(document, "log", str, ""),
                [
                    FnodeSegments(
                        _typed(node, "fnode", int, 0),
                        [_segment_of_json(each) for each in _listed(node, "segments")],
                    )
                    for node in _listed(document, "live_nodes")
                ],
                {
                    _bytes(_typed(each, "path", str, "")): _bytes(_typed(each, "content", str, ""))
                    for each in _listed(document, "properties")
                },
            )
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or not of these types
            raise _damage(f"their JSON cannot be read: {error}") from error


def decode(data: bytes) -> FSMHints:
    """Read hints in either form: JSON begins with "{", which no protobuf form of hints does.

    Raises DamageError.
    """
    if data[:1] == b"{":
        return FSMHints.from_json(data)
    return FSMHints.from_message(parse(data))


def parse(data: bytes) -> pb.FSMHints:
    """Return the protobuf message with all extensions. Raises DamageError."""
    try:
        return pb.FSMHints.FromString(data)
    except DecodeError as error:
        raise _damage(f"they are not a message of hints: {error}") from error


def build(
    log: str, files: Iterable[tuple[int, list[Segment]]], properties: dict[bytes, bytes]
) -> FSMHints:
    """Return the hints of `files` (fnode, segments; any order). Segments of `log` lose its name.

    Where one segment's last_offset is not known, no later one's may be (segment.py, invariant 3). A
    state that was recorded, then played on, knows some: they are left out.
    """
    nodes = sorted(files, key=lambda item: item[0])
    unknown_from = min(
        (each.first_seq_no for _, segments in nodes for each in segments if not each.last_offset),
        default=2**63,
    )
    live_nodes = []
    for fnode, segments in nodes:
        hinted = [each.copy() for each in segments]
        for each in hinted:
            if each.log == log:
                each.log = ""
            if each.first_seq_no > unknown_from:
                each.last_offset = 0
        live_nodes.append(FnodeSegments(fnode, hinted))
    return FSMHints(log, live_nodes, dict(properties))


_NUMBERS = (
    "author",
    "first_seq_no",
    "first_offset",
    "first_checksum",
    "last_seq_no",
    "last_offset",
)
_FIXED32 = ("author", "first_checksum")


def _segment(message: pb.Segment) -> Segment:
    return Segment(
        message.author,
        message.first_seq_no,
        message.first_offset,
        message.first_checksum,
        message.last_seq_no,
        message.last_offset,
        message.log,
    )


def _segment_of_json(document: Any) -> Segment:
    numbers = {name: _typed(document, name, int, 0) for name in _NUMBERS}
    return Segment(**numbers, log=_typed(document, "log", str, ""))


def _fields(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(segment, name) for name in _NUMBERS}
    fields["log"] = segment.log
    return fields


def _non_zero(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _typed(document: Any, name: str, kind: type, absent: Any) -> Any:
    """Return document[name], or raise ValueError if it is not exactly of type `kind`."""
    if not isinstance(document, dict):
        raise ValueError(f"an object with {name!r} was expected")
    value: Any = document.get(name, absent)
    exact = type(value) is kind  # (a bool is an int for isinstance)
    if not exact:
        raise ValueError(f"{name!r} is not of type {kind.__name__}")
    # protobuf's widths: what does not fit into them cannot have been written by anyone.
    if kind is int and not 0 <= value < (2**32 if name in _FIXED32 else 2**63):
        raise ValueError(f"{name!r} is out of range")
    return value


def _listed(document: Any, name: str) -> list[Any]:
    value = _typed(document, name, list, []) if _has(document, name) else []
    assert isinstance(value, list)
    return value


def _has(document: Any, name: str) -> bool:
    return not isinstance(document, dict) or document.get(name) is not None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _damage(reason: str, log: str = "") -> DamageError:
    return DamageError(f"hints are not consistent: {reason}", _ATTEMPT, where=log)
