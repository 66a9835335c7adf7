"""The Raspberry Pi driver, with a stand-in for Picamera2.

It has not run on a Pi yet.
"""

import asyncio
import gc
import io
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dog.cameras import CapturedImage, picamera
from dog.cameras import source as live
from dog.cameras.factory import make_camera
from dog.cameras.frame_selection import Thresholds
from dog.cameras.picamera import FLIPS, Control, Mode, PicameraSource, list_devices
from dog.cameras.source import LiveCamera
from dog.errors import BadImage, CameraBusy, CameraOffline, CaptureError
from dog.settings import Settings
from tests.support.picamera2_stand_in import Pi, Sensor
from tests.support.running import until

GREY, GREEN = (120, 128, 128), (150, 44, 21)
"""Luma, blue and red, as in a JPEG."""


@pytest.fixture
def sensor() -> Sensor:
    return Sensor()


@pytest.fixture
def pi(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> Pi:
    """Install a stand-in for a Pi with only this sensor."""
    pi = Pi(sensor)
    pi.install(monkeypatch)
    return pi


def open_source(**options: Any) -> PicameraSource:
    """Open camera number 0. If that fails, it is closed, as by LiveCamera."""
    source = PicameraSource(0, **options)
    try:
        source.open()
    except BaseException:
        source.close()
        raise
    return source


def read(source: PicameraSource, sensor: Sensor, *colour: int, **about: float) -> Any:
    """Expose a frame, and read it."""
    sensor.expose(colour or GREY, **about)  # type: ignore[arg-type]
    return source.read(1)


def count_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def measure(picture: bytes) -> tuple[tuple[int, int], Any]:
    """Return the size of a JPEG, and luma, blue and red of its centre."""
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        image.draft("YCbCr", image.size)
        return image.size, image.convert("YCbCr").getpixel((image.width // 2, image.height // 2))


# ---- frames


def test_a_frame_is_a_jpeg_of_the_whole_sensor_in_the_right_colours(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    size, colour = measure(read(source, sensor, *GREEN).image())
    assert size == (656, 492)
    assert all(abs(got - exposed) <= 2 for got, exposed in zip(colour, GREEN, strict=True))
    source.close()


def test_the_padding_of_lines_is_not_in_the_image(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    with Image.open(io.BytesIO(read(source, sensor, 16, 128, 128).image())) as image:
        assert max(image.convert("L").crop((8, 8, 656, 492)).tobytes()) < 30
    source.close()


def test_nothing_is_copied_or_encoded_until_the_image_is_needed(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    frames = [read(source, sensor) for _ in range(20)]
    assert sensor.copied == 0
    assert frames[-1].image() is frames[-1].image()
    assert frames[-1].raw is frames[-1].raw
    assert sensor.copied == 1
    source.close()


def test_a_frame_is_valid_until_its_source_has_been_read_twice_more(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    first = read(source, sensor)
    second = read(source, sensor)
    assert [bytes(frame.raw[:4]) for frame in (first, second)] == [b"\0\0\0\1", b"\0\0\0\2"]
    older, newer = read(source, sensor), read(source, sensor)
    for _ in range(picamera.BUFFER_COUNT):
        sensor.expose()
    assert [bytes(frame.raw[:4]) for frame in (older, newer)] == [b"\0\0\0\3", b"\0\0\0\4"]
    assert len(sensor.handed_out) == picamera.MAX_HELD_FRAMES
    assert sensor.dropped == 0
    source.close()
    assert sensor.handed_out == []


def test_a_cut_off_frame_raises_bad_image(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    frame = read(source, sensor)
    frame._request._buffer = frame._request._buffer[:-1]
    with pytest.raises(BadImage, match="cut off"):
        frame.image()
    source.close()


def test_the_exposure_started_its_own_duration_before_the_timestamp(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    began = time.monotonic() - 0.5
    assert read(source, sensor, exposure_start=began, lasts=0.25).exposure_start == pytest.approx(began, abs=1e-5)
    source.close()


def test_a_timestamp_of_the_boottime_clock_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 100_000_000_000, 7_000_000_000_000
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: now + slept)
    stamp = now - 30_000_000
    for timestamp in (stamp, stamp + slept):
        assert picamera._find_exposure_start({"SensorTimestamp": timestamp, "ExposureTime": 20000}) == pytest.approx(
            99.95
        )


def test_a_frame_without_exposure_metadata_counts_as_one_interval_long_or_as_old() -> None:
    stamp = time.monotonic_ns()
    began = picamera._find_exposure_start({"SensorTimestamp": stamp, "FrameDuration": 50000})
    assert began == pytest.approx(stamp / 1e9 - 0.05)
    assert picamera._find_exposure_start({"SensorTimestamp": stamp}) == -math.inf
    assert picamera._find_exposure_start({"ExposureTime": 20000}) == -math.inf


def test_a_missing_frame_mentions_the_ribbon_cable_and_the_camera_can_be_closed(pi: Pi, sensor: Sensor) -> None:
    source = open_source()
    read(source, sensor)
    with pytest.raises(CameraOffline, match=r"no frame for 0\.01 s\. .* ribbon cable\.$"):
        source.read(0.01)
    source.close()
    assert not sensor.is_taken
    assert sensor.handed_out == []


def test_a_missing_frame_also_mentions_a_long_exposure_if_one_is_set(pi: Pi) -> None:
    source = open_source(controls={"ExposureTime": 5_000_000})
    with pytest.raises(CameraOffline, match="Exposures must be shorter"):
        source.read(0.01)
    source.close()


# ---- settings


@pytest.mark.parametrize(
    ("set_to", "expected"),
    [
        ({"ExposureTime": 8000}, 8000),
        ({"AnalogueGain": 2}, 2.0),
        ({"AnalogueGain": "2.5"}, 2.5),
        ({"AeEnable": False}, False),
        ({"AwbMode": "Tungsten"}, 2),
        ({"AwbMode": 1}, 1),
        ({"NoiseReductionMode": "Fast"}, 1),
        ({"ColourGains": "1.8 1.5"}, (1.8, 1.5)),
        ({"ScalerCrop": "0 0 320 240"}, (0, 0, 320, 240)),
        ({"AfMode": "Manual"}, 0),
        ({"LensPosition": "0.5"}, 0.5),
    ],
)
def test_controls_with_libcamera_s_names_are_set_before_the_first_frame(
    pi: Pi, set_to: dict[str, Any], expected: object
) -> None:
    source = open_source(controls=set_to)
    (name,) = set_to
    value = pi.made[0].started_with[name]
    assert (value, type(value)) == (expected, type(expected))
    source.close()


@pytest.mark.parametrize(
    ("set_to", "problem"),
    [
        (
            {"Zoom": 2},
            "The camera has no control Zoom. Its controls are: AeEnable, AfMode, AnalogueGain, AwbMode, ColourGains, E",
        ),
        ({"ExposureTime": 1}, "The control ExposureTime can't be 1. It can be from 26 to 119000000."),
        ({"ExposureTime": "99.5"}, "The control ExposureTime can't be 99.5. It can be from 26"),
        ({"AnalogueGain": 99}, "The control AnalogueGain can't be 99. It can be from 1.0 to 16.0."),
        ({"AnalogueGain": "nan"}, "The control AnalogueGain can't be nan"),
        ({"AnalogueGain": "much"}, "The control AnalogueGain can't be much"),
        ({"AnalogueGain": ""}, "The control AnalogueGain can't be . It can be from"),
        ({"AeEnable": 2}, "The control AeEnable can't be 2. It can be true or false."),
        ({"AwbMode": "Neon"}, "The control AwbMode can't be Neon. It can be Auto or Incandescent or Tungsten."),
        ({"ColourGains": "1.8 99"}, "The control ColourGains can't be 1.8 99. It can be from 0.0 to 32.0."),
        ({"ScalerCrop": "0 0"}, "The control ScalerCrop can't be 0 0. It can be 4 numbers with spaces between them."),
        ({"hflip": "perhaps"}, "The control hflip can't be perhaps. It can be true or false."),
    ],
)
def test_a_wrong_control_value_is_refused_with_the_valid_ones(
    pi: Pi, sensor: Sensor, set_to: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CameraOffline) as caught:
        open_source(controls=set_to)
    assert caught.value.message.startswith(problem)
    assert caught.value.__cause__ is None
    assert not sensor.is_taken


def test_a_control_without_a_known_maximum_is_unlimited() -> None:
    control = Control("ExposureTime", 26, 0, None)
    assert control.parse(10_000_000) == 10_000_000
    assert control.limits == "from 26"
    with pytest.raises(ValueError, match="25"):
        control.parse(25)


def test_an_unknown_control_is_refused_with_the_available_ones(pi: Pi, sensor: Sensor) -> None:
    with pytest.raises(CameraOffline) as caught:
        open_source(controls={"Zoom": 2})
    assert re.findall(r"\w+(?=[,.])", caught.value.message.partition(" are: ")[2]) == [*sorted(sensor.controls), *FLIPS]


@pytest.mark.parametrize("flips", [{}, {"hflip": True}, {"hflip": True, "vflip": True}, {"vflip": 1, "hflip": 0}])
def test_the_image_is_mirrored_as_set(pi: Pi, flips: dict[str, int]) -> None:
    source = open_source(controls=flips)
    transform = pi.made[0].camera_config["transform"]
    assert {name: getattr(transform, name) for name in FLIPS} == {name: bool(flips.get(name)) for name in FLIPS}
    source.close()


@pytest.mark.parametrize(
    ("controls", "mode"), [({}, 2), ({"AfMode": "Auto"}, 1), ({"LensPosition": 1}, None), ({"AeEnable": True}, 2)]
)
def test_a_camera_with_autofocus_focuses_all_the_time_unless_set_otherwise(
    pi: Pi, controls: dict[str, Any], mode: int | None
) -> None:
    source = open_source(controls=controls)
    assert pi.made[0].started_with.get("AfMode") == mode
    source.close()


def test_a_camera_without_autofocus_gets_no_focus_control(pi: Pi) -> None:
    pi.sensors[0] = Sensor(focuses=False)
    source = open_source()
    assert pi.made[0].started_with == {}
    source.close()


def test_a_smaller_resolution_and_a_rate_are_used_as_set(pi: Pi, sensor: Sensor) -> None:
    source = open_source(resolution=(328, 246), frame_rate=50)
    assert measure(read(source, sensor).image())[0] == (328, 246)
    assert pi.made[0].started_with["FrameDurationLimits"] == (20000, 20000)
    source.close()


@pytest.mark.parametrize("resolution", [(4608, 2592), (655, 492)])
def test_an_unsupported_resolution_is_refused(pi: Pi, sensor: Sensor, resolution: tuple[int, int]) -> None:
    with pytest.raises(CameraOffline, match=r"gives 65\dx492 instead of .*\. Set another `resolution`"):
        open_source(resolution=resolution)
    assert not sensor.is_taken


def test_an_unreachable_rate_is_refused_with_the_possible_ones(pi: Pi) -> None:
    problem = r"can't give 50 frames a second at 656x492, only 0\.0083 to 20\. Set another `frame_rate` or"
    with pytest.raises(CameraOffline, match=problem):
        open_source(frame_rate=50)
    with pytest.raises(CameraOffline, match=r"can't give 0\.001 frames a second"):
        open_source(frame_rate=0.001)


def test_a_listed_rate_is_accepted(pi: Pi, sensor: Sensor) -> None:
    sensor.modes[-1] = (656, 492), 1e6 / 17849  # listed as 56.03, which is 17848 microseconds a frame
    source = open_source(frame_rate=56.03)
    assert pi.made[0].started_with["FrameDurationLimits"] == (17849, 17849)
    source.close()


# ---- error messages


@pytest.mark.parametrize("missing", ["picamera2", "libcamera"])
def test_without_picamera2_the_error_names_the_package_to_install(
    pi: Pi, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CameraOffline, match=r"sudo apt install python3-picamera2\. .* --system-site-packages"):
        open_source()


def test_a_wrong_camera_number_is_refused_with_the_valid_ones(pi: Pi) -> None:
    with pytest.raises(CameraOffline, match=r"no camera number 3\. Use number 0"):
        PicameraSource(3).open()
    pi.sensors.append(Sensor())
    with pytest.raises(CameraOffline, match=r"no camera number 3\. Use a number from 0 to 1"):
        PicameraSource(3).open()
    pi.sensors.clear()
    with pytest.raises(CameraOffline, match=r"No Raspberry Pi camera is found\. .* ribbon cable"):
        PicameraSource(0).open()


def test_opening_a_busy_camera_again_and_again_leaks_no_descriptor(pi: Pi, sensor: Sensor) -> None:
    sensor.is_taken = True
    before = count_descriptors()
    for _ in range(100):
        with pytest.raises(CameraBusy, match="in use by another program"):
            open_source()
    pi.made.clear()
    assert count_descriptors() == before
    sensor.is_taken = False
    open_source().close()


def test_a_camera_whose_init_fails_after_the_acquisition_is_closed(pi: Pi, sensor: Sensor) -> None:
    before = count_descriptors()
    sensor.breaks["__init__"] = RuntimeError("no tuning file")
    with pytest.raises(CameraOffline, match="can't be started") as caught:
        open_source()
    assert "no tuning file" in caught.value.detail
    assert not sensor.is_taken
    pi.made.clear()
    assert count_descriptors() == before


def test_too_little_memory_suggests_a_smaller_resolution(pi: Pi) -> None:
    pi.memory = 1_000_000
    with pytest.raises(CameraOffline, match=r"too little memory .* smaller `resolution`"):
        open_source()
    open_source(resolution=(328, 246)).close()


def test_memory_is_allocated_only_for_the_frames(pi: Pi) -> None:
    pi.memory = picamera.BUFFER_COUNT * 704 * 492 * 3 // 2
    open_source().close()


def test_a_usb_camera_is_refused_with_the_name_of_its_driver(pi: Pi) -> None:
    pi.sensors[0] = Sensor(usb=True)
    with pytest.raises(CameraOffline, match=r"gives YUYV\. If it is a USB camera, use v4l2:DEVICE"):
        open_source()


@pytest.mark.parametrize("step", ["configure", "start"])
def test_an_unexpected_error_is_logged_and_the_camera_is_closed(pi: Pi, sensor: Sensor, step: str) -> None:
    sensor.breaks[step] = RuntimeError("Failed at /dev/media0")
    with pytest.raises(CameraOffline) as caught:
        open_source()
    assert caught.value.message == "The camera can't be started. See the server's log."
    assert "/dev/media0" in caught.value.detail
    assert not sensor.is_taken


def test_closing_raises_nothing_in_any_state(pi: Pi, sensor: Sensor, caplog: pytest.LogCaptureFixture) -> None:
    PicameraSource(0).close()
    source = open_source()
    source.close()
    source.close()
    source = open_source()
    read(source, sensor)
    sensor.breaks["close"] = RuntimeError("Closing failed")
    source.close()
    assert "could not be closed" in caplog.text
    assert sensor.handed_out == []
    del sensor.breaks["close"]
    pi.made[-1].close()


def test_is_back_does_not_ask_picamera2(pi: Pi) -> None:
    assert PicameraSource(0).is_back() is False
    assert pi.infos == 0


# ---- connected cameras


def test_the_cameras_are_listed_with_their_numbers_sizes_and_controls(pi: Pi, sensor: Sensor) -> None:
    pi.sensors += [Sensor("usb-cam", usb=True), Sensor("ov5647", focuses=False)]
    pi.sensors[2].is_taken = True
    before = count_descriptors()
    one, other = list_devices()
    assert (one.number, one.name, one.problem) == (0, "imx708", "")
    assert one.modes == (Mode(328, 246, 60), Mode(656, 492, 20))
    assert str(one.modes[1]) == "656x492 at 20/s"
    limits = {control.name: control.limits for control in one.controls}
    assert set(limits) == {*sensor.controls, *FLIPS}
    assert limits["AfMode"] == "Manual or Auto or Continuous"
    assert limits["AnalogueGain"] == "from 1.0 to 16.0"
    assert (other.number, other.name) == (2, "ov5647")
    assert "in use by another program" in other.problem
    assert not sensor.is_taken
    pi.made.clear()
    assert count_descriptors() == before


def test_a_camera_that_can_t_be_opened_is_listed_with_its_problem(
    pi: Pi, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.breaks["sensor_modes"] = RuntimeError("no modes")
    assert list_devices()[0].problem == "The camera can't be started. See the server's log."
    assert not sensor.is_taken
    monkeypatch.setitem(sys.modules, "libcamera", None)
    assert "sudo apt install python3-picamera2" in list_devices()[0].problem


# ---- with LiveCamera


class Live(LiveCamera):
    """A LiveCamera of camera number 0, with its reported losses."""

    def __init__(self, **options: Any) -> None:
        super().__init__(lambda: PicameraSource(0, **options), thresholds=Thresholds(warm_up=0), timeout=60)
        self.lost: list[CaptureError] = []

    async def start(self, sensor: Sensor) -> None:
        """Open the camera, and add its first frame."""
        opening = asyncio.create_task(self.open(self.lost.append))
        await expose_frame(sensor)
        await opening

    async def start_capture(self) -> "asyncio.Task[CapturedImage]":
        """Start a capture, and wait until it waits for its frame."""
        capture = asyncio.create_task(self.capture())
        await until(lambda: self._reader is not None and self._reader._request is not None)
        return capture


async def expose_frame(sensor: Sensor, *colour: int, age: float | None = None) -> dict[str, Any]:
    """Expose a frame once the previous one is read.

    Its exposure started `age` seconds ago, or just now.
    """
    await until(lambda: sensor.has_job)
    return sensor.expose(colour or GREY, exposure_start=None if age is None else time.monotonic() - age, lasts=0.0001)  # type: ignore[arg-type]


async def test_a_capture_gets_the_first_frame_exposed_after_its_request(pi: Pi, sensor: Sensor) -> None:
    camera = Live()
    await camera.start(sensor)
    capture = await camera.start_capture()
    await expose_frame(sensor, age=1)
    await expose_frame(sensor, age=0.5)
    fresh = await expose_frame(sensor, *GREEN)
    await expose_frame(sensor)
    captured = await capture
    assert captured.exposure_start == pytest.approx(fresh["SensorTimestamp"] / 1e9 - fresh["ExposureTime"] / 1e6)
    luma = measure(captured.data)[1][0]
    assert abs(luma - GREEN[0]) <= 2
    closing = asyncio.create_task(camera.close())
    await until(lambda: sensor.expose() is not None and closing.done())
    await closing


async def test_a_frame_whose_exposure_spans_the_request_is_not_fresh(pi: Pi, sensor: Sensor) -> None:
    camera = Live()
    await camera.start(sensor)
    began = time.monotonic()
    capture = await camera.start_capture()
    await until(lambda: sensor.has_job)
    # its timestamp is newer than the request
    sensor.expose((30, 128, 128), exposure_start=began, lasts=time.monotonic() - began)
    await expose_frame(sensor, *GREEN)
    await expose_frame(sensor)
    assert abs(measure((await capture).data)[1][0] - GREEN[0]) <= 2
    with sensor.running():
        await camera.close()


async def test_a_camera_without_frames_is_lost_and_can_be_opened_again(pi: Pi, sensor: Sensor) -> None:
    camera = Live()
    for turn in (1, 2):
        with sensor.running():
            await camera.open(camera.lost.append)
            await camera.capture()
        with pytest.raises(CameraOffline, match="ribbon cable"):
            await camera.capture()
        await until(lambda turn=turn: len(camera.lost) == turn)  # type: ignore[misc]
        await until(lambda: not sensor.is_taken)  # the source is closed after the loss is reported
        assert sensor.handed_out == []
    assert [error.message for error in camera.lost] == [camera.lost[0].message] * 2


async def test_a_hundred_captures_release_all_requests_and_lose_no_frame(pi: Pi, sensor: Sensor) -> None:
    camera = Live(resolution=(328, 246))
    before = count_descriptors()
    with sensor.running():
        await camera.open(camera.lost.append)
        pictures = {(await camera.capture()).exposure_start for _ in range(100)}
        await camera.close()
    assert len(pictures) == 100
    assert sensor.dropped == 0
    assert sensor.handed_out == []
    assert not sensor.is_taken
    pi.made.clear()
    sensor.camera = None
    assert count_descriptors() == before
    assert camera.lost == []


async def test_closing_during_a_read_closes_the_camera(pi: Pi, sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        live, "READER_CLOSE_TIMEOUT", 30.0
    )  # the reader ends when its read times out, after FROZEN_TIMEOUT
    camera = Live()
    await camera.start(sensor)
    await until(lambda: sensor.has_job)
    thread = camera._reader
    assert thread is not None
    await camera.close()
    assert not thread.is_alive()
    assert not sensor.is_taken
    assert sensor.handed_out == []
    assert camera.lost == []


async def test_the_setting_picamera_selects_this_driver(pi: Pi, sensor: Sensor, tmp_path: Path) -> None:
    settings = Settings(camera="picamera:0", resolution="328x246", controls={"hflip": True}, warm_up=0)
    camera = make_camera(settings, tmp_path)
    with sensor.running():
        await camera.open(lambda error: None)
        assert measure((await camera.capture()).data)[0] == (328, 246)
        assert pi.made[0].camera_config["transform"].hflip
        await camera.close()
