"""The wheel: built, installed in a fresh environment elsewhere, it serves the page and takes a photo."""

import json
import re
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.server_process import ROOT, ServerProcess


@pytest.mark.timeout(240)
def test_the_wheel_serves_and_takes_a_photo_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):  # what is in the repository, and nothing that lies about
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    building: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        tmp_path,
        source,
    ]
    subprocess.run(building, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert [name for name in names if name.endswith("share/dog/camera_access.sh")]

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    locked = ["--require-hashes", "--requirement", str(ROOT / "requirements" / "service.txt")]
    for what in (locked, ["--no-deps", str(wheel)]):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True, timeout=120, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = ServerProcess(cwd=elsewhere, command=(str(environment / "bin" / "dog"),)).start()
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
