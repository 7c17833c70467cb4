"""Running in the background: what the parent learns of its child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from .commands import plain_environment

_SCRIPT = """
import os, signal, sys, time
from recfs import cli
from recfs.cli.detach import run_detached
from recfs.errors import *
from recfs.observe import logs
from pathlib import Path

def serve(on_ready):
    print("child", os.getpid(), flush=True)
BODY

def main():
    logs.configure("info", file=Path("log"))
    try:
        return run_detached(serve)
    except RecfsError as error:
        return cli.fail(error)

sys.exit(main())
"""


def detached(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    script = _SCRIPT.replace("BODY", textwrap.indent(textwrap.dedent(body), "    "))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=plain_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def child_of(parent: subprocess.Popen[str]) -> int:
    assert parent.stdout is not None
    return int(parent.stdout.readline().removeprefix("child "))


def wait_gone(pid: int) -> None:
    try:
        number = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(number):
        import select

        assert select.select([number], [], [], 20)[0]


def test_the_parent_returns_when_the_child_serves_and_the_child_goes_on(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    parent = detached(
        tmp_path,
        f"""
        on_ready()
        print("into the void", flush=True)
        print("into the void", file=sys.stderr, flush=True)
        with open({str(go_on)!r}) as file:
            file.read()
        Path({str(tmp_path / "ended")!r}).write_text(os.getcwd())
        return 0
        """,
    )
    child = child_of(parent)
    # Reading to the end also shows that the child let go of both streams.
    assert parent.communicate(timeout=20) == ("", "")
    assert parent.returncode == 0
    assert os.getsid(child) == child
    go_on.write_text("go on")
    wait_gone(child)
    assert (tmp_path / "ended").read_text() == "/"


def test_an_error_before_the_child_serves_is_the_parent_s(tmp_path: Path) -> None:
    parent = detached(tmp_path, 'raise Fenced("another host took over", "mount again")')
    child_of(parent)
    assert parent.communicate(timeout=20) == (
        "",
        "Error: another host took over\nTry: mount again\n",
    )
    assert parent.returncode == 13
    assert "another host took over" in (tmp_path / "log").read_text()


def test_a_bug_before_the_child_serves_is_the_parent_s_and_its_traceback_is_in_the_log(
    tmp_path: Path,
) -> None:
    parent = detached(tmp_path, "1 / 0")
    child_of(parent)
    _, errors = parent.communicate(timeout=20)
    assert parent.returncode == 1
    assert errors.startswith("Error: this is a bug in recfs: ZeroDivisionError")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_an_exit_code_without_having_served_is_passed_on(tmp_path: Path) -> None:
    parent = detached(tmp_path, "return 143")
    child_of(parent)
    assert parent.communicate(timeout=20) == ("", "")
    assert parent.returncode == 143


def test_a_child_that_is_killed_is_told(tmp_path: Path) -> None:
    parent = detached(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    child_of(parent)
    _, errors = parent.communicate(timeout=20)
    assert parent.returncode == 1
    assert "killed by signal 9 before it served" in errors


def test_interrupting_the_parent_stops_the_child(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        parent = detached(tmp_path, "time.sleep(60)\nreturn 0")
        child = child_of(parent)
        parent.send_signal(number)
        assert parent.communicate(timeout=20)[1] == ""
        assert parent.returncode == 130
        wait_gone(child)


def test_a_child_whose_parent_was_killed_serves_all_the_same(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    parent = detached(
        tmp_path,
        f"""
        with open({str(go_on)!r}) as file:
            file.read()
        on_ready()
        Path({str(tmp_path / "served")!r}).touch()
        return 0
        """,
    )
    child = child_of(parent)
    parent.kill()
    parent.wait()
    go_on.write_text("go on")
    wait_gone(child)
    parent.communicate(timeout=20)
    assert (tmp_path / "served").exists()


def test_an_error_after_the_child_served_is_in_the_log(tmp_path: Path) -> None:
    parent = detached(tmp_path, 'on_ready()\nraise Fenced("another host took over")')
    child = child_of(parent)
    assert parent.communicate(timeout=20) == ("", "")
    assert parent.returncode == 0
    wait_gone(child)
    assert "another host took over" in (tmp_path / "log").read_text()
