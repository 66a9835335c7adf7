"""The test card: its image, measured."""

import datetime as dt
import io
import itertools

import pytest
from PIL import Image, ImageChops

from dog.cameras.source import Source
from dog.cameras.test_card import SIZE, TestCard

DIGITS = (330, 520, 950, 635)
"""The area of everything that changes, in pixels."""


def at_noon() -> dt.datetime:
    return dt.datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=dt.UTC)


def draw(card: TestCard) -> bytes:
    return card.read(0).image()


def take(card: TestCard) -> Image.Image:
    with Image.open(io.BytesIO(draw(card))) as image:
        image.load()
        return image.convert("RGB")


def changed(one: Image.Image, other: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the bounding box of all differences not due to compression."""
    return ImageChops.difference(one, other).convert("L").point(lambda v: 255 if v > 24 else 0).getbbox()


def test_the_test_card_is_a_source_of_complete_jpegs() -> None:
    source: Source = TestCard()
    source.open()
    data = source.read(0).image()
    source.close()
    assert data.startswith(b"\xff\xd8")
    assert data.endswith(b"\xff\xd9")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", SIZE)


@pytest.mark.parametrize(("image_type", "kind"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_the_test_card_has_the_image_type_of_the_setting(image_type: str, kind: str) -> None:
    card = TestCard(image_type=image_type)
    with Image.open(io.BytesIO(draw(card))) as image:
        assert (image.format, image.size) == (kind, SIZE)


def test_two_captures_at_the_same_moment_differ_by_their_counter_alone() -> None:
    card = TestCard(clock=at_noon)
    one, two = take(card), take(card)
    box = changed(one, two)
    assert box is not None
    left, top, right, bottom = box
    assert left > 900  # the last digit
    assert right < DIGITS[2]
    assert DIGITS[1] < top < bottom < DIGITS[3]


def test_the_test_card_shows_the_time_in_utc_with_milliseconds() -> None:
    moments = [
        at_noon(),
        at_noon().astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30))),
        at_noon() + dt.timedelta(milliseconds=1),
    ]
    pictures = []
    for moment in moments:
        card = TestCard(clock=lambda moment=moment: moment)  # type: ignore[misc]
        pictures.append(take(card))
    same, elsewhere, later = pictures
    assert changed(same, elsewhere) is None
    box = changed(same, later)
    assert box is not None
    assert box[0] > 600
    assert box[2] < 700


def test_only_the_digits_of_the_test_card_change() -> None:
    moments = iter([at_noon(), at_noon() + dt.timedelta(days=200, hours=7, minutes=33, seconds=48, milliseconds=567)])
    card = TestCard(clock=lambda: next(moments))
    box = changed(take(card), take(card))
    assert box is not None
    assert box[0] > DIGITS[0]
    assert box[1] > DIGITS[1]
    assert box[2] < DIGITS[2]
    assert box[3] < DIGITS[3]


def test_the_colour_bars_have_their_colours_and_the_greys_rise_evenly() -> None:
    card = TestCard(image_type="png")
    image = take(card)
    bars = [image.getpixel((330 + round((place + 0.5) * 620 / 7), 190)) for place in range(1, 6)]  # those not cut
    yellow, cyan, green, magenta, red = (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0)
    assert bars == [yellow, cyan, green, magenta, red]
    greys = [image.getpixel((x, 360)) for x in (*range(80, 300, 40), *range(1000, 1220, 40))]
    levels = [grey[0] for grey in greys if isinstance(grey, tuple) and len(set(grey)) == 1]
    assert len(levels) == 12
    assert (levels[0], levels[-1]) == (0, 255)
    assert {b - a for a, b in itertools.pairwise(levels)} == {23, 24}


def test_the_gratings_have_their_stated_widths() -> None:
    """Count lines in the left column, by their falling edges.

    The column is away from the circle's edge.
    """
    card = TestCard(image_type="png")
    image = take(card).convert("L")
    for row, pair in enumerate((8, 6, 4)):
        line = [image.getpixel((x, 234 + 48 * row)) for x in range(354, 450)]
        edges = sum(a > 128 >= b for a, b in itertools.pairwise(line))  # type: ignore[operator]
        assert abs(edges - 96 / pair) <= 1
