"""Bad bytes never crash: whatever stands in a log, hints or a state, only RecfsErrors come out."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.errors import DamageError
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.describe import describe, to_json
from recfs.recoverylog.events import Op
from recfs.recoverylog.framing import MAGIC, pack
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.hints import FnodeSegments, FSMHints
from recfs.recoverylog.player import Player
from recfs.recoverylog.segment import Segment
from recfs.recoverylog.state import decode_state, encode_state

from .logs import AUTHOR, LOG, everything
from .world import NAMES, VERBS, World

SOME = settings(max_examples=200, deadline=None, database=None)


@cache
def recorded_world() -> tuple[bytes, bytes]:
    """A log with every kind of operation, and the state at its end."""
    world = World()
    for round_ in range(3):
        for index, verb in enumerate(VERBS):
            if verb not in ("exchange", "save and load"):
                world.do((verb, round_ + index, index, round_ * index, b"x" * (index + 5)))
    log = b"".join(world.groups)
    return log, encode_state(world.recorder.fsm, offset=len(log))


def play(log: bytes, piece: int, hints: FSMHints | None = None) -> None:
    """Play, and go on behind each damage as a listing does."""
    player = Player(FSM(LOG, hints), trace=True)
    pieces = [log[begin : begin + piece] for begin in range(0, len(log), piece)]
    for data in pieces:
        feeding = data
        while True:
            try:
                for event in player.feed(feeding):
                    if isinstance(event, Op):
                        assert describe(event.op).isprintable()
                        to_json(event.op)
                break
            except DamageError as error:
                offset = error.offset
                feeding = b""
                player.skip_damage()
                assert offset <= player.offset
    with suppress(DamageError):
        player.finish()


mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "magic", "double", "swap"]),
        st.integers(0, 2**20),
        st.integers(0, 2**20),
        st.binary(max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, a, b, extra in changes:
        begin, end = sorted((a % (len(data) + 1), b % (len(data) + 1)))
        if kind == "flip" and begin < len(data):
            data = data[:begin] + bytes([data[begin] ^ (1 << b % 8)]) + data[begin + 1 :]
        elif kind == "cut":
            data = data[:begin] + data[min(end, begin + 200) :]
        elif kind == "insert":
            data = data[:begin] + extra + data[begin:]
        elif kind == "magic":
            data = data[:begin] + MAGIC + extra + data[begin:]
        elif kind == "double":
            data = data[:end] + data[begin:end] + data[end:]
        elif kind == "swap":
            middle = (begin + end) // 2
            data = data[:begin] + data[middle:end] + data[begin:middle] + data[end:]
    return data


@SOME
@given(st.binary(max_size=300), st.integers(1, 50))
def test_arbitrary_bytes_never_crash_the_player(data: bytes, piece: int) -> None:
    play(data, piece)


@SOME
@given(mutations, st.integers(1, 3000))
def test_a_mutated_log_never_crashes_the_player(
    changes: list[tuple[str, int, int, bytes]], piece: int
) -> None:
    play(mutate(recorded_world()[0], changes), piece)


@SOME
@given(mutations)
def test_a_mutated_state_is_damage_or_a_state_that_can_be_saved_again(
    changes: list[tuple[str, int, int, bytes]],
) -> None:
    with suppress(DamageError):
        fsm, offset = decode_state(mutate(recorded_world()[1], changes))
        again, _ = decode_state(encode_state(fsm, offset=offset))
        assert everything(again)["tree"] == everything(fsm)["tree"]


@SOME
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_state(data: bytes) -> None:
    with suppress(DamageError):
        decode_state(data)


paths = st.one_of(
    st.lists(st.sampled_from(NAMES), max_size=3).map(lambda names: b"/" + b"/".join(names)),
    st.binary(max_size=6),
    st.sampled_from([b"/", b"", b"//", b"/.", b"/a/../b", b"/a\0", b"/" + b"x" * 256]),
)
fnodes = st.one_of(st.integers(0, 12), st.integers(-(2**63), 2**63 - 1))
sizes = st.one_of(st.integers(-2, 100), st.integers(-(2**63), 2**63 - 1))
words = st.one_of(st.none(), st.integers(0, 2**32 - 1), st.sampled_from([0o100644, 0o10644]))
times = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))


def build(message: Any, /, **fields: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(fields).map(lambda given: message(**given))


actions = st.one_of(
    st.fixed_dictionaries({}),
    *(
        st.fixed_dictionaries({name: message})
        for name, message in {
            "create": build(pb.Create, path=paths, mode=words, uid=words),
            "link": build(pb.Link, fnode=fnodes, path=paths),
            "unlink": build(pb.Link, fnode=fnodes, path=paths),
            "write": build(pb.Write, fnode=fnodes, offset=sizes, length=sizes),
            "property": build(pb.Property, path=paths, content=st.binary(max_size=3)),
            "mkdir": build(pb.Mkdir, path=paths, mode=words),
            "rmdir": build(pb.Rmdir, path=paths),
            "symlink": build(pb.Symlink, path=paths, target=st.binary(max_size=3)),
            "mknod": build(pb.Mknod, path=paths, mode=words, rdev=st.integers(0, 2**64 - 1)),
            "rename": build(pb.Rename, source=paths, target=paths, exchange=st.booleans()),
            "truncate": build(pb.Truncate, fnode=fnodes, size=sizes),
            "set_attr": build(
                pb.SetAttr, path=paths, fnode=fnodes, mode=words, gid=words, mtime_ns=times
            ),
            "set_xattr": build(pb.SetXattr, path=paths, fnode=fnodes, name=st.binary(max_size=3)),
            "remove_xattr": build(
                pb.RemoveXattr, path=paths, fnode=fnodes, name=st.binary(max_size=3)
            ),
            "allocate": build(
                pb.Allocate, fnode=fnodes, offset=sizes, length=sizes, mode=st.integers(-1, 80)
            ),
            "mark": build(pb.Mark, kind=st.integers(0, 9), text=st.text(max_size=20)),
        }.items()
    ),
)

hint_sets = st.one_of(
    st.none(),
    st.just(FSMHints(LOG, [FnodeSegments(1, [Segment(AUTHOR, 1, 0, 0, 5, 0)])])),
    st.just(
        FSMHints(
            LOG,
            [
                FnodeSegments(1, [Segment(AUTHOR, 1, 0, 0, 3, 0)]),
                FnodeSegments(2, [Segment(AUTHOR, 2, 0, 7, 2, 0)]),
            ],
        )
    ),
)


@SOME
@given(st.lists(st.tuples(actions, st.booleans()), max_size=25), hint_sets)
def test_operations_in_sequence_but_without_sense_never_crash_and_move_all_or_nothing(
    chosen: list[tuple[dict[str, Any], bool]], hints: FSMHints | None
) -> None:
    fsm = FSM(LOG, hints)
    log = b""
    for action, more in chosen:
        op = pb.RecordedOp(
            seq_no=fsm.next_seq_no,
            checksum=fsm.next_checksum,
            author=AUTHOR,
            more=more,
            **action,
        )
        body = op.SerializeToString()
        log += pack(body) + bytes(min(100, max(0, op.write.length)))
        before = everything(fsm)
        outcome = fsm.apply(op, body, first_offset=0, last_offset=0)
        if outcome in (Outcome.OK, Outcome.FNODE_NOT_TRACKED):
            assert fsm.next_checksum != before["chain"][1] or crc32c(body) == 0
        else:
            assert everything(fsm) == before
        if not fsm.hinted:
            again, _ = decode_state(encode_state(fsm, offset=0))
            assert everything(again)["tree"] == everything(fsm)["tree"]
    play(log, 64, hints)
