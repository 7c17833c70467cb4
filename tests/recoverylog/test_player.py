"""The Player: effects at group boundaries, what a log may hold besides, and what is damage."""

from __future__ import annotations

from typing import Any

import pytest

from recfs.errors import DamageError
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.describe import describe
from recfs.recoverylog.events import (
    Allocated,
    Data,
    Event,
    FileCreated,
    FileDropped,
    Garbage,
    Marked,
    Op,
    Truncated,
)
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.hints import FSMHints
from recfs.recoverylog.player import PAYLOAD_WHOLE_MAX, Player
from recfs.recoverylog.recorder import Recorder, handoff

from .logs import (
    AUTHOR,
    LOG,
    OTHER,
    Scribe,
    create,
    everything,
    link,
    links_of,
    tree_of,
    unlink,
    write,
)


def play(log: bytes, **options: Any) -> tuple[Player, list[Event]]:
    player = Player(FSM(LOG), **options)
    events = list(player.feed(log))
    return player, events


def contents(events: list[Event]) -> dict[int, bytes]:
    """The files that the effects leave, by fnode."""
    files: dict[int, bytearray] = {}
    for event in events:
        if isinstance(event, FileCreated):
            files[event.fnode] = bytearray()
        elif isinstance(event, Data):
            file = files[event.fnode]
            file.extend(bytes(max(0, event.offset - len(file))))
            file[event.offset : event.offset + len(event.data)] = event.data
        elif isinstance(event, FileDropped):
            del files[event.fnode]
    return {fnode: bytes(content) for fnode, content in files.items()}


def recorded(count: int = 3) -> tuple[bytes, FSM]:
    """A log of a file with `count` writes, by a Recorder."""
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: 0)
    log, file = recorder.create(b"/a", 0o600, 0, 0)
    for index in range(count):
        data = bytes([index + 1]) * 10
        log += recorder.write(file, index * 10, data) + data
    return log, recorder.fsm


# Effects.


def test_each_effect_is_told_in_order() -> None:
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: 0)
    log, file = recorder.create(b"/a", 0o600, 0, 0)
    log += recorder.write(file, 3, b"abc") + b"abc"
    log += recorder.truncate(file, 4)
    log += recorder.allocate(file, 1, 2, 3)
    mark_at = len(log)
    log += recorder.mark(pb.Mark.CHECKPOINT, "v1")
    log += recorder.link(file, b"/b")
    log += recorder.unlink(file, b"/a")
    log += recorder.unlink(file, b"/b")
    player, events = play(log)
    assert events == [
        FileCreated(1),
        Data(1, 3, memoryview(b"abc")),
        Truncated(1, 4),
        Allocated(1, 1, 2, 3),
        Marked(pb.Mark.CHECKPOINT, "v1", AUTHOR, 0, mark_at),
        FileDropped(1),
    ]
    assert player.finish() == []
    assert (player.offset, player.settled_offset, player.settled) == (len(log), len(log), True)


def test_the_end_of_a_symlink_is_no_effect_on_content() -> None:
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: 0)
    log, symlink = recorder.symlink(b"/l", b"x", 0, 0)
    _, events = play(log + recorder.unlink(symlink, b"/l"))
    assert events == []


def test_writes_may_be_out_of_order_with_holes_and_overwrite() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    scribe.write_down(b"world", **write(1, 10, 5))
    scribe.write_down(b"hello", **write(1, 2, 5))
    scribe.write_down(b"HE", **write(1, 2, 2))
    scribe.write_down(b"", **write(1, 4, 0))
    _, events = play(bytes(scribe.log))
    assert contents(events) == {1: b"\0\0HEllo\0\0\0world"}


def test_a_write_of_an_untracked_fnode_is_passed_over() -> None:
    scribe = Scribe()
    scribe.write_down(b"dead" * 10, **write(99, 0, 40))
    scribe.write_down(**create(b"/a"))
    scribe.write_down(bytes(PAYLOAD_WHOLE_MAX + 1), **write(99, 0, PAYLOAD_WHOLE_MAX + 1))
    player, events = play(bytes(scribe.log))
    assert events == [FileCreated(2)]
    assert player.settled_offset == len(scribe.log)


