"""Turns at the index: one thread at a time, and saving before reading."""

import contextlib
import threading
from collections.abc import Iterator
from enum import IntEnum

__all__ = ["IndexTurns", "Turn"]


class Turn(IntEnum):
    """The purpose of a turn. Those further up go first."""

    SAVE = 0
    QUERY = 1
    COPY = 2


class IndexTurns:
    """A lock for the one connection to the index.

    A plain lock would not do: the thread of queries often gets it back before the thread that saves wakes up.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._waiting = [0] * len(Turn)

    @contextlib.contextmanager
    def take(self, turn: Turn) -> Iterator[None]:
        """Wait for a turn and hold it, after all that go first."""
        self._begin(turn)
        try:
            yield
        finally:
            self._end()

    @contextlib.contextmanager
    def pause(self, turn: Turn) -> Iterator[None]:
        """Let others have their turns, then take the own one again."""
        self._end()
        try:
            yield
        finally:
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        with self._changed:
            self._waiting[turn] += 1
            self._changed.wait_for(lambda: not self._is_taken and not any(self._waiting[:turn]))
            self._waiting[turn] -= 1
            self._is_taken = True

    def _end(self) -> None:
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()
