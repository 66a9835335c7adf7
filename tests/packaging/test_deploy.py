"""The files of deploy/: `make install`, systemd unit, Containerfile."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.checkouts import copy_checkout
from tests.support.forked_process import MODULES
from tests.support.server_process import ROOT, ServerProcess, clean_environment

UNIT = (ROOT / "deploy" / "dog.service").read_text()
REQUIREMENTS = (ROOT / "requirements" / "service.txt").read_text()
MAX_EXPOSURE = 1.7
"""Exposure level by systemd-analyze, from 0 (safe) to 10 (systemd 252; a later one may check more)."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


class Installed:
    """A folder in place of /, and a checkout to install from.

    Its environment is that of the tests. The service is installed with the packages of `requirements`.
    """

    def __init__(self, folder: Path, requirements: str = REQUIREMENTS) -> None:
        self.root = folder / "root"
        self.source = copy_checkout(folder / "source")
        self.requirements = self.source / "requirements/service.txt"
        self.requirements.write_text(requirements)
        environment = self.source / ".venv"
        (environment / "bin").mkdir(parents=True)
        for name in ("python", "pip"):
            program = environment / "bin" / name
            module = "-m pip" if name == "pip" else ""
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            program.chmod(0o755)
        (environment / "run").touch()

    def make(self, target: str, *variables: str, fails: bool = False) -> str:
        """Run make with a umask that keeps files private. Return its output."""
        command = ["make", "--no-print-directory", target, f"PYTHON={sys.executable}", f"DESTDIR={self.root}"]
        environment = {name: value for name, value in clean_environment().items() if not name.startswith("MAKE")}
        ended = subprocess.run(
            [*command, "--assume-old", ".venv/run", *variables],
            cwd=self.source,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
        )
        assert (ended.returncode != 0) == fails, ended.stdout + ended.stderr
        return ended.stdout

    def files(self) -> set[str]:
        """Return the installed files, without those of the packages."""
        lib = self.root / "usr/local/lib/dog"
        found = (path for path in self.root.rglob("*") if not path.is_relative_to(lib))
        return {str(path.relative_to(self.root)) for path in found if path.is_symlink() or path.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    one = Installed(tmp_path_factory.mktemp("installed"))
    packages = f"usr/local/lib/dog/lib/python3.{sys.version_info.minor}/site-packages"
    old = one.root / packages / "dog-0.0.9.dist-info"  # of a version whose package name was dog
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.4\nName: dog\nVersion: 0.0.9\n")
    one.make("install")
    return one


SETTINGS_FILES = {"etc/dog/dog.toml", "etc/dog/dog.toml.example"}
FILES = {
    "usr/local/bin/dog",
    "usr/local/bin/dog-camera",
    "usr/local/lib/systemd/system/dog.service",
    "usr/local/lib/sysusers.d/dog.conf",
    "usr/local/lib/tmpfiles.d/dog.conf",
}


@pytest.mark.timeout(300)
def test_make_install_writes_everything_below_destdir_with_real_paths(installed: Installed) -> None:
    assert installed.files() == FILES | SETTINGS_FILES
    lib = installed.root / "usr/local/lib/dog"
    assert "include-system-site-packages = false" in (lib / "pyvenv.cfg").read_text()
    assert os.readlink(installed.root / "usr/local/bin/dog") == "/usr/local/lib/dog/bin/dog"
    assert (lib / "bin/dog").read_text().startswith("#!/usr/local/lib/dog/bin/python -I\n")
    commands = {path.name for path in (lib / "bin").iterdir() if not path.name.startswith("python")}
    assert commands == {"dog", "dog-camera"}
    second = installed.root / "usr/local/bin/dog-camera"
    assert os.readlink(second) == "/usr/local/lib/dog/bin/dog-camera"
    assert (lib / "bin/dog-camera").samefile(lib / "bin/dog")
    assert stat.S_IMODE((installed.root / "etc/dog/dog.toml").stat().st_mode) == 0o640
    assert stat.S_IMODE((installed.root / "etc/dog/secrets").stat().st_mode) == 0o700
    where = str(installed.root).encode()
    telling = [path for path in lib.rglob("*") if path.is_file() and where in path.read_bytes()]
    assert telling == []
    assert list_closed(lib) == [], "the service is another user"


@pytest.mark.timeout(300)
def test_make_install_installs_the_locked_versions_and_no_build_tools(installed: Installed) -> None:
    listing = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    python = installed.root / "usr/local/lib/dog/bin/python"
    output = subprocess.run([python, "-I", "-c", listing], capture_output=True, text=True, check=True).stdout
    found = {re.sub("[-_.]+", "-", name).lower(): version for name, version in json.loads(output).items()}
    assert found.pop("dog-camera")
    locked = re.findall(r"^([a-z0-9-]+)==([^ ]+)", REQUIREMENTS, re.MULTILINE)
    assert found.items() <= set(locked)
    assert not {"pip", "setuptools", "wheel"} & set(found)
    assert {"aiohttp", "av", "linuxpy"} <= set(found)


@pytest.mark.timeout(300)
def test_every_module_that_the_service_imports_is_compiled(installed: Installed) -> None:
    """Its user can't write into its folder."""
    listing = """if True:
        import importlib, os, sys
        for name in sys.argv[1:]:
            importlib.import_module(name)
        specs = [getattr(module, "__spec__", None) for module in sys.modules.values()]
        compiled = [spec.cached for spec in specs if spec and spec.cached and "site-packages" in spec.cached]
        print(len(compiled), *(path for path in compiled if not os.path.exists(path)))
    """
    modules = [name for name in MODULES if not name.startswith("tests.")]
    python = installed.root / "usr/local/lib/dog/bin/python"
    command: list[str | Path] = [python, "-I", "-B", "-c", listing, *modules, "av", "linuxpy.video.device"]
    count, *missing = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(count) > 300
    assert missing == []


@pytest.mark.timeout(300)
def test_the_installed_service_starts_with_the_example_settings(installed: Installed, tmp_path: Path) -> None:
    example = (installed.root / "etc/dog/dog.toml.example").read_text()
    (tmp_path / "dog.toml").write_text(example.replace("/var/lib/dog", str(tmp_path)).replace("8080", "0"))
    lib = installed.root / "usr/local/lib/dog"
    command = (str(lib / "bin/python"), "-I", str(lib / "bin/dog"))
    server = ServerProcess("--config", "dog.toml", "--port", "0", cwd=tmp_path, command=command).start()
    try:
        request = urllib.request.Request(f"{server.url}/api/captures", method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["outcome"] == "started"
        assert server.stop() == 0
    finally:
        server.kill()
    assert list((tmp_path / "snapshots").rglob("*.jpg"))


def test_the_cameras_in_the_example_settings_are_valid(tmp_path: Path) -> None:
    from dog.settings import load

    example = (ROOT / "deploy/dog.toml.example").read_text()
    (tmp_path / "dog.toml").write_text(re.sub(r"^# (?=\[|camera =|password_file =)", "", example, flags=re.MULTILINE))
    settings = load({}, {}, tmp_path)
    assert set(settings.cameras) == {"porch", "yard"}
    assert settings.warnings == ()
    assert settings.log_file is None


def list_modes(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()}


def list_closed(folder: Path) -> list[Path]:
    """Return the files that only their owner can read or run."""
    modes = list_modes(folder)
    return [path for path, mode in modes.items() if mode & 0o004 == 0 or (mode & 0o111 and mode & 0o001 == 0)]


@pytest.mark.timeout(600)
def test_settings_survive_an_installation_and_an_uninstallation(tmp_path: Path) -> None:
    """Install with a Python that has Picamera2, as on a Raspberry Pi."""
    small = re.search(r"^itsdangerous==.*\n(?: +.*\n)*", REQUIREMENTS, re.MULTILINE)
    assert small
    one = Installed(tmp_path, small[0])  # a single package is enough here
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/system exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "system/picamera2").mkdir(parents=True)
    mine = one.root / "etc/dog/dog.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("port = 81\n")
    one.make("install", "PREFIX=/opt/dog", f"PYTHON={python}")
    assert "include-system-site-packages = true" in (one.root / "opt/dog/lib/dog/pyvenv.cfg").read_text()
    elsewhere = {re.sub(r"usr/local/lib/s|usr/local/lib/t", lambda m: f"etc/{m[0][-1]}", name) for name in FILES}
    assert one.files() - {n for n in one.files() if "/lib/dog/" in n} == SETTINGS_FILES | {
        name.replace("usr/local", "opt/dog") for name in elsewhere
    }
    unit = (one.root / "etc/systemd/system/dog.service").read_text()
    assert "ExecStart=/opt/dog/lib/dog/bin/dog serve" in unit
    assert "/usr/local/lib/dog" not in unit
    lib = one.root / "opt/dog/lib/dog"
    installed = list_modes(lib)
    assert list_closed(lib) == [], "the service is another user"
    with one.requirements.open("a") as requirements:
        requirements.write("dog-that-there-is-not==1 --hash=sha256:" + 64 * "0" + "\n")
    one.make("install", "PREFIX=/opt/dog", fails=True)
    assert list_modes(lib) == installed, "the old installation stays until the new one is complete"
    assert [path.name for path in lib.parent.iterdir()] == ["dog"]
    one.make("uninstall", "PREFIX=/opt/dog")
    assert one.files() == SETTINGS_FILES
    assert mine.read_text() == "port = 81\n"


def test_the_unit_starts_after_time_synchronisation() -> None:
    for key in ("Wants", "After"):
        targets = re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)
        assert "time-sync.target" in " ".join(targets).split()


