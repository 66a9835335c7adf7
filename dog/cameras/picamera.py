"""Raspberry Pi cameras, through Picamera2 (package python3-picamera2).

Written from its manual and its source, and tested against a stand-in; it has not run on a Pi yet. A frame stays in the
camera's own buffer, in YUV420, and is encoded only when its image is needed. Picamera2 is imported when a camera is
opened.
"""

import contextlib
import errno
import importlib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from dog.cameras import parse_control
from dog.cameras.pixel_formats import RawLayout, encode, encode_preview
from dog.errors import CameraBusy, CameraOffline, CaptureError

__all__ = ["Control", "Device", "Mode", "PicameraSource", "list_devices"]

PIXEL_FORMAT = "YUV420"
"""Half the memory of RGB, and the colours of a JPEG."""
BUFFER_COUNT = 6
"""Picamera2's number for video: two held frames, one ready, three for the camera to fill."""
MAX_HELD_FRAMES = 2
"""Frames that are still valid."""
MAX_RATE_DIFFERENCE = 0.01
"""Relative difference up to which two rates count as equal."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mode:
    """A sensor's mode: its size in pixels, and its maximum frames a second."""

    width: int
    height: int
    rate: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.rate:g}/s"


@dataclass(frozen=True, slots=True)
class Control:
    """A libcamera control: limits (a rectangle has four numbers) and words."""

    name: str
    minimum: Any
    maximum: Any
    default: Any
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def limits(self) -> str:
        """The allowed values: "from 0.0 to 32.0", "Manual or Auto"."""
        if isinstance(self.minimum, bool):
            return "true or false"
        if self.words:
            return " or ".join(self.words)
        if isinstance(self.minimum, tuple):
            return f"{len(self.minimum)} numbers with spaces between them"
        return f"from {self.minimum}" + (f" to {self.maximum}" if self.maximum > self.minimum else "")

    def parse(self, value: bool | int | float | str) -> Any:
        """Convert a value for Picamera2, such as "1.8 1.5". Raises ValueError."""
        if isinstance(self.minimum, bool):
            if value not in (True, False):
                raise ValueError(value)
            return bool(value)
        if isinstance(value, str) and value in self.words:
            return self.words[value]
        parts = value.split() if isinstance(value, str) else [value]
        numbers = tuple(self._parse_number(part) for part in parts)
        if isinstance(self.minimum, tuple):
            if len(numbers) != len(self.minimum):
                raise ValueError(value)
            return numbers
        highest = self.maximum if self.maximum > self.minimum else math.inf  # in some versions, 0 means unknown
        if not numbers or min(numbers) < self.minimum or max(numbers) > highest:
            raise ValueError(value)
        return numbers[0] if len(numbers) == 1 else numbers

    def _parse_number(self, part: float | str) -> float:
        whole = isinstance(self.minimum[0] if isinstance(self.minimum, tuple) else self.minimum, int)
        number = float(part)
        if not math.isfinite(number) or (whole and not number.is_integer()):
            raise ValueError(part)
        return int(number) if whole else number


FLIPS = {name: Control(name, False, True, False) for name in ("hflip", "vflip")}
"""libcamera calls these a transform, not controls; both together turn the image upside down."""


@dataclass(frozen=True, slots=True)
class Device:
    """A connected camera. `problem` is why it can't be used now, "" if it can."""

    number: int
    name: str
    modes: tuple[Mode, ...] = ()
    controls: tuple[Control, ...] = ()
    problem: str = ""


def list_devices() -> list[Device]:
    """List ribbon-cable cameras, opening each. Those on USB are V4L2's."""
    try:
        picamera2, libcamera = _import()
        found = picamera2.Picamera2.global_camera_info()
    except Exception as error:
        return [Device(0, "Raspberry Pi camera", problem=_explain(error).message)]
    return [
        _describe_camera(picamera2, libcamera, number, str(info.get("Model", "Raspberry Pi camera")))
        for number, info in enumerate(found)
        if "/usb" not in str(info.get("Id", ""))
    ]


def _describe_camera(picamera2: Any, libcamera: Any, number: int, name: str) -> Device:
    camera = None
    try:
        camera = _acquire(picamera2.Picamera2, number)
        modes = {Mode(mode["size"][0], mode["size"][1], mode["fps"]): None for mode in camera.sensor_modes}
        return Device(number, name, tuple(modes), tuple(_list_controls(camera, libcamera).values()))
    except Exception as error:
        return Device(number, name, problem=_explain(error).message)
    finally:
        if camera is not None:
            _close(camera)


