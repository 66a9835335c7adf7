"""The table of odd cameras in docs/cameras.md: each row has a test.

A test marked `documented("kind", "result")` proves the row with these two texts.
"""

import ast
from collections import Counter

from tests.support.server_process import ROOT

SECTION = "## Odd cameras and images"


def read_table() -> list[tuple[str, str]]:
    """Return the rows of the table, as kind and result."""
    _, _, section = (ROOT / "docs" / "cameras.md").read_text().partition(f"\n{SECTION}\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    assert rows[:2] == [("kind", "result"), ("---", "---")], f"the table below {SECTION!r} begins otherwise"
    return [(kind, result) for kind, result in rows[2:]]


def read_marks() -> set[tuple[str, str]]:
    """Return the rows that tests prove, by their marks."""
    calls = (
        node
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.documented"
    )
    marks = (tuple(ast.literal_eval(argument) for argument in call.args) for call in calls)
    return {(kind, result) for kind, result in marks}


def test_every_row_of_odd_cameras_and_images_has_its_test() -> None:
    rows = read_table()
    assert not [kind for kind, count in Counter(kind for kind, _ in rows).items() if count > 1]
    assert set(rows) == read_marks()
