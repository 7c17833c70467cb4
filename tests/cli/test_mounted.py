"""The verbs against a real mount."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from recfs.observe import mounts
from recfs.observe.registry import Registry

from .commands import assert_fails, recfs

pytestmark = pytest.mark.mount


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A place for one mount; whatever runs or is mounted there at the end is taken away."""
    (tmp_path / "mnt").mkdir()
    yield tmp_path
    for entry in Registry(tmp_path / "run").list():
        if not entry.is_stale:
            os.kill(entry.pid, signal.SIGKILL)
    if mounts.mounted(tmp_path / "mnt") is not None:
        mounts.detach(tmp_path / "mnt")


def mount(home: Path, *more: str) -> int:
    """Mount in the background; returns the daemon's pid."""
    done = recfs(home, "mount", "-d", f"file://{home}/journal/db1", "mnt", "--backing", "b", *more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = json.loads(recfs(home, "status", "mnt", "--json").stdout)["pid"]
    assert isinstance(pid, int)
    return pid


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end of a process that is not our child."""
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([ended], [], [], 20)[0]
    os.close(ended)


def test_a_detached_mount_serves_when_the_command_returns(home: Path) -> None:
    mount(home)
    assert mounts.mounted(home / "mnt") is not None
    (home / "mnt" / "file").write_text("content")
    assert recfs(home, "sync", "mnt").returncode == 0
    assert recfs(home, "umount", "mnt").returncode == 0
    assert mounts.mounted(home / "mnt") is None
    assert recfs(home, "status").stdout == "no recfs mounts on this host\n"
    assert "serving" in (home / "b" / "recfs.log").read_text()
    restored = recfs(home, "restore", f"file://{home}/journal/db1", "-o", "out", "--json")
    assert json.loads(restored.stdout)["files"] == 1
    assert (home / "out" / "file").read_text() == "content"


def test_status_tells_of_the_mount(home: Path) -> None:
    pid = mount(home)
    found = json.loads(recfs(home, "status", "--json").stdout)
    assert [(each["state"], each["pid"]) for each in found] == [("serving", pid)]
    assert found[0]["volume"] == f"file://{home}/journal/db1"
    assert found[0]["mountpoint"] == str(home / "mnt")


def test_umount_detaches_what_a_killed_daemon_left(home: Path) -> None:
    pid = mount(home)
    kill(pid)
    assert mounts.mounted(home / "mnt") is not None
    assert recfs(home, "status", "mnt").returncode == 15
    done = recfs(home, "umount", "mnt")
    assert (done.returncode, done.stdout) == (0, "")
    assert "detached" in done.stderr
    assert mounts.mounted(home / "mnt") is None


def test_umount_cleans_up_a_dead_mount_that_is_not_listed(home: Path) -> None:
    pid = mount(home)
    for file in (home / "run").iterdir():
        file.unlink()
    done = recfs(home, "umount", "mnt")
    assert_fails(done, 15, "not listed here", "--runtime")
    kill(pid)
    assert mounts.is_disconnected(home / "mnt")
    assert "detached" in recfs(home, "umount", "mnt").stderr
    assert mounts.mounted(home / "mnt") is None


def test_a_busy_mount_is_not_taken_away(home: Path) -> None:
    mount(home)
    with (home / "mnt" / "file").open("w"):
        done = recfs(home, "umount", "mnt")
        assert_fails(done, 15, "is busy", "end what uses it")
        assert mounts.mounted(home / "mnt") is not None
    assert recfs(home, "umount", "mnt").returncode == 0


def test_a_mount_that_cannot_serve_says_why_in_the_foreground_and_detached(home: Path) -> None:
    volume = f"file://{home}/journal/db1"
    for flags in ([], ["-d"]):
        done = recfs(home, "mount", *flags, volume, "missing", "--backing", "b")
        assert done.returncode == 15
        assert "does not exist" in done.stderr
        assert f"mkdir -p {home}/missing" in done.stderr


def test_a_command_gives_the_exit_code(home: Path) -> None:
    script = "echo content > mnt/file && exit 7"
    volume = f"file://{home}/journal/db1"
    done = recfs(home, "mount", volume, "mnt", "--backing", "b", "--", "sh", "-c", script)
    assert done.returncode == 7
    assert (home / "b" / "tree" / "file").read_text() == "content\n"
