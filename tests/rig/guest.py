"""Guest: a virtual machine with a USB webcam and vivid.

Both run with the kernel's own drivers. run.sh boots it, and uvccam.py is the webcam. One port leads to `dog serve`,
which can be restarted with another configuration; the other one takes the commands of CONTROL. The guest has no udev,
so the webcam's stable name is a link that is made here. It points to the node whether that exists or not.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.support.ports import find_free_ports

__all__ = ["COMMAND_TIMEOUT", "PATH", "ROOT", "SIZE", "STABLE", "VIVID", "Guest", "Preview", "find_missing"]

ROOT = Path(__file__).resolve().parent.parent.parent

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "kmod": "kmod",
    "zstd": "zstd",
    "xz": "xz-utils",
    "apt-get": "apt",
    "dpkg": "dpkg",
}
"""Programs that the rig runs, and their Debian packages."""
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CAMERA_TOOLS = {"fswebcam": "fswebcam", "v4l2-ctl": "v4l-utils"}

SIZE = (640, 480)
STABLE = "/dev/v4l/by-id/usb-Acme_Soft_Webcam_SN0001-video-index0"
VIVID = "/dev/video10"

COMMAND_TIMEOUT = 90.0
"""Seconds for any command in the guest, whose processor may be emulated."""

MAX_PREVIEW_BYTES = 4 * 1024 * 1024
"""Bytes of a preview that contain at least one frame: about forty of the webcam's."""

BOOT = """
mkdir -p /run/dog "$(dirname {stable})" && ln -s /dev/video0 {stable} && cd /run/dog && mkfifo next
busybox nc -ll -p 8081 -e /bin/sh "$SHARE/control.sh" &
until grep -q ":1F91 " /proc/net/tcp*; do sleep .05; done
export PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
echo "rig: ready"
while read -r config <next && [ "$config" != end ]; do
    {python} -m dog serve --host 0.0.0.0 --open --presses-per-minute 100000 --port 8080 --exif false \\
        --config "$SHARE/$config.toml" &
    echo $! >pid
    wait $!
    echo "rig: $config ended with status $?"
done
"""

CONTROL = """
export PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
read -r what words
cd /run/dog
case $what in
serve | end)
    if [ -e pid ]; then
        kill -TERM "$(cat pid)"
        while [ -e "/proc/$(cat pid)" ]; do sleep .05; done
        rm pid
    fi
    [ "$what" = end ] && words=end
    echo "$words" >next ;;
camera)
    echo "$words" | tr ';' '\\n' >/run/uvccam
    case $words in
    plug) until [ -e /dev/video0 ]; do sleep .05; done ;;
    unplug) while [ -e /dev/video0 ]; do sleep .05; done ;;
    esac ;;
run) sh -c "$words" 2>&1 ;;
facts) {python} {root}/tests/rig/in_guest.py {stable} {vivid} "$SHARE" 2>&1 ;;
process)
    pid=$(cat pid)
    echo "$(ls /proc/$pid/fd | wc -l) $(ls /proc/$pid/task | wc -l) $(cut -d ' ' -f 14,15 /proc/$pid/stat)" ;;
esac
echo done
"""


def find_missing(more_tools: Mapping[str, str] = CAMERA_TOOLS) -> list[str]:
    """Return the packages that the rig needs and that are not installed."""
    return [package for tool, package in {**TOOLS, **more_tools}.items() if not shutil.which(tool, path=PATH)]


class Guest:
    """The running guest, seen from outside.

    `configs` has the configurations for `serve`, by name.
    """

    def __init__(self, share: Path, configs: dict[str, str]) -> None:
        self.web, self._control = find_free_ports(2)
        self._output: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
        names = {"root": root, "python": python, "stable": STABLE, "vivid": VIVID}
        (share / "control.sh").write_text(CONTROL.format(**names))
        for name, text in configs.items():
            (share / f"{name}.toml").write_text(text)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")} | {
            "CAM": "uvc,vivid",
            "UVCCAM": f"--jpeg {share}/source.jpg --yuyv {share}/source.yuyv --size {SIZE[0]}x{SIZE[1]}",
            "VIVID": f"n_devs=1 node_types=0x1 vid_cap_nr={VIVID.removeprefix('/dev/video')}",
            "HOSTFWD": f"{self.web}:8080 {self._control}:8081",
            "SHARE": str(share),
            "LIMIT": "1200",
        }
        self.process = subprocess.Popen(
            [ROOT / "tests/rig/run.sh", BOOT.format(**names)],
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
            with self._changed:
                self._output.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "".join(self._output)

    def wait_for(self, words: str, start: int = 0) -> None:
        """Wait until the guest has printed these words after position `start`."""

        def has_words() -> bool:
            return self._ended or words in self.output[start:]

        with self._changed:
            assert self._changed.wait_for(has_words, COMMAND_TIMEOUT), self.output
        assert words in self.output[start:], self.output

    def serve(self, config: str) -> Self:
        """Start `dog serve` with that configuration, instead of the running one."""
        before = len(self.output)
        self.send_command(f"serve {config}")
        self.wait_for("D.O.G. is at ", before)
        return self

    def send_command(self, words: str) -> list[str]:
        """Send one line to CONTROL, and return its output."""
        with socket.create_connection(("127.0.0.1", self._control), COMMAND_TIMEOUT) as connection:
            connection.sendall(f"{words}\n".encode())
            *lines, done = connection.makefile().read().splitlines() or [""]
        assert done == "done", (lines, done, self.output)
        return lines

    def control_camera(self, words: str) -> None:
        """Send commands to the webcam, with ; between them, and wait.

        They are `plug`, `unplug`, `freeze`, `thaw`, `trunc N`, and `tables on` or `off`.
        """
        self.send_command(f"camera {words}")

    def watch(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.web}/ws", open_timeout=COMMAND_TIMEOUT, compression=None)

    def open_url(self, url: str) -> Any:
        from urllib.request import urlopen

        return urlopen(f"http://127.0.0.1:{self.web}{url}", timeout=COMMAND_TIMEOUT)

    def fetch(self, url: str) -> bytes:
        with self.open_url(url) as answer:
            body: bytes = answer.read()
        return body

    def get_facts(self) -> list[dict[str, Any]]:
        """Run in_guest.py, and return its facts."""
        lines = self.send_command("facts")
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise AssertionError("\n".join(lines)) from error

    def count_descriptors(self) -> int:
        return int(self.send_command("process")[0].split()[0])

    def count_threads(self) -> int:
        return int(self.send_command("process")[0].split()[1])

    def end(self) -> int:
        """End the guest as Ctrl-C does, and return its exit status."""
        try:
            self.send_command("end")
            status = self.process.wait(COMMAND_TIMEOUT)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
        return status


class Preview:
    """A client of a camera's preview."""

    def __init__(self, guest: Guest, camera: str) -> None:
        self._answer = guest.open_url(f"/preview.mjpg?camera={camera}")
        self._rest = b""

    def read_frame(self) -> bytes:
        """Return the next JPEG."""
        while True:
            start = self._rest.find(b"\xff\xd8\xff")
            end = self._rest.find(b"\xff\xd9\r\n", start)
            if 0 <= start < end:
                frame, self._rest = self._rest[start : end + 2], self._rest[end + 2 :]
                return frame
            more: bytes = self._answer.read1(65536)
            assert more, "the preview has ended"
            self._rest += more
            assert len(self._rest) < MAX_PREVIEW_BYTES, "no whole JPEG comes"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
