"""schemathesis against the running server: it reads the document, says what it can think of, and looks at each answer.

What goes on for ever is left out, for it waits for the end of each answer: tests/web/test_sse.py and test_preview.py
have that.
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
CASES = 15
"""Cases at most for each operation and each way of making them up."""
SETTINGS = """
[generation]
allow-extra-parameters = false  # fields that a side does not know are ignored, as docs/protocol.md says

# What can be said is not always what there is: gone, not to be had under that condition, spoken to as a WebSocket.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "404", "410", "412", "416", "426", "5xx"]

# What was deleted is gone, whatever else is wrong with the question.
[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "410", "412", "413", "5xx"]

# Two parameters that shut each other out can't be written down. Nobody waits long for a photo that nobody takes.
[[operations]]
include-name = "GET /latest.jpg"
parameters = { "query.wait" = 0.1 }
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "404", "410", "412", "416", "5xx"]

# Nor can a key that was used with another `max_age` before.
[[operations]]
include-name = "POST /api/captures"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "404", "5xx"]
"""
OF_ONE_PHOTO = """
[[operations]]
include-name = "{operation}"
parameters = {{ "path.id" = "{snapshot}" }}
"""
READING = (
    "GET /api/snapshots/{id}",
    "GET /snapshots/{id}",
    "GET /snapshots/{id}.{suffix}",
    "GET /snapshots/{id}/thumbnail.jpg",
)
"""Operations that are asked for a photo that is there; the others make some, and end them."""


def press(url: str) -> str:
    request = urllib.request.Request(f"{url}/api/captures", method="POST")
    snapshot: str = json.load(urllib.request.urlopen(request))["snapshot"]
    return snapshot


@pytest.mark.timeout(300)
def test_schemathesis_finds_no_undocumented_response(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "default.jpg").write_bytes(make_picture())
    server = serve("--dead-time", "0", "--default-picture", str(tmp_path / "default.jpg"))
    snapshot = press(server.url)
    settings = SETTINGS + "".join(OF_ONE_PHOTO.format(operation=one, snapshot=snapshot) for one in READING)
    (tmp_path / "settings.toml").write_text(settings)
    arguments = [f"{server.url}/api/openapi.json", "--checks=all", f"--max-examples={CASES}", "--seed=1", "--no-color"]
    arguments += [f"--exclude-path={path}" for path in ENDLESS]
    ended = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "--config-file=settings.toml", "run", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert server.stop() == 0
