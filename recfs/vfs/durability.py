"""What an acknowledged fsync means, and what happens when that can no longer be shown.

Invariants kept here:

1. `record` is called in the same synchronous section as the effect on the backing tree, and the
   writable check stands before the effect: the order of frames is the order of effects, and no
   effect is left without its frame.
2. `barrier` returns only when everything recorded before it is committed in the journal.
3. Doubt is sticky: once the journal has refused this writer, nothing is recorded any more, the
   mount is read-only, and every later barrier raises.
"""

from __future__ import annotations

import errno
import os

from recfs.errors import RecfsError
from recfs.journal.appender import Appender
from recfs.recoverylog.recorder import Recorder


class Durability:
    """Joins a Recorder (operation to bytes) to an Appender (bytes to commit)."""

    def __init__(self, recorder: Recorder, appender: Appender) -> None:
        self.recorder = recorder
        self.appender = appender
        self.doubt: RecfsError | None = None
        #: The one call on the hot path: frames of one group, and the payload of a write.
        self.record = appender.add

    def check_writable(self) -> None:
        """Raise EROFS when nothing may change any more. Synchronous; stands before each effect."""
        if self.doubt is not None or self.appender.error is not None:
            self._doubt_from_appender()
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def distrust(self, error: RecfsError) -> None:
        """The first doubt stays."""
        if self.doubt is None:
            self.doubt = error

    def _doubt_from_appender(self) -> None:
        error = self.appender.error
        if error is not None:
            self.distrust(error)

    async def wait_room(self) -> None:
        """Back-pressure: park until un-acknowledged bytes are below their bound."""
        try:
            await self.appender.wait_room()
        except RecfsError as error:
            self.distrust(error)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS)) from error

    async def barrier(self) -> None:
        """Return when everything recorded so far is committed; raise EIO when that is in doubt."""
        if self.doubt is None:
            try:
                await self.appender.barrier()
                return
            except RecfsError as error:
                self.distrust(error)
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from self.doubt
