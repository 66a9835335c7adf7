"""Odd RTSP cameras, with real sockets. tests/load presses longer."""

from collections.abc import Iterator

import pytest

from tests.support.odd_rtsp import CAMERAS, press
from tests.support.sources import SourceProcess, make_odd_rtsp_cameras

pytest.importorskip("av")


@pytest.fixture(scope="module")
def odd() -> Iterator[SourceProcess]:
    with make_odd_rtsp_cameras() as cameras:
        yield cameras


@pytest.mark.parametrize("name", CAMERAS)
async def test_each_photo_of_an_odd_camera_is_fresh_whole_and_dated(name: str, odd: SourceProcess) -> None:
    await press(odd.port, CAMERAS[name], presses=3, pause=0.05)