@pytest.mark.parametrize("size", [PAYLOAD_WHOLE_MAX, PAYLOAD_WHOLE_MAX + 1, 3 * PAYLOAD_WHOLE_MAX])
def test_large_payloads_arrive_whole_or_in_pieces(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    checked = pb.Write(fnode=1, length=size, content_crc32c=crc32c(data))
    scribe.write_down(data, write=checked)
    log = bytes(scribe.log)
    player = Player(FSM(LOG))
    events: list[Event] = []
    for begin in range(0, len(log), 100_000):
        events += player.feed(log[begin : begin + 100_000])
    assert contents(events) == {1: data}
    assert player.settled_offset == len(log)
    assert player.finish() == []


def test_a_damaged_large_payload_is_found_at_its_end() -> None:
    size = PAYLOAD_WHOLE_MAX + 1
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    at = len(scribe.log)
    scribe.write_down(bytes(size), write=pb.Write(fnode=1, length=size, content_crc32c=1))
    with pytest.raises(DamageError, match="/a") as caught:
        play(bytes(scribe.log))
    assert caught.value.offset == at


def test_the_newest_time_is_kept_and_given_with_marks() -> None:
    times = iter([500, 0, 0, 700, 0])
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: next(times))
    log, _ = recorder.create(b"/a", 0, 0, 0)
    log += recorder.mark(pb.Mark.HEARTBEAT, "1")
    log += recorder.mark(pb.Mark.HEARTBEAT, "2")
    log += recorder.mark(pb.Mark.HEARTBEAT, "3")
    player, events = play(log)
    assert [event.at for event in events if isinstance(event, Marked)] == [500, 500, 700]
    assert player.recorded_at == 700


# Groups.


def test_a_group_is_applied_with_its_last_operation() -> None:
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: 0)
    before, _ = recorder.create(b"/a", 0, 0, 0)
    before += recorder.create(b"/b", 0, 0, 0)[0]
    group = recorder.rename(b"/a", b"/b")
    player = Player(FSM(LOG))
    events = list(player.feed(before))
    settled = everything(player.fsm)
    for index in range(len(group) - 1):
        events += player.feed(group[index : index + 1])
        assert everything(player.fsm) == settled
        assert not player.settled
        assert player.settled_offset == len(before)
    assert events == [FileCreated(1), FileCreated(2)]
    assert list(player.feed(group[-1:])) == [FileDropped(2)]
    assert tree_of(player.fsm) == tree_of(recorder.fsm)
    assert player.settled
    assert player.settled_offset == len(before) + len(group)


def test_a_write_waits_for_its_payload() -> None:
    log, fsm = recorded(1)
    player, events = play(log[:-1])
    assert events == [FileCreated(1)]
    assert player.fsm.next_seq_no == 2
    assert list(player.feed(log[-1:])) == [Data(1, 0, memoryview(b"\1" * 10))]
    assert player.fsm.next_checksum == fsm.next_checksum


def test_a_write_ends_its_group_and_may_be_of_a_file_made_in_it() -> None:
    scribe = Scribe()
    scribe.write_down(more=True, **create(b"/a"))
    scribe.write_down(b"xy", more=True, write=pb.Write(fnode=1, length=2, content_crc32c=1))
    with pytest.raises(DamageError, match="checksum"):
        play(bytes(scribe.log))
    scribe = Scribe()
    scribe.write_down(more=True, **create(b"/a"))
    scribe.write_down(b"xy", more=True, **write(1, 0, 2))
    player, events = play(bytes(scribe.log))
    assert contents(events) == {1: b"xy"}
    assert player.settled


def test_an_endless_group_is_damage() -> None:
    scribe = Scribe()
    for _ in range(2000):
        scribe.write_down(more=True)
    with pytest.raises(DamageError, match="group"):
        play(bytes(scribe.log))


def test_a_group_that_was_never_finished_is_dropped_when_someone_goes_on_before_it() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    at = (scribe.seq_no, scribe.checksum)
    scribe.write_down(more=True, **link(1, b"/b"))
    later = Scribe(OTHER, seq_no=at[0], checksum=at[1])
    later.write_down(**link(1, b"/c"))
    player, _ = play(bytes(scribe.log + later.log))
    assert links_of(player.fsm) == {b"/a": 1, b"/c": 1}
    assert player.finish() == []


# What a log may hold besides.


