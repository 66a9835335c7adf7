"""D.O.G. and its rivals as servers, and the messages that make each push."""

import functools
import importlib.util
import os
import random
import resource
import shutil
import socket
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks.bench import HERE, ROOT, Bench
from benchmarks.processes import Server, Skipped

__all__ = [
    "BARE_AIOHTTP",
    "CAPTURE",
    "FLOOR",
    "RIVALS",
    "Rival",
    "Trigger",
    "bare_asyncio",
    "dog",
    "find_nchan",
    "find_nginx",
    "floor",
    "make_message",
    "make_photo",
    "nginx",
    "write_script",
]

PHOTO_SIZE = (1280, 960)
PHOTO_BYTES = 200_000
HIGH_LIMITS = {
    "--message-rate": "1000",
    "--message-burst": "10000",
    "--max-connections": "60000",
    "--max-connections-per-address": "60000",
    "--max-viewers-per-address": "60000",
}
"""Higher limits for D.O.G., because all viewers have one client address."""


@dataclass(frozen=True)
class Trigger:
    """A message `text` that makes a server push a message with `match`.

    A viewer sends it, or it is POSTed to `post`. A round ends when each viewer has a message with `settled`, too. A
    stuck viewer first sends `filling`, so that the replies fill its socket.
    """

    text: str
    match: str
    settled: str = ""
    post: str = ""
    filling: str = ""


CAPTURE = Trigger('{"type":"capture","max_age":0}', '"type":"capturing"', '"type":"ready"', filling='{"type":"resume"}')
FLOOR = Trigger("go", "capturing", filling="fill")


def make_message(frame_bytes: int) -> str:
    """Return a message whose WebSocket frame has `frame_bytes` bytes."""
    return "capturing".ljust(frame_bytes - (2 if frame_bytes < 128 else 4), "x")


@dataclass(frozen=True)
class Rival:
    """A rival.

    `start` may raise Skipped; `post` is the path for messages by POST.
    """

    name: str
    start: Callable[[Bench], Server]
    post: str = ""

    def trigger(self, frame_bytes: int) -> Trigger:
        return Trigger(make_message(frame_bytes), "capturing", post=self.post)


def _environment() -> dict[str, str]:
    """Return the environment without DOG_* variables, and with this checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")}
    return clean | {"PYTHONPATH": str(ROOT)}


# ---- D.O.G.


def dog(bench: Bench, script: str | None = None, *options: str) -> Server:
    """Return `dog serve` in a new folder.

    Its camera runs the shell lines `script`.
    """
    folder = bench.new_folder("dog")
    arguments = ["--port", "0", "--dead-time", "0", *_limit_arguments(), *options]
    if script is not None:
        arguments += ["--camera", f"script:{write_script(folder, script)}"]
    command = [sys.executable, "-m", "dog", "serve", *arguments]
    return Server("D.O.G.", command, cwd=folder, env=_environment(), listening=r"D\.O\.G\. is at http://\S+:(\d+)")


def write_script(folder: Path, body: str) -> Path:
    script = folder / "camera.sh"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return script


@functools.cache
def _limit_arguments() -> list[str]:
    """Return the arguments for HIGH_LIMITS that this version of D.O.G. has."""
    command = [sys.executable, "-m", "dog", "serve", "--help-all"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout.split()
    return [word for flag, value in HIGH_LIMITS.items() if flag in output for word in (flag, value)]


def make_photo(path: Path, size: tuple[int, int] = PHOTO_SIZE, max_bytes: int = PHOTO_BYTES) -> Path:
    """Write the same JPEG each time, with at most `max_bytes`."""
    chance = random.Random(1)
    width, height = size
    patches = Image.frombytes("RGB", (32, 24), chance.randbytes(32 * 24 * 3)).resize(size, Image.Resampling.BICUBIC)
    noise = Image.frombytes("L", size, chance.randbytes(width * height)).filter(ImageFilter.GaussianBlur(1))
    picture = Image.blend(patches, noise.convert("RGB"), 0.25)
    low, high = 1, 95
    while low < high:
        quality = (low + high + 1) // 2
        picture.save(file := BytesIO(), "JPEG", quality=quality)
        low, high = (quality, high) if file.tell() <= max_bytes else (low, quality - 1)
    picture.save(path, "JPEG", quality=low)
    return path


# ---- the rivals


def floor(bench: Bench, frame_bytes: int) -> Server:
    return Server("the C floor", [bench.program("floor"), str(frame_bytes)], cwd=bench.folder)


def rival(name: str, module: str, *packages: str) -> Rival:
    """Return a rival from benchmarks/rivals."""

    def start(bench: Bench) -> Server:
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise Skipped(f"the package {package} is not installed (make bench installs it)")
        command = [sys.executable, "-m", f"benchmarks.rivals.{module}"]
        return Server(name, command, cwd=bench.folder, env=_environment())

    return Rival(name, start)


def nginx(bench: Bench, *, push: bool = True, file: Path | None = None) -> Server:
    """Return nginx with one worker, `file`, and, if `push`, nchan.

    nchan is at /ws and /publish.
    """
    program = find_nginx()
    if program is None:
        raise Skipped("nginx is not installed (Debian: nginx)")
    module = find_nchan()
    if push and module is None:
        raise Skipped("nginx has no nchan (Debian: libnginx-mod-nchan)")
    folder = bench.new_folder("nginx")
    (folder / "files").mkdir()
    if file is not None:
        shutil.copy(file, folder / "files")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    channel = "nchan_channel_id events;"
    pushing = f"""location = /ws {{ nchan_subscriber websocket; {channel} nchan_subscriber_first_message newest; }}
        location = /publish {{ nchan_publisher http; {channel} }}"""
    text = string.Template((HERE / "rivals" / "nginx.conf").read_text()).safe_substitute(
        LOAD_NCHAN=f"load_module {module};" if push else "",
        USER="user root;" if os.geteuid() == 0 else "",
        DESCRIPTORS=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        PORT=port,
        PUSH=pushing if push else "",
    )
    (folder / "nginx.conf").write_text(text)
    command: list[str | Path] = [program, "-p", folder, "-c", "nginx.conf"]
    name = "nginx + nchan" if push else "nginx"
    return Server(name, command, cwd=folder, listening=r"start worker process (\d+)", port=port)


def find_nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def find_nchan() -> Path | None:
    program = find_nginx()
    if program is None:
        return None
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    folder = built.partition("--modules-path=")[2].split()
    module = Path(folder[0]) / "ngx_nchan_module.so" if folder else None
    return module if module is not None and module.exists() else None


def bare_asyncio(bench: Bench, response: bytes) -> Server:
    """Return a bare asyncio protocol that sends this response to each request."""
    file = bench.new_folder("asyncio") / "response"
    file.write_bytes(response)
    command = [sys.executable, "-m", "benchmarks.rivals.asyncio_writev", str(file)]
    return Server("a bare asyncio protocol", command, cwd=bench.folder, env=_environment())


RIVALS = (
    Rival("nginx + nchan", nginx, post="/publish"),
    rival("picows + uvloop", "picows_broadcast", "picows", "uvloop"),
    rival("aiohttp send_str in a loop", "aiohttp_send_str"),
    rival("websockets broadcast()", "websockets_broadcast", "websockets"),
)
BARE_AIOHTTP = rival("a bare aiohttp server", "aiohttp_bare")
