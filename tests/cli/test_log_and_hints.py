"""Reading a volume's journals with the real command: operations, damage, hints."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from recfs.clients import open_client
from recfs.errors import JournalNotFound, UsageError
from recfs.journal.model import JournalSpec
from recfs.recoverylog.framing import pack
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.recorder import Recorder
from recfs.recoverylog.recoverylog_pb2 import Mark
from recfs.recoverylog.state import encode_state
from recfs.volume import Volume, parse_volume

from .commands import RECFS, assert_fails, plain_environment, recfs

AT = 1_795_248_000_123_456_789


class Written:
    """A volume whose journals hold what a recorder made; `groups` are offsets of its groups."""

    def __init__(self, tmp_path: Path) -> None:
        self.volume = parse_volume(f"file://{tmp_path}/journal/db1")
        self.fsm = FSM(self.volume.log)
        self.recorder = Recorder(self.fsm, 0x2A, lambda: AT)
        self.content = bytearray()
        self.groups: list[int] = []

    def add(self, *parts: bytes) -> None:
        self.groups.append(len(self.content))
        self.content += b"".join(parts)

    def database(self) -> None:
        """An owner's mark, a directory, a file of 12 KiB under two names, and a rename."""
        self.add(self.recorder.mark(Mark.OWNER, "{}"))
        self.add(self.recorder.mkdir(b"/data", 0o700, 0, 0)[0])
        frame, file = self.recorder.create(b"/data/\xff\n", 0o600, 0, 0)
        self.add(frame)
        for number in range(3):
            data = bytes([65 + number]) * 4096
            self.add(self.recorder.write(file, number * 4096, data), data)
        self.add(self.recorder.rename(b"/data/\xff\n", b"/data/file"))
        self.add(self.recorder.mark(Mark.CLEAN, ""))

    def store(self, spec: JournalSpec | None = None) -> None:
        ends = [*self.groups[1:], len(self.content)]
        parts = [
            bytes(self.content[begin:end]) for begin, end in zip(self.groups, ends, strict=True)
        ]
        trio.run(append, self.volume, self.volume.log, [part for part in parts if part], spec)