def test_the_unit_limits_the_memory_as_the_docs_say() -> None:
    unit = (ROOT / "deploy" / "dog.service").read_text()
    limits = dict(re.findall(r"^(Memory(?:High|Max))=(\d+[GM])$", unit, re.MULTILINE))
    assert limits == {"MemoryHigh": "2G", "MemoryMax": "2560M"}
    docs = (ROOT / "docs" / "deploying.md").read_text()
    assert "2 GiB (`MemoryHigh`)" in docs
    assert "2.5 GiB (`MemoryMax`)" in docs


def test_the_unit_allows_reading_the_clock_s_state_but_not_setting_it() -> None:
    assert "ProtectClock=" not in re.sub("^#.*$", "", UNIT, flags=re.MULTILINE)
    filters = re.findall(r"^SystemCallFilter=(.*)$", UNIT, re.MULTILINE)
    assert "~@privileged" in " ".join(filters[:-1]).split(), "it would remove system calls that are allowed after it"
    assert {"adjtimex", "clock_adjtime", "clock_adjtime64"} <= set(filters[-1].split())
    assert "CapabilityBoundingSet=\n" in UNIT, "the service must not set the clock"


@needs_systemd
@pytest.mark.timeout(300)
def test_systemd_verifies_the_unit_without_warnings(installed: Installed, tmp_path: Path) -> None:
    unit = tmp_path / "dog.service"
    place = installed.root / "usr/local/lib/dog"
    unit.write_text(UNIT.replace("/usr/local/lib/dog/bin/dog", str(place / "bin/python")))
    command: list[str | Path] = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@needs_systemd
