"""Tables and results for the docs, between markers.

The text around them is written by hand. `<!-- NAME -->` to `<!-- end -->` is the table of the figure NAME, or the
machine if NAME is `machine`. Within a line, `<!-- NAME ROW -->` is the result of one row of the figure. The first row
is 0.
"""

import re

from benchmarks.rows import Figure, Results, Row, Spread

__all__ = ["fill", "format_number", "make_table"]

SECTION = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
RESULT = re.compile(r"(<!-- (\w+) (\d+) -->)[^<]*(<!-- end -->)")
MIN_OTHERS_SHARE = 0.05
"""The CPU time of other programs is reported from this share on."""
HEAD = "| figure | D.O.G. | compared with | result | target | stretch target | |\n" + "| --- " * 7 + "|"


def fill(document: str, results: Results) -> str:
    """Return the document with its generated parts replaced."""

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
    measured = figure.rows[row] if figure and row < len(figure.rows) else Row(label=name)
    return _value(measured.value, measured.unit) or "(not measured yet)"


def _describe(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"{machine.processor}, {machine.cores} cores, {machine.kernel}, Python {machine.python}. {versions}."


def make_table(figure: Figure) -> str:
    """Return a figure as a Markdown table, with the date and the notes."""
    lines = [HEAD, *(_make_row(row) for row in figure.rows)]
    commit = f" of commit {figure.commit}" if figure.commit else ""
    notes = [f"Measured {figure.measured_at}{commit}" + (" in a quick run" if figure.quick else "")]
    if figure.others >= MIN_OTHERS_SHARE:
        notes.append(f"other programs used {figure.others:.0%} of the CPU time")
    for row in figure.rows:
        if row.note and row.note not in notes:
            notes.append(row.note)
    sentences = [f"{note[0].upper()}{note[1:]}." for note in notes]
    return "\n".join(lines) + f"\n\n{' '.join(sentences)}"


def _make_row(row: Row) -> str:
    rival_name = row.rival_name
    if row.rival is not None:
        rival_name += f": {_spread(row.rival, row.measured_unit)}"
    if row.skipped:
        cells = [row.label, "", rival_name, f"skipped: {row.skipped}", "", "", ""]
    else:
        cells = [
            row.label,
            _spread(row.dog, row.measured_unit) if row.dog else "",
            rival_name,
            _value(row.value, row.unit),
            _limit(row.target, row),
            _limit(row.stretch, row),
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
    """Format a number with three significant digits.

    Numbers from 100 on have no decimals.
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
