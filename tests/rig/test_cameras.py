"""Real drivers: `dog serve` in a guest with a USB webcam and vivid.

The guest (guest.py) is booted once for all tests here. The webcam looks at our test card and numbers its frames; vivid
draws colour bars. Before all other tests, in_guest.py runs in the guest and reports facts about the driver itself.
"""

import io
import json
import re
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat
from websockets.sync.client import ClientConnection

from dog.cameras.test_card import TestCard
from tests.rig.guest import COMMAND_TIMEOUT, ROOT, SIZE, STABLE, VIVID, Guest, Preview, find_missing
from tests.support.damages import read_tables

pytestmark = [pytest.mark.cameras, pytest.mark.timeout(400)]

SET_VIVID = f"v4l2-ctl -d {VIVID} -c"

CAPTURE_TIMEOUT = 20
"""Seconds. An image by fswebcam takes 3 s in the guest."""

V4L2 = f"""
snapshots = "/run/dog/v4l2/snapshots"
log_file = ""
dead_time = 0
message_rate = 1000

[cameras.usb]
camera = "v4l2:{STABLE}"

[cameras.vivid]
camera = "v4l2:{VIVID}"
resolution = "320x180"
frame_rate = 15
controls = {{ test_pattern = "100% Colorbar", osd_text_mode = "Counters Only" }}
"""

FORMATS = {
    name.lower(): V4L2.replace('resolution = "320x180"', f'resolution = "320x180"\npixel_format = "{name}"').replace(
        "[cameras.vivid]", usb + "\n[cameras.vivid]"
    )
    for name, usb in (("NV12", 'pixel_format = "YUYV"'), ("RGB3", ""))
}
"""Like V4L2, with other formats. With the first one, the webcam sends raw frames as well."""

SCRIPT = f"""
snapshots = "/run/dog/script/snapshots"
log_file = ""
camera = "script:{ROOT}/camera_access.sh"
capture_timeout = {CAPTURE_TIMEOUT}
"""

COMMENT = re.compile(rb"\xff\xfe..seq=(\d+) t=[\d.]+", re.DOTALL)
BARS = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0))
"""vivid's "100% Colorbar"."""


# ---- the guest


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that is shared with the guest, with the webcam's image."""
    folder = tmp_path_factory.mktemp("guest")
    with Image.open(io.BytesIO(TestCard().read(0).image())) as card:
        card.resize(SIZE).save(folder / "source.jpg", quality=90)
    with Image.open(folder / "source.jpg") as shown:
        frame = av.VideoFrame.from_image(shown).reformat(format="yuyv422")  # type: ignore[no-untyped-call]
    (folder / "source.yuyv").write_bytes(bytes(frame.planes[0]))
    return folder


@pytest.fixture(scope="module")
def booted(share: Path) -> Iterator[Guest]:
    if sys.platform != "linux":
        pytest.skip("the rig boots a Linux guest from a Debian host")
    if missing := find_missing():
        pytest.skip(f"the rig needs: apt-get install --no-install-recommends {' '.join(missing)}")
    guest = Guest(share, {"v4l2": V4L2, "script": SCRIPT} | FORMATS)
    try:
        guest.wait_for("rig: ready")
        yield guest
    finally:
        status = guest.end()
    assert status == 0, guest.output
    assert "Traceback" not in guest.output, guest.output


@pytest.fixture(scope="module")
def facts(booted: Guest) -> list[dict[str, Any]]:
    return booted.get_facts()


@pytest.fixture(scope="module")
def v4l2(booted: Guest, facts: object) -> Guest:
    """Run `dog serve` with the V4L2 driver and two cameras."""
    return booted.serve("v4l2")


@pytest.fixture(scope="module")
def script(booted: Guest, v4l2: object) -> Guest:
    """Run `dog serve` with camera_access.sh, which finds the webcam itself.

    It is the only camera now.
    """
    booted.serve("script").send_command("run busybox rmmod vivid")
    return booted


