"""The wheel: licence, another environment, another package named `dog`."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dog import __version__
from tests.support.environments import make_environment, make_service_environment
from tests.support.server_process import ROOT, ServerProcess, clean_environment

LICENSE = (ROOT / "LICENSE").read_bytes()


@dataclass(frozen=True)
class Built:
    """The files of the repository, and the archives that are built from them."""

    source: Path
    wheel: Path
    archive: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    building: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation"]
    subprocess.run([*building, "--outdir", folder, source], check=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")
    return Built(source, wheel, archive)


def test_the_wheel_and_the_source_archive_contain_and_name_the_licence(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        (folder,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        assert wheel.read(f"{folder}/licenses/LICENSE") == LICENSE
        metadata = wheel.read(f"{folder}/METADATA").decode()
    assert re.findall("^(?:Name|License-Expression|License-File): .*", metadata, re.MULTILINE) == [
        "Name: dog-camera",
        "License-Expression: MIT",
        "License-File: LICENSE",
    ]
    with tarfile.open(built.archive) as archive:
        file = archive.extractfile(f"{built.archive.name.removesuffix('.tar.gz')}/LICENSE")
        assert file is not None
        assert file.read() == LICENSE


@pytest.mark.timeout(240)
def test_the_wheel_serves_and_takes_a_photo_in_another_environment(built: Built, tmp_path: Path) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert [name for name in names if name.endswith("share/dog/camera_access.sh")]

    environment = Environment(tmp_path / "environment", make_service_environment)
    environment.install(built.wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = ServerProcess(cwd=elsewhere, command=(str(environment.folder / "bin" / "dog"),)).start()
    try:
        page = urllib.request.urlopen(server.url).read().decode()
        loaded = re.findall(r'(?:href|src)="\./(static/[^"]+)"', page)
        assert {url.rpartition(".")[2] for url in loaded} >= {"css", "js", "svg"}
        for asset in ("static/dog-client.js", *loaded):
            assert urllib.request.urlopen(f"{server.url}/{asset}").status == 200
        answer = urllib.request.urlopen(urllib.request.Request(f"{server.url}/api/captures", method="POST"))
        snapshot = json.load(answer)
        picture = urllib.request.urlopen(server.url + snapshot["url"]).read()
        assert len(picture) == snapshot["bytes"]
        assert server.stop() == 0
    finally:
        server.kill()


# ---- another project's package `dog`


class Environment:
    """A virtual environment, and how to install into it and run its commands."""

    def __init__(self, folder: Path, make: Callable[[Path], object]) -> None:
        self.folder = folder
        make(folder)

    def pip(self, *arguments: str | Path) -> None:
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", self.folder / "bin/python", "--quiet"]
        ended = subprocess.run([*pip, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    def install(self, *what: str | Path) -> None:
        self.pip("install", "--no-deps", "--no-index", "--no-build-isolation", *what)

    def run(self, command: str) -> tuple[int, str, list[str]]:
        """Return the status, standard output, and the lines of standard error."""
        program = [str(self.folder / "bin" / command), "--version"]
        environment = clean_environment()
        environment.pop("PYTHONPATH", None)
        ended = subprocess.run(program, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout, ended.stderr.splitlines()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment", make_with_packages_of_the_tests)


def make_with_packages_of_the_tests(folder: Path) -> None:
    (make_environment(folder) / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def make_other_dog(folder: Path, *modules: str) -> Path:
    """Make a wheel like PyPI's `dog`, with these modules and a script `dog`."""
    info = "dog-77.3.dist-info"
    files = dict.fromkeys(modules, "def setup_tools_main():\n    print('another dog')\n")
    files |= {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: dog\nVersion: 77.3\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ndog = dog:setup_tools_main\n",
    }
    record = [f"{info}/RECORD,,\n"]
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record.append(f"{name},sha256={digest},{len(text)}\n")
    wheel = folder / "dog-77.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": "".join(record)}.items():
            archive.writestr(name, text)
    return wheel


WORKS = (0, f"dog, version {__version__}\n")


def check_line(lines: list[str], environment: Environment) -> None:
    (line,) = lines
    assert line.startswith("dog: The package dog 77.3 in ")
    assert f"{environment.folder}/bin/python -m pip uninstall dog" in line
    assert line.endswith("install D.O.G. again, with pip's option --force-reinstall.")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_both_commands_work_and_report_another_installed_package_dog(
    first: str, built: Built, environment: Environment, tmp_path: Path
) -> None:
    wheels = [built.wheel, make_other_dog(tmp_path, "dog.py")]
    for wheel in wheels if first == "ours" else reversed(wheels):
        environment.install(wheel)
    for command in ("dog", "dog-camera"):
        status, output, lines = environment.run(command)
        assert (status, output) == WORKS
        check_line(lines, environment)
    environment.pip("uninstall", "--yes", "dog")
    environment.install("--force-reinstall", built.wheel)
    assert [environment.run(command) for command in ("dog", "dog-camera")] == [(*WORKS, [])] * 2


def test_dog_camera_works_from_a_checkout_whose_package_another_module_dog_hides(
    built: Built, environment: Environment, tmp_path: Path
) -> None:
    environment.install("--editable", built.source)
    assert environment.run("dog-camera") == (*WORKS, [])
    environment.install(make_other_dog(tmp_path, "dog.py"))
    status, output, lines = environment.run("dog-camera")
    assert (status, output) == WORKS
    check_line(lines, environment)


def test_dog_camera_prints_one_line_if_another_package_replaced_its_files(
    built: Built, environment: Environment, tmp_path: Path
) -> None:
    environment.install(built.wheel)
    environment.install(make_other_dog(tmp_path, "dog/__init__.py"))
    status, output, lines = environment.run("dog-camera")
    assert (status, output) == (1, "")
    check_line(lines, environment)
    environment.pip("uninstall", "--yes", "dog")
    missing = "dog: Files of D.O.G. are missing. Install it again, with pip's option --force-reinstall."
    assert environment.run("dog-camera") == (1, "", [missing])
    environment.install("--force-reinstall", built.wheel)
    assert environment.run("dog-camera") == (*WORKS, [])
