"""List what the service is made of, as CycloneDX: `.ci/sbom.py INSTALLED FILE`.

INSTALLED is the virtual environment of `make install`, which holds what the service runs with and nothing else.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ABOUT = """
import importlib.metadata, json, re
dog = importlib.metadata.distribution("dog")
installed = {re.sub("[-_.]+", "-", one.name).lower() for one in importlib.metadata.distributions()}
wanted = {re.split("[^A-Za-z0-9._-]", line)[0] for line in dog.requires}
print(json.dumps([dog.version, dog.metadata["Summary"], sorted(wanted & installed)]))
"""


def main(installed: Path, file: Path) -> None:
    python = installed / "bin" / "python"
    said = subprocess.run([python, "-c", ABOUT], capture_output=True, text=True, check=True).stdout
    version, summary, dependencies = json.loads(said)
    file.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as about:
        # a list and texts of JSON are such of TOML, too
        about.write(f'[project]\nname = "dog"\nversion = "{version}"\ndescription = {json.dumps(summary)}\n')
        about.write(f"dependencies = {json.dumps(dependencies)}\n")
        about.flush()
        program = Path(sys.executable).with_name("cyclonedx-py")
        command: list[str | Path] = [program, "environment", "--validate", "--output-reproducible"]
        subprocess.run([*command, "--pyproject", about.name, "--output-file", file, python], check=True)
    print(f"{file} names {len(json.loads(file.read_text())['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