def _list_controls(camera: Any, libcamera: Any) -> dict[str, Control]:
    """Return the controls by name. Their limits depend on the configuration."""
    offered = {
        name: Control(name, minimum, maximum, default, _list_words(libcamera, name))
        for name, (minimum, maximum, default) in sorted(camera.camera_controls.items())
    }
    return offered | FLIPS


def _list_words(libcamera: Any, control: str) -> dict[str, int]:
    """Return the names of a control's values: {'Continuous': 2} for AfMode."""
    for place in (libcamera.controls, getattr(libcamera.controls, "draft", None)):
        enum = getattr(place, f"{control}Enum", None)
        if enum is not None:
            return {word: int(member) for word, member in enum.__members__.items()}
    return {}


def _import() -> tuple[Any, Any]:
    """Import Picamera2 and libcamera, which have no types."""
    try:
        return importlib.import_module("picamera2"), importlib.import_module("libcamera")
    except ImportError as error:
        raise CameraOffline(
            "A Raspberry Pi camera needs Picamera2. Run sudo apt install python3-picamera2. If dog is installed in a"
            " virtual environment, create that with --system-site-packages.",
            detail=str(error),
        ) from error


def _acquire(make: Any, number: int) -> Any:
    """Return a Picamera2 that has acquired the camera."""
    count = len(make.global_camera_info())
    if not count:
        raise CameraOffline("No Raspberry Pi camera is found. Turn the Pi off, and reseat its ribbon cable.")
    if number >= count:
        there = "Use number 0" if count == 1 else f"Use a number from 0 to {count - 1}"
        raise CameraOffline(f"There is no camera number {number}. {there}.")
    # In two steps: if the second one fails, there is an object to close.
    camera = make.__new__(make)
    try:
        camera.__init__(number)
    except Exception as error:
        _close_failed(camera)
        raise _explain(error) from error
    return camera


def _explain(error: Exception) -> CaptureError:
    """Convert Picamera2's error, by the end of its chain, to a CaptureError."""
    if isinstance(error, CaptureError):
        return error
    cause: BaseException = error
    while (before := cause.__cause__ or cause.__context__) is not None:
        cause = before
    words = str(cause).lower()
    if "busy" in words or "acquire() returned unexpected code: -16" in words:
        return CameraBusy(
            "The camera is in use by another program. Close that program, then press again.", detail=str(cause)
        )
    if (isinstance(cause, OSError) and cause.errno == errno.ENOMEM) or "alloc" in words:
        return CameraOffline(
            "There is too little memory for this camera. Set a smaller `resolution`.", detail=str(cause)
        )
    return CameraOffline("The camera can't be started. See the server's log.", detail=f"{error} {cause}")


def _close_failed(camera: Any) -> None:
    """Close a Picamera2 whose `__init__` failed: it would leak its pipe."""
    with contextlib.suppress(Exception):
        if camera.is_open:
            camera.close()
        elif not camera.notifymeread.closed:
            camera.notifymeread.close()
            os.close(camera.notifyme_w)


def _close(camera: Any) -> None:
    try:
        camera.close()
    except Exception:
        log.warning("a Raspberry Pi camera could not be closed", exc_info=True)


class _Frame:
    """A frame: a completed request of Picamera2 that is not released yet."""

    def __init__(self, request: Any, layout: RawLayout) -> None:
        metadata = request.get_metadata()
        self.exposure_start = _find_exposure_start(metadata)
        self.exposure = metadata["ExposureTime"] / 1e6 if "ExposureTime" in metadata else None
        self._request = request
        self._layout = layout
        self._raw: memoryview | None = None
        self._image: bytes | None = None

    @property
    def raw(self) -> memoryview:
        """A copy of the buffer, made on first use."""
        if self._raw is None:
            self._raw = memoryview(self._request.make_buffer("main"))
        return self._raw

    def image(self) -> bytes:
        if self._image is None:
            self._image = encode(self.raw, self._layout)
        return self._image

    def preview(self) -> bytes:
        return encode_preview(self.raw, self._layout)


def _find_exposure_start(metadata: Mapping[str, Any]) -> float:
    """Return the start of the exposure as a time.monotonic().

    A frame without a timestamp counts as old. SensorTimestamp is the moment when the sensor begins to send its first
    line, whose exposure ends then (Picamera2's issue 821). `capture_request(flush=True)` also subtracts the
    ExposureTime, and uses CLOCK_MONOTONIC. The manual says "since the system booted", which is CLOCK_BOOTTIME: ahead by
    the time that the computer slept. A timestamp in the future is taken for one of CLOCK_BOOTTIME.
    """
    stamp, exposure = metadata.get("SensorTimestamp"), metadata.get("ExposureTime", metadata.get("FrameDuration"))
    if stamp is None or exposure is None:
        return -math.inf
    if stamp > time.monotonic_ns():
        stamp -= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return float(stamp / 1e9 - exposure / 1e6)


