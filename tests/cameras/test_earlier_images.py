"""Detection of cameras that answer with the image of an earlier request."""

import io
import itertools
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw

from dog.cameras.earlier_images import BURST, count_earlier_images, find_jump
from dog.cameras.http import HttpSource
from dog.cli.check import check_cameras
from dog.settings import Settings
from tests.support.sources.odd_http_camera import OddHttpCamera, Request, make_head


class Clock:
    """A clock that only requests and pauses move."""

    now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class DelayedCamera:
    """A camera that answers with the image of `behind` requests ago."""

    def __init__(
        self, behind: int, clock: Clock, draw: Callable[[float], bytes], stamp: Callable[[float], str]
    ) -> None:
        self._behind = behind
        self._clock = clock
        self._draw = draw
        self._stamp = stamp
        self._taken: list[float] = []

    def __call__(self, _request: Request) -> bytes:
        self._clock.sleep(0.04)
        self._taken.append(self._clock.now)
        taken = self._taken[max(0, len(self._taken) - 1 - self._behind)]
        image = self._draw(taken)
        return make_head("Content-Type: image/jpeg", f"Content-Length: {len(image)}", self._stamp(taken)) + image


def draw_clock(taken: float) -> bytes:
    """Draw a noisy scene with a mark that moves between bursts."""
    image = Image.effect_noise((320, 240), 12).convert("L")
    x = int((taken - 1000) / 1.5) * 20 % 300
    ImageDraw.Draw(image).rectangle((x, 200, x + 6, 220), fill=255)
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def draw_nothing(_taken: float) -> bytes:
    return draw_clock(1000)


def no_stamp(_taken: float) -> str:
    return "X: y"


def uptime(taken: float) -> str:
    return f"X-Timestamp: {taken:.6f}"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Make the pauses short."""
    one = Clock()
    monkeypatch.setattr("dog.cameras.earlier_images.sleep", one.sleep)
    return one


@pytest.mark.parametrize(("draw", "stamp"), [(draw_nothing, uptime), (draw_clock, no_stamp)])
@pytest.mark.parametrize("behind", [0, 1, 2])
def test_earlier_images_are_counted(
    behind: int, draw: Callable[[float], bytes], stamp: Callable[[float], str], clock: Clock
) -> None:
    with OddHttpCamera(DelayedCamera(behind, clock, draw, stamp)) as camera:
        for discard in {0, behind}:
            source = HttpSource(f"http://127.0.0.1:{camera.port}/", discard=discard)
            source.open()
            assert count_earlier_images(source, 10) == behind - discard
            source.close()


def test_nothing_is_concluded_from_images_that_do_not_change(clock: Clock) -> None:
    with OddHttpCamera(DelayedCamera(1, clock, draw_nothing, no_stamp)) as camera:
        source = HttpSource(f"http://127.0.0.1:{camera.port}/")
        source.open()
        assert count_earlier_images(source, 10) == 0
        source.close()


@pytest.mark.parametrize(
    ("changes", "index"),
    [
        ([1, 1, 1, 50, 1, 1, 1], 0),
        ([1, 1, 1, 1, 50, 1, 1], 1),
        ([1, 0, 2, 1, 1, 1, 50], 3),
        ([50, 1, 1, 1, 1, 1, 1], 0),
        ([1, 1, 1, 40, 50, 1, 1], 0),
        ([1, 1, 1, 1, 9, 1, 1], 0),
        ([20, 20, 20, 20, 50, 20, 20], 0),
        ([0] * 7, 0),
    ],
)
def test_only_one_large_change_counts(changes: list[float], index: int) -> None:
    assert len(changes) == 2 * BURST - 1
    assert find_jump(changes, 10) == index


@pytest.mark.documented(
    "HTTP camera that sends earlier images without times",
    "`discard` drops them; `dog check` prints the line for dog.toml",
)
async def test_check_prints_the_line_for_such_a_camera(clock: Clock) -> None:
    with OddHttpCamera(DelayedCamera(1, clock, draw_nothing, uptime)) as camera:
        settings = Settings(camera=f"http://127.0.0.1:{camera.port}/", frozen=False)
        checked = [one async for one in check_cameras(settings)]
        assert [one.suggestion for one in checked] == ["discard = 1"]
        settings = Settings(camera=f"http://127.0.0.1:{camera.port}/", frozen=False, discard=1)
        assert [one.suggestion async for one in check_cameras(settings)] == [""]


async def test_a_damaged_image_after_the_test_photo_ends_the_check_without_a_suggestion() -> None:
    numbers = itertools.count()

    def answer(_request: Request) -> bytes:
        image = draw_nothing(0)
        if next(numbers) > 3:
            image = image[:300] + b"\xff\xd9"
        return make_head("Content-Type: image/jpeg", f"Content-Length: {len(image)}") + image

    with OddHttpCamera(answer) as camera:
        settings = Settings(camera=f"http://127.0.0.1:{camera.port}/", frozen=False)
        checked = [one async for one in check_cameras(settings)]
    assert [(one.image is not None, one.suggestion) for one in checked] == [(True, "")]
