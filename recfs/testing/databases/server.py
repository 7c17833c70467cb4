"""A PostgreSQL server in a given directory, started, stopped and killed as a postmaster child.

Sockets and the server's log are kept outside the data directory, so that nothing but the database
is on the file system under test. As root the server runs as the user `postgres`, which the
package makes: PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from recfs.testing.databases.scratch import kill_all, shared_memory_files

_USER = "postgres"

#: Small buffers and frequent checkpoints, so that a short load meets what a long one would;
#: everything that concerns durability stays at its default.
LOAD_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "16MB",
    "checkpoint_timeout": "30s",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "1s",
    "max_connections": "30",
}


class ServerError(Exception):
    """A PostgreSQL program failed; the text holds what it said."""


def binary(name: str) -> str:
    """Path of a PostgreSQL program: of the newest version installed by the package, or on PATH."""
    installed = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    by_version = sorted(installed, key=lambda path: float(path.parent.parent.name))
    found = str(by_version[-1]) if by_version else shutil.which(name)
    if found is None:
        raise ServerError(f"PostgreSQL's {name} is not installed: apt-get install postgresql")
    return found


class Server:
    """A server whose data directory is `data`. The directory `private` holds its sockets and log.

    `private` is made here and removed by `close`. It must be short, as a socket's path has at most
    107 bytes, and in a directory that other users may enter.
    """

    def __init__(
        self, data: Path, private: Path, *, settings: Mapping[str, str] = LOAD_SETTINGS
    ) -> None:
        self.data = data
        self.settings = dict(settings)
        self.sockets = private
        self.sockets.mkdir()
        self.log = self.sockets / "server.log"
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._segments: set[str] = set()
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam(_USER)
            except KeyError:
                raise ServerError(f"there is no user {_USER}: apt-get install postgresql") from None
            self._user, self._group = user.pw_uid, user.pw_gid
            os.chown(self.sockets, self._user, self._group)

    # -- its life

    def initdb(self) -> None:
        """Make a database cluster, with data checksums, in the directory `data`."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._user is not None and self._group is not None:
            os.chown(self.data, self._user, self._group)
        options = ["--data-checksums", "--no-locale", "--encoding=UTF8", "--auth=trust"]
        self.run("initdb", ["-D", str(self.data), "-U", _USER, *options], connect=False)

    def start(self, *, patience_seconds: float = 120.0, **settings: str) -> None:
        """Start it and wait until it accepts connections, after crash recovery if there is need.

        `settings` go before those of the constructor.
        """
        assert self._postmaster is None, "the server is started already"
        place = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        arguments = [binary("postgres"), "-D", str(self.data)]
        for name, value in {**self.settings, **settings, **place}.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._postmaster = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # a Ctrl-C of the terminal is not for the server
                umask=0o077,
                user=self._user,
                group=self._group,
                extra_groups=self._extra_groups(),
            )
        deadline = time.monotonic() + patience_seconds
        while not self._accepts():
            if self._postmaster.poll() is not None:
                self._postmaster = None
                raise ServerError(f"the server on {self.data} does not start: {self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"the server on {self.data} is not ready: {self.last_words()}")
            time.sleep(0.02)
        # Now, because a server whose file system goes away may end before anybody kills it.
        self._segments |= _segments(self._postmaster.pid)

    def stop(self, patience_seconds: float = 120.0) -> None:
        """Fast shutdown: sessions end, a checkpoint, clean exit. Raises ServerError otherwise."""
        assert self._postmaster is not None, "the server is not started"
        self._postmaster.send_signal(signal.SIGINT)
        try:
            code = self._postmaster.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server on {self.data} does not stop") from None
        self._postmaster = None
        if code != 0:
            raise ServerError(f"the server on {self.data} ended with {code}: {self.last_words()}")

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend, and free the shared memory they leave."""
        if self._postmaster is None:
            return
        pid = self._postmaster.pid
        backends = _children(pid)
        # What its own processes have mapped, and nothing else: other servers on this host may have
        # segments that nobody has mapped just now.
        shared = set[Path]().union(*map(shared_memory_files, [pid, *backends]))
        # The postmaster first, or it would begin to recover from the loss of a backend.
        self._postmaster.kill()
        kill_all([*backends, *_children(pid)])
        self._postmaster.wait(60)
        self._postmaster = None
        for segment in self._segments:
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)
        self._segments.clear()
        for path in shared:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Kill what runs and remove what was made outside the data directory. Idempotent."""
        self.kill()
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self._postmaster is not None and self._postmaster.poll() is None

    @property
    def pid(self) -> int:
        assert self._postmaster is not None, "the server is not started"
        return self._postmaster.pid

    # -- its programs

    def run(self, program: str, arguments: Sequence[str], *, connect: bool = True) -> str:
        """Run one of PostgreSQL's programs as the server's user; returns its standard output.

        Raises ServerError with all that it said when it fails.
        """
        done = subprocess.run(
            [binary(program), *(self.connection() if connect else []), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            check=False,
            user=self._user,
            group=self._group,
            extra_groups=self._extra_groups(),
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise ServerError(f"{program} ended with code {done.returncode}: {said}")
        return done.stdout.decode(errors="replace")

    def connection(self) -> list[str]:
        """The options by which each of PostgreSQL's client programs finds this server."""
        return ["-h", str(self.sockets), "-U", _USER]

    def query(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """The rows of a query, each value as text."""
        text = self.run("psql", ["-X", "-q", "-A", "-t", "-F", "\t", "-d", database, "-c", sql])
        return [line.split("\t") for line in text.splitlines()]

    def last_words(self, lines: int = 12) -> str:
        """The end of the server's log."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _accepts(self) -> bool:
        done = subprocess.run(
            [binary("pg_isready"), "-q", *self.connection(), "-d", "postgres"], cwd="/", check=False
        )
        return done.returncode == 0

    def _extra_groups(self) -> list[int] | None:
        return None if self._user is None else []


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _segments(pid: int) -> set[str]:
    """Ids of the System V shared memory segments of a process."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    # The inode number is the segment's id.
    return {fields[4] for fields in lines if len(fields) > 5 and fields[5].startswith("/SYSV")}
