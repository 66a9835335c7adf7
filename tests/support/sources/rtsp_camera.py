#!/usr/bin/python3
"""An RTSP camera on rtsp://127.0.0.1:PORT/cam, in GStreamer.

It is for the distribution's own Python.

    rtsp_camera.py CODEC [--port PORT] [--size WxH] [--rate FPS] [--gop FRAMES] [--card] [--sliced]
                   [--user USER --password PASSWORD] [--basic]

CODEC is h264, h265, jpeg or raw. `check` exits at once, with status 0 if everything that is needed is installed. It
prints `listening PORT` when it listens. Each frame shows its time, the lowest 32 bits of the milliseconds of this
machine's monotonic clock, as black and white blocks at its top left, and again at its bottom. With --card it is a
colour card instead. With --sliced, H.264's parameter sets precede each slice of a keyframe. Commands on standard input:
`freeze`: stop the frames; `thaw`: restart.
"""

import argparse
import sys
import threading
import time

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstRtsp", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

BITS = 32
ACROSS = 8
BLOCK = 16
"""Size of a block, in pixels."""

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! rtph264pay",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! rtph265pay",
    "jpeg": "jpegenc ! rtpjpegpay",
    "raw": "rtpvrawpay",
}


class FrameSource:
    """Frames that an appsrc pushes: one per interval, drawn just before."""

    def __init__(self, width: int, height: int, rate: int) -> None:
        self.width, self.height, self.interval = width, height, 1 / rate
        self.running = threading.Event()
        self.running.set()

    def attach(self, _factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_child_by_name("pictures")
        if source is not None:
            ended = threading.Event()
            media.connect("unprepared", lambda _media: ended.set())
            threading.Thread(target=self.push, args=(source, ended), daemon=True).start()

    def push(self, source: Gst.Element, ended: threading.Event) -> None:
        """Push frames until the last client has left.

        The first ones are refused if the pipeline does not run yet.
        """
        due = time.monotonic()
        while not ended.is_set():
            self.running.wait()
            now = time.monotonic()
            if due > now:
                time.sleep(due - now)
            due = max(due, now) + self.interval
            source.emit("push-buffer", Gst.Buffer.new_wrapped(self.draw()))

    def draw(self) -> bytes:
        """Draw a frame in I420: luma, then chroma of half the width and height."""
        stamp = int(time.monotonic() * 1000) & ((1 << BITS) - 1)
        rest = bytes((128,)) * (self.width - ACROSS * BLOCK)
        luma = []
        for first in range(0, BITS, ACROSS):
            levels = (235 if stamp >> (first + bit) & 1 else 16 for bit in range(ACROSS))
            luma.append((b"".join(bytes((level,)) * BLOCK for level in levels) + rest) * BLOCK)
        blocks = b"".join(luma)
        ground = bytes((128,)) * (self.width * self.height - 2 * len(blocks))
        return blocks + ground + blocks + bytes((128,)) * (self.width * self.height // 2)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("codec", choices=[*ENCODERS, "check"])
    arguments.add_argument("--port", default="0")
    arguments.add_argument("--size", default="320x240")
    arguments.add_argument("--rate", type=int, default=15)
    arguments.add_argument("--gop", type=int, default=15)
    arguments.add_argument("--card", action="store_true")
    arguments.add_argument("--sliced", action="store_true")
    arguments.add_argument("--basic", action="store_true")
    arguments.add_argument("--user")
    arguments.add_argument("--password")
    chosen = arguments.parse_args()
    width, height = map(int, chosen.size.split("x"))
    Gst.init(None)
    if chosen.codec == "check":
        words = " ".join([*ENCODERS.values(), "appsrc videotestsrc"]).split()
        raise SystemExit(not all(Gst.ElementFactory.find(word) for word in words if word.isalnum()))

    frames = FrameSource(width, height, chosen.rate)
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate={chosen.rate}/1"
    if chosen.card:
        head = f"videotestsrc is-live=true pattern=smpte ! {caps}"
    else:
        head = f"appsrc name=pictures is-live=true do-timestamp=true format=time caps={caps}"
    encoder = ENCODERS[chosen.codec].format(gop=chosen.gop) + (" config-interval=-1" if chosen.sliced else "")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(f"( {head} ! {encoder} name=pay0 pt=96 )")
    factory.connect("media-configure", frames.attach)

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(chosen.port)
    if chosen.user is not None:
        protect(server, factory, chosen)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print(f"listening {server.get_bound_port()}", flush=True)

    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    for word in sys.stdin:
        if word.strip() == "freeze":
            frames.running.clear()
        elif word.strip() == "thaw":
            frames.running.set()
        print(word.strip(), flush=True)


def protect(
    server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, chosen: argparse.Namespace
) -> None:
    """Require this user and password."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if chosen.basic:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(chosen.user, chosen.password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(chosen.user, chosen.password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


main()
