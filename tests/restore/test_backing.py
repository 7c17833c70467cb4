"""What a mount does with a backing directory: the decision as a table, and the clean marker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recfs.errors import BackingError
from recfs.restore.backing import BackingDirectory, Identity, Start, decide, fingerprint

MINE = Identity("volume-1", "db1/log")
HALF_IMPORTED = Identity("volume-1", "db1/log", importing=True)


@pytest.mark.parametrize(
    ("holds_files", "identity", "clean", "log_empty", "volume", "expected"),
    [
        (False, None, False, True, "", Start.FRESH),
        (True, None, False, True, "", Start.IMPORT),
        (False, None, False, False, "volume-1", Start.REBUILD),
        (False, None, False, False, "", Start.REBUILD),  # a log that Gazette recorded
        (True, MINE, True, False, "volume-1", Start.RESUME),
        (False, MINE, True, False, "volume-1", Start.RESUME),
        (True, MINE, False, False, "volume-1", Start.REBUILD),
        (True, HALF_IMPORTED, False, False, "volume-1", Start.IMPORT),
        (True, HALF_IMPORTED, False, True, "", Start.IMPORT),
    ],
)
def test_the_start_that_loses_nothing_is_chosen(
    holds_files: bool,
    identity: Identity | None,
    clean: bool,
    log_empty: bool,
    volume: str,
    expected: Start,
) -> None:
    found = decide(
        holds_files=holds_files,
        identity=identity,
        clean=clean,
        log_empty=log_empty,
        volume=volume,
    )
    assert found is expected


@pytest.mark.parametrize(
    ("identity", "log_empty", "volume", "words"),
    [
        (None, False, "volume-1", "not this volume's"),
        (MINE, True, "", "may be the last copy"),
        (MINE, False, "volume-2", "belongs to another volume"),
        (HALF_IMPORTED, False, "volume-2", "belongs to another volume"),
    ],
)
def test_files_that_would_be_lost_are_refused(
    identity: Identity | None, log_empty: bool, volume: str, words: str
) -> None:
    with pytest.raises(BackingError, match=words) as caught:
        decide(holds_files=True, identity=identity, clean=False, log_empty=log_empty, volume=volume)
    assert caught.value.exit_code == 16
    assert caught.value.attempt


@pytest.fixture
def backing(tmp_path: Path) -> BackingDirectory:
    backing = BackingDirectory(tmp_path / "backing")
    backing.open()
    (backing.tree / "dir").mkdir()
    (backing.tree / "dir" / "file").write_text("content")
    (backing.tree / "other").touch()
    return backing


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "dir" / "file").write_text("CONTENT"),
        lambda tree: (tree / "dir" / "file").chmod(0o600),
        lambda tree: (tree / "dir" / "new").touch(),
        lambda tree: (tree / "dir" / "file").unlink(),
        lambda tree: (tree / "other").rename(tree / "another"),
        lambda tree: os.utime(tree / "other", ns=(1, 1)),
        lambda tree: (tree / "empty").mkdir(),
    ],
    ids=["content", "mode", "create", "unlink", "rename", "times", "mkdir"],
)
def test_any_change_of_the_tree_changes_its_fingerprint(backing: BackingDirectory, change) -> None:  # type: ignore[no-untyped-def]
    before = fingerprint(backing.tree)
    assert fingerprint(backing.tree) == before
    change(backing.tree)
    assert fingerprint(backing.tree) != before
    backing.close()


def test_a_clean_marker_gives_its_state_back_only_for_the_tree_it_was_made_for(
    backing: BackingDirectory,
) -> None:
    assert backing.clean_state() is None
    backing.mark_clean(b"state")
    assert backing.clean_state() == b"state"
    (backing.tree / "dir" / "file").write_text("newer")
    with pytest.raises(BackingError, match="changed since recfs stopped cleanly"):
        backing.clean_state()
    backing.unmark_clean()
    assert backing.clean_state() is None
    backing.close()


def test_one_process_at_a_time_holds_a_backing_directory(backing: BackingDirectory) -> None:
    with pytest.raises(BackingError, match="in use by another recfs"):
        BackingDirectory(backing.path).open()
    backing.close()
    second = BackingDirectory(backing.path)
    second.open()
    second.close()


def test_a_rebuild_that_was_cut_short_leaves_what_was_there(backing: BackingDirectory) -> None:
    backing.restoring.mkdir()
    (backing.restoring / "half").touch()
    backing.tree.rename(backing.aside)  # killed between the two renames of swap_in
    backing.close()
    again = BackingDirectory(backing.path)
    again.open()
    assert (again.tree / "dir" / "file").read_text() == "content"
    assert not again.restoring.exists()
    again.close()
