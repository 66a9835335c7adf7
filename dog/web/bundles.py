"""Bundles: one script or stylesheet made of several files of static/.

A page loads few files. The sources stay modules that a browser could load one by one. In a bundle each module is a
function that returns its exports, called in the order of the imports. The result is a classic script, because a browser
may keep a module that failed to load as failed until the page is reloaded.

Only the module syntax below is understood. Everything else is refused with StartError, so that it fails here and not in
a browser:

    import { name, other as local } from "./module.js";
    export function name() {}       (also async function, class, and const with one name)
    import.meta.url                 (the URL of the bundle)
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from dog.errors import StartError

__all__ = ["bundle_scripts", "bundle_styles"]

NAME = r"[A-Za-z_]\w*"
IMPORT = re.compile(
    rf'^import \{{ ({NAME}(?: as {NAME})?(?:, {NAME}(?: as {NAME})?)*) \}} from "\./([\w-]+\.js)";$', re.MULTILINE
)
EXPORT = re.compile(rf"^export ((?:async function|function|class|const) ({NAME}))(?=[ ({{])", re.MULTILINE)
RESERVED = re.compile(r"^.*\$(?:modules|url)\b.*$", re.MULTILINE)
"""Names that a bundle uses itself."""
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
    plain = EXPORT.sub(r"\1", text).replace("import.meta.url", "$url")
    plain = IMPORT.sub(lambda found: f'const {{ {found[1].replace(" as ", ": ")} }} = $modules["{found[2]}"];', plain)
    if (unknown := RESERVED.search(text) or UNKNOWN.search(plain)) is not None:
        raise StartError(
            f"static/{name} has a line that can't be bundled, {unknown[0].strip()!r}."
            " Write it in the syntax that dog/web/bundles.py names."
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
