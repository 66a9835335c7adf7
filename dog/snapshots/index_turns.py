"""Turns at the index: one thread at a time, and saving before reading."""

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["IndexTurns"]


class IndexTurns:
    """A lock for the one connection to the index.

    A plain lock would not do: the thread of queries often gets it back before the thread that saves wakes up.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._saves_waiting = 0

    @contextlib.contextmanager
    def take(self, *, saves: bool) -> Iterator[None]:
        """Wait for a turn and hold it. A query also waits until no save does."""
        with self._changed:
            self._saves_waiting += saves
            self._changed.wait_for(lambda: not self._is_taken and (saves or not self._saves_waiting))
            self._saves_waiting -= saves
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
