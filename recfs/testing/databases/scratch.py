"""A temporary place whose end takes with it every process and mount under it.

A run that is killed cannot clean up after itself, so each scratch directory says who owns it, and
the next run sweeps those whose owner is gone: processes first (a server on a dead mount still holds
it), then mounts from the innermost outwards, then files.

    python -m recfs.testing.databases.scratch COMMAND...

runs COMMAND with a scratch directory as TMPDIR, after a sweep, and returns its exit code.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

#: Short, since they nest and a Unix socket below has 107 bytes of path.
PREFIX = "recfs-s-"
_OWNER = ".owner"


class Scratch:
    """A directory `path` (mode 0755: servers run as other users) in `parent`, or in TMPDIR."""

    def __init__(self, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        (self.path / _OWNER).write_text(f"{os.getpid()} {_started(os.getpid())}\n")
        self.path.chmod(0o755)

    def directory(self, name: str) -> Path:
        """A new directory in it."""
        path = self.path / name
        path.mkdir()
        return path

    def close(self) -> None:
        remove(self.path)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sweep(parent: Path | None = None) -> list[Path]:
    """Remove the scratch directories in `parent` whose owner is gone. Returns them."""
    base = Path(parent or tempfile.gettempdir()).resolve()
    swept = []
    for path in sorted(base.glob(f"{PREFIX}*")):
        try:
            if path.stat().st_uid != os.geteuid():
                continue
            pid, started = (path / _OWNER).read_text().split()
        except (OSError, ValueError):
            # Either it is being made this moment, or its maker died before it put anything in.
            continue
        if _started(int(pid)) != started:
            remove(path)
            swept.append(path)
    return swept


def remove(path: Path) -> None:
    """End every process that names or stands in `path`, detach every mount under it, delete it."""
    # Twice: a process that was killed may have started another one meanwhile.
    for _ in range(2):
        doomed = processes_under(path)
        shared = set().union(*map(shared_memory_files, doomed))
        kill_all(doomed)
        for each in shared:
            each.unlink(missing_ok=True)
    for mount in mounts_under(path):
        detach(mount)
    if left := mounts_under(path):
        # Deleting through a mount would delete what somebody else keeps behind it.
        raise RuntimeError(f"{left[0]} is still mounted; {path} stays")
    shutil.rmtree(path)


def mounts_under(path: Path) -> list[Path]:
    """Mount points at or under `path`, the latest mounted first."""
    root = os.path.realpath(path)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            # Blanks, tabs, newlines and backslashes stand as octal escapes: proc(5).
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
            if point == root or point.startswith(root + "/"):
                found.append(Path(point))
    return found[::-1]


def detach(mountpoint: Path) -> None:
    """Lazily unmount, also when the file system's daemon is dead."""
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    subprocess.run([*command, "--", str(mountpoint)], check=False, capture_output=True, timeout=60)


def processes_under(path: Path) -> list[int]:
    """Processes whose arguments or working directory name `path`; never this one or its callers."""
    root = os.fsencode(os.path.realpath(path))
    # Whole names only: /tmp/a must not find /tmp/ab.
    named = re.compile(re.escape(root) + rb"(?:/|\0|\s|$)")
    spared = set(_ancestors(os.getpid()))
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in spared:
            continue
        try:
            arguments = Path("/proc", entry, "cmdline").read_bytes()
            place = os.fsencode(os.readlink(f"/proc/{entry}/cwd"))
        except OSError:  # gone, or not ours to look at
            continue
        if named.search(arguments) or named.match(place):
            found.append(int(entry))
    return found


def kill_all(pids: list[int], patience_seconds: float = 20.0) -> None:
    """SIGKILL, and wait until all are gone (reaped, where they are children of this process)."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + patience_seconds
    for pid in pids:
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)


def shared_memory_files(pid: int) -> set[Path]:
    """What a PostgreSQL process has mapped in /dev/shm; once it is dead, nobody removes that."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    names = {line.split()[-1] for line in lines}
    return {Path(name) for name in names if name.startswith("/dev/shm/PostgreSQL.")}


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        pid = int(_stat(pid)[1])


def _alive(pid: int) -> bool:
    """Whether it still runs: a zombie holds no files and waits only for its parent."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX"


def _started(pid: int) -> str:
    """Start time in clock ticks since boot; tells a process from a later one of the same id."""
    stat = _stat(pid)
    return stat[19] if stat else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state (proc(5) field 3) on; none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="surrogateescape")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def main(command: list[str]) -> int:
    if not command:
        print("usage: python -m recfs.testing.databases.scratch COMMAND...", file=sys.stderr)
        return 2
    sweep()
    with Scratch() as scratch:
        child = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(scratch.path)})
        # A Ctrl-C reaches the child too: it decides how to end, and the sweep comes after it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
