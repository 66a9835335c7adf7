"""How long until `dog serve` listens, beside the time of its bare imports: whole processes, in turn, medians.

python benchmarks/start_time.py [RUNS]
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import asyncio, sqlite3, aiohttp.web, aiohttp_jinja2, click, jinja2, msgspec, PIL.Image"
"""The packages that the service stands on, and nothing of its own."""


def time_imports() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - began


def time_listening(folder: Path) -> float:
    command = [sys.executable, "-m", "dog", "serve", "--port", "0", "--log-file", "-", "--snapshots", str(folder)]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "D.O.G. is at" in line:
                break
        seconds = time.perf_counter() - began
        server.terminate()
    return seconds


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        time_imports(), time_listening(Path(folder))
        for number in range(runs):
            pairs.append((time_imports(), time_listening(Path(folder))))
            print(f"\r{number + 1}/{runs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    imports, listening = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(listening / imports for imports, listening in pairs)
    print("| bare imports, ms | until it listens, ms | ratio |\n| --- | --- | --- |")
    print(f"| {imports * 1000:.0f} | {listening * 1000:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
