"""Hosts that are lost, left in order, raced for and taken over."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from recfs.testing.databases.mounted import DaemonError, RecfsMount, recfs_command, run_recfs

from .volumes import Host, check_restores_to_backing, describe_tree


def write_synced(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def test_what_was_fsynced_survives_the_loss_of_the_host(host: Host) -> None:
    first = host.mount(name="a")
    for number in range(50):
        write_synced(first.mountpoint / f"file-{number}", b"%d" % number * 1000)
    (first.mountpoint / "dir").mkdir()
    (first.mountpoint / "file-0").rename(first.mountpoint / "dir" / "moved")
    directory = os.open(first.mountpoint, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    before = describe_tree(first.mountpoint)
    host.crash(first)
    second = host.mount(name="b")
    assert describe_tree(second.mountpoint) == before


def test_a_remount_on_the_same_backing_after_a_crash_rebuilds_and_keeps_nothing_aside(
    host: Host,
) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "kept", b"synced")
    mount.kill()
    mount.detach()
    (mount.backing / "tree" / "kept").write_text("what a crashed host may have left")
    mount.start()
    assert (mount.mountpoint / "kept").read_bytes() == b"synced"
    assert not (mount.backing / "tree.aside").exists()
    assert not (mount.backing / "restoring").exists()


def test_a_clean_unmount_lets_the_next_mount_start_without_a_replay(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"content")
    os.link(mount.mountpoint / "file", mount.mountpoint / "second")
    inode = (mount.backing / "tree" / "file").stat().st_ino
    mount.unmount()
    mount.start()
    assert (mount.backing / "tree" / "file").stat().st_ino == inode  # the very file: not rebuilt
    write_synced(mount.mountpoint / "file", b"changed")
    (mount.mountpoint / "second").unlink()
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check-resumed")


def test_a_clean_backing_that_another_host_has_passed_by_is_rebuilt(host: Host) -> None:
    first = host.mount(name="a")
    write_synced(first.mountpoint / "file", b"from a")
    first.unmount()
    second = host.mount(name="b")
    write_synced(second.mountpoint / "file", b"from b")
    second.unmount()
    first.start()
    assert (first.mountpoint / "file").read_bytes() == b"from b"


def test_a_tree_changed_after_a_clean_unmount_is_refused_as_newer(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"content")
    mount.unmount()
    (mount.backing / "tree" / "file").write_text("started on it directly")
    with pytest.raises(DaemonError, match="code 16.*changed since recfs stopped cleanly"):
        mount.start()
    assert (mount.backing / "tree" / "file").read_text() == "started on it directly"


def test_an_existing_directory_is_imported_when_the_log_is_empty(host: Host) -> None:
    mount = host.mount(start=False)
    tree = mount.backing / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "file").write_bytes(os.urandom(2_500_000))
    os.link(tree / "dir" / "file", tree / "link")
    os.symlink("dir/file", tree / "symlink")
    with (tree / "sparse").open("wb") as file:
        file.truncate(10 << 20)
        file.seek(5 << 20)
        file.write(b"island")
    os.chown(tree / "sparse", 3, 4)
    before = describe_tree(tree)
    mount.start()
    assert describe_tree(mount.mountpoint) == before
    host.crash(mount)
    second = host.mount(name="b")
    assert describe_tree(second.mountpoint) == before
    sparse = second.backing / "tree" / "sparse"
    assert sparse.stat().st_blocks * 512 < 1 << 20


def test_a_backing_with_files_of_its_own_is_refused_when_the_log_is_not_empty(host: Host) -> None:
    host.mount(name="a").unmount()
    other = host.mount(name="b", start=False)
    (other.backing / "tree").mkdir(parents=True)
    (other.backing / "tree" / "precious").write_text("not this volume's")
    with pytest.raises(DaemonError, match="code 16.*not this volume's"):
        other.start()
    assert (other.backing / "tree" / "precious").exists()


def test_a_backing_of_another_volume_is_refused(host: Host) -> None:
    mount = host.mount(name="a")
    write_synced(mount.mountpoint / "file", b"volume 1")
    mount.unmount()
    host.volume = f"file://{host.place}/journal/vol2"
    host.mount(name="b").unmount()
    wrong = RecfsMount(host.volume, host.place / "mnt-a", host.place / "backing-a")
    with pytest.raises(DaemonError, match="code 16.*belongs to another volume"):
        wrong.start()
    assert (mount.backing / "tree" / "file").read_bytes() == b"volume 1"


def test_a_lost_journal_is_noticed_before_the_last_copy_is_touched(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"the last copy")
    mount.unmount()
    shutil.rmtree(host.place / "journal")
    with pytest.raises(DaemonError, match="code 1[26]"):
        mount.start()
    assert (mount.backing / "tree" / "file").read_bytes() == b"the last copy"


def test_a_second_mount_of_a_live_volume_is_refused_and_names_its_writer(host: Host) -> None:
    first = host.mount(name="a")
    with pytest.raises(DaemonError, match=f"code 14.*pid {first.pid}"):
        host.mount(name="b")
    write_synced(first.mountpoint / "file", b"undisturbed")


def test_take_over_fences_the_old_writer(host: Host) -> None:
    first = host.mount(name="a")
    write_synced(first.mountpoint / "before", b"before")
    held = os.open(first.mountpoint / "held", os.O_WRONLY | os.O_CREAT)
    os.fsync(held)
    second = host.mount("--take-over", name="b")
    assert (second.mountpoint / "before").read_bytes() == b"before"
    os.write(held, b"written after the fence")
    for _ in range(2):  # doubt is sticky
        with pytest.raises(OSError, match="Input/output error") as caught:
            os.fsync(held)
        assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="Read-only"):
        (first.mountpoint / "new").touch()
    assert (first.mountpoint / "before").read_bytes() == b"before"
    status = first.status()
    assert status["state"] == "read-only"
    write_synced(second.mountpoint / "after", b"after")
    os.close(held)
    with pytest.raises(DaemonError, match="code 13"):
        first.unmount()
    host.mounts.remove(first)
    first.close()
    assert not (second.mountpoint / "new").exists()
    assert (second.mountpoint / "held").read_bytes() == b""


def test_a_stopped_writer_that_wakes_up_can_commit_nothing(host: Host) -> None:
    first = host.mount(name="a")
    write_synced(first.mountpoint / "file", b"one")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = host.mount("--take-over", name="b")
        write_synced(second.mountpoint / "file", b"two")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    with pytest.raises(OSError, match="Input/output|Read-only"):
        write_synced(first.mountpoint / "zombie", b"zombie")
    write_synced(second.mountpoint / "file", b"three")
    first.kill()
    first.detach()
    host.mounts.remove(first)
    assert sorted(os.listdir(second.mountpoint)) == ["file"]


@pytest.mark.parametrize("round_number", range(4))
def test_of_two_mounts_that_race_for_a_volume_exactly_one_wins(
    host: Host, round_number: int
) -> None:
    if round_number % 2:  # a volume with history, and one that never was
        seed = host.mount(name="seed")
        write_synced(seed.mountpoint / "seed", b"seed")
        seed.unmount()
        host.mounts.remove(seed)
    racers = [host.mount(name=name, start=False) for name in ("a", "b")]
    verdicts: dict[str, str] = {}

    def race(mount: RecfsMount) -> None:
        try:
            mount.start()
            verdicts[mount.mountpoint.name] = "won"
        except DaemonError as error:
            verdicts[mount.mountpoint.name] = str(error)

    threads = [threading.Thread(target=race, args=(mount,)) for mount in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = [verdict for verdict in verdicts.values() if verdict != "won"]
    assert len(lost) == 1, verdicts
    assert "code 14" in lost[0]
    winner = next(mount for mount in racers if verdicts[mount.mountpoint.name] == "won")
    write_synced(winner.mountpoint / "file", b"the winner's")


def test_a_command_runs_on_the_mount_and_gives_its_exit_code(host: Host) -> None:
    mount = host.mount(start=False)
    script = f"echo from the command > {mount.mountpoint}/file; exit 7"
    done = subprocess.run(
        [
            *[recfs_command(), "mount", host.volume, str(mount.mountpoint)],
            *["--backing", str(mount.backing), "--", "sh", "-c", script],
        ],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    assert (mount.backing / "tree" / "file").read_text() == "from the command\n"
    assert (mount.backing / "state" / "clean").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_unmounts(host: Host, number: signal.Signals) -> None:
    mount = host.mount()
    (mount.mountpoint / "not-synced").write_bytes(b"x" * 5_000_000)
    daemon = mount._daemon
    assert daemon is not None
    daemon.send_signal(number)
    assert daemon.wait(30) == 0, mount.last_words()
    assert not os.path.ismount(mount.mountpoint)
    check_restores_to_backing(mount, host.place / "check-signal")


def test_umount_refuses_while_a_file_is_open_and_works_afterwards(host: Host) -> None:
    mount = host.mount()
    with (mount.mountpoint / "open").open("w") as file:
        with pytest.raises(DaemonError, match="code 15.*busy"):
            run_recfs("umount", str(mount.mountpoint))
        file.write("still served")
    mount.unmount()
    assert (mount.backing / "tree" / "open").read_text() == "still served"


def test_an_unmount_by_the_system_is_a_clean_one(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"x")
    subprocess.run(["umount", str(mount.mountpoint)], check=True)
    daemon = mount._daemon
    assert daemon is not None
    assert daemon.wait(30) == 0
    assert (mount.backing / "state" / "clean").exists()


def test_a_stale_mount_point_is_cleaned_up_by_the_next_mount(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"x")
    mount.kill()
    with pytest.raises(OSError, match="not connected"):
        os.stat(mount.mountpoint)
    mount.start()
    assert (mount.mountpoint / "file").read_bytes() == b"x"


def test_sync_waits_for_the_commit_of_unsynced_writes(host: Host) -> None:
    mount = host.mount(name="a")
    (mount.mountpoint / "file").write_bytes(b"never fsynced" * 1000)
    run_recfs("sync", str(mount.mountpoint))
    host.crash(mount)
    second = host.mount(name="b")
    assert (second.mountpoint / "file").read_bytes() == b"never fsynced" * 1000


def test_restore_of_a_live_volume_disturbs_nothing(host: Host) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "file", b"live")
    run_recfs("restore", host.volume, "-o", str(host.place / "copy"))
    assert (host.place / "copy" / "file").read_bytes() == b"live"
    write_synced(mount.mountpoint / "file", b"goes on")
    with pytest.raises(DaemonError, match="code 2.*not empty"):
        run_recfs("restore", host.volume, "-o", str(host.place / "copy"))
    run_recfs("restore", host.volume, "-o", str(host.place / "copy"), "--force")
    assert (host.place / "copy" / "file").read_bytes() == b"goes on"


def test_read_only_mounts_serve_and_refuse(host: Host) -> None:
    writer = host.mount(name="a")
    write_synced(writer.mountpoint / "file", b"content")
    writer.unmount()
    reader = host.mount("--read-only", name="b")
    assert reader.status()["state"] == "read-only"
    assert (reader.mountpoint / "file").read_bytes() == b"content"
    with pytest.raises(OSError, match="Read-only"):
        (reader.mountpoint / "file").write_text("x")
    again = host.mount(name="c")  # a reader is nobody's live writer
    write_synced(again.mountpoint / "file", b"changed")
    assert (reader.mountpoint / "file").read_bytes() == b"content"
    reader.unmount()
    host.mounts.remove(reader)
