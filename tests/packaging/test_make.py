"""The output of `make` for newcomers: its targets, and missing programs."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import copy_checkout
from tests.support.server_process import ROOT, clean_environment


def test_plain_make_prints_every_target_and_does_nothing() -> None:
    output = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^make ([a-z-]+) ", output, re.MULTILINE) == targets
    assert {"run", "test", "check"} <= set(targets)


@pytest.mark.parametrize("user", ["1000", "0"])
def test_without_chromium_make_test_names_the_package_or_the_failure(tmp_path: Path, user: str) -> None:
    """Run the script as a user, and as root without a package."""
    for name, body in {"id": f"echo {user}", "apt-get": "echo no network >&2; exit 100"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    script = ROOT / "tests" / "install_chromium.sh"
    ended = subprocess.run(
        ["/bin/sh", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "The browser tests need Chromium" in ended.stderr
    assert (
        "sudo apt-get install chromium" if user == "1000" else "installing the package chromium failed"
    ) in ended.stderr


def test_without_promtool_the_tests_go_on_and_no_files_stay(tmp_path: Path) -> None:
    """Run the script as root without a package of the distribution."""
    for name, body in {"id": "echo 0", "apt-get": "echo no network >&2; exit 100"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    for name in ("mktemp", "rm"):
        real = shutil.which(name)
        assert real
        (tmp_path / name).symlink_to(real)
    (tmp_path / "temporary").mkdir()
    ended = subprocess.run(
        ["/bin/sh", ROOT / "tests" / "install_promtool.sh"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert ended.stderr == (
        "no network\npromtool could not be taken from the package prometheus; the tests that need it are skipped.\n"
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_ci_runs_the_checks_and_the_tests_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[3:] == ["make check", "make test"]


@pytest.mark.parametrize(("variables", "code"), [({}, 0), ({"CI": "true"}, 1)])
def test_without_npm_the_static_files_are_unchecked_which_is_an_error_in_ci(
    tmp_path: Path, variables: dict[str, str], code: int
) -> None:
    ended = subprocess.run(
        ["/bin/sh", ROOT / ".ci" / "check_static.sh"],
        env={"PATH": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code
    assert ended.stderr.endswith("because npm is missing. Install Node.js 20.19 or later with npm.\n")


def test_public_ci_runs_the_same_on_two_pythons_with_pinned_actions_and_read_access() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "Not run here" in text.partition("\nname:")[0]
    assert re.findall(r"\brun: (.*)", text) == [".ci/run"]
    assert re.findall(r"^ +python: (.*)", text, re.MULTILINE) == ['["3.11", "3.13"]']
    actions = re.findall(r"\buses: (.*)", text)
    assert actions
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action) for action in actions)
    assert re.findall(r"permissions:\n((?: +.*\n)+)", text) == ["  contents: read\n"]


class Checkout:
    """A checkout with the virtual environment of `make`.

    Make installs only the build dependencies into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = copy_checkout(folder)
        self.setup = self.folder / "setup.cfg"
        for name in ("service", "develop"):
            shutil.copy(self.folder / "requirements/build.txt", self.folder / f"requirements/{name}.txt")
        self.make(".venv/bin/pip")
        (self.packages,) = self.folder.glob(".venv/lib/python*/site-packages")

    def make(self, target: str) -> str:
        """Run make. Return its output."""
        environment = {name: value for name, value in clean_environment().items() if not name.startswith("MAKE")}
        command = ["make", "--no-print-directory", target, f"PYTHON={sys.executable}"]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def list_own(self) -> "list[importlib.metadata.Distribution]":
        """Return the installed packages named dog*."""
        found = importlib.metadata.distributions(path=[str(self.packages)])
        return [one for one in found if one.name.startswith("dog")]

    def reset(self) -> None:
        """Remove the packages named dog*, and what make has noted."""
        for package in self.list_own():
            for file in package.files or ():
                Path(str(package.locate_file(file))).unlink(missing_ok=True)
        for name in ("run", "develop"):
            (self.folder / ".venv" / name).unlink(missing_ok=True)
        for folder in (*self.packages.glob("dog*.dist-info"), *self.folder.glob("dog*.egg-info")):
            shutil.rmtree(folder)
        shutil.copy(ROOT / "setup.cfg", self.setup)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("made") / "source")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", [".venv/run", ".venv/develop"])
def test_make_uninstalls_the_package_of_the_old_name_first(target: str, checkout: Checkout) -> None:
    def make() -> tuple[str, list[str]]:
        """Run make as after an update.

        Return its message about uninstalling, and the packages named dog*.
        """
        (checkout.folder / target).unlink(missing_ok=True)
        output = checkout.make(target)
        packages = [f"{one.name}=={one.version}" for one in checkout.list_own()]
        return "\n".join(re.findall("Uninstalling.*", output)), packages

    checkout.reset()
    today = checkout.setup.read_text()
    old = today.replace("name = dog-camera\nversion = attr: dog.__version__", "name = dog\nversion = 0.0.9")
    checkout.setup.write_text(old)
    assert make() == ("", ["dog==0.0.9"])
    checkout.setup.write_text(today)
    output, packages = make()
    assert output.startswith("Uninstalling dog==0.0.9 from .venv")
    assert [one.partition("==")[0] for one in packages] == ["dog-camera"]
    assert not (checkout.folder / "dog.egg-info").exists()
    for name in ("dog", "dog-camera"):
        assert (checkout.folder / ".venv/bin" / name).exists()
    assert make()[0] == ""


def test_a_python_that_is_too_old_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    program = 'exec(sys.argv.pop(1).replace("sys.version_info", "(3, 10, 13)"))'
    old.write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c 'import sys; {program}' \"$@\"\n")
    old.chmod(0o755)
    folder = copy_checkout(tmp_path / "checkout")
    refused = subprocess.run(
        ["make", "--no-print-directory", "run", f"PYTHON={old}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    line, *_ = refused.stderr.splitlines()
    assert line.startswith(f"D.O.G. needs Python 3.11 or later, which {old} is not. Install one,")
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("change", ["a moved checkout", "a replaced Python"])
def test_an_environment_that_does_not_work_any_more_is_made_again(
    change: str, checkout: Checkout, tmp_path: Path
) -> None:
    def make_help(folder: Path) -> str:
        return subprocess.run(
            ["make", "--no-print-directory"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout

    stamps = [Path(".venv") / name for name in ("bin/pip", "run", "develop")]
    moved = tmp_path / "moved"
    shutil.copytree(checkout.folder, checkout.folder.with_name("other"), symlinks=True)
    checkout.folder.with_name("other").rename(moved)
    for stamp in stamps:
        (moved / stamp).touch()
    if change == "a replaced Python":
        pip = moved / ".venv/bin/pip"
        pip.write_text(pip.read_text().replace(str(checkout.folder), str(moved)))
        assert "has changed" not in make_help(moved)
        (packages,) = moved.glob(".venv/lib/python*")
        packages.rename(packages.with_name("python3.10"))
    assert "Python or the place of this checkout has changed" in make_help(moved)
    assert [stamp for stamp in stamps if (moved / stamp).exists()] == []
    assert "has changed" not in make_help(checkout.folder)
    planned = subprocess.run(
        ["make", "--dry-run", ".venv/run", f"PYTHON={sys.executable}"],
        cwd=moved,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'"{sys.executable}" -m venv --clear .venv' in planned
