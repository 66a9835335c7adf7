"""Generated requests against the running server, compared with OpenAPI.

schemathesis waits for the end of a response, so tests/web/test_sse.py and test_preview.py test the endless ones.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.pictures import make_picture

ENDLESS = ("/events", "/preview.mjpg")
MAX_EXAMPLES = 15
"""Limit for each operation and each kind of generated requests."""
SETTINGS = """
[generation]
allow-extra-parameters = false  # docs/protocol.md: unknown fields are ignored

# A valid request may name what does not exist, fail a precondition, or lack a WebSocket handshake.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "404", "410", "412", "416", "426", "5xx"]

# A deleted photo is 410 also if the request has other errors.
[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "410", "412", "413", "5xx"]

# OpenAPI cannot describe parameters that exclude each other. `wait` is short, because no photo follows.
[[operations]]
include-name = "GET /latest.jpg"
parameters = { "query.wait" = 0.1 }
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "404", "410", "412", "416", "5xx"]

# OpenAPI cannot describe that a key was used with another `max_age` before.
[[operations]]
include-name = "POST /api/captures"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "404", "5xx"]
"""
SNAPSHOT_SETTINGS = """
[[operations]]
include-name = "{operation}"
parameters = {{ "path.id" = "{snapshot}" }}
"""
READ_OPERATIONS = (
    "GET /api/snapshots/{id}",
    "GET /snapshots/{id}",
    "GET /snapshots/{id}.{suffix}",
    "GET /snapshots/{id}/{width}.jpg",
    "GET /snapshots/{id}/thumbnail.jpg",
)
"""Operations that are tested with an existing photo. The others create and delete some."""


def press(url: str) -> str:
    request = urllib.request.Request(f"{url}/api/captures", method="POST")
    snapshot: str = json.load(urllib.request.urlopen(request))["snapshot"]
    return snapshot


@pytest.mark.timeout(300)
def test_schemathesis_finds_no_undocumented_response(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "default.jpg").write_bytes(make_picture())
    server = serve("--dead-time", "0", "--login-attempts", "10000", "--default-picture", str(tmp_path / "default.jpg"))
    snapshot = press(server.url)
    settings = SETTINGS + "".join(SNAPSHOT_SETTINGS.format(operation=one, snapshot=snapshot) for one in READ_OPERATIONS)
    (tmp_path / "settings.toml").write_text(settings)
    arguments = [
        f"{server.url}/api/openapi.json",
        "--checks=all",
        f"--max-examples={MAX_EXAMPLES}",
        "--seed=1",
        "--no-color",
    ]
    arguments += [f"--exclude-path={path}" for path in ENDLESS]
    result = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "--config-file=settings.toml", "run", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert server.stop() == 0
