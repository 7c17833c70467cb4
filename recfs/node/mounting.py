"""`mount`: a volume from settings to a served directory, and back down in reverse."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from recfs.clients import open_client
from recfs.config import MountSettings
from recfs.errors import BackingError, MountError, RecfsError
from recfs.fuse.mount import Mount, prepare, unmount
from recfs.fuse.operations import KernelCache, Operations, kernel_options
from recfs.journal.appender import Appender
from recfs.journal.model import JournalSpec, Selector
from recfs.observe.control import ControlServer
from recfs.observe.logs import logger
from recfs.observe.mounts import detach, write_back
from recfs.observe.progress import Progress
from recfs.observe.registry import Registry
from recfs.recoverylog.author import fence
from recfs.recoverylog.recorder import Recorder
from recfs.recoverylog.recoverylog_pb2 import Mark
from recfs.recoverylog.state import encode_state
from recfs.restore.backing import BackingDirectory, Identity, Start
from recfs.restore.importing import import_tree, tree_size
from recfs.restore.start import bring_up
from recfs.vfs.backing import BackingTree
from recfs.vfs.durability import Durability
from recfs.vfs.filesystem import Filesystem

from .command import Command, open_files
from .hints import HintsWriter
from .view import StatusView

log = logger("mount")

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

#: Seconds between two tries to unmount a busy mount point.
BUSY_RETRY_SECONDS = 0.5


async def mount(
    settings: MountSettings, *, progress: Progress, on_ready: Callable[[], None]
) -> int:
    """Serve `settings.volume` at `settings.mountpoint` until it is unmounted; return the exit code.

    The code is the command's where there is one, 13 when this host was fenced while it served,
    else 0. Raise RecfsError for everything that keeps the mount from serving.
    """
    prepare(settings.mountpoint)
    inherited = _adjust_process()
    backing = BackingDirectory(settings.backing)
    async with AsyncExitStack() as closing:
        backing.open()
        closing.callback(backing.close)
        spec = JournalSpec(fragment_length=settings.fragment_length)
        client = open_client(settings.volume, read_only=settings.read_only, spec=spec)
        closing.push_async_callback(client.aclose)
        if not settings.read_only:
            await client.create(settings.volume.log, spec)
            await client.create(settings.volume.hints, spec)
        view = StatusView(settings)
        node = _Node(settings, backing, client, view, progress, on_ready, inherited)
        async with trio.open_nursery() as nursery:
            control = ControlServer(settings.control, node.verbs())
            await nursery.start(control.serve)
            registry = Registry(settings.runtime) if settings.runtime is not None else None
            entry = None
            if registry is not None:
                entry = registry.register(
                    settings.mountpoint,
                    volume=settings.volume.url,
                    backing=settings.backing,
                    control=settings.control,
                )
            nursery.start_soon(node.watch_signals)
            try:
                return await node.run()
            finally:
                if registry is not None and entry is not None:
                    registry.remove(entry, failure=node.doubt)
                nursery.cancel_scope.cancel()
    raise AssertionError("the node returns or raises")


#: The daemon's niceness where it may choose. A commit takes several short turns of this process,
#: and every process that syncs waits for each of them: with more runnable processes than processors
#: a file server at par with its clients makes all of them wait.
NICENESS = -10


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the command gets of the process that this one was before it became a file server."""

    umask: int
    niceness: int


