"""RTSP cameras: decoding of streams from GStreamer's server."""

import contextlib
import gc
import io
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from dog.cameras import rtsp as stream
from dog.cameras.frame_selection import Frame
from dog.cameras.network_timestamps import UNKNOWN_START
from dog.cameras.pixel_formats import encode_video_frame
from dog.cameras.rtp import CodedFrame
from dog.cameras.rtsp import PacketDecoder, RtspSource
from dog.errors import BadImage, CameraOffline, CaptureError
from dog.images import inspect
from tests.support.server_process import ROOT
from tests.support.sources import (
    NetworkLink,
    SourceProcess,
    make_rtsp_camera,
    make_tls,
    needs_gstreamer,
    read_stamp,
    read_to_end,
)

if TYPE_CHECKING:
    from av.packet import Packet

pytest.importorskip("av")

FRAME_TIMEOUT = 2.0
SHORT_TIMEOUT = 0.5
STALL_TIMEOUT = 8.0
LONG = 30.0
"""Time limit for a frame on a busy computer, in seconds."""
PASSWORD = "s@cr/et:1"
SECRET = "s%40cr%2Fet%3A1"

BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255)]
"""The colours of GStreamer's test card, from the left."""

Watch = Callable[..., RtspSource]


@pytest.fixture(scope="module")
def h264() -> Iterator[SourceProcess]:
    with make_rtsp_camera("h264") as camera:
        yield camera


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Return `watch(camera)`, which opens the camera's source.

    On a busy machine, GStreamer's camera may accept a client and send nothing. It is opened again then, as the service
    does.
    """
    sources: list[RtspSource] = []

    def start(
        camera: SourceProcess | NetworkLink, *, path: str = "/cam", user: str = "", latency: float = 0.0
    ) -> RtspSource:
        url = f"rtsp://{user}127.0.0.1:{camera.port}{path}"
        deadline = time.monotonic() + LONG
        while True:
            source = RtspSource(url, latency=latency, open_timeout=STALL_TIMEOUT)
            sources.append(source)
            try:
                source.open()
            except CameraOffline as error:
                if "sent no frame" not in error.message or time.monotonic() > deadline:
                    raise
                source.close()
            else:
                return source

    yield start
    for source in sources:
        source.close()


def read_fresh(source: RtspSource, pressed: float) -> Frame:
    """Return the first decodable frame exposed after the request."""
    while True:
        frame = source.read(FRAME_TIMEOUT)
        if frame.exposure_start >= pressed:
            try:
                frame.image()
            except BadImage:
                continue
            return frame


# ---- fresh and whole


@needs_gstreamer
@pytest.mark.parametrize("codec", ["h264", "h265", "jpeg"])
def test_a_fresh_frame_was_made_after_the_request(codec: str, watch: Watch) -> None:
    with make_rtsp_camera(codec) as camera:
        source = watch(camera)
        for _ in range(5):
            pressed = time.monotonic()
            frame = read_fresh(source, pressed)
            assert pressed <= frame.exposure_start <= read_stamp(frame.image()) + 0.001
            assert inspect(frame.image()).width == 320


@needs_gstreamer
@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_frames_that_the_network_delayed_do_not_count_as_new(codec: str, watch: Watch) -> None:
    with make_rtsp_camera(codec) as camera, NetworkLink(camera.port) as line:
        source = watch(line)
        read_fresh(source, time.monotonic())
        line.hold()
        time.sleep(0.9)
        pressed = time.monotonic()
        line.release()
        held = 0
        while (frame := source.read(FRAME_TIMEOUT)).exposure_start < pressed:
            held += read_stamp(frame.image()) < pressed
        assert held >= 5
        assert read_stamp(frame.image()) >= pressed


@needs_gstreamer
def test_frames_queued_since_the_opening_do_not_count_as_new(watch: Watch, h264: SourceProcess) -> None:
    source = watch(h264)
    time.sleep(0.7)  # nothing is read
    pressed = time.monotonic()
    assert read_stamp(read_fresh(source, pressed).image()) >= pressed


@needs_gstreamer
def test_latency_is_subtracted_from_the_exposure_start(watch: Watch, h264: SourceProcess) -> None:
    source = watch(h264, latency=3.0)
    while (frame := source.read(FRAME_TIMEOUT)).exposure_start == UNKNOWN_START:
        pass
    assert frame.exposure_start <= read_stamp(frame.image()) - 3.0


@needs_gstreamer
@pytest.mark.parametrize("arguments", [(), ("--sliced",), ("--gop", "1")])
def test_no_half_frame_is_returned_for_any_selection_of_frames(arguments: tuple[str, ...], watch: Watch) -> None:
    with make_rtsp_camera("h264", *arguments) as camera:
        source = watch(camera)
        seen = []
        for number in range(50):
            frame = source.read(LONG)
            if number % 7 < 4:
                with contextlib.suppress(BadImage):
                    seen.append(read_stamp(frame.image()))
        assert len(seen) > 20
        assert seen == sorted(seen)


@needs_gstreamer
def test_jpegs_are_passed_on_unchanged_and_complete(watch: Watch) -> None:
    with make_rtsp_camera("jpeg") as camera:
        source = watch(camera)
        for _ in range(5):
            frame = source.read(FRAME_TIMEOUT)
            assert frame.image() == frame.raw
            assert frame.image().startswith(b"\xff\xd8")
            assert frame.image().endswith(b"\xff\xd9")
            assert inspect(frame.image()).height == 240


@needs_gstreamer
@pytest.mark.parametrize(("codec", "size"), [("h264", "320x240"), ("h264", "1280x720"), ("h265", "320x240")])
def test_the_colours_are_the_cameras(codec: str, size: str, watch: Watch) -> None:
    with make_rtsp_camera(codec, "--card", "--size", size) as camera:
        source = watch(camera)
        while True:  # on a busy machine the encoder's first frames may be coarse
            errors = compare_bars(Image.open(io.BytesIO(read_fresh(source, time.monotonic()).image())))
            if max(errors) <= 4:
                return


def compare_bars(image: Image.Image) -> Iterator[int]:
    """Yield the largest difference of each colour bar from the right colour."""
    for number, colour in enumerate(BARS):
        found = image.getpixel((image.width * (2 * number + 1) // 14, image.height // 3))
        assert isinstance(found, tuple)
        yield max(abs(one - other) for one, other in zip(found, colour, strict=True))


# ---- decoding


def encode_video(
    *, count: int = 40, gop: int = 20, between: int = 0, size: tuple[int, int] = (320, 240), full: bool = False
) -> "tuple[list[Packet[Any]], bytes | None]":
    """Encode H.264 of grey images on red, each brighter by 5.

    There are `between` B-frames in a row.
    """
    import av
    from av.video.frame import VideoFrame

    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = size
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.gop_size = gop
    codec.max_b_frames = between
    codec.options = {"preset": "veryfast", "x264-params": f"bframes={between}:b-adapt=0:scenecut=0:rc-lookahead=0"}
    codec.color_range = 2 if full else 1
    packets = []
    for number in range(count):
        image = Image.new("RGB", size, (255, 0, 0))
        image.paste((number * 5,) * 3, (0, 0, 100, 100))
        frame = VideoFrame.from_image(image).reformat(  # type: ignore[no-untyped-call]
            format="yuv420p",
            dst_colorspace="itu709" if size[1] >= 720 else "itu601",
            dst_color_range=2 if full else 1,
        )
        frame.pts = number
        packets += codec.encode(frame)
    return packets + codec.encode(None), codec.extradata


def make_decoding(extradata: bytes | None) -> PacketDecoder:
    return PacketDecoder("h264", extradata or b"")


def coded_frame(packet: "Packet[Any]", *, is_damaged: bool = False, data: bytes | None = None) -> CodedFrame:
    whole = bytes(packet) if data is None else data
    is_keyframe = packet.is_keyframe or data is not None
    return CodedFrame(whole, 0.0, 0.0, is_keyframe=is_keyframe, can_start=is_keyframe, is_damaged=is_damaged)


def measure(decoding: PacketDecoder) -> tuple[int, tuple[int, int, int]]:
    """Return the number of the image, and its background colour."""
    image = Image.open(io.BytesIO(encode_video_frame(decoding.decode_last())))
    grey, ground = image.getpixel((50, 50)), image.getpixel((200, 200))
    assert isinstance(grey, tuple)
    assert isinstance(ground, tuple)
    return round(grey[0] / 5), (ground[0], ground[1], ground[2])


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("every", [1, 3, 7])
def test_each_image_belongs_to_its_own_packet(between: int, every: int) -> None:
    packets, extradata = encode_video(between=between)
    decoding = make_decoding(extradata)
    for position, packet in enumerate(packets):
        decoding.add(coded_frame(packet))
        if position and position % every == 0:
            assert measure(decoding)[0] == packet.pts


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
@pytest.mark.parametrize("full", [False, True])
def test_an_unspecified_colour_space_depends_on_the_size_and_the_range_counts(
    size: tuple[int, int], full: bool
) -> None:
    packets, extradata = encode_video(count=2, size=size, full=full)
    decoding = make_decoding(extradata)
    for packet in packets:
        decoding.add(coded_frame(packet))
    _, ground = measure(decoding)
    assert max(abs(one - other) for one, other in zip(ground, (255, 0, 0), strict=True)) <= 3


def test_packets_are_decoded_once_and_only_when_an_image_is_needed() -> None:
    packets, extradata = encode_video(count=30, gop=30)
    decoding = make_decoding(extradata)
    decoded: list[int | None] = []
    codec = decoding._codec

    class Counting:
        def decode(self, packet: Any) -> Any:
            decoded.append(packet.pts)
            return codec.decode(packet)

        def flush_buffers(self) -> None:
            codec.flush_buffers()

    decoding._codec = Counting()  # type: ignore[assignment]
    for packet in packets[:10]:
        decoding.add(coded_frame(packet))
    assert decoded == []
    assert measure(decoding)[0] == 9
    assert decoded == list(range(1, 11))
    for packet in packets[10:20]:
        decoding.add(coded_frame(packet))
    assert measure(decoding)[0] == 19
    assert decoded == list(range(1, 21))


def test_packets_beyond_the_limit_are_decoded_on_arrival_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_KEPT_PACKETS", 5)
    packets, extradata = encode_video(count=40, gop=40)
    decoding = make_decoding(extradata)
    for position, packet in enumerate(packets):
        decoding.add(coded_frame(packet))
        assert len(decoding._kept) <= 5
        if position and position % 3 == 0:
            assert measure(decoding)[0] == packet.pts


def test_the_kept_bytes_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_PACKET_BYTES", 2000)
    packets, extradata = encode_video(count=40, gop=40)
    decoding = make_decoding(extradata)
    for packet in packets:
        decoding.add(coded_frame(packet))
        assert sum(one.size for one in decoding._kept) <= 2000
    assert measure(decoding)[0] == 39


def test_before_the_first_keyframe_the_error_names_the_keyframe_interval() -> None:
    packets, extradata = encode_video()
    decoding = make_decoding(extradata)
    for packet in packets[5:20]:
        decoding.add(coded_frame(packet))
        with pytest.raises(BadImage, match="keyframe interval"):
            decoding.decode_last()
    decoding.add(coded_frame(packets[20]))
    decoding.add(coded_frame(packets[21]))
    assert measure(decoding)[0] == 21


@pytest.mark.parametrize("harm", ["flag", "cut", "end", "noise"])
def test_after_a_damaged_packet_frames_are_bad_until_the_next_keyframe(harm: str) -> None:
    packets, extradata = encode_video(count=40, gop=20)
    decoding = make_decoding(extradata)
    for packet in packets[:3]:
        decoding.add(coded_frame(packet))
    data = bytes(packets[0])
    half, most = data[: len(data) // 2], data[: len(data) * 8 // 10]
    hurt = {"flag": data, "cut": half, "end": most, "noise": half + bytes(range(200))}[harm]
    decoding.add(coded_frame(packets[3], is_damaged=harm == "flag", data=hurt))
    for packet in packets[4:20]:
        decoding.add(coded_frame(packet))
        with pytest.raises(BadImage, match="damaged"):
            decoding.decode_last()
    decoding.add(coded_frame(packets[20]))
    assert measure(decoding)[0] == 20


def test_pyav_is_imported_at_the_opening_and_numpy_never() -> None:
    program = (
        "import sys; from dog.cameras.rtsp import RtspSource; s = RtspSource('rtsp://127.0.0.1:1/');"
        "assert 'av' not in sys.modules\n"
        "try: s.open()\n"
        "except Exception as error: print(type(error).__name__)\n"
        "assert 'av' in sys.modules and 'numpy' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("CameraOffline\n", "", 0)


# ---- loss and return


@needs_gstreamer
@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_a_killed_camera_is_noticed_at_once_and_can_be_opened_again(codec: str, watch: Watch) -> None:
    with make_rtsp_camera(codec) as camera:
        source = watch(camera)
        source.read(FRAME_TIMEOUT)
        camera.kill()
        with pytest.raises(CameraOffline, match="ended"):
            read_to_end(source, FRAME_TIMEOUT)
        source.close()
        assert not source.is_back()
        with pytest.raises(CameraOffline, match="refused the connection"):
            watch(camera)
        camera.start()
        pressed = time.monotonic()
        assert read_stamp(read_fresh(watch(camera), pressed).image()) >= pressed


@needs_gstreamer
@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_a_stalled_stream_is_given_up(codec: str, watch: Watch) -> None:
    with make_rtsp_camera(codec) as camera:
        source = watch(camera)
        read_fresh(source, time.monotonic())
        camera.send_command("freeze")
        with pytest.raises(CameraOffline, match=r"no frame for 0\.5 s"):
            read_to_end(source, SHORT_TIMEOUT)


@needs_gstreamer
@pytest.mark.parametrize("timeout", [0.1, 0.6])
def test_a_read_waits_for_its_timeout(timeout: float, watch: Watch) -> None:
    with make_rtsp_camera("h264", "--rate", "4", "--gop", "1") as camera:
        source = watch(camera)
        for _ in range(6):  # frames queued since the opening
            source.read(FRAME_TIMEOUT)
        if timeout < 0.5:
            with pytest.raises(CameraOffline, match=r"no frame for 0\.1 s"):
                source.read(timeout)
        else:
            assert source.read(timeout)


@needs_gstreamer
@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_the_first_frame_may_take_longer_than_the_read_timeout(codec: str, watch: Watch) -> None:
    with make_rtsp_camera(codec) as camera:
        assert watch(camera)  # warms up the camera, so that the next opening is fast
        camera.send_command("freeze")
        thawing = threading.Timer(SHORT_TIMEOUT + 0.5, camera.send_command, ["thaw"])
        thawing.start()
        assert watch(camera).read(SHORT_TIMEOUT)
        thawing.join()


@needs_gstreamer
def test_a_cut_connection_is_noticed(watch: Watch, h264: SourceProcess) -> None:
    with NetworkLink(h264.port) as line:
        source = watch(line)
        source.read(FRAME_TIMEOUT)
        line.cut()
        with pytest.raises(CameraOffline, match="ended"):
            read_to_end(source, FRAME_TIMEOUT)


@needs_gstreamer
def test_a_stream_with_a_large_lag_is_opened_again(
    watch: Watch, h264: SourceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = watch(h264)
    read_fresh(source, time.monotonic())
    monkeypatch.setattr(stream, "MAX_LAG_SECONDS", 0.5)
    time.sleep(1)  # nothing is read
    with pytest.raises(CameraOffline, match=r"arrive [1-9]\d* s late"):
        read_to_end(source, FRAME_TIMEOUT)


# ---- errors


@needs_gstreamer
def test_a_certificate_must_be_trusted(h264: SourceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NetworkLink(h264.port, make_tls(tmp_path)) as line:
        source = RtspSource(f"rtsps://127.0.0.1:{line.port}/cam")
        with pytest.raises(CameraOffline, match="certificate is from an unknown authority"):
            source.open()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        source.open()
        assert read_stamp(read_fresh(source, time.monotonic()).image())
        source.close()


@needs_gstreamer
def test_a_pinned_certificate_is_accepted(h264: SourceProcess, tmp_path: Path) -> None:
    with NetworkLink(h264.port, make_tls(tmp_path)) as line:
        url = f"rtsps://127.0.0.1:{line.port}/cam"
        with pytest.raises(CameraOffline) as refused:
            RtspSource(url).open()
        fingerprint = refused.value.suggested_setting.split('"')[1]
        source = RtspSource(url, tls_fingerprint=fingerprint)
        source.open()
        assert read_stamp(read_fresh(source, time.monotonic()).image())
        source.close()
        with pytest.raises(CameraOffline, match="not the one of `tls_fingerprint`"):
            RtspSource(url, tls_fingerprint="0" * 64).open()


@needs_gstreamer
def test_a_wrong_path_is_reported(watch: Watch, h264: SourceProcess) -> None:
    with pytest.raises(CameraOffline, match="nothing at this path"):
        watch(h264, path="/nothing")


@needs_gstreamer
def test_an_unsupported_codec_is_reported(watch: Watch) -> None:
    with make_rtsp_camera("raw") as camera, pytest.raises(CameraOffline, match=r"is RAW\. Set it to H\.264"):
        watch(camera)


def test_an_unknown_host_name_is_reported() -> None:
    with pytest.raises(CameraOffline, match="host name is unknown"):
        RtspSource("rtsp://porch.invalid/cam").open()


def test_a_silent_server_is_given_up_at_the_open_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = RtspSource(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam", open_timeout=0.3)
        with pytest.raises(CameraOffline, match="does not answer"):
            source.open()
        source.close()


@needs_gstreamer
@pytest.mark.parametrize("ways", [(), ("--basic",)])
def test_user_and_password_are_sent_and_wrong_ones_are_reported(ways: tuple[str, ...], watch: Watch) -> None:
    with make_rtsp_camera("jpeg", "--user", "ad min", "--password", PASSWORD, *ways) as camera:
        assert watch(camera, user=f"ad%20min:{SECRET}@").read(FRAME_TIMEOUT).image()
        with pytest.raises(CameraOffline, match="refuses the user or the password"):
            watch(camera, user=f"admin:{SECRET}@")
        with pytest.raises(CameraOffline, match="asks for a user and a password"):
            watch(camera)


@needs_gstreamer
def test_errors_and_logs_contain_no_password(
    h264: SourceProcess, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[CaptureError] = []

    def run(source: RtspSource, harm: Callable[[], object], timeout: float) -> None:
        source.open()
        source.read(FRAME_TIMEOUT)
        harm()
        read_to_end(source, timeout)

    def fail(
        url: str, harm: Callable[[], object] = lambda: None, timeout: float = FRAME_TIMEOUT, open_timeout: float = LONG
    ) -> None:
        source = RtspSource(url, open_timeout=open_timeout)
        with pytest.raises(CameraOffline) as caught:
            run(source, harm, timeout)
        source.close()
        logging.getLogger("dog").error("it failed", exc_info=caught.value)
        errors.append(caught.value)

    prefix = f"rtsp://admin:{SECRET}@"
    fail(f"{prefix}127.0.0.1:{h264.port}/nothing?password={SECRET}")
    fail(f"{prefix}127.0.0.1:1/cam")
    fail(f"{prefix}porch.invalid/cam")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        fail(f"{prefix}127.0.0.1:{mute.getsockname()[1]}/cam", open_timeout=0.3)
    with make_rtsp_camera("raw") as camera:
        fail(f"{prefix}127.0.0.1:{camera.port}/cam")
    with make_rtsp_camera("h264", "--user", "admin", "--password", "another") as camera:
        fail(f"{prefix}127.0.0.1:{camera.port}/cam")
    with make_rtsp_camera("jpeg", "--user", "admin", "--password", PASSWORD) as camera:
        fail(f"{prefix}127.0.0.1:{camera.port}/cam", lambda: camera.send_command("freeze"), SHORT_TIMEOUT)
        camera.send_command("thaw")
        fail(f"{prefix}127.0.0.1:{camera.port}/cam", camera.kill)
    with make_rtsp_camera("h264") as camera, NetworkLink(camera.port) as line:
        fail(f"{prefix}127.0.0.1:{line.port}/cam", line.cut)
    output = capfd.readouterr()
    for text in (*(f"{error!r} {error} {error.message} {error.detail}" for error in errors), caplog.text, *output):
        for secret in ("admin", SECRET, PASSWORD):
            assert secret not in text
    assert len({error.message for error in errors}) >= 7
    for error in errors:
        assert "127.0.0.1" not in error.message
        assert "rtsp://***@" in error.detail


@needs_gstreamer
def test_a_hundred_openings_leak_no_descriptor() -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def open_and_close(path: str) -> None:
        source = RtspSource(f"rtsp://127.0.0.1:{camera.port}/{path}")
        with contextlib.suppress(CameraOffline, BadImage):
            source.open()
            source.read(FRAME_TIMEOUT).image()
        source.close()

    with make_rtsp_camera("h264", "--rate", "100", "--gop", "5") as camera:
        open_and_close("cam")
        before = count()
        for number in range(100):
            open_and_close("nothing" if number % 10 == 9 else "cam")
        assert count() <= before
