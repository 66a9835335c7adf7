"""The V4L2 driver without a device. tests/rig tests it with one."""

import os
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from dog.errors import CameraOffline

if sys.platform != "linux":
    pytest.skip("V4L2 is Linux's", allow_module_level=True)

from linuxpy.video import raw  # type: ignore[import-untyped]

from dog.cameras.v4l2 import (
    Control,
    Format,
    FormatChoice,
    Mode,
    V4l2Source,
    choose_format,
    find_exposure_start,
    list_devices,
    read_layout,
)


def rates(*values: float) -> tuple[Fraction, ...]:
    return tuple(Fraction(value).limit_denominator(1001) for value in values)


WEBCAM = [
    Format("YUYV", "YUYV 4:2:2", (Mode(640, 480, rates(30)), Mode(1920, 1080, rates(5)))),
    Format(
        "MJPG",
        "Motion-JPEG",
        (
            Mode(640, 480, rates(15, 30, 60)),
            Mode(1280, 720, rates(15, 30)),
            Mode(1920, 1080, (Fraction(30000, 1001),)),
            Mode(4096, 3072, rates(2)),
        ),
    ),
    Format("H264", "H.264"),
]
GRID = [
    Format(
        "YUYV",
        "YUYV 4:2:2",
        (
            Mode(640, 480, (Fraction(1), Fraction(90)), all_between=True),
            Mode(2592, 1944, (Fraction(1), Fraction(15)), all_between=True),
        ),
        (range(64, 2593, 16), range(48, 1945, 8)),
    )
]


# ---- choosing a format


def test_the_largest_jpeg_mode_that_is_fast_enough_is_chosen() -> None:
    assert choose_format(WEBCAM, None, None, None) == FormatChoice("MJPG", 1920, 1080, None)


def test_the_largest_mode_is_chosen_if_all_are_slow() -> None:
    slow = [Format("YUYV", "", (Mode(640, 480, rates(5)), Mode(1280, 720, rates(2))))]
    assert choose_format(slow, None, None, None) == FormatChoice("YUYV", 1280, 720, None)


def test_a_raw_format_is_chosen_if_jpeg_lacks_the_resolution() -> None:
    formats = [Format("MJPG", "", (Mode(1280, 720),)), Format("GREY", "", (Mode(640, 480),)), WEBCAM[0]]
    assert choose_format(formats, (640, 480), None, None) == FormatChoice("YUYV", 640, 480, None)


def test_a_format_is_chosen_by_its_name() -> None:
    assert choose_format(WEBCAM, (640, 480), None, "YUYV") == FormatChoice("YUYV", 640, 480, None)


def test_a_rate_is_matched_to_the_camera_s_exact_one() -> None:
    assert choose_format(WEBCAM, None, 30, None) == FormatChoice("MJPG", 1920, 1080, Fraction(30000, 1001))
    assert choose_format(WEBCAM, None, 60, None) == FormatChoice("MJPG", 640, 480, Fraction(60))
    assert choose_format(WEBCAM, None, 2, None) == FormatChoice("MJPG", 4096, 3072, Fraction(2))


def test_the_rate_is_set_even_if_the_camera_lists_none() -> None:
    assert choose_format([Format("MJPG", "", (Mode(640, 480),))], None, 7.5, None) == FormatChoice(
        "MJPG", 640, 480, Fraction(15, 2)
    )


def test_every_size_of_a_range_can_be_chosen() -> None:
    assert choose_format(GRID, None, None, None) == FormatChoice("YUYV", 2592, 1944, None)
    assert choose_format(GRID, (80, 56), None, None) == FormatChoice("YUYV", 80, 56, None)
    assert choose_format(GRID, (640, 480), 12.5, None) == FormatChoice("YUYV", 640, 480, Fraction(25, 2))
    with pytest.raises(CameraOffline, match="does not offer 81x56, but 640x480 at 90/s; 2592x1944 at 15/s"):
        choose_format(GRID, (81, 56), None, None)


