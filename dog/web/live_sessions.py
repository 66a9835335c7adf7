"""Who stays for longer than an answer: sent away when what they may changes, to come back if they still may."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count

from dog.auth import AuthService, Identity

__all__ = ["CHANGED", "UNAUTHORIZED", "LiveSessions"]

CHANGED = 1012
"""Close code: come back, and be told anew what you may."""
UNAUTHORIZED = 4401
"""Close code: do not."""

End = Callable[[int, str], None]
"""What ends a presence, with a close code and a reason."""


class LiveSessions:
    """Those who are there by what `access` says of them; without it nothing ever changes, and nobody is kept."""

    def __init__(self, access: AuthService | None) -> None:
        self._access = access
        self._present: dict[int, tuple[Identity, End]] = {}
        self._numbers = count()

    def enter(self, visitor: Identity, end: End) -> Callable[[], None]:
        """`end` is called once, when the visitor's role is another. What is given back is to be called when they go."""
        number = next(self._numbers)
        if self._access is not None:
            self._present[number] = (visitor, end)
        return lambda: self._present.pop(number, None) and None

    @contextlib.contextmanager
    def registered(self, visitor: Identity, end: End) -> Iterator[None]:
        leave = self.enter(visitor, end)
        try:
            yield
        finally:
            leave()

    def recheck_roles(self) -> None:
        """The accounts have changed, or a session has ended."""
        assert self._access is not None
        for number, (visitor, end) in tuple(self._present.items()):
            role = self._access.current_role(visitor)
            if role == visitor.role:
                continue
            self._present.pop(number, None)
            if role is None:
                end(UNAUTHORIZED, "logged out")
            else:
                end(CHANGED, "role changed")
