"""What the handlers need of the running service, under one key of the application."""

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
    """The parts, as dog.web.app put them together. Without `auth` there is no `access`: all are `anonymous`."""

    settings: Settings
    clock: Clock
    links: UrlBuilder
    store: SnapshotStore
    hub: Hub
    cameras: dict[str, CameraTask]
    album: RetentionTask
    metrics: Metrics
    access: AuthService | None
    anonymous: Identity
    presence: LiveSessions
    allowances: RateLimits

    def find_camera(self, name: str | None, *, request: str | None = None) -> CameraTask:
        """The camera of that name, or the first where none is named. Raises RequestError `unknown_camera`."""
        if name is None:
            return next(iter(self.cameras.values()))
        if name not in self.cameras:
            known = ", ".join(self.cameras)
            raise RequestError(
                "unknown_camera", f"There is no camera {name[:40]!r}. Choose one of: {known}.", request=request
            )
        return self.cameras[name]

    def statuses(self) -> list[CameraStatus]:
        """All cameras as `hello` shows them."""
        return [camera.status() for camera in self.cameras.values()]


SERVICE = web.AppKey("service", Service)
