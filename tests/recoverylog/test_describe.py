"""Operations in words and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.describe import describe, to_json


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({}, "no-op"),
        (
            {"write": pb.Write(fnode=7, offset=8192, length=8192)},
            "write fnode 7 offset 8192 length 8192",
        ),
        ({"write": pb.Write(fnode=7, length=1)}, "write fnode 7 offset 0 length 1"),
        (
            {"write": pb.Write(fnode=7, length=1, content_crc32c=0xABC)},
            "write fnode 7 offset 0 length 1 content_crc32c 00000abc",
        ),
        ({"create": pb.Create(path=b"/a")}, "create path /a"),
        (
            {"create": pb.Create(path=b"/a", mode=0o644, uid=0, gid=0)},
            "create path /a mode 644 uid 0 gid 0",
        ),
        ({"create": pb.Create(path="/größe".encode())}, "create path /größe"),
        ({"create": pb.Create(path=b"/\xff")}, "create path /\\xff"),
        ({"create": pb.Create(path=b"/a b")}, "create path '/a b'"),
        ({"create": pb.Create(path=b"/a\nb")}, "create path '/a\\nb'"),
        ({"truncate": pb.Truncate(fnode=7)}, "truncate fnode 7 size 0"),
        ({"rename": pb.Rename(source=b"/a", target=b"/b")}, "rename source /a target /b"),
        ({"set_attr": pb.SetAttr(path=b"/", uid=0)}, "set_attr path / uid 0"),
        ({"mark": pb.Mark(kind=pb.Mark.OWNER, text="{}")}, "mark kind owner text {}"),
        ({"mark": {"kind": 99, "text": "a\nb"}}, "mark kind 99 text 'a\\nb'"),
    ],
)
def test_an_operation_is_one_line_of_words(action: dict[str, Any], words: str) -> None:
    assert describe(pb.RecordedOp(**action)) == words


def test_json_has_the_chain_and_the_fields_and_is_plain() -> None:
    op = pb.RecordedOp(
        seq_no=5,
        checksum=6,
        author=7,
        create=pb.Create(path=b"/\xff", mode=0o644),
        recorded_at=8,
        more=True,
    )
    document = to_json(op)
    assert document == {
        "seq_no": 5,
        "checksum": 6,
        "author": 7,
        "action": "create",
        "recorded_at": 8,
        "more": True,
        "create": {"path": "/\udcff", "mode": 0o644},
    }
    path = json.loads(json.dumps(document))["create"]["path"]
    assert path.encode("utf-8", "surrogateescape") == b"/\xff"


def test_json_of_a_mark_names_its_kind() -> None:
    op = pb.RecordedOp(seq_no=1, author=1, mark=pb.Mark(kind=pb.Mark.CLEAN))
    assert to_json(op)["mark"] == {"kind": "clean"}
