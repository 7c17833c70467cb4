"""What a mount says of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recfs.observe.status import Status
from recfs.observe.words import duration, moment, size

NOW = 1_795_248_000.0

SERVING = Status(
    volume="file:///srv/db1",
    mountpoint="/mnt/db",
    backing="/var/lib/recfs/db1",
    pid=4242,
    state="serving",
    author="1a2b3c4d",
    next_seq_no=4512,
    committed_offset=123_456_789,
    appends=1234,
    commit_p50_ms=0.31,
    commit_p99_ms=1.9,
    files=1012,
    open_handles=34,
    since=NOW - 7380,
)


def test_a_healthy_mount_says_so_in_the_first_line() -> None:
    text = SERVING.to_text(NOW)
    assert text.splitlines()[0] == "/mnt/db: serving"
    assert "everything is committed, up to offset 123,456,789" in text
    assert "half within 0.31 ms, 99 % within 1.90 ms" in text
    assert "pid 4242, since 2026-11-21 05:57:00 UTC (2 h 3 min)" in text


def test_a_journal_that_is_away_is_told_with_how_much_waits_and_how_long() -> None:
    status = replace(
        SERVING,
        backlog_bytes=12 << 20,
        retries=37,
        retrying_since=NOW - 130,
        last_error="No space left on device",
    )
    text = status.to_text(NOW)
    assert "12.0 MiB wait: the journal has taken nothing for 2 min 10 s (37 retries)" in text
    assert "No space left on device" in text


def test_a_fenced_mount_says_why_it_is_read_only() -> None:
    status = replace(SERVING, state="read-only", reason="another author took the volume over")
    first = status.to_text(NOW).splitlines()[0]
    assert first == "/mnt/db: read-only (another author took the volume over)"


def test_a_dead_mount_shows_nothing_that_nobody_knows() -> None:
    text = Status(
        volume="file:///srv/db1", mountpoint="/mnt/db", backing="/b", pid=7, state="dead"
    ).to_text(NOW)
    assert text.startswith("/mnt/db: dead (its daemon is gone without unmounting)")
    assert "committed" not in text


def test_json_round_trips_and_a_later_version_may_say_more() -> None:
    found = json.loads(json.dumps(SERVING.to_json()))
    assert Status.from_json(found) == SERVING
    assert Status.from_json({**found, "lag_seconds": 0.1}) == SERVING


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12 << 20, "12.0 MiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes_read_well(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.42, "0.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7380, "2 h 3 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_moments_are_in_utc() -> None:
    assert moment(0) == "1970-01-01 00:00:00 UTC"