def test_duplicated_appends_are_passed_over() -> None:
    log, fsm = recorded()
    player, events = play(log + log + log[:40])
    assert player.fsm.next_checksum == fsm.next_checksum
    assert contents(events) == {1: b"\1" * 10 + b"\2" * 10 + b"\3" * 10}


def test_garbage_between_operations_is_told_and_passed_over() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    begin = len(scribe.log)
    scribe.log += b"garbage and \x66\x33\x93\x36 more"
    end = len(scribe.log)
    scribe.write_down(b"hello", **write(1, 0, 5))
    player, events = play(b"\n leading" + bytes(scribe.log))
    assert Garbage(0, 9) in events
    assert Garbage(9 + begin, 9 + end) in events
    assert contents(events) == {1: b"hello"}
    assert player.finish() == []


def test_a_false_magic_at_the_end_hides_nothing() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    scribe.log += b"\x66\x33\x93\x36\x00\x00\x10\x00"  # announces 1 MiB
    scribe.write_down(**link(1, b"/b"))
    player, _ = play(bytes(scribe.log))
    assert links_of(player.fsm) == {b"/a": 1}
    assert [type(event) for event in player.finish()] == [Garbage]
    assert links_of(player.fsm) == {b"/a": 1, b"/b": 1}
    assert player.settled


def test_a_fenced_writers_later_operations_are_passed_over_with_their_payloads() -> None:
    old = Scribe()
    old.write_down(**create(b"/a"))
    new = Scribe(OTHER, seq_no=old.seq_no, checksum=old.checksum)
    new.write_down()
    new.write_down(b"new", **write(1, 0, 3))
    taken = bytes(old.log + new.log)
    old.log.clear()
    for index in range(5):
        old.write_down(b"old!", **write(1, index * 4, 4))
    player, events = play(taken + bytes(old.log))
    assert contents(events) == {1: b"new"}
    assert player.finish() == []


def test_a_lost_race_for_the_hand_off_is_passed_over() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    at = (scribe.seq_no, scribe.checksum)
    loser = Scribe(999, seq_no=at[0], checksum=at[1])
    scribe.write_down(b"x", **write(1, 0, 1))
    loser.write_down()
    again = Scribe(999, seq_no=scribe.seq_no, checksum=scribe.checksum)
    again.write_down()
    player = Player(FSM(LOG))
    player.watch.add(999)
    events = list(player.feed(bytes(scribe.log + loser.log + again.log)))
    assert [event.outcome for event in events if isinstance(event, Op)] == [
        Outcome.WRONG_SEQ_NO,
        Outcome.OK,
    ]
    assert player.fsm.last_author == 999


def test_the_hand_off_is_read_back() -> None:
    log, _ = recorded()
    player, _ = play(log)
    player.watch.add(OTHER)
    frame = handoff(player.fsm, OTHER, kind=pb.Mark.OWNER, text='{"volume": "v"}', at=9)
    marked, op = player.feed(frame)
    assert marked == Marked(pb.Mark.OWNER, '{"volume": "v"}', OTHER, 9, len(log))
    assert isinstance(op, Op)
    assert (op.outcome, op.first_offset, op.last_offset) == (Outcome.OK, len(log), player.offset)
    assert player.fsm.last_author == OTHER
    Recorder(player.fsm, OTHER, lambda: 0)


def test_tracing_tells_every_operation_with_its_extent() -> None:
    log, _ = recorded(2)
    _, events = play(log + log[:10], trace=True)
    ops = [event for event in events if isinstance(event, Op)]
    assert [describe(op.op).split(" content")[0] for op in ops] == [
        "create path /a mode 600 uid 0 gid 0",
        "write fnode 1 offset 0 length 10",
        "write fnode 1 offset 10 length 10",
    ]
    assert ops[0].first_offset == 0
    assert [op.last_offset for op in ops[:-1]] == [op.first_offset for op in ops[1:]]
    assert ops[-1].last_offset == len(log)


def test_a_newline_may_end_a_log() -> None:
    log, _ = recorded()
    player, _ = play(log + b"\n")
    assert player.finish() == []
    assert player.settled


