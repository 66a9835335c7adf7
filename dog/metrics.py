"""The Prometheus metrics of GET /metrics, which docs/metrics.md explains.

Each service has its own registry. Every series exists from the first scrape: if a series appeared with its first
event, `rate()` would miss that event.
"""

import asyncio
import functools
import platform
from collections.abc import Callable
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import choose_encoder

from dog.errors import CaptureError
from dog.protocol import Outcome, Removal

__all__ = ["DropReason", "Metrics"]

DropReason = Literal["slow", "silent"]

CAPTURE_OUTCOMES = ("ready", *sorted({error.code for error in CaptureError.__subclasses__()}))

FAST_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Histogram buckets in seconds. A fan-out takes microseconds for one viewer, about 50 ms for ten thousand."""
SLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Histogram buckets in seconds. A capture takes 0.1 s with an open camera, seconds with one that warms up."""
LOOP_CHECK_INTERVAL = 1.0
"""Seconds between two measurements of the event loop's lag."""


class Metrics:
    """All metrics of one service."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._rendering = asyncio.Lock()
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, of no use
        ProcessCollector(registry=registry)
        counter = functools.partial(Counter, registry=registry)
        gauge = functools.partial(Gauge, registry=registry)
        histogram = functools.partial(Histogram, registry=registry)
        Info("dog_build", "The build that runs.", registry=registry).info(
            {"version": version, "python": platform.python_version()}
        )
        self.presses = counter(
            "dog_presses_total", "Presses by outcome: started, joined, queued or cached.", ("camera", "outcome")
        )
        self.captures = counter(
            "dog_captures_total", "Captures by outcome: ready, or the code of the failure.", ("camera", "outcome")
        )
        self.capture_duration = histogram(
            "dog_capture_duration_seconds", "From capturing to ready or failed.", ("camera",), buckets=SLOW_BUCKETS
        )
        self.camera_up = gauge("dog_camera_up", "1 while the camera is online, 0 while it is offline.", ("camera",))
        self.preview_watchers = gauge("dog_preview_watchers", "Clients of a camera's live view.", ("camera",))
        self.viewers = gauge("dog_viewers", "Connected viewers.")
        self.viewers_dropped = counter(
            "dog_viewers_dropped_total",
            "Viewers dropped because they did not read (slow), or sent nothing for too long (silent).",
            ("reason",),
        )
        self.resumes = counter(
            "dog_resumes_total",
            "Viewers that resumed with a cursor; recovered: all missed events could be replayed.",
            ("recovered",),
        )
        self.fanout = histogram(
            "dog_fanout_duration_seconds", "Time to send one event to all viewers.", buckets=FAST_BUCKETS
        )
        self.event_lag = histogram(
            "dog_event_lag_seconds", "Time that viewers with a full send buffer took to catch up.", buckets=SLOW_BUCKETS
        )
        self.loop_lag = histogram(
            "dog_loop_lag_seconds", "Delay of a timer in the event loop, measured once a second.", buckets=FAST_BUCKETS
        )
        self.connections = gauge("dog_connections", "Open connections, viewers among them.")
        self.requests_waiting = gauge(
            "dog_requests_waiting", "Requests that wait because their client has too many already."
        )
        self.connections_refused = counter(
            "dog_connections_refused_total",
            "Refused requests: too many in total (total) or from one client, open (address) or per minute (rate), or a"
            " request head that was too large (head_too_big) or too slow (head_timeout).",
            ("reason",),
        )
        self.snapshots = gauge("dog_snapshots", "Snapshots in the album.")
        self.snapshots_bytes = gauge("dog_snapshots_bytes", "Bytes of all snapshots, without their thumbnails.")
        self.snapshots_removed = counter(
            "dog_snapshots_removed", "Snapshots removed by users or retention.", ("reason",)
        )
        self.clock_trusted = gauge(
            "dog_clock_trusted", "1, or 0 while the clock is in doubt and no snapshot is deleted because of its age."
        )
        for reason in get_args(Removal):
            self.snapshots_removed.labels(reason)
        for dropped in get_args(DropReason):
            self.viewers_dropped.labels(dropped)
        for recovered in ("true", "false"):
            self.resumes.labels(recovered)
        for refused in ("total", "address", "rate", "head_too_big", "head_timeout"):
            self.connections_refused.labels(refused)

    def add_camera(self, name: str, is_up: Callable[[], bool], count_watchers: Callable[[], int]) -> None:
        """Create a camera's series. Each scrape calls the functions in a thread."""
        for press in get_args(Outcome):
            self.presses.labels(name, press)
        for capture in CAPTURE_OUTCOMES:
            self.captures.labels(name, capture)
        self.capture_duration.labels(name)
        self.camera_up.labels(name).set_function(is_up)
        self.preview_watchers.labels(name).set_function(count_watchers)

    async def watch_loop(self, clock: Callable[[], float]) -> None:
        """Measure the event loop's lag until cancelled, by a clock in seconds."""
        while True:
            due = clock() + LOOP_CHECK_INTERVAL
            await asyncio.sleep(LOOP_CHECK_INTERVAL)
            self.loop_lag.observe(max(0.0, clock() - due))

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the Accept header's format, and its content type.

        They are rendered in a thread, because counting ten thousand descriptors takes more than 10 ms. Only one
        rendering runs at a time, because it shares the interpreter with the fan-out.
        """
        encode, content_type = _choose_format(accept)
        async with self._rendering:
            return await asyncio.to_thread(encode, self.registry), content_type


def _choose_format(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return the encoder: OpenMetrics if Accept has it, else Prometheus."""
    try:
        return choose_encoder(accept)
    except TypeError:  # the header's version is not a number
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