def test_the_exposure_level_of_the_unit_is_at_most_that_of_the_docs(tmp_path: Path) -> None:
    def measure(unit: str) -> float:
        (tmp_path / "dog.service").write_text(unit)
        command: list[str | Path] = [
            "systemd-analyze",
            "security",
            "--no-pager",
            "--offline=yes",
            tmp_path / "dog.service",
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"Overall exposure level for dog.service: ([\d.]+)", output)
        assert found, output
        return float(found[1])

    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.split()[1]) < 250:
        pytest.skip("this systemd can't analyze a file")
    assert measure(UNIT) <= MAX_EXPOSURE
    assert measure(re.sub(r"^SystemCallFilter=.*\n", "", UNIT, flags=re.MULTILINE)) > MAX_EXPOSURE


def test_the_container_runs_without_root_and_has_a_health_check() -> None:
    """Building it was tried by hand: tests can't fetch the base image."""
    recipe = (ROOT / "deploy" / "Containerfile").read_text()
    stage = recipe.rpartition("\nFROM ")[2]
    user = re.search(r"^USER (\d+):(\d+)$", stage, re.MULTILINE)
    assert user
    assert "0" not in user.groups()
    assert "HEALTHCHECK" in stage
    assert "curl" not in recipe
    assert "--require-hashes" in recipe
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", recipe, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
