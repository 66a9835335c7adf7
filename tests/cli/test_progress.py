"""The progress of commands."""

from dog.cli.output import format_size
from dog.cli.progress import LINE_INTERVAL, ProgressLines, describe_progress, format_photos


def test_progress_has_the_count_the_rate_and_the_remaining_time() -> None:
    assert describe_progress(0, 900, 5, format_photos) == "0 photos of 900 photos"
    assert describe_progress(120_000, 1_000_000, 30, format_photos) == (
        "120,000 photos of 1,000,000 photos, 4,000 photos per second, 0:03:40 left"
    )
    assert describe_progress(7, 7, 14, format_photos).endswith("0:00:00 left")
    assert describe_progress(2_000_000, 9e9, 4, format_size) == "2 MB of 9 GB, 500 KB per second, 4:59:56 left"


def test_lines_of_progress_are_few() -> None:
    now = 100.0
    lines: list[str] = []
    progress = ProgressLines("Rebuilding", format_photos, lines.append, lambda: now)
    now += 60
    progress.begin(8000)
    for _ in range(8):
        now += LINE_INTERVAL / 2
        progress.advance(1000)
    assert lines == [
        f"dog: Rebuilding: {done},000 photos of 8,000 photos, 200 photos per second, 0:00:{left:02} left"
        for done, left in ((2, 30), (4, 20), (6, 10), (8, 0))
    ]
