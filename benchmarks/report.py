"""What the docs show of the results: tables and figures between markers. The words around are written by hand.

A marker is `<!-- NAME -->`, up to `<!-- end -->`, where NAME is a figure, or `machine`: a table. Within a line,
`<!-- NAME ROW -->` is the result of one row of that figure, the first being 0.
"""

import re

from benchmarks.rows import Figure, Results, Row, Spread

__all__ = ["fill", "format_number", "make_table"]

SECTION = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
RESULT = re.compile(r"(<!-- (\w+) (\d+) -->)[^<]*(<!-- end -->)")
BUSY = 0.05
"""The share of the processors' time from which on it is said that others took it."""
HEAD = "| what | D.O.G. | beside it | result | to reach | beyond | |\n| --- | --- | --- | --- | --- | --- | --- |"


def fill(document: str, results: Results) -> str:
    """The document with its generated parts made anew."""

    def make(section: re.Match[str]) -> str:
        return f"{section[1]}{_make_part(section[2], results)}\n{section[3]}"

    def find(result: re.Match[str]) -> str:
        return f"{result[1]}{_find_result(result[2], int(result[3]), results)}{result[4]}"

    return RESULT.sub(find, SECTION.sub(make, document))


def _make_part(name: str, results: Results) -> str:
    if name == "machine":
        return _describe(results)
    figure = results.figures.get(name)
    return make_table(figure) if figure else "Not measured yet."


def _find_result(name: str, row: int, results: Results) -> str:
    figure = results.figures.get(name)
    measured = figure.rows[row] if figure and row < len(figure.rows) else Row(what=name)
    return _value(measured.value, measured.unit) or "(not measured yet)"


def _describe(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"{machine.processor}, {machine.cores} cores, {machine.kernel}, Python {machine.python}. {versions}."


def make_table(figure: Figure) -> str:
    """The figure's rows as a Markdown table, and when they were measured."""
    lines = [HEAD, *(_make_row(row) for row in figure.rows)]
    commit = f" of commit {figure.commit}" if figure.commit else ""
    notes = [f"Measured {figure.measured_at}{commit}" + (" in a quick run" if figure.quick else "")]
    if figure.others >= BUSY:
        notes.append(f"other programs took {figure.others:.0%} of the processors meanwhile")
    for row in figure.rows:
        if row.note and row.note not in notes:
            notes.append(row.note)
    return "\n".join(lines) + f"\n\n{'; '.join(notes)}."


def _make_row(row: Row) -> str:
    beside = row.beside
    if row.rival is not None:
        beside += f": {_spread(row.rival, row.measured)}"
    if row.skipped:
        cells = [row.what, "", beside, f"skipped: {row.skipped}", "", "", ""]
    else:
        cells = [
            row.what,
            _spread(row.dog, row.measured) if row.dog else "",
            beside,
            _value(row.value, row.unit),
            _limit(row.target, row),
            _limit(row.beyond, row),
            row.verdict,
        ]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _limit(limit: float | None, row: Row) -> str:
    if limit is None:
        return ""
    return f"at {'least' if row.at_least else 'most'} {_value(limit, row.unit)}"


def _value(value: float | None, unit: str) -> str:
    return "" if value is None else f"{format_number(value)} {unit}".strip()


def _spread(spread: Spread, unit: str) -> str:
    text = f"{format_number(spread.median)} {unit}".strip()
    if spread.count > 1 and spread.minimum != spread.maximum:
        text += f" ({format_number(spread.minimum)} to {format_number(spread.maximum)})"
    return text


def format_number(value: float) -> str:
    """Three significant digits, or all of them where it is 100 or more."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
