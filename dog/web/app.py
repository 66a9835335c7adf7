"""The composition root: create, start, and (in reverse) stop all parts."""

import asyncio
import datetime as dt
import errno
import functools
import itertools
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web
from aiohttp.typedefs import Middleware

import dog
from dog.auth import AuthService, accounts_path
from dog.cameras import Camera
from dog.cameras.factory import make_camera
from dog.captures.availability import utc_now
from dog.captures.camera_task import CameraTask, restore_answered, restore_latest
from dog.captures.queue import KEY_TTL, CaptureQueue
from dog.captures.retention_task import RetentionTask
from dog.clock import Clock
from dog.errors import CameraOffline, StartError
from dog.logs import LimitedWarnings
from dog.metrics import Metrics
from dog.protocol import SCALED_WIDTHS, encode, timestamp
from dog.push.hub import Hub
from dog.settings import Settings
from dog.snapshots import Limits, SnapshotStore
from dog.urls import UrlBuilder
from dog.web.apidocs import documents
from dog.web.app_keys import APP_STATE, AppState
from dog.web.close_on_role_change import LiveSessions
from dog.web.connections.connection_limits import CONNECTIONS, Connections
from dog.web.connections.refusals import MESSAGES, build_refusals
from dog.web.handlers import static_files
from dog.web.handlers.api import READINESS, ReadinessCheck
from dog.web.http.compression import compression_middleware
from dog.web.http.content import MAX_READERS, READ_SLOTS, Content
from dog.web.link_access import LinkAccess
from dog.web.loop_time import LoopTime
from dog.web.middleware.authentication import anonymous_identity
from dog.web.middleware.errors import error_middleware
from dog.web.middleware.forwarded import forwarded_middleware
from dog.web.middleware.host_check import make_host_check
from dog.web.middleware.origins import preflight_middleware
from dog.web.middleware.request_limits import limit_requests
from dog.web.middleware.security_headers import (
    SECURITY_HEADERS,
    SENDS_HSTS,
    SHARE_POLICY,
    add_security_headers,
    make_security_headers,
    make_share_policy,
    sends_hsts,
)
from dog.web.rate_limits import RateLimits
from dog.web.routes import OPERATIONS, TAGS

__all__ = ["create_app", "drain", "kill"]

log = logging.getLogger(__name__)

MIB = 1024 * 1024
REPEATABLE_AGE = dt.timedelta(seconds=KEY_TTL)
CAMERA_OPEN_TIMEOUT = 3.0
"""Seconds that the start waits for cameras. Slower ones open later."""
MAX_BODY_BYTES = 16 * 1024
"""The largest body of a request."""
CAPTURE_DRAIN_TIMEOUT = 1.0
"""Seconds that a running capture has to end at a stop, which takes at most five in all."""
STOP_TIMEOUT = 2.5
"""Seconds after which viewers are disconnected, even if a camera or the disk has not stopped."""


def create_app(settings: Settings, make_camera: Callable[[Settings, Path], Camera] = make_camera) -> web.Application:
    """Create the application with this driver factory. Raises SettingError."""
    middlewares: list[Middleware] = [
        compression_middleware,
        error_middleware,
        forwarded_middleware,
        limit_requests,
        make_host_check(settings),
        preflight_middleware,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    templates = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(find_folder("templates")),
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
    )
    for name in templates.list_templates(extensions=["html"]):
        templates.get_template(name)  # read now, because the event loop must not read files later
    page = static_files.read_assets(find_folder("static"), _read_default_picture(settings))
    app[static_files.ASSETS] = page
    templates.globals.update(
        asset=page.find_url,
        inline_style=page.inline_style,
        inline_script=page.inline_script,
        now=lambda: timestamp(dt.datetime.now(dt.UTC)),
        scaled_widths=SCALED_WIDTHS,
    )
    metrics = Metrics(dog.__version__)
    app[SENDS_HSTS] = sends_hsts(settings)
    app[SECURITY_HEADERS] = headers = make_security_headers(settings, page.inline_style, page.inline_script)
    responses = {reason: build_refusals(templates, headers, reason) for reason in MESSAGES}
    app[CONNECTIONS] = Connections(settings, metrics, responses)
    app[READINESS] = ReadinessCheck()
    app[READ_SLOTS] = asyncio.Semaphore(MAX_READERS)
    app[SHARE_POLICY] = make_share_policy(settings, headers)
    app.on_response_prepare.append(add_security_headers)
    app.cleanup_ctx.append(functools.partial(_run_service, settings, make_camera, metrics))
    app.on_shutdown.append(drain)
    app.add_routes(operation.make_route() for operation in OPERATIONS)
    page_template = templates.get_template("api.html")
    app[documents.DOCUMENTS] = documents.Documents(OPERATIONS, TAGS, settings.base_url, page_template)
    return app


