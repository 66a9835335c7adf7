"""Fifty presses on each odd RTSP camera, over a minute."""

import pytest

from tests.support.odd_rtsp import CAMERAS, press
from tests.support.sources import make_odd_rtsp_cameras

pytest.importorskip("av")
pytestmark = pytest.mark.load


@pytest.mark.parametrize("name", CAMERAS)
async def test_fifty_photos_of_an_odd_camera_are_fresh_whole_and_dated(name: str) -> None:
    with make_odd_rtsp_cameras() as odd:
        await press(odd.port, CAMERAS[name], presses=50, pause=0.3)
