"""Where a setting comes from: option, variable, file, default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recfs.cli import VERBS
from recfs.cli import recfs as command
from recfs.cli.mount import mount, mount_settings
from recfs.config import MountSettings, default_backing
from recfs.config_file import FILE_KEYS
from recfs.errors import UsageError
from recfs.volume import parse_volume

VOLUME = "file:///srv/db1"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("RECFS_"):
            monkeypatch.delenv(name)


def settings_of(*arguments: str) -> MountSettings:
    with mount.make_context("mount", list(arguments)) as context:
        given = dict(context.params)
        given.pop("detach")
        given.pop("log_file")
        return mount_settings(context, given)


def test_each_file_key_is_an_option_or_argument_and_a_variable() -> None:
    found = set()
    with command.make_context("recfs", ["version"]) as context:
        for verb in VERBS:
            command_of_verb = command.get_command(context, verb)
            assert command_of_verb is not None
            for parameter in command_of_verb.params:
                if parameter.envvar is not None and parameter.name != "config":
                    assert parameter.envvar == f"RECFS_{parameter.name.upper()}"
                    found.add(parameter.name)
    # The command to run follows `--`; its variable is read by the verb.
    assert found | {"command"} == set(FILE_KEYS)


def test_defaults_are_those_of_the_settings() -> None:
    settings = settings_of(VOLUME, "/mnt/db")
    volume = parse_volume(VOLUME)
    assert settings.backing == default_backing(
        volume, is_root=os.geteuid() == 0, state_home=Path.home() / ".local/state"
    )
    assert settings == MountSettings(
        volume=volume,
        mountpoint=Path("/mnt/db"),
        backing=settings.backing,
        runtime=settings.runtime,
    )


def test_an_option_comes_before_a_variable_before_a_file_before_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "recfs.toml"
    file.write_text(
        'cache = "through"\nheartbeat = 1\nallow_other = true\nxattr = true\n'
        'hints_interval = "1m"\ncommand = ["a", "b c"]\n'
    )
    monkeypatch.setenv("RECFS_HEARTBEAT", "2s")
    monkeypatch.setenv("RECFS_CACHE", "none")
    monkeypatch.setenv("RECFS_XATTR", "0")
    from_file = settings_of("--config", str(file), VOLUME, "/mnt/db")
    assert (from_file.hints_seconds, from_file.allow_other) == (60, True)
    assert from_file.command == ("a", "b c")
    assert (from_file.heartbeat_seconds, from_file.cache, from_file.xattr) == (2, "none", False)
    assert from_file.stop_timeout_seconds == 10
    given = settings_of(
        "--config",
        str(file),
        "--cache",
        "writeback",
        "--heartbeat=3",
        "--no-allow-other",
        "--xattr",
        VOLUME,
        "/mnt/db",
        "--",
        "c",
    )
    assert (
        given.cache,
        given.heartbeat_seconds,
        given.allow_other,
        given.xattr,
        given.command,
    ) == (
        "writeback",
        3,
        False,
        True,
        ("c",),
    )


def test_a_file_may_say_everything_and_name_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "recfs.toml"
    file.write_text(
        'volume = "file://$BASE/db1"\nmountpoint = "/mnt/$NAME"\nbacking = "/b/$NAME"\n'
        'command = ["postgres", "-D", "/mnt/$NAME"]\nfragment_length = "1MiB"\n'
    )
    monkeypatch.setenv("BASE", "/srv")
    monkeypatch.setenv("NAME", "db")
    monkeypatch.setenv("RECFS_CONFIG", str(file))
    settings = settings_of()
    assert settings.volume.url == "file:///srv/db1"
    assert (settings.mountpoint, settings.backing) == (Path("/mnt/db"), Path("/b/db"))
    assert settings.command == ("postgres", "-D", "/mnt/db")
    assert settings.fragment_length == 1 << 20
    monkeypatch.setenv("RECFS_COMMAND", "sh -c 'sleep 1'")
    assert settings_of().command == ("sh", "-c", "sleep 1")
    assert settings_of("--", "true", "--version", "--").command == ("true", "--version", "--")
    monkeypatch.setenv("RECFS_COMMAND", "sh 'open")
    with pytest.raises(UsageError, match="RECFS_COMMAND"):
        settings_of()


def test_places_are_made_absolute_and_follow_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    settings = settings_of(VOLUME, "link", "--backing", "./b/../c")
    assert settings.mountpoint == tmp_path / "real"
    assert settings.backing == tmp_path / "c"
    assert settings.control == tmp_path / "c" / "control"


def test_xdg_directories_are_used_when_they_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    settings = settings_of(VOLUME, "/mnt/db")
    assert settings.backing.parent == tmp_path / "state" / "recfs"
    assert settings.runtime == tmp_path / "run" / "recfs"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = settings_of(VOLUME, "/mnt/db")
    assert settings.backing.parent == tmp_path / ".local/state/recfs"
    assert settings.runtime == tmp_path / ".local/state/recfs/run"
