"""The real input: `dog serve` with camera_access.sh and fswebcam in a guest whose kernel drives a USB webcam.

run.sh boots the guest once for all tests here; uvccam.py plays the webcam, which looks at our test card. The viewer is
outside, as another computer would be: it knows the forwarded port and nothing else. A second port takes words for the
webcam, such as unplug, and answers when its device node has come or gone.
"""

import asyncio
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from websockets.sync.client import ClientConnection, connect

from dog.cameras.test_card import TestCard

ROOT = Path(__file__).resolve().parent.parent.parent

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "kmod": "kmod",
    "zstd": "zstd",
    "xz": "xz-utils",
    "fswebcam": "fswebcam",
    "v4l2-ctl": "v4l-utils",
    "apt-get": "apt",
    "dpkg": "dpkg",
}
"""What the rig runs, and Debian's package of it."""

SIZE = (640, 480)

PATIENCE = 90.0
"""Seconds for whatever the guest is asked: its processor is emulated."""

CAPTURE_TIMEOUT = 20
"""Seconds; a picture takes 3 of them in the guest."""

SERVE = """
mkdir -p /run/dog && cd /run/dog && echo $$ >pid
busybox nc -ll -p 8081 -e /bin/sh "$SHARE/control.sh" &
export PYTHONPATH={root}
exec {python} -m dog serve --host 0.0.0.0 --port 8080 --camera script:{root}/camera_access.sh \
    --snapshots /run/dog/snapshots --log-file /run/dog/server.log --capture-timeout {timeout}
"""

CONTROL = """
read -r words
case $words in
end) kill -TERM "$(cat /run/dog/pid)" ;;
*) echo "$words" >/run/uvccam ;;
esac
case $words in
plug) until [ -e /dev/video0 ]; do sleep .05; done ;;
unplug) while [ -e /dev/video0 ]; do sleep .05; done ;;
esac
echo done
"""

pytestmark = [pytest.mark.cameras, pytest.mark.timeout(400)]


