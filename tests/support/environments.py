"""Virtual environments with links to packages of the tests' environment."""

import contextlib
import importlib.metadata
import re
import venv
from pathlib import Path

from tests.support.server_process import ROOT

__all__ = ["link_package", "make_environment", "make_service_environment"]


def make_environment(folder: Path) -> Path:
    """Make a virtual environment without packages, also without pip.

    Return its folder of packages.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    return packages


def make_service_environment(folder: Path) -> Path:
    """Make an environment that has exactly the service's packages.

    They are those of requirements/service.txt. Return its folder of packages.
    """
    packages = make_environment(folder)
    for name in re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "service.txt").read_text(), re.MULTILINE):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # it is for another Python
            link_package(packages, name)
    return packages


def link_package(packages: Path, name: str) -> None:
    """Link the files of an installed package into a folder of packages."""
    distribution = importlib.metadata.distribution(name)
    for part in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        link = packages / part
        if not link.exists():
            link.symlink_to(Path(str(distribution.locate_file(part))))