def _read_default_picture(settings: Settings) -> Content | None:
    """Read the image of the setting `default_picture`. Raise SettingError."""
    if settings.default_picture is None:
        return None
    try:
        return static_files.read_default_picture(settings.default_picture)
    except ValueError as error:
        raise settings.error("default_picture", str(error)) from error


def kill(app: web.Application) -> None:
    """Kill the cameras' processes without waiting: the service will exit."""
    if APP_STATE in app:
        for camera in app[APP_STATE].cameras.values():
            camera.kill()


def find_folder(name: str) -> Path:
    """Return the folder `templates` or `static`, outside dog/ in a checkout."""
    package = Path(dog.__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


async def _run_service(
    settings: Settings, make_camera: Callable[[Settings, Path], Camera], metrics: Metrics, app: web.Application
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app[CONNECTIONS].close)
        stack.callback(_start_background_task(app[CONNECTIONS].run(), "connections").cancel)
        app[APP_STATE] = await _start_service(settings, make_camera, metrics, app[CONNECTIONS].loop_time, stack)
        yield


async def _start_service(
    settings: Settings,
    make_camera: Callable[[Settings, Path], Camera],
    metrics: Metrics,
    loop_time: LoopTime,
    stack: AsyncExitStack,
) -> AppState:
    """Start all parts in order, pushing their ends. Raises SettingError."""
    clock = Clock()
    store = SnapshotStore(
        settings.snapshots,
        max_cache_bytes=settings.picture_cache * MIB,
        max_scaled_bytes=settings.keep_scaled * MIB,
        limits=Limits.from_settings(**settings.retention()),
        exif=settings.exif,
        clock=clock,
    )
    _check_mount(settings)
    try:
        await store.open()
    except StartError as error:
        raise settings.error("snapshots", str(error) + _unit_advice(settings)) from error
    stack.push_async_callback(store.close)
    total = shutil.disk_usage(settings.snapshots).total
    if settings.keep_free is not None and settings.keep_free * MIB >= total:
        problem = f"The disk has only {total // MIB} MiB, less than {settings.keep_free}. Write a lower number."
        raise settings.error("keep_free", problem)
    metrics.snapshots.set_function(lambda: store.totals[0])
    metrics.snapshots_bytes.set_function(lambda: store.totals[1])
    metrics.clock_trusted.set_function(lambda: clock.check() is None)
    auth = await _open_auth(settings, clock, stack) if settings.auth else None
    live_sessions = LiveSessions(auth)
    if auth is not None:
        auth.on_change = live_sessions.recheck_roles
    hub = Hub(store.epoch, f"dog/{dog.__version__}", metrics, clock=time.monotonic)
    urls = UrlBuilder(settings.base_url)
    numbers = itertools.count(store.last_capture + 1)
    cameras: dict[str, CameraTask] = {}
    for name, own in settings.by_camera().items():
        latest = restore_latest(await store.latest(name), time.monotonic())
        answered = restore_answered(await store.requested(name, utc_now() - REPEATABLE_AGE), time.monotonic())
        cameras[name] = CameraTask(
            name,
            await _make_driver(own, make_camera, store.incoming),
            queue=CaptureQueue(own.dead_time, numbers.__next__, latest, answered),
            store=store,
            hub=hub,
            urls=urls,
            metrics=metrics,
            capture_timeout=own.capture_timeout,
            settings=encode(own.describe_camera()).decode(),
        )
        stack.push_async_callback(cameras[name].stop, 0)
    loop_time.is_capturing = lambda: any(camera.running for camera in cameras.values())
    retention = RetentionTask(store, hub, cameras, metrics)
    stack.push_async_callback(retention.wait_published)
    await _start_cameras(cameras.values())
    stack.callback(_start_background_task(retention.run(), "album").cancel)
    stack.callback(_start_background_task(retention.watch_clock(), "clock").cancel)
    stack.callback(_start_background_task(store.watch_backups(), "backups").cancel)
    stack.callback(_start_background_task(hub.keep_alive(), "pings").cancel)
    stack.callback(_start_background_task(metrics.watch_loop(time.monotonic), "loop lag").cancel)
    return AppState(
        settings,
        clock,
        urls,
        store,
        hub,
        cameras,
        retention,
        metrics,
        auth,
        anonymous_identity(settings),
        live_sessions,
        RateLimits(settings, time.monotonic),
        loop_time,
        LinkAccess(settings.login_attempts),
        LimitedWarnings(time.monotonic),
    )


def _check_mount(settings: Settings) -> None:
    """Raise SettingError if the folder of photos must be a mount point."""
    folder = settings.snapshots
    if settings.snapshots_mount and not os.path.ismount(folder):
        problem = f"The folder of snapshots {str(folder)!r} is not a mount point. Mount its disk, or set this to false."
        missing = OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(folder))
        raise settings.error("snapshots_mount", problem + _unit_advice(settings)) from missing


