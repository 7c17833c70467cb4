"""Ways to reach a journal, and `open_client`, which picks the one that a volume's URL names."""

from __future__ import annotations

from recfs.errors import UsageError
from recfs.journal.model import JournalClient, JournalSpec
from recfs.volume import Volume


def open_client(
    volume: Volume, *, read_only: bool = False, spec: JournalSpec | None = None
) -> JournalClient:
    """A client of the service that keeps the journals of `volume`.

    `spec` is how journals that are created through it keep their fragments. A service for which
    this build has no client raises UsageError.
    """
    if volume.service == "file":
        # Imported here: each client brings its own dependencies, and one is enough.
        from recfs.clients.embedded import EmbeddedClient

        return EmbeddedClient(volume.root, read_only=read_only, spec=spec or JournalSpec())
    raise UsageError(
        f"{volume}: this build of recfs has no client for {volume.service}:// volumes",
        "use a file:// volume, or a later recfs",
    )
