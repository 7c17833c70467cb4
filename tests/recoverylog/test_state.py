"""The saved state: what it is refused for. (That it goes on exactly is in test_model.py.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recfs.errors import DamageError
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.hints import FSMHints, decode
from recfs.recoverylog.namespace import Directory
from recfs.recoverylog.player import Player
from recfs.recoverylog.recorder import Recorder
from recfs.recoverylog.state import decode_state, encode_state

from .logs import AUTHOR, LOG, OTHER, Scribe, create, everything, mkdir, unlink, write


def saved() -> tuple[FSM, pb.FSMHints]:
    """/d (with /d/f, fnode 2), /l (3), /g (4) = /d/h, and their state."""
    fsm = FSM(LOG)
    recorder = Recorder(fsm, AUTHOR, lambda: 0)
    recorder.mkdir(b"/d", 0o755, 0, 0)
    recorder.create(b"/d/f", 0o644, 0, 0)
    recorder.symlink(b"/l", b"d", 0, 0)
    recorder.link(recorder.create(b"/g", 0o644, 0, 0)[1], b"/d/h")
    return fsm, pb.FSMHints.FromString(encode_state(fsm, offset=77))


def node(message: pb.FSMHints, path: bytes) -> pb.Node:
    [found] = [each for each in message.state.nodes if path in each.paths]
    return found


def bad_fnode(message: pb.FSMHints) -> None:
    node(message, b"/l").fnode = 99


def bad_twice(message: pb.FSMHints) -> None:
    node(message, b"/l").fnode = 4


def bad_position(message: pb.FSMHints) -> None:
    message.state.next_seq_no = 0


def bad_offset(message: pb.FSMHints) -> None:
    message.state.offset = -1


def bad_order(message: pb.FSMHints) -> None:
    nodes = list(message.state.nodes)
    del message.state.nodes[:]
    message.state.nodes.extend(reversed(nodes))


def bad_path(message: pb.FSMHints) -> None:
    node(message, b"/l").paths[0] = b"/d/../l"


def bad_collision(message: pb.FSMHints) -> None:
    node(message, b"/l").paths[0] = b"/d/f"


def bad_pathless(message: pb.FSMHints) -> None:
    del node(message, b"/l").paths[:]


def bad_directory_links(message: pb.FSMHints) -> None:
    node(message, b"/d").paths.append(b"/e")


def bad_directory_mode(message: pb.FSMHints) -> None:
    node(message, b"/d").mode = 0o100644


def bad_leaf_mode(message: pb.FSMHints) -> None:
    node(message, b"/l").mode = 0o40755


def bad_size(message: pb.FSMHints) -> None:
    node(message, b"/d/f").size = -1


def bad_segments(message: pb.FSMHints) -> None:
    del message.live_nodes[0]


def bad_nodes(message: pb.FSMHints) -> None:
    message.state.nodes.remove(node(message, b"/d/f"))


def bad_no_state(message: pb.FSMHints) -> None:
    message.ClearField("state")


def bad_segment_order(message: pb.FSMHints) -> None:
    message.live_nodes[0].fnode = 1


@pytest.mark.parametrize(
    "spoil",
    [
        bad_fnode,
        bad_twice,
        bad_position,
        bad_offset,
        bad_order,
        bad_path,
        bad_collision,
        bad_pathless,
        bad_directory_links,
        bad_directory_mode,
        bad_leaf_mode,
        bad_size,
        bad_segments,
        bad_nodes,
        bad_no_state,
        bad_segment_order,
    ],
)
def test_a_state_that_cannot_be_is_damage(spoil: Callable[[pb.FSMHints], None]) -> None:
    _, message = saved()
    decode_state(message.SerializeToString())
    spoil(message)
    with pytest.raises(DamageError) as caught:
        decode_state(message.SerializeToString())
    assert caught.value.attempt


def test_a_state_is_hints_too() -> None:
    fsm, message = saved()
    hints = decode(message.SerializeToString())
    assert hints == fsm.build_hints()
    hints.validate()
    assert isinstance(hints, FSMHints)


def test_an_implied_directory_stays_implied() -> None:
    fsm, scribe = FSM(LOG), Scribe()
    scribe.apply(fsm, **create(b"/a/b"))
    scribe.apply(fsm, **unlink(1, b"/a/b"))
    again, _ = decode_state(encode_state(fsm, offset=0))
    directory = again.namespace.resolve(b"/a")
    assert isinstance(directory, Directory)
    assert directory.implied
    assert everything(again)["tree"] == everything(fsm)["tree"]


def test_a_state_goes_on_from_an_earlier_offset_past_what_it_holds() -> None:
    """Its offset is a lower bound: what it holds already is stale when read again."""
    scribe = Scribe()
    scribe.write_down(**mkdir(b"/d"))
    early = len(scribe.log)
    scribe.write_down(**create(b"/d/f"))
    scribe.write_down(b"12345", **write(2, 0, 5))
    player = Player(FSM(LOG))
    list(player.feed(bytes(scribe.log)))
    fsm, offset = decode_state(encode_state(player.fsm, offset=early))
    scribe.write_down(b"67", **write(2, 5, 2))
    again = Player(fsm, offset=offset)
    list(again.feed(bytes(scribe.log[early:])))
    assert again.finish() == []
    assert again.fsm.next_checksum == scribe.checksum
    assert again.settled_offset == len(scribe.log)


def test_a_state_made_by_recording_then_playing_can_be_saved_again() -> None:
    """Offsets that recording does not know, before some that playing does."""
    fsm, message = saved()
    fsm, offset = decode_state(message.SerializeToString())
    scribe = Scribe(OTHER, seq_no=fsm.next_seq_no, checksum=fsm.next_checksum)
    scribe.write_down(**create(b"/new"))
    player = Player(fsm, offset=offset)
    list(player.feed(bytes(scribe.log)))
    again, _ = decode_state(encode_state(fsm, offset=player.offset))
    fsm.build_hints().validate()
    assert again.namespace.resolve(b"/new") is not None
