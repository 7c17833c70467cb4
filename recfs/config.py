"""Settings as data: what a mount and a restore need to know, and where they put what by default.

Nothing here reads the environment, the home directory or the clock: `recfs.cli` looks those up and
passes them in, so that a program which uses recfs as a library decides for itself.

Precedence, highest first: command-line option, `RECFS_…` variable, configuration file (see
`config_file`), the default written here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recfs.errors import UsageError
from recfs.volume import Volume

Cache = Literal["writeback", "through", "none"]
LogFormat = Literal["text", "json"]

LOG_LEVELS = ("debug", "info", "warning", "error")

#: The smallest and the largest fragment a volume may ask for, in bytes.
FRAGMENT_LENGTH_MIN = 1 << 16
FRAGMENT_LENGTH_MAX = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """Everything `recfs.node.mount` is told. Paths are absolute, times are in seconds.

    `runtime` is the registry of the mounts of this host (`recfs.observe.registry`); None: this
    mount is not listed. `stop_timeout_seconds` is how long the command may take to end after
    SIGTERM before it is killed.
    """

    volume: Volume
    mountpoint: Path
    backing: Path
    runtime: Path | None = None
    cache: Cache = "writeback"
    allow_other: bool = False
    xattr: bool = False
    read_only: bool = False
    take_over: bool = False
    command: tuple[str, ...] = ()
    heartbeat_seconds: float = 5.0
    hints_seconds: float = 300.0
    fragment_length: int = 32 << 20
    stop_timeout_seconds: float = 10.0
    log_level: str = "info"
    log_format: LogFormat = "text"

    @property
    def control(self) -> Path:
        """The control socket, beside the tree."""
        return self.backing / "control"

    def __post_init__(self) -> None:
        """Refuse, with UsageError, places that would hide or swallow each other, and odd values."""
        _keep_apart("the mount point", self.mountpoint, "the backing directory", self.backing)
        if self.volume.service == "file":
            # The daemon would write the journal through its own mount, and wait for itself.
            journals = self.volume.root / self.volume.name
            _keep_apart("the mount point", self.mountpoint, "the volume", journals)
            _keep_apart("the volume", journals, "the backing tree", self.backing / "tree")
        for name, value, least, most in (
            ("heartbeat", self.heartbeat_seconds, 0.1, 3600),
            ("hints interval", self.hints_seconds, 1, 86400 * 7),
            ("stop timeout", self.stop_timeout_seconds, 0, 86400),
            ("fragment length", self.fragment_length, FRAGMENT_LENGTH_MIN, FRAGMENT_LENGTH_MAX),
        ):
            if not least <= value <= most:
                raise UsageError(f"a {name} of {value:g} is out of range", f"use {least} to {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """Everything `recfs.node.restore` is told. `offset`: stop there, in bytes of the log."""

    volume: Volume
    output: Path
    force: bool = False
    offset: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse, with UsageError, an output that would replace the volume."""
        if self.volume.service == "file":
            root = self.volume.root
            for journals in (root / self.volume.name, root / ".broker"):
                _keep_apart("the output directory", self.output, "the volume's directory", journals)


def _keep_apart(name: str, path: Path, other_name: str, other: Path) -> None:
    if path.is_relative_to(other) or other.is_relative_to(path):
        where = "is" if path == other else "lies within or around"
        raise UsageError(
            f"{name} {path} {where} {other_name} {other}", "keep the two in separate directories"
        )


# -- places on this host --------------------------------------------------------------------------


def default_backing(volume: Volume, *, is_root: bool, state_home: Path) -> Path:
    """The backing directory of `volume` when none is named: one per volume, stable over mounts.

    `state_home` is $XDG_STATE_HOME; root's go under /var/lib.
    """
    base = Path("/var/lib/recfs") if is_root else state_home / "recfs"
    # The name is for people, the digest keeps volumes of the same name apart.
    digest = hashlib.sha256(volume.url.encode()).hexdigest()[:12]
    return base / f"{volume.name.replace('/', '_')[-80:]}-{digest}"


def runtime_directory(*, is_root: bool, runtime_home: Path | None, state_home: Path) -> Path:
    """Where the mounts of this host are registered. `runtime_home` is $XDG_RUNTIME_DIR."""
    if is_root:
        return Path("/run/recfs")
    return runtime_home / "recfs" if runtime_home is not None else state_home / "recfs" / "run"
