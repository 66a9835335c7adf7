"""Ask for known weaknesses of what requirements files name: `.ci/audit.py FILE... [-- arguments for pip-audit]`.

Two sources of advisories are asked until one answers. Where none can be reached, a line says so and the status is 0:
who works without a network is not held up. The status is 1 where something is known.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCES = ("pypi", "osv")
PATIENCE = 5
"""Seconds that pip-audit waits for an answer."""
LIMIT = 60
"""Seconds that it may take in all, for each source."""

Answer = list[dict[str, Any]]
"""What is said of each package: its `vulns`, or the `skip_reason` why nothing can be."""


def ask(source: str, files: list[str], arguments: list[str]) -> Answer | None:
    """What the source knows; None where it can't be asked."""
    command: list[str | Path] = [Path(sys.executable).with_name("pip-audit"), "--vulnerability-service", source]
    command += ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", str(PATIENCE), *arguments]
    for file in files:
        command += ["--requirement", file]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        packages: Answer = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        return None
    return packages if any("vulns" in package for package in packages) else None


def main(files: list[str], arguments: list[str]) -> int:
    answers = ((source, ask(source, files, arguments)) for source in SOURCES)
    source, packages = next((found for found in answers if found[1] is not None), ("", None))
    if packages is None:
        print("pip-audit: no source of advisories can be reached; whether weaknesses are known was not looked up")
        return 0
    weak = {package["name"]: package for package in packages if package.get("vulns")}
    for name, package in weak.items():
        for known in package["vulns"]:
            mended = f"mended in {', '.join(known['fix_versions'])}" if known["fix_versions"] else "not mended yet"
            print(f"pip-audit: {name} {package['version']} has {known['id']}, {mended}")
    unknown = sorted({package["name"] for package in packages if "vulns" not in package})
    if unknown:
        print(f"pip-audit: nothing is known there of {', '.join(unknown)}")
    asked = {package["name"] for package in packages} - set(unknown)
    print(f"pip-audit: {source} knows weaknesses of {len(weak)} of {len(asked)} packages")
    return 1 if weak else 0


if __name__ == "__main__":
    before, _, after = " ".join(sys.argv[1:]).partition(" -- ")
    sys.exit(main(before.split(), after.split()))
