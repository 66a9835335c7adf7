"""Command line: measure figures, and write results.json and the docs."""

import argparse
import datetime as dt
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.album import measure_album
from benchmarks.bench import HERE, ROOT, SPARE_DESCRIPTORS, Bench, raise_descriptor_limit
from benchmarks.chart import draw_chart
from benchmarks.floods import measure_floods
from benchmarks.handshakes import measure_handshakes
from benchmarks.logins import measure_logins
from benchmarks.machine import describe_machine, find_commit, find_missing, find_versions, read_processor_seconds
from benchmarks.memory import measure_memory
from benchmarks.phone import measure_phone
from benchmarks.photo import measure_photo
from benchmarks.press import measure_press
from benchmarks.presses import measure_presses
from benchmarks.processes import CORES, Broken, Skipped
from benchmarks.push import measure_push, measure_rivals, measure_stuck
from benchmarks.report import fill, make_table
from benchmarks.rows import FAILED, Figure, Results, Row, merge, read, write
from benchmarks.start import measure_start
from benchmarks.webcam import measure_webcam

FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "push": measure_push,
    "stuck": measure_stuck,
    "rivals": measure_rivals,
    "memory": measure_memory,
    "handshakes": measure_handshakes,
    "photo": measure_photo,
    "phone": measure_phone,
    "press": measure_press,
    "presses": measure_presses,
    "floods": measure_floods,
    "logins": measure_logins,
    "start": measure_start,
    "album": measure_album,
    "webcam": measure_webcam,
}
RESULTS = HERE / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
QUOTING = [ROOT / "README.md", ROOT / "docs" / "architecture.md"]
"""Other documents that have figures between markers."""
CHART = ROOT / "docs" / "images" / "push.svg"


def main() -> int:
    chosen = _parse_arguments()
    limit = raise_descriptor_limit()
    viewers = min(chosen.viewers, limit - SPARE_DESCRIPTORS)
    for line in find_missing():
        print(line, file=sys.stderr)
    if viewers < chosen.viewers:
        print(
            f"ulimit -n allows {limit:,} files, so {viewers:,} of {chosen.viewers:,} viewers connect. Raise it.",
            file=sys.stderr,
        )
    measured = {}
    with tempfile.TemporaryDirectory(prefix="dog-bench-") as folder:
        bench = Bench(Path(folder), viewers, quick=chosen.quick)
        for name in chosen.names or FIGURES:
            measured[name] = _measure(bench, name)
            print(f"\n{make_table(measured[name])}\n", flush=True)
    if not chosen.quick or chosen.write:
        _write_results(measured)
    else:
        print("Nothing was written. Run it without --quick, or with --write.", file=sys.stderr)
    return any(row.skipped.startswith(FAILED) for figure in measured.values() for row in figure.rows)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the figures of docs/benchmarks.md, in turn with their rivals. All take about ten minutes.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"measure only these: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="run few rounds and write nothing")
    parser.add_argument("--write", action="store_true", help="write the results of a quick run")
    parser.add_argument("--viewers", type=int, help="number of viewers (default: 10000, or 2000 if quick)")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(FIGURES):
        parser.error(f"unknown figure: {', '.join(sorted(unknown))}. Use {', '.join(FIGURES)}.")
    if chosen.viewers is None:
        chosen.viewers = 2_000 if chosen.quick else 10_000
    if chosen.viewers < 10:
        parser.error("--viewers is too low. Use at least 10.")
    if sys.platform != "linux":
        parser.error("this needs Linux: the load uses epoll, and memory is read from /proc")
    return chosen


def _measure(bench: Bench, name: str) -> Figure:
    bench.figure = name
    began, started = dt.datetime.now(dt.UTC), time.monotonic()
    busy, ours = read_processor_seconds()
    try:
        rows = FIGURES[name](bench)
    except Skipped as reason:
        rows = [Row(label=name, skipped=str(reason))]
    except (Broken, OSError, subprocess.SubprocessError) as reason:
        rows = [Row(label=name, skipped=f"{FAILED}{reason}")]
    busy_then, ours_then = read_processor_seconds()
    others = (busy_then - busy - (ours_then - ours)) / (time.monotonic() - started) / len(CORES)
    return Figure(
        measured_at=began.isoformat(timespec="minutes").replace("+00:00", "Z"),
        commit=find_commit(),
        viewers=bench.viewers,
        others=round(min(1.0, max(0.0, others)), 2),
        quick=bench.quick,
        rows=rows,
    )


def _write_results(measured: dict[str, Figure]) -> None:
    """Merge the figures into results.json, and update the docs and the chart."""
    results = Results(machine=describe_machine(), versions=find_versions(), figures=measured)
    if RESULTS.exists():
        results = merge(read(RESULTS.read_bytes()), results)
    RESULTS.write_bytes(write(results))
    for path in (DOCUMENT, *QUOTING):
        path.write_text(fill(path.read_text(), results))
    CHART.write_text(draw_chart(results))
    for path in (RESULTS, DOCUMENT, *QUOTING, CHART):
        print("written:", path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
