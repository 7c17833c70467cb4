"""Who is taken for a live writer: the process table on this host, the last mark's age elsewhere."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from recfs.errors import LiveWriterError, UsageError
from recfs.observe.registry import start_ticks
from recfs.recoverylog.events import Marked
from recfs.recoverylog.recoverylog_pb2 import Mark
from recfs.restore.owner import FORMAT, Owner, Ownership, here

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


def after(*events: Marked) -> Ownership:
    ownership = Ownership()
    for event in events:
        ownership.note(event)
    return ownership


def mark(kind: int, owner: Owner | None, at: int = NOW) -> Marked:
    return Marked(kind, owner.to_text() if owner else "", 7, at, 0)


@pytest.fixture
def me() -> Owner:
    return here("volume", 0xABCDEF, 5.0)


@pytest.fixture
def elsewhere(me: Owner) -> Owner:
    return replace(me, host="other", boot="another kernel", pid=4242)


def test_a_writer_on_another_host_lives_while_its_marks_are_young(
    me: Owner, elsewhere: Owner
) -> None:
    ownership = after(mark(Mark.OWNER, elsewhere))
    assert "host other, pid 4242" in ownership.live_writer(me, NOW + 14 * SECOND)
    assert ownership.live_writer(me, NOW + 16 * SECOND) == ""
    beating = after(mark(Mark.OWNER, elsewhere), mark(Mark.HEARTBEAT, elsewhere, NOW + 10 * SECOND))
    assert beating.live_writer(me, NOW + 20 * SECOND)


def test_a_clean_unmount_ends_the_writer_at_once(me: Owner, elsewhere: Owner) -> None:
    ownership = after(mark(Mark.OWNER, elsewhere), mark(Mark.CLEAN, None))
    assert ownership.live_writer(me, NOW) == ""
    again = after(mark(Mark.OWNER, elsewhere), mark(Mark.CLEAN, None), mark(Mark.OWNER, elsewhere))
    assert again.live_writer(me, NOW)


def test_a_writer_on_this_host_lives_exactly_as_long_as_its_process(me: Owner) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        start = start_ticks(child.pid)
        assert start is not None
        owner = replace(me, pid=child.pid, process_start=start)
        a_day_later = NOW + 86400 * SECOND  # a stopped process beats no heart, and is not dead
        assert after(mark(Mark.OWNER, owner)).live_writer(me, a_day_later)
        recycled = replace(owner, process_start=start + 1)  # the pid is another process's now
        assert after(mark(Mark.OWNER, recycled)).live_writer(me, NOW) == ""
    finally:
        child.kill()
        child.wait()
    assert after(mark(Mark.OWNER, owner)).live_writer(me, NOW) == ""


def test_a_process_does_not_take_itself_for_another(me: Owner) -> None:
    assert me.pid == os.getpid()
    assert after(mark(Mark.OWNER, me)).live_writer(me, NOW) == ""


def test_the_refusal_names_the_writer(me: Owner, elsewhere: Owner) -> None:
    with pytest.raises(LiveWriterError, match="live writer: host other, pid 4242") as caught:
        after(mark(Mark.OWNER, elsewhere)).refuse_live_writer("db1/log", me, NOW)
    assert caught.value.exit_code == 14
    assert "--take-over" in caught.value.attempt


def test_the_mark_of_a_newer_format_is_refused(me: Owner) -> None:
    newer = replace(me, format=FORMAT + 1)
    with pytest.raises(UsageError, match="newer recfs"):
        Owner.from_text(newer.to_text())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', '{"format": "x"}'])
def test_a_mark_that_is_no_owner_is_passed_over(text: str) -> None:
    assert Owner.from_text(text) is None


def test_an_owner_survives_the_log_with_fields_of_later_versions(me: Owner) -> None:
    text = me.to_text().replace("{", '{"a_later_field": 1, ', 1)
    assert Owner.from_text(text) == me
