"""Player(Recorder(changes)) equals a model of the tree in plain dictionaries."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.recoverylog.state import decode_state, encode_state

from .logs import LOG, everything, tree_of
from .world import VERBS, Change, Disk, World

SOME = settings(max_examples=150, deadline=None, database=None)

change = st.tuples(
    st.sampled_from(VERBS),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.binary(max_size=32),
)

# The number first: of lists alone, hypothesis draws mostly short ones.
changes = st.integers(0, 60).flatmap(lambda n: st.lists(change, min_size=n, max_size=n))


@SOME
@given(changes, st.randoms(use_true_random=False), st.integers(1, 4096))
def test_a_replay_equals_the_model_for_any_split_and_any_duplicates(
    changes: list[Change], random: Random, piece: int
) -> None:
    world = World()
    for change in changes:
        world.do(change)
    appends = list(world.groups)
    for index in range(len(appends), 0, -1):  # an append that was retried lands again, later
        if random.random() < 0.2:
            appends.insert(index + random.randrange(len(appends) - index + 1), appends[index - 1])
    log = b"".join(appends)
    player, disk = Player(FSM(LOG)), Disk()
    for begin in range(0, len(log), piece):
        for event in player.feed(memoryview(log)[begin : begin + piece]):
            disk.apply(event)
    assert player.finish() == []
    assert player.settled
    assert disk.seen(player.fsm) == world.seen()
    assert tree_of(player.fsm) == tree_of(world.recorder.fsm)
    assert player.fsm.next_checksum == world.recorder.fsm.next_checksum
    assert player.fsm.last_author == (world.author if world.groups else 0)


@SOME
@given(changes, st.data())
def test_every_prefix_shows_a_state_between_two_changes(
    changes: list[Change], data: st.DataObject
) -> None:
    """Cut anywhere: what stands there is the model after the last whole group."""
    world = World()
    states = [world.seen()]
    for change in changes:
        before = len(world.groups)
        world.do(change)
        if len(world.groups) > before:
            states.append(world.seen())
    log = b"".join(world.groups)
    cut = data.draw(st.integers(0, len(log)))
    player, disk = Player(FSM(LOG)), Disk()
    for event in player.feed(log[:cut]):
        disk.apply(event)
    whole = 0
    while whole < len(world.groups) and sum(map(len, world.groups[: whole + 1])) <= cut:
        whole += 1
    assert disk.seen(player.fsm) == states[whole]
    assert player.settled_offset == sum(map(len, world.groups[:whole]))


@SOME
@given(changes, changes)
def test_a_state_goes_on_exactly_where_the_other_stopped(
    first: list[Change], second: list[Change]
) -> None:
    world = World()
    for change in first:
        world.do(change)
    saved = world.recorder.fsm
    offset = sum(map(len, world.groups))
    data = encode_state(saved, offset=offset)
    fsm, at = decode_state(data)
    assert at == offset
    assert encode_state(fsm, offset=offset) == data
    expected = everything(saved)
    expected["logs"] = (LOG, LOG)
    expected["chain"] = (*expected["chain"][:3], offset)
    assert everything(fsm) == expected

    count = len(world.groups)
    for change in second:
        if change[0] != "save and load":
            world.do(change)
    player = Player(fsm, offset=offset)
    list(player.feed(b"".join(world.groups[count:])))
    assert player.finish() == []
    assert tree_of(fsm) == tree_of(world.recorder.fsm)
    assert (fsm.next_seq_no, fsm.next_checksum) == (
        world.recorder.fsm.next_seq_no,
        world.recorder.fsm.next_checksum,
    )


@SOME
@given(changes)
def test_the_state_of_a_replay_has_hints_that_a_gazette_player_can_begin_from(
    changes: list[Change],
) -> None:
    """All its files are there, under the names that Gazette's operations gave them."""
    world = World(moves_names=False)
    for change in changes:
        world.do(change)
    log = b"".join(world.groups)
    player = Player(FSM(LOG))
    list(player.feed(log))
    for hints in (player.fsm.build_hints(), world.recorder.fsm.build_hints()):
        hints.validate()
        again = Player(FSM(LOG, hints))
        disk = Disk()
        for event in again.feed(log):
            disk.apply(event)
        assert not again.fsm.hinted
        shown = {path: node[2] for path, node in world.seen().items() if node[0] == "file"}
        assert {
            path: node[2] for path, node in disk.seen(again.fsm).items() if node[0] == "file"
        } == shown
