"""Running the real `recfs` command, and daemons without a file system that answer it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECFS = str(Path(sys.executable).with_name("recfs"))


def plain_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of the caller's configures recfs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECFS_")}
    return {**kept, "HOME": str(home), "RECFS_RUNTIME": str(home / "run"), **more}


def recfs(
    home: Path, *arguments: str | bytes | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `recfs` to its end, in a directory and with a registry of mounts of its own."""
    return subprocess.run(
        [RECFS, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=home,
        env=plain_environment(home, **variables),
        check=False,
    )


def assert_fails(
    done: subprocess.CompletedProcess[str], code: int, what: str, attempt: str
) -> None:
    """The command ended with `code` and said so in exactly the two lines that are promised."""
    assert (done.returncode, done.stdout) == (code, ""), done
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("Error: "), lines
    assert lines[1].startswith("Try: "), lines
    assert what in lines[0]
    assert attempt in lines[1]


#: Lists itself as the mount of MOUNTPOINT, answers control verbs as BODY says, ends at `end`.
_DAEMON = """
import os, signal, sys, time
from pathlib import Path
import trio
from recfs.errors import *
from recfs.observe.control import ControlServer
from recfs.observe.registry import Registry
from recfs.observe.status import Status

home, mountpoint = map(Path, sys.argv[1:])
end = trio.Event()
registry = Registry(home / "run")
backing = home / "backing"
failure = None

async def status(args):
    return shown().to_json()

async def sync(args):
    return {"committed_offset": 42}

async def unmount(args):
    end.set()
    return {}

def shown(**more):
    return Status(
        volume="file:///srv/db1", mountpoint=str(mountpoint), backing=str(backing),
        pid=os.getpid(), **{"state": "serving", "author": "0000002a", **more},
    )

BODY

async def main():
    backing.mkdir(exist_ok=True)
    async with trio.open_nursery() as nursery:
        verbs = {"status": status, "sync": sync, "unmount": unmount}
        await nursery.start(ControlServer(backing / "control", verbs).serve)
        entry = registry.register(
            mountpoint, volume="file:///srv/db1", backing=backing, control=backing / "control"
        )
        print("listed", flush=True)
        await end.wait()
        registry.remove(entry, failure=failure)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@contextmanager
def daemon(home: Path, mountpoint: Path, body: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that is listed as a mount. `body` may define its verbs and `failure` anew."""
    script = _DAEMON.replace("BODY", textwrap.dedent(body))
    child = subprocess.Popen(
        [sys.executable, "-c", script, home, mountpoint], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "listed\n"
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
