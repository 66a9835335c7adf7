"""Results of captures: futures that are remembered for a while."""

import asyncio

from dog.errors import CaptureError, RequestError
from dog.snapshots import Snapshot

__all__ = ["CaptureResults"]

MAX_REMEMBERED = 256
"""Maximum number of captures whose results are remembered."""

SnapshotFuture = asyncio.Future[Snapshot]
"""A future snapshot, CaptureError, or RequestError if the server stops. It is shared: await it behind a shield."""


class CaptureResults:
    """Results of a camera's captures, by number, and its next snapshot."""

    def __init__(self) -> None:
        self.next_snapshot = _make_future()
        self._futures: dict[int, SnapshotFuture] = {}

    def expect(self, capture: int) -> SnapshotFuture:
        """Return the future of a capture, and create it if needed."""
        future = self._futures.get(capture)
        if future is None:
            future = self._futures[capture] = _make_future()
            while len(self._futures) > MAX_REMEMBERED:
                del self._futures[next(iter(self._futures))]
        return future

    def find(self, capture: int) -> SnapshotFuture | None:
        """Return a capture's future; None if never requested, or forgotten."""
        return self._futures.get(capture)

    def succeed(self, capture: int, snapshot: Snapshot) -> None:
        self.expect(capture).set_result(snapshot)
        next_snapshot, self.next_snapshot = self.next_snapshot, _make_future()
        next_snapshot.set_result(snapshot)

    def fail(self, capture: int, error: CaptureError) -> None:
        # Remember only the message of a failure: its traceback would keep the refused image in memory.
        error.__cause__ = error.__context__ = None
        self.expect(capture).set_exception(error.with_traceback(None))

    def close(self, error: RequestError) -> None:
        """Make all unfinished captures fail with this error."""
        for future in (*self._futures.values(), self.next_snapshot):
            if not future.done():
                future.set_exception(error)


def _make_future() -> SnapshotFuture:
    future: SnapshotFuture = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # no warning if it is never awaited
    return future