@pytest.mark.parametrize(
    ("resolution", "frame_rate", "pixel_format", "words"),
    [
        (
            (800, 600),
            None,
            None,
            "800x600, but 640x480 at 60/s; 1280x720 at 30/s; 1920x1080 at 29.97/s; 4096x3072 at 2/s. Set",
        ),
        ((1920, 1080), 60, "MJPG", "does not offer 1920x1080 at 60 frames a second, but 1920x1080 at 29.97/s. Set"),
        (None, 100, "YUYV", "does not offer 100 frames a second, but 640x480 at 30/s; 1920x1080 at 5/s. Set"),
        (None, None, "NV12", "does not offer the format NV12. It offers: YUYV, MJPG."),
        (None, None, "H264", "does not offer the format H264. It offers: YUYV, MJPG."),
    ],
)
def test_an_unsupported_mode_is_refused_with_the_supported_ones(
    resolution: tuple[int, int] | None, frame_rate: float | None, pixel_format: str | None, words: str
) -> None:
    with pytest.raises(CameraOffline) as refusal:
        choose_format(WEBCAM, resolution, frame_rate, pixel_format)
    assert words in refusal.value.message


def test_a_camera_without_supported_formats_is_refused_with_its_formats() -> None:
    with pytest.raises(
        CameraOffline, match=r"does not offer the format MJPG or JPEG or YUYV or .*\. It offers: H264\."
    ):
        choose_format([WEBCAM[2]], None, None, None)


# ---- controls


NUMBER = Control("focus_absolute", "integer", 0, 250, 5, 0)
MENU = Control("auto_exposure", "menu", 0, 3, 1, 3, {1: "Manual Mode", 3: "Aperture Priority Mode"})
SWITCH = Control("white_balance_automatic", "boolean", 0, 1, 1, 1)
BUTTON = Control("pan_reset", "button", 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("control", "value", "number"),
    [
        (NUMBER, 0, 0),
        (NUMBER, 250, 250),
        (MENU, 1, 1),
        (MENU, "Manual Mode", 1),
        (MENU, "aperture_priority_mode", 3),
        (SWITCH, True, 1),
        (SWITCH, False, 0),
        (SWITCH, 1, 1),
        (BUTTON, True, 1),
    ],
)
def test_a_control_parses_its_values(control: Control, value: bool | int | str, number: int) -> None:
    assert control.parse(value) == number


@pytest.mark.parametrize(
    ("control", "value"),
    [
        (NUMBER, -5),
        (NUMBER, 255),
        (NUMBER, 7),
        (NUMBER, "far"),
        (MENU, 2),
        (MENU, "Manual"),
        (SWITCH, 2),
        (SWITCH, "on"),
        (BUTTON, False),
    ],
)
def test_a_control_refuses_other_values(control: Control, value: bool | int | str) -> None:
    with pytest.raises(ValueError, match=str(value)):
        control.parse(value)


def test_a_control_describes_its_limits() -> None:
    assert NUMBER.limits == "from 0 to 250 in steps of 5"
    assert MENU.limits == "1 (Manual Mode) or 3 (Aperture Priority Mode)"
    assert SWITCH.limits == "true or false"
    assert BUTTON.limits == "true"


# ---- the start of an exposure

MONOTONIC = raw.BufferFlag.TIMESTAMP_MONOTONIC
INTERVAL = 0.1


def begin(stamp: float, flags: int, last: float | None = None) -> float:
    return round(find_exposure_start(stamp, flags, last=last, interval=INTERVAL, empty_at=95.0, now=100.0), 6)


def test_a_timestamp_of_the_exposure_s_start_is_used() -> None:
    assert begin(99.5, MONOTONIC | raw.BufferFlag.TSTAMP_SRC_SOE) == 99.5


def test_a_timestamp_of_the_frame_s_end_is_one_interval_late() -> None:
    assert begin(99.5, MONOTONIC) == 99.4
    assert begin(99.5, MONOTONIC, last=99.42) == 99.4


def test_a_long_wait_for_a_frame_counts_as_a_long_exposure() -> None:
    assert begin(99.5, MONOTONIC, last=99.2) == 99.2