def _adjust_process() -> Inherited:
    """What a file server needs: descriptors, its turn in time, and files of its own kept private.

    Files in the tree get their modes explicitly, whatever the umask is.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness == 0:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        except PermissionError:
            pass  # an ordinary user's daemon takes its turn like any other
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A commit that comes back from the disk thread must not wait for the default of 5 ms while the
    # event loop is in one long step.
    sys.setswitchinterval(0.000_5)
    return Inherited(os.umask(0o077), niceness)


class _Node:
    """One mount from bring-up to clean unmount. The parts live here; nothing points back."""

    def __init__(
        self,
        settings: MountSettings,
        backing: BackingDirectory,
        client: Any,
        view: StatusView,
        progress: Progress,
        on_ready: Callable[[], None],
        inherited: Inherited,
    ) -> None:
        self._settings = settings
        self._backing = backing
        self._client = client
        self._view = view
        self._progress = progress
        self._on_ready = on_ready
        self._inherited = inherited
        self._stop = trio.Event()
        self._durability: Durability | None = None
        self._command: Command | None = None
        self._abort = trio.CancelScope()

    @property
    def doubt(self) -> RecfsError | None:
        """Why not everything that was written is known to be committed; None when it is."""
        return self._durability.doubt if self._durability is not None else None

    # -- the story ---------------------------------------------------------------------------

    async def run(self) -> int:
        code = None
        with self._abort:
            code = await self._run()
        if code is None:
            log.warning("stopped before everything was committed")
            return 128 + signal.SIGTERM
        return code

    async def _run(self) -> int:
        settings, backing = self._settings, self._backing
        up = await bring_up(
            self._client,
            settings.volume.log,
            backing,
            heartbeat_seconds=settings.heartbeat_seconds,
            force=settings.take_over,
            read_only=settings.read_only,
            progress=self._progress,
        )
        appender = Appender(
            self._client,
            settings.volume.log,
            check=Selector(include=fence(up.author)),
            on_commit=lambda commit: recorder.committed(commit.end),
            committed_offset=up.end_offset,
        )
        recorder = Recorder(
            up.fsm, up.author, lambda: 0 if appender.batch_is_open else time.time_ns()
        )
        durability = self._durability = Durability(recorder, appender)
        self._view.follow(durability)
        hints = HintsWriter(self._client, settings.volume.hints, up.author, durability)
        async with trio.open_nursery() as nursery:
            await nursery.start(appender.run)
            if up.start is Start.IMPORT:
                self._view.state = "importing"
                self._progress.start("importing", tree_size(backing.tree))
                await import_tree(
                    backing.tree,
                    recorder,
                    appender,
                    xattr=settings.xattr,
                    advance=self._progress.advance,
                )
                self._progress.finish()
                backing.claim(Identity(up.owner.volume, settings.volume.log))
            async with trio.open_nursery() as chores:
                if not settings.read_only:
                    chores.start_soon(self._beat, up.owner.to_text())
                    chores.start_soon(hints.run, settings.hints_seconds)
                await self._serve(up.fsm.namespace, durability)
                chores.cancel_scope.cancel()
            await self._close(hints)
        if self._command is not None and self._command.returncode is not None:
            return self._command.returncode
        return durability.doubt.exit_code if durability.doubt is not None else 0

    async def _serve(self, namespace: Any, durability: Durability) -> None:
        settings = self._settings
        writeback = settings.cache == "writeback"
        filesystem = Filesystem(
            BackingTree(self._backing.tree), namespace, durability, kernel_keeps_times=writeback
        )
        self._view.inodes = filesystem.inodes
        operations = Operations(
            filesystem,
            KernelCache(writeback=writeback, direct=settings.cache == "none"),
            xattr=settings.xattr,
        )
        options = kernel_options(
            volume=settings.volume.url,
            allow_other=settings.allow_other,
            read_only=settings.read_only,
        )
        session = Mount(operations, settings.mountpoint, options)
        # What was allocated so far lives as long as the mount: keep the collector off it.
        gc.collect()
        gc.freeze()
        try:
            with session.session():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._stop_when_asked)
                    nursery.start_soon(self._announce, nursery)
                    await session.serve()
                    self._view.state = "stopping"
                    nursery.cancel_scope.cancel()
        finally:
            filesystem.close()

    async def _announce(self, nursery: trio.Nursery) -> None:
        # The first request answered means that the kernel and this process agree.
        await trio.to_thread.run_sync(os.stat, self._settings.mountpoint, abandon_on_cancel=True)
        try:
            await trio.to_thread.run_sync(self._backing.drop_aside)
        except BackingError as error:
            log.warning("the tree from before the rebuild is still there", reason=error.what)
        self._view.state = "serving"
        log.info("serving", volume=self._settings.volume.url, at=str(self._settings.mountpoint))
        if self._settings.command:
            self._command = Command(
                self._settings.command, self._inherited.umask, self._inherited.niceness
            )
            nursery.start_soon(self._run_command, self._command)
        self._on_ready()

    async def _run_command(self, command: Command) -> None:
        try:
            code = await command.run()
            log.info("the command has ended", code=code)
        finally:
            self._stop.set()

    async def _close(self, hints: HintsWriter) -> None:
        """The kernel is gone: commit everything, write hints, and say that the tree is whole."""
        durability = self._durability
        assert durability is not None
        appender = durability.appender
        if self._settings.read_only:
            await appender.close()
            return
        try:
            if durability.doubt is None:
                appender.add(durability.recorder.mark(Mark.CLEAN, ""))
            await appender.close()
        except RecfsError as error:
            durability.distrust(error)
            log.error("unmounted, but not everything is committed", reason=error.what)
            return
        try:
            await hints.write()
        except RecfsError as error:
            log.warning("hints were not written", reason=error.what)
        committed = appender.statistics().committed_offset
        try:
            self._backing.mark_clean(encode_state(durability.recorder.fsm, offset=committed))
        except BackingError as error:
            log.warning("the next mount will rebuild the tree from the log", reason=error.what)

    # -- chores ------------------------------------------------------------------------------

    async def _beat(self, owner: str) -> None:
        """Heartbeats, so that another host sees that this one lives. Not synced, only appended."""
        durability = self._durability
        assert durability is not None
        while True:
            await trio.sleep(self._settings.heartbeat_seconds)
            if durability.doubt is None and durability.appender.error is None:
                durability.record(durability.recorder.mark(Mark.HEARTBEAT, owner))

    async def watch_signals(self) -> None:
        """SIGTERM and SIGINT stop in order; a second one gives up what is still waited for."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    if self._command is not None:
                        self._command.pass_on(number)
                    continue
                log.info("stopping", signal=signal.Signals(number).name)
                if self._stop.is_set() or self._view.state in ("restoring", "importing"):
                    self._abort.cancel()
                self._stop.set()

    async def _stop_when_asked(self) -> None:
        """Stop the command, then unmount; a busy mount is detached after the time-out."""
        settings = self._settings
        await self._stop.wait()
        self._view.state = "stopping"
        if self._command is not None:
            await self._command.stop(settings.stop_timeout_seconds)
        deadline = trio.current_time() + settings.stop_timeout_seconds
        # The kernel writes dirty pages back first, and waits for this process with them: who gives
        # up must not wait for the kernel.
        while not await _in_thread(unmount, settings.mountpoint):
            if trio.current_time() > deadline:
                busy = await _in_thread(_busy_words, settings)
                log.warning(f"{settings.mountpoint} is busy{busy}; detaching it")
                await _in_thread(write_back, settings.mountpoint)
                await _in_thread(detach, settings.mountpoint)
                return
            await trio.sleep(BUSY_RETRY_SECONDS)

    # -- control verbs -----------------------------------------------------------------------

    def verbs(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return {"status": self._status, "sync": self._sync, "unmount": self._unmount}

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._view.now().to_json()

    async def _sync(self, _: dict[str, Any]) -> dict[str, Any]:
        durability = self._durability
        if durability is None:
            raise MountError("the volume is still being restored", "wait until it serves")
        try:
            await durability.barrier()
        except OSError:
            assert durability.doubt is not None
            raise durability.doubt from None
        return {"committed_offset": durability.appender.statistics().committed_offset}

    async def _unmount(self, _: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        idle = self._command is None and self._view.state == "serving"
        if idle and not await _in_thread(unmount, settings.mountpoint):
            raise MountError(
                f"{settings.mountpoint} is busy{await _in_thread(_busy_words, settings)}",
                "end what uses it, then try again",
            )
        self._stop.set()
        return {}


async def _in_thread(call: Callable[[_Given], _Result], given: _Given) -> _Result:
    return await trio.to_thread.run_sync(call, given, abandon_on_cancel=True)


def _busy_words(settings: MountSettings) -> str:
    pids = open_files(str(settings.mountpoint))
    return f": in use by process {', '.join(pids)}" if pids else ""
