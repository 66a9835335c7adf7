"""Delete photos that are too old or too many, by a command, and confirm the clock.

While a server has the album, it deletes by itself; the command can then only confirm the clock. Everything here blocks.
"""

import contextlib
import time
from pathlib import Path

from dog.clock import Clock, Doubt
from dog.errors import DogError, StartError
from dog.snapshots.album import Album
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.lock import AlbumInUse
from dog.snapshots.retention import Limits
from dog.snapshots.verify import lock_album

__all__ = ["ClockInDoubt", "Purge"]

_CONFIRMATION_TIMEOUT_SECONDS = 15.0
"""Seconds; a server looks every second."""
_CONFIRMATION_POLL_SECONDS = 0.05


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
            album = Album(self._root, clock)
            with contextlib.closing(album):
                album.open()
                self._delete(album, limits, confirm)
        except AlbumInUse:
            self._confirm_to_server(DoubtFiles(self._root / ".dog"), confirm)

    def _delete(self, album: Album, limits: Limits | None, confirm: bool) -> None:
        doubt = album.clock.check()
        if doubt is not None:
            if not (confirm and album.clock.confirm(doubt)):
                raise ClockInDoubt(doubt)
            self.is_confirmed = True
        album.check_clock()
        while limits is not None and (deleted := album.purge(limits)):
            self.deleted += len(deleted)

    def _confirm_to_server(self, files: DoubtFiles, confirm: bool) -> None:
        self.is_left_to_server = True
        doubt = files.read()
        if doubt is None:
            return
        if not confirm:
            raise ClockInDoubt(doubt)
        self.is_confirmed = files.confirm()
        deadline = time.monotonic() + _CONFIRMATION_TIMEOUT_SECONDS
        while not files.is_noticed():
            if time.monotonic() >= deadline:
                raise StartError("The server has not noticed the confirmation yet. See its log, and try again.")
            time.sleep(_CONFIRMATION_POLL_SECONDS)
        if (still := files.read()) is not None:
            raise ClockInDoubt(still)
