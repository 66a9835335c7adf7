"""The test card: a driver that draws a clock, for use without a camera.

Each capture is a new image of 1280 x 720 pixels with the time in UTC and a counter, so that no two are equal. The
background is drawn once, twice as large and then scaled down, which smooths the edges; a capture only draws the digits.
It can be measured: the colour bars are at 75 %, the grey steps are even, the gratings have 8 to 2 pixels per pair of
lines, and the circle is round if pixels are square.
"""

import datetime as dt
import functools
import io
import math
import time
from collections.abc import Callable, Iterable

from PIL import Image, ImageDraw, ImageFont

from dog.cameras.frame_selection import Frame, ImageFrame

__all__ = ["SIZE", "TestCard"]

SIZE = (1280, 720)
"""Pixels."""

COUNTER_LIMIT = 1_000_000
"""The counter has six digits, and then restarts."""

IMAGE_FORMATS = {
    "jpg": ("JPEG", {"quality": 90}),
    "jpeg": ("JPEG", {"quality": 90}),
    "png": ("PNG", {"compress_level": 1}),
    "webp": ("WEBP", {"quality": 90}),
}


class TestCard:
    """A source of test cards in a Pillow format. `clock` returns aware times."""

    __test__ = False  # not a test, although pytest would think so by its name
    streams = False
    settles = False

    def __init__(self, *, image_type: str = "jpg", clock: Callable[[], dt.datetime] | None = None) -> None:
        self._format, self._options = IMAGE_FORMATS[image_type]
        self._clock = clock or functools.partial(dt.datetime.now, dt.UTC)
        self._captures = 0
        self._card: _Card | None = None

    def open(self) -> None:
        """Do nothing: the test card is always there."""

    def read(self, _timeout: float) -> Frame:
        if self._card is None:
            self._card = _Card()
        began = time.monotonic()
        self._captures = (self._captures + 1) % COUNTER_LIMIT
        file = io.BytesIO()
        self._card.image(self._clock(), self._captures).save(file, self._format, **self._options)
        return ImageFrame(file.getvalue(), began)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def is_back(self) -> bool:
        return False


INK, PAPER, SLATE, LINE, ACCENT, GOLD = "#101216", "#f5f2ea", "#3b4048", "#c9ced6", "#e4572e", "#f2c14e"
FUR, EAR, CREAM, EYE, TONGUE, SKY, GRASS = "#d99a5b", "#8a5a33", "#fbeedb", "#2b1d14", "#e8788a", "#8ecae6", "#7fb069"

BARS = ("#bfbfbf", "#bfbf00", "#00bfbf", "#00bf00", "#bf00bf", "#bf0000", "#0000bf")
"""White, yellow, cyan, green, magenta, red and blue at 75 % of full, 191 of 255."""

GRATINGS = (8, 6, 4, 3, 2)
"""Pixels per pair of lines."""

CELL = 40
"""Pixels of a grid cell. It divides both sides of the card."""

MIDDLE, CENTRE, RADIUS = 640, 360, 310
"""The circle's centre and radius, in pixels."""


class _Card:
    """The card's background, and drawing of the digits."""

    def __init__(self) -> None:
        self._background = _draw_card()
        self._large = ImageFont.load_default(size=58)
        self._small = ImageFont.load_default(size=24)

    def image(self, moment: dt.datetime, count: int) -> Image.Image:
        image = self._background.copy()
        pen = ImageDraw.Draw(image)
        utc = moment.astimezone(dt.UTC)
        time, date = f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03}", f"{utc:%Y-%m-%d} UTC"
        for x, digits, below, colour in ((510, time, date, "white"), (838, f"{count:06}", "frame", GOLD)):
            pen.text((x, 562), digits, colour, self._large, "mm", stroke_width=1, stroke_fill=colour)
            pen.text((x, 615), below, LINE, self._small, "mm")
        return image


