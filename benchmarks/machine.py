"""What the figures were measured on, and with."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.bench import ROOT
from benchmarks.processes import CORES
from benchmarks.rows import Machine
from benchmarks.servers import find_nchan, find_nginx
from dog import __version__

__all__ = ["describe_machine", "find_missing", "find_versions", "read_processor_seconds"]

PACKAGES = ("aiohttp", "picows", "uvloop", "websockets")


def describe_machine() -> Machine:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    kernel = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    return Machine(
        cores=len(CORES),
        processor=found[1] if found else platform.machine(),
        kernel=kernel,
        python=platform.python_version(),
    )


def read_processor_seconds() -> tuple[float, float]:
    """Seconds that all processors were busy since the machine's start, and how many of those were for this program."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return busy, sum(os.times()[:4])


def find_versions() -> dict[str, str]:
    """Of D.O.G. and its rivals; what is not there is left out."""
    versions = {"dog": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command, pattern in (
        ("nginx", [find_nginx(), "-v"], r"nginx/(\S+)"),
        ("nchan", ["dpkg-query", "-W", "libnginx-mod-nchan"], r"(?:\d+:)?(\d[\d.]*)"),
        ("wrk", ["wrk", "-v"], r"wrk (?:debian/)?(\S+)"),
        ("gcc", ["gcc", "-dumpfullversion"], r"(\S+)"),
    ):
        program = command[0] and shutil.which(command[0])
        if program:
            ended = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
            if found := re.search(pattern, (ended.stdout + ended.stderr).replace("libnginx-mod-nchan", "")):
                versions[name] = found[1]
    return versions


def find_commit() -> str:
    """The last that changed the service; "" outside of a checkout."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "dog"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def find_missing() -> list[str]:
    """One line for each program that is not here, with the rows that go without it."""
    missing = []
    if not (shutil.which("cc") or shutil.which("gcc")):
        missing.append("no C compiler: all that needs many viewers is skipped (Debian: gcc and libc6-dev)")
    if find_nginx() is None:
        missing.append("no nginx: its rows are skipped (Debian: nginx and libnginx-mod-nchan)")
    elif find_nchan() is None:
        missing.append("nginx has no nchan: its push is skipped (Debian: libnginx-mod-nchan)")
    if not shutil.which("wrk"):
        missing.append("no wrk: the photo's rows are skipped (Debian: wrk)")
    if len(CORES) < 2:
        missing.append("one core only: the server and the load share it, and no figure says much")
    return missing
