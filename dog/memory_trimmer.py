"""Return freed memory from C's allocator to the system."""

import ctypes
from collections.abc import Callable

__all__ = ["MemoryTrimmer", "trim_memory"]


def _find_malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim, or None with another C library."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found


_malloc_trim = _find_malloc_trim()


def trim_memory() -> None:
    """Return freed memory to the system, in some milliseconds, with glibc."""
    if _malloc_trim is not None:
        _malloc_trim(0)


class MemoryTrimmer:
    """A trim of the memory some time after the number of connections fell.

    It waits `delay` observations, because the memory of a closed connection is not free at once. A further fall
    restarts the wait.
    """

    def __init__(self, min_fall: int, delay: int, trim: Callable[[], None] = trim_memory) -> None:
        self._min_fall = min_fall
        self._delay = delay
        self._trim = trim
        self._peak = 0
        self._remaining_delay: int | None = None

    def observe(self, count: int) -> None:
        """Record the number of connections. Call it at regular intervals."""
        if count <= self._peak - self._min_fall:
            self._peak, self._remaining_delay = count, self._delay
            return
        self._peak = max(self._peak, count)
        if self._remaining_delay is not None:
            self._remaining_delay -= 1
            if not self._remaining_delay:
                self._remaining_delay = None
                self._trim()
