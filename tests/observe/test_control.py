"""The control socket: round trips, refusals, garbage, and what a dead daemon leaves."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from recfs.errors import BackingError, Fenced, MountError, RecfsError, UsageError
from recfs.observe import control
from recfs.observe.control import ControlServer, NoDaemonError, call


async def _echo(args: dict[str, Any]) -> dict[str, Any]:
    return {"echo": args}


async def _fenced(args: dict[str, Any]) -> dict[str, Any]:
    raise Fenced("journal db1/log: another author took over", "mount again")


async def _broken(args: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("by nought")


async def _forever(args: dict[str, Any]) -> dict[str, Any]:
    await trio.sleep_forever()
    raise AssertionError


VERBS = {"echo": _echo, "fenced": _fenced, "broken": _broken, "forever": _forever}


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(path, VERBS).serve)
        yield
        nursery.cancel_scope.cancel()


async def ask(
    path: Path, verb: str, args: dict[str, Any] | None = None, seconds: float = 10
) -> Any:
    return await trio.to_thread.run_sync(partial(call, path, verb, args, seconds))


async def exchange(path: Path, content: bytes) -> bytes:
    """Send raw bytes, then read until the server closes."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(content)
        await stream.send_eof()
        return b"".join([part async for part in stream])


async def test_a_verb_gets_its_args_and_returns_its_answer(tmp_path: Path) -> None:
    args = {"text": "Größe\n\udcff", "list": [1, None, {"deep": True}]}
    async with serving(tmp_path / "control"):
        assert await ask(tmp_path / "control", "echo", args) == {"echo": args}
        assert await ask(tmp_path / "control", "echo") == {"echo": {}}


async def test_a_typed_error_travels(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        with pytest.raises(Fenced) as refused:
            await ask(tmp_path / "control", "fenced")
    assert refused.value.what == "journal db1/log: another author took over"
    assert refused.value.attempt == "mount again"
    assert refused.value.exit_code == 13


async def test_a_bug_in_a_verb_is_told_and_the_daemon_lives(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        with pytest.raises(RecfsError, match="ZeroDivisionError") as refused:
            await ask(tmp_path / "control", "broken")
        assert refused.value.exit_code == 1
        assert await ask(tmp_path / "control", "echo") == {"echo": {}}


async def test_an_unknown_verb_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        with pytest.raises(UsageError, match="'stauts'") as refused:
            await ask(tmp_path / "control", "stauts")
    assert "echo" in refused.value.attempt


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"verb": 7}',
        b'{"verb": ["echo"]}',
        b'{"verb": "echo", "args": []}',
        b"[" * 100_000,
    ],
)
async def test_garbage_is_refused_and_the_connection_goes_on(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "control"):
        answers = await exchange(tmp_path / "control", line + b'\n{"verb": "echo"}\n')
    refused, echoed = map(json.loads, answers.splitlines())
    assert refused["ok"] is False
    assert refused["exit_code"] == 2
    assert refused["what"]
    assert refused["attempt"]
    assert echoed == {"ok": True, "echo": {}}


async def test_a_request_without_line_end_gets_no_answer_and_harms_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        assert await exchange(tmp_path / "control", b'{"verb": "echo"}') == b""
        assert await ask(tmp_path / "control", "echo") == {"echo": {}}


async def test_an_endless_line_is_refused_and_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        async with await trio.open_unix_socket(tmp_path / "control") as stream:
            await stream.send_all(b"x" * (control.LINE_BYTES_MAX + 1))
            answer = json.loads(await stream.receive_some())
        assert answer["what"] == f"the request has more than {control.LINE_BYTES_MAX} bytes"
        assert await ask(tmp_path / "control", "echo") == {"echo": {}}


async def test_clients_past_the_bound_are_told_to_come_back(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with serving(path):
        held = []
        for _ in range(control.CONNECTIONS_MAX):
            held.append(await trio.open_unix_socket(path))
            await held[-1].send_all(b'{"verb": "echo"}\n')
            await held[-1].receive_some()
        with pytest.raises(MountError, match="too many clients"):
            await ask(path, "echo")
        for stream in held:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await ask(path, "echo") == {"echo": {}}


async def test_a_silent_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "IDLE_SECONDS", 0.01)
    path = tmp_path / "control"
    async with serving(path), await trio.open_unix_socket(path) as stream:
        assert await stream.receive_some() == b""


async def test_only_the_owner_may_open_the_socket(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        mode = (tmp_path / "control").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_a_path_longer_than_an_address_works(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120) / "Größe"
    directory.mkdir(parents=True)
    path = directory / "control"
    async with serving(path):
        assert await ask(path, "echo", {"a": 1}) == {"echo": {"a": 1}}
        assert stat.S_ISSOCK(path.stat().st_mode)
        with pytest.raises(BackingError, match="running recfs"):
            await ControlServer(path, VERBS).serve()
    assert not path.exists()
    with pytest.raises(NoDaemonError):
        await ask(path, "echo")


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    assert path.exists()
    with pytest.raises(NoDaemonError, match="Connection refused"):
        await ask(path, "echo")
    async with serving(path):
        assert await ask(path, "echo") == {"echo": {}}
    assert not path.exists()


async def test_the_socket_of_a_live_daemon_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with serving(path):
        with pytest.raises(BackingError, match="running recfs") as refused:
            await ControlServer(path, VERBS).serve()
        assert refused.value.exit_code == 16
        assert await ask(path, "echo") == {"echo": {}}


async def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control"
    path.write_text("precious")
    with pytest.raises(BackingError, match="in the way"):
        await ControlServer(path, VERBS).serve()
    assert path.read_text() == "precious"


async def test_a_directory_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BackingError, match="No such file"):
        await ControlServer(tmp_path / "missing" / "control", VERBS).serve()


async def test_a_daemon_that_does_not_answer_in_time_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path / "control"):
        with pytest.raises(MountError, match="did not answer within"):
            await ask(tmp_path / "control", "forever", seconds=0.05)


async def test_a_daemon_that_ends_before_it_answers_is_an_error(tmp_path: Path) -> None:
    asked = trio.Event()

    async def forever(args: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    async def run() -> None:
        with pytest.raises(MountError, match="ended before it answered"):
            await ask(tmp_path / "control", "forever")

    async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
        await nursery.start(ControlServer(tmp_path / "control", {"forever": forever}).serve)
        clients.start_soon(run)
        await asked.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\n", b"[]\n", b"{}\n", b"7\n", b"x" * (1 << 21)])
async def test_an_answer_of_another_program_is_an_error(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "control"

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            try:
                await stream.send_all(answer)
            except trio.BrokenResourceError:
                pass

    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(os.fspath(path))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        with pytest.raises(MountError, match="no recfs daemon"):
            await ask(path, "echo")
        nursery.cancel_scope.cancel()


async def test_an_error_class_that_is_not_known_here_keeps_its_words_and_exit_code() -> None:
    answer = {"error": "OfTheFuture", "what": "w", "attempt": "a", "exit_code": 44}
    error = control.from_answer(answer)
    assert (type(error), error.what, error.attempt, error.exit_code) == (RecfsError, "w", "a", 44)
    assert type(control.from_answer({"error": "annotations", "what": "w"})) is RecfsError
    assert type(control.from_answer({"error": "OffsetNotYetAvailable", "what": "w"})) is RecfsError
