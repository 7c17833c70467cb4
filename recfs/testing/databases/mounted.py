"""File systems to run databases on: recfs, driven by its command as a user would, and bindfs.

Each is a child process in the foreground, so that it can be killed at any moment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recfs.testing.databases.scratch import detach, mounts_under


class DaemonError(Exception):
    """A mount did not come up or did not end well; the text holds what its daemon said."""


def recfs_command() -> str:
    """Path of the `recfs` command: the one beside this interpreter, or on PATH."""
    beside = Path(sys.executable).with_name("recfs")
    found = str(beside) if beside.exists() else shutil.which("recfs")
    if found is None:
        raise DaemonError("there is no recfs command beside this Python or on PATH: pip install .")
    return found


class Mount(ABC):
    """A FUSE daemon in the foreground. `log` (beside the mount point) holds what it says."""

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self.log = mountpoint.with_name(f"{mountpoint.name}.log")
        self._daemon: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _serves(self) -> bool:
        """Whether it is ready, now that the kernel has the mount."""

    @abstractmethod
    def _ask_to_unmount(self) -> None: ...

    @property
    def pid(self) -> int:
        assert self._daemon is not None, f"{self.mountpoint} is not mounted"
        return self._daemon.pid

    @property
    def running(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    def start(self, patience_seconds: float = 600.0) -> float:
        """Mount, and wait until it serves. Returns the seconds that took."""
        assert not self.running, f"{self.mountpoint} is mounted already"
        began = time.monotonic()
        if not mounts_under(self.mountpoint):  # a dead mount there answers nothing but ENOTCONN
            self.mountpoint.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C of the terminal is not for the daemon
            )
        while not (mounts_under(self.mountpoint) and self._serves()):
            if self._daemon.poll() is not None:
                raise DaemonError(
                    f"the mount of {self.mountpoint} ended with code {self._daemon.returncode}: "
                    + self.last_words()
                )
            if time.monotonic() - began > patience_seconds:
                self.kill()
                raise DaemonError(f"{self.mountpoint} does not serve: {self.last_words()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def unmount(self, patience_seconds: float = 120.0) -> None:
        """Unmount in order and wait until the daemon is gone. Raises DaemonError otherwise."""
        assert self._daemon is not None, f"{self.mountpoint} is not mounted"
        self._ask_to_unmount()
        try:
            code = self._daemon.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            raise DaemonError(f"the daemon of {self.mountpoint} does not end") from None
        if code != 0:
            raise DaemonError(f"{self.mountpoint} ended with code {code}: {self.last_words()}")
        self._daemon = None

    def kill(self) -> None:
        """SIGKILL the daemon. The mount point stays, and answers ENOTCONN, until `detach`."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait(60)
            self._daemon = None

    def detach(self) -> None:
        """Free the mount point of a daemon that is dead."""
        detach(self.mountpoint)

    def close(self) -> None:
        """Kill the daemon and detach its mount, if there are any. Idempotent."""
        self.kill()
        if mounts_under(self.mountpoint):
            self.detach()

    def last_words(self, lines: int = 12) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def peak_memory(self) -> int:
        """The most memory the daemon ever held, in bytes (VmHWM of proc(5))."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise DaemonError(f"the daemon of {self.mountpoint} is gone")


class RecfsMount(Mount):
    """`recfs mount VOLUME MOUNTPOINT --backing BACKING …` in the foreground."""

    def __init__(
        self, volume: str, mountpoint: Path, backing: Path, options: Sequence[str] = ()
    ) -> None:
        super().__init__(mountpoint)
        self.volume = volume
        self.backing = backing
        self._options = list(options)

    def _command(self) -> Sequence[str]:
        command = [recfs_command(), "mount", self.volume, str(self.mountpoint)]
        if os.geteuid() == 0:
            # A server of another user works in the mount.
            command.append("--allow-other")
        return [*command, "--backing", str(self.backing), *self._options]

    def _serves(self) -> bool:
        try:
            return bool(self.status()["state"] == "serving")
        except DaemonError:
            return False

    def _ask_to_unmount(self) -> None:
        run_recfs("umount", str(self.mountpoint))

    def detach(self) -> None:
        # By the command first: it also forgets the mount in the list that `recfs status` prints.
        try:
            self._ask_to_unmount()
        except DaemonError:
            super().detach()

    def log_bytes(self) -> int:
        """How much of the log a restore of the volume plays now; without restoring it."""
        output = str(self.backing.with_name("nowhere"))
        plan = run_recfs("restore", self.volume, "-o", output, "--dry-run", "--json")
        return int(json.loads(plan)["log_bytes"])

    def status(self) -> dict[str, Any]:
        """What `recfs status --json` says of this mount; raises DaemonError without answer."""
        text = run_recfs("status", str(self.mountpoint), "--json")
        found: dict[str, Any] = json.loads(text)
        return found


class BindfsMount(Mount):
    """`bindfs -f SOURCE MOUNTPOINT` with its default options."""

    def __init__(self, source: Path, mountpoint: Path) -> None:
        super().__init__(mountpoint)
        self.source = source

    def _command(self) -> Sequence[str]:
        found = shutil.which("bindfs")
        if found is None:
            raise DaemonError("bindfs is not installed: apt-get install bindfs")
        return [found, "-f", str(self.source), str(self.mountpoint)]

    def _serves(self) -> bool:
        return True

    def _ask_to_unmount(self) -> None:
        command = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
        done = subprocess.run([*command, str(self.mountpoint)], capture_output=True, check=False)
        if done.returncode != 0:
            raise DaemonError(done.stderr.decode(errors="replace").strip())


def run_recfs(*arguments: str) -> str:
    """Run the `recfs` command; returns its standard output. Raises DaemonError with its error."""
    done = subprocess.run(
        [recfs_command(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise DaemonError(f"recfs {arguments[0]} ended with code {done.returncode}: {said}")
    return done.stdout.decode()