def choose(facts: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [fact for fact in facts if fact["fact"] == name]


# ---- the viewer


class Viewer:
    """A viewer outside of the guest, and its messages about one camera."""

    def __init__(self, connection: ClientConnection, camera: str | None) -> None:
        self._connection = connection
        self._camera = camera
        self.hello = self.read()
        assert self.hello["type"] == "hello"

    def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(COMMAND_TIMEOUT))
        return message

    def wait_for(self, *types: str) -> dict[str, Any]:
        """Wait for the next message of one of these types about the camera."""
        while True:
            message = self.read()
            if message["type"] in types and self._camera in (None, message["camera"]):
                return message

    def wait_for_state(self, *states: str) -> dict[str, Any]:
        while True:
            if (message := self.wait_for("camera"))["state"] in states:
                return message

    def press(self) -> dict[str, Any]:
        """Request a new exposure, and return the event `capturing`."""
        request = {"type": "capture", "max_age": 0} | ({"camera": self._camera} if self._camera else {})
        self._connection.send(json.dumps(request))
        return self.wait_for("capturing")

    def wait_for_end(self, capturing: dict[str, Any]) -> dict[str, Any]:
        ended = self.wait_for("ready", "failed")
        assert ended["capture"] == capturing["capture"]
        return ended

    def take(self) -> dict[str, Any]:
        ready = self.wait_for_end(self.press())
        assert ready["type"] == "ready", ready
        return ready

    def fail(self) -> dict[str, Any]:
        failed = self.wait_for_end(self.press())
        assert failed["type"] == "failed", failed
        return failed


@pytest.fixture
def usb(v4l2: Guest) -> Iterator[Viewer]:
    """Connect a viewer of the webcam. Reset the webcam afterwards."""
    with v4l2.watch() as connection:
        yield Viewer(connection, "usb")
    v4l2.control_camera("trunc 0;thaw;tables on")
    v4l2.control_camera("plug")


@pytest.fixture
def vivid(v4l2: Guest) -> Iterator[Viewer]:
    with v4l2.watch() as connection:
        yield Viewer(connection, "vivid")


def number_of(image: bytes) -> int:
    """Return the webcam's number of a frame."""
    found = COMMENT.search(image)
    assert found is not None
    return int(found[1])


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


def assert_bars(image: Image.Image, expected: tuple[tuple[int, int, int], ...] = BARS) -> None:
    """Check the middle of each bar.

    Rounding and JPEG changed it by at most 8 of 255.
    """
    shown = image.convert("RGB")
    for place, colour in enumerate(expected):
        seen = shown.getpixel((shown.width * (2 * place + 1) // 16, shown.height * 5 // 8))
        assert isinstance(seen, tuple)
        assert max(abs(a - b) for a, b in zip(seen, colour, strict=True)) <= 12, (place, seen, colour)


# ---- the driver itself


def test_cameras_are_listed_with_stable_names_and_without_metadata_nodes(facts: list[dict[str, Any]]) -> None:
    devices = {device["node"]: device for device in choose(facts, "device")}
    assert list(devices) == ["/dev/video0", VIVID]
    usb, vivid = devices.values()
    assert (usb["path"], usb["name"], usb["driver"]) == (STABLE, "Soft Webcam: Soft Webcam", "uvcvideo")
    sizes = [
        (one["fourcc"], mode["width"], mode["height"], mode["rates"]) for one in usb["formats"] for mode in one["modes"]
    ]
    assert sizes == [("MJPG", *SIZE, ["15"]), ("YUYV", *SIZE, ["15"])]
    assert [(control["name"], control["minimum"], control["maximum"]) for control in usb["controls"]] == [
        ("brightness", 0, 255)
    ]
    assert (vivid["path"], vivid["problem"]) == (VIVID, "")
    assert len(vivid["formats"]) > 50
    grey = next(one for one in vivid["formats"] if one["fourcc"] == "GREY")
    assert {"width": 1280, "height": 720, "rates": ["1", "2", "4", "5", "10", "25/2"], "all_between": False} in grey[
        "modes"
    ]
    pattern = next(control for control in vivid["controls"] if control["name"] == "test_pattern")
    assert pattern["menu"]["1"] == "100% Colorbar"


def test_a_busy_camera_names_the_program_that_uses_it(facts: list[dict[str, Any]]) -> None:
    words = "The camera is in use by v4l2-ctl. Close that program, then press again."
    (busy,) = choose(facts, "busy")
    assert busy["result"] == f"camera_busy: {words}"
    assert busy["listed"] == {"/dev/video0": words, VIVID: ""}
    assert choose(facts, "free again")[0]["result"].endswith("bytes")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("absent", "The camera is not there. Plug it in, or choose one that `dog cameras` lists."),
        ("permission", "The camera may not be opened. Add the user that runs dog to the group video."),
        ("metadata", "The device is not a camera. Choose one that `dog cameras` lists."),
        ("file", "The camera's path is not a device. Choose one that `dog cameras` lists."),
        ("other device", "The device is not a camera. Choose one that `dog cameras` lists."),
        ("resolution", "The camera does not offer 1280x720, but 640x480 at 15/s. Set"),
        ("frame rate", "The camera does not offer 640x480 at 30 frames a second, but 640x480 at 15/s. Set"),
        ("format", "The camera does not offer the format NV12. It offers: MJPG, YUYV."),
        ("control", "The camera has no control zoom. Its controls are: brightness."),
        ("value", "The control brightness can't be 256. It can be from 0 to 255."),
        ("menu", "The control osd_text_mode can't be Everything. It can be 0 (All) or 1 (Counters Only) or 2 (None)."),
        ("locked", "The control gain can't be set to 33: another control locks it, such as an automatic one"),
    ],
)
def test_an_unsupported_setting_is_refused_with_the_supported_ones(
    facts: list[dict[str, Any]], what: str, words: str
) -> None:
    (refused,) = (fact for fact in choose(facts, "refused") if fact["what"] == what)
    assert refused["result"].startswith(f"camera_offline: {words}")


