"""The mount behaves as a local file system does, and all of it comes back from the log."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .volumes import Host, check_restores_to_backing

LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


@pytest.fixture(scope="module", params=["writeback", "through", "none"])
def mounted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """One mount per cache mode for the whole file; at the end the log restores to its tree."""
    place = tmp_path_factory.mktemp("semantics")
    host = Host(place)
    try:
        mount = host.mount("--cache", request.param, "--xattr")
        yield mount.mountpoint
        mount.unmount()
        check_restores_to_backing(mount, place / "check")
    finally:
        host.close()


@pytest.fixture
def here(mounted: Path, request: pytest.FixtureRequest) -> Path:
    directory: Path = mounted / request.node.name.split("[")[0]
    directory.mkdir()
    return directory


def rename2(source: Path, target: Path, flags: int) -> None:
    at_fdcwd = -100
    if LIBC.renameat2(at_fdcwd, os.fsencode(source), at_fdcwd, os.fsencode(target), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def test_content_that_was_written_is_read_back(here: Path) -> None:
    content = os.urandom(3_000_001)
    (here / "file").write_bytes(content)
    assert (here / "file").read_bytes() == content
    assert (here / "file").stat().st_size == len(content)


def test_a_name_that_does_not_exist_is_enoent_until_it_is_created(here: Path) -> None:
    with pytest.raises(FileNotFoundError):
        (here / "file").stat()
    (here / "file").touch()
    assert (here / "file").stat().st_size == 0


def test_a_name_of_255_bytes_works_and_one_of_256_is_refused(here: Path) -> None:
    (here / ("n" * 255)).write_text("x")
    for action in (Path.stat, Path.touch, Path.mkdir):
        with pytest.raises(OSError, match="too long") as caught:
            action(here / ("n" * 256))
        assert caught.value.errno == errno.ENAMETOOLONG


def test_a_path_longer_than_4096_bytes_can_be_made_step_by_step(here: Path) -> None:
    fd = os.open(here, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    written = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(written, b"deep")
    os.fsync(written)
    os.close(written)
    assert os.stat("leaf", dir_fd=fd).st_size == 4
    os.unlink("leaf", dir_fd=fd)
    os.close(fd)
    with pytest.raises(OSError, match="too long"):
        (here / ("a/" * 2048)).stat()
    subprocess.run(["rm", "-rf", "--", os.fspath(here / ("d" * 250))], check=True)


def test_names_need_not_be_utf8(here: Path) -> None:
    name = os.fsencode(here) + b"/\xff\xfe name"
    with open(name, "wb") as file:
        file.write(b"content")
    assert b"\xff\xfe name" in os.listdir(os.fsencode(here))
    os.rename(name, name + b"\x80")
    os.symlink(b"\xfe", name)


def test_rename_replaces_a_file_and_its_handle_lives_on(here: Path) -> None:
    (here / "old").write_text("old")
    (here / "new").write_text("new")
    with (here / "old").open("r+") as orphan:
        (here / "new").rename(here / "old")
        assert (here / "old").read_text() == "new"
        orphan.seek(0, os.SEEK_END)
        orphan.write(" and still writable")
        orphan.flush()
        orphan.seek(0)
        assert orphan.read() == "old and still writable"
        assert os.fstat(orphan.fileno()).st_nlink == 0


def test_rename_flags_are_those_of_renameat2(here: Path) -> None:
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    (here / "dir").mkdir()
    with pytest.raises(FileExistsError):
        rename2(here / "a", here / "b", NOREPLACE)
    rename2(here / "a", here / "c", NOREPLACE)
    rename2(here / "c", here / "b", EXCHANGE)
    assert ((here / "c").read_text(), (here / "b").read_text()) == ("b", "a")
    rename2(here / "c", here / "dir", EXCHANGE)
    assert (here / "c").is_dir()
    assert (here / "dir").read_text() == "b"
    with pytest.raises(OSError, match="Invalid argument"):
        rename2(here / "b", here / "x", WHITEOUT)


def test_a_directory_is_renamed_with_all_that_is_in_it(here: Path) -> None:
    (here / "one" / "deep" / "deeper").mkdir(parents=True)
    (here / "one" / "deep" / "file").write_text("content")
    (here / "empty").mkdir()
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    (here / "one").rename(here / "empty")
    assert (here / "empty" / "deep" / "file").read_text() == "content"
    with pytest.raises(OSError, match="not empty"):
        (here / "empty").rename(here / "full")
    with pytest.raises(OSError, match="Invalid argument"):
        (here / "empty").rename(here / "empty" / "deep" / "inside")
    with pytest.raises(IsADirectoryError):
        (here / "full" / "file").rename(here / "empty")
    with pytest.raises(NotADirectoryError):
        (here / "empty").rename(here / "full" / "file")
    (here / "empty" / "deep" / "file").write_text("changed after the rename")


def test_rename_of_two_links_of_one_file_does_nothing(here: Path) -> None:
    (here / "a").write_text("x")
    os.link(here / "a", here / "b")
    (here / "a").rename(here / "b")
    assert (here / "a").exists()
    assert (here / "b").exists()
    (here / "a").rename(here / "a")


def test_hard_links_share_content_and_count(here: Path) -> None:
    (here / "a").write_text("first")
    os.link(here / "a", here / "b")
    assert os.stat(here / "a").st_ino == os.stat(here / "b").st_ino
    assert os.stat(here / "a").st_nlink == 2
    (here / "b").write_text("second")  # truncated while it has two links
    assert (here / "a").read_text() == "second"
    (here / "a").unlink()
    assert (here / "b").read_text() == "second"
    assert os.stat(here / "b").st_nlink == 1
    with pytest.raises(PermissionError):
        os.link(here, here / "c")
    os.symlink("b", here / "s")
    os.link(here / "s", here / "t", follow_symlinks=False)
    assert os.readlink(here / "t") == "b"


def test_an_orphan_is_read_and_written_until_its_last_handle_is_closed(here: Path) -> None:
    fd = os.open(here / "file", os.O_RDWR | os.O_CREAT)
    os.unlink(here / "file")
    os.pwrite(fd, b"orphan", 1000)
    os.fsync(fd)
    assert os.pread(fd, 100, 1000) == b"orphan"
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o600)
    assert os.fstat(fd).st_size == 3
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        os.stat(here / "file")
    (here / "file").write_text("another of the same name")


def test_what_the_kernel_had_dirty_of_an_unlinked_file_hurts_nobody(here: Path) -> None:
    for number in range(50):
        path = here / f"file-{number}"
        path.write_bytes(b"x" * 4096)
        path.unlink()
    watched = os.open(here, os.O_PATH)
    (here / "gone").touch()
    gone = os.open(here / "gone", os.O_PATH)
    (here / "gone").unlink()
    assert os.fstat(gone).st_nlink == 0
    os.close(gone)
    os.close(watched)
    fd = os.open(here, os.O_RDONLY)
    assert LIBC.syncfs(fd) == 0, os.strerror(ctypes.get_errno())
    os.close(fd)


def test_truncation_to_any_size(here: Path) -> None:
    path = here / "file"
    path.write_bytes(b"0123456789" * 1000)
    os.truncate(path, 5000)
    os.truncate(path, 20000)
    content = path.read_bytes()
    assert content == b"0123456789" * 500 + bytes(15000)
    os.truncate(path, 0)
    assert path.read_bytes() == b""
    path.write_text("again")
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(b"x")
    assert path.read_bytes() == b"x"
    path.open("w").close()
    assert path.stat().st_size == 0
    path.write_text("the end")
    path.chmod(0o604)
    path.write_text("mode and owner outlive truncation")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_sparse_file_beyond_4_gib(here: Path) -> None:
    path = here / "sparse"
    with path.open("wb") as file:
        file.seek(5 << 30)
        file.write(b"end")
        file.flush()
        os.fsync(file.fileno())
    assert path.stat().st_size == (5 << 30) + 3
    with path.open("rb") as file:
        assert file.read(10) == bytes(10)
        file.seek(5 << 30)
        assert file.read() == b"end"
    path.unlink()  # its content is compared by reading, elsewhere


def test_append_mode_appends_from_several_handles(here: Path) -> None:
    one = os.open(here / "file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    two = os.open(here / "file", os.O_WRONLY | os.O_APPEND)
    for number in range(100):
        os.write(one if number % 2 else two, b"%03d\n" % number)
    os.close(one)
    os.close(two)
    assert (here / "file").read_text().split() == [f"{number:03d}" for number in range(100)]


def test_a_file_opened_for_writing_only_takes_partial_pages(here: Path) -> None:
    (here / "file").write_bytes(b"a" * 10000)
    fd = os.open(here / "file", os.O_WRONLY)
    os.pwrite(fd, b"b", 5000)
    os.close(fd)
    assert (here / "file").read_bytes() == b"a" * 5000 + b"b" + b"a" * 4999


def test_shared_writable_mmap(here: Path, mounted: Path, request: pytest.FixtureRequest) -> None:
    path = here / "file"
    path.write_bytes(bytes(16384))
    with path.open("r+b") as file:
        if "none" in request.node.name:
            with pytest.raises(OSError, match="No such device"):
                mmap.mmap(file.fileno(), 16384)
            return
        with mmap.mmap(file.fileno(), 16384) as memory:
            memory[5000:5006] = b"mapped"
            memory.flush()
            assert os.pread(file.fileno(), 6, 5000) == b"mapped"
            os.pwrite(file.fileno(), b"seen", 100)
            assert memory[100:104] == b"seen"
    assert path.read_bytes()[5000:5006] == b"mapped"


def test_locks_of_both_kinds_exclude_other_processes(here: Path) -> None:
    path = here / "file"
    path.touch()
    probe = (
        "import fcntl,sys\nf=open(sys.argv[1],'r+')\n"
        "try: getattr(fcntl,sys.argv[2])(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\n"
        "except OSError: sys.exit(3)\n"
    )

    def probes(kind: str) -> int:
        return subprocess.run([sys.executable, "-c", probe, path, kind], check=False).returncode

    with path.open("r+") as file:
        for kind in ("flock", "lockf"):
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            assert probes(kind) == 3
            getattr(fcntl, kind)(file, fcntl.LOCK_UN)
            assert probes(kind) == 0


def test_modes_owners_and_times(here: Path) -> None:
    path = here / "file"
    path.write_text("x")
    path.chmod(0o4751)
    assert stat.S_IMODE(path.stat().st_mode) == 0o4751
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    about = path.stat()
    assert (about.st_atime_ns, about.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    os.chown(path, 12345, 54321)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    assert stat.S_IMODE(path.stat().st_mode) == 0o751  # cleared by the change of owner
    (here / "dir").mkdir(mode=0o700)
    os.chown(here / "dir", 1, 2)
    (here / "dir").chmod(0o2770)
    (here / "dir" / "inherits").touch()
    (here / "dir" / "sub").mkdir()
    assert (here / "dir" / "inherits").stat().st_gid == 2
    assert (here / "dir" / "sub").stat().st_mode & stat.S_ISGID
    os.symlink("nowhere", here / "link")
    os.chown(here / "link", 7, 8, follow_symlinks=False)
    os.utime(here / "link", ns=(5, 6), follow_symlinks=False)
    assert os.lstat(here / "link").st_uid == 7


def test_special_files(here: Path) -> None:
    os.mkfifo(here / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(here)
        server.bind("socket")
        os.chdir("/")
    os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISFIFO((here / "fifo").stat().st_mode)
    assert (here / "null").stat().st_rdev == os.makedev(1, 3)
    os.mknod(here / "plain", stat.S_IFREG | 0o600)
    assert (here / "plain").read_bytes() == b""


def test_symlinks_and_readlink(here: Path) -> None:
    target = "t" * 4000
    os.symlink(target, here / "long")
    assert os.readlink(here / "long") == target
    os.symlink("file", here / "link")
    (here / "link").write_text("through the link")
    assert (here / "file").read_text() == "through the link"
    os.symlink("loop", here / "loop")
    with pytest.raises(OSError, match="symbolic links"):
        (here / "loop").read_text()


def test_directories_that_are_not_empty_are_not_removed(here: Path) -> None:
    (here / "dir" / "sub").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        (here / "dir").rmdir()
    with pytest.raises(IsADirectoryError):
        os.unlink(here / "dir")
    (here / "file").touch()
    with pytest.raises(NotADirectoryError):
        (here / "file").rmdir()
    (here / "dir" / "sub").rmdir()
    (here / "dir").rmdir()
    with pytest.raises(FileExistsError):
        here.mkdir()


def test_a_large_directory_is_listed_once_each_while_it_changes(here: Path) -> None:
    names = {f"{number:05d}" for number in range(3000)}
    for name in names:
        (here / name).touch()
    seen = []
    with os.scandir(here) as entries:
        for index, entry in enumerate(entries):
            seen.append(entry.name)
            if index % 3 == 0:
                os.unlink(here / entry.name)
                (here / f"new-{index}").touch()
    kept = [name for name in seen if not name.startswith("new-")]
    assert len(kept) == len(set(kept))
    assert set(kept) == names
    assert {".", ".."}.isdisjoint(seen)


def test_fsync_of_files_and_directories_returns(here: Path) -> None:
    with (here / "file").open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    directory = os.open(here, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    fd = os.open(here / "sync", os.O_WRONLY | os.O_CREAT | os.O_SYNC)
    os.write(fd, b"synchronous")
    os.close(fd)


def test_extended_attributes(here: Path) -> None:
    path = here / "file"
    path.touch()
    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, "user.two", b"\x00\xff" * 100)
    assert os.getxattr(path, "user.one") == b"1"
    assert sorted(os.listxattr(path)) == ["user.one", "user.two"]
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.one", b"", os.XATTR_CREATE)
    os.removexattr(path, "user.one")
    with pytest.raises(OSError, match="No data"):
        os.getxattr(path, "user.one")
    with path.open("r+b") as file:
        file.write(b"content")
    path.write_bytes(b"truncated and written again")
    assert os.getxattr(path, "user.two") == b"\x00\xff" * 100
    os.setxattr(here, "user.dir", b"on a directory")
    assert os.getxattr(here, "user.dir") == b"on a directory"


def test_statvfs_speaks_of_the_backing_file_system(here: Path) -> None:
    found = os.statvfs(here)
    assert found.f_namemax == 255
    assert 0 < found.f_bavail <= found.f_blocks


def test_allocate_copy_and_sendfile_work_by_the_kernels_fallbacks(here: Path) -> None:
    fd = os.open(here / "file", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 100_000)
    assert os.fstat(fd).st_size == 100_000
    os.pwrite(fd, b"content", 50_000)
    copy = os.open(here / "copy", os.O_RDWR | os.O_CREAT)
    assert os.copy_file_range(fd, copy, 100, 49_950, 0) == 100
    assert os.pread(copy, 7, 50) == b"content"
    sent = os.open(here / "sent", os.O_RDWR | os.O_CREAT)
    assert os.sendfile(sent, fd, 49_950, 100) == 100
    assert os.pread(sent, 7, 50) == b"content"
    for number in (fd, copy, sent):
        os.close(number)
