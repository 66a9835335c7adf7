"""FrameSelector, with frames and times as plain values.

Captures are requested at 100 s, unless a test names another time.
"""

import random

import pytest
from PIL import Image

from dog.cameras import CapturedImage
from dog.cameras.frame_selection import (
    ExposureSettling,
    FrameInspector,
    FrameSearch,
    FrameSelector,
    ImageFrame,
    Thresholds,
)
from dog.cameras.network_timestamps import UNKNOWN_START
from dog.errors import BadImage, CameraFault, CameraTimeout, UnsupportedImage
from tests.support.pictures import draw, encode

NO_END_BYTES = 2
"""Bytes of a JPEG's end marker."""
BLACK = encode(Image.new("L", (96, 64), 5))
CUT_OFF = encode(draw(96, 64, seed=9))[:-40]


def make_grey(level: int) -> bytes:
    return encode(Image.new("L", (96, 64), level))


def make_noise(lowest: int, seed: int, width: int = 200, kind: str = "JPEG") -> bytes:
    """Make an image with much detail, whose mean is `lowest` + 50."""
    noise = Image.frombytes("L", (width, 200), random.Random(seed).randbytes(width * 200))
    return encode(noise.point([lowest + grey * 100 // 255 for grey in range(256)]), kind, quality=90)


class Selecting:
    """A selector of the frames of this source, and the present search."""

    def __init__(self, *, streams: bool = True, settles: bool = False, **thresholds: float) -> None:
        self.selector = FrameSelector(Thresholds(**thresholds))  # type: ignore[arg-type]
        self.selector.start(streams=streams, settles=settles)
        self.search: FrameSearch | None = None

    def request(self, now: float = 100.0, timeout: float = 8.0) -> None:
        self.search = self.selector.start_search(now, timeout)

    def add(self, data: bytes, now: float, *, exposed_at: float | None = None) -> CapturedImage | None:
        """Add a frame, by default one whose exposure starts at `now`."""
        frame = ImageFrame(data, now if exposed_at is None else exposed_at)
        return self.selector.add(frame, self.search, now)

    def capture(self, data: bytes, now: float) -> tuple[str, int, tuple[str, ...]]:
        """Add a frame, which is returned. Return verdict, retaken and found."""
        captured = self.add(data, now)
        assert captured is not None
        assert captured.data == data
        assert captured.quality is not None
        return captured.quality.verdict, captured.quality.retaken, captured.quality.found

    def measure(self, data: bytes, now: float) -> float:
        """Add a frame, which is returned. Return its brightness."""
        captured = self.add(data, now)
        assert captured is not None
        assert captured.quality is not None
        assert captured.quality.brightness is not None
        return captured.quality.brightness


def start(*, retake: float = 2.0) -> Selecting:
    """Start a stream with one frame before the request at 100 s."""
    selecting = Selecting(retake=retake)
    assert selecting.add(make_grey(60), 99.0) is None
    selecting.request()
    return selecting


# ---- fresh


def test_a_frame_exposed_before_the_request_is_not_returned() -> None:
    selecting = start()
    assert selecting.add(make_grey(110), 100.4, exposed_at=99.999) is None
    captured = selecting.add(make_grey(120), 100.6, exposed_at=100.0)
    assert captured is not None
    assert (captured.data, captured.exposure_start) == (make_grey(120), 100.0)


def test_no_frame_is_returned_without_a_search() -> None:
    selecting = Selecting()
    assert [selecting.add(make_grey(level), 100.0 + level) for level in (50, 70, 90)] == [None, None, None]


def test_old_frames_alone_fail_at_the_time_limit() -> None:
    selecting = start()
    assert selecting.add(make_grey(110), 107.99, exposed_at=99.5) is None
    with pytest.raises(CameraTimeout, match="older than the press"):
        selecting.add(make_grey(120), 108.0, exposed_at=99.6)


def test_frames_of_unknown_age_are_not_called_old() -> None:
    selecting = start()
    assert selecting.add(make_grey(110), 107.99, exposed_at=UNKNOWN_START) is None
    with pytest.raises(CameraTimeout, match="too few frames, or too irregularly, to tell how old they are"):
        selecting.add(make_grey(120), 108.0, exposed_at=UNKNOWN_START)


def test_a_fresh_frame_is_returned_even_after_the_time_limit() -> None:
    assert start().capture(make_grey(75), 109.0) == ("good", 0, ())


# ---- damaged


def test_damaged_frames_are_counted_and_left_out() -> None:
    selecting = start()
    assert [selecting.add(CUT_OFF, 100.0 + turn) for turn in range(1, 6)] == [None] * 5
    assert selecting.capture(make_grey(75), 107.0) == ("good", 5, ("damaged",))


def test_a_damaged_frame_at_the_time_limit_fails_with_the_number_of_frames() -> None:
    selecting = start()
    assert [selecting.add(CUT_OFF, now) for now in (101.0, 107.99)] == [None, None]
    with pytest.raises(BadImage) as failed:
        selecting.add(CUT_OFF, 108.0)
    assert failed.value.detail.startswith("3 frames were rejected; ")


def test_one_frame_of_a_wrong_kind_is_skipped_and_two_fail_at_once() -> None:
    """A damaged header may name 12 bits, but not twice in a row."""
    deep = bytearray(make_grey(90))
    deep[deep.index(b"\xff\xc0") + 4] = 12
    selecting = start()
    assert selecting.add(bytes(deep), 101.0) is None
    assert selecting.capture(make_grey(75), 101.2) == ("good", 1, ("damaged",))
    selecting = start()
    assert selecting.add(bytes(deep), 101.0) is None
    with pytest.raises(UnsupportedImage, match="12 bits"):
        selecting.add(bytes(deep), 101.2)


def test_a_jpeg_without_its_end_marker_is_returned_with_one() -> None:
    whole = encode(draw(96, 64, seed=4))
    captured = start().add(whole[:-NO_END_BYTES], 101.0)
    assert captured is not None
    assert captured.data == whole


# ---- black


def test_a_black_frame_waits_for_a_brighter_one_until_the_retake_limit() -> None:
    selecting = start(retake=3.0)
    assert [selecting.add(BLACK, now) for now in (100.5, 102.99)] == [None, None]
    assert selecting.capture(make_grey(75), 102.995) == ("good", 2, ("black",))


def test_a_black_frame_at_the_retake_limit_is_returned_with_its_verdict() -> None:
    selecting = start(retake=3.0)
    assert selecting.add(BLACK, 102.99) is None
    assert selecting.capture(BLACK, 103.0) == ("black", 1, ("black",))


def test_the_retake_limit_is_never_after_the_time_limit() -> None:
    selecting = Selecting(retake=30.0)
    selecting.add(make_grey(60), 99.0)
    selecting.request(timeout=1.5)
    assert selecting.add(BLACK, 101.49) is None
    assert selecting.capture(BLACK, 101.5) == ("black", 1, ("black",))


@pytest.mark.parametrize(("black_level", "is_black"), [(0.1, False), (0.15, True)])
def test_black_level_is_the_brightness_of_the_brightest_black_pixel(black_level: float, is_black: bool) -> None:
    assert FrameInspector(Thresholds(black_level=black_level)).inspect(make_grey(35)).is_black == is_black


@pytest.mark.parametrize(("lit_rows", "is_black"), [(1, True), (2, True), (3, False)])
def test_a_frame_is_black_if_98_percent_of_its_pixels_are(lit_rows: int, is_black: bool) -> None:
    image = Image.new("L", (64, 100), 3)
    image.paste(250, (0, 0, 64, lit_rows))
    stats = FrameInspector(Thresholds()).inspect(encode(image, "PNG"))
    assert stats.is_black == is_black
    assert stats.brightness == pytest.approx((lit_rows * 250 + (100 - lit_rows) * 3) / 100 / 255)


# ---- frozen


def test_a_frame_equal_to_the_previous_one_waits_for_a_change() -> None:
    selecting = start(retake=3.0)
    assert [selecting.add(make_grey(60), now) for now in (100.5, 102.99)] == [None, None]
    assert selecting.capture(make_grey(61), 103.5) == ("good", 2, ("frozen",))


def test_a_stream_that_is_frozen_until_the_retake_limit_fails() -> None:
    selecting = start(retake=3.0)
    assert selecting.add(make_grey(60), 102.99) is None
    with pytest.raises(CameraFault, match="is frozen"):
        selecting.add(make_grey(60), 103.0)


def test_the_first_frame_of_a_stream_is_only_compared() -> None:
    selecting = Selecting()
    selecting.request()
    assert selecting.add(make_grey(75), 101.0) is None
    assert selecting.capture(make_grey(76), 101.2) == ("good", 0, ())


def test_without_the_check_equal_frames_and_the_first_frame_are_returned() -> None:
    selecting = Selecting(frozen=False)
    selecting.request()
    assert selecting.capture(make_grey(75), 101.0) == ("good", 0, ())
    assert selecting.capture(make_grey(75), 101.2) == ("good", 0, ())


def test_equal_black_frames_are_a_dark_room_and_not_a_frozen_camera() -> None:
    selecting = start(retake=3.0)
    assert selecting.add(BLACK, 101.0) is None
    assert selecting.capture(BLACK, 104.0) == ("black", 1, ("black",))


def test_each_fault_is_reported_once_in_the_order_of_its_first_frame() -> None:
    selecting = start()
    frames = (BLACK, CUT_OFF, BLACK, make_grey(90)[:-20], CUT_OFF)
    assert [selecting.add(data, 100.1) for data in frames] == [None] * 5
    selecting.search = None
    assert selecting.add(make_grey(60), 100.2) is None
    selecting.request(100.3)
    assert selecting.add(make_grey(60), 100.4) is None
    assert [selecting.add(data, 100.5) for data in (CUT_OFF, BLACK, BLACK, CUT_OFF)] == [None] * 4
    assert selecting.capture(make_grey(75), 100.6) == ("good", 5, ("frozen", "damaged", "black"))


# ---- similar to the preceding frame


def brightness_after(preceding: bytes, data: bytes, **source: bool) -> float:
    """Return the reported brightness of a fresh frame after a preceding one."""
    selecting = Selecting(**source)
    selecting.request()
    assert selecting.add(preceding, 100.1, exposed_at=99.9) is None
    return selecting.measure(data, 100.2)


def test_a_frame_similar_to_a_good_preceding_one_is_not_measured_again() -> None:
    bright, dim = make_noise(140, seed=1), make_noise(30, seed=2)
    assert brightness_after(bright, dim) == pytest.approx(190 / 255, abs=0.02)


@pytest.mark.parametrize(
    ("preceding", "data"),
    [
        pytest.param(make_noise(140, seed=1), make_noise(30, seed=2, width=120), id="less than 16 KiB"),
        pytest.param(make_noise(140, seed=1, width=500), make_noise(30, seed=2), id="less than half"),
        pytest.param(make_noise(140, seed=1), make_noise(30, seed=2, kind="PNG"), id="no JPEG"),
        pytest.param(make_noise(140, seed=1)[:-400], make_noise(30, seed=2), id="after a damaged one"),
        pytest.param(BLACK, make_noise(30, seed=2), id="after a black one"),
    ],
)
def test_any_other_frame_is_measured(preceding: bytes, data: bytes) -> None:
    assert brightness_after(preceding, data) == pytest.approx(80 / 255, abs=0.02)


def test_a_frame_after_a_damaged_fresh_one_is_measured() -> None:
    selecting = Selecting()
    selecting.request()
    assert selecting.add(make_noise(140, seed=1), 100.1, exposed_at=99.9) is None
    assert selecting.add(make_noise(140, seed=3)[:-400], 100.2) is None
    assert selecting.measure(make_noise(30, seed=2), 100.3) == pytest.approx(80 / 255, abs=0.02)


# ---- settling exposure


def test_an_exposure_has_settled_after_four_frames_within_two_percent() -> None:
    settling = ExposureSettling()
    brightness = (0.2, 0.5, 0.505, 0.5, 0.52, 0.525, 0.53, 0.535)
    assert [settling.add_frame(one) for one in brightness] == [False] * 7 + [True]


def test_the_slow_drift_of_a_settled_exposure_is_not_a_change() -> None:
    settling = ExposureSettling()
    assert [settling.add_frame(0.4 * 1.015**turn) for turn in range(6)] == [False] * 3 + [True] * 3


def test_no_frame_is_returned_before_the_exposure_has_settled() -> None:
    selecting = Selecting(settles=True, warm_up=50.0)
    selecting.add(make_grey(30), 99.0)
    selecting.request()
    for number, level in enumerate((55, 95, 130, 130, 131)):
        assert selecting.add(make_grey(level), 100.1 + number / 10) is None, level
    assert selecting.capture(make_grey(132), 100.7) == ("good", 0, ())
    # From then on, a change is not waited for.
    assert selecting.capture(make_grey(40), 100.8) == ("good", 0, ())


def test_an_exposure_that_settled_before_the_request_delays_nothing() -> None:
    selecting = Selecting(settles=True, warm_up=50.0)
    for number in range(4):
        selecting.add(make_grey(90 + number % 2), 95.0 + number)
    selecting.request()
    assert selecting.capture(make_grey(180), 100.1) == ("good", 0, ())


def test_warm_up_limits_the_settling_from_the_first_frame_on() -> None:
    selecting = Selecting(settles=True, warm_up=4.0)
    selecting.add(make_grey(30), 97.0)
    selecting.request()
    assert selecting.add(make_grey(200), 100.99) is None
    assert selecting.capture(make_grey(30), 101.0) == ("good", 0, ())


def test_damaged_frames_do_not_settle_an_exposure() -> None:
    selecting = Selecting(settles=True, warm_up=4.0)
    selecting.request()
    for number in range(8):
        assert selecting.add(CUT_OFF, 100.1 + number / 10) is None
    for number in range(3):
        assert selecting.add(make_grey(110 + number), 101.0 + number / 10) is None
    assert selecting.capture(make_grey(113), 101.4) == ("good", 0, ())


# ---- sources that do not stream


def test_a_source_without_a_stream_needs_no_earlier_frame() -> None:
    selecting = Selecting(streams=False)
    selecting.request()
    assert selecting.capture(make_grey(75), 100.1) == ("good", 0, ())


def test_a_source_without_a_stream_is_frozen_if_it_repeats_its_last_image() -> None:
    selecting = Selecting(streams=False, retake=3.0)
    selecting.request()
    assert selecting.capture(make_grey(75), 100.1) == ("good", 0, ())
    selecting.request(200.0)
    assert selecting.add(make_grey(75), 200.1) is None
    assert selecting.capture(make_grey(77), 200.2) == ("good", 1, ("frozen",))
    selecting.request(300.0)
    with pytest.raises(CameraFault, match="is frozen"):
        selecting.add(make_grey(77), 303.0)


def test_each_image_of_a_source_without_a_stream_is_measured() -> None:
    measured = brightness_after(make_noise(140, seed=1), make_noise(30, seed=2), streams=False)
    assert measured == pytest.approx(80 / 255, abs=0.02)
