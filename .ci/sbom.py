"""List what the service is made of, as CycloneDX: `.ci/sbom.py INSTALLED FILE`.

INSTALLED is the virtual environment of `make install`, which holds what the service runs with and nothing else.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SCHEMA = SchemaVersion.V1_6
COPYLEFT = {"x264": "GPL-2.0-or-later", "x265": "GPL-2.0-or-later"}
"""Licences of libraries that a wheel may contain without its metadata saying so, by the library's name."""

ABOUT = """
import importlib.metadata, json, re, sys
dog = importlib.metadata.distribution("dog-camera")
distributions = {re.sub("[-_.]+", "-", one.name).lower(): one for one in importlib.metadata.distributions()}
wanted = {re.split("[^A-Za-z0-9._-]", line)[0] for line in dog.requires}
libraries = re.compile("lib(%s)[-.]" % "|".join(sys.argv[1:]))
contained = {one.name: sorted({found[1] for file in one.files or () if (found := libraries.match(file.name))})
             for one in distributions.values()}
print(json.dumps({
    "version": dog.version, "description": dog.metadata["Summary"], "license": dog.metadata["License-Expression"],
    "dependencies": sorted(wanted & distributions.keys()), "contained": contained,
}))
"""


def add_contained(document: str, contained: dict[str, list[str]]) -> str:
    """Return the document with each package's contained libraries as components of that package."""
    told = json.loads(document)
    for component in told["components"]:
        libraries = contained.get(component["name"], [])
        if libraries:
            component["components"] = [
                {
                    "type": "library",
                    "bom-ref": f"{component['bom-ref']}/{name}",
                    "name": name,
                    "licenses": [{"license": {"id": COPYLEFT[name]}}],
                }
                for name in libraries
            ]
    return json.dumps(told, indent=2) + "\n"


def main(installed: Path, file: Path) -> None:
    python = installed / "bin" / "python"
    command: list[str | Path] = [python, "-c", ABOUT, *COPYLEFT]
    about = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    contained = about.pop("contained")
    file.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as project:
        # a list and texts of JSON are such of TOML, too
        project.write('[project]\nname = "dog-camera"\n')
        project.writelines(f"{key} = {json.dumps(value)}\n" for key, value in about.items())
        project.flush()
        program = Path(sys.executable).with_name("cyclonedx-py")
        command = [program, "environment", "--spec-version", SCHEMA.to_version(), "--output-reproducible"]
        command += ["--no-validate", "--pyproject", project.name, python]  # the final document is validated below
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    document = add_contained(made, contained)
    if error := JsonStrictValidator(SCHEMA).validate_str(document):
        sys.exit(f"The list does not follow CycloneDX's schema: {error}")
    file.write_text(document)
    print(f"{file} names {len(json.loads(document)['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
