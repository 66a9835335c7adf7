"""Dependencies: reasons, locked hashes, audit for vulnerabilities, SBOM."""

import configparser
import contextlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import link_package, make_service_environment
from tests.support.server_process import ROOT

SETUP = (ROOT / "setup.cfg").read_text()
REQUIREMENTS = {path.stem: path.read_text() for path in (ROOT / "requirements").glob("*.txt")}
AUDIT = ROOT / ".ci" / "audit.py"
needs_audit = pytest.mark.skipif(
    not Path(sys.executable).with_name("pip-audit").exists(), reason="pip-audit is not installed"
)
needs_cyclonedx = pytest.mark.skipif(
    not Path(sys.executable).with_name("cyclonedx-py").exists(), reason="cyclonedx-py is not installed"
)


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_wanted() -> dict[str, set[str]]:
    """Return the dependencies in setup.cfg by extra.

    The service's own have the empty name.
    """
    parser = configparser.ConfigParser()
    parser.read_string(SETUP)
    wanted = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {
        extra: {normalize(re.split(r"[^\w.-]", line)[0]) for line in lines.split("\n") if line}
        for extra, lines in wanted.items()
    }


def read_locked(text: str) -> dict[str, dict[str, set[str]]]:
    """Return the hashes of each version by name.

    A later Python may have a later version.
    """
    found = re.findall(
        r"^([a-z0-9-]+)==([^\s;]+)([^\\\n]*(?:\\\n +--hash=sha256:[0-9a-f]{64}[^\\\n]*)*)", text, re.MULTILINE
    )
    locked: dict[str, dict[str, set[str]]] = {}
    for name, version, rest in found:
        locked.setdefault(name, {})[version] = set(re.findall(r"sha256:([0-9a-f]{64})", rest))
    return locked


def test_setup_cfg_explains_every_dependency() -> None:
    comments = " ".join(re.findall(r"^# ?(.*)$", SETUP, re.MULTILINE)).lower()
    for extra, names in read_wanted().items():
        for name in names:
            assert re.search(rf"(?<![\w-]){name}(?![\w-])", comments), f"{name} ({extra or 'install_requires'})"


@pytest.mark.parametrize("name", ["build", "service", "develop"])
def test_every_requirement_has_a_version_and_hashes_and_names_no_host(name: str) -> None:
    text = REQUIREMENTS[name]
    output = [line for line in text.splitlines() if line and not line.lstrip().startswith(("#", "--hash"))]
    locked = [hashes for versions in read_locked(text).values() for hashes in versions.values()]
    assert len(output) == len(locked)
    assert all(locked)
    assert not re.search(r"://|--(extra-)?index|--find-links", text)


def test_the_lock_files_have_every_dependency_of_setup_cfg() -> None:
    wanted = read_wanted()
    makefile = (ROOT / "Makefile").read_text()
    extras = re.findall(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)[0].split()
    service = wanted[""].union(*(wanted[extra] for extra in extras))
    locked = {name: read_locked(text) for name, text in REQUIREMENTS.items()}
    assert service <= locked["service"].keys(), "make lock"
    assert set[str]().union(*wanted.values()) <= locked["develop"].keys(), "make lock"
    assert not (wanted["test"] | wanted["check"]) - service & locked["service"].keys()
    for name in ("build", "service"):
        assert locked[name].items() <= locked["develop"].items(), "make lock"


