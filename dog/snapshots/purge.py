"""Delete photos that are too old or too many, by a command, and confirm the clock.

While a server has the album, it deletes by itself; the command can then only confirm the clock. Everything here blocks.
"""

import contextlib
import time
from pathlib import Path

from dog.clock import Clock, Doubt
from dog.errors import DogError, StartError
from dog.snapshots.album import Archive
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.lock import InUse
from dog.snapshots.retention import Limits
from dog.snapshots.verify import lock_album

__all__ = ["ClockInDoubt", "Purge"]

_NOTICE_TIMEOUT = 15.0
"""Seconds; a server looks every second."""
_NOTICE_INTERVAL = 0.05


class ClockInDoubt(DogError):
    """The clock is in doubt, so that nothing was deleted. `str()` is one line that says what to do."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(f"{doubt} Nothing was deleted. {doubt.advice}")


class Purge:
    """One purge of an album. `deleted` is the number of photos; what else happened is said by the two others."""

    def __init__(self, root: Path) -> None:
        self.deleted = 0
        self.is_confirmed = False
        self.is_left_to_server = False
        self._root = root

    def run(self, limits: Limits | None, *, confirm: bool, clock: Clock | None = None) -> None:
        """Delete what the limits say. Raises ClockInDoubt, StartError, StorageError and StorageFull.

        With `confirm`, a doubt of the clock ends because a person says that the clock is right.
        """
        try:
            with lock_album(self._root):  # there is an album
                pass
            archive = Archive(self._root, clock)
            with contextlib.closing(archive):
                archive.open()
                self._delete(archive, limits, confirm)
        except InUse:
            self._tell_server(DoubtFiles(self._root / ".dog"), confirm)

    def _delete(self, archive: Archive, limits: Limits | None, confirm: bool) -> None:
        doubt = archive.clock.check()
        if doubt is not None:
            if not (confirm and archive.clock.confirm(doubt)):
                raise ClockInDoubt(doubt)
            self.is_confirmed = True
        archive.check_clock()
        while limits is not None and (deleted := archive.purge(limits)):
            self.deleted += len(deleted)

    def _tell_server(self, files: DoubtFiles, confirm: bool) -> None:
        self.is_left_to_server = True
        doubt = files.read()
        if doubt is None:
            return
        if not confirm:
            raise ClockInDoubt(doubt)
        self.is_confirmed = files.confirm()
        deadline = time.monotonic() + _NOTICE_TIMEOUT
        while not files.is_noticed():
            if time.monotonic() >= deadline:
                raise StartError("The server has not noticed the confirmation yet. See its log, and try again.")
            time.sleep(_NOTICE_INTERVAL)
        if (still := files.read()) is not None:
            raise ClockInDoubt(still)
