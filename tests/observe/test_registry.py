"""Which mounts run on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recfs.errors import UsageError
from recfs.observe.registry import Entry, Registry, canonical, process_start


def register(registry: Registry, base: Path, name: str, pid: int | None = None) -> Entry:
    return registry.register(
        base / name,
        volume=f"file:///srv/{name}",
        backing=base / f"{name}-backing",
        control=base / f"{name}-backing" / "control",
        pid=pid,
    )


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_mount_is_found_by_mount_point_volume_and_backing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "run" / "recfs")
    entry = register(registry, tmp_path, "db1")
    register(registry, tmp_path, "db2")
    assert entry.pid == os.getpid()
    assert not entry.is_stale
    for which in (tmp_path / "db1", "file:///srv/db1", tmp_path / "db1-backing"):
        assert registry.find(str(which)) == entry
    assert registry.find(str(tmp_path / "db3")) is None
    assert [each.mountpoint for each in registry.list()] == [
        str(tmp_path / "db1"),
        str(tmp_path / "db2"),
    ]


def test_a_mount_point_is_found_by_a_relative_path_and_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "run")
    (tmp_path / "real" / "db1").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other").symlink_to(tmp_path / "link" / "db1")
    entry = register(registry, tmp_path / "link", "db1")
    assert entry.mountpoint == str(tmp_path / "real" / "db1")
    monkeypatch.chdir(tmp_path)
    for which in ("real/db1", "./link/db1/", "other", "real/../link/db1"):
        assert registry.find(which) == entry


def test_registering_again_replaces_and_removing_the_older_keeps_the_newer(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    older = register(registry, tmp_path, "db1", pid=dead_pid())
    newer = register(registry, tmp_path, "db1")
    assert registry.list() == [newer]
    registry.remove(older)
    assert registry.list() == [newer]
    registry.remove(newer)
    registry.remove(newer)
    assert registry.list() == []
    assert not list(tmp_path.iterdir())


def test_the_entry_of_a_dead_daemon_is_stale_and_comes_last(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    common = {"volume": "file:///srv/db", "backing": tmp_path / "b", "control": tmp_path / "c"}
    dead = registry.register(tmp_path / "a", pid=dead_pid(), **common)  # type: ignore[arg-type]
    assert dead.is_stale
    assert registry.find("file:///srv/db") == dead
    alive = registry.register(tmp_path / "z", **common)  # type: ignore[arg-type]
    assert registry.find("file:///srv/db") == alive


def test_a_later_process_with_the_same_pid_is_not_the_daemon(tmp_path: Path) -> None:
    entry = register(Registry(tmp_path), tmp_path, "db1")
    values = {name: getattr(entry, name) for name in Entry.__slots__}
    assert Entry(**{**values, "started": "another boot:1"}).is_stale


def test_a_zombie_is_a_dead_daemon() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) == ""
    child.wait()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 70_000, b'{"pid": 1}'],
)
def test_a_damaged_entry_is_left_out(tmp_path: Path, content: bytes) -> None:
    registry = Registry(tmp_path)
    entry = register(registry, tmp_path, "db1")
    (tmp_path / "0000.json").write_bytes(content)
    assert registry.list() == [entry]


def test_an_entry_with_values_of_other_types_is_left_out(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    entry = register(registry, tmp_path, "db1")
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "pid": "1"}))
    assert registry.list() == []
    path.write_text(json.dumps(found))
    assert registry.list() == [entry]


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    registry = Registry(tmp_path / "file" / "run")
    assert registry.list() == []
    assert registry.find("/mnt/db") is None
    with pytest.raises(UsageError, match="cannot register"):
        register(registry, tmp_path, "db1")


def test_a_link_that_leads_nowhere_or_in_a_circle_still_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("missing/place")
    assert canonical(tmp_path / "circle").parent == tmp_path
    assert canonical(tmp_path / "nowhere") == tmp_path / "missing" / "place"
    assert canonical(Path("/")) == Path("/")
