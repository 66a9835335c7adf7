"""The files of static/, the bundles made of them, and the default picture: read at the start, served from memory.

A page loads one stylesheet and one script, under URLs that change with their content: a browser that has them asks for
nothing, and a page never gets a script of another version than its own. The files are also served under their names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from aiohttp import web

from dog.errors import BadImage, StartError
from dog.images import inspect_kept
from dog.web.bundles import bundle_scripts, bundle_styles
from dog.web.http.content import Content, respond

__all__ = ["ASSETS", "Assets", "read_assets", "read_default_picture", "show_asset", "show_default_picture"]

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
LOOK = ("dog.css", "controls.css", "arrangement.css")
STYLES = {
    "page.css": LOOK,
    "album-page.css": (*LOOK, "album.css"),
    "snapshot-page.css": (*LOOK, "album.css", "sharing.css"),
    "api-page.css": (*LOOK, "api.css"),
}
"""The stylesheets of the pages, and the files that each is made of, in their order."""
SCRIPTS = {
    "live-page.js": ("dog.js",),
    "gallery-page.js": ("gallery.js",),
    "snapshot-page.js": ("photo.js", "sharing.js"),
    "sharing-page.js": ("sharing.js",),
    "shared-page.js": ("shared.js",),
}
"""The scripts of the pages, and the modules that each runs."""
INLINE_STYLE, INLINE_SCRIPT = "inline.css", "lost.js"
"""What is inside each page, so that it can't get lost."""
KEEP = {"Cache-Control": "no-cache"}
"""Of a file under its own name: kept by the browser, and asked about each time."""
KEEP_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""Of what has a hash of its content in its name (RFC 8246)."""


@dataclass(frozen=True, slots=True)
class Assets:
    """What pages are made of: `files` by their names, and `hashed` by names with a hash of their content."""

    files: Mapping[str, Content]
    hashed: Mapping[str, Content]
    names: Mapping[str, str]
    """The name in `hashed` of each file and bundle."""
    inline_style: str
    inline_script: str
    default_picture: Content | None

    def find_url(self, name: str) -> str:
        """Return the URL of a file or bundle, relative to the root of the site."""
        return f"static/{self.names[name]}"


ASSETS = web.AppKey("assets", Assets)


def read_assets(folder: Path, default_picture: Content | None = None) -> Assets:
    """Read static/ and make the bundles. Raises StartError if they can't be made."""
    read = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix in TYPES}
    files = {name: Content.from_bytes(data, TYPES[PurePath(name).suffix]) for name, data in read.items()}
    texts = {name: data.decode() for name, data in read.items() if name.endswith((".css", ".js"))}
    bundles = {name: bundle_styles(texts, sheets) for name, sheets in STYLES.items()}
    bundles |= {name: bundle_scripts(texts, modules) for name, modules in SCRIPTS.items()}
    made = {name: Content.from_bytes(text.encode(), TYPES[PurePath(name).suffix]) for name, text in bundles.items()}
    names = {name: _add_hash(name, content) for name, content in (files | made).items()}
    return Assets(
        files=files,
        hashed={names[name]: content for name, content in (files | made).items()},
        names=names,
        inline_style=_check_inline(bundle_styles(texts, [INLINE_STYLE])),
        inline_script=_check_inline(bundle_scripts(texts, [INLINE_SCRIPT])),
        default_picture=default_picture,
    )


def _check_inline(text: str) -> str:
    """Return the text. Raises StartError if it would end its element in a page."""
    if (found := re.search("</|<!--", text)) is not None:
        raise StartError(f"{INLINE_STYLE} and {INLINE_SCRIPT} can't be inside a page with {found[0]!r}. Remove it.")
    return text


def _add_hash(name: str, content: Content) -> str:
    path = PurePath(name)
    return f"{path.stem}-{content.tag}{path.suffix}"


def read_default_picture(path: Path) -> Content:
    """The picture shown before there is a first one. Raises ValueError, fit to show, where it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from None
    if path.suffix == ".svg" and b"<svg" in data[:4096]:
        return Content.from_bytes(data, TYPES[".svg"])
    try:
        return Content.from_bytes(data, inspect_kept(data).content_type)
    except BadImage:
        raise ValueError(f"{path} is not an image; name a JPEG, PNG, WebP or SVG file") from None


async def show_asset(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}."""
    assets, name = request.app[ASSETS], request.match_info["name"]
    if (asset := assets.hashed.get(name)) is not None:
        return respond(request, asset, KEEP_FOREVER)
    if (asset := assets.files.get(name)) is not None:
        return respond(request, asset, KEEP)
    raise web.HTTPNotFound


async def show_default_picture(request: web.Request) -> web.StreamResponse:
    """GET /default-picture, where a setting names one."""
    picture = request.app[ASSETS].default_picture
    if picture is None:
        raise web.HTTPNotFound
    return respond(request, picture, KEEP)
