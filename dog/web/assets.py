"""What the page is made of, and the default picture: read once at the start, served from memory."""

from pathlib import Path

from aiohttp import web

from dog.errors import BadImage
from dog.images import inspect
from dog.web.content import Content, respond

__all__ = ["ASSETS", "DEFAULT_PICTURE", "read_assets", "read_default_picture", "show_asset", "show_default_picture"]

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
KEEP = {"Cache-Control": "no-cache"}
"""Kept by the browser, and asked about each time, so that an upgrade never mixes old modules with new ones."""
DEFAULT_PICTURE = "default-picture"
"""The name of the person's own default picture among the assets."""
ASSETS: web.AppKey[dict[str, Content]] = web.AppKey("assets", dict)


def read_assets(folder: Path) -> dict[str, Content]:
    """The files of static/, by name."""
    return {
        file.name: Content.of(file.read_bytes(), TYPES[file.suffix])
        for file in sorted(folder.iterdir())
        if file.suffix in TYPES
    }


def read_default_picture(path: Path) -> Content:
    """The picture shown before there is a first one. Raises ValueError, fit to show, where it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from None
    if path.suffix == ".svg" and b"<svg" in data[:4096]:
        return Content.of(data, TYPES[".svg"])
    try:
        return Content.of(data, inspect(data).content_type)
    except BadImage:
        raise ValueError(f"{path} is no picture; name a JPEG, PNG, WebP or SVG file") from None


async def show_asset(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}."""
    asset = request.app[ASSETS].get(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    return respond(request, asset, KEEP)


async def show_default_picture(request: web.Request) -> web.StreamResponse:
    """GET /default-picture, where a setting names one."""
    picture = request.app[ASSETS].get(DEFAULT_PICTURE)
    if picture is None:
        raise web.HTTPNotFound
    return respond(request, picture, KEEP)
