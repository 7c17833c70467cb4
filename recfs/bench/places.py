"""Where a case runs: a native directory, bindfs over one, and a recfs mount, on the same disk."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from recfs.testing.databases.mounted import BindfsMount, Mount, RecfsMount, run_recfs

PlaceName = Literal["native", "bindfs", "recfs"]
PLACE_NAMES: tuple[PlaceName, ...] = ("native", "bindfs", "recfs")


class Place(ABC):
    """A directory to work in, between `open` and `close`; and a name for one outside of it."""

    name: PlaceName
    directory: Path
    private: Path

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

    def settle(self) -> None:
        """Wait until what was written is on disk, so that no case pays for the one before it."""
        subprocess.run(["sync", "-f", str(self.directory)], check=True)


class Native(Place):
    name = "native"

    def __init__(self, root: Path) -> None:
        self.directory = root / "native"
        self.private = root / "native-server"

    def open(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def close(self) -> None:
        pass


class _Mounted(Place):
    mount: Mount

    def open(self) -> None:
        self.mount.start()
        self.directory = self.mount.mountpoint

    def close(self) -> None:
        if self.mount.running:
            self.mount.unmount()


class Bindfs(_Mounted):
    name = "bindfs"

    def __init__(self, root: Path) -> None:
        self.private = root / "bindfs-server"
        source = root / "bindfs-source"
        source.mkdir()
        self.mount = BindfsMount(source, root / "bindfs")


class Recfs(_Mounted):
    """`volume` is its URL."""

    name = "recfs"
    mount: RecfsMount

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        self.private = root / "recfs-server"
        self.volume = f"file://{root}/journal/db1"
        self.mount = RecfsMount(self.volume, root / "recfs", root / "recfs-backing", options)

    def settle(self) -> None:
        run_recfs("sync", str(self.directory))
        super().settle()

    def peak_memory(self) -> int:
        """In bytes."""
        return self.mount.peak_memory()


def make_places(
    names: Sequence[PlaceName], root: Path, recfs_options: Sequence[str] = ()
) -> list[Place]:
    """The places called `names`, each in a directory of its own in `root`; none is open yet."""
    places: list[Place] = []
    for name in names:
        match name:
            case "native":
                places.append(Native(root))
            case "bindfs":
                places.append(Bindfs(root))
            case "recfs":
                places.append(Recfs(root, recfs_options))
    return places