def test_controls_are_set_by_name_even_if_another_one_locks_them_first(
    facts: list[dict[str, Any]],
) -> None:
    usb, vivid = choose(facts, "controls")
    assert usb["brightness"] == 200
    assert {name: vivid[name] for name in ("gain", "gain_automatic", "test_pattern", "osd_text_mode")} == {
        "gain": 33,
        "gain_automatic": 0,
        "test_pattern": 7,
        "osd_text_mode": 1,
    }


@pytest.mark.parametrize(
    "name", ["yuyv", "nv12", "rgb3", "bgr3", "yuyv-709", "nv12-full", "rgb3-limited"], ids=lambda name: f"vivid-{name}"
)
def test_raw_formats_have_the_right_colours_in_each_range_and_matrix(
    facts: list[dict[str, Any]], share: Path, name: str
) -> None:
    assert {"fact": "image", "name": f"vivid-{name}", "verdict": "good"} in facts
    with Image.open(share / f"vivid-{name}.jpg") as image:
        assert image.size == (640, 360)
        assert_bars(image)


def test_grey_has_the_brightness_of_the_colours(facts: list[dict[str, Any]], share: Path) -> None:
    assert {"fact": "image", "name": "vivid-grey", "verdict": "good"} in facts
    with Image.open(share / "vivid-grey.jpg") as image:
        assert image.mode == "L"
        levels = [round(0.2126 * red + 0.7152 * green + 0.0722 * blue) for red, green, blue in BARS]  # vivid's formula
        assert_bars(image, tuple((level, level, level) for level in levels))


def test_yuyv_of_a_webcam_shows_its_source_image(facts: list[dict[str, Any]], share: Path) -> None:
    assert {"fact": "image", "name": "usb-yuyv", "verdict": "good"} in facts
    with Image.open(share / "source.jpg") as shown, Image.open(share / "usb-yuyv.jpg") as taken:
        assert mean_difference(shown, taken) < 3  # measured at 1.7 of 255: half the colour, and JPEG once more


