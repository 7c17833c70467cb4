"""Damage in a volume, wherever it is, is found and named; nothing is built of it; and what was
interrupted is either finished by the next mount or refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recfs.recoverylog.events import Op
from recfs.testing.databases.mounted import DaemonError, run_recfs

from .calls import assert_fails, call
from .logs import append_log, operations, read_log
from .volumes import Host, check_restores_to_backing, describe_tree


def write_synced(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass
class Recorded:
    """A volume that nobody serves, in a place of its own: its log in fragments and one spool."""

    place: Path

    @property
    def url(self) -> str:
        return f"file://{self.place}/journal/vol1"

    @property
    def fragments(self) -> list[Path]:
        return sorted((self.place / "journal" / "vol1" / "log").iterdir())

    @property
    def spool(self) -> Path:
        (spool,) = (self.place / "journal" / ".broker" / "vol1" / "log").glob("@spool-*")
        return spool

    def check_refused(self, *what: str) -> int:
        """Nothing is built of the damage by any way; the offset that the message names."""
        done = call("restore", self.url, "-o", self.place / "out")
        assert_fails(done, 12, *what)
        assert not [path for path in self.place.iterdir() if "out" in path.name]
        place = done.stderr.splitlines()[-2]
        (self.place / "mnt").mkdir(exist_ok=True)
        backing = self.place / "backing"
        done = call("mount", self.url, self.place / "mnt", "--backing", backing)
        assert_fails(done, 12, *what)
        assert not os.path.ismount(self.place / "mnt")
        assert os.listdir(backing / "tree") == []
        found = re.search(r"offsets? (\d+)", place)
        assert found is not None, place
        return int(found[1])

    def check_listed(self, sign: str) -> None:
        """The log tells of the damage in its place, and goes on behind it to the very end."""
        done = call("log", self.url)
        assert_fails(done, 12)
        lines = done.stdout.splitlines()
        signs = [number for number, line in enumerate(lines) if sign in line]
        assert signs, done.stdout
        assert signs[0] < len(lines) - 1
        assert "DAMAGE" in done.stdout
        offsets = [int(line.split()[0]) for line in lines]
        assert offsets == sorted(offsets)
        assert "clean unmount" in lines[-1] or "mark" in lines[-1], lines[-1]

    def check_before(self, offset: int) -> None:
        """What stands before the damage can be had."""
        output = self.place / "before"
        run_recfs("restore", self.url, "-o", str(output), "--offset", str(offset))
        assert (output / "file-0").read_bytes() == content(0)
        shutil.rmtree(output)


def content(number: int) -> bytes:
    return bytes([number]) * 30_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("damage")
    host = Host(place)
    try:
        mount = host.mount("--fragment-length", "65536")
        for number in range(20):
            write_synced(mount.mountpoint / f"file-{number}", content(number))
        mount.unmount()
        yield place / "journal"
    finally:
        host.close()


@pytest.fixture
def recorded(original: Path, tmp_path: Path) -> Recorded:
    shutil.copytree(original, tmp_path / "journal")
    found = Recorded(tmp_path)
    assert len(found.fragments) >= 4
    return found


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


# -- in the log, where no checksum of the journal tells -------------------------------------------


def altered(recorded: Recorded, change: Callable[[bytearray, Op], None]) -> Op:
    """The same log in other bytes: `change` was made to a write in its middle."""
    log = bytearray(read_log(recorded.url))
    _, found = operations(bytes(log))
    writes = [op for op in found if op.op.HasField("write") and op.first_offset > len(log) // 2]
    change(log, writes[0])
    shutil.rmtree(recorded.place / "journal")
    append_log(recorded.url, bytes(log))
    return writes[0]


def test_a_flipped_byte_in_a_payload_is_named_with_its_file(recorded: Recorded) -> None:
    def change(log: bytearray, op: Op) -> None:
        log[op.last_offset - 1000] ^= 1

    op = altered(recorded, change)
    number = read_log(recorded.url)[op.last_offset - 1]
    assert recorded.check_refused("checksum", f"/file-{number}") == op.first_offset
    recorded.check_listed("DAMAGE")
    recorded.check_before(op.first_offset)


@pytest.mark.parametrize("at", [0, 3, 5, 8, 9, 12, 17, 25])
def test_a_flipped_byte_in_a_frame_is_named_with_its_offset(recorded: Recorded, at: int) -> None:
    """In the magic, in the length, and in the body: number, checksum, author, fnode."""

    def change(log: bytearray, op: Op) -> None:
        log[op.first_offset + at] ^= 1

    op = altered(recorded, change)
    offset = recorded.check_refused("journal vol1/log is damaged")
    # The frame itself, or the next one, which does not continue what is left.
    assert op.first_offset <= offset <= op.last_offset + 200
    recorded.check_listed("DAMAGE")
    recorded.check_before(op.first_offset)


# -- in a spool -----------------------------------------------------------------------------------


def test_a_truncated_spool_is_named(recorded: Recorded) -> None:
    length = recorded.spool.stat().st_size
    os.truncate(recorded.spool, 4096 + 64)
    assert length > 4096 + 64
    recorded.check_refused(str(recorded.spool))


def test_a_flipped_byte_in_a_spool_is_named(recorded: Recorded) -> None:
    spool = recorded.spool
    for position in (4096 + 9, 4096 + 40):  # the first commit's header, and its content
        flip(spool, position)
        offset = recorded.check_refused(f"{spool}: the bytes of journal offsets")
        recorded.check_listed("DAMAGE")
        recorded.check_before(offset)
        flip(spool, position)
    run_recfs("restore", recorded.url, "-o", str(recorded.place / "out"))


def test_a_flipped_byte_in_a_spools_header_is_named(recorded: Recorded) -> None:
    flip(recorded.spool, 40)
    for arguments in (("restore", recorded.url, "-o", recorded.place / "out"),
                      ("log", recorded.url)):  # fmt: skip
        assert_fails(call(*arguments), 12, f"{recorded.spool}: the spool's header")
    assert not (recorded.place / "out").exists()


def test_a_description_that_is_damaged_is_named_and_can_be_removed(recorded: Recorded) -> None:
    spec = recorded.spool.with_name("@spec")
    spec.write_bytes(b"\0" * 10)
    done = call("restore", recorded.url, "-o", recorded.place / "out")
    assert_fails(done, 12, str(spec), attempt="remove the file")
    spec.unlink()
    run_recfs("restore", recorded.url, "-o", str(recorded.place / "out"))
    assert (recorded.place / "out" / "file-19").read_bytes() == content(19)


# -- in a fragment --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_damaged_fragment_is_named(recorded: Recorded, damage: str) -> None:
    fragment = recorded.fragments[2]
    begin = int(fragment.name[:16], 16)
    if damage == "flipped":
        flip(fragment, 20_000)
    else:
        os.truncate(fragment, 0 if damage == "emptied" else 20_000)
    assert recorded.check_refused(fragment.name) == begin
    recorded.check_listed("DAMAGE")
    recorded.check_before(begin)


def test_a_missing_fragment_in_the_middle_is_named(recorded: Recorded) -> None:
    missing = recorded.fragments[2]
    begin, end = (int(part, 16) for part in missing.name.split("-")[:2])
    missing.unlink()
    offset = recorded.check_refused("journal vol1/log is damaged")
    assert begin <= offset <= end
    recorded.check_listed("bytes that are gone")
    recorded.check_before(begin)


def test_a_missing_first_fragment_is_named(recorded: Recorded) -> None:
    missing = recorded.fragments[0]
    end = int(missing.name.split("-")[1], 16)
    missing.unlink()
    assert recorded.check_refused("first bytes are gone", "offset") == end
    recorded.check_listed("bytes that are gone")


def test_a_journal_that_has_lost_its_end_is_noticed(recorded: Recorded) -> None:
    recorded.spool.unlink()
    assert_fails(
        call("restore", recorded.url, "-o", recorded.place / "out"),
        12,
        "were acknowledged",
        attempt="put the missing",
    )
    assert not (recorded.place / "out").exists()


# -- what was interrupted -------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def popen_mount(host: Host, name: str) -> Callable[[signal.Signals], int]:
    """Start a mount that is interrupted before it serves; the function sends a signal."""
    mount = host.mount(name=name, start=False)
    with mount.log.open("ab") as log:
        daemon = subprocess.Popen(mount._command(), stdout=log, stderr=log)

    def interrupt(number: signal.Signals) -> int:
        assert daemon.poll() is None, mount.last_words()
        daemon.send_signal(number)
        return daemon.wait(60)

    return interrupt


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_import_is_begun_anew_on_its_backing_and_refused_elsewhere(
    host: Host, number: signal.Signals
) -> None:
    mount = host.mount(start=False)
    tree = mount.backing / "tree"
    for directory in range(8):
        (tree / f"dir-{directory}").mkdir(parents=True)
        for each in range(200):
            (tree / f"dir-{directory}" / f"file-{each}").write_bytes(os.urandom(40_000))
    before = describe_tree(tree)
    log = host.place / "journal" / ".broker" / "vol1" / "log"
    interrupt = popen_mount(host, "a")
    wait_for(lambda: sum(f.stat().st_size for f in log.glob("@spool-*")) > 5 << 20)
    code = interrupt(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    assert not os.path.ismount(mount.mountpoint)
    done = call("restore", host.volume, "-o", host.place / "out")
    assert_fails(done, 12, "import", "not finished", attempt="recfs mount")
    with pytest.raises(DaemonError, match="code 12.*an import that never finished"):
        host.mount(name="b")
    host.mounts = [mount]
    (tree / "dir-0" / "file-0").write_bytes(b"changed meanwhile")
    (tree / "dir-7" / "file-1").unlink()
    mount.start()
    assert describe_tree(mount.mountpoint).keys() == before.keys() - {"dir-7/file-1"}
    assert (mount.mountpoint / "dir-0" / "file-0").read_bytes() == b"changed meanwhile"
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check")
    mount.start()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("same", [True, False])
def test_a_mount_interrupted_while_it_restores_is_followed_by_one_that_serves(
    host: Host, number: signal.Signals, same: bool
) -> None:
    mount = host.mount()
    for each in range(24):
        write_synced(mount.mountpoint / f"file-{each}", os.urandom(4 << 20))
    before = describe_tree(mount.mountpoint)
    mount.kill()
    mount.detach()
    name = "a" if same else "b"
    host.mounts = []
    interrupt = popen_mount(host, name)
    again = host.mounts[0]
    staged = again.backing / "restoring" / "fnodes"
    wait_for(lambda: staged.exists() and len(os.listdir(staged)) > 1)
    code = interrupt(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    if same:
        assert describe_tree(again.backing / "tree") == before
    else:
        assert os.listdir(again.backing / "tree") == []
    again.start()
    assert describe_tree(again.mountpoint) == before
    assert not (again.backing / "restoring").exists()
