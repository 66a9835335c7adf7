"""The entry point of the command, in a module with a name of its own.

PyPI's package `dog` is another project. In the same environment, it replaces the script `dog`, and its module `dog` can
hide our package. The script `dog-camera` stays ours, and finds our package all the same.
"""

import shlex
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the command. Warn if PyPI's package `dog` is installed, too.

    Exit with status 1 and one line if that package has replaced or removed files of ours, or if a package is missing.
    """
    found = (info for folder in sys.path for info in Path(folder).glob("dog-*.*-info"))
    other = next(found, None)
    line = ""
    if other is not None:
        line = (
            f"dog: The package {other.stem.replace('-', ' ', 1)} in {other.parent} has the file names of D.O.G., whose "
            f"package is dog-camera. Uninstall it ({shlex.quote(sys.executable)} -m pip uninstall dog), then install "
            "D.O.G. again, with pip's option --force-reinstall."
        )
        sys.path.insert(0, str(Path(__file__).parent))  # before a module dog.py; an editable installation is behind it
    try:
        from dog.cli import main as run
        from dog.logs import print_line
    except Exception as error:  # some of our files may be missing
        _explain_import_error(error)
        if other is None and (Path(__file__).parent / "dog" / "__init__.py").is_file():
            raise
        sys.exit(line or "dog: Files of D.O.G. are missing. Install it again, with pip's option --force-reinstall.")
    if line:
        print_line(line)
    try:
        run()  # a command imports more
    except ImportError as error:
        _explain_import_error(error)
        raise


def _explain_import_error(error: Exception) -> None:
    """Exit with status 1 and one line if a package of others is the cause."""
    package = isinstance(error, ImportError) and (error.name or "").partition(".")[0]
    if package and package != "dog":
        advice = "Install D.O.G. again: `make run` in a checkout, or pip with --force-reinstall."
        sys.exit(f"dog: The package {package} is missing or too old for D.O.G. {advice}")


if __name__ == "__main__":
    main()