def test_each_capture_gets_the_first_frame_after_its_request_by_its_timestamp(
    facts: list[dict[str, Any]],
) -> None:
    presses = [press for press in choose(facts, "press") if press["latency"] == 0]
    assert len(presses) == 60
    for press in presses:
        assert press["began"] >= press["pressed"]
        assert press["number"] == press["first"]
        # The timestamp belongs to this frame: uvcvideo stamps the first byte's arrival, shortly after it was made.
        assert press["made"] <= press["began"] <= press["read"]


def test_with_latency_set_each_capture_gets_the_first_frame_made_after_its_request(
    facts: list[dict[str, Any]],
) -> None:
    presses = [press for press in choose(facts, "press") if press["latency"] > 0]
    assert len(presses) == 60
    for press in presses:
        assert press["began"] >= press["pressed"]
        assert press["number"] == press["first"]
    in_time = [press for press in presses if press["began"] <= press["made"]]  # not delayed by more than the latency
    assert len(in_time) > 30
    assert all(press["made"] >= press["pressed"] for press in in_time)


def test_nothing_is_decoded_without_a_request(facts: list[dict[str, Any]]) -> None:
    assert [(idle["frames"], idle["images"]) for idle in choose(facts, "idle")] == [(30, 0), (30, 0)]
    assert [closed["readers"] for closed in choose(facts, "closed")] == [[], []]


def test_only_the_frame_that_the_driver_marks_as_damaged_is_refused(facts: list[dict[str, Any]]) -> None:
    (damage,) = choose(facts, "damage")
    words = "The camera's frame is damaged. Check the cable, then press again. (the driver reports an error)"
    assert sorted(damage["result"]) == [words, *["good"] * 11]


# ---- through the service


def test_a_viewer_gets_the_camera_s_jpeg_unchanged(v4l2: Guest, usb: Viewer, share: Path) -> None:
    ready = usb.take()
    assert (ready["width"], ready["height"], ready["content_type"]) == (*SIZE, "image/jpeg")
    assert ready["quality"]["verdict"] == "good"
    image = v4l2.fetch(ready["url"])
    assert COMMENT.sub(b"", image) == (share / "source.jpg").read_bytes()
    assert v4l2.fetch("/latest.jpg?camera=usb") == image


def test_a_webcam_without_huffman_tables_gives_complete_files(v4l2: Guest, usb: Viewer, share: Path) -> None:
    v4l2.control_camera("tables off")
    usb.take()  # the next frame was made afterwards
    image = v4l2.fetch(usb.take()["url"])
    assert read_tables(image) == read_tables((share / "source.jpg").read_bytes())
    with Preview(v4l2, "usb") as preview:
        assert read_tables(preview.read_frame()) == read_tables(image)
    with Image.open(io.BytesIO(image)) as taken, Image.open(share / "source.jpg") as shown:
        assert mean_difference(taken, shown) == 0


def test_a_viewer_gets_vivid_s_colours(v4l2: Guest, vivid: Viewer) -> None:
    with Image.open(io.BytesIO(v4l2.fetch(vivid.take()["url"]))) as image:
        assert image.size == (320, 180)
        assert_bars(image)


def test_a_hundred_captures_get_different_frames_in_order_and_leak_nothing(v4l2: Guest, usb: Viewer) -> None:
    usb.take()
    descriptors, threads = v4l2.count_descriptors(), v4l2.count_threads()
    numbers = [number_of(v4l2.fetch(usb.take()["url"])) for _ in range(100)]
    assert numbers == sorted(set(numbers))
    assert v4l2.count_descriptors() <= descriptors
    assert v4l2.count_threads() <= threads


def test_an_unplugged_idle_camera_is_reported_at_once_and_returns_by_itself(v4l2: Guest, usb: Viewer) -> None:
    v4l2.control_camera("unplug")
    offline = usb.wait_for_state("offline")
    assert offline["reason"] == "The camera was unplugged. Plug it in again."
    failed = usb.fail()
    assert failed["code"] == "camera_offline"
    assert failed["retry_after"] > 0
    with pytest.raises(urllib.error.HTTPError) as refusal:
        v4l2.fetch("/latest.jpg?camera=usb&max_age=0")
    with refusal.value as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    v4l2.control_camera("plug")
    usb.wait_for_state("idle")
    usb.take()


