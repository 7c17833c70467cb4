"""A directory under construction: content by fnode while the log is played, names at the end.

While the log plays, only content touches the disk: `STAGING/fnodes/ID`. Names, owners, modes and
times change many times in a log; they are taken once, from the namespace as it stands at the end,
by `publish`, which builds `STAGING/tree`. Whoever called then renames the tree into place, so that
a failure at any step leaves nothing half-built under a final name.

Nothing is synced: the journal is the durable copy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat as stat_bits
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from recfs.errors import BackingError
from recfs.recoverylog.events import Allocated, Data, FileCreated, FileDropped, Truncated
from recfs.recoverylog.namespace import Directory, File, Leaf, Namespace, Node, Special, Symlink

#: Bound on the staged files held open.
OPEN_FILES_MAX = 512


class StagingTree:
    """Applies a Player's effects below `directory`, which it creates and which must not exist.

    Raise BackingError from any method when the disk refuses.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        self.warnings: list[str] = []
        self.files = 0
        self.directories = 0
        self.bytes = 0
        self._open: OrderedDict[int, int] = OrderedDict()
        self._fnodes = -1
        try:
            directory.mkdir(parents=True)
            (directory / "fnodes").mkdir()
            self.tree.mkdir()
            self._fnodes = os.open(directory / "fnodes", os.O_RDONLY | os.O_DIRECTORY)
            # For as long as this process lives: see `sweep`.
            fcntl.flock(self._fnodes, fcntl.LOCK_SH)
        except OSError as error:
            self.close()
            raise self._refused("cannot make", error) from error
        self._effects = {
            Data: self._data,
            Truncated: self._truncated,
            FileDropped: self._dropped,
            Allocated: self._allocated,
            FileCreated: self._created,
        }

    # -- effects -----------------------------------------------------------------------------

    def apply(self, event: object) -> None:
        """Apply one effect."""
        try:
            self._effects[type(event)](event)  # type: ignore[operator]
        except OSError as error:
            raise self._refused("cannot write below", error) from error

    def _refused(self, what: str, error: OSError) -> BackingError:
        return BackingError(
            f"{what} {self.directory}: {error.strerror}",
            "make room on that disk: what stands there now is kept until the restored tree is whole"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "see that this user may write there, or name another directory",
        )

    def _descriptor(self, fnode: int) -> int:
        fd = self._open.get(fnode)
        if fd is not None:
            self._open.move_to_end(fnode)
            return fd
        if len(self._open) >= OPEN_FILES_MAX:
            os.close(self._open.popitem(last=False)[1])
        fd = os.open(str(fnode), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._fnodes)
        self._open[fnode] = fd
        return fd

    def _created(self, event: FileCreated) -> None:
        """Nothing yet: many files die in the log before they hold a byte."""

    def _data(self, event: Data) -> None:
        fd = self._descriptor(event.fnode)
        view, offset = event.data, event.offset
        while len(view):
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written

    def _truncated(self, event: Truncated) -> None:
        os.ftruncate(self._descriptor(event.fnode), event.size)

    def _allocated(self, event: Allocated) -> None:
        # Only the effect on size and content matters; KEEP_SIZE alone has neither.
        keep_size, punch_hole, zero_range = 1, 2, 16
        fd = self._descriptor(event.fnode)
        size = os.fstat(fd).st_size
        if event.mode & (punch_hole | zero_range):
            end = event.offset + event.length
            stop = min(end, size)
            for start in range(event.offset, stop, 1 << 20):
                os.pwrite(fd, bytes(min(1 << 20, stop - start)), start)
        if not event.mode & keep_size and event.offset + event.length > size:
            os.ftruncate(fd, event.offset + event.length)

    def _dropped(self, event: FileDropped) -> None:
        fd = self._open.pop(event.fnode, None)
        if fd is not None:
            os.close(fd)
        try:
            os.unlink(str(event.fnode), dir_fd=self._fnodes)
        except FileNotFoundError:
            pass  # never held a byte

    # -- publishing --------------------------------------------------------------------------

    def publish(
        self, namespace: Namespace, properties: Mapping[bytes, bytes] = MappingProxyType({})
    ) -> None:
        """Build `tree` from the namespace and the staged content.

        `properties` are small files that Gazette's logs carry outside of fnodes (path: content).

        Directories get their attributes last, deepest first, because filling one changes its time.
        Owners that this process may not set are counted in `warnings`, not fatal.
        """
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        try:
            self._publish(namespace)
            for path, content in properties.items():
                place = Path(os.fsdecode(os.fsencode(self.tree) + path))
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        except OSError as error:
            raise self._refused("cannot build the tree below", error) from error

    def _publish(self, namespace: Namespace) -> None:
        refused = 0
        placed: dict[Leaf, tuple[Directory, bytes]] = {}
        # A depth-first walk with one descriptor per level of the current path.
        root_fd = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY)
        path: list[tuple[Directory, int, list[tuple[bytes, Node]]]] = [
            (namespace.root, root_fd, sorted(namespace.root.children.items(), reverse=True))
        ]
        while path:
            directory, fd, rest = path[-1]
            if not rest:
                path.pop()
                refused += self._attributes(directory, fd, b".")
                os.close(fd)
                continue
            name, node = rest.pop()
            if isinstance(node, Directory):
                os.mkdir(name, 0o700, dir_fd=fd)
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                self.directories += 1
                path.append((node, child, sorted(node.children.items(), reverse=True)))
                continue
            assert isinstance(node, Leaf)
            if node in placed:
                self._link(placed[node], fd, name)
                continue
            self._place(node, fd, name)
            refused += self._attributes(node, fd, name)
            if len(node.links) > 1:
                placed[node] = (directory, name)
        if refused:
            self.warnings.append(
                f"{refused} owners or attributes could not be set: run as root to restore them"
            )

    def _link(self, first: tuple[Directory, bytes], fd: int, name: bytes) -> None:
        directory, first_name = first
        # Step by step: the path may be longer than the kernel takes at once.
        steps: list[bytes] = []
        while directory.parent is not None:
            steps.append(directory.name)
            directory = directory.parent
        source = os.open(self.tree, os.O_PATH | os.O_DIRECTORY)
        try:
            for step in reversed(steps):
                deeper = os.open(step, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
                os.close(source)
                source = deeper
            os.link(first_name, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(source)

    def _place(self, node: Leaf, fd: int, name: bytes) -> None:
        if isinstance(node, Symlink):
            os.symlink(node.target, name, dir_fd=fd)
        elif isinstance(node, Special):
            assert node.mode is not None
            os.mknod(name, node.mode, node.rdev, dir_fd=fd)
        else:
            assert isinstance(node, File)
            try:
                os.rename(str(node.id), name, src_dir_fd=self._fnodes, dst_dir_fd=fd)
            except FileNotFoundError:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd))
            self.bytes += os.stat(name, dir_fd=fd).st_size
        self.files += 1

    def _attributes(self, node: Node, fd: int, name: bytes) -> int:
        """Owner, mode, extended attributes, times, in that order. Return how many were refused."""
        refused = 0
        if (node.uid is not None and node.uid != os.geteuid()) or (
            node.gid is not None and node.gid != os.getegid()
        ):
            try:
                uid = -1 if node.uid is None else node.uid
                gid = -1 if node.gid is None else node.gid
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EINVAL):
                    raise
                refused += 1
        if not isinstance(node, Symlink):
            default = 0o755 if isinstance(node, Directory) else 0o644
            mode = default if node.mode is None else stat_bits.S_IMODE(node.mode)
            os.chmod(name, mode, dir_fd=fd)
        for key, value in node.xattrs.items():
            try:
                os.setxattr(b"/proc/self/fd/%d/%s" % (fd, name), key, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP):
                    raise
                refused += 1
        if node.mtime_ns is not None or node.atime_ns is not None:
            stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
            times = (
                stat.st_atime_ns if node.atime_ns is None else node.atime_ns,
                stat.st_mtime_ns if node.mtime_ns is None else node.mtime_ns,
            )
            os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)
        return refused

    def close(self) -> None:
        """Let go of the staged content and remove what is left of the staging directory."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._fnodes >= 0:
            os.close(self._fnodes)
            self._fnodes = -1
        shutil.rmtree(self.directory, ignore_errors=True)


def sweep(parent: Path, prefix: str) -> None:
    """Remove the staging directories in `parent` whose names begin with `prefix` and whose process
    is gone: one that was killed leaves as much as it had restored."""
    for path in parent.iterdir():
        if not path.name.startswith(prefix):
            continue
        try:
            fd = os.open(path / "fnodes", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # none of ours, or one that is just being made
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # in use
        finally:
            os.close(fd)
