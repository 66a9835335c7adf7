"""Limits of wrong share links, and connections that ended links opened."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from dog.auth.login_throttle import LoginThrottle
from dog.clock import utc_now
from dog.snapshots import Share

__all__ = ["LinkAccess"]

MAX_RECHECK_SECONDS = 60.0
"""Longest time between two looks at the wall clock, which may be set."""

OnClose = Callable[[int, str], None]


class LinkAccess:
    """The wrong tokens of each client address, and the connections of links.

    Wrong tokens have the rules of logins, but a throttle of their own: any site's page can make its visitors send them.
    """

    def __init__(self, free_attempts: int) -> None:
        self._throttle = LoginThrottle(free_attempts)
        self._open: dict[str, set[OnClose]] = {}

    def count_wrong_token(self, address: str) -> None:
        """Count a wrong token; raise `rate_limited` if there were too many.

        A right token is never delayed: nobody can guess 256 bits.
        """
        now = time.monotonic()
        self._throttle.check(None, address, now, "wrong links were requested")
        self._throttle.count_attempt(None, address, now)

    @contextlib.contextmanager
    def registered(self, share: Share, on_close: OnClose) -> Iterator[None]:
        """Call `on_close` if the link is revoked or expires during the block."""
        connections = self._open.setdefault(share.id, set())
        connections.add(on_close)
        expiry = asyncio.create_task(_close_at_expiry(share, on_close))
        try:
            yield
        finally:
            expiry.cancel()
            connections.discard(on_close)
            if not connections:
                self._open.pop(share.id, None)

    def close(self, link: str) -> None:
        """Close the connections that a revoked link opened."""
        for on_close in tuple(self._open.get(link, ())):
            on_close(0, "revoked")


async def _close_at_expiry(share: Share, on_close: OnClose) -> None:
    while (left := (share.expires_at - utc_now()).total_seconds()) > 0:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(min(left, MAX_RECHECK_SECONDS))
    on_close(0, "expired")