def test_unplugging_during_a_capture_fails_it_and_the_camera_returns_by_itself(v4l2: Guest, usb: Viewer) -> None:
    v4l2.control_camera("trunc 1000000")  # keeps the capture waiting
    capturing = usb.press()
    v4l2.control_camera("unplug")
    failed = usb.wait_for_end(capturing)
    assert (failed["type"], failed["code"]) == ("failed", "camera_offline")
    assert failed["message"] == "The camera was unplugged. Plug it in again."
    v4l2.control_camera("trunc 0;plug")
    usb.wait_for_state("idle")
    usb.take()


def test_a_preview_continues_when_its_camera_is_plugged_in_again(v4l2: Guest, usb: Viewer) -> None:
    with Preview(v4l2, "usb") as preview:
        first = number_of(preview.read_frame())
        assert number_of(preview.read_frame()) > first
        captured = usb.take()
        v4l2.control_camera("unplug")
        usb.wait_for_state("offline")
        v4l2.control_camera("plug")
        usb.wait_for_state("idle")
        after = number_of(v4l2.fetch(usb.take()["url"]))
        assert after > number_of(v4l2.fetch(captured["url"]))
        while number_of(preview.read_frame()) < after:
            pass


def test_a_capture_during_the_preview_gets_a_full_image_and_the_preview_continues(v4l2: Guest, usb: Viewer) -> None:
    with Preview(v4l2, "usb") as preview:
        preview.read_frame()
        ready = usb.take()
        assert (ready["width"], ready["height"]) == SIZE
        taken = number_of(v4l2.fetch(ready["url"]))
        while number_of(preview.read_frame()) <= taken:
            pass


def test_a_frozen_camera_is_reported_and_returns_when_it_thaws(v4l2: Guest, usb: Viewer, vivid: Viewer) -> None:
    v4l2.control_camera("freeze")
    offline = usb.wait_for_state("offline")
    assert offline["reason"] == "The camera sent no frame for 2 s. Reconnect it."
    assert usb.fail()["code"] == "camera_offline"
    vivid.take()  # the other camera is not affected
    v4l2.control_camera("thaw")
    usb.wait_for_state("idle")
    usb.take()


def test_twenty_cut_off_frames_are_rejected_and_counted_in_the_event(v4l2: Guest, usb: Viewer, share: Path) -> None:
    v4l2.control_camera("freeze;trunc 20")
    capturing = usb.press()
    v4l2.control_camera("thaw")
    ready = usb.wait_for_end(capturing)
    assert ready["type"] == "ready", ready
    assert ready["quality"]["verdict"] == "good"
    assert (ready["quality"]["retaken"], ready["quality"]["found"]) == (20, ["damaged"])
    assert COMMENT.sub(b"", v4l2.fetch(ready["url"])) == (share / "source.jpg").read_bytes()


