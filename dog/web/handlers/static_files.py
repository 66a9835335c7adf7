"""The files of static/, their bundles, and the default image, in memory.

A page loads one stylesheet and one script. Their URLs contain a hash, so that browsers cache them, and a page never
gets a script of another version. The files are also served under their own names.

The sources stay modules that a browser could load one by one. In a bundle each module is a function that returns its
exports, called in the order of the imports. Comments of the form `/** ... */` are left out. The result is a classic
script, because a browser may keep a module that failed to load as failed until the page is reloaded. Only the module
syntax below is understood. Everything else is refused with StartError, so that it fails here and not in a browser:

    import { name, other as local } from "./module.js";
    export function name() {}       (also async function, class, and const with one name)
    import.meta.url                 (the URL of the bundle)
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from aiohttp import web

from dog.errors import BadImage, StartError, short_reason
from dog.images import inspect_kept
from dog.web.http.content import Content, respond

__all__ = [
    "ASSETS",
    "Assets",
    "bundle_scripts",
    "bundle_styles",
    "read_assets",
    "read_default_picture",
    "show_asset",
    "show_default_picture",
]

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
BASE_STYLES = ("dog.css", "controls.css", "arrangement.css")
STYLES = {
    "page.css": BASE_STYLES,
    "album-page.css": (*BASE_STYLES, "album.css"),
    "snapshot-page.css": (*BASE_STYLES, "album.css", "sharing.css"),
    "api-page.css": (*BASE_STYLES, "api.css"),
}
"""The bundled stylesheet of each page, and its files in order."""
SCRIPTS = {
    "live-page.js": ("live.js",),
    "gallery-page.js": ("gallery.js",),
    "snapshot-page.js": ("snapshot.js", "sharing.js"),
    "sharing-page.js": ("sharing.js",),
    "shared-page.js": ("shared.js",),
    "newest-page.js": ("newest.js",),
}
"""The bundled script of each page, and the modules that it runs."""
NAME = r"[A-Za-z_]\w*"
IMPORT = re.compile(
    rf'^import \{{ ({NAME}(?: as {NAME})?(?:, {NAME}(?: as {NAME})?)*) \}} from "\./([\w-]+\.js)";$', re.MULTILINE
)
EXPORT = re.compile(rf"^export ((?:async function|function|class|const) ({NAME}))(?=[ ({{])", re.MULTILINE)
RESERVED = re.compile(r"^.*\$(?:modules|url)\b.*$", re.MULTILINE)
"""Names that a bundle uses itself."""
DOC_COMMENT = re.compile(r"/\*\*.*?\*/ ?", re.DOTALL)
"""Documentation and types (JSDoc), which a page does not need."""
UNKNOWN = re.compile(r"^.*\b(?:import|export)\b.*$|^(?:const .*= |for )?await\b.*$", re.MULTILINE)
"""Lines with other module syntax, or with an await outside of a function."""
BUNDLE = """\
(() => {{
"use strict";
const $url = document.currentScript.src;
const $modules = {{}};
{}}})();
"""
MODULE = """\
$modules["{name}"] = (() => {{
{text}
return {{ {exports} }};
}})();
"""
INLINE_STYLE, INLINE_SCRIPT = "inline.css", "lost.js"
"""Files that are inside each page, so that they cannot be lost."""
REVALIDATE = {"Cache-Control": "no-cache"}
"""For a file under its own name: a cache must revalidate it each time."""
CACHE_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For a file with a hash of its content in its name (RFC 8246)."""


@dataclass(frozen=True, slots=True)
class Assets:
    """The files of the pages, by their own names and by names with a hash."""

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
    """Read static/ and make the bundles. Raise StartError on failure."""
    read = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix in CONTENT_TYPES}
    files = {name: Content.from_bytes(data, CONTENT_TYPES[PurePath(name).suffix]) for name, data in read.items()}
    texts = {name: data.decode() for name, data in read.items() if name.endswith((".css", ".js"))}
    bundles = {name: bundle_styles(texts, sheets) for name, sheets in STYLES.items()}
    bundles |= {name: bundle_scripts(texts, modules) for name, modules in SCRIPTS.items()}
    bundled = {
        name: Content.from_bytes(text.encode(), CONTENT_TYPES[PurePath(name).suffix]) for name, text in bundles.items()
    }
    names = {
        name: f"{PurePath(name).stem}-{content.tag}{PurePath(name).suffix}"
        for name, content in (files | bundled).items()
    }
    return Assets(
        files=files,
        hashed={names[name]: content for name, content in (files | bundled).items()},
        names=names,
        inline_style=_check_inline(bundle_styles(texts, [INLINE_STYLE])),
        inline_script=_check_inline(bundle_scripts(texts, [INLINE_SCRIPT])),
        default_picture=default_picture,
    )


