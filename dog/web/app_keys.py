"""AppState: the parts of the service that handlers need."""

from dataclasses import dataclass

from aiohttp import web

from dog.auth import AuthService, Identity
from dog.captures.camera_task import CameraTask
from dog.captures.retention_task import RetentionTask
from dog.clock import Clock
from dog.errors import RequestError
from dog.logs import LimitedWarnings
from dog.metrics import Metrics
from dog.protocol import CameraStatus
from dog.push.hub import Hub
from dog.settings import Settings
from dog.snapshots import Snapshot, SnapshotStore, is_snapshot_id
from dog.urls import UrlBuilder
from dog.web.close_on_role_change import LiveSessions
from dog.web.link_access import LinkAccess
from dog.web.loop_time import LoopTime
from dog.web.problems import Problem
from dog.web.rate_limits import RateLimits

__all__ = ["APP_STATE", "AppState", "check_before", "find_requested_snapshot", "find_snapshot"]


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of the service. `auth` is None without the setting `auth`."""

    settings: Settings
    clock: Clock
    urls: UrlBuilder
    store: SnapshotStore
    hub: Hub
    cameras: dict[str, CameraTask]
    retention: RetentionTask
    metrics: Metrics
    auth: AuthService | None
    anonymous: Identity
    live_sessions: LiveSessions
    rate_limits: RateLimits
    loop_time: LoopTime
    link_access: LinkAccess
    warnings: LimitedWarnings

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


APP_STATE = web.AppKey("service", AppState)


async def find_snapshot(service: AppState, snapshot_id: str) -> Snapshot:
    """Return a snapshot. Raise Problem `gone_snapshot`, `unknown_snapshot`."""
    snapshot = await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None
    if snapshot is None:
        if is_snapshot_id(snapshot_id) and await service.store.find_name(snapshot_id) is not None:
            raise Problem("gone_snapshot", "This photo was deleted, or removed to make room. Choose another one.")
        raise Problem("unknown_snapshot", "This photo does not exist. Check the URL.")
    return snapshot


async def find_requested_snapshot(request: web.Request) -> tuple[AppState, Snapshot]:
    """Return the service and the snapshot in the URL, or raise Problem."""
    service = request.app[APP_STATE]
    return service, await find_snapshot(service, request.match_info["id"])


async def check_before(service: AppState, snapshot_id: str) -> None:
    """Raise Problem `unknown_snapshot` if a list cannot start after this id."""
    if not is_snapshot_id(snapshot_id) or await service.store.find_name(snapshot_id) is None:
        raise Problem("unknown_snapshot", "`before` names a photo that does not exist. Use an id from the list.")
