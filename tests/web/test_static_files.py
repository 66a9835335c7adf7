"""The files of the pages, and the setting `default_picture`."""

from pathlib import Path

import pytest

from dog.errors import SettingError
from dog.settings import load
from dog.web.app import create_app, find_folder
from dog.web.handlers.static_files import read_assets, read_default_picture
from tests.support.cameras import make_picture


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