@pytest.mark.parametrize(
    ("stamp", "flags"),
    [
        (99.5, raw.BufferFlag.TIMESTAMP_UNKNOWN),
        (99.5, raw.BufferFlag.TIMESTAMP_COPY | raw.BufferFlag.TSTAMP_SRC_SOE),
        (1_700_000_000.0, MONOTONIC | raw.BufferFlag.TSTAMP_SRC_SOE),
        (0.0, MONOTONIC),
    ],
    ids=["unknown", "copied", "the wall clock's", "none"],
)
def test_without_a_usable_timestamp_a_frame_ended_after_the_queue_was_empty(stamp: float, flags: int) -> None:
    assert begin(stamp, flags) == 94.9


# ---- colours

SPACE, ENCODING, RANGE = raw.Colorspace, raw.YcbcrEncoding, raw.Quantization


@pytest.mark.parametrize(
    ("fourcc", "space", "encoding", "quantization", "limited", "bt709"),
    [
        ("YUYV", SPACE.SRGB, ENCODING.DEFAULT, RANGE.DEFAULT, True, False),
        ("YUYV", SPACE.SMPTE170M, ENCODING.DEFAULT, RANGE.DEFAULT, True, False),
        ("YUYV", SPACE.JPEG, ENCODING.DEFAULT, RANGE.DEFAULT, False, False),
        ("NV12", SPACE.REC709, ENCODING.DEFAULT, RANGE.DEFAULT, True, True),
        ("NV12", SPACE.REC709, ENCODING._601, RANGE.FULL_RANGE, False, False),
        ("NV12", SPACE.SRGB, ENCODING._709, RANGE.LIM_RANGE, True, True),
        ("RGB3", SPACE.SRGB, ENCODING.DEFAULT, RANGE.DEFAULT, False, False),
        ("BGR3", SPACE.SRGB, ENCODING.DEFAULT, RANGE.LIM_RANGE, True, False),
        ("GREY", SPACE.SRGB, ENCODING.DEFAULT, RANGE.DEFAULT, False, False),
    ],
)
def test_range_and_matrix_are_the_driver_s_or_the_kernel_s_defaults(
    fourcc: str, space: int, encoding: int, quantization: int, limited: bool, bt709: bool
) -> None:
    form = SimpleNamespace(
        pixelformat=raw.v4l2_fourcc(*fourcc),
        width=640,
        height=480,
        bytesperline=1280,
        colorspace=space,
        ycbcr_enc=encoding,
        quantization=quantization,
    )
    layout = read_layout(form)
    assert (layout.fourcc, layout.width, layout.height, layout.stride) == (fourcc, 640, 480, 1280)
    assert (layout.limited, layout.bt709) == (limited, bt709)


# ---- without a device


def open_source(path: Path | str) -> str:
    source = V4l2Source(str(path))
    with pytest.raises(CameraOffline) as refusal:
        source.open()
    source.close()
    source.close()  # a second call is harmless
    assert str(path) not in refusal.value.message  # viewers see the message
    assert str(path) in refusal.value.detail
    return refusal.value.message


def test_a_missing_device_is_offline_and_leaks_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    assert open_source(tmp_path / "video0").startswith("The camera is not there. Plug it in")
    assert open_source("/dev/null") == "The device is not a camera. Choose one that `dog cameras` lists."
    (tmp_path / "file").write_text("no camera")
    assert open_source(tmp_path / "file").startswith("The camera's path is not a device")
    assert os.listdir("/proc/self/fd") == before


def test_is_back_is_true_for_a_character_device(tmp_path: Path) -> None:
    source = V4l2Source(str(tmp_path / "camera"))
    assert not source.is_back()
    (tmp_path / "camera").touch()
    assert not source.is_back()
    (tmp_path / "camera").unlink()
    (tmp_path / "camera").symlink_to("/dev/null")
    assert source.is_back()


def test_without_cameras_the_list_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.cameras.v4l2.VIDEO4LINUX", tmp_path)
    assert list_devices() == []


def test_a_node_that_can_t_be_opened_is_listed_with_its_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in (0, 1):
        (tmp_path / f"video9{index}").mkdir()
        (tmp_path / f"video9{index}" / "index").write_text(f"{index}\n")
        (tmp_path / f"video9{index}" / "name").write_text("Soft Webcam\n")
    monkeypatch.setattr("dog.cameras.v4l2.VIDEO4LINUX", tmp_path)
    (device,) = list_devices()
    assert (device.node, device.name) == ("/dev/video90", "Soft Webcam")
    assert device.problem.startswith("The camera is not there")
