"""The files of the pages, and the setting `default_picture`."""

from pathlib import Path

import pytest

from dog.errors import SettingError, StartError
from dog.settings import load
from dog.web.app import create_app, find_folder
from dog.web.handlers.static_files import (
    SCRIPTS,
    STYLES,
    bundle_scripts,
    bundle_styles,
    read_assets,
    read_default_picture,
)
from tests.support.cameras import make_picture
from tests.support.script_modules import MODULES


def test_static_files_are_served_with_their_types() -> None:
    folder = find_folder("static")
    assets = read_assets(folder)
    assert assets.files.keys() == {file.name for file in folder.iterdir() if file.is_file()}
    assert assets.files["live.js"].content_type == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_default_picture_gets_its_type_from_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(make_picture(kind=kind))
    picture = read_default_picture(path)
    assert (picture.data, picture.content_type) == (path.read_bytes(), f"image/{kind.lower()}")


def test_default_picture_can_be_an_svg(tmp_path: Path) -> None:
    path = tmp_path / "dog.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert read_default_picture(path).content_type == "image/svg+xml"


@pytest.mark.parametrize("content", [None, b"", b"root:x:0:0", b"GIF89a"])
def test_invalid_default_picture_fails_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    settings = load({"default_picture": str(path)}, {}, tmp_path)
    with pytest.raises(SettingError) as refused:
        create_app(settings)
    assert str(refused.value).startswith("--default-picture (command line): ")
    assert str(path) in str(refused.value)


def test_svg_suffix_without_svg_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dog.svg"
    path.write_text("root:x:0:0")
    with pytest.raises(ValueError, match="is not an image"):
        read_default_picture(path)


def test_folder_as_default_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a directory"):
        read_default_picture(tmp_path)


# ---- bundles


def test_a_module_is_bundled_once_and_after_its_imports() -> None:
    bundle = bundle_scripts(MODULES, ["top.js", "middle.js"])
    places = [bundle.index(f'$modules["{name}"] = ') for name in ("base.js", "middle.js", "top.js")]
    assert places == sorted(places)
    assert bundle.count("class Middle") == 1


def test_a_bundle_has_no_module_that_its_page_does_not_import() -> None:
    assert "Middle" not in bundle_scripts(MODULES, ["base.js"])


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ('import { NAME } from "./nowhere.js";', "static/nowhere.js is missing"),
        ('import { nothing } from "./base.js";', "static/base.js does not export nothing, which odd.js imports"),
        ('import { NAME as n, nothing as m } from "./base.js";', "does not export nothing"),
        ('import { odd } from "./odd.js";\nexport const odd = 1;', "odd.js -> odd.js"),
        ('import { later } from "./later.js";\nexport const odd = 1;', "odd.js -> later.js -> odd.js"),
        ('import * as base from "./base.js";', "import * as base"),
        ('import base from "./base.js";', "import base"),
        ('import "./base.js";', 'import "./base.js"'),
        ('import { NAME } from "https://elsewhere.example/base.js";', "elsewhere.example"),
        ('import { NAME } from "../base.js";', "../base.js"),
        ('import {\n  NAME,\n} from "./base.js";', "import {"),
        ('if (window.x) await import("./base.js");', "await import"),
        ("export let count = 0;\nexport function add() {\n  count += 1;\n}", "export let count"),
        ("export var count = 0;", "export var count"),
        ("export default class {}", "export default"),
        ("const a = 1;\nexport { a };", "export { a }"),
        ('export * from "./base.js";', "export *"),
        ("export const { a } = window;", "export const { a }"),
        ("export function* count() {}", "export function*"),
        ("const where = import.meta.dirname;", "import.meta.dirname"),
        ("const $modules = {};", "$modules"),
        ("$url = 1;", "$url"),
        ("await window.ready;", "await window.ready"),
        ("const ready = await window.ready;", "await window.ready"),
        ("for await (const x of y) z(x);", "for await"),
    ],
)
def test_unsupported_module_syntax_is_refused_with_its_file_and_line(module: str, complaint: str) -> None:
    modules = {**MODULES, "odd.js": f"// odd\n{module}\n", "later.js": 'import { odd } from "./odd.js";\n'}
    with pytest.raises(StartError, match=r"^[^\n]+\. [^\n]+\.$") as refused:
        bundle_scripts(modules, ["top.js", "odd.js"])
    assert complaint in str(refused.value)
    assert "odd.js" in str(refused.value) or "nowhere.js" in str(refused.value)


def test_stylesheets_keep_their_order() -> None:
    sheets = {"a.css": "p { color: red; }", "b.css": "p { color: blue; }"}
    assert bundle_styles(sheets, ["b.css", "a.css"]) == "p { color: blue; }\np { color: red; }"


@pytest.mark.parametrize(
    ("sheet", "complaint"), [('@import "a.css";', "@import"), ('@charset "utf-8";', "@charset"), (None, "is missing")]
)
def test_a_stylesheet_with_an_import_is_refused(sheet: str | None, complaint: str) -> None:
    sheets = {"a.css": ""} | ({} if sheet is None else {"odd.css": sheet})
    with pytest.raises(StartError, match=r"^static/odd\.css ") as refused:
        bundle_styles(sheets, ["a.css", "odd.css"])
    assert complaint in str(refused.value)


def test_bundles_leave_out_documentation_and_types_but_no_code() -> None:
    module = "/**\n * @param {string} import */\nexport const same = (/** @type {number} */ a) => a / 1; // half\n"
    bundle = bundle_scripts({"same.js": module}, ["same.js"])
    assert "\nconst same = (a) => a / 1; // half\n" in bundle
    assets = read_assets(find_folder("static"))
    assert "/**" not in assets.inline_script
    for name in SCRIPTS:
        script = assets.hashed[assets.names[name]].data
        assert isinstance(script, bytes)
        assert b"/**" not in script


def test_every_bundle_has_a_url_that_changes_with_its_content() -> None:
    assets = read_assets(find_folder("static"))
    for name in (*SCRIPTS, *STYLES):
        content = assets.hashed[assets.find_url(name).removeprefix("static/")]
        assert content.tag in assets.find_url(name)
        assert content.data
