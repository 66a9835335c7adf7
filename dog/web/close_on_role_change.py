"""Long-lived connections, closed when their role changes, to reconnect."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count

from dog.auth import AuthService, Identity

__all__ = ["ROLE_CHANGED", "UNAUTHORIZED", "LiveSessions"]

ROLE_CHANGED = 1012
"""Close code: reconnect, to get the new rights."""
UNAUTHORIZED = 4401
"""Close code: do not reconnect."""

OnClose = Callable[[int, str], None]
"""A function that closes a connection, with a close code and a reason."""


class LiveSessions:
    """Long-lived connections and their identities. No `auth`: fixed roles."""

    def __init__(self, auth: AuthService | None) -> None:
        self._auth = auth
        self._live: dict[int, tuple[Identity, OnClose]] = {}
        self._numbers = count()

    def register(self, identity: Identity, on_close: OnClose) -> Callable[[], None]:
        """Call `on_close` once if the role changes. Return the end callback."""
        number = next(self._numbers)
        if self._auth is not None:
            self._live[number] = (identity, on_close)
        return lambda: self._live.pop(number, None) and None

    @contextlib.contextmanager
    def registered(self, identity: Identity, on_close: OnClose) -> Iterator[None]:
        """Register a connection until the block ends."""
        unregister = self.register(identity, on_close)
        try:
            yield
        finally:
            unregister()

    def recheck_roles(self) -> None:
        """Close connections with a changed role, when accounts or sessions change."""
        assert self._auth is not None
        for number, (identity, on_close) in tuple(self._live.items()):
            role = self._auth.current_role(identity)
            if role == identity.role:
                continue
            self._live.pop(number, None)
            if role is None:
                on_close(UNAUTHORIZED, "logged out")
            else:
                on_close(ROLE_CHANGED, "role changed")
