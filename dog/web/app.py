"""The composition root: every part is made here, handed what it needs, started in order and stopped in the other."""

import asyncio
import datetime as dt
import itertools
import logging
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
from dog.auth import AuthService, find_place
from dog.cameras import Camera
from dog.cameras.factory import make_camera
from dog.captures.availability import utc_now
from dog.captures.camera_task import CameraTask, restore_answered, restore_latest
from dog.captures.queue import KEY_TTL, CaptureQueue
from dog.captures.retention_task import RetentionTask
from dog.clock import Clock
from dog.errors import CameraOffline, StartError
from dog.metrics import Metrics
from dog.protocol import encode
from dog.push.hub import Hub
from dog.settings import Settings
from dog.snapshots import Limits, SnapshotStore
from dog.urls import UrlBuilder
from dog.web.apidocs import documents
from dog.web.connections.connection import CONNECTIONS, Connections
from dog.web.connections.refusals import MESSAGES, build_refusals
from dog.web.handlers import static_files
from dog.web.handlers.share_links import SHARED_IMAGES, SharedImages
from dog.web.http.content import READERS, READING, Content
from dog.web.live_sessions import LiveSessions
from dog.web.middleware.authentication import anonymous_identity
from dog.web.middleware.errors import error_middleware
from dog.web.middleware.forwarded import forwarded_middleware
from dog.web.middleware.host_check import make_host_check
from dog.web.middleware.origins import (
    KEEPS_HTTPS,
    SECURITY_HEADERS,
    SECURITY_LINES,
    add_security_headers,
    answer_preflight,
    make_security_headers,
    sends_hsts,
)
from dog.web.rate_limits import RateLimits
from dog.web.routes import OPERATIONS, TAGS
from dog.web.service import SERVICE, Service

__all__ = ["create_app", "drain", "kill"]

log = logging.getLogger(__name__)

MIB = 1024 * 1024
ANSWERED = dt.timedelta(seconds=KEY_TTL)
OPENING = 3.0
"""Seconds that the start waits for its cameras; those that take longer are opened while it serves."""
BODY_SIZE = 16 * 1024
"""Bytes of the longest body that anybody has reason to send."""
DRAIN = 1.0
"""Seconds that a running capture has to end when the service stops; the whole stop takes five at most."""
PATIENCE = 2.5
"""Seconds after which the viewers are sent away though a camera, or the disk, has not come to its end."""


def create_app(settings: Settings, make_camera: Callable[[Settings, Path], Camera] = make_camera) -> web.Application:
    """The service as an application. It, or its startup, raises SettingError where a setting does not work out.

    `make_camera` makes the driver of one camera from its settings, by default dog.cameras.factory.make_camera.
    """
    middlewares: list[Middleware] = [
        error_middleware,
        forwarded_middleware,
        make_host_check(settings),
        answer_preflight,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_SIZE)
    templates = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(find_folder("templates")),
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
    )
    for name in templates.list_templates(extensions=["html"]):
        templates.get_template(name)  # read now: later the event loop touches no file
    app[static_files.ASSETS] = static_files.read_assets(find_folder("static"), _read_default_picture(settings))
    page = app[static_files.ASSETS]
    templates.globals.update(asset=page.find_url, inline_style=page.inline_style, inline_script=page.inline_script)
    metrics = Metrics(dog.__version__)
    app[KEEPS_HTTPS] = sends_hsts(settings)
    app[SECURITY_HEADERS] = headers = make_security_headers(settings, page.inline_style, page.inline_script)
    responses = {reason: build_refusals(templates, headers, reason) for reason in MESSAGES}
    app[CONNECTIONS] = Connections(settings, metrics, responses)
    app[SHARED_IMAGES] = SharedImages()
    app[READING] = asyncio.Semaphore(READERS)
    app[SECURITY_LINES] = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    app.on_response_prepare.append(add_security_headers)
    app.cleanup_ctx.append(_run_service(settings, make_camera, metrics))
    app.on_shutdown.append(drain)
    app.add_routes(operation.make_route() for operation in OPERATIONS)
    app[documents.DOCUMENTS] = documents.Documents(OPERATIONS, TAGS, settings.base_url, templates)
    return app


def _read_default_picture(settings: Settings) -> Content | None:
    """Read the picture that the settings name. Raises SettingError if it is not one."""
    if settings.default_picture is None:
        return None
    try:
        return static_files.read_default_picture(settings.default_picture)
    except ValueError as error:
        raise settings.error("default_picture", str(error)) from None


def kill(app: web.Application) -> None:
    """End at once what the cameras run, without waiting: the process is about to exit."""
    if SERVICE in app:
        for camera in app[SERVICE].cameras.values():
            camera.kill()


