"""Imports between rooms, compared with docs/architecture.md, and of tests."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.server_process import ROOT

HOUSE = (ROOT / "docs" / "architecture.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| .*? \| ([^|]*) ?\|$", HOUSE, re.MULTILINE))


WEB_ROOMS = re.findall(r"`web/(\w+)/?`(?=[^|\n]* \|)", HOUSE.split("| room of `web` |")[1].split("\n\n")[0])


def allowed(room: str) -> set[str]:
    return set(re.findall(r"\w+", ROWS[room]))


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted((ROOT / "dog").rglob("*.py")):
        inside = file.relative_to(ROOT / "dog")
        found.setdefault(inside.parts[0].removesuffix(".py"), []).append(file)
    return {room: files for room, files in found.items() if not room.startswith("__")}


def imported_names(file: Path, package: str = "dog") -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith(f"{package}.")}


def imports(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_names(file)} - {"__version__"}


def web_imports(file: Path) -> set[str]:
    return {name.split(".")[2] for name in imported_names(file) if name.startswith("dog.web.")}


def test_architecture_table_has_one_row_for_each_room() -> None:
    assert set(ROWS) == set(rooms())


@pytest.mark.parametrize("room", list(rooms()))
def test_room_imports_only_rooms_that_the_table_allows(room: str) -> None:
    used = set[str]().union(*(imports(file) for file in rooms()[room])) - {room}
    assert used <= allowed(room)


@pytest.mark.parametrize("room", list(ROWS))
def test_the_table_allows_only_rooms_above(room: str) -> None:
    assert allowed(room) <= set(list(ROWS)[: list(ROWS).index(room)])


def test_architecture_lists_the_rooms_of_web() -> None:
    found = {file.stem for file in (ROOT / "dog" / "web").iterdir() if not file.name.startswith("__")}
    assert sorted(WEB_ROOMS) == sorted(found)


@pytest.mark.parametrize("room", WEB_ROOMS)
def test_a_room_of_web_imports_only_rooms_above(room: str) -> None:
    folder = ROOT / "dog" / "web" / room
    used = set[str]().union(*map(web_imports, folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]))
    assert used - {room} <= set(WEB_ROOMS[: WEB_ROOMS.index(room)])


def test_no_test_module_is_imported() -> None:
    importers = {
        str(file.relative_to(ROOT)): found
        for folder in ("tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if (found := [name for name in imported_names(file, "tests") if re.search(r"\.test_\w+", name)])
    }
    assert importers == {}, "move what is shared to tests/support"