def _unit_advice(settings: Settings) -> str:
    """Return what a unit of systemd needs for a folder on another disk."""
    state, folder = os.environ.get("STATE_DIRECTORY"), settings.snapshots.absolute()
    if state is None or folder.is_relative_to(state):
        return ""
    return f" The unit needs ReadWritePaths={folder} and RequiresMountsFor={folder} (systemctl edit dog)."


async def _open_auth(settings: Settings, clock: Clock, stack: AsyncExitStack) -> AuthService:
    """Open the accounts and sessions, or raise SettingError."""
    auth = AuthService(
        login_attempts=settings.login_attempts,
        session_days=settings.session_days,
        anonymous=anonymous_identity(settings).role,
        deletion_time=clock.deletion_time,
    )
    try:
        await auth.open(accounts_path(settings.snapshots))
    except StartError as error:
        raise settings.error("auth", str(error)) from error
    stack.push_async_callback(auth.close)
    return auth


async def _make_driver(settings: Settings, make_camera: Callable[[Settings, Path], Camera], folder: Path) -> Camera:
    """Create a camera's driver. Raise SettingError if its program is missing."""
    driver = make_camera(settings, folder)
    if settings.camera_kind == "script":
        try:
            await driver.open(lambda _error: None)
        except CameraOffline as error:
            await driver.close()
            raise settings.error(
                "camera", f"{error.message} ({error.detail})" if error.detail else error.message
            ) from error
    return driver


async def _start_cameras(cameras: Iterable[CameraTask]) -> None:
    """Start all cameras at once, and wait for their first attempts to open."""
    for camera in cameras:
        camera.start()
    first_attempts = [asyncio.create_task(camera.availability.first_attempt_done.wait()) for camera in cameras]
    await asyncio.wait(first_attempts, timeout=CAMERA_OPEN_TIMEOUT)
    for one in first_attempts:
        one.cancel()


def _start_background_task(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    """Start a task that runs until cancelled. If it ends by itself, log why."""

    def log_end(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            log.critical("the task %r has ended", name, exc_info=task.exception())

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(log_end)
    return task


async def drain(app: web.Application) -> None:
    """Refuse new captures, finish the running one, disconnect viewers (1012).

    A further call, or one before the startup is complete, does nothing.
    """
    if APP_STATE not in app:
        return
    service = app[APP_STATE]
    stops = [asyncio.create_task(camera.stop(CAPTURE_DRAIN_TIMEOUT)) for camera in service.cameras.values()]
    await asyncio.wait(stops, timeout=STOP_TIMEOUT)
    service.hub.close(1012, "restarting")
    await service.hub.wait_closed()
