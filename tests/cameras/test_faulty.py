"""The camera that fails on purpose: parsing of its faults, and each fault."""

import io
import re
import time

import pytest
from PIL import Image, ImageStat

from dog.cameras.faulty import Faults, FaultyCard, FaultyDevice
from dog.errors import BadImage, CameraBusy, CameraOffline
from dog.images import inspect


def open_card(text: str) -> FaultyCard:
    card = FaultyCard(FaultyDevice(Faults.parse(text)))
    card.open()
    return card


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not a fault. Known are hang, slow, busy, dark, frozen, cut, dies, each alone or with a number"),
        ("cat", "'cat' is not a fault"),
        ("cut=", "'cut=' has no number. Write one such as cut=1"),
        ("cut=x", "'cut=x' has no number"),
        ("cut=1.5", "'cut=1.5' is out of range. Shares are from 0 to 1"),
        ("slow=-1", "'slow=-1' is out of range"),
        ("seed", "'seed' is not a fault"),
        ("cut=0.5,,seed=1", "'' is not a fault"),
        ("slow=nan", "'slow=nan' is out of range"),
    ],
)
def test_an_invalid_fault_is_refused_with_the_valid_ones(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        Faults.parse(text)
    assert str(caught.value).startswith(problem)


def test_a_fault_without_a_value_has_its_worst_one() -> None:
    faults = Faults.parse("cut, dies ,busy,slow,seed=3")
    assert (faults.cut, faults.dies, faults.busy, faults.slow, faults.seed) == (1, 0, float("inf"), 1, 3)
    assert (faults.dark, faults.frozen) == (0, 0)


def test_the_same_seed_gives_the_same_random_faults() -> None:
    def play(seed: int) -> list[tuple[bool, bool]]:
        card = open_card(f"dark=0.5,cut=0.5,seed={seed}")
        return [(frame.is_dark, frame.is_cut) for frame in (card.read(1) for _ in range(12))]

    one = play(1)
    assert play(1) == one
    assert play(2) != one
    assert {True, False} == {dark for dark, _ in one} == {cut for _, cut in one}


def test_a_dark_frame_is_black_and_a_cut_frame_is_cut_off() -> None:
    with Image.open(io.BytesIO(open_card("dark").read(1).image())) as image:
        assert max(ImageStat.Stat(image).mean) == 0
    with pytest.raises(BadImage, match="cut off"):
        inspect(open_card("cut").read(1).image())
    assert inspect(open_card("seed=1").read(1).image()).width == 1280


def test_a_frozen_camera_sends_equal_frames() -> None:
    card = open_card("frozen")
    frames = [card.read(1) for _ in range(3)]
    assert len({frame.raw for frame in frames}) == len({frame.image() for frame in frames}) == 1
    assert frames[0].exposure_start < frames[1].exposure_start < frames[2].exposure_start
    lively = open_card("seed=1")
    assert len({lively.read(1).raw for _ in range(3)}) == 3


def test_a_camera_that_dies_is_gone_for_a_while() -> None:
    card = open_card("dies=2,back=1")
    card.read(1)
    card.read(1)
    with pytest.raises(CameraOffline):
        card.read(1)
    assert not card.is_back()
    with pytest.raises(CameraOffline):
        card.open()
    until = time.monotonic() + 10
    while not card.is_back():
        assert time.monotonic() < until
        time.sleep(0.02)
    card.open()


def test_a_busy_camera_can_t_be_opened_until_the_other_program_ends() -> None:
    with pytest.raises(CameraBusy):
        open_card("busy")
    card = FaultyCard(FaultyDevice(Faults.parse("busy=0.1")))
    with pytest.raises(CameraBusy):
        card.open()
    time.sleep(0.15)
    card.open()