async def append(
    volume: Volume, journal: str, parts: list[bytes], spec: JournalSpec | None = None
) -> None:
    client = open_client(volume)
    try:
        await client.create(journal, spec)
        for part in parts:
            await client.append(journal, [part])
    finally:
        await client.aclose()


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def lines_of(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    done = recfs(tmp_path, "log", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_log_is_told_in_words(tmp_path: Path, written: Written) -> None:
    written.database()
    written.store()
    done = recfs(tmp_path, "log", written.volume.url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 9  # a rename is a group of two
    offset, seq_no, author, at, words = lines[3].split(maxsplit=4)
    assert (int(offset), int(seq_no), author) == (written.groups[3], 4, "0000002a")
    assert at == "2026-11-21T08:00:00.123Z"
    assert words.startswith("write fnode 3 offset 0 length 4096")
    assert lines[6].endswith("…")
    assert not lines[7].endswith("…")


def test_the_log_as_json_has_one_operation_a_line(tmp_path: Path, written: Written) -> None:
    written.database()
    written.store()
    records = lines_of(tmp_path, written.volume.url)
    assert [record["seq_no"] for record in records] == list(range(1, 10))
    assert [record["offset"] for record in records][:7] == written.groups[:7]
    assert all(first["end"] == second["offset"] for first, second in pairwise(records))
    assert records[-1]["end"] == len(written.content)
    assert {record["outcome"] for record in records} == {"ok"}
    assert records[2]["operation"]["create"]["path"] == "/data/\udcff\n"
    assert records[4]["operation"]["write"]["offset"] == 4096


def test_a_listing_begins_and_ends_where_it_is_told(tmp_path: Path, written: Written) -> None:
    written.database()
    written.store()
    whole = lines_of(tmp_path, written.volume.url)
    assert lines_of(tmp_path, written.volume.url, "--limit", "2") == whole[:2]
    for number in (1, 4, 7):
        record = whole[number]
        found = lines_of(tmp_path, written.volume.url, "--offset", str(record["offset"]))
        assert [each["words" if "words" in each else "operation"] for each in found] == [
            each["operation"] for each in whole[number:]
        ]
        assert {each["outcome"] for each in found} <= {"ok", "fnode not tracked"}
    # In the middle of an operation: the rest of it is passed over, and the next one is found.
    garbage, *found = lines_of(
        tmp_path, written.volume.url, "--offset", str(written.groups[4] + 500), "--limit", "1"
    )
    assert (garbage["garbage"], garbage["end"]) == (True, written.groups[5])
    assert [record["offset"] for record in found] == [written.groups[5]]
    at_end = recfs(tmp_path, "log", written.volume.url, "--offset", str(len(written.content)))
    assert (at_end.returncode, at_end.stdout) == (0, "")
    behind = recfs(tmp_path, "log", written.volume.url, "--offset", "99999999")
    assert_fails(behind, 2, "behind the end of journal db1/log", "smaller --offset")


def test_a_listing_follows_what_is_appended(tmp_path: Path, written: Written) -> None:
    written.add(written.recorder.mark(Mark.OWNER, "{}"))
    written.store()
    following = subprocess.Popen(
        [RECFS, "log", written.volume.url, "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(tmp_path),
    )
    try:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["seq_no"] == 1
        more = written.recorder.mark(Mark.CHECKPOINT, "noon")
        trio.run(append, written.volume, written.volume.log, [more])
        assert json.loads(following.stdout.readline())["seq_no"] == 2
        following.send_signal(signal.SIGINT)
        assert following.communicate(timeout=20) == ("", "")
        assert following.returncode == 130
    finally:
        following.kill()
        following.communicate()


def flip_payload(written: Written) -> int:
    place = written.groups[5] - 1
    written.content[place] ^= 1
    return written.groups[4]


def flip_frame(written: Written) -> int:
    # A bit in the magic: the operation is lost, and the next one shows the gap.
    written.content[written.groups[4]] ^= 1
    return written.groups[5]


def cut_out(written: Written) -> int:
    del written.content[written.groups[4] : written.groups[5]]
    return written.groups[4]


@pytest.mark.parametrize("hurt", [flip_payload, flip_frame, cut_out])
def test_damage_is_told_with_its_place_and_the_listing_goes_on(
    tmp_path: Path, written: Written, hurt: Callable[[Written], int]
) -> None:
    written.database()
    place = hurt(written)
    written.store()
    done = recfs(tmp_path, "log", written.volume.url, "--json")
    assert done.returncode == 12
    assert f"offset {place} " in done.stderr.splitlines()[0]
    assert "Try: " in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    (damage,) = [record for record in records if "damage" in record]
    assert damage["offset"] == place
    assert records[-1]["operation"]["action"] == "mark"
    assert records[-1]["outcome"] == "ok"
    text = recfs(tmp_path, "log", written.volume.url)
    assert text.returncode == 12
    assert f"{place}  DAMAGE  " in text.stdout


def test_a_log_that_ends_in_an_operation_is_damaged(tmp_path: Path, written: Written) -> None:
    written.database()
    del written.content[-3:]
    written.store()
    done = recfs(tmp_path, "log", written.volume.url)
    assert done.returncode == 12
    assert f"{written.groups[-1]}  DAMAGE" in done.stdout
    assert len(done.stdout.splitlines()) == 9


def test_a_flipped_byte_in_a_fragment_file_is_found(tmp_path: Path, written: Written) -> None:
    written.database()
    written.store(JournalSpec(fragment_length=4096))
    fragments = [
        path
        for path in (tmp_path / "journal" / "db1" / "log").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    ]
    assert fragments
    content = bytearray(fragments[0].read_bytes())
    content[len(content) // 2] ^= 1
    fragments[0].write_bytes(content)
    done = recfs(tmp_path, "log", written.volume.url)
    assert done.returncode == 12
    assert fragments[0].name in done.stderr
    assert fragments[0].name in done.stdout
    assert " bytes that are gone\n" in done.stdout
    assert "mark kind" in done.stdout.splitlines()[-1]


def test_the_operations_of_a_stale_author_are_passed_over(tmp_path: Path, written: Written) -> None:
    written.add(written.recorder.mark(Mark.OWNER, "{}"))
    stale = Recorder(FSM(written.volume.log), 7, lambda: 0)
    written.add(stale.mark(Mark.HEARTBEAT, "stale"))
    written.add(written.recorder.mark(Mark.CLEAN, ""))
    written.store()
    done = recfs(tmp_path, "log", written.volume.url)
    assert done.returncode == 0
    assert [("passed over" in line) for line in done.stdout.splitlines()] == [False, True, False]


def test_a_volume_that_is_not_there_is_an_error(tmp_path: Path, written: Written) -> None:
    url = written.volume.url
    for verb in (["log", url], ["hints", url], ["restore", url, "-o", str(tmp_path / "out")]):
        done = recfs(tmp_path, *verb)
        assert_fails(done, JournalNotFound.exit_code, "", "URL")
    assert not (tmp_path / "journal").exists()
    assert not (tmp_path / "out").exists()


def test_a_service_without_a_client_says_so(tmp_path: Path) -> None:
    for url in ("http://h/db1", "s3://b/db1", "gazette://h/db1"):
        done = recfs(tmp_path, "log", url)
        assert_fails(done, 2, f"no client for {url.partition(':')[0]}:// volumes", "file://")
        with pytest.raises(UsageError):
            open_client(parse_volume(url))


def test_an_empty_volume_has_no_operations_and_no_hints(tmp_path: Path, written: Written) -> None:
    trio.run(append, written.volume, written.volume.log, [])
    trio.run(append, written.volume, written.volume.hints, [])
    assert recfs(tmp_path, "log", written.volume.url).stdout == ""
    assert "has no hints yet" in recfs(tmp_path, "hints", written.volume.url).stdout
    assert json.loads(recfs(tmp_path, "hints", written.volume.url, "--json").stdout) is None


@pytest.mark.parametrize("count", [1, 40])
def test_the_newest_hints_are_shown(tmp_path: Path, written: Written, count: int) -> None:
    written.database()
    written.recorder.committed(len(written.content))
    older = pack(encode_state(FSM(written.volume.log), offset=0))
    newest = pack(encode_state(written.fsm, offset=len(written.content)))
    spec = JournalSpec(fragment_length=65536)
    fill = [older] * count + [b"garbage" * 3000] * (count // 2)
    trio.run(partial(append, spec=spec), written.volume, written.volume.hints, [*fill, newest])
    found = json.loads(recfs(tmp_path, "hints", written.volume.url, "--json").stdout)
    assert found["log"] == written.volume.log
    assert found["offset"] == sum(map(len, fill))
    assert [node["fnode"] for node in found["live_nodes"]] == [3]
    assert found["state"]["offset"] == len(written.content)
    assert found["state"]["next_seq_no"] == 10
    assert found["state"]["author"] == "0000002a"
    text = recfs(tmp_path, "hints", written.volume.url).stdout
    assert "live files  1\n" in text
    assert "segments    1\n" in text


def test_hints_that_are_none_are_damage_and_no_reason_to_worry(
    tmp_path: Path, written: Written
) -> None:
    trio.run(append, written.volume, written.volume.hints, [b"garbage"])
    done = recfs(tmp_path, "hints", written.volume.url)
    assert_fails(done, 12, "no hints among them", "work without them")
