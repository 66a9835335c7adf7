"""Memory that was freed, and that C's allocator keeps: given back to the system when much of it may be there."""

import ctypes
from collections.abc import Callable

__all__ = ["MemoryTrimmer", "trim_memory"]


def _find_malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim. None with another C library, such as musl or that of macOS."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found


_malloc_trim = _find_malloc_trim()


def trim_memory() -> None:
    """Return freed memory to the system. It takes some milliseconds, and does nothing without glibc."""
    if _malloc_trim is not None:
        _malloc_trim(0)


class MemoryTrimmer:
    """Trims the memory when the number of its users has fallen by `fall`, `delay` observations after that.

    The delay is for those who have left and whose memory is not free yet. A further fall begins it again.
    """

    def __init__(self, fall: int, delay: int, trim: Callable[[], None] = trim_memory) -> None:
        self._fall = fall
        self._delay = delay
        self._trim = trim
        self._most = 0
        self._left: int | None = None

    def observe(self, count: int) -> None:
        """Take the number of users; call it at regular intervals."""
        if count <= self._most - self._fall:
            self._most, self._left = count, self._delay
            return
        self._most = max(self._most, count)
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._left = None
                self._trim()
