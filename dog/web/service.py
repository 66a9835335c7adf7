"""The running service: one object under one key of the application."""

from dataclasses import dataclass

from aiohttp import web

from dog.auth import AuthService, Identity
from dog.captures.camera_task import CameraTask
from dog.captures.retention_task import RetentionTask
from dog.clock import Clock
from dog.errors import RequestError
from dog.metrics import Metrics
from dog.protocol import CameraStatus
from dog.push.hub import Hub
from dog.settings import Settings
from dog.snapshots import SnapshotStore
from dog.urls import UrlBuilder
from dog.web.live_sessions import LiveSessions
from dog.web.rate_limits import RateLimits

__all__ = ["SERVICE", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of the service. `auth` is None without the setting `auth`."""

    settings: Settings
    clock: Clock
    links: UrlBuilder
    store: SnapshotStore
    hub: Hub
    cameras: dict[str, CameraTask]
    retention: RetentionTask
    metrics: Metrics
    auth: AuthService | None
    anonymous: Identity
    live_sessions: LiveSessions
    rate_limits: RateLimits

    def find_camera(self, name: str | None, *, request: str | None = None) -> CameraTask:
        """Return a camera, the first for None. Raises `unknown_camera`."""
        if name is None:
            return next(iter(self.cameras.values()))
        if name not in self.cameras:
            names = ", ".join(self.cameras)
            raise RequestError(
                "unknown_camera", f"There is no camera {name[:40]!r}. Choose one of: {names}.", request=request
            )
        return self.cameras[name]

    def camera_statuses(self) -> list[CameraStatus]:
        """Return the status of all cameras, as in the event `hello`."""
        return [camera.status() for camera in self.cameras.values()]


SERVICE = web.AppKey("service", Service)
