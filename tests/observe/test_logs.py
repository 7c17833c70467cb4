"""Log lines and progress."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from recfs.errors import UsageError
from recfs.observe import logs
from recfs.observe.progress import BarProgress, LineProgress, Progress, SilentProgress


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("recfs")
    before = root.handlers[:], root.level, own.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])
    logging.raiseExceptions = before[3]


def test_a_text_line_has_time_level_event_and_fields() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream=stream)
    logs.logger("recfs.node").info("mount serves", volume="file:///srv/db1", path="/mnt/my db", n=3)
    when, _, rest = stream.getvalue().partition(" ")
    assert when.endswith("Z")
    assert len(when) == len("2026-11-21T07:55:28.123Z")
    assert rest == 'info    mount serves  volume=file:///srv/db1 path="/mnt/my db" n=3\n'


def test_a_value_never_forges_a_second_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream=stream)
    logs.logger("recfs.x").info("a\nb", name="c\nd", quote='"', empty="", pair="a=b", raw="\udcff")
    assert stream.getvalue().count("\n") == 1
    assert r'"a\nb"  name="c\nd" quote="\"" empty="" pair="a=b" raw="\udcff"' in stream.getvalue()


def test_a_json_line_is_an_object() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    logs.logger("recfs.node").warning("retrying", path=Path("/x"), name="y", module="z")
    found = json.loads(stream.getvalue())
    assert list(found)[:4] == ["time", "level", "event", "logger"]
    assert found["level"] == "warning"
    assert found["logger"] == "recfs.node"
    assert (found["event"], found["path"], found["name"], found["module"]) == (
        "retrying",
        "/x",
        "y",
        "z",
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_standard_library_s_loggers_look_the_same(form: str) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream=stream)
    logging.getLogger("recfs.journal.appender").warning("retry %d", 3, extra={"journal": "db1/log"})
    assert "retry 3" in stream.getvalue()
    assert "db1/log" in stream.getvalue()


def test_levels_hold_for_recfs_and_other_libraries_are_heard_from_warning_up() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    logs.logger("recfs.x").debug("unheard")
    logging.getLogger("httpx").info("unheard")
    logging.getLogger("httpx").warning("heard")
    assert "unheard" not in stream.getvalue()
    assert "heard" in stream.getvalue()
    logs.configure("debug", stream=stream)
    logs.logger("recfs.x").debug("fine")
    logging.getLogger("httpx").info("chatter")
    assert "fine" in stream.getvalue()
    assert "chatter" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept(form: str) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream=stream)
    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError:
        logs.logger("recfs.x").exception("a bug")
    assert "ZeroDivisionError: by nought" in stream.getvalue()
    assert "a bug" in stream.getvalue()


def test_a_log_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES_MAX", 1000)
    logs.configure("info", file=tmp_path / "recfs.log")
    for number in range(100):
        logs.logger("recfs.x").info("line", number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["recfs.log", "recfs.log.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert "number=99" in files[0].read_text()
    with pytest.raises(UsageError, match="No such file"):
        logs.configure("info", file=tmp_path / "missing" / "recfs.log")


def test_a_stream_that_is_closed_does_not_disturb() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    stream.close()
    logs.logger("recfs.x").info("nobody reads")


def test_progress_lines_come_at_intervals_and_tell_rate_and_rest() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    now = 0.0
    progress: Progress = LineProgress(seconds=5, clock=lambda: now)
    progress.start("restoring", 100 << 20)
    for _ in range(10):
        now += 1
        progress.advance(5 << 20)
    progress.finish()
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines == [
        'info    restoring  of="100 MiB"',
        'info    restoring  done="25.0 MiB" rate="5.0 MiB/s" percent=25 left="15 s"',
        'info    restoring  done="50.0 MiB" rate="5.0 MiB/s" percent=50 left="10 s"',
        'info    restoring: done  size="50.0 MiB" took="10 s"',
    ]


def test_progress_without_a_total_tells_what_is_done() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    now = 0.0
    progress = LineProgress(seconds=5, clock=lambda: now)
    progress.start("importing", None)
    now = 6
    progress.advance(6 << 20)
    assert stream.getvalue().endswith('importing  done="6.0 MiB" rate="1.0 MiB/s"\n')


def test_a_bar_draws_phases_and_gives_the_terminal_back() -> None:
    stream = io.StringIO()
    with BarProgress(stream) as progress:
        for label, total in (("restoring", 100), ("publishing", None)):
            progress.start(label, total)
            progress.advance(50)
            progress.finish()
        progress.start("left unfinished", 10)
    assert stream.getvalue().count("restoring") == 1
    assert "publishing" in stream.getvalue()


def test_silence_is_an_option() -> None:
    progress: Progress = SilentProgress()
    progress.start("restoring", 1)
    progress.advance(1)
    progress.finish()
