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
    """Trims the memory when the number of users of it has fallen by `fall`, since it was last the highest."""

    def __init__(self, fall: int, trim: Callable[[], None] = trim_memory) -> None:
        self._fall = fall
        self._trim = trim
        self._most = 0
        self._has_fallen = False

    def observe(self, count: int) -> None:
        """Take the number of users. After a fall, memory is trimmed the next time: the last may only be leaving."""
        if self._has_fallen:
            self._trim()
        self._has_fallen = count <= self._most - self._fall
        self._most = count if self._has_fallen else max(self._most, count)
