"""Running a daemon in the background: the parent stays until the daemon serves or has failed.

The child keeps the terminal until it is ready, so that a long restore shows how far it is; from
then on it belongs to no terminal. Through a pipe it tells the parent that it is ready, or why it
is not, and the parent's exit code is what a script needs to know.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from recfs.errors import RecfsError
from recfs.observe.control import from_answer, to_answer
from recfs.observe.logs import logger

_INTERRUPTED = 130


def run_detached(serve: Callable[[Callable[[], None]], int]) -> int:
    """Run `serve` in a child process; returns 0 once it has called the function that it is given.

    A child that fails before that passes its error on: it is raised here. Interrupting the parent
    stops the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_run_child(serve, writing))
    os.close(writing)
    return _wait_ready(pid, reading)


def _run_child(serve: Callable[[Callable[[], None]], int], writing: int) -> int:
    """Never raises: nothing of the parent's may run in the child."""
    told = False

    def tell(message: dict[str, Any]) -> None:
        nonlocal told
        if not told:
            told = True
            try:
                os.write(writing, json.dumps(message).encode())
            except BrokenPipeError:
                pass  # the parent was killed; the mount serves all the same
            os.close(writing)

    def on_ready() -> None:
        tell({"ok": True})
        _point(os.O_WRONLY, 1, 2)

    try:
        os.setsid()
        _point(os.O_RDONLY, 0)
        os.chdir("/")  # holds no directory busy
        code = serve(on_ready)
        tell({"ok": False, "code": code})
        return code
    except BaseException as error:
        from recfs.cli import verdict

        known = verdict(error)
        log = logger(__name__)
        if type(known) is RecfsError:
            log.error("ended by a bug", exc_info=error)
        else:
            log.error(known.what, attempt=known.attempt, exit_code=known.exit_code)
        tell(to_answer(known))
        return known.exit_code


def _point(mode: int, *descriptors: int) -> None:
    """Point descriptors at /dev/null: closed ones would be given to the next file opened."""
    null = os.open(os.devnull, mode)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def _wait_ready(pid: int, reading: int) -> int:
    interrupted = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        os.kill(pid, signal.SIGTERM)

    # The child left our process group: Ctrl-C reaches only this process.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        if told and (answer := json.loads(told))["ok"]:
            return 0
        _, status = os.waitpid(pid, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        return _INTERRUPTED
    if told and "code" in answer:
        return int(answer["code"])
    if told:
        raise from_answer(answer)
    code = os.waitstatus_to_exitcode(status)
    raise RecfsError(
        f"the daemon was killed by signal {-code} before it served"
        if code < 0
        else f"the daemon ended with code {code} before it served, without a word",
        "see its log, and the kernel's (dmesg)",
    )
