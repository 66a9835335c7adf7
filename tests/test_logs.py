"""The log: format, escaping, rotation, and failures to write."""

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dog.logs import MAX_LOG_FILE_BYTES, MAX_OLD_FILES, MAX_QUEUED_RECORDS, escape, start_logging
from tests.support.server_process import ROOT, ServerProcess, clean_environment

log = logging.getLogger("dog.tests")

FORGED = "a\n2026-11-22T11:14:38.123Z INFO dog.cli forged\r\x1b[2J\x00\x85\u2028\u202eb\tc"


@pytest.fixture(autouse=True)
def _root_logger_untouched() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    assert (root.level, list(root.handlers)) == before


def start_script(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(script: str, *arguments: object) -> tuple[int, str, str]:
    process = start_script(script, *arguments)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_log_lines_are_short_on_the_terminal_and_full_in_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.log"
    with start_logging(file, "info"):
        log.info("capture %d is ready", 7)
        log.warning("slow")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO    dog\.tests  capture 7 is ready\n\d\d:\d\d:\d\d WARNING dog\.tests  slow\n",
        capfd.readouterr().err,
    )
    moment = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"
    assert re.fullmatch(
        rf"{moment} INFO dog\.tests capture 7 is ready\n{moment} WARNING dog\.tests slow\n", file.read_text()
    )


def test_control_characters_can_not_forge_a_log_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.log"
    with start_logging(file, "info"):
        log.info("a viewer sent %s", FORGED)
    for text in (file.read_text(), capfd.readouterr().err):
        assert text.count("\n") == len(text.splitlines()) == 1
        assert text.endswith(r"a\n2026-11-22T11:14:38.123Z INFO dog.cli forged\r\x1b[2J\x00\x85\u2028\u202eb\tc" + "\n")


def test_other_characters_are_not_escaped() -> None:
    assert escape("Schäferhund \\n 犬 🐕") == "Schäferhund \\n 犬 🐕"


def test_a_traceback_keeps_its_lines_and_can_not_forge_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.log"
    with start_logging(file, "info"):
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("It went wrong")
        log.info("and on")
    for text in (file.read_text(), capfd.readouterr().err):
        first, *trace, last = text.split("\n")[:-1]
        assert first.endswith("It went wrong")
        assert trace[0] == "    Traceback (most recent call last):"
        assert any(line.endswith("raise ValueError(FORGED)") for line in trace)
        assert r"    2026-11-22T11:14:38.123Z INFO dog.cli forged\r\x1b[2J\x00\x85\u2028\u202eb\tc" in trace
        assert all(line.startswith("    ") for line in trace)
        assert last.endswith("and on")


def test_a_log_level_hides_lower_levels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for level, output in (("debug", "deiwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")):
        with start_logging(None, level):
            for letter, number in (("d", 10), ("e", 40), ("i", 20), ("w", 30), ("e", 40)):
                log.log(number, letter)
        lines = "".join(sorted(line[-1] for line in capfd.readouterr().err.splitlines()))
        assert lines == "".join(sorted(output + "e" * (level != "debug")))


def test_a_record_may_be_for_the_log_file_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.log"
    with start_logging(file, "info"):
        log.info("once", extra={"terminal": False})
    assert capfd.readouterr().err == ""
    assert file.read_text().count("once") == 1


def test_no_log_file_is_made_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with start_logging(None, "info"):
        log.info("hello")
    assert list(tmp_path.iterdir()) == []


def test_a_log_file_that_can_not_be_opened_raises_and_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        start_logging(tmp_path, "info")
    with pytest.raises(FileNotFoundError):
        start_logging(tmp_path / "nowhere" / "server.log", "info")