def _check_inline(text: str) -> str:
    """Return the text. Raise StartError if it would end its element in a page."""
    if (found := re.search("</|<!--", text)) is not None:
        raise StartError(f"{INLINE_STYLE} and {INLINE_SCRIPT} cannot be inside a page with {found[0]!r}. Remove it.")
    return text


def read_default_picture(path: Path) -> Content:
    """Read the image shown before the first photo, or raise ValueError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {short_reason(error)}. Name another file.") from error
    if path.suffix == ".svg" and b"<svg" in data[:4096]:
        return Content.from_bytes(data, CONTENT_TYPES[".svg"])
    try:
        return Content.from_bytes(data, inspect_kept(data).content_type)
    except BadImage:
        raise ValueError(f"{path} is not an image. Name a JPEG, PNG, WebP or SVG file.") from None


async def show_asset(request: web.Request) -> web.StreamResponse:
    """Send a file or bundle (GET /static/{name})."""
    assets, name = request.app[ASSETS], request.match_info["name"]
    if (asset := assets.hashed.get(name)) is not None:
        return await respond(request, asset, CACHE_FOREVER)
    if (asset := assets.files.get(name)) is not None:
        return await respond(request, asset, REVALIDATE)
    raise web.HTTPNotFound


async def show_default_picture(request: web.Request) -> web.StreamResponse:
    """Send the image of the setting `default_picture` (GET /default-picture)."""
    image = request.app[ASSETS].default_picture
    if image is None:
        raise web.HTTPNotFound
    return await respond(request, image, REVALIDATE)


def bundle_scripts(modules: Mapping[str, str], entries: Iterable[str]) -> str:
    """Return one classic script that runs modules, each after its imports.

    `modules` has the text of each module by its name, such as "time.js". Raises StartError.
    """
    exports: dict[str, list[str]] = {}
    parts: list[str] = []

    def add(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            circle = " -> ".join([*importers[importers.index(name) :], name])
            raise StartError(
                f"The modules of static/ import each other in a circle, {circle}. Remove one of the imports."
            )
        if name in exports:
            return
        if name not in modules:
            raise StartError(f"static/{name} is missing. Install the package again.")
        for names, source in IMPORT.findall(modules[name]):
            add(source, (*importers, name))
            for imported in (one.split(" as ")[0] for one in names.split(", ")):
                if imported not in exports[source]:
                    raise StartError(f"static/{source} does not export {imported}, which {name} imports. Export it.")
        exports[name] = [exported for _, exported in EXPORT.findall(modules[name])]
        parts.append(
            MODULE.format(name=name, text=_replace_syntax(name, modules[name]), exports=", ".join(exports[name]))
        )

    for entry in entries:
        add(entry, ())
    return BUNDLE.format("".join(parts))


def _replace_syntax(name: str, text: str) -> str:
    """Return a module's text as a function's. Raises StartError."""
    text = DOC_COMMENT.sub("", text)
    plain = EXPORT.sub(r"\1", text).replace("import.meta.url", "$url")
    plain = IMPORT.sub(lambda found: f'const {{ {found[1].replace(" as ", ": ")} }} = $modules["{found[2]}"];', plain)
    if (unknown := RESERVED.search(text) or UNKNOWN.search(plain)) is not None:
        raise StartError(
            f"static/{name} has a line that can't be bundled, {unknown[0].strip()!r}."
            " Write it in the syntax that dog/web/handlers/static_files.py names."
        )
    return plain


def bundle_styles(sheets: Mapping[str, str], names: Sequence[str]) -> str:
    """Return these stylesheets as one. Raises StartError for an @import."""
    for name in names:
        if name not in sheets:
            raise StartError(f"static/{name} is missing. Install the package again.")
        if re.search("@(?:import|charset)", sheets[name]):
            raise StartError(
                f"static/{name} has an @import or @charset. Name the other file in dog/web/handlers/static_files.py."
            )
    return "\n".join(sheets[name] for name in names)
