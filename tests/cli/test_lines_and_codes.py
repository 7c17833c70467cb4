"""The command as a user or a script meets it: verbs, error lines, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from recfs import __version__
from recfs.cli import VERBS, run, verdict
from recfs.errors import Fenced, RecfsError

from .commands import RECFS, assert_fails, plain_environment, recfs


def test_without_a_verb_the_help_lists_all_verbs(tmp_path: Path) -> None:
    done = recfs(tmp_path)
    assert done.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
    assert recfs(tmp_path, "--help").stdout == done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(tmp_path: Path, verb: str) -> None:
    for flag in ("-h", "--help"):
        done = recfs(tmp_path, verb, flag)
        assert done.returncode == 0
        assert done.stdout.startswith(f"Usage: recfs {verb}")
        assert "--log-level" in done.stdout


def test_version_in_words_and_as_json(tmp_path: Path) -> None:
    assert recfs(tmp_path, "version").stdout.startswith(f"recfs {__version__} (python ")
    assert recfs(tmp_path, "--version").stdout == f"recfs {__version__}\n"
    found = json.loads(recfs(tmp_path, "version", "--json").stdout)
    assert found["recfs"] == __version__
    assert found.keys() > {"python", "pyfuse3", "trio", "protobuf", "kernel"}


@pytest.mark.parametrize(
    ("arguments", "code", "what", "attempt"),
    [
        (["muont"], 2, "no verb 'muont'", "recfs mount"),
        (["statsu", "/mnt"], 2, "no verb 'statsu'", "recfs status"),
        (["xyzzy"], 2, "no verb 'xyzzy'", "one of mount, restore"),
        (["--bogus"], 2, "--bogus", "recfs --help"),
        (["mount"], 2, "missing argument 'VOLUME'", "recfs mount --help"),
        (["mount", "file:///v/db1"], 2, "missing argument 'MOUNTPOINT'", "recfs mount --help"),
        (["mount", "file:///v/db1", "m", "CMD"], 2, "extra argument (CMD)", "recfs mount --help"),
        (["mount", "file:///v/db1", "m", "--"], 2, "no command follows", "leave '--' out"),
        (["mount", "file:///v/db1", "m", "--bakcing", "x"], 2, "--bakcing", "recfs mount --help"),
        (["mount", "file:///v/db1", "m", "--cache", "x"], 2, "'writeback'", "recfs mount --help"),
        (["mount", "file:///v/db1", "m", "--heartbeat", "soon"], 2, "'soon' is not a time", "5m"),
        (["mount", "file:///v/db1", "m", "--heartbeat", "0"], 2, "heartbeat of 0", "0.1 to"),
        (["mount", "file:///v/db1", "m", "--fragment-length", "1"], 2, "length of 1", "65536 to"),
        (["mount", "file:///v/db1", "/v/db1"], 2, "mount point /v/db1 is the volume", "separate"),
        (["mount", "file:///v/db1", "/v"], 2, "lies within or around the volume", "separate"),
        (["mount", "file:///v/db1", "/m", "--backing", "/m/b"], 2, "backing directory", "separate"),
        (["mount", "file:///b/tree/db1", "/m", "--backing", "/b"], 2, "backing tree", "separate"),
        (["mount", "file:///v/db1", ""], 2, "'' is not a path", "directory"),
        (["mount", "db1", "m"], 2, "'db1' is not a volume URL", "file:///"),
        (["mount", "/srv/db1", "m"], 2, "not a volume URL", "file:///srv/db1"),
        (["mount", "ftp://h/db1", "m"], 2, "no journal service 'ftp'", "file://"),
        (["mount", "-d", "file:///v/db1", "m", "--", "true"], 2, "nobody would get", "leave one"),
        (["restore", "file:///v/db1"], 2, "missing option '-o'", "recfs restore --help"),
        (["restore", "file:///v/db1", "-o", "d", "--offset", "-1"], 2, "negative", "from 0"),
        (["restore", "file:///v/db1", "-o", "d", "--offset", "x"], 2, "'x' is not", "--help"),
        (["status", "/mnt/none"], 15, "/mnt/none is not a recfs mount", "recfs status"),
        (["sync", "/mnt/none"], 15, "/mnt/none is not a recfs mount", "recfs status"),
        (["umount", "/mnt/none"], 15, "/mnt/none is not a recfs mount", "recfs status"),
        (["umount", "/proc"], 15, "but of type proc", "recfs status"),
        (["umount"], 2, "missing argument 'MOUNTPOINT'", "recfs umount --help"),
        (["version", "--config", "missing.toml"], 2, "missing.toml: No such file", "--config"),
        (["version", "--log-level", "loud"], 2, "'loud' is not one of", "recfs version --help"),
    ],
)
def test_a_wrong_call_is_told_in_two_lines(
    tmp_path: Path, arguments: list[str], code: int, what: str, attempt: str
) -> None:
    assert_fails(recfs(tmp_path, *arguments), code, what, attempt)


def test_a_name_that_is_not_utf_8_is_told_too(tmp_path: Path) -> None:
    assert_fails(recfs(tmp_path, "status", b"/mnt/\xff\n"), 15, "/mnt/\\udcff\\n is", "status")


def test_a_configuration_file_with_a_wrong_key_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("cache = 'none'\nbaking = '/x'\n")
    done = recfs(tmp_path, "mount", "--config", "c.toml")
    assert_fails(done, 2, "c.toml:2: there is no setting 'baking'", "backing")


def test_no_mounts_is_no_error(tmp_path: Path) -> None:
    assert recfs(tmp_path, "status").stdout == "no recfs mounts on this host\n"
    assert json.loads(recfs(tmp_path, "status", "--json").stdout) == []


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [RECFS, "version"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(tmp_path),
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_an_exception_that_nobody_foresaw_is_called_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr("recfs.cli.options.print_text", fail)
    assert run(["version"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Error: this is a bug in recfs: ZeroDivisionError: by\\nnought"
    assert "--log-level debug" in second
    assert run(["version", "--log-level", "debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130_and_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for interrupt in (KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])):

        def fail(*_: object, interrupt: BaseException = interrupt) -> None:
            raise interrupt

        monkeypatch.setattr("recfs.cli.options.print_text", fail)
        assert run(["version"]) == 130
        assert "Error" not in capsys.readouterr().err


def test_of_a_group_of_errors_the_foreseen_one_is_told() -> None:
    fenced = Fenced("fenced", "mount again")
    group = BaseExceptionGroup("", [KeyboardInterrupt(), BaseExceptionGroup("", [fenced])])
    assert verdict(group) is fenced
    bug = verdict(ExceptionGroup("", [fenced, ValueError("odd")]))
    assert type(bug) is RecfsError
    assert bug.exit_code == 1
    assert "ValueError: odd" in bug.what
