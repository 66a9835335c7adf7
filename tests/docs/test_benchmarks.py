"""Tests of `make bench`. No test depends on speed."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from benchmarks.__main__ import CHART, DOCUMENT, FIGURES, QUOTING, RESULTS
from benchmarks.bench import Bench
from benchmarks.chart import LABEL, draw_chart
from benchmarks.load import Load
from benchmarks.processes import Broken, Skipped
from benchmarks.report import RESULT, SECTION, fill, make_table
from benchmarks.rows import FAILED, Figure, Machine, Results, Row, Spread, merge, ratios, read, write
from benchmarks.servers import FLOOR, floor, make_message, make_photo
from tests.support.examples import DOCUMENTS
from tests.support.server_process import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def spread(*values: float) -> Spread:
    return Spread.of(values)


def push_row(**changes: object) -> Row:
    row = Row(
        label="the last of 10 viewers",
        dog=spread(40, 50, 61.5),
        rival_name="a <rival>",
        rival=spread(100),
        measured_unit="ms",
        value=0.5,
        target=1.25,
        stretch=1.0,
    )
    return msgspec.structs.replace(row, **changes)


def make_results(*rows: Row, name: str = "push") -> Results:
    figure = Figure(measured_at="2026-11-22T12:00Z", viewers=10, rows=list(rows))
    machine = Machine(cores=2, processor="a processor", kernel="Linux 6", python="3.11.0")
    return Results(machine=machine, versions={"dog": "1"}, figures={name: figure})


def test_docs_and_chart_show_the_results() -> None:
    results = read(RESULTS.read_text())
    for document in (DOCUMENT, *QUOTING):
        assert fill(document.read_text(), results) == document.read_text()
    assert draw_chart(results) == CHART.read_text()


def test_figures_in_all_docs_are_between_markers_that_make_bench_fills() -> None:
    quoting = {path for path in DOCUMENTS if RESULT.search(path.read_text())}
    assert quoting == set(QUOTING)
    figures = read(RESULTS.read_text()).figures
    shown = {name: [row.value for row in figure.rows] for name, figure in figures.items()}
    for path in quoting:
        for _, name, row, _ in RESULT.findall(path.read_text()):
            assert shown[name][int(row)] is not None, f"{path.name}: {name} {row}"
    for path in DOCUMENTS:
        prose = RESULT.sub("", SECTION.sub("", path.read_text()))
        assert not re.search(r"[\d.,]+ (?:times the time that a loop|KiB (?:of memory )?(?:each|instead of))", prose), (
            path
        )


def test_fill_takes_a_result_within_a_line_from_its_row() -> None:
    results = make_results(push_row(), push_row(value=3.456, unit="KiB"))
    line = (
        "It is <!-- push 0 -->9<!-- end --> times, and <!-- push 1 --><!-- end --> each; <!-- push 2 -->1<!-- end -->."
    )
    assert fill(line, results) == (
        "It is <!-- push 0 -->0.50<!-- end --> times, and <!-- push 1 -->3.46 KiB<!-- end --> each; "
        "<!-- push 2 -->(not measured yet)<!-- end -->."
    )


def test_benchmarks_page_has_one_section_for_each_figure() -> None:
    sections = [name for _, name, _ in SECTION.findall(DOCUMENT.read_text())]
    assert sorted(sections) == sorted([*FIGURES, "machine"])


def test_fill_changes_only_text_between_markers() -> None:
    document = "Words.\n\n<!-- push -->\nold\n<!-- end -->\n\nMore.\n\n<!-- memory -->\n<!-- end -->\n"
    filled = fill(document, make_results(push_row()))
    assert filled.startswith("Words.\n\n<!-- push -->\n| figure |")
    assert filled.endswith("<!-- end -->\n\nMore.\n\n<!-- memory -->\nNot measured yet.\n<!-- end -->\n")
    assert "old" not in filled
    assert fill(filled, make_results(push_row())) == filled


def test_table_row_shows_both_measurements_the_result_and_the_targets() -> None:
    table = make_table(make_results(push_row(note="a note")).figures["push"])
    assert (
        "| the last of 10 viewers | 50 ms (40 to 61.5) | a <rival>: 100 ms | 0.50 | at most 1.25 | at most 1"
        " | stretch reached |" in table
    )
    assert table.endswith("Measured 2026-11-22T12:00Z. A note.")


def test_table_row_that_was_skipped_says_why() -> None:
    table = make_table(make_results(Row(label="memory", rival_name="nginx", skipped="no | nginx")).figures["push"])
    assert "| memory |  | nginx | skipped: no \\| nginx |  |  |  |" in table


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (1.0, False, "stretch reached"),
        (1.001, False, "reached"),
        (1.25, False, "reached"),
        (1.251, False, "not reached"),
        (1.25, True, "reached"),
        (1.249, True, "not reached"),
    ],
)
def test_verdict_compares_the_result_with_the_targets(value: float, at_least: bool, verdict: str) -> None:
    stretch = 2.0 if at_least else 1.0
    assert push_row(value=value, at_least=at_least, stretch=stretch).verdict == verdict


def test_ratio_is_the_median_of_pairs_so_that_drift_cancels_out() -> None:
    assert ratios([10, 100, 1000], [5, 50, 500]) == 2
    assert ratios([10, 100, 1000], [10, 50, 1000]) == 1  # the ratio of the medians is 2


def test_chart_has_a_pair_of_bars_to_scale_for_each_rival() -> None:
    results = make_results(push_row(), push_row(skipped="no nginx", dog=None, rival=None))
    picture = ET.fromstring(draw_chart(results))
    lengths = {
        bar.get("class"): float(bar.get("width", 0)) for bar in picture.iter(f"{SVG}rect") if bar.get("x") == str(LABEL)
    }
    assert lengths["rival"] > 0
    assert lengths["dog"] == pytest.approx(lengths["rival"] / 2, abs=0.1)
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert words.count("a <rival>") == 1
    assert {"50 ms", "100 ms"} <= set(words)


def test_merge_keeps_other_figures_only_of_the_same_machine_and_versions() -> None:
    before, now = make_results(push_row(), name="push"), make_results(push_row(), name="memory")
    assert list(merge(before, now).figures) == ["push", "memory"]
    elsewhere = msgspec.structs.replace(before, versions={"dog": "2"})
    assert list(merge(elsewhere, now).figures) == ["memory"]


def test_results_can_be_written_and_read() -> None:
    results = make_results(push_row(), Row(label="x", skipped=f"{FAILED}y"))
    assert read(write(results)) == results


def test_help_lists_every_figure_and_an_unknown_name_is_an_error() -> None:
    command = [sys.executable, "-m", "benchmarks"]
    helped = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ", ".join(FIGURES) in " ".join(helped.split())
    wrong = subprocess.run([*command, "pusch"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "unknown figure: pusch. Use push, " in wrong.stderr


def test_photo_has_200_kb(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "photo.jpg")
    assert 190_000 < photo.stat().st_size <= 200_000
    with Image.open(photo) as picture:
        assert picture.size == (1280, 960)


@pytest.mark.parametrize("frame_bytes", [100, 127, 130, 170])
def test_message_for_a_rival_has_a_frame_of_the_given_size(frame_bytes: int) -> None:
    size = len(make_message(frame_bytes))
    assert size + (2 if size < 126 else 4) == frame_bytes


def test_figure_without_a_compiler_is_skipped_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Skipped, match="C compiler"):
        Bench(tmp_path, 10).program("wsload")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return one Bench for all tests, so that C programs are compiled once."""
    return Bench(tmp_path_factory.mktemp("bench"), 20)


@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="the load is a C program for Linux")
class TestLoad:
    """Tests of wsload and the floor, run against each other."""

    def test_each_round_reaches_every_viewer_with_a_frame_of_the_given_size(self, bench: Bench) -> None:
        for frame_bytes in (100, 300):
            with floor(bench, frame_bytes) as server, Load(bench, server, FLOOR, viewers=20) as load:
                load.pause = 0
                for _ in range(2):
                    found = load.round()
                    assert 0 < found.first <= found.p50 <= found.p99 <= found.last
                    assert found.bytes == frame_bytes

    def test_stuck_viewers_delay_nobody_and_are_counted(self, bench: Bench) -> None:
        with floor(bench, 200) as server:
            with Load(bench, server, FLOOR, viewers=5, stuck=3, fillings=1) as load:
                load.round()
            assert load.stuck == 3

    def test_a_server_that_ends_is_an_error_at_once(self, bench: Bench) -> None:
        def push_after_stop() -> None:
            with floor(bench, 200) as server, Load(bench, server, FLOOR, viewers=5) as load:
                server.stop()
                load.round()

        with pytest.raises(Broken, match="the C floor ended: a viewer was cut off"):
            push_after_stop()