def test_a_log_may_begin_at_a_lower_bound_of_the_hinted_offset() -> None:
    log, fsm = recorded()
    hints = FSM(LOG)
    player = Player(hints)
    list(player.feed(log))
    built = player.fsm.build_hints()
    assert built.live_nodes[0].segments[0].first_offset == 0
    prefix = Scribe(999, seq_no=50, checksum=1)
    prefix.write_down(b"zzz", **write(1, 0, 3))
    again = Player(FSM(LOG, FSMHints(LOG, built.live_nodes)))
    events = list(again.feed(bytes(prefix.log) + log))
    assert contents(events) == {1: b"\1" * 10 + b"\2" * 10 + b"\3" * 10}
    assert again.fsm.next_checksum == fsm.next_checksum
    assert not again.fsm.hinted


def test_the_player_can_jump_over_what_hints_leave_out() -> None:
    scribe = Scribe()
    first = len(scribe.write_down(**create(b"/dead")))
    scribe.write_down(bytes(5000), **write(1, 0, 5000))
    scribe.write_down(**unlink(1, b"/dead"))
    begin = len(scribe.log)
    scribe.write_down(**create(b"/a"))
    scribe.write_down(b"x", **write(4, 0, 1))
    log = bytes(scribe.log)
    whole, _ = play(log)
    player = Player(FSM(LOG, whole.fsm.build_hints()))
    assert list(player.feed(log[:first])) == []
    player.jump(player.fsm.hinted[0].first_offset)
    assert player.offset == begin
    assert contents(list(player.feed(log[begin:]))) == {4: b"x"}
    assert links_of(player.fsm) == {b"/a": 4}


# Damage.


def damage(log: bytes) -> DamageError:
    player = Player(FSM(LOG))
    with pytest.raises(DamageError) as caught:
        list(player.feed(log))
    assert caught.value.where == LOG
    assert caught.value.attempt
    assert LOG in caught.value.what
    with pytest.raises(DamageError):  # it stays
        list(player.feed(b""))
    with pytest.raises(DamageError):
        player.finish()
    return caught.value


def damage_at_end(log: bytes) -> DamageError:
    player, _ = play(log)
    with pytest.raises(DamageError) as caught:
        player.finish()
    assert caught.value.where == LOG
    assert caught.value.attempt
    return caught.value


def test_a_gap_is_damage_and_names_the_garbage_before_it() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    begin = len(scribe.log)
    scribe.write_down(**link(1, b"/b"))
    end = len(scribe.log)
    scribe.write_down(**link(1, b"/c"))
    log = bytearray(scribe.log)
    log[begin] ^= 1  # the magic of the second
    found = damage(bytes(log))
    assert found.offset == end
    assert f"{begin} to {end}" in found.what


def test_a_log_without_its_beginning_is_damage() -> None:
    log, _ = recorded()
    frame = log.index(b"\x66\x33\x93\x36", 1)
    assert damage(log[frame:]).offset == 0


def test_a_flipped_bit_in_a_body_is_found_with_the_next_operation() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    scribe.write_down(**create(b"/b"))
    end = len(scribe.log)
    scribe.write_down(**create(b"/c"))
    log = bytearray(scribe.log)
    log[end - 1] ^= 1  # the path of the second
    found = damage(bytes(log))
    assert (found.offset, "chain" in found.what) == (end, True)


def test_a_flipped_bit_in_a_payload_is_found_and_names_the_file() -> None:
    log, _ = recorded()
    at = log.index(b"\x66\x33\x93\x36", log.index(b"\1" * 10))
    flipped = log.replace(b"\2" * 10, b"\2" * 9 + b"\3")
    found = damage(flipped)
    assert (found.offset, "/a" in found.what) == (at, True)


def test_effects_before_the_damage_are_told_and_the_state_stands_there() -> None:
    log, _ = recorded()
    player = Player(FSM(LOG))
    events: list[Event] = []
    with pytest.raises(DamageError):
        events.extend(player.feed(log.replace(b"\3" * 10, b"\4" * 10)))
    assert contents(events) == {1: b"\1" * 10 + b"\2" * 10}
    assert player.fsm.next_seq_no == 4


def test_an_operation_that_cannot_be_is_damage() -> None:
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    at = len(scribe.log)
    scribe.write_down(**create(b"/a"))
    found = damage(bytes(scribe.log))
    assert (found.offset, "path exists" in found.what) == (at, True)