class _Pen:
    """A pen in the card's pixels, on an image that is `scale` times as large."""

    def __init__(self, scale: int, colour: str) -> None:
        self.scale = scale
        self.image = Image.new("RGB", (SIZE[0] * scale, SIZE[1] * scale), colour)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Return the corners for Pillow, whose shapes include the last pixel."""
        return x0 * self.scale, y0 * self.scale, x1 * self.scale - 1, y1 * self.scale - 1

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        self._draw.rectangle(self.box(x0, y0, x1, y1), colour)

    def plate(self, x0: float, y0: float, x1: float, y1: float, round_by: float, fill: str, edge: float = 0) -> None:
        width = round(edge * self.scale)
        self._draw.rounded_rectangle(self.box(x0, y0, x1, y1), round_by * self.scale, fill, "white", width)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: str, turned: float = 0.0) -> None:
        """Draw an ellipse around (x, y), turned clockwise by `turned` degrees."""
        angle = math.radians(turned)
        cos, sin = math.cos(angle), math.sin(angle)
        steps = [(rx * math.cos(t), ry * math.sin(t)) for t in (k * math.tau / 240 for k in range(240))]
        self.polygon([(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in steps], colour)

    def ring(self, x: float, y: float, radius: float, width: float) -> None:
        corners = self.box(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(corners, outline="white", width=round(width * self.scale))

    def wedge(self, x: float, y: float, radius: float, start: float, end: float, colour: str) -> None:
        self._draw.pieslice(self.box(x - radius, y - radius, x + radius, y + radius), start, end, colour)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, colour: str, width: float
    ) -> None:
        corners = self.box(x - rx, y - ry, x + rx, y + ry)
        self._draw.arc(corners, start, end, colour, round(width * self.scale))

    def polygon(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        self._draw.polygon([(x * self.scale, y * self.scale) for x, y in points], colour)

    def text(self, x: float, y: float, text: str, size: float, colour: str, bold: float = 0) -> None:
        font = ImageFont.load_default(size=size * self.scale)
        stroke = bold * self.scale
        at = (x * self.scale, y * self.scale)
        self._draw.text(at, text, colour, font, "mm", stroke_width=stroke, stroke_fill=colour)


def _draw_card() -> Image.Image:
    """Draw the background, which is the same in all captures."""
    pen = _Pen(2, SLATE)
    _draw_grid(pen)
    for x in (160, 1120):
        for y in (160, 560):
            _draw_star(pen, x, y)
    _draw_greys(pen)

    inside, mask = _Pen(pen.scale, INK), _Pen(pen.scale, "black")
    _draw_circle(inside)
    mask.ellipse(MIDDLE, CENTRE, RADIUS, RADIUS, "white")
    pen.image.paste(inside.image, (0, 0), mask.image.convert("L"))
    pen.ring(MIDDLE, CENTRE, RADIUS + 4, 5)

    _draw_dog(pen)
    pen.plate(320, 510, 960, 642, 22, INK, edge=3)
    return pen.image.resize(SIZE, Image.Resampling.LANCZOS)


def _draw_grid(pen: _Pen) -> None:
    """Draw the grid, and blocks at the edges that show if anything is cut off."""
    width, height = SIZE
    for x in range(0, width + 1, CELL):
        pen.rectangle(x - 1, 0, x + 1, height, LINE)
    for y in range(0, height + 1, CELL):
        pen.rectangle(0, y - 1, width, y + 1, LINE)
    for x in range(0, width, CELL):
        colour = ("white", INK)[x // CELL % 2]
        pen.rectangle(x, 0, x + CELL, CELL / 2, colour)
        pen.rectangle(width - x - CELL, height - CELL / 2, width - x, height, colour)
    for y in range(0, height, CELL):
        colour = ("white", INK)[y // CELL % 2]
        pen.rectangle(0, y, CELL / 2, y + CELL, colour)
        pen.rectangle(width - CELL / 2, height - y - CELL, width, height - y, colour)


def _draw_star(pen: _Pen, x: float, y: float) -> None:
    """Draw a star of 36 rays, which shows the resolution."""
    pen.ellipse(x, y, 94, 94, "white")
    for ray in range(36):
        pen.wedge(x, y, 88, ray * 10, ray * 10 + 5, INK)
    pen.ellipse(x, y, 6, 6, ACCENT)


def _draw_greys(pen: _Pen) -> None:
    """Draw twelve even grey steps from left to right, behind the circle."""
    for step in range(12):
        x = 60 + 40 * step if step < 6 else 980 + 40 * (step - 6)
        grey = round(255 * step / 11)
        pen.rectangle(x, 320, x + 40, 400, f"#{grey:02x}{grey:02x}{grey:02x}")


def _draw_circle(pen: _Pen) -> None:
    """Draw the inside of the circle, which is cut to its shape later."""
    left, right = MIDDLE - RADIUS, MIDDLE + RADIUS
    pen.rectangle(left, 40, right, 110, PAPER)
    pen.text(MIDDLE, 82, "D.O.G.", 42, INK, bold=0.7)
    for place, colour in enumerate(BARS):
        width = 2 * RADIUS / len(BARS)
        pen.rectangle(left + place * width, 110, left + (place + 1) * width, 210, colour)
    pen.rectangle(left, 210, right, 510, SKY)
    pen.ellipse(MIDDLE, 520, 330, 180, GRASS)
    for row, pair in enumerate(GRATINGS):
        for x in (left, right - 120):
            _draw_grating(pen, x, 210 + 48 * row, 120, 48, pair)
    pen.text(MIDDLE, 656, "test card", 20, INK)


def _draw_grating(pen: _Pen, x: float, y: float, width: int, height: float, pair: int) -> None:
    pen.rectangle(x, y, x + width, y + height, INK)
    for line in range(width // pair):
        pen.rectangle(x + line * pair, y, x + line * pair + pair / 2, y + height, "white")


def _draw_dog(pen: _Pen) -> None:
    """Draw the dog, which rests on the plate with the digits."""
    x = MIDDLE
    pen.ellipse(x, 474, 122, 84, FUR)
    pen.ellipse(x, 476, 62, 70, CREAM)
    pen.ellipse(x, 335, 92, 88, FUR)
    pen.polygon([(x - 10, 250), (x + 10, 250), (x + 22, 340), (x - 22, 340)], CREAM)
    pen.ellipse(x, 250, 11, 6, CREAM)
    for side in (-1, 1):
        pen.ellipse(x + 92 * side, 322, 30, 66, EAR, turned=-16 * side)
        pen.ellipse(x + 28 * side, 374, 40, 36, CREAM)
    pen.ellipse(x, 352, 30, 30, CREAM)

    pen.ellipse(x, 405, 17, 29, TONGUE)
    pen.rectangle(x - 1, 398, x + 1, 424, "#c95a6e")
    pen.ellipse(x, 380, 30, 16, CREAM)
    for side in (-1, 1):
        pen.arc(x + 17 * side, 384, 18, 16, 10, 170, EYE, 4)
    pen.rectangle(x - 2, 360, x + 2, 390, EYE)
    pen.ellipse(x, 354, 20, 14, EYE)
    pen.ellipse(x - 6, 349, 5, 3, "#8c7b70")

    for side in (-1, 1):
        pen.ellipse(x + 38 * side, 318, 13, 15, EYE)
        pen.ellipse(x + 38 * side - 4, 312, 4.5, 5, "white")
        pen.ellipse(x + 38 * side, 293, 12, 4, EAR, turned=14 * side)

    pen.arc(x, 414, 88, 42, 28, 152, ACCENT, 14)
    pen.ellipse(x, 464, 16, 16, GOLD)
    pen.text(x, 465, "D", 18, "#5a3d0c", bold=0.5)
