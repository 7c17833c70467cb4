"""Volumes, hosts and tree comparison for tests on real mounts."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from recfs.testing.databases.mounted import DaemonError, RecfsMount, run_recfs


class ServedMount(RecfsMount):
    """A mount that may be read-only from the start."""

    def _serves(self) -> bool:
        try:
            return self.status()["state"] in ("serving", "read-only")
        except DaemonError:
            return False


class Host:
    """Mounts of one volume below a temporary directory, each with a backing of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.volume = f"file://{place}/journal/vol1"
        self.mounts: list[RecfsMount] = []

    def mount(self, *options: str, name: str = "a", start: bool = True) -> RecfsMount:
        mount = ServedMount(
            self.volume, self.place / f"mnt-{name}", self.place / f"backing-{name}", options
        )
        mount.mountpoint.mkdir(exist_ok=True)
        self.mounts.append(mount)
        if start:
            mount.start()
        return mount

    def crash(self, mount: RecfsMount) -> None:
        """Lose the host: the daemon by SIGKILL, the mount, and the backing directory."""
        mount.kill()
        mount.detach()
        shutil.rmtree(mount.backing)

    def close(self) -> None:
        for mount in self.mounts:
            mount.close()


def describe_tree(root: Path, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that a restore must bring back; hard links by their first name."""
    found: dict[str, tuple[object, ...]] = {}
    first_names: dict[int, str] = {}
    for top, directories, files in os.walk(root):
        for name in sorted(directories + files):
            path = os.path.join(top, name)
            relative = os.path.relpath(path, root)
            about = os.lstat(path)
            kind = stat.S_IFMT(about.st_mode)
            entry: tuple[object, ...] = (oct(about.st_mode), about.st_uid, about.st_gid)
            if stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
                first = first_names.setdefault(about.st_ino, relative)
                entry += (about.st_nlink, first, len(content), hash(content))
                if content and times:  # nobody tells a file system the time of an empty file
                    entry += (about.st_mtime_ns,)
            elif kind == stat.S_IFLNK:
                entry += (os.readlink(path),)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                entry += (about.st_rdev,)
            found[relative] = entry
    return found


def check_restores_to_backing(mount: RecfsMount, target: Path) -> None:
    """A restore from the log is the tree that the cleanly unmounted backing directory holds."""
    run_recfs("restore", mount.volume, "-o", str(target))
    assert describe_tree(target) == describe_tree(mount.backing / "tree")
    shutil.rmtree(target)
