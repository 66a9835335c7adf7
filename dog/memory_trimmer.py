"""Return freed memory from C's allocator to the system."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(slots=True)
class MemoryTrimmer:
    """A trim of the memory some time after the number of connections fell.

    It waits `delay` observations, because the memory of a closed connection is not free at once. A further fall
    restarts the wait.
    """

    min_fall: int
    delay: int
    trim: Callable[[], None] = trim_memory
    peak: int = 0
    remaining_delay: int | None = None

    def observe(self, count: int) -> None:
        """Record the number of connections. Call it at regular intervals."""
        if count <= self.peak - self.min_fall:
            self.peak, self.remaining_delay = count, self.delay
            return
        self.peak = max(self.peak, count)
        if self.remaining_delay is not None:
            self.remaining_delay -= 1
            if not self.remaining_delay:
                self.remaining_delay = None
                self.trim()