class Guest:
    """The running guest, from outside."""

    def __init__(self, share: Path, capture_timeout: int) -> None:
        self.web, self._control = free_port(), free_port()
        self._said: list[str] = []
        self._listening = threading.Event()
        (share / "control.sh").write_text(CONTROL)
        command = SERVE.format(root=shlex.quote(str(ROOT)), python=shlex.quote(sys.executable), timeout=capture_timeout)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")} | {
            "CAM": "uvc",
            "UVCCAM": f"--jpeg {share}/source.jpg --size {SIZE[0]}x{SIZE[1]}",
            "HOSTFWD": f"{self.web}:8080 {self._control}:8081",
            "SHARE": str(share),
            "LIMIT": "360",
        }
        self.process = subprocess.Popen(
            [ROOT / "tests/rig/run.sh", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            if "D.O.G. is at " in line:
                self._listening.set()
        self._listening.set()

    @property
    def said(self) -> str:
        return "".join(self._said)

    def wait_until_it_listens(self) -> None:
        assert self._listening.wait(PATIENCE), self.said
        assert "D.O.G. is at " in self.said, self.said

    def tell_camera(self, words: str) -> None:
        """`plug`, `unplug`, `freeze`, `thaw`: returns when it is so."""
        with socket.create_connection(("127.0.0.1", self._control), PATIENCE) as connection:
            connection.sendall(f"{words}\n".encode())
            assert connection.makefile().readline() == "done\n", self.said

    def watch(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.web}/ws", open_timeout=PATIENCE, compression=None)

    def fetch(self, url: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{url}", timeout=PATIENCE) as answer:
            body: bytes = answer.read()
        return body

    def end(self) -> int:
        """As Ctrl-C would; the exit status of `dog serve`."""
        try:
            self.tell_camera("end")
            status = self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
        return status


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def press(viewer: ClientConnection) -> list[dict[str, Any]]:
    """Press the shutter, wanting a new exposure; the events of that capture up to its end."""
    viewer.send(json.dumps({"type": "capture", "max_age": 0}))
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ("ready", "failed"):
        message = json.loads(viewer.recv(PATIENCE))
        if message["type"] in ("capturing", "ready", "failed"):
            events.append(message)
    return events


def take(viewer: ClientConnection) -> dict[str, Any]:
    capturing, ready = press(viewer)
    assert (capturing["type"], ready["type"]) == ("capturing", "ready"), ready
    assert capturing["capture"] == ready["capture"]
    return ready


def fail(viewer: ClientConnection) -> dict[str, Any]:
    capturing, failed = press(viewer)
    assert (capturing["type"], failed["type"]) == ("capturing", "failed"), failed
    return failed


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the webcam shows, in the folder that is shared with the guest."""
    path = tmp_path_factory.mktemp("guest") / "source.jpg"
    with Image.open(io.BytesIO(asyncio.run(draw_card()))) as card:
        card.resize(SIZE).save(path, quality=90)
    return path


async def draw_card() -> bytes:
    card = TestCard()
    picture = await card.capture()
    await card.close()
    return picture


@pytest.fixture(scope="module")
def guest(source: Path) -> Iterator[Guest]:
    if sys.platform != "linux":
        pytest.skip("the rig boots a Linux guest from a Debian host")
    if missing := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        pytest.skip(f"the rig needs: apt-get install --no-install-recommends {' '.join(missing)}")
    guest = Guest(source.parent, CAPTURE_TIMEOUT)
    try:
        guest.wait_until_it_listens()
        yield guest
    finally:
        status = guest.end()
    assert status == 0, guest.said


def test_a_viewer_outside_gets_the_camera_s_picture(guest: Guest, source: Path) -> None:
    with guest.watch() as viewer:
        hello = json.loads(viewer.recv(PATIENCE))
        assert hello["type"] == "hello"
        ready = take(viewer)
    data = guest.fetch(ready["url"])
    assert (ready["width"], ready["height"], ready["content_type"]) == (*SIZE, "image/jpeg")
    assert len(data) == ready["bytes"]
    with Image.open(source) as shown, Image.open(io.BytesIO(data)) as taken:
        assert taken.size == SIZE
        difference = ImageStat.Stat(ImageChops.difference(shown.convert("RGB"), taken.convert("RGB")))
    # the camera's JPEG, decoded and encoded once more: measured at 0.4 of 255
    assert max(difference.mean) < 1


def test_two_presses_are_two_snapshots_and_the_last_one_is_the_latest(guest: Guest) -> None:
    with guest.watch() as viewer, guest.watch() as other:
        one, two = take(viewer), take(viewer)
        assert one["snapshot"] != two["snapshot"]
        assert one["url"] != two["url"]
        assert one["capture"] < two["capture"]
        seen = [json.loads(other.recv(PATIENCE)) for _ in range(6)]
    assert [event["snapshot"] for event in seen if event["type"] == "ready"] == [one["snapshot"], two["snapshot"]]
    assert guest.fetch("/latest.jpg") == guest.fetch(two["url"])


def test_an_unplugged_camera_is_told_and_is_back_when_it_is_plugged_in(guest: Guest) -> None:
    with guest.watch() as viewer:
        guest.tell_camera("unplug")
        failed = fail(viewer)
        assert failed["code"] == "camera_error"
        assert "There is no camera: no /dev/video* gives pictures." in failed["message"]
        guest.tell_camera("plug")
        assert take(viewer)["width"] == SIZE[0]


def test_a_frozen_camera_is_told_and_the_next_picture_is_good_again(guest: Guest) -> None:
    with guest.watch() as viewer:
        guest.tell_camera("freeze")
        failed = fail(viewer)
        assert failed["code"] == "timeout"
        assert failed["message"] == f"The camera program did not finish within {CAPTURE_TIMEOUT} s and was ended."
        guest.tell_camera("thaw")
        assert take(viewer)["width"] == SIZE[0]