def test_the_log_file_is_rotated_and_five_old_files_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    lines = MAX_LOG_FILE_BYTES * (MAX_OLD_FILES + 2) // 1000
    assert lines < MAX_QUEUED_RECORDS
    with start_logging(file, "debug"):
        for number in range(lines):
            log.debug("%d %s", number, "x" * 950, extra={"terminal": False})
    files = [file, *(tmp_path / f"server.log.{number}" for number in range(1, MAX_OLD_FILES + 1))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(0 < each.stat().st_size <= MAX_LOG_FILE_BYTES for each in files)
    numbers = [int(line.split()[3]) for each in reversed(files) for line in each.read_text().splitlines()]
    assert numbers == list(range(numbers[0], lines))


def test_an_existing_log_file_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    for text in ("one", "two"):
        with start_logging(file, "info"):
            log.info(text)
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["one", "two"]


def test_a_full_disk_is_reported_once_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with start_logging(Path("/dev/full"), "info"):
        for number in range(3):
            log.info("line %d", number)
    output = capfd.readouterr().err.splitlines()
    assert [line[-6:] for line in output if "INFO" in line] == ["line 0", "line 1", "line 2"]
    assert [line for line in output if "INFO" not in line] == [
        "dog: the log file /dev/full can't be written, and lines are lost: [Errno 28] No space left on device"
    ]


def test_the_log_file_is_written_again_when_the_disk_has_space(tmp_path: Path) -> None:
    """The file size limit fills the disk. It ends once the log reports it."""
    script = """
import logging, os, resource, sys
from pathlib import Path
from dog.logs import start_logging
log = logging.getLogger("dog.tests")
inside, outside = os.pipe()
errors = os.dup(2)
os.dup2(outside, 2)
def read_until(text):
    output = b""
    while text not in output:
        output += os.read(inside, 4096)
    os.write(errors, output)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
with start_logging(Path(sys.argv[1]), "info"):
    log.info("first %s", "x" * 100)
    log.info("second")
    read_until(b"second")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.info("third")
    read_until(b"again")
"""
    file = tmp_path / "server.log"
    status, _, output = run_script(script, file)
    assert status == 0, output
    own = [line for line in output.splitlines() if line.startswith("dog:")]
    assert own == [
        f"dog: the log file {file} can't be written, and lines are lost: [Errno 27] File too large",
        f"dog: the log file {file} can be written again",
    ]
    assert "third" in file.read_text()


def test_a_blocked_terminal_stops_neither_the_service_nor_its_shutdown() -> None:
    """Standard error is a pipe that is not read (as with Ctrl-S).

    More lines are logged than fit the queue.
    """
    script = """
import logging
from dog.logs import MAX_QUEUED_RECORDS, start_logging
running = start_logging(None, "info")
for number in range(2 * MAX_QUEUED_RECORDS):
    logging.info("%s", "x" * 100)
print(running.handler.queue.qsize() <= MAX_QUEUED_RECORDS, running.handler.lost > 0, flush=True)
running.stop()
print("stopped")
"""
    process = start_script(script)
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as out:
        assert out.read() == "True True\nstopped\n"
        assert process.wait(10) == 0


def test_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    script = """
import logging, sys
from pathlib import Path
from dog.logs import print_line, start_logging
input()
with start_logging(Path(sys.argv[1]), "info"):
    logging.info("nobody reads this")
    print_line("nor this")
    logging.info("the end")
"""
    file = tmp_path / "server.log"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(file)],
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stderr.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(30) == 0
    assert file.read_text().endswith("the end\n")


def test_a_closed_standard_error_is_not_confused_with_another_file(tmp_path: Path) -> None:
    """Descriptor 2 is closed at the start, so the next file gets its number."""
    script = """
import logging, os, sys
from pathlib import Path
from dog.logs import start_logging
data = os.open(sys.argv[2], os.O_CREAT | os.O_RDWR)
assert data == 2, data
with start_logging(Path(sys.argv[1]), "info"):
    logging.info("hello")
"""
    file, data = tmp_path / "server.log", tmp_path / "data"
    status = subprocess.run(
        ["/bin/sh", "-c", 'exec 2>&-; exec "$@"', "sh", sys.executable, "-c", script, str(file), str(data)],
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        timeout=30,
        check=False,
    ).returncode
    assert status == 0
    assert data.read_bytes() == b""
    assert file.read_text().endswith("hello\n")


def test_a_log_file_that_was_moved_or_removed_is_opened_again(tmp_path: Path) -> None:
    file, old = tmp_path / "server.log", tmp_path / "server.log-20261130"

    def wait_for_log(text: str = "SIGHUP") -> str:
        while not (file.exists() and text in file.read_text()):
            time.sleep(0.01)
        return file.read_text()

    server = ServerProcess(cwd=tmp_path)
    try:
        server.start()
        wait_for_log("D.O.G. is at")
        file.rename(old)
        size = old.stat().st_size
        server.send(signal.SIGHUP)
        assert wait_for_log().count("\n") == 1
        assert old.stat().st_size == size
        file.unlink()
        server.send(signal.SIGHUP)
        assert wait_for_log().count("\n") == 1
        assert server.stop() == 0
    finally:
        server.kill()
    assert file.read_text().endswith("Stopped\n")
