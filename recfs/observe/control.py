"""The control socket of a daemon, and a plain client for it.

The protocol: over a stream socket in the file system, the client sends one JSON object per line,
`{"verb": NAME, "args": {…}}`, and the daemon answers each with one line: `{"ok": true, …}` with
what the verb returned, or `{"ok": false, "error": CLASS, "what", "attempt", "exit_code"}` of
`recfs.errors`. Lines have at most `LINE_BYTES_MAX` bytes.

Who may open the socket may stop the mount: it has mode 0600, from its first moment on.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from recfs import errors
from recfs.errors import BackingError, MountError, RecfsError, UsageError
from recfs.observe.logs import logger

LINE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 16
#: A connection that sends nothing for so long is closed: it must not keep others out.
IDLE_SECONDS = 30.0

#: sun_path holds 108 bytes with the closing zero (unix(7)).
_ADDRESS_BYTES_MAX = 107

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NoAnswerError(MountError):
    """The daemon gave no answer: not in time, or not before it ended."""


class NoDaemonError(NoAnswerError):
    """Nobody listens at the control socket."""


class ControlServer:
    """Answers the verbs of one daemon at the socket `path`, whose directory exists."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._connections = 0

    async def serve(
        self,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled; started when connections are taken. The socket goes at the end.

        A socket that a dead daemon left is replaced. A live one, another file in its place, or a
        directory that cannot be written raises BackingError.
        """
        _remove_stale(self._path)
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            # Before bind: the file takes the mode that the socket has then.
            os.fchmod(listener.fileno(), 0o600)
            try:
                with _address(self._path) as address:
                    await listener.bind(address)
            except OSError as error:
                raise BackingError(
                    f"cannot make the control socket {self._path}: {error.strerror}",
                    "check the backing directory, or name another one with --backing",
                ) from None
            made = self._path.lstat().st_ino
            try:
                listener.listen(CONNECTIONS_MAX)
                await trio.serve_listeners(
                    self._converse, [trio.SocketListener(listener)], task_status=task_status
                )
            finally:
                try:
                    # Not the socket of a daemon that took the place of this one.
                    if self._path.lstat().st_ino == made:
                        self._path.unlink()
                except OSError:
                    pass

    async def _converse(self, stream: trio.SocketStream) -> None:
        """Answer one client; whatever it sends or does ends at most its own connection."""
        self._connections += 1
        try:
            async with stream:
                if self._connections > CONNECTIONS_MAX:
                    busy = MountError("the daemon answers too many clients now", "try again")
                    await stream.send_all(_line(to_answer(busy)))
                    return
                await self._answer_all(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away
        finally:
            self._connections -= 1

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        pending = bytearray()
        while True:
            begin = 0
            while (end := pending.find(b"\n", begin)) < 0 and len(pending) <= LINE_BYTES_MAX:
                begin = len(pending)
                with trio.move_on_after(IDLE_SECONDS):
                    received = await stream.receive_some()
                    if received:
                        pending += received
                        continue
                return
            if end < 0 or end > LINE_BYTES_MAX:
                # Where the next request begins is not known: this connection is over.
                refused = UsageError(
                    f"the request has more than {LINE_BYTES_MAX} bytes", "shorten it"
                )
                await stream.send_all(_line(to_answer(refused)))
                return
            request = bytes(pending[:end])
            del pending[: end + 1]
            await stream.send_all(_line(await self._answer(request)))

    async def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            verb, args = self._parse(request)
            return {"ok": True, **await verb(args)}
        except RecfsError as error:
            return to_answer(error)
        except Exception as error:
            logger(__name__).exception("a control verb failed", request=request[:200])
            return to_answer(RecfsError(f"a bug in the daemon: {error!r}", "see the daemon's log"))

    def _parse(self, request: bytes) -> tuple[Verb, dict[str, Any]]:
        attempt = 'send {"verb": NAME, "args": {…}} on one line'
        try:
            found = json.loads(request)
        except (ValueError, RecursionError):
            raise UsageError("the request is not JSON", attempt) from None
        if not isinstance(found, dict) or not isinstance(found.get("args", {}), dict):
            raise UsageError("the request is not an object with args", attempt)
        name = found.get("verb")
        verb = self._verbs.get(name) if isinstance(name, str) else None
        if verb is None:
            raise UsageError(
                f"there is no control verb {name!r:.80}", f"use one of {', '.join(self._verbs)}"
            )
        return verb, found.get("args", {})


def call(
    path: Path, verb: str, args: Mapping[str, Any] | None = None, timeout: float | None = 10.0
) -> dict[str, Any]:
    """Ask the daemon at `path` and return its answer; waits at most `timeout` seconds, or for ever.

    What the daemon refuses is raised as the error that it was there. NoDaemonError: nobody
    listens. NoAnswerError: no answer in time, or the connection was cut. MountError: the socket is
    another user's, or the answer is none of ours.
    """
    request = _line({"verb": verb, "args": dict(args or {})})
    pending = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with _address(path) as address:
                connection.connect(address)
        except TimeoutError:
            raise _silent(path, timeout) from None
        except PermissionError:
            raise MountError(
                f"the control socket {path} belongs to another user",
                "run this as that user or root",
            ) from None
        except OSError as error:
            raise NoDaemonError(
                f"no daemon answers at {path}: {error.strerror}", "check that the volume is mounted"
            ) from None
        try:
            try:
                connection.sendall(request)
            except BrokenPipeError:
                pass  # a refusal came before the question; it is there to be read
            while not pending.endswith(b"\n") and len(pending) <= LINE_BYTES_MAX:
                received = connection.recv(1 << 16)
                if not received:
                    break
                pending += received
        except TimeoutError:
            raise _silent(path, timeout) from None
        except OSError as error:
            raise NoAnswerError(
                f"the daemon at {path} cut the connection: {error.strerror}", "see its log"
            ) from None
    if not pending:
        raise NoAnswerError(f"the daemon at {path} ended before it answered", "see its log")
    return _read_answer(path, bytes(pending))


def _read_answer(path: Path, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        succeeded = answer.pop("ok")
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        raise MountError(f"what answers at {path} is no recfs daemon", "check the path") from None
    if succeeded is True:
        assert isinstance(answer, dict)
        return answer
    raise from_answer(answer)


def _silent(path: Path, timeout: float | None) -> NoAnswerError:
    return NoAnswerError(
        f"the daemon at {path} did not answer within {timeout or 0:.1f} s",
        "wait longer with --timeout, or see the daemon's log",
    )


def to_answer(error: RecfsError) -> dict[str, Any]:
    """`error` as it travels to another process."""
    return {
        "ok": False,
        "error": type(error).__name__,
        "what": error.what,
        "attempt": error.attempt,
        "exit_code": error.exit_code,
    }


def from_answer(answer: Mapping[str, Any]) -> RecfsError:
    """The typed error again: of the same class, or else of one with the same exit code."""
    what, attempt = str(answer.get("what", "no reason given")), str(answer.get("attempt", ""))
    kind = getattr(errors, str(answer.get("error")), None)
    # A class with another constructor holds values that did not travel; its base says enough.
    if not (isinstance(kind, type) and issubclass(kind, RecfsError)) or (
        kind is errors.OffsetNotYetAvailable
    ):
        kind = RecfsError
    error = kind(what, attempt)
    code = answer.get("exit_code")
    if isinstance(code, int):
        error.exit_code = code  # of a later version's class, too
    return error


def _line(message: Mapping[str, Any]) -> bytes:
    # Paths that are not UTF-8 arrive as lone surrogates, which ASCII escapes carry.
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """An address of at most 107 bytes for the socket `path`: a longer one goes by its directory."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES_MAX:
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there; or bind will say what is wrong
    if not stat.S_ISSOCK(mode):
        raise BackingError(f"{path} is in the way of the control socket", "move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # A full backlog is a live daemon; without this, connect would wait for it.
        connection.setblocking(False)
        try:
            with _address(path) as address:
                connection.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass
    raise BackingError(
        f"a running recfs answers at {path}: the backing directory is in use",
        "unmount that one first, or name another directory with --backing",
    )