def test_a_log_that_ends_within_an_operation_is_damage() -> None:
    log, _ = recorded()
    last = log.rindex(b"\x66\x33\x93\x36")
    for cut in range(last + 1, len(log)):
        assert damage_at_end(log[:cut]).offset == last


def test_a_log_that_ends_within_a_group_is_damage() -> None:
    recorder = Recorder(FSM(LOG), AUTHOR, lambda: 0)
    log, _ = recorder.create(b"/a", 0, 0, 0)
    begin = len(log)
    log += recorder.rename(b"/a", b"/b")
    cut = log.rindex(b"\x66\x33\x93\x36")
    assert damage_at_end(log[:cut]).offset == begin


def test_a_log_that_ends_in_garbage_is_damage() -> None:
    log, _ = recorded()
    assert damage_at_end(log + b"garbage").offset == len(log)


def test_garbage_that_only_stale_operations_follow_is_damage() -> None:
    log, _ = recorded()
    assert damage_at_end(log + b"garbage, then a duplicate" + log).offset == len(log)


def test_a_lost_hand_off_is_damage() -> None:
    """Whoever took over wrote on, but what they took over with is not readable as theirs."""
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    new = Scribe(OTHER, seq_no=scribe.seq_no, checksum=scribe.checksum)
    new.write_down()
    handoff_length = len(new.log)
    new.write_down(b"lost", **write(1, 0, 4))
    log = bytes(scribe.log) + bytes(new.log[handoff_length:])
    found = damage_at_end(log)
    assert (found.offset, "hand-off" in found.what) == (len(scribe.log), True)


def test_finishing_in_good_order_lets_the_log_go_on() -> None:
    log, fsm = recorded()
    cut = log.rindex(b"\x66\x33\x93\x36")
    player, _ = play(log[:cut])
    assert player.finish() == []
    list(player.feed(log[cut:]))
    assert player.finish() == []
    assert player.fsm.next_checksum == fsm.next_checksum


def test_a_listing_goes_on_behind_damage() -> None:
    log, _ = recorded(5)
    flipped = log.replace(b"\2" * 10, b"\7" * 10)
    player = Player(FSM(LOG), trace=True)
    offsets, damages = [], 0
    pending = flipped
    while True:
        try:
            for event in player.feed(pending):
                if isinstance(event, Op):
                    offsets.append(event.op.write.offset)
            break
        except DamageError:
            damages += 1
            player.skip_damage()
            pending = b""
    assert damages == 1
    assert offsets == [0, 0, 20, 30, 40]  # the create, then all writes but the damaged one


def test_a_listing_goes_on_behind_a_gap() -> None:
    log, _ = recorded(5)
    frames = [at for at in range(len(log)) if log.startswith(b"\x66\x33\x93\x36", at)]
    player = Player(FSM(LOG), trace=True)
    list(player.feed(log[: frames[2]]))
    with pytest.raises(DamageError):
        list(player.feed(log[frames[3] :]))
    player.skip_damage()
    assert [event.op.seq_no for event in player.feed(b"") if isinstance(event, Op)] == [5, 6]
    assert player.finish() == []


def test_a_jump_forgets_what_was_incomplete_and_the_chain_tells_what_is_missing() -> None:
    log, _ = recorded(3)
    frames = [at for at in range(len(log)) if log.startswith(b"\x66\x33\x93\x36", at)]
    player, _ = play(log[: frames[2] - 1])
    player.jump(frames[3])
    assert player.offset == frames[3]
    with pytest.raises(DamageError, match="is number 4 where 2 is next"):
        list(player.feed(log[frames[3] :]))


def test_a_jump_within_a_payload_that_had_effects_is_damage() -> None:
    size = 2 * PAYLOAD_WHOLE_MAX
    scribe = Scribe()
    scribe.write_down(**create(b"/a"))
    scribe.write_down(bytes(size), **write(1, 0, size))
    player, _ = play(bytes(scribe.log[:-10]))
    with pytest.raises(DamageError, match="cut off"):
        player.jump(10 * size)


def test_a_stale_write_that_the_log_cuts_off_is_damage_at_the_end() -> None:
    log, _ = recorded()
    assert damage_at_end(log + log[:-3]).offset == len(log) + log.rindex(b"\x66\x33\x93\x36")
