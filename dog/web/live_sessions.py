"""Who stays for longer than an answer: sent away when what they may changes, to come back if they still may."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count

from dog.auth import AuthService, Identity

__all__ = ["ROLE_CHANGED", "UNAUTHORIZED", "LiveSessions"]

ROLE_CHANGED = 1012
"""Close code: come back, and be told anew what you may."""
UNAUTHORIZED = 4401
"""Close code: do not."""

OnClose = Callable[[int, str], None]
"""What ends a presence, with a close code and a reason."""


class LiveSessions:
    """Those who are there by what `access` says of them; without it nothing ever changes, and nobody is kept."""

    def __init__(self, access: AuthService | None) -> None:
        self._access = access
        self._live: dict[int, tuple[Identity, OnClose]] = {}
        self._numbers = count()

    def register(self, identity: Identity, on_close: OnClose) -> Callable[[], None]:
        """`end` is called once, when the visitor's role is another. What is given back is to be called when they go."""
        number = next(self._numbers)
        if self._access is not None:
            self._live[number] = (identity, on_close)
        return lambda: self._live.pop(number, None) and None

    @contextlib.contextmanager
    def registered(self, identity: Identity, on_close: OnClose) -> Iterator[None]:
        unregister = self.register(identity, on_close)
        try:
            yield
        finally:
            unregister()

    def recheck_roles(self) -> None:
        """The accounts have changed, or a session has ended."""
        assert self._access is not None
        for number, (identity, on_close) in tuple(self._live.items()):
            role = self._access.role_now(identity)
            if role == identity.role:
                continue
            self._live.pop(number, None)
            if role is None:
                on_close(UNAUTHORIZED, "logged out")
            else:
                on_close(ROLE_CHANGED, "role changed")