def test_setup_cfg_lists_every_package() -> None:
    parser = configparser.ConfigParser()
    parser.read_string(SETUP)
    listed = set(parser["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "dog").rglob("*.py")}
    assert listed - {"dog.templates", "dog.static"} == found


# ---- pip-audit, with a local source of advisories


class Advisories(http.server.BaseHTTPRequestHandler):
    """Advisories like those of OSV, with one vulnerability (`vulnerable`)."""

    vulnerable = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found: dict[str, Any] = {}
        if asked["package"]["name"] == self.vulnerable:
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
            affected = [{"package": {"name": self.vulnerable, "ecosystem": "PyPI"}, "ranges": ranges}]
            found = {"vulns": [{"id": "TEST-2026-1", "summary": "It is weak.", "affected": affected}]}
        answer = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve_advisory(vulnerable: str) -> Iterator[str]:
    handler = type("Advisory", (Advisories,), {"vulnerable": vulnerable})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(*arguments: str, proxy: str = "") -> tuple[int, list[str]]:
    """Run the audit.

    With `proxy`, everything except the loopback is requested from an unreachable proxy.
    """
    environment = {"https_proxy": proxy, "no_proxy": "127.0.0.1", "HOME": "/nonexistent"} if proxy else None
    ended = subprocess.run(
        [sys.executable, AUDIT, "requirements/build.txt", "--", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


UNREACHABLE_URL = "http://127.0.0.1:9"


@needs_audit
def test_the_audit_fails_for_a_known_vulnerability_and_names_the_fixed_version() -> None:
    [version] = read_locked(REQUIREMENTS["build"])["setuptools"]
    with serve_advisory("setuptools") as url:
        status, lines = audit("--vulnerability-service", "osv", "--osv-url", url, proxy=UNREACHABLE_URL)
    assert (status, lines[0]) == (1, f"pip-audit: setuptools {version} has TEST-2026-1, mended in 99.1")


@needs_audit
def test_the_audit_passes_without_known_vulnerabilities() -> None:
    with serve_advisory("another") as url:
        status, lines = audit("--vulnerability-service", "osv", "--osv-url", url, proxy=UNREACHABLE_URL)
    assert status == 0
    assert re.fullmatch(r"pip-audit: \w+ knows weaknesses of 0 of 1 packages", lines[-1])


@needs_audit
def test_the_audit_passes_with_a_message_if_no_source_can_be_reached() -> None:
    status, lines = audit("--osv-url", f"{UNREACHABLE_URL}/v1/query", proxy=UNREACHABLE_URL)
    assert status == 0
    assert lines == [
        "pip-audit: no source of advisories can be reached; whether weaknesses are known was not looked up"
    ]


# ---- the SBOM


@needs_cyclonedx
def test_the_sbom_lists_the_installed_packages_with_licences(tmp_path: Path) -> None:
    """Use an environment like that of `make install`.

    The tool validates by CycloneDX's schema, which takes long for many packages. So there are no others.
    """
    installed = tmp_path / "installed"
    link_package(make_service_environment(installed), "dog-camera")
    file = tmp_path / "dist" / "dog.cdx.json"
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", installed, file], cwd=tmp_path, check=True)
    listed = json.loads(file.read_text())
    assert (listed["bomFormat"], listed["metadata"]["component"]["name"]) == ("CycloneDX", "dog-camera")
    [licence] = listed["metadata"]["component"]["licenses"]
    assert licence["license"]["id"] == "MIT"
    named = {normalize(one["name"]): one for one in listed["components"]}
    assert named.keys() <= read_locked(REQUIREMENTS["service"]).keys()
    assert read_wanted()[""] <= named.keys()
    assert all(named[name].get("licenses") for name in read_wanted()[""])
    assert named["linuxpy"]["licenses"][0]["license"]["id"] == "GPL-3.0-or-later"
    contained = {one["name"]: one["licenses"][0]["license"]["id"] for one in named["av"]["components"]}
    assert contained == {"x264": "GPL-2.0-or-later", "x265": "GPL-2.0-or-later"}
    [own] = [one for one in listed["dependencies"] if one["ref"] == listed["metadata"]["component"]["bom-ref"]]
    assert read_wanted()[""] <= {normalize(ref.partition("==")[0]) for ref in own["dependsOn"]}
    assert str(tmp_path) not in file.read_text()


def test_make_lists_the_targets_for_packagers() -> None:
    output = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {"install", "uninstall", "lock", "sbom"} <= set(re.findall(r"^make ([a-z-]+) ", output, re.MULTILINE))
    assert shutil.which("make")