def test_captures_work_while_the_driver_drops_half_of_its_frames(v4l2: Guest, vivid: Viewer) -> None:
    v4l2.send_command(f"run {SET_VIVID} percentage_of_dropped_buffers=50")
    taken = [vivid.take()["snapshot"] for _ in range(5)]
    assert len(set(taken)) == 5
    v4l2.send_command(f"run {SET_VIVID} percentage_of_dropped_buffers=0")


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (("inject_fatal_streaming_error",), "The camera's driver reports: Input/output error. Reconnect the camera."),
        (("disconnect",), "The camera was unplugged. Plug it in again."),
        (
            ("inject_vidioc_streamon_error", "inject_fatal_streaming_error"),
            "The camera's driver reports: Input/output error. Reconnect the camera.",
        ),
        (
            ("inject_vidioc_reqbufs_error", "inject_fatal_streaming_error"),
            "The camera's driver reports: Input/output error. Reconnect the camera.",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_driver_error_makes_the_camera_offline_until_it_returns_by_itself(
    v4l2: Guest, vivid: Viewer, errors: tuple[str, ...], reason: str
) -> None:
    for error in errors:
        v4l2.send_command(f"run {SET_VIVID} {error}=1")
    assert vivid.wait_for_state("offline")["reason"] == reason
    vivid.wait_for_state("idle")
    with Image.open(io.BytesIO(v4l2.fetch(vivid.take()["url"]))) as image:
        assert_bars(image)


def test_a_buffer_that_the_driver_refuses_is_handled(v4l2: Guest, vivid: Viewer) -> None:
    v4l2.send_command(f"run {SET_VIVID} inject_vidioc_qbuf_error=1")
    assert vivid.wait_for_state("offline")["reason"].startswith("The camera's driver reports: ")
    vivid.wait_for_state("idle")
    vivid.take()


def test_plugging_and_unplugging_ten_times_leaks_nothing(v4l2: Guest, usb: Viewer) -> None:
    counts = []
    for _ in range(10):
        v4l2.control_camera("unplug")
        usb.wait_for_state("offline")
        v4l2.control_camera("plug")
        usb.wait_for_state("idle")
        usb.take()
        counts.append((v4l2.count_descriptors(), v4l2.count_threads()))
    assert all(last <= first for last, first in zip(counts[-1], counts[0], strict=True)), counts


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_viewer_gets_the_right_image_in_each_pixel_format(
    booted: Guest, v4l2: object, share: Path, name: str
) -> None:
    guest = booted.serve(name)
    with guest.watch() as connection:
        ready = Viewer(connection, "vivid").take()
        with Image.open(io.BytesIO(guest.fetch(ready["url"]))) as image:
            assert image.size == (320, 180)
            assert_bars(image)
    with guest.watch() as connection:
        ready = Viewer(connection, "usb").take()
    with Image.open(share / "source.jpg") as shown, Image.open(io.BytesIO(guest.fetch(ready["url"]))) as taken:
        assert mean_difference(shown, taken) < 3
        assert ("comment" in taken.info) == (name != "nv12")  # the webcam's own JPEGs have one, ours have none


# ---- the script


@pytest.fixture
def viewer(script: Guest) -> Iterator[Viewer]:
    with script.watch() as connection:
        yield Viewer(connection, None)


def test_the_script_returns_the_camera_s_image(script: Guest, viewer: Viewer, share: Path) -> None:
    ready = viewer.take()
    assert (ready["width"], ready["height"], ready["content_type"]) == (*SIZE, "image/jpeg")
    with Image.open(share / "source.jpg") as shown, Image.open(io.BytesIO(script.fetch(ready["url"]))) as taken:
        # the camera's JPEG, decoded and encoded once more: measured at 0.4 of 255
        assert mean_difference(shown, taken) < 1


def test_two_captures_make_two_snapshots_and_the_last_one_is_the_latest(script: Guest, viewer: Viewer) -> None:
    with script.watch() as connection:
        other = Viewer(connection, None)
        one, two = viewer.take(), viewer.take()
        assert one["snapshot"] != two["snapshot"]
        assert one["url"] != two["url"]
        assert one["capture"] < two["capture"]
        assert [other.wait_for("ready")["snapshot"] for _ in range(2)] == [one["snapshot"], two["snapshot"]]
    assert script.fetch("/latest.jpg") == script.fetch(two["url"])


def test_the_script_reports_an_unplugged_camera_and_works_again(script: Guest, viewer: Viewer) -> None:
    script.control_camera("unplug")
    failed = viewer.fail()
    assert failed["code"] == "camera_error"
    assert "There is no camera: no /dev/video* captures images." in failed["message"]
    script.control_camera("plug")
    assert viewer.take()["width"] == SIZE[0]


def test_the_script_reports_a_frozen_camera_and_works_again(script: Guest, viewer: Viewer) -> None:
    script.control_camera("freeze")
    failed = viewer.fail()
    assert failed["code"] == "timeout"
    assert failed["message"] == (
        f"The camera program did not finish within {CAPTURE_TIMEOUT} s and was ended. Check the camera."
    )
    script.control_camera("thaw")
    assert viewer.take()["width"] == SIZE[0]
