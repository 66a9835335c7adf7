"""What can be measured from outside: Prometheus' numbers, each under the name and in the unit that GET /metrics shows.

One registry a service, no global one. Whoever does a thing counts it here; docs/metrics.md says what each means.
Every series is there from the first scrape on: one that appears with its first event hides that event from `rate()`.
"""

import asyncio
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
"""Seconds: the fan-out to one viewer takes some microseconds, to ten thousand some fifty milliseconds."""
SLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Seconds: a camera that is open takes a tenth, one that has to warm up some seconds."""
LOOP_CHECK_INTERVAL = 1.0
"""Seconds between two looks at how late the event loop is."""


class Metrics:
    """All numbers of one service."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._rendering = asyncio.Lock()
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, which nobody asks for
        ProcessCollector(registry=registry)
        Info("dog_build", "The build that runs.", registry=registry).info(
            {"version": version, "python": platform.python_version()}
        )
        self.presses = Counter(
            "dog_presses_total",
            "Presses by what became of them: started, joined, queued or cached.",
            ("camera", "outcome"),
            registry=registry,
        )
        self.captures = Counter(
            "dog_captures_total",
            "Captures by outcome: ready, or the code of the failure.",
            ("camera", "outcome"),
            registry=registry,
        )
        self.capture_duration = Histogram(
            "dog_capture_duration_seconds",
            "From capturing to ready or failed.",
            ("camera",),
            buckets=SLOW_BUCKETS,
            registry=registry,
        )
        self.camera_up = Gauge(
            "dog_camera_up", "1 while the camera is there, 0 while it is offline.", ("camera",), registry=registry
        )
        self.preview_watchers = Gauge(
            "dog_preview_watchers", "Who watches a camera's live view now.", ("camera",), registry=registry
        )
        self.viewers = Gauge("dog_viewers", "Viewers that are watching now.", registry=registry)
        self.viewers_dropped = Counter(
            "dog_viewers_dropped_total",
            "Viewers cut off because they did not read (slow), or said nothing for too long (silent).",
            ("reason",),
            registry=registry,
        )
        self.resumes = Counter(
            "dog_resumes_total",
            "Viewers that came back with a cursor, by whether all that they missed could be replayed.",
            ("recovered",),
            registry=registry,
        )
        self.fanout = Histogram(
            "dog_fanout_duration_seconds",
            "How long it took to hand one event to all viewers.",
            buckets=FAST_BUCKETS,
            registry=registry,
        )
        self.event_lag = Histogram(
            "dog_event_lag_seconds",
            "How long viewers whose line was full took to have everything again.",
            buckets=SLOW_BUCKETS,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "dog_loop_lag_seconds",
            "How late the event loop came to a timer, looked at once a second.",
            buckets=FAST_BUCKETS,
            registry=registry,
        )
        self.connections = Gauge("dog_connections", "Open connections, viewers among them.", registry=registry)
        self.requests_waiting = Gauge(
            "dog_requests_waiting", "Requests that wait, since their client has too many already.", registry=registry
        )
        self.connections_refused = Counter(
            "dog_connections_refused_total",
            "Refused requests: too many in all (total) or of one client (address), a head that was too large"
            " (head_too_big) or took too long (head_timeout).",
            ("reason",),
            registry=registry,
        )
        self.snapshots = Gauge("dog_snapshots", "Snapshots that are kept.", registry=registry)
        self.snapshots_bytes = Gauge(
            "dog_snapshots_bytes", "Bytes of the kept pictures, without their thumbnails.", registry=registry
        )
        self.snapshots_removed = Counter(
            "dog_snapshots_removed", "Snapshots that were deleted, or made room.", ["reason"], registry=registry
        )
        self.clock_trusted = Gauge(
            "dog_clock_trusted",
            "1, or 0 while the clock is in doubt and nothing is deleted because of its age.",
            registry=registry,
        )
        for reason in get_args(Removal):
            self.snapshots_removed.labels(reason)
        for dropped in get_args(DropReason):
            self.viewers_dropped.labels(dropped)
        for recovered in ("true", "false"):
            self.resumes.labels(recovered)
        for refused in ("total", "address", "head_too_big", "head_timeout"):
            self.connections_refused.labels(refused)

    def add_camera(self, name: str, is_up: Callable[[], bool], count_watchers: Callable[[], int]) -> None:
        """Begin the series of one camera. What is asked for is asked at each scrape, in a thread."""
        for press in get_args(Outcome):
            self.presses.labels(name, press)
        for capture in CAPTURE_OUTCOMES:
            self.captures.labels(name, capture)
        self.capture_duration.labels(name)
        self.camera_up.labels(name).set_function(is_up)
        self.preview_watchers.labels(name).set_function(count_watchers)

    async def watch_loop(self, clock: Callable[[], float]) -> None:
        """Look for ever at how late the event loop is, by a clock in seconds."""
        while True:
            due = clock() + LOOP_CHECK_INTERVAL
            await asyncio.sleep(LOOP_CHECK_INTERVAL)
            self.loop_lag.observe(max(0.0, clock() - due))

    async def render(self, accept: str) -> tuple[bytes, str]:
        """All numbers in the format that an Accept header asks for, and its content type.

        In a thread, as counting ten thousand descriptors takes the system more than ten milliseconds; one at a time,
        as a fan-out shares the interpreter with it.
        """
        encode, content_type = _choose_format(accept)
        async with self._rendering:
            return await asyncio.to_thread(encode, self.registry), content_type


def _choose_format(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """The format of OpenMetrics where it is asked for, else Prometheus' own."""
    try:
        return choose_encoder(accept)
    except TypeError:  # it compares the version that is asked for, which is no number here
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
