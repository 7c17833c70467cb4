from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recfs.testing.databases.mounted import BindfsMount
from recfs.testing.databases.scratch import (
    PREFIX,
    Scratch,
    kill_all,
    mounts_under,
    processes_under,
    sweep,
)


def test_a_scratch_directory_takes_its_processes_with_it(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        in_place = subprocess.Popen(["sleep", "600"], cwd=scratch.path)
        named = subprocess.Popen(["tail", "-f", "/dev/null", str(scratch.path / ".owner")])
        _wait(lambda: set(processes_under(scratch.path)) == {in_place.pid, named.pid})
    assert in_place.wait(10) == -9
    assert named.wait(10) == -9
    assert not scratch.path.exists()


def test_a_process_of_a_directory_with_a_longer_name_is_left_alone(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        longer = scratch.path.with_name(scratch.path.name + "x")
        longer.mkdir()
        other = subprocess.Popen(["sleep", "600"], cwd=longer)
        _wait(lambda: processes_under(longer) == [other.pid])
        assert processes_under(scratch.path) == []
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.mount
def test_a_scratch_directory_detaches_mounts_and_keeps_what_is_behind_them(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_text("still here")
    with Scratch(tmp_path) as scratch:
        mount = BindfsMount(kept, scratch.directory("with blank"))
        mount.start()
        assert (mount.mountpoint / "precious").read_text() == "still here"
        assert mounts_under(scratch.path) == [mount.mountpoint]
    assert not scratch.path.exists()
    assert not mount.running
    assert (kept / "precious").read_text() == "still here"


@pytest.mark.mount
def test_a_mount_whose_daemon_was_killed_is_detached(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        mount = BindfsMount(scratch.directory("behind"), scratch.directory("mount"))
        mount.start()
        mount.kill()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(mount.mountpoint)
    assert not scratch.path.exists()


def test_a_sweep_removes_what_a_killed_owner_left_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import pathlib, subprocess, sys, time\n"
        "from recfs.testing.databases.scratch import Scratch\n"
        "scratch = Scratch(pathlib.Path(sys.argv[1]))\n"
        "subprocess.Popen(['sleep', '600'], cwd=scratch.path)\n"
        "(scratch.path / 'made').touch()\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    _wait(lambda: any(tmp_path.glob(f"{PREFIX}*/made")))
    [left] = tmp_path.glob(f"{PREFIX}*")
    with Scratch(tmp_path) as living:
        assert sweep(tmp_path) == []
        [sleeper] = [pid for pid in processes_under(left) if pid != owner.pid]
        kill_all([owner.pid])
        owner.wait()
        assert sweep(tmp_path) == [left]
        assert not left.exists()
        assert living.path.exists()
    assert not Path(f"/proc/{sleeper}/cwd").exists()


def test_a_command_runs_with_a_scratch_tmpdir_and_gives_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recfs.testing.databases.scratch"]
    program = "import os, sys; print(os.environ['TMPDIR']); sys.exit(7)"
    done = subprocess.run(
        [*command, sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    place = Path(done.stdout.strip())
    assert place.parent == tmp_path
    assert not place.exists()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met within 30 s"
        time.sleep(0.01)
