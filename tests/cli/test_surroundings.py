"""Commands for users without a name or home, and in unusable folders."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, clean_environment

SYSTEM_PYTHON = Path("/usr/bin/python3")
USER = "54321"


def run_as_nobody(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run dog as a user without name and home. Return status and last line.

    Its interpreter is the system's: the tests' own may be in a home folder.
    """
    packages = sysconfig.get_path("purelib")
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    if not SYSTEM_PYTHON.exists() or packages.split("/")[-2] != SYSTEM_PYTHON.resolve().name:
        pytest.skip("the system has another Python")
    environment = clean_environment({"PYTHONPATH": f"{ROOT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"})
    environment.pop("HOME", None)
    command = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", str(SYSTEM_PYTHON), "-m", "dog"]
    if subprocess.run([*command[:6], "test", "-r", packages], check=False).returncode:
        pytest.skip("other users can't read the packages")
    ended = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, (ended.stderr + ended.stdout).splitlines()[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that everybody may use."""
    made = tmp_path / "folder"
    made.mkdir()
    for each in (made, *made.parents[: len(made.parents) - 2]):
        each.chmod(0o777)
    return made


def test_a_user_without_a_name_or_home_takes_photos_and_sees_why_a_camera_fails(folder: Path) -> None:
    status, line = run_as_nobody(folder, "check")
    assert (status, line.startswith("main: a JPEG of 1280 x 720 pixels")) == (0, True)
    program = folder / "camera.sh"
    program.write_text("#!/bin/sh\necho the lens cap is on >&2; exit 3\n")
    program.chmod(0o755)
    status, line = run_as_nobody(folder, "check", "--camera", "script:./camera.sh")
    assert (status, line.startswith("main: The camera program ended with status 3: the lens cap is on.")) == (1, True)
    assert run_as_nobody(folder, "serve", "--snapshots", "~/photos") == (
        2,
        "dog: --snapshots (command line): '~/photos' begins with an unknown home folder. Write the whole path.",
    )


@pytest.mark.parametrize("arguments", [["check"], ["user", "list"], ["serve", "--port", "0"], ["cert"]])
def test_a_working_folder_without_permission_is_one_line(arguments: list[str], folder: Path) -> None:
    folder.chmod(0o700)
    status, line = run_as_nobody(folder, *arguments)
    assert status == 1
    assert line.endswith("can't be used: permission denied. Allow it to this user.")


@pytest.mark.parametrize("command", ["check", "gallery", "cert"])
def test_a_removed_working_folder_is_one_line(command: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}" && exec "$0" -m dog {command}'
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    ended = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=gone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "dog: The working folder was removed. Change to another one.\n")


@pytest.mark.parametrize(("package", "command"), [("msgspec", "check"), ("aiohttp_jinja2", "serve"), ("PIL", "serve")])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_missing_or_old_package_is_one_line(package: str, command: str, is_old: bool, tmp_path: Path) -> None:
    """Play an environment that another version of D.O.G. was installed into."""
    error = f'ImportError("old", name="{package}")' if is_old else f'ModuleNotFoundError("missing", name="{package}")'
    hidden = tmp_path / "packages"
    hidden.mkdir()
    (hidden / f"{package}.py").write_text(f"raise {error}\n")
    program = "import sys, dog_camera; sys.argv[0] = 'dog'; dog_camera.main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, command],
        cwd=tmp_path,
        env=clean_environment({"PYTHONPATH": f"{hidden}:{ROOT}"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"dog: The package {package} is missing"), ended.stderr
    assert ended.stderr.count("\n") == 1
