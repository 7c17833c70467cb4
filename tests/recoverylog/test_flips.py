"""Each bit of a log is flipped once: the Player refuses what is left, or it means the same."""

from __future__ import annotations

from recfs.errors import DamageError
from recfs.recoverylog.events import Data
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.namespace import File
from recfs.recoverylog.player import Player
from recfs.recoverylog.recorder import Recorder, handoff
from recfs.recoverylog.recoverylog_pb2 import Mark

MOMENT = 1_700_000_000 * 10**9


def play(log: bytes) -> tuple[FSM, dict[int, bytearray]]:
    """The state at the end of `log`, and the content of its files by fnode."""
    fsm = FSM("log")
    player = Player(fsm)
    content: dict[int, bytearray] = {}
    for event in [*player.feed(log), *player.finish()]:
        if isinstance(event, Data):
            held = content.setdefault(event.fnode, bytearray())
            held.extend(bytes(max(0, event.offset - len(held))))
            held[event.offset : event.offset + len(event.data)] = event.data
    return fsm, content


def tree(log: bytes) -> list[tuple[object, ...]]:
    fsm, content = play(log)
    return [
        (
            *(path, type(node).__name__, node.mode, node.uid, node.gid, node.mtime_ns),
            (node.size, bytes(content.get(node.id, b""))) if isinstance(node, File) else None,
        )
        for path, node in fsm.namespace.walk_tree()
    ]


def recorded() -> bytes:
    """A log of two recorders, the second of which took over."""
    log = bytearray()
    for author, names in ((0x11223344, "ab"), (0x55667788, "cde")):
        fsm, _ = play(bytes(log))
        log += handoff(fsm, author, kind=Mark.OWNER, text="owner", at=MOMENT)
        fsm, _ = play(bytes(log))
        recorder = Recorder(fsm, author, lambda: MOMENT)
        for name in names:
            frames, file = recorder.create(b"/" + name.encode(), 0o644, 0, 0)
            payload = b"content of " + name.encode()
            log += frames + recorder.write(file, 0, payload) + payload
            log += recorder.set_attr(file, mtime_ns=MOMENT)
        log += recorder.mark(Mark.CLEAN, "")
    return bytes(log)


def test_no_flipped_bit_changes_what_a_log_means_without_being_refused() -> None:
    log = recorded()
    whole = tree(log)
    assert len(whole) == 5
    refused = 0
    for bit in range(len(log) * 8):
        flipped = bytearray(log)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert tree(bytes(flipped)) == whole, f"bit {bit % 8} of byte {bit // 8}"
        except DamageError:
            refused += 1
    assert refused > 7 * len(log)  # and hardly any is harmless: the last mark's, a time's
