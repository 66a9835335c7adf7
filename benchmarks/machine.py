"""The machine and the versions that the figures were measured with."""

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
    """Return the CPU seconds of the machine, and of us and our children."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return busy, sum(os.times()[:4])


def find_versions() -> dict[str, str]:
    """Return the versions of D.O.G. and the rivals that are installed."""
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
    """Return the last commit that changed the service.

    Return "" outside of a checkout.
    """
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "dog"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def find_missing() -> list[str]:
    """Return a line for each missing program, with the rows that are skipped."""
    missing = []
    if not (shutil.which("cc") or shutil.which("gcc")):
        missing.append("A C compiler is missing, so rows with many viewers are skipped. Install gcc and libc6-dev.")
    if find_nginx() is None:
        missing.append("nginx is missing, so its rows are skipped. Install nginx and libnginx-mod-nchan.")
    elif find_nchan() is None:
        missing.append("nginx has no nchan, so its push is skipped. Install libnginx-mod-nchan.")
    if not shutil.which("wrk"):
        missing.append("wrk is missing, so the photo's rows are skipped. Install wrk.")
    if len(CORES) < 2:
        missing.append("There is only one core, which the server and the load share. Use a machine with two.")
    return missing
