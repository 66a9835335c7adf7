"""What can be measured from outside: Prometheus' numbers, each under the name and in the unit that GET /metrics shows.

One registry a service, no global one. Whoever does a thing counts it here; docs/metrics.md says what each means.
"""

from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

__all__ = ["DropReason", "Metrics"]

DropReason = Literal["slow", "silent"]

QUICK = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds: the fan-out to one viewer takes some microseconds, to ten thousand some fifty milliseconds."""
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Seconds: a camera that is open takes a tenth, one that has to warm up some seconds."""


class Metrics:
    """All numbers of one service."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("dog_build", "The build that runs.", registry=registry).info({"version": version})
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
            "From `capturing` to `ready` or `failed`.",
            ("camera",),
            buckets=SLOW,
            registry=registry,
        )
        self.camera_up = Gauge(
            "dog_camera_up", "1 while the camera is there, 0 while it is offline.", ("camera",), registry=registry
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
            buckets=QUICK,
            registry=registry,
        )
        self.event_lag = Histogram(
            "dog_event_lag_seconds",
            "How long viewers whose line was full took to have everything again.",
            buckets=SLOW,
            registry=registry,
        )
        self.connections = Gauge("dog_connections", "Open connections, viewers among them.", registry=registry)
        self.connections_refused = Counter(
            "dog_connections_refused_total",
            "Connections refused with 503: too many in all (total), or from one address (address).",
            ("reason",),
            registry=registry,
        )
        self.snapshots = Gauge("dog_snapshots", "Snapshots that are kept.", registry=registry)
        self.snapshot_bytes = Gauge(
            "dog_snapshot_bytes", "Bytes of the kept pictures, without thumbnails.", registry=registry
        )
        for reason in ("slow", "silent"):
            self.viewers_dropped.labels(reason)
        for recovered in ("true", "false"):
            self.resumes.labels(recovered)
        for reason in ("total", "address"):
            self.connections_refused.labels(reason)
