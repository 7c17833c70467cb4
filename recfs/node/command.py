"""The command that runs on a mount: started when it serves, stopped before it goes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

import trio

from recfs.errors import UsageError
from recfs.observe.logs import logger

log = logger("command")


class Command:
    """One child process. `returncode` as a shell gives it: 128 + N after signal N."""

    def __init__(self, arguments: Sequence[str], umask: int, niceness: int) -> None:
        self.arguments = list(arguments)
        self._umask = umask
        self._niceness = niceness
        self.returncode: int | None = None
        self._process: trio.Process | None = None

    async def run(self) -> int:
        """Start the command and wait for its end. Raise UsageError when it cannot be started."""
        try:
            self._process = await trio.lowlevel.open_process(self.arguments, umask=self._umask)
            # The daemon's own priority is no gift to its clients.
            try:
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._niceness)
            except ProcessLookupError:
                pass  # ended already
        except OSError as error:
            raise UsageError(
                f"cannot start {self.arguments[0]}: {error.strerror}", "check the command after --"
            ) from error
        code = await self._process.wait()
        self.returncode = code if code >= 0 else 128 - code
        return self.returncode

    def pass_on(self, number: int) -> bool:
        """Send a signal to the command; False when none runs."""
        if self._process is None or self._process.returncode is not None:
            return False
        self._process.send_signal(number)
        return True

    async def stop(self, timeout_seconds: float) -> None:
        """SIGTERM, and SIGKILL when it has not ended after the time-out."""
        if not self.pass_on(signal.SIGTERM):
            return
        assert self._process is not None
        with trio.move_on_after(timeout_seconds):
            await self._process.wait()
            return
        log.warning("the command does not end; killing it", pid=self._process.pid)
        self._process.kill()
        await self._process.wait()


def open_files(mountpoint: str) -> list[str]:
    """Who keeps a mount busy, in words, as far as fuser(1) is installed and knows."""
    try:
        done = subprocess.run(
            ["fuser", "-m", mountpoint], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(set(done.stdout.split()))
