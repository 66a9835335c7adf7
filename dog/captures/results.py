"""What became of captures, for those who wait for one: a future each, remembered for a while after its end."""

import asyncio

from dog.errors import CaptureError, RequestError
from dog.snapshots import Snapshot

__all__ = ["CaptureResults"]

MAX_REMEMBERED = 256
"""Captures that are remembered for those who ask what became of them."""

SnapshotFuture = asyncio.Future[Snapshot]
"""Of a snapshot, or its CaptureError; a RequestError where the server stopped before. Everybody's: to be awaited behind
a shield.
"""


class CaptureResults:
    """The captures of one camera, by their numbers. `coming` is the outcome of whichever leaves a snapshot next."""

    def __init__(self) -> None:
        self.next_snapshot = _make_future()
        self._outcomes: dict[int, SnapshotFuture] = {}

    def expect(self, capture: int) -> SnapshotFuture:
        """The capture's outcome, which is not there yet."""
        outcome = self._outcomes.get(capture)
        if outcome is None:
            outcome = self._outcomes[capture] = _make_future()
            while len(self._outcomes) > MAX_REMEMBERED:
                del self._outcomes[next(iter(self._outcomes))]
        return outcome

    def find(self, capture: int) -> SnapshotFuture | None:
        """None where it was not asked for, or is forgotten."""
        return self._outcomes.get(capture)

    def succeed(self, capture: int, snapshot: Snapshot) -> None:
        self.expect(capture).set_result(snapshot)
        next_snapshot, self.next_snapshot = self.next_snapshot, _make_future()
        next_snapshot.set_result(snapshot)

    def fail(self, capture: int, error: CaptureError) -> None:
        # What is remembered of a failure is its words: its frames would keep the refused picture in memory.
        error.__cause__ = error.__context__ = None
        self.expect(capture).set_exception(error.with_traceback(None))

    def close(self, error: RequestError) -> None:
        """There will be no more: who still waits is told so."""
        for outcome in (*self._outcomes.values(), self.next_snapshot):
            if not outcome.done():
                outcome.set_exception(error)


def _make_future() -> SnapshotFuture:
    future: SnapshotFuture = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody has to ask
    return future