@dataclass(eq=False)
class PicameraSource:
    """A Raspberry Pi camera by its number, from 0.

    The default `resolution` is the sensor's largest, the default `frame_rate` as fast as the light allows. `controls`
    have libcamera's names; a choice is a number or a word. `hflip` and `vflip` mirror the image. A camera that can
    focus does so all the time, unless `AfMode` or `LensPosition` is set.
    """

    number: int
    _: KW_ONLY
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None
    controls: Mapping[str, bool | int | str] = field(default_factory=dict)

    streams = True
    settles = True

    def __post_init__(self) -> None:
        self._camera: Any = None
        self._layout = RawLayout("YU12", 0, 0, 0)
        self._held: deque[Any] = deque()

    def open(self) -> None:
        picamera2, libcamera = _import()
        try:
            self._camera = _acquire(picamera2.Picamera2, self.number)
            self._configure(libcamera)
            self._set_controls(libcamera)
            self._camera.start(show_preview=False)
        except CaptureError:
            raise
        except Exception as error:
            raise _explain(error) from error
        log.info("camera %d gives %dx%d", self.number, self._layout.width, self._layout.height)

    def _configure(self, libcamera: Any) -> None:
        camera = self._camera
        flips = {name: parse_control(name, value, FLIPS) for name, value in self.controls.items() if name in FLIPS}
        size = self.resolution or camera.sensor_resolution
        configuration = camera.create_still_configuration(
            main={"format": PIXEL_FORMAT, "size": size},
            raw=None,
            transform=libcamera.Transform(**flips),
            colour_space=libcamera.ColorSpace.Sycc(),
            buffer_count=BUFFER_COUNT,
        )
        camera.configure(configuration)
        # libcamera takes the nearest values that it supports.
        main = camera.camera_configuration()["main"]
        if main["format"] != PIXEL_FORMAT:
            raise CameraOffline(f"The camera gives {main['format']}. If it is a USB camera, use v4l2:DEVICE.")
        width, height = main["size"]
        if self.resolution not in (None, (width, height)):
            raise CameraOffline(
                f"The camera gives {width}x{height} instead of {size[0]}x{size[1]}. Set another `resolution`."
            )
        self._layout = RawLayout("YU12", width, height, main["stride"], limited=False)

    def _set_controls(self, libcamera: Any) -> None:
        """Set the controls before the start, so that the first frame has them."""
        offered = _list_controls(self._camera, libcamera)
        values: dict[str, Any] = {}
        if "AfMode" in offered and "LensPosition" not in self.controls:
            values["AfMode"] = libcamera.controls.AfModeEnum.Continuous
        for name, value in self.controls.items():
            if name not in FLIPS:
                values[name] = parse_control(name, value, offered)
        if self.frame_rate is not None:
            limits = offered["FrameDurationLimits"]
            values["FrameDurationLimits"] = (self._find_duration(limits.minimum, limits.maximum),) * 2
        self._camera.set_controls(values)

    def _find_duration(self, shortest: int, longest: int) -> int:
        """Return the microseconds per frame for the set rate, or CameraOffline."""
        wanted = round(1e6 / (self.frame_rate or 1))
        duration = max(shortest, min(wanted, longest))
        if abs(duration - wanted) > MAX_RATE_DIFFERENCE * wanted:
            size = f"{self._layout.width}x{self._layout.height}"
            raise CameraOffline(
                f"The camera can't give {self.frame_rate:g} frames a second at {size}, only {1e6 / longest:.2g} to"
                f" {1e6 / shortest:.4g}. Set another `frame_rate` or `resolution`."
            )
        return duration

    def read(self, timeout: float) -> _Frame:
        while len(self._held) >= MAX_HELD_FRAMES:
            self._held.popleft().release()
        try:
            request = self._camera.capture_request(wait=timeout)
        except TimeoutError:
            # Required by its documentation before it can be closed.
            self._camera.cancel_all_and_flush()
            message = f"The camera sent no frame for {timeout:g} s. Turn the Pi off, and reseat its ribbon cable."
            if "ExposureTime" in self.controls or self.frame_rate is not None:
                message += " Exposures must be shorter than that, too."
            raise CameraOffline(message, detail=f"camera number {self.number}") from None
        self._held.append(request)
        return _Frame(request, self._layout)

    def close(self) -> None:
        camera, self._camera = self._camera, None
        while self._held:
            with contextlib.suppress(Exception):
                self._held.popleft().release()
        if camera is not None:
            _close(camera)

    def is_back(self) -> bool:
        """Return False (unknown). A check would restart libcamera, and block all."""
        return False
