"""status, sync and umount against daemons that behave, and daemons that do not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from recfs.observe.registry import Registry

from .commands import assert_fails, daemon, recfs


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


def test_status_finds_a_mount_by_any_of_its_names(tmp_path: Path, mountpoint: Path) -> None:
    with daemon(tmp_path, mountpoint) as child:
        for which in (str(mountpoint), "mnt", "file:///srv/db1", "backing"):
            found = json.loads(recfs(tmp_path, "status", which, "--json").stdout)
            assert (found["state"], found["pid"], found["author"]) == (
                "serving",
                child.pid,
                "0000002a",
            )
        assert json.loads(recfs(tmp_path, "status", "--json").stdout) == [found]
        text = recfs(tmp_path, "status").stdout
        assert text.startswith(f"{mountpoint}: serving\n")
        assert "file:///srv/db1" in text


def test_status_of_a_killed_daemon_says_dead_and_what_to_do(
    tmp_path: Path, mountpoint: Path
) -> None:
    with daemon(tmp_path, mountpoint) as child:
        child.kill()
        child.wait()
        done = recfs(tmp_path, "status", mountpoint, "--json")
        assert done.returncode == 15
        assert json.loads(done.stdout)["state"] == "dead"
        assert "Try: recfs umount" in done.stderr
        listed = recfs(tmp_path, "status")
        assert listed.returncode == 0
        assert listed.stdout.startswith(f"{mountpoint}: dead")


def test_a_dead_mount_whose_mount_point_is_gone_is_forgotten(
    tmp_path: Path, mountpoint: Path
) -> None:
    with daemon(tmp_path, mountpoint) as child:
        child.kill()
        child.wait()
    assert "dead" in recfs(tmp_path, "status").stdout
    mountpoint.rmdir()
    assert recfs(tmp_path, "status").stdout == "no recfs mounts on this host\n"
    assert Registry(tmp_path / "run").list() == []


def test_sync_returns_when_the_daemon_has_committed(tmp_path: Path, mountpoint: Path) -> None:
    with daemon(tmp_path, mountpoint):
        done = recfs(tmp_path, "sync", mountpoint)
        assert (done.returncode, done.stderr) == (0, "")


def test_sync_passes_on_why_nothing_is_committed(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    async def sync(args):
        raise Fenced("journal db1/log: another host took over", "mount again")
    """
    with daemon(tmp_path, mountpoint, body):
        assert_fails(recfs(tmp_path, "sync", mountpoint), 13, "another host took", "mount again")


def test_sync_gives_up_after_its_timeout(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    async def sync(args):
        await trio.sleep_forever()
    """
    with daemon(tmp_path, mountpoint, body):
        # Either the file system under the test or the daemon keeps it waiting.
        done = recfs(tmp_path, "sync", mountpoint, "--timeout", "200ms")
        assert_fails(done, 15, " within 0.", "--timeout")


def test_sync_with_a_killed_daemon_is_an_error(tmp_path: Path, mountpoint: Path) -> None:
    with daemon(tmp_path, mountpoint) as child:
        child.kill()
        child.wait()
        assert_fails(recfs(tmp_path, "sync", mountpoint), 15, "is gone", "recfs umount")


def test_umount_returns_when_the_daemon_has_ended(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    async def unmount(args):
        trio.lowlevel.spawn_system_task(later)
        return {}

    async def later():
        await trio.sleep(0.5)
        (home / "committed").touch()
        end.set()
    """
    with daemon(tmp_path, mountpoint, body) as child:
        done = recfs(tmp_path, "umount", mountpoint)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "committed").exists()
        assert child.wait(10) == 0
    assert_fails(recfs(tmp_path, "umount", mountpoint), 15, "not a recfs mount", "recfs status")


def test_umount_passes_on_that_the_mount_is_busy(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    async def unmount(args):
        raise MountError("it is busy: in use by process 7", "end what uses it")
    """
    with daemon(tmp_path, mountpoint, body) as child:
        done = recfs(tmp_path, "umount", mountpoint)
        assert_fails(done, 15, "in use by process 7", "end what uses it")
        assert child.poll() is None


def test_umount_does_not_say_all_is_well_when_something_was_not_committed(
    tmp_path: Path, mountpoint: Path
) -> None:
    body = """
    failure = Fenced("journal db1/log: another host took over", "mount again")
    """
    with daemon(tmp_path, mountpoint, body) as child:
        done = recfs(tmp_path, "umount", mountpoint)
        assert_fails(done, 13, "another host took over", "mount again")
        assert child.wait(10) == 0
    assert Registry(tmp_path / "run").list() == []


def test_a_failed_end_is_kept_until_someone_asks(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    failure = Fenced("journal db1/log: another host took over", "mount again")
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    """
    with daemon(tmp_path, mountpoint, body) as child:
        child.terminate()
        child.wait()
        shown = json.loads(recfs(tmp_path, "status", "--json").stdout)
        assert shown[0]["reason"] == "journal db1/log: another host took over"
        assert_fails(recfs(tmp_path, "umount", mountpoint), 13, "took over", "mount again")
    assert json.loads(recfs(tmp_path, "status", "--json").stdout) == []


def test_umount_says_so_when_the_daemon_dies_meanwhile(tmp_path: Path, mountpoint: Path) -> None:
    body = """
    async def unmount(args):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with daemon(tmp_path, mountpoint, body):
        done = recfs(tmp_path, "umount", mountpoint)
        assert_fails(done, 15, "died while it was unmounting", "mount the volume again")


def test_umount_gives_up_after_its_timeout_and_says_what_waits(
    tmp_path: Path, mountpoint: Path
) -> None:
    body = """
    async def unmount(args):
        return {}

    def shown(before=shown):
        return before(backlog_bytes=4096, retrying_since=time.time() - 60,
                      last_error="No space left on device")
    """
    with daemon(tmp_path, mountpoint, body) as child:
        done = recfs(tmp_path, "umount", mountpoint, "--timeout", "0.3")
        assert_fails(done, 10, "4,096 bytes to commit: No space left on device", "recfs status")
        assert child.poll() is None


def test_umount_after_a_kill_clears_the_list(tmp_path: Path, mountpoint: Path) -> None:
    with daemon(tmp_path, mountpoint) as child:
        child.kill()
        child.wait()
        assert recfs(tmp_path, "umount", mountpoint).returncode == 0
    assert recfs(tmp_path, "status").stdout == "no recfs mounts on this host\n"


def test_umount_does_not_touch_a_daemon_whose_socket_is_gone(
    tmp_path: Path, mountpoint: Path
) -> None:
    with daemon(tmp_path, mountpoint) as child:
        (tmp_path / "backing" / "control").unlink()
        done = recfs(tmp_path, "umount", mountpoint)
        assert_fails(done, 15, "its control socket is gone", f"kill -TERM {child.pid}")
        assert child.poll() is None


def test_a_daemon_that_hangs_is_told_apart_from_one_that_is_gone(
    tmp_path: Path, mountpoint: Path
) -> None:
    with daemon(tmp_path, mountpoint) as child:
        os.kill(child.pid, signal.SIGSTOP)
        done = recfs(tmp_path, "status", mountpoint, "--json")
        assert done.returncode == 15
        assert json.loads(done.stdout)["state"] == "silent"
        assert f"look at process {child.pid}" in done.stderr
        done = recfs(tmp_path, "umount", mountpoint, "--timeout", "0.2")
        assert_fails(done, 15, "is not unmounted yet", "--timeout")
        os.kill(child.pid, signal.SIGCONT)
