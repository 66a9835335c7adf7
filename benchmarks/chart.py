"""The chart of docs/benchmarks.md: the time to the last viewer, as an SVG."""

from html import escape

from benchmarks.report import format_number
from benchmarks.rows import Results, Row

__all__ = ["draw_chart"]

WIDTH, LABEL, BAR, GAP, TOP = 760, 220, 18, 18, 84
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 16px }
.quiet { fill: #59636e }
.page { fill: #ffffff; stroke: #d1d9e0 }
.dog { fill: #c2410c }
.rival { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.page { fill: #0d1117; stroke: #3d444d }
.dog { fill: #fb923c }
.rival { fill: #6e7681 }
}"""
"""Colours for light and dark mode. A background makes it legible on any page."""


def draw_chart(results: Results) -> str:
    """Return an SVG with a pair of bars for each rival of D.O.G."""
    rows = [
        row
        for name in ("push", "rivals")
        if name in results.figures
        for row in results.figures[name].rows
        if row.dog and row.rival
    ]
    longest = max((side.median for row in rows for side in (row.dog, row.rival) if side), default=1.0)
    scale = (WIDTH - LABEL - 110) / longest
    bars = "\n".join(_draw_pair(row, TOP + index * (2 * BAR + GAP), scale) for index, row in enumerate(rows))
    height = TOP + len(rows) * (2 * BAR + GAP) + 8
    viewers = results.figures["push"].viewers if "push" in results.figures else 0
    title = f"From a press until the last of {viewers:,} viewers has the event"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
<style>{STYLE}
</style>
<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>
<text class="title" x="20" y="32">{title}</text>
<rect class="dog" x="20" y="49" width="12" height="12" rx="2"/>
<text x="38" y="60">D.O.G.</text>
<rect class="rival" x="104" y="49" width="12" height="12" rx="2"/>
<text x="122" y="60">the other server, measured in turn</text>
{bars}
</svg>
"""


def _draw_pair(row: Row, top: int, scale: float) -> str:
    parts = [f'<text x="{LABEL - 12}" y="{top + BAR + 5}" text-anchor="end">{escape(row.rival_name)}</text>']
    for line, (kind, side) in enumerate((("dog", row.dog), ("rival", row.rival))):
        if side:
            y, length = top + line * BAR, round(side.median * scale, 1)
            text = f"{format_number(side.median)} {row.measured_unit}"
            parts.append(f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length}" height="{BAR - 2}" rx="2"/>')
            parts.append(f'<text class="quiet" x="{LABEL + length + 8}" y="{y + 13}">{text}</text>')
    return "\n".join(parts)