def find_folder(name: str) -> Path:
    """The folder `templates` or `static`: inside the installed package, beside it in a checkout."""
    package = Path(dog.__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def _run_service(
    settings: Settings, make_camera: Callable[[Settings, Path], Camera], metrics: Metrics
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(app[CONNECTIONS].close)
            stack.callback(_run_for_ever(app[CONNECTIONS].run(), "connections").cancel)
            app[SERVICE] = await _start_service(settings, make_camera, metrics, stack)
            yield

    return run


async def _start_service(
    settings: Settings, make_camera: Callable[[Settings, Path], Camera], metrics: Metrics, stack: AsyncExitStack
) -> Service:
    """Every part in order, each with its end put on the stack. Raises SettingError."""
    clock = Clock()
    store = SnapshotStore(
        settings.snapshots,
        memory=settings.picture_cache * MIB,
        limits=Limits.from_settings(
            keep_days=settings.keep_days,
            keep_photos=settings.keep_photos,
            keep_size=settings.keep_size,
            keep_free=settings.keep_free,
        ),
        exif=settings.exif,
        clock=clock,
    )
    try:
        await store.open()
    except StartError as error:
        raise settings.error("snapshots", str(error)) from error
    stack.push_async_callback(store.close)
    total = shutil.disk_usage(settings.snapshots).total
    if settings.keep_free is not None and settings.keep_free * MIB >= total:
        raise settings.error("keep_free", f"{settings.keep_free} MiB is not less than the disk has, {total // MIB} MiB")
    metrics.snapshots.set_function(lambda: store.kept[0])
    metrics.snapshots_bytes.set_function(lambda: store.kept[1])
    metrics.clock_trusted.set_function(lambda: clock.check() is None)
    access = await _open_access(settings, clock, stack) if settings.auth else None
    presence = LiveSessions(access)
    if access is not None:
        access.on_change = presence.recheck_roles
    hub = Hub(store.epoch, f"dog/{dog.__version__}", metrics, clock=time.monotonic)
    links = UrlBuilder(settings.base_url)
    numbers = itertools.count(store.last_capture + 1)
    cameras: dict[str, CameraTask] = {}
    for name, own in settings.by_camera().items():
        latest = restore_latest(await store.latest(name), time.monotonic())
        answered = restore_answered(await store.requested(name, utc_now() - ANSWERED), time.monotonic())
        cameras[name] = CameraTask(
            name,
            await _make_driver(own, make_camera, store.incoming),
            queue=CaptureQueue(own.dead_time, numbers.__next__, latest, answered),
            store=store,
            hub=hub,
            links=links,
            metrics=metrics,
            capture_timeout=own.capture_timeout,
            settings=encode(own.describe_camera()).decode(),
        )
        stack.push_async_callback(cameras[name].stop, 0)
    album = RetentionTask(store, hub, cameras, metrics)
    stack.push_async_callback(album.wait_published)
    await _start_cameras(cameras.values())
    stack.callback(_run_for_ever(album.run(), "album").cancel)
    stack.callback(_run_for_ever(album.watch_clock(), "clock").cancel)
    stack.callback(_run_for_ever(hub.keep_alive(), "pings").cancel)
    stack.callback(_run_for_ever(metrics.watch_loop(time.monotonic), "loop lag").cancel)
    return Service(
        settings,
        clock,
        links,
        store,
        hub,
        cameras,
        album,
        metrics,
        access,
        anonymous_identity(settings),
        presence,
        RateLimits(settings, time.monotonic),
    )


async def _open_access(settings: Settings, clock: Clock, stack: AsyncExitStack) -> AuthService:
    """Who may come in. Raises SettingError where that can't be known: then nobody is let in."""
    access = AuthService(
        login_attempts=settings.login_attempts,
        session_days=settings.session_days,
        anonymous=anonymous_identity(settings).role,
        deletion_time=clock.deletion_time,
    )
    try:
        await access.open(find_place(settings.snapshots))
    except StartError as error:
        raise settings.error("auth", str(error)) from error
    stack.push_async_callback(access.close)
    return access


async def _make_driver(settings: Settings, make_camera: Callable[[Settings, Path], Camera], folder: Path) -> Camera:
    """Raises SettingError, also for a program that is not there; a device that is not there may be plugged in later."""
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
    """Open them all at once."""
    for camera in cameras:
        camera.start()
    tries = [asyncio.create_task(camera.availability.first_attempt_done.wait()) for camera in cameras]
    await asyncio.wait(tries, timeout=OPENING)
    for one in tries:
        one.cancel()


def _run_for_ever(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    """A task that nobody waits for; if it ends all the same, the log says why."""

    def tell(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            log.critical("the task %r has ended", name, exc_info=task.exception())

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(tell)
    return task


async def drain(app: web.Application) -> None:
    """The beginning of the end: no new captures, the running one ends, then the viewers are sent away to come back.

    Called again, or before the startup is done, it does nothing.
    """
    if SERVICE not in app:
        return
    service = app[SERVICE]
    stops = [asyncio.create_task(camera.stop(DRAIN)) for camera in service.cameras.values()]
    await asyncio.wait(stops, timeout=PATIENCE)
    service.hub.close(1012, "restarting")
    await service.hub.wait_closed()
